//! [`Draft`]: a layer in the making.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;

use cutover_core::Digest;
use cutover_core::digest::{Algorithm, Hasher};

use super::published::FS;
use super::{Meta, SnapshotError, Snapshots};
use crate::error::IoError;
use crate::image::chain_id;
use crate::layer::{ApplyError, Attributes, Lower, Packer, normalize, unpack};
use crate::scratch::{Scratch, remove_tree};
use crate::store::Lease;
use crate::tar::{Limits, Reader};

/// A layer in the making: an upper directory to mount over the parent. Dropped before
/// [`Draft::commit`], it is removed. Mount with `redirect_dir=off,metacopy=off`.
#[derive(Debug)]
pub struct Draft {
    /// The overlay's `upperdir`: empty, with the parent's root attributes.
    pub upper: PathBuf,
    /// The overlay's `workdir`.
    pub work: PathBuf,
    /// The overlay's `lowerdir`s, topmost first. Empty for a first layer.
    pub lowers: Vec<PathBuf>,
    parent: Option<Digest>,
    snapshots: Snapshots,
    scratch: Scratch,
    _lease: Lease,
}

/// A finished layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    pub diff_id: Digest,
    pub chain_id: Digest,
    /// Bytes of the layer's tar.
    pub size: u64,
    /// Nothing was added, changed or removed.
    pub empty: bool,
}

impl Snapshots {
    /// Starts a layer on top of the layers `parent` (chain ids, lowest first).
    pub fn draft(&self, parent: &[Digest]) -> Result<Draft, SnapshotError> {
        let lease = self.store.lease()?;
        let lowers = self.require(parent)?;
        let scratch = Scratch::new(&self.store.tmp_dir(), "draft-")?;
        let (upper, work) = (scratch.path().join(FS), scratch.path().join("work"));
        for dir in [&upper, &work] {
            fs_err::create_dir(dir).map_err(IoError::at("create", dir))?;
        }
        let dir = fs_err::File::open(&upper).map_err(IoError::at("open", &upper))?;
        root_attributes(&lowers)?
            .set(std::os::fd::AsFd::as_fd(dir.file()))
            .map_err(IoError::at("set attributes of", &upper))?;
        let (parent, snapshots) = (parent.last().cloned(), self.clone());
        Ok(Draft { upper, work, lowers, parent, snapshots, scratch, _lease: lease })
    }
}

impl Draft {
    /// Unpacks a tar into the upper directory, as a layer. Its digest is not checked.
    pub(crate) fn unpack(&self, tar: impl BufRead) -> Result<(), ApplyError> {
        let limits = Limits::default();
        let mut reader = Reader::new(tar, limits);
        unpack(&mut reader, &self.upper, &mut Lower::new(self.lowers.clone()), &limits)?;
        Ok(reader.require_end()?)
    }

    /// Makes the upper directory a snapshot. It must not be mounted any more. `created` (RFC 3339)
    /// is noted beside it. The snapshot is durable once an image that has it is stored.
    pub fn commit(self, created: &str) -> Result<Layer, SnapshotError> {
        remove_tree(&self.work)?;
        let pack = |source| SnapshotError::Pack { path: self.upper.clone(), source };
        normalize(&self.upper, &mut Lower::new(self.lowers.clone())).map_err(pack)?;
        let root = self.root_changed()?;
        let mut tar = Packer::new(&self.upper, root).map_err(pack)?;
        let empty = tar.is_empty();
        let (diff_id, size) = digest(&mut tar)
            .map_err(|error| pack(IoError::at("read", &self.upper)(error).into()))?;
        let chain_id = chain_id(self.parent.as_ref(), &diff_id);
        let _lock = self.snapshots.lock(&chain_id)?;
        if !self.snapshots.contains(&chain_id) {
            let mut meta = Meta::new(&diff_id, self.parent.as_ref(), size, root);
            meta.created = Some(created.to_owned());
            self.snapshots.publish(self.scratch, &chain_id, &meta)?;
        }
        Ok(Layer { diff_id, chain_id, size, empty })
    }

    /// Whether the root itself was changed; its time does not count, any new file changes it.
    fn root_changed(&self) -> Result<bool, SnapshotError> {
        let before = root_attributes(&self.lowers)?;
        let after = attributes(&self.upper)?;
        Ok(Attributes { mtime: before.mtime, ..after } != before)
    }
}

/// The attributes of the root of a mount of `lowers`.
fn root_attributes(lowers: &[PathBuf]) -> Result<Attributes, IoError> {
    match lowers.first() {
        Some(top) => attributes(top),
        None => Ok(Attributes::of_missing_parent()),
    }
}

fn attributes(dir: &Path) -> Result<Attributes, IoError> {
    let read = IoError::at("read attributes of", dir);
    match rustix::fs::lstat(dir) {
        Ok(stat) => Attributes::read(dir, &stat).map_err(read),
        Err(errno) => Err(read(errno.into())),
    }
}

/// Bytes that are hashed at once, and pieces under way from one thread to the other.
const PIECE: usize = 256 << 10;
const PIECES: usize = 4;

/// Hashes the tar in another thread than reads it: both take about as long.
fn digest(tar: &mut Packer) -> std::io::Result<(Digest, u64)> {
    let (full, to_hash) = sync_channel::<(Vec<u8>, usize)>(PIECES);
    let (empty, to_fill) = sync_channel(PIECES);
    // The closure owns `full`: when it ends, however it does, the other thread does too.
    std::thread::scope(move |scope| {
        let hashed = scope.spawn(move || {
            let mut hasher = Hasher::new(Algorithm::Sha256);
            for (piece, length) in to_hash {
                hasher.update(&piece[..length]);
                // The reader that is done needs no more.
                drop(empty.try_send(piece));
            }
            hasher.finish()
        });
        let (mut size, mut made) = (0, 0);
        loop {
            let mut piece = match to_fill.try_recv() {
                Ok(piece) => piece,
                Err(_) if made < PIECES => {
                    made += 1;
                    vec![0; PIECE]
                }
                Err(_) => to_fill.recv().map_err(std::io::Error::other)?,
            };
            let length = fill(tar, &mut piece)?;
            size += length as u64;
            if length == 0 || full.send((piece, length)).is_err() {
                break;
            }
        }
        drop(full);
        let digest = hashed.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((digest, size))
    })
}

/// Reads until `piece` is full or nothing is left.
fn fill(tar: &mut Packer, piece: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < piece.len() {
        match std::io::Read::read(tar, &mut piece[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}
