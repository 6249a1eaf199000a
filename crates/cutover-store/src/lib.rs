//! The content-addressed store: blobs, images and their names, and snapshots (unpacked layers).
//!
//! Everything lives under one directory, so that a store can be moved, copied and thrown away:
//!
//! ```text
//! store.db  store.lock  blobs/sha256/HEX  snapshots/CHAINHEX/{fs/,meta.json}  tmp/
//! ```
//!
//! Synchronous and usable from several processes at once. Whatever is named by a digest never
//! changes and appears whole or not at all; whatever is under `tmp/` belongs to a live [`Lease`]
//! or is garbage. Knows nothing of containers, builds or networks.

pub mod archive;
mod blobs;
mod compress;
mod db;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod gc;
mod image;
mod images;
mod layer;
mod partial;
mod scratch;
mod snapshots;
mod store;
mod stream;
mod sync;
pub mod tar;
mod transfers;
mod tree_tar;
mod verified;

pub use blobs::{BlobError, BlobWriter, Blobs, PendingBlob};
pub use compress::{LayerForm, ParseFormError, Spooled};
pub use db::DbError;
pub use error::IoError;
pub use gc::{Collected, GcError, Keep};
pub use image::{
    HistoryLine, Image, LayerLine, LoadError, MAX_DOCUMENT, chain_id, chain_ids, host_platform,
    manifest_bytes,
};
pub use images::{ImageError, ImageRecord, Images, InUse, Removal, RemoveError, RemoveOptions};
pub use layer::{ApplyError, PackError};
pub use partial::PartialBlob;
pub use snapshots::{Draft, Layer, LayerReader, MetaError, SnapshotError, Snapshots, Unpacking};
pub use store::{Lease, OpenError, Store};
pub use tar::TarError;
pub use transfers::Transfers;
pub use tree_tar::tree_tar;
pub use verified::Verified;
