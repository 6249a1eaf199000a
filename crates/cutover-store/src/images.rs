//! [`Images`]: which images the store has and the names that point at them.
//!
//! Invariants: a name points at an image that is in the table; an image in the table has its
//! manifest and config as blobs and each layer as a blob or as a snapshot; both held when the name
//! was written, and the garbage collector keeps them.

use cutover_core::oci::media_type;
use cutover_core::{Digest, Reference};
use rusqlite::{TransactionBehavior, params};

use self::rows::{
    by_digest, by_name, by_prefix, digest_column, is_image, key, reference_column, references, row,
    set,
};
use crate::blobs::BlobError;
use crate::error::IoError;
use crate::image::{Image, LoadError};
use crate::snapshots::SnapshotError;
use crate::store::Store;

mod remove;
mod rows;

pub use remove::{InUse, Removal, RemoveError, RemoveOptions};

/// The images of one store.
#[derive(Clone, Debug)]
pub struct Images {
    store: Store,
}

/// One image as `images` lists it.
#[derive(Clone, Debug)]
pub struct ImageRecord {
    pub image: Image,
    /// Names with a tag, sorted. Empty for a dangling image.
    pub tags: Vec<Reference>,
    /// Names by digest: what a registry was asked for or answered.
    pub digests: Vec<Reference>,
    /// Bytes of all layers: of the uncompressed tar where the layer is unpacked, else of the blob.
    pub size: u64,
}

/// Why an image cannot be found, named or stored.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("`{prefix}` is ambiguous: it begins the digests of {} images ({})", matches.len(), short(matches))]
    Ambiguous { prefix: String, matches: Vec<Digest> },
    #[error("image {digest} is not in the store")]
    Missing { digest: Digest },
    #[error("image {digest} lacks its layer {layer}: neither blob nor snapshot is in the store")]
    LayerMissing { digest: Digest, layer: Digest },
    #[error("the store's database failed")]
    Db(#[from] rusqlite::Error),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Io(#[from] IoError),
}

impl From<BlobError> for ImageError {
    fn from(error: BlobError) -> Self {
        Self::Load(error.into())
    }
}

fn short(digests: &[Digest]) -> String {
    let mut shown: Vec<_> = digests.iter().take(4).map(Digest::short).collect();
    if digests.len() > shown.len() {
        shown.push("…");
    }
    shown.join(", ")
}

impl Images {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    /// The image that `text` means: a name, a digest of its manifest or config, or a prefix of
    /// either digest's hex, with or without `sha256:`. A name wins over a prefix, as in docker.
    pub fn resolve(&self, text: &str) -> Result<Option<Image>, ImageError> {
        let digest = self.resolve_digest(text)?;
        digest.map(|digest| self.load(&digest)).transpose()
    }

    /// [`Images::resolve`] without reading the image.
    pub fn resolve_digest(&self, text: &str) -> Result<Option<Digest>, ImageError> {
        let db = self.store.db();
        if let Ok(digest) = text.parse::<Digest>() {
            return by_digest(&db, &digest);
        }
        if let Ok(reference) = text.parse::<Reference>()
            && let Some(found) = by_name(&db, &reference)?
        {
            return Ok(Some(found));
        }
        by_prefix(&db, text)
    }

    /// The image that `reference` names; for a name by digest, any image with that digest.
    pub fn get(&self, reference: &Reference) -> Result<Option<Image>, ImageError> {
        let found = by_name(&self.store.db(), reference)?;
        found.map(|digest| self.load(&digest)).transpose()
    }

    fn load(&self, digest: &Digest) -> Result<Image, ImageError> {
        Ok(Image::load(&self.store, digest)?)
    }

    /// Stores an image whose layers are in the store, and names it. The bytes are kept exactly.
    /// After this returns, the image and its name survive a power failure.
    pub fn put(
        &self,
        manifest: &[u8],
        config: &[u8],
        reference: Option<&Reference>,
    ) -> Result<Image, ImageError> {
        let _lease = self.store.lease()?;
        let image = Image::parse(manifest.to_vec(), config)?;
        self.require_layers(&image)?;
        self.store.blobs().put_with(image.config_digest.algorithm(), config)?;
        self.store.blobs().put(manifest)?;
        self.store.snapshots().settle(&image.chain_ids)?;
        self.record(&image, reference)?;
        Ok(image)
    }

    fn require_layers(&self, image: &Image) -> Result<(), ImageError> {
        let (blobs, snapshots) = (self.store.blobs(), self.store.snapshots());
        for (layer, chain_id) in image.manifest.layers.iter().zip(&image.chain_ids) {
            let can_be_made_anew =
                layer.media_type == media_type::OCI_LAYER && snapshots.contains(chain_id);
            if !can_be_made_anew && !blobs.contains(&layer.digest) {
                let (digest, layer) = (image.digest.clone(), layer.digest.clone());
                return Err(ImageError::LayerMissing { digest, layer });
            }
        }
        Ok(())
    }

    /// Writes the rows, but only when they would change: a fully cached build then syncs nothing.
    fn record(&self, image: &Image, reference: Option<&Reference>) -> Result<(), ImageError> {
        let mut db = self.store.db();
        let named = match reference {
            Some(reference) => row(&db, &key(reference))?.as_ref() == Some(&image.digest),
            None => true,
        };
        if named && is_image(&db, &image.digest)? {
            return Ok(());
        }
        let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute(
            "INSERT OR IGNORE INTO images (digest, config) VALUES (?1, ?2)",
            params![image.digest.as_str(), image.config_digest.as_str()],
        )?;
        if let Some(reference) = reference {
            set(&transaction, &key(reference), &image.digest)?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Points `reference` at the image whose manifest is `digest`. A name by digest is recorded
    /// without its tag: it says what the bytes are, not what is newest.
    pub fn tag(&self, reference: &Reference, digest: &Digest) -> Result<(), ImageError> {
        let _lease = self.store.lease()?;
        let db = self.store.db();
        if !is_image(&db, digest)? {
            return Err(ImageError::Missing { digest: digest.clone() });
        }
        let key = key(reference);
        if row(&db, &key)?.as_ref() != Some(digest) {
            set(&db, &key, digest)?;
        }
        Ok(())
    }

    /// Removes the name, not the image; says whether there was one.
    pub fn untag(&self, reference: &Reference) -> Result<bool, ImageError> {
        let db = self.store.db();
        Ok(db.execute("DELETE FROM refs WHERE name = ?1", [key(reference)])? > 0)
    }

    /// All images, newest first, and dangling ones too. An image that cannot be read is left out
    /// and reported, so that one bad blob does not hide the rest.
    pub fn list(&self) -> Result<(Vec<ImageRecord>, Vec<ImageError>), ImageError> {
        let (mut records, mut errors) = (Vec::new(), Vec::new());
        for digest in self.digests()? {
            match self.load(&digest).and_then(|image| self.record_of(image)) {
                Ok(record) => records.push(record),
                Err(error) => errors.push(error),
            }
        }
        // RFC 3339 in UTC sorts as text
        records.sort_by(|a, b| b.image.config.created.cmp(&a.image.config.created));
        Ok((records, errors))
    }

    /// The manifests of all images.
    pub fn digests(&self) -> Result<Vec<Digest>, ImageError> {
        let db = self.store.db();
        let mut query = db.prepare_cached("SELECT digest FROM images ORDER BY digest")?;
        let rows = query.query_map([], digest_column)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// What `images` and `inspect` show of an image besides its documents.
    pub fn record_of(&self, image: Image) -> Result<ImageRecord, ImageError> {
        let names = self.references(&image.digest)?;
        let (digests, tags) = names.into_iter().partition(|name| name.digest().is_some());
        let size = image.size(&self.store);
        Ok(ImageRecord { image, tags, digests, size })
    }

    /// Every name of the image, sorted.
    pub fn references(&self, digest: &Digest) -> Result<Vec<Reference>, ImageError> {
        Ok(references(&self.store.db(), digest)?)
    }

    /// Every name in the store with the image that it points at, sorted.
    pub fn names(&self) -> Result<Vec<(Reference, Digest)>, ImageError> {
        let db = self.store.db();
        let mut query = db.prepare_cached("SELECT digest, name FROM refs ORDER BY name")?;
        let rows =
            query.query_map([], |row| Ok((reference_column(row, 1)?, digest_column(row)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
