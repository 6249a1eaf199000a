//! Making names durable: a rename is on disk only once its folder is synced.

use std::path::Path;

use crate::error::IoError;

/// Syncs the folder that holds `path`.
pub(crate) fn sync_parent(path: &Path) -> Result<(), IoError> {
    path.parent().map_or(Ok(()), sync_dir)
}

pub(crate) fn sync_dir(dir: &Path) -> Result<(), IoError> {
    fs_err::File::open(dir).and_then(|dir| dir.sync_all()).map_err(IoError::at("sync", dir))
}
