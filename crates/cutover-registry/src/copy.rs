//! [`copy`]: an image from one place to another, byte for byte and without the store: registries,
//! OCI layouts, and OCI archives.
//!
//! All of an index goes along. Blobs stream: from one connection into the other, or from and to a
//! file; nothing is held in memory but documents.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use cutover_core::digest::Hasher;
use cutover_core::oci::{Descriptor, Index, Manifest, Platform, media_type};
use cutover_core::reference::ParseReferenceError;
use cutover_core::{Digest, Reference};
use cutover_store::{LoadError, MAX_DOCUMENT, Store};

use crate::error::{Cause, CopyError};
use crate::options::Options;
use crate::progress::{Event, Progress};
use crate::push::document;
use crate::session::{self, Events};

mod layout;
mod relay;
mod sink;
mod source;

use sink::Sink;
use source::Source;

/// Indexes within indexes are allowed; this many are enough for anyone.
const MAX_NESTING: usize = 4;

/// Where an image is, or is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Registry(Reference),
    /// A folder, and the tag in it.
    Layout(PathBuf, Option<String>),
    /// A tar of such a folder.
    Archive(PathBuf, Option<String>),
}

/// Why a text is not a place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParsePlaceError {
    #[error("`{0}` names no file")]
    Path(String),
    #[error(transparent)]
    Reference(#[from] ParseReferenceError),
}

impl FromStr for Place {
    type Err = ParsePlaceError;

    /// `[docker://]NAME`, `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]`, as skopeo writes them.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = |rest: &str| {
            let (path, tag) = match rest.rsplit_once(':') {
                Some((path, tag)) if !tag.contains('/') => (path, Some(tag.to_owned())),
                _ => (rest, None),
            };
            match path {
                "" => Err(ParsePlaceError::Path(text.to_owned())),
                path => Ok((PathBuf::from(path), tag)),
            }
        };
        if let Some(rest) = text.strip_prefix("oci:") {
            return path(rest).map(|(path, tag)| Self::Layout(path, tag));
        }
        if let Some(rest) = text.strip_prefix("oci-archive:") {
            return path(rest).map(|(path, tag)| Self::Archive(path, tag));
        }
        Ok(Self::Registry(text.strip_prefix("docker://").unwrap_or(text).parse()?))
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (kind, path, tag) = match self {
            Self::Registry(reference) => return reference.fmt(f),
            Self::Layout(path, tag) => ("oci", path, tag),
            Self::Archive(path, tag) => ("oci-archive", path, tag),
        };
        write!(f, "{kind}:{}", path.display())?;
        tag.iter().try_for_each(|tag| write!(f, ":{tag}"))
    }
}

/// Copies the image at `from`, or the one of an index for `platform`, to `to`. Returns what is
/// there then. `store` only remembers which repository has which blob. Blocks.
pub fn copy(
    store: &Store,
    (from, to): (&Place, &Place),
    platform: Option<&Platform>,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Descriptor, CopyError> {
    session::run(progress, async |events| {
        let source = Arc::new(Source::open(from, options, &events).await?);
        let sink = Sink::open(to, store, options, &events).await?;
        let (bytes, kind) = chosen(&source, source.top(), platform).await?;
        let mut copying =
            Copying { source: &source, sink: &sink, events: &events, done: BTreeSet::new() };
        copying.below(&bytes, &kind, 0).await?;
        let descriptor = described(&bytes, &kind);
        sink.finish(&bytes, &descriptor).await?;
        let (digest, size) = (descriptor.digest.clone(), descriptor.size);
        events.send(Event::Pushed { tag: None, digest, size });
        Ok(descriptor)
    })
    .map_err(|cause| CopyError {
        from: from.to_string(),
        to: to.to_string(),
        cause: Box::new(cause),
    })
}

fn described(bytes: &[u8], kind: &str) -> Descriptor {
    Descriptor::new(kind, Digest::sha256(bytes), bytes.len() as u64)
}

/// The document `name` of the source; with a platform, the manifest for it.
async fn chosen(
    source: &Source,
    name: String,
    platform: Option<&Platform>,
) -> Result<(Vec<u8>, String), Cause> {
    let (mut bytes, mut kind) = source.document(&name).await?;
    for _ in 0..=MAX_NESTING {
        let Some(platform) = platform.filter(|_| media_type::is_index(&kind)) else {
            return Ok((bytes, kind));
        };
        let digest = Digest::sha256(&bytes);
        let index: Index = parse("image index", &digest, &bytes)?;
        let child = crate::manifest::choose(&digest, &index, platform)?;
        (bytes, kind) = source.document(child.as_str()).await?;
    }
    Err(Cause::NestedIndex(MAX_NESTING))
}

fn parse<T: serde::de::DeserializeOwned>(
    what: &'static str,
    digest: &Digest,
    bytes: &[u8],
) -> Result<T, Cause> {
    serde_json::from_slice(bytes).map_err(|source| {
        let digest = digest.clone();
        LoadError::Document { what, digest, source }.into()
    })
}

/// The bytes of a document, which must hash to `digest`.
fn checked(bytes: Vec<u8>, digest: &Digest) -> Result<Vec<u8>, Cause> {
    let mut hasher = Hasher::new(digest.algorithm());
    hasher.update(&bytes);
    let actual = hasher.finish();
    if actual == *digest {
        return Ok(bytes);
    }
    Err(Cause::WrongDigest { what: "manifest", expected: digest.clone(), actual })
}

struct Copying<'a> {
    source: &'a Arc<Source>,
    sink: &'a Sink,
    events: &'a Events,
    done: BTreeSet<Digest>,
}

impl Copying<'_> {
    /// Copies what a document names, children first: what names a thing comes after it.
    async fn below(&mut self, bytes: &[u8], kind: &str, depth: usize) -> Result<(), Cause> {
        let digest = Digest::sha256(bytes);
        if !media_type::is_index(kind) {
            let manifest: Manifest = parse("manifest", &digest, bytes)?;
            let config = manifest.config.digest.clone();
            let layers = manifest.layers.len();
            let size = manifest.layers.iter().map(|layer| layer.size).sum();
            self.events.send(Event::Resolved { digest, config, layers, size });
            // layers that may not be distributed are had where their descriptor says
            let foreign = |blob: &Descriptor| crate::push::is_foreign(&blob.media_type);
            let blobs = std::iter::once(manifest.config).chain(manifest.layers);
            let blobs = blobs.filter(|blob| !foreign(blob));
            let new: Vec<_> = blobs.filter(|blob| self.done.insert(blob.digest.clone())).collect();
            return self.sink.blobs(self.source, new).await;
        }
        if depth >= MAX_NESTING {
            return Err(Cause::NestedIndex(MAX_NESTING));
        }
        for entry in document::Index::parse(&digest, bytes)?.manifests {
            let child = document::digest_of(&digest, &entry)?;
            if !self.done.insert(child.clone()) {
                continue;
            }
            let (bytes, kind) = self.source.document(child.as_str()).await?;
            Box::pin(self.below(&bytes, &kind, depth + 1)).await?;
            self.sink.document(&bytes, &kind, &child).await?;
        }
        Ok(())
    }
}

/// The longest document, for those who read one.
const MAX: u64 = MAX_DOCUMENT;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let check = |text: &str, expected: &str| {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), expected, "{text}");
        };
        check("docker://r.io/a:1", "r.io/a:1");
        check("r.io/a", "r.io/a:latest");
        check("oci:/tmp/x:1.0", "oci:/tmp/x:1.0");
        check("oci:./dir.d/x", "oci:./dir.d/x");
        check("oci-archive:x.tar:v1", "oci-archive:x.tar:v1");
        for bad in ["", "oci:", "oci-archive::v1", "docker://A"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }
}
