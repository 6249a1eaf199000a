//! Moving images between two stores without a registry: [`send`] on one end of a byte stream,
//! [`receive`] on the other.
//!
//! ```text
//! sender                                   receiver
//!   greeting, documents, names ──────────>   keeps manifests, indexes and configs
//!   <────────── greeting, wanted blobs       each with the bytes that it has of it
//!   blobs, one behind the other ─────────>   hashed and unpacked while they come
//!   <───────────────── kept, or why not
//! ```
//!
//! One round trip whatever the number of blobs. An image keeps its digest: layers that are plain in
//! the store are compressed on the wire only. What came of a blob before a stream broke stays under
//! its digest, and the next exchange sends the rest.
//!
//! Invariants: neither side believes the other: frames, documents, their number and the size of
//! each blob are bounded before anything is allocated, and nothing is kept under a digest that it
//! does not have. A name is written last.

mod frame;
mod receive;
mod send;

use std::io;

use cutover_core::{Digest, Reference};
use cutover_store::ImageError;
use serde::{Deserialize, Serialize};

pub use receive::receive;
pub use send::send;

/// Manifests, indexes and configs of one exchange.
const MAX_DOCUMENTS: usize = 512;
/// Bytes of all of them.
const MAX_DOCUMENT_BYTES: u64 = 64 << 20;
/// Images of one exchange.
const MAX_IMAGES: usize = 256;
/// Layers that all manifests of one exchange may name.
const MAX_BLOBS: usize = 4096;

/// An image and the name that it has, or gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    pub name: Reference,
    /// Of a manifest or an index.
    pub digest: Digest,
}

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    #[error("the other side is not a cutover that understands us: {0}")]
    NotCutover(String),
    #[error("the other side broke off")]
    Broken(#[source] io::Error),
    #[error("the other side failed: {message}")]
    Theirs { message: String },
    #[error("the other side sent what cannot be understood: {0}")]
    Protocol(String),
    #[error("blob {expected} came with other bytes: they are {actual}")]
    WrongDigest { expected: Digest, actual: Digest },
    #[error("blob {digest} came with more than its {size} bytes")]
    TooLong { digest: Digest, size: u64 },
    #[error("{what} names {missing}, which is not in the store")]
    Incomplete { what: String, missing: String },
    #[error("indexes are nested more than {0} deep")]
    Nested(usize),
    #[error("cannot use the store")]
    Store(#[source] ImageError),
}

/// A failure on the receiving side.
#[derive(Debug, thiserror::Error)]
#[error("cannot receive images")]
pub struct ReceiveError {
    #[source]
    pub cause: ExchangeError,
    /// The other side was told and will say it.
    pub told: bool,
}

impl<E: Into<ImageError>> From<E> for ExchangeError {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

/// What the two sides tell each other. Bytes follow some of them, in frames of their own.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Message {
    /// A manifest, index or config; its bytes follow.
    Document { digest: Digest, size: u64 },
    /// The name that an image is to get.
    Image(Named),
    /// All documents and names were told.
    Offered,
    /// What the receiver lacks, in the order in which it wants it.
    Wanted { blobs: Vec<Wanted> },
    /// A blob from the wanted byte on; its bytes follow.
    Blob { digest: Digest, from: u64, encoding: Encoding },
    /// All blobs were sent.
    Sent,
    /// Everything is in the store, and named.
    Kept,
    /// The receiver gives up.
    Failed { message: String },
}

/// A blob that the receiver lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Wanted {
    digest: Digest,
    /// Bytes of it that it has.
    have: u64,
}

/// How a blob travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Encoding {
    Plain,
    Zstd,
}

/// Reads frames to their end, for the fuzz target.
pub(crate) fn read_all(bytes: &[u8]) {
    let mut incoming = frame::Incoming::new(bytes);
    drop(incoming.greeting());
    while incoming.next().is_ok() {}
}

/// The error with all that led to it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}
