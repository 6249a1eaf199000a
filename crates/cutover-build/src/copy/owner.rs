//! `--chown` and the owner of WORKDIR: names looked up in the image, never on the host.

use std::io::Read as _;
use std::path::Path;

use crate::tree::{Kind, Tree, TreeError};

/// A user and a group by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Why an owner cannot be looked up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OwnerError {
    #[error("`/{path}` of the image is not a regular file")]
    NotAFile { path: &'static str },
    #[error("`/{path}` of the image is longer than {MAX_FILE} bytes")]
    TooLong { path: &'static str },
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// Most bytes of a passwd or group file; an image can name anything that.
const MAX_FILE: u64 = 10 << 20;

impl Owner {
    /// Reads `user[:group]`. A single number is both; a user by name brings its group; a name that
    /// the image does not know is root, as in BuildKit.
    pub(crate) fn parse(text: &str, tree: &Tree) -> Result<Self, OwnerError> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let mut owner = match number(user) {
            Some(id) => Self { uid: id, gid: id },
            None => {
                let line = lookup(tree, "etc/passwd", user)?;
                let field = |index: usize| number(line.as_deref()?.split(':').nth(index)?);
                Self { uid: field(2).unwrap_or(0), gid: field(3).unwrap_or(0) }
            }
        };
        if let Some(group) = group {
            match number(group) {
                Some(id) => owner.gid = id,
                None => {
                    let line = lookup(tree, "etc/group", group)?;
                    let id = line.as_deref().and_then(|line| number(line.split(':').nth(2)?));
                    owner.gid = id.unwrap_or(owner.gid);
                }
            }
        }
        Ok(owner)
    }

    pub(crate) fn ids(self) -> (u32, u32) {
        (self.uid, self.gid)
    }
}

fn number(text: &str) -> Option<u32> {
    match text {
        "root" => Some(0),
        text => text.parse().ok().filter(|id| i32::try_from(*id).is_ok()),
    }
}

/// The line of `file` whose first field is `name`.
fn lookup(tree: &Tree, file: &'static str, name: &str) -> Result<Option<String>, OwnerError> {
    let path = tree.resolve(Path::new(file))?;
    match tree.meta(&path)? {
        None => return Ok(None),
        Some(meta) if meta.kind != Kind::File => return Err(OwnerError::NotAFile { path: file }),
        Some(_) => {}
    }
    let mut bytes = Vec::new();
    let read = tree.file(&path)?.take(MAX_FILE + 1).read_to_end(&mut bytes);
    let length = read.map_err(TreeError::at("read", &path))?;
    if length as u64 > MAX_FILE {
        return Err(OwnerError::TooLong { path: file });
    }
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    Ok(lines.find(|line| line.split(':').next() == Some(name)).map(str::to_owned))
}
