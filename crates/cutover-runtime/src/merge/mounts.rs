//! Mounts: the user's, then an anonymous volume for each volume of the image that is left.

use super::MergeError;
use crate::container::{Mount, MountKind};

pub(super) fn mounts<'a>(
    given: &[Mount],
    image: impl Iterator<Item = &'a String>,
) -> Result<Vec<Mount>, MergeError> {
    let mut mounts: Vec<Mount> = Vec::new();
    for mount in given {
        let target = clean(&mount.target).filter(|target| target != "/");
        let target = target.ok_or_else(|| MergeError::MountTarget(mount.target.clone()))?;
        if mounts.iter().any(|other| other.target == target) {
            return Err(MergeError::DuplicateTarget(target));
        }
        mounts.push(Mount { target, ..mount.clone() });
    }
    // What is not a path below `/` in an image's config cannot be mounted: left out, as it is
    // not this user's mistake.
    for target in image.filter_map(|target| clean(target)).filter(|target| target != "/") {
        if !mounts.iter().any(|mount| mount.target == target) {
            let kind = MountKind::Volume { name: None, anonymous: true, no_copy: false };
            mounts.push(Mount { kind, target, read_only: false });
        }
    }
    // A mount below another one must come after it.
    mounts.sort_by_key(|mount| mount.target.split('/').count());
    Ok(mounts)
}

/// An absolute path without `.`, `..`, doubled and trailing slashes.
pub(super) fn clean(path: &str) -> Option<String> {
    if !path.starts_with('/') || path.contains('\0') {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    Some(format!("/{}", parts.join("/")))
}
