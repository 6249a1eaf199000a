//! Garbage collection: removing blobs, snapshots and temporary files that nothing needs.

use std::collections::BTreeSet;

use cutover_core::Digest;

use crate::error::IoError;
use crate::images::ImageError;
use crate::store::Store;

/// What must stay besides the store's own images: what containers, releases and the build cache
/// point at.
#[derive(Clone, Debug, Default)]
pub struct Keep {
    /// Manifests of images.
    pub images: BTreeSet<Digest>,
    /// Chain ids of snapshots; those below each stay as well.
    pub chains: BTreeSet<Digest>,
    pub blobs: BTreeSet<Digest>,
}

/// What a collection freed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    pub blobs: usize,
    pub snapshots: usize,
    /// Left over in `tmp/` by programs that were killed.
    pub temporary: usize,
    /// Bytes of the blobs, and of the snapshots' tars.
    pub bytes: u64,
}

/// Why nothing, or not everything, was collected.
#[derive(Debug, thiserror::Error)]
pub enum GcError {
    #[error("the store is in use: a pull, build or start holds it")]
    Busy,
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Io(#[from] IoError),
}

impl Store {
    /// Removes what neither an image of the store nor `keep` needs. `keep` is asked once no one
    /// else works in the store, so what it finds is the whole truth. Refuses to wait:
    /// [`GcError::Busy`] when a [`crate::Lease`] is held.
    pub fn gc(&self, keep: &dyn Fn() -> Result<Keep, IoError>) -> Result<Collected, GcError> {
        let _ = keep;
        todo!()
    }
}
