//! The build cache that travels: what one machine has built, another one finds.
//!
//! [`Records`] say which step made which layer, known by the step's key; [`CacheImport`] is what
//! was found of them elsewhere, [`export`] makes a document of them. Where documents and layers are
//! kept is the caller's business (a registry, a directory): see [`LayerSource`].
//!
//! What comes from elsewhere is hostile as far as its form goes: documents are bounded, a layer is
//! only what hashes to the digest in its record, a path is never read out of a document. That its
//! layers are what the steps would have made, nobody can check: who imports a cache trusts whoever
//! wrote it, as with an image.

mod export;
mod import;
mod records;
mod source;

pub use export::{Exported, ExportedLayer, Mode, export};
pub use import::{CacheImport, ImportError};
pub use records::{CONFIG_KEY, ContentRecord, RECORDS_TYPE, Records, StepRecord, inline};
pub use source::{FolderSource, LayerSource, SourceError, layer_reader};
