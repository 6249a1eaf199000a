//! [`tree_tar`]: the deterministic tar of a whole file system, for those who want files, no layers.

use std::io::Read;
use std::path::Path;

use crate::layer::{PackError, Packer};

/// The tar of everything below `root`, made while it is read: names sorted, all owners, modes and
/// attributes as they are.
pub fn tree_tar(root: &Path) -> Result<impl Read, PackError> {
    Packer::new(root, false)
}
