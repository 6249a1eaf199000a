//! Whether a directory is a clean git checkout, and the time of its commit.
//!
//! Clean as `git describe --dirty` has it: the index is the commit, and each file of the index in the
//! directory is as the index has it. Files that git does not know do not matter. Read only,
//! without git; what cannot be read (another hash, a pack of an unknown version) is no checkout.

mod index;
mod objects;

use std::path::{Path, PathBuf};

use crate::tree::{Kind, Meta};

/// Most bytes of a file of git's that is read.
const MAX_FILE: u64 = 256 << 20;
/// Most levels of directories above the context that are looked at.
const MAX_LEVELS: usize = 64;

/// Seconds since 1970 of the commit that `context` is a clean checkout of. `meta` knows its files by
/// their path below the context.
pub(crate) fn commit_time(context: &Path, meta: &dyn Fn(&Path) -> Option<Meta>) -> Option<i64> {
    let (top, git) = find(context)?;
    let below = context.strip_prefix(&top).ok()?;
    let common = match read_text(&git.join("commondir")) {
        Some(text) => git.join(text.trim()),
        None => git.clone(),
    };
    let head = resolve(&git, &common)?;
    let commit = objects::commit(&common.join("objects"), &head)?;
    let index = index::Index::parse(&read(&git.join("index"))?)?;
    if index.tree()? != commit.tree {
        return None;
    }
    let clean = index.entries.iter().all(|entry| {
        let Ok(path) = Path::new(&entry.path).strip_prefix(below) else { return true };
        meta(path).is_some_and(|meta| is_same(entry, &meta, || read(&top.join(&entry.path))))
    });
    clean.then_some(commit.time)
}

/// The work tree and its git directory.
fn find(context: &Path) -> Option<(PathBuf, PathBuf)> {
    for top in context.ancestors().take(MAX_LEVELS) {
        let git = top.join(".git");
        if git.join("HEAD").is_file() {
            return Some((top.to_owned(), git));
        }
        // Of a work tree beside the repository.
        if let Some(text) = read_text(&git) {
            let target = text.strip_prefix("gitdir:")?.trim();
            return Some((top.to_owned(), top.join(target)));
        }
    }
    None
}

/// The commit that HEAD leads to, as hex digits.
fn resolve(git: &Path, common: &Path) -> Option<String> {
    let mut text = read_text(&git.join("HEAD"))?;
    for _ in 0..5 {
        let Some(name) = text.trim().strip_prefix("ref:") else {
            return Some(text.trim().to_owned());
        };
        let name = name.trim();
        let is_below = Path::new(name)
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)));
        if !is_below {
            return None;
        }
        let loose = read_text(&git.join(name)).or_else(|| read_text(&common.join(name)));
        text = match loose {
            Some(text) => text,
            None => packed(&read_text(&common.join("packed-refs"))?, name)?,
        };
    }
    None
}

fn packed(text: &str, name: &str) -> Option<String> {
    let lines = text.lines().filter(|line| !line.starts_with(['#', '^']));
    let mut found = lines.filter_map(|line| line.split_once(' '));
    found.find(|(_, own)| *own == name).map(|(id, _)| id.to_owned())
}

/// Whether a file is as the index has it: by what the kernel says, or else by its bytes.
fn is_same(entry: &index::Entry, meta: &Meta, read: impl FnOnce() -> Option<Vec<u8>>) -> bool {
    match entry.mode {
        // A link's time may be anything; its target is its content. A submodule is a directory.
        0o120_000 => return meta.kind == Kind::Link,
        0o160_000 => return meta.is_dir(),
        _ if meta.kind != Kind::File => return false,
        mode if (mode & 0o100 != 0) != (meta.mode & 0o100 != 0) => return false,
        _ => {}
    }
    if entry.size != meta.size.to_le_bytes()[..4] {
        return false;
    }
    let time = (i64::from(entry.mtime.0), entry.mtime.1);
    time == meta.mtime || read().is_some_and(|bytes| objects::blob_id(&bytes) == entry.id)
}

fn read(path: &Path) -> Option<Vec<u8>> {
    use std::io::Read as _;
    let file = fs_err::File::open(path).ok()?;
    if file.metadata().ok()?.len() > MAX_FILE {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn read_text(path: &Path) -> Option<String> {
    if !path.is_file() {
        return None;
    }
    String::from_utf8(read(path)?).ok()
}

#[cfg(test)]
mod tests;
