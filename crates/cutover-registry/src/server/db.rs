//! `registry.db`: repositories, links, manifests with their bytes, tags and their history.
//!
//! SQLite in WAL mode with `synchronous=FULL`. Blobs are files; what says that a repository has one
//! is here. Version 1.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use cutover_core::digest::Digest;
use hyper::header::HeaderValue;
use rusqlite::{Connection, OptionalExtension, params};

use super::index::{Delta, Index, Manifest};

/// The newest schema that this program writes; kept in `PRAGMA user_version`.
const VERSION: i64 = 1;

const SCHEMA: &str = "
    CREATE TABLE repositories (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        bytes INTEGER NOT NULL DEFAULT 0
    );
    CREATE TABLE blobs (
        digest TEXT PRIMARY KEY,
        size INTEGER NOT NULL,
        at INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE links (
        repository INTEGER NOT NULL REFERENCES repositories (id),
        digest TEXT NOT NULL REFERENCES blobs (digest),
        at INTEGER NOT NULL,
        PRIMARY KEY (repository, digest)
    ) WITHOUT ROWID;
    CREATE INDEX links_digest ON links (digest);
    CREATE TABLE documents (
        digest TEXT PRIMARY KEY,
        bytes BLOB NOT NULL
    );
    CREATE TABLE manifests (
        repository INTEGER NOT NULL REFERENCES repositories (id),
        digest TEXT NOT NULL REFERENCES documents (digest),
        media_type TEXT NOT NULL,
        size INTEGER NOT NULL,
        subject TEXT,
        artifact_type TEXT,
        annotations TEXT,
        at INTEGER NOT NULL,
        PRIMARY KEY (repository, digest)
    ) WITHOUT ROWID;
    CREATE INDEX manifests_digest ON manifests (digest);
    CREATE TABLE uses (
        repository INTEGER NOT NULL,
        manifest TEXT NOT NULL,
        digest TEXT NOT NULL,
        PRIMARY KEY (repository, manifest, digest),
        FOREIGN KEY (repository, manifest) REFERENCES manifests (repository, digest)
            ON DELETE CASCADE
    ) WITHOUT ROWID;
    CREATE INDEX uses_digest ON uses (repository, digest);
    CREATE TABLE tags (
        repository INTEGER NOT NULL,
        tag TEXT NOT NULL,
        digest TEXT NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (repository, tag),
        FOREIGN KEY (repository, digest) REFERENCES manifests (repository, digest)
    ) WITHOUT ROWID;
    CREATE INDEX tags_digest ON tags (repository, digest);
    CREATE TABLE history (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        repository INTEGER NOT NULL REFERENCES repositories (id),
        tag TEXT NOT NULL,
        at INTEGER NOT NULL,
        who TEXT NOT NULL,
        what TEXT NOT NULL,
        old TEXT,
        new TEXT
    );
    CREATE INDEX history_tag ON history (repository, tag, id);
    PRAGMA user_version = 1;
";

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    #[error("it has version {found}, this program knows up to {VERSION}: use a newer cutover")]
    Newer { found: i64 },
    #[error("`{text}` in it is not a digest")]
    Digest { text: String, source: cutover_core::digest::ParseDigestError },
    #[error("the database refused")]
    Sqlite(#[from] rusqlite::Error),
}

/// Opens the database, which is made if it is not there.
pub(super) fn open(path: &Path) -> Result<Connection, DbError> {
    let db = Connection::open(path)?;
    db.busy_timeout(Duration::from_secs(10))?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "foreign_keys", "ON")?;
    db.set_prepared_statement_cache_capacity(64);
    match db.query_row("PRAGMA user_version", [], |row| row.get(0))? {
        VERSION => {}
        0 => db.execute_batch(&format!("BEGIN IMMEDIATE; {SCHEMA} COMMIT;"))?,
        found => return Err(DbError::Newer { found }),
    }
    Ok(db)
}

fn digest(text: String) -> Result<Digest, DbError> {
    text.parse().map_err(|source| DbError::Digest { text, source })
}

/// The index of everything that is in the database.
pub(super) fn load(db: &Connection) -> Result<Index, DbError> {
    let mut index = Index::default();
    let mut names: std::collections::HashMap<i64, Arc<str>> = std::collections::HashMap::new();
    let mut rows = db.prepare("SELECT id, name FROM repositories")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let name: Arc<str> = row.get::<_, String>(1)?.into();
        names.insert(row.get(0)?, Arc::clone(&name));
        index.apply(Delta::Repository(name));
    }
    let name = |id: i64| names.get(&id).map(Arc::clone).ok_or(rusqlite::Error::QueryReturnedNoRows);
    let mut links = db.prepare(
        "SELECT links.repository, links.digest, blobs.size, links.at
         FROM links JOIN blobs ON blobs.digest = links.digest",
    )?;
    let mut rows = links.query([])?;
    while let Some(row) = rows.next()? {
        let (digest, at) = (digest(row.get(1)?)?, row.get(3)?);
        let size = size(row.get(2)?);
        index.apply(Delta::Link { repository: name(row.get(0)?)?, digest, size, at });
    }
    let mut manifests = db.prepare(
        "SELECT repository, digest, media_type, size, subject, artifact_type, annotations
         FROM manifests",
    )?;
    let mut rows = manifests.query([])?;
    while let Some(row) = rows.next()? {
        let manifest = Manifest::new(Described {
            digest: digest(row.get(1)?)?,
            media_type: row.get(2)?,
            size: size(row.get(3)?),
            subject: row.get::<_, Option<String>>(4)?.map(digest).transpose()?,
            artifact_type: row.get(5)?,
            annotations: row.get(6)?,
        });
        index.apply(Delta::Manifest { repository: name(row.get(0)?)?, manifest });
    }
    let mut tags = db.prepare("SELECT repository, tag, digest FROM tags")?;
    let mut rows = tags.query([])?;
    while let Some(row) = rows.next()? {
        let (tag, digest) = (row.get(1)?, digest(row.get(2)?)?);
        index.apply(Delta::Tag { repository: name(row.get(0)?)?, tag, digest });
    }
    Ok(index)
}

fn size(stored: i64) -> u64 {
    stored.try_into().unwrap_or(0)
}

/// A manifest's row.
#[derive(Clone, Debug)]
pub(super) struct Described {
    pub(super) digest: Digest,
    pub(super) media_type: String,
    pub(super) size: u64,
    pub(super) subject: Option<Digest>,
    pub(super) artifact_type: Option<String>,
    /// A JSON object.
    pub(super) annotations: Option<String>,
}

impl Manifest {
    pub(super) fn new(described: Described) -> Arc<Self> {
        let Described { digest, media_type, size, subject, artifact_type, annotations } = described;
        let octets = || HeaderValue::from_static("application/octet-stream");
        Arc::new(Self {
            header: HeaderValue::from_str(digest.as_str()).expect("a digest is a header value"),
            media_type: HeaderValue::from_str(&media_type).unwrap_or_else(|_unprintable| octets()),
            annotations: annotations.and_then(|text| serde_json::from_str(&text).ok()),
            digest,
            size,
            subject,
            artifact_type,
        })
    }
}

/// Connections for reading what is not in memory, one for each reader at a time.
#[derive(Debug)]
pub(super) struct Readers {
    path: std::path::PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), idle: Mutex::default() }
    }

    /// Runs `read` with a connection. Blocks.
    pub(super) fn with<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, rusqlite::Error>,
    ) -> Result<T, DbError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let db = match idle {
            Some(db) => db,
            None => open(&self.path)?,
        };
        let read = read(&db)?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(db);
        Ok(read)
    }

    /// The bytes of a manifest.
    pub(super) fn document(&self, digest: &Digest) -> Result<Option<Bytes>, DbError> {
        self.with(|db| {
            let mut query = db.prepare_cached("SELECT bytes FROM documents WHERE digest = ?")?;
            let bytes = query.query_row(params![digest.as_str()], |row| row.get(0)).optional()?;
            Ok(bytes.map(|bytes: Vec<u8>| Bytes::from(bytes)))
        })
    }
}
