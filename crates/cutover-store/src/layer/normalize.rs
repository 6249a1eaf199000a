//! Bringing an overlay's upper directory to the form that layers are kept in: explicit whiteouts
//! instead of opaque directories.
//!
//! overlayfs marks every directory opaque that was made in a merged one, mostly to hide nothing,
//! and readers of layers get opaque markers wrong more often than whiteouts (fuse-overlayfs#324,
//! image-spec#840). So the marks are removed here, and what they really hid gets whiteouts. The
//! merged view stays the same.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, makedev, mknodat, utimensat};
use rustix::io::Errno;

use super::attributes::{mtime, times, xattr_names};
use super::lower::{Lower, file_type, stat};
use super::{OPAQUE_XATTR, PackError};
use crate::error::IoError;

/// Rewrites `upper`, which lay over `lower`.
pub(crate) fn normalize(upper: &Path, lower: &mut Lower) -> Result<(), PackError> {
    // A directory, and whether it hides everything below it.
    let mut todo: Vec<(Vec<u8>, bool)> = vec![(Vec::new(), false)];
    while let Some((path, hidden)) = todo.pop() {
        let dir = upper.join(OsStr::from_bytes(&path));
        let opaque = take_opaque(&dir, &path)? || hidden;
        let lower_names = if opaque { lower.names(&path)? } else { Default::default() };
        let mut uncovered = lower_names.clone();
        for (name, is_dir) in list(&dir)? {
            uncovered.remove(&name);
            if is_dir {
                let hidden = lower_names.contains(&name);
                todo.push((join(&path, &name), hidden));
            }
        }
        if !uncovered.is_empty() {
            hide(&dir, uncovered.iter().map(Vec::as_slice))?;
        }
    }
    Ok(())
}

/// Removes the mark; says whether it was there.
fn take_opaque(dir: &Path, path: &[u8]) -> Result<bool, PackError> {
    let names = xattr_names(dir).map_err(IoError::at("read attributes of", dir))?;
    if names.iter().any(|name| name == super::REDIRECT_XATTR) {
        return Err(PackError::Redirect { path: crate::tar::shown(path) });
    }
    if !names.iter().any(|name| name == OPAQUE_XATTR) {
        return Ok(false);
    }
    match rustix::fs::lremovexattr(dir, OPAQUE_XATTR) {
        Ok(()) | Err(Errno::NODATA) => Ok(true),
        Err(errno) => Err(IoError::at("remove an attribute of", dir)(errno).into()),
    }
}

fn list(dir: &Path) -> Result<Vec<(Vec<u8>, bool)>, IoError> {
    let entries = fs_err::read_dir(dir).map_err(IoError::at("list", dir))?;
    entries
        .map(|entry| {
            let entry = entry?;
            let is_dir = entry.file_type()?.is_dir();
            Ok((entry.file_name().as_bytes().to_vec(), is_dir))
        })
        .collect::<Result<_, std::io::Error>>()
        .map_err(IoError::at("list", dir))
}

fn hide<'a>(dir: &Path, names: impl Iterator<Item = &'a [u8]>) -> Result<(), IoError> {
    let before = stat(dir)?;
    for name in names {
        let path = dir.join(OsStr::from_bytes(name));
        mknodat(CWD, &path, FileType::CharacterDevice, Mode::empty(), makedev(0, 0))
            .map_err(IoError::at("make the whiteout", &path))?;
    }
    match before {
        Some(stat) if file_type(&stat) == FileType::Directory => {
            utimensat(CWD, dir, &times(mtime(&stat)), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(IoError::at("set the time of", dir))
        }
        _ => Ok(()),
    }
}

pub(super) fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}
