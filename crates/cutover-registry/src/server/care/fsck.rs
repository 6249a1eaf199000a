//! Everything hashed again, and what is damaged by its name.

use std::sync::Arc;

use cutover_core::digest::{Digest, Hasher};
use rusqlite::params;
use serde::{Deserialize, Serialize};

use super::Report;
use crate::server::refusal::Refusal;
use crate::server::store::Store;
use crate::server::upload::digest_of;

/// One damaged thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    pub digest: String,
    /// What is wrong with it.
    pub what: String,
    /// Who has it.
    pub repositories: Vec<String>,
    /// It was taken away, and the next push brings it.
    pub forgotten: bool,
}

pub(super) fn check(store: &Arc<Store>, forget: bool) -> Result<Report, Refusal> {
    let (mut blobs, mut manifests, mut bytes, mut damaged) = (0, 0, 0, Vec::new());
    for (digest, size) in rows(store, "SELECT digest, size FROM blobs")? {
        blobs += 1;
        bytes += size;
        let Some(what) = wrong_with(store, &digest, size) else { continue };
        // one that was removed meanwhile is not damaged
        let repositories = holders(store, "links", &digest)?;
        if repositories.is_empty() {
            continue;
        }
        if forget {
            take_away(store, &digest)?;
        }
        let digest = digest.to_string();
        damaged.push(Damage { digest, what, repositories, forgotten: forget });
    }
    for (digest, size) in rows(store, "SELECT digest, length(bytes) FROM documents")? {
        manifests += 1;
        bytes += size;
        let read = store.readers.document(&digest);
        let found = read.map_err(|error| Refusal::internal("read a manifest", &error))?;
        let Some(found) = found else { continue };
        let mut hasher = Hasher::new(digest.algorithm());
        hasher.update(&found);
        let is = hasher.finish();
        if is != digest {
            let (what, forgotten) = (format!("its bytes are those of {is}"), false);
            let repositories = holders(store, "manifests", &digest)?;
            damaged.push(Damage { digest: digest.to_string(), what, repositories, forgotten });
        }
    }
    Ok(Report::Checked { blobs, manifests, bytes, damaged })
}

fn rows(store: &Store, sql: &str) -> Result<Vec<(Digest, u64)>, Refusal> {
    let read = store.readers.with(|db| {
        let mut query = db.prepare(sql)?;
        let rows =
            query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
        rows.collect::<Result<Vec<_>, _>>()
    });
    let rows = read.map_err(|error| Refusal::internal("list what is stored", &error))?;
    let parsed =
        rows.into_iter().map(|(digest, size)| Some((digest.parse().ok()?, size.try_into().ok()?)));
    Ok(parsed.flatten().collect())
}

/// What is wrong with a blob's file, if anything is.
fn wrong_with(store: &Store, digest: &Digest, size: u64) -> Option<String> {
    let file = match store.blobs.open_file(digest) {
        Ok(file) => file,
        Err(error) => return Some(format!("its file cannot be opened: {error}")),
    };
    match file.metadata() {
        Err(error) => return Some(format!("its file cannot be read: {error}")),
        Ok(metadata) if metadata.len() != size => {
            return Some(format!("its file has {} bytes, not {size}", metadata.len()));
        }
        Ok(_) => {}
    }
    match digest_of(&file, size, digest.algorithm()).map(Hasher::finish) {
        Ok(is) if is == *digest => None,
        Ok(is) => Some(format!("its bytes are those of {is}")),
        Err(error) => Some(format!("its file cannot be read: {error}")),
    }
}

fn holders(store: &Store, table: &str, digest: &Digest) -> Result<Vec<String>, Refusal> {
    let sql = format!(
        "SELECT name FROM repositories r JOIN {table} t ON t.repository = r.id WHERE t.digest = ?"
    );
    let read = store.readers.with(|db| {
        let mut query = db.prepare_cached(&sql)?;
        let rows = query.query_map([digest.as_str()], |row| row.get(0))?;
        rows.collect::<Result<Vec<String>, _>>()
    });
    read.map_err(|error| Refusal::internal("list the repositories", &error))
}

/// No repository has a blob any more, and its file goes.
fn take_away(store: &Arc<Store>, digest: &Digest) -> Result<(), Refusal> {
    let _guard = store.blobs.lock_blocking(digest);
    let names: Vec<Arc<str>> =
        holders(store, "links", digest)?.into_iter().map(Into::into).collect();
    let row = digest.clone();
    store.writer.run_blocking(move |change| {
        for name in &names {
            change.unlink(name, &row)?;
        }
        let sql = "DELETE FROM blobs WHERE digest = ?1
                   AND NOT EXISTS (SELECT 1 FROM links WHERE digest = ?1)";
        change.db.prepare_cached(sql)?.execute(params![row.as_str()])?;
        Ok(())
    })?;
    store.blobs.remove(digest).map_err(|error| Refusal::storage("remove a blob", &error))
}
