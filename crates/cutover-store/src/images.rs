//! [`Images`]: which images the store has and the names that point at them.
//!
//! Invariants: a name points at an image that is in the table; an image in the table has its
//! manifest and config as blobs and each layer as a blob or as a snapshot; both held when the name
//! was written, and the garbage collector keeps them.

use cutover_core::oci::media_type;
use cutover_core::{Digest, Reference};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::blobs::BlobError;
use crate::error::IoError;
use crate::image::{Image, LoadError};
use crate::snapshots::SnapshotError;
use crate::store::Store;

mod remove;

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
        self.store.blobs().put(config)?;
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

/// The text that a reference is stored under.
fn key(reference: &Reference) -> String {
    match reference.digest() {
        Some(digest) => reference.at(digest.clone()).canonical(),
        None => reference.canonical(),
    }
}

fn by_name(db: &Connection, reference: &Reference) -> Result<Option<Digest>, ImageError> {
    if let Some(found) = row(db, &key(reference))? {
        return Ok(Some(found));
    }
    match reference.digest() {
        Some(digest) => by_digest(db, digest),
        None => Ok(None),
    }
}

/// The image with this manifest; failing that, one with this config (docker's image id), or one
/// that was pulled by an index of this digest.
fn by_digest(db: &Connection, digest: &Digest) -> Result<Option<Digest>, ImageError> {
    if is_image(db, digest)? {
        return Ok(Some(digest.clone()));
    }
    let found = by_prefix(db, digest.as_str())?;
    if found.is_some() {
        return Ok(found);
    }
    let mut query = db.prepare_cached("SELECT digest FROM refs WHERE name LIKE '%@' || ?1")?;
    Ok(query.query_row([digest.as_str()], digest_column).optional()?)
}

fn by_prefix(db: &Connection, text: &str) -> Result<Option<Digest>, ImageError> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    let is_hex = hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if hex.is_empty() || hex.len() > 64 || !is_hex {
        return Ok(None);
    }
    let from = format!("sha256:{hex}");
    let to = format!("{from}g"); // after every digest that begins with `from`
    let mut query = db.prepare_cached(
        "SELECT digest FROM images WHERE digest >= ?1 AND digest < ?2
         UNION SELECT digest FROM images WHERE config >= ?1 AND config < ?2",
    )?;
    let rows = query.query_map([&from, &to], digest_column)?;
    let mut matches = rows.collect::<Result<Vec<_>, _>>()?;
    if matches.len() > 1 {
        return Err(ImageError::Ambiguous { prefix: text.to_owned(), matches });
    }
    Ok(matches.pop())
}

fn is_image(db: &Connection, digest: &Digest) -> Result<bool, rusqlite::Error> {
    db.prepare_cached("SELECT 1 FROM images WHERE digest = ?1")?.exists([digest.as_str()])
}

fn row(db: &Connection, key: &str) -> Result<Option<Digest>, rusqlite::Error> {
    let mut query = db.prepare_cached("SELECT digest FROM refs WHERE name = ?1")?;
    query.query_row([key], digest_column).optional()
}

fn set(db: &Connection, key: &str, digest: &Digest) -> Result<(), rusqlite::Error> {
    db.prepare_cached(
        "INSERT INTO refs (name, digest) VALUES (?1, ?2)
         ON CONFLICT (name) DO UPDATE SET digest = excluded.digest",
    )?
    .execute([key, digest.as_str()])?;
    Ok(())
}

fn references(db: &Connection, digest: &Digest) -> Result<Vec<Reference>, rusqlite::Error> {
    let mut query = db.prepare_cached("SELECT name FROM refs WHERE digest = ?1 ORDER BY name")?;
    let rows = query.query_map([digest.as_str()], |row| reference_column(row, 0))?;
    rows.collect()
}

fn digest_column(row: &rusqlite::Row<'_>) -> Result<Digest, rusqlite::Error> {
    parse_column(row, 0)
}

fn reference_column(row: &rusqlite::Row<'_>, column: usize) -> Result<Reference, rusqlite::Error> {
    parse_column(row, column)
}

/// A column whose text this program wrote; another text is a damaged database.
fn parse_column<T>(row: &rusqlite::Row<'_>, column: usize) -> Result<T, rusqlite::Error>
where
    T: std::str::FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text: String = row.get(column)?;
    text.parse().map_err(|error: T::Err| {
        let kind = rusqlite::types::Type::Text;
        rusqlite::Error::FromSqlConversionFailure(column, kind, Box::new(error))
    })
}
