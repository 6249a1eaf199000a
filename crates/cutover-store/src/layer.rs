//! Layers between their two forms: a tar ([`mod@unpack`], [`mod@pack`]) and an overlayfs directory.

mod attributes;
mod lower;
mod normalize;
mod pack;
mod unpack;
mod write;

pub(crate) use attributes::Attributes;
pub(crate) use lower::Lower;
pub(crate) use normalize::normalize;
pub use pack::PackError;
pub(crate) use pack::Packer;
pub use unpack::ApplyError;
pub(crate) use unpack::{Unpacked, unpack};

/// The prefix by which a tar says that a name is deleted.
const WHITEOUT: &[u8] = b".wh.";
/// The name by which a tar says that a directory hides all below it.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// The prefix of aufs's own files, which mean nothing elsewhere.
const AUFS: &[u8] = b".wh..wh.";

/// overlayfs's mark of an opaque directory, and its value.
const OPAQUE_XATTR: &[u8] = b"trusted.overlay.opaque";
const OPAQUE_VALUE: &[u8] = b"y";
/// overlayfs's private attributes.
const OVERLAY_XATTRS: &[u8] = b"trusted.overlay.";
/// What overlayfs leaves when it renames a directory or changes attributes without copying the
/// file: a layer cannot say either.
const REDIRECT_XATTR: &[u8] = b"trusted.overlay.redirect";
const METACOPY_XATTR: &[u8] = b"trusted.overlay.metacopy";
