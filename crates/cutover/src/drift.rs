//! Drift: the files that a container changed against its image, as `docker diff` lists them.
//!
//! Read from the upper directory of its overlay, where every file that it ever wrote to is and nothing
//! else: the image itself is only asked whether a path exists. What the runtime put there, to mount
//! something on it, is left out.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use cutover_runtime::container::ContainerConfig;
use fs_err as fs;
use serde::Serialize;

use crate::paths::Paths;

/// What became of a path; shown as docker shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) enum Kind {
    #[serde(rename = "A")]
    Added,
    #[serde(rename = "C")]
    Changed,
    #[serde(rename = "D")]
    Deleted,
}

/// One path that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Change {
    pub(crate) kind: Kind,
    /// As the container sees it.
    pub(crate) path: String,
}

/// Paths that the runtime makes for every container, to mount on.
const PLACES: [&str; 6] =
    ["/proc", "/sys", "/dev", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];

/// What differs, by path.
pub(crate) fn of(paths: &Paths, config: &ContainerConfig) -> io::Result<Vec<Change>> {
    let upper = paths.root.join("containers").join(config.id.as_str()).join("upper");
    let lowers = config.lowers.iter().map(|lower| paths.root.join(lower)).collect();
    let mounts = config.mounts.iter().map(|mount| mount.target.trim_end_matches('/').to_owned());
    let places = PLACES.iter().map(|place| (*place).to_owned()).chain(mounts).collect();
    let mut drift = Drift { image: Image { lowers }, places, found: Vec::new() };
    match drift.walk(&upper, "") {
        // a read-only container has none
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    drift.found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(drift.found)
}

struct Drift {
    image: Image,
    places: BTreeSet<String>,
    found: Vec<Change>,
}

impl Drift {
    /// Looks at what is in `dir`, which the container sees as `path`; whether anything of it is the
    /// container's own doing.
    fn walk(&mut self, dir: &Path, path: &str) -> io::Result<bool> {
        let mut any = false;
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let path = format!("{path}/{}", entry.file_name().to_string_lossy());
            any |= self.look(&entry.path(), path)?;
        }
        Ok(any)
    }

    fn look(&mut self, real: &Path, path: String) -> io::Result<bool> {
        let meta = match fs::symlink_metadata(real) {
            // it runs: things come and go
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other?,
        };
        if is_whiteout(&meta) {
            self.push(Kind::Deleted, path);
            return Ok(true);
        }
        let known = self.image.has(&path);
        if !meta.is_dir() {
            let is_place = self.places.contains(&path) && meta.len() == 0 && !known;
            if !is_place {
                self.push(if known { Kind::Changed } else { Kind::Added }, path);
            }
            return Ok(!is_place);
        }
        let hides = is_opaque(real);
        let mut own = self.walk(real, &path)?;
        if hides && known {
            for name in self.image.names_in(&path) {
                if fs::symlink_metadata(real.join(&name)).is_err() {
                    self.push(Kind::Deleted, format!("{path}/{}", name.to_string_lossy()));
                }
            }
            own = true;
        }
        let below = format!("{path}/");
        let leads = |place: &String| *place == path || place.starts_with(&below);
        if own || !self.places.iter().any(leads) {
            self.push(if known { Kind::Changed } else { Kind::Added }, path);
            own = true;
        }
        Ok(own)
    }

    fn push(&mut self, kind: Kind, path: String) {
        self.found.push(Change { kind, path });
    }
}

/// The layers of the image, topmost first.
struct Image {
    lowers: Vec<PathBuf>,
}

impl Image {
    fn has(&self, path: &str) -> bool {
        for lower in &self.lowers {
            match sight(lower, path) {
                Sight::There => return true,
                Sight::Hidden => return false,
                Sight::Through => {}
            }
        }
        false
    }

    /// The names in a directory of the image.
    fn names_in(&self, path: &str) -> BTreeSet<std::ffi::OsString> {
        let dirs = self.lowers.iter().map(|lower| lower.join(path.trim_start_matches('/')));
        let entries = dirs.filter_map(|dir| fs::read_dir(dir).ok()).flatten().flatten();
        let names: BTreeSet<_> = entries.map(|entry| entry.file_name()).collect();
        let is_there =
            |name: &std::ffi::OsString| self.has(&format!("{path}/{}", name.to_string_lossy()));
        names.into_iter().filter(is_there).collect()
    }
}

/// What one layer says of a path.
enum Sight {
    There,
    /// Not there, nor in any layer below.
    Hidden,
    /// The layers below decide.
    Through,
}

/// Looks at one part of the path after the other, so that no link of the image's leads elsewhere.
fn sight(lower: &Path, path: &str) -> Sight {
    let mut place = lower.to_owned();
    let mut below = Sight::Through;
    let mut parts = path.split('/').filter(|part| !part.is_empty()).peekable();
    while let Some(part) = parts.next() {
        place.push(part);
        let Ok(meta) = fs::symlink_metadata(&place) else { return below };
        if is_whiteout(&meta) {
            return Sight::Hidden;
        }
        if parts.peek().is_none() {
            return Sight::There;
        }
        if !meta.is_dir() {
            return Sight::Hidden;
        }
        if is_opaque(&place) {
            below = Sight::Hidden;
        }
    }
    Sight::There
}

fn is_whiteout(meta: &std::fs::Metadata) -> bool {
    meta.file_type().is_char_device() && meta.rdev() == 0
}

fn is_opaque(dir: &Path) -> bool {
    let mut value = [0_u8; 1];
    let read = rustix::fs::lgetxattr(dir, "trusted.overlay.opaque", &mut value);
    read.is_ok_and(|length| length == 1 && value == *b"y")
}

impl Kind {
    pub(crate) fn letter(self) -> char {
        match self {
            Self::Added => 'A',
            Self::Changed => 'C',
            Self::Deleted => 'D',
        }
    }
}
