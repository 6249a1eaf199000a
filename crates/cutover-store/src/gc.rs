//! Garbage collection: removing blobs, snapshots and temporary files that nothing needs.
//!
//! Runs alone: it holds `store.lock` exclusively, so nobody is between making a thing and naming
//! it, and everything in `tmp/` is left over from programs that were killed.

use std::collections::BTreeSet;

use cutover_core::Digest;

use crate::error::IoError;
use crate::image::Image;
use crate::images::ImageError;
use crate::scratch::remove_tree;
use crate::snapshots::Snapshots;
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
    /// else works in the store, so what it finds is the whole truth; it must not take a lease
    /// itself. Refuses to wait: [`GcError::Busy`] when a [`crate::Lease`] is held.
    pub fn gc(&self, keep: &dyn Fn() -> Result<Keep, IoError>) -> Result<Collected, GcError> {
        let Some(_exclusive) = self.try_exclusive()? else { return Err(GcError::Busy) };
        let live = live(self, keep()?)?;
        let mut collected = Collected::default();
        collect_snapshots(&self.snapshots(), self, &live.chains, &mut collected)?;
        collect_blobs(self, &live.blobs, &mut collected)?;
        collect_temporary(self, &mut collected)?;
        Ok(collected)
    }
}

/// Adds to `keep` what the store's images and the kept things need. An image that cannot be read
/// stops the collection: what it needs is unknown.
fn live(store: &Store, keep: Keep) -> Result<Keep, GcError> {
    let mut live = keep;
    for (name, _) in store.images().names()? {
        // The index that a pull by digest chose from.
        live.blobs.extend(name.digest().cloned());
    }
    let kept = live.images.clone();
    for digest in store.images().digests()?.into_iter().chain(kept) {
        if !store.blobs().contains(&digest) {
            continue; // a kept image that was removed by force
        }
        let image = Image::load(store, &digest).map_err(ImageError::from)?;
        live.blobs.extend([image.digest, image.config_digest]);
        live.blobs.extend(image.manifest.layers.into_iter().map(|layer| layer.digest));
        live.chains.extend(image.chain_ids);
    }
    let mut todo: Vec<Digest> = live.chains.iter().cloned().collect();
    while let Some(chain_id) = todo.pop() {
        // One without meta.json is not a whole snapshot and has nothing below it.
        let parent = store.snapshots().meta(&chain_id).ok().and_then(|meta| meta.parent);
        todo.extend(parent.filter(|parent| live.chains.insert(parent.clone())));
    }
    Ok(live)
}

fn collect_snapshots(
    snapshots: &Snapshots,
    store: &Store,
    live: &BTreeSet<Digest>,
    collected: &mut Collected,
) -> Result<(), IoError> {
    let dir = store.snapshot_dir();
    for entry in fs_err::read_dir(&dir).map_err(IoError::at("list", &dir))? {
        let name = entry.map_err(IoError::at("list", &dir))?.file_name();
        let Ok(chain_id) = format!("sha256:{}", name.to_string_lossy()).parse::<Digest>() else {
            continue; // not ours
        };
        if live.contains(&chain_id) {
            continue;
        }
        collected.bytes += snapshots.tar_size(&chain_id).unwrap_or(0);
        snapshots.discard(&chain_id)?;
        collected.snapshots += 1;
    }
    Ok(())
}

fn collect_blobs(
    store: &Store,
    live: &BTreeSet<Digest>,
    collected: &mut Collected,
) -> Result<(), GcError> {
    let blobs = store.blobs();
    for digest in blobs.list().map_err(ImageError::from)? {
        if !live.contains(&digest) {
            collected.bytes += blobs.size(&digest).unwrap_or(0);
            blobs.remove(&digest).map_err(ImageError::from)?;
            collected.blobs += 1;
        }
    }
    Ok(())
}

fn collect_temporary(store: &Store, collected: &mut Collected) -> Result<(), IoError> {
    let dir = store.tmp_dir();
    for entry in fs_err::read_dir(&dir).map_err(IoError::at("list", &dir))? {
        let path = entry.map_err(IoError::at("list", &dir))?.path();
        let is_lock = path.extension().is_some_and(|extension| extension == "lock");
        remove_tree(&path)?;
        collected.temporary += usize::from(!is_lock);
    }
    Ok(())
}
