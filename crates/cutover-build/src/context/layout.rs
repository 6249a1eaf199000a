//! An image of an OCI layout directory, taken into the store.

use std::io;
use std::path::{Path, PathBuf};

use cutover_core::Digest;
use cutover_core::digest::Hasher;
use cutover_core::oci::{Descriptor, Index, Manifest, Platform, media_type};
use cutover_store::{BlobError, Image, ImageError, MAX_DOCUMENT, Store};

use super::dockerfile::read_bounded;

/// Why a layout cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LayoutError {
    #[error("`{}` is not an OCI layout", directory.display())]
    NotALayout { directory: PathBuf, source: io::Error },
    #[error("`{}` has no image `{wanted}`{}", directory.display(), has(names))]
    NoImage { directory: PathBuf, wanted: String, names: Vec<String> },
    #[error("`{digest}` of the layout has no image for {platform}")]
    NoPlatform { digest: Digest, platform: String },
    #[error("`{0}` of the layout is not a document that can be read")]
    Document(Digest, #[source] serde_json::Error),
    #[error("`{0}` of the layout cannot be read")]
    Blob(Digest, #[source] io::Error),
    #[error("`{0}` of the layout has other bytes than its name says")]
    Corrupted(Digest),
    #[error("cannot keep the image of the layout")]
    Store(#[from] ImageError),
    #[error("cannot keep a blob of the layout")]
    Write(#[from] BlobError),
}

/// How a layout names what it has.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Indexes within indexes.
const MAX_DEPTH: usize = 4;

fn has(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!(" (it has: {})", names.join(", ")) }
}

/// Loads the image that `digest`, or else `tag`, names; a layout with one image needs neither.
pub(crate) fn load(
    store: &Store,
    directory: &Path,
    (tag, digest): (Option<&str>, Option<&Digest>),
    platform: &Platform,
) -> Result<Image, LayoutError> {
    let layout = Layout { directory };
    let mut found = match digest {
        Some(digest) => digest.clone(),
        None => layout.named(tag)?,
    };
    for _ in 0..MAX_DEPTH {
        let bytes = layout.document(&found)?;
        let index: Index = serde_json::from_slice(&bytes)
            .map_err(|source| LayoutError::Document(found.clone(), source))?;
        let is_index = index.media_type.as_deref().is_some_and(media_type::is_index)
            || !index.manifests.is_empty();
        if !is_index {
            return layout.store(store, &found, &bytes);
        }
        let chosen = index.choose(platform).ok_or_else(|| LayoutError::NoPlatform {
            digest: found.clone(),
            platform: crate::platform::format(platform),
        })?;
        found = chosen.digest.clone();
    }
    Err(LayoutError::NoPlatform { digest: found, platform: "too many indexes".to_owned() })
}

/// The digest of `bytes` by the algorithm of another one.
fn of(bytes: &[u8], like: &Digest) -> Digest {
    let mut hasher = Hasher::new(like.algorithm());
    hasher.update(bytes);
    hasher.finish()
}

struct Layout<'a> {
    directory: &'a Path,
}

impl Layout<'_> {
    fn path(&self, digest: &Digest) -> PathBuf {
        self.directory.join("blobs").join(digest.algorithm().as_str()).join(digest.hex())
    }

    fn named(&self, tag: Option<&str>) -> Result<Digest, LayoutError> {
        let not = |source| LayoutError::NotALayout { directory: self.directory.to_owned(), source };
        let bytes = read_bounded(&self.directory.join("index.json"), MAX_DOCUMENT).map_err(not)?;
        let index: Index = serde_json::from_slice(&bytes)
            .map_err(|error| not(io::Error::new(io::ErrorKind::InvalidData, error)))?;
        let name = |one: &Descriptor| one.annotations.get(REF_NAME).cloned();
        let wanted = tag.unwrap_or("latest");
        let matches = |one: &&Descriptor| {
            name(one).is_some_and(|name| {
                name == wanted || name.rsplit_once(':').is_some_and(|(_, tag)| tag == wanted)
            })
        };
        let found = index.manifests.iter().find(matches);
        let found = match (found, tag, index.manifests.as_slice()) {
            (Some(found), ..) => found,
            (None, None, [only]) => only,
            _ => {
                return Err(LayoutError::NoImage {
                    directory: self.directory.to_owned(),
                    wanted: wanted.to_owned(),
                    names: index.manifests.iter().filter_map(name).collect(),
                });
            }
        };
        Ok(found.digest.clone())
    }

    fn document(&self, digest: &Digest) -> Result<Vec<u8>, LayoutError> {
        let bytes = read_bounded(&self.path(digest), MAX_DOCUMENT)
            .map_err(|source| LayoutError::Blob(digest.clone(), source))?;
        match of(&bytes, digest) == *digest {
            true => Ok(bytes),
            false => Err(LayoutError::Corrupted(digest.clone())),
        }
    }

    fn store(&self, store: &Store, digest: &Digest, bytes: &[u8]) -> Result<Image, LayoutError> {
        let manifest: Manifest = serde_json::from_slice(bytes)
            .map_err(|source| LayoutError::Document(digest.clone(), source))?;
        let config = self.document(&manifest.config.digest)?;
        for layer in &manifest.layers {
            self.blob(store, &layer.digest)?;
        }
        Ok(store.images().put(bytes, &config, None)?)
    }

    fn blob(&self, store: &Store, digest: &Digest) -> Result<(), LayoutError> {
        if store.blobs().contains(digest) {
            return Ok(());
        }
        let failed = |source| LayoutError::Blob(digest.clone(), source);
        let mut file = fs_err::File::open(self.path(digest)).map_err(failed)?;
        let mut writer = store.blobs().writer_with(digest.algorithm())?;
        io::copy(&mut file, &mut writer).map_err(failed)?;
        writer.commit(Some(digest))?;
        Ok(())
    }
}
