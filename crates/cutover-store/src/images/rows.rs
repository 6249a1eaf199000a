//! The database's rows: names and digests to and from text, and the queries.

use cutover_core::{Digest, Reference};
use rusqlite::{Connection, OptionalExtension};

use super::ImageError;

/// The text that a reference is stored under.
pub(super) fn key(reference: &Reference) -> String {
    match reference.digest() {
        Some(digest) => reference.at(digest.clone()).canonical(),
        None => reference.canonical(),
    }
}

pub(super) fn by_name(
    db: &Connection,
    reference: &Reference,
) -> Result<Option<Digest>, ImageError> {
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
pub(super) fn by_digest(db: &Connection, digest: &Digest) -> Result<Option<Digest>, ImageError> {
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

pub(super) fn by_prefix(db: &Connection, text: &str) -> Result<Option<Digest>, ImageError> {
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

pub(super) fn is_image(db: &Connection, digest: &Digest) -> Result<bool, rusqlite::Error> {
    db.prepare_cached("SELECT 1 FROM images WHERE digest = ?1")?.exists([digest.as_str()])
}

pub(super) fn row(db: &Connection, key: &str) -> Result<Option<Digest>, rusqlite::Error> {
    let mut query = db.prepare_cached("SELECT digest FROM refs WHERE name = ?1")?;
    query.query_row([key], digest_column).optional()
}

pub(super) fn set(db: &Connection, key: &str, digest: &Digest) -> Result<(), rusqlite::Error> {
    db.prepare_cached(
        "INSERT INTO refs (name, digest) VALUES (?1, ?2)
         ON CONFLICT (name) DO UPDATE SET digest = excluded.digest",
    )?
    .execute([key, digest.as_str()])?;
    Ok(())
}

pub(super) fn references(
    db: &Connection,
    digest: &Digest,
) -> Result<Vec<Reference>, rusqlite::Error> {
    let mut query = db.prepare_cached("SELECT name FROM refs WHERE digest = ?1 ORDER BY name")?;
    let rows = query.query_map([digest.as_str()], |row| reference_column(row, 0))?;
    rows.collect()
}

pub(super) fn digest_column(row: &rusqlite::Row<'_>) -> Result<Digest, rusqlite::Error> {
    parse_column(row, 0)
}

pub(super) fn reference_column(
    row: &rusqlite::Row<'_>,
    column: usize,
) -> Result<Reference, rusqlite::Error> {
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
