//! Images on their way out of the store: [`Packed`] has the layers compressed and a manifest that
//! says so, [`Layout`] is an OCI layout as a tar or a directory, [`files`] the file system itself.
//!
//! Nothing here changes the image in the store: what leaves has another manifest, because its layers
//! are compressed, and the same config.

mod files;
mod layout;
mod packed;

use std::path::PathBuf;

use cutover_core::Digest;

pub(crate) use files::mounted;
pub use files::{FilesOut, write_files, write_tar};
pub use layout::{Layout, Named};
pub(crate) use layout::{REF_NAME, blob_path, read_index};
pub(crate) use packed::spool;
pub use packed::{Packed, PackedLayer, PackedSource, annotated, for_push, pack};

use cutover_store::LayerForm;

/// How the layers and documents of an image leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// `None`: zstd in OCI manifests, gzip in docker's.
    pub layers: Option<LayerForm>,
    /// Also layers that are compressed in another way.
    pub force: bool,
    /// docker's media types.
    pub docker: bool,
}

impl Form {
    /// How plain layers are compressed.
    pub fn layer_form(self) -> LayerForm {
        let usual = if self.docker { LayerForm::GZIP } else { LayerForm::ZSTD };
        self.layers.unwrap_or(usual)
    }
}

/// Why an image could not be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    #[error("cannot read the image {digest}")]
    Image { digest: Digest, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("cannot compress layer {layer}")]
    Layer { layer: Digest, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("cannot write `{}`", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("cannot write the archive")]
    Archive(#[source] std::io::Error),
    #[error("`{}` is an OCI layout that cannot be read", path.display())]
    Index { path: PathBuf, source: serde_json::Error },
    #[error("cannot copy the files of the image")]
    Files(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("cannot use the store")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}

pub(crate) fn at(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> OutputError {
    let path = path.to_owned();
    move |source| OutputError::Write { path, source }
}
