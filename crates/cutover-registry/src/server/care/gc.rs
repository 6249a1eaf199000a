//! Garbage collection while everything goes on.
//!
//! A push in progress has told nobody yet what its blobs are for. So nothing goes that came, or that
//! a client was told of (HEAD, mount), within the grace: clients skip what is there, and name it in a
//! manifest later. After a start the server has forgotten whom it told what: then the start counts.
//!
//! First manifests (if asked for), then links that no manifest of their repository uses, then
//! blobs without a link, then files without a blob: what a crash between a file and its row leaves.
//! Each step decides again, in the transaction that removes, for a few at a time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cutover_core::digest::Digest;
use rusqlite::params;
use serde::{Deserialize, Serialize};

use crate::server::change::By;
use crate::server::index::GOING;
use crate::server::refusal::Refusal;
use crate::server::store::Store;

/// Rows in one transaction: writers wait no longer than these take.
const STEP: usize = 200;

#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    /// Seconds.
    pub(super) grace: u64,
    /// Also manifests without a tag, that no index and no subject holds.
    pub(super) untagged: bool,
    pub(super) dry_run: bool,
}

/// What was removed, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collected {
    pub manifests: u64,
    /// Blobs that a repository had and did not use.
    pub links: u64,
    pub blobs: u64,
    pub uploads: u64,
    /// Freed on disk.
    pub bytes: u64,
}

pub(super) fn collect(store: &Arc<Store>, options: Options, by: &By) -> Result<Collected, Refusal> {
    let grace = i64::try_from(options.grace).unwrap_or(i64::MAX);
    let cutoff = by.at.saturating_sub(grace);
    let mut collected = Collected::default();
    if options.untagged {
        collected.manifests = manifests(store, cutoff, options.dry_run, by)?;
    }
    collected.links = links(store, cutoff, options.dry_run)?;
    (collected.blobs, collected.bytes) = blobs(store, cutoff, options.dry_run)?;
    if !options.dry_run {
        let idle = Duration::from_secs(options.grace);
        let expired = store.uploads.expire(idle, (store.ambient.now)());
        collected.uploads =
            expired.map_err(|error| Refusal::storage("remove old uploads", &error))? as u64;
    }
    Ok(collected)
}

/// Rows of a query as pairs of a repository's name and a digest.
fn pairs(store: &Store, sql: &str, cutoff: i64) -> Result<Vec<(Arc<str>, Digest)>, Refusal> {
    let read = store.readers.with(|db| {
        let mut query = db.prepare_cached(sql)?;
        let rows = query
            .query_map([cutoff], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
        rows.collect::<Result<Vec<_>, _>>()
    });
    let rows = read.map_err(|error| Refusal::internal("look for garbage", &error))?;
    let parsed = rows.into_iter().map(|(name, digest)| Some((name.into(), digest.parse().ok()?)));
    Ok(parsed.flatten().collect())
}

/// Without a tag, used by no index, and about nothing that is there. `m` and `r` are bound.
const LOOSE: &str = "m.at < ?1
    AND NOT EXISTS (SELECT 1 FROM tags t WHERE t.repository = r.id AND t.digest = m.digest)
    AND NOT EXISTS (SELECT 1 FROM uses u WHERE u.repository = r.id AND u.digest = m.digest)
    AND NOT EXISTS (SELECT 1 FROM manifests s WHERE s.repository = r.id AND s.digest = m.subject)";

fn manifests(store: &Arc<Store>, cutoff: i64, dry_run: bool, by: &By) -> Result<u64, Refusal> {
    let from = "FROM manifests m JOIN repositories r ON r.id = m.repository";
    let all = format!("SELECT r.name, m.digest {from} WHERE {LOOSE}");
    let mut removed = 0;
    // an index that goes sets its images free: again, until nothing goes
    loop {
        let found = pairs(store, &all, cutoff)?;
        if dry_run || found.is_empty() {
            return Ok(removed + found.len() as u64);
        }
        let before = removed;
        for step in found.chunks(STEP) {
            let (step, by) = (step.to_vec(), by.clone());
            let again = format!("SELECT 1 {from} WHERE {LOOSE} AND r.name = ?2 AND m.digest = ?3");
            removed += store.writer.run_blocking(move |change| {
                let mut count = 0;
                for (name, digest) in &step {
                    let loose = change.db.prepare_cached(&again)?.exists(params![
                        cutoff,
                        &**name,
                        digest.as_str()
                    ])?;
                    if loose {
                        change.remove_manifest(name, digest, "gc", &by)?;
                        count += 1;
                    }
                }
                Ok(count)
            })?;
        }
        if removed == before {
            return Ok(removed);
        }
    }
}

const UNUSED: &str = "l.at < ?1
    AND NOT EXISTS (SELECT 1 FROM uses u WHERE u.repository = r.id AND u.digest = l.digest)";

fn links(store: &Arc<Store>, cutoff: i64, dry_run: bool) -> Result<u64, Refusal> {
    let from = "FROM links l JOIN repositories r ON r.id = l.repository";
    let found = pairs(store, &format!("SELECT r.name, l.digest {from} WHERE {UNUSED}"), cutoff)?;
    let found: Vec<_> = found
        .into_iter()
        .filter(|(name, digest)| is_forgotten(store, name, digest, cutoff))
        .collect();
    if dry_run {
        return Ok(found.len() as u64);
    }
    let mut removed = 0;
    for step in found.chunks(STEP) {
        let (step, held) = (step.to_vec(), Arc::clone(store));
        let going = step.clone();
        let again = format!("SELECT 1 {from} WHERE {UNUSED} AND r.name = ?2 AND l.digest = ?3");
        let done = store.writer.run_blocking(move |change| {
            let mut count = 0;
            for (name, digest) in &step {
                let unused = change.db.prepare_cached(&again)?.exists(params![
                    cutoff,
                    &**name,
                    digest.as_str()
                ])?;
                // from here on nobody is told that it is there
                if unused && leave(&held, name, digest, cutoff) && change.unlink(name, digest)? {
                    count += 1;
                }
            }
            Ok(count)
        });
        match done {
            Ok(count) => removed += count,
            Err(refusal) => {
                going.iter().for_each(|(name, digest)| stay(store, name, digest, cutoff));
                return Err(refusal);
            }
        }
    }
    Ok(removed)
}

/// Whether nobody was told of a link since the cutoff.
fn is_forgotten(store: &Store, name: &str, digest: &Digest, cutoff: i64) -> bool {
    let index = store.index();
    let link = index.repository(name).and_then(|it| it.blobs.get(digest));
    link.is_some_and(|link| link.told.load(Ordering::SeqCst).max(store.started) < cutoff)
}

/// Marks a link as going, unless somebody was told of it meanwhile.
fn leave(store: &Store, name: &str, digest: &Digest, cutoff: i64) -> bool {
    let index = store.index();
    let Some(link) = index.repository(name).and_then(|it| it.blobs.get(digest)) else {
        return false;
    };
    let told = link.told.load(Ordering::SeqCst);
    told.max(store.started) < cutoff
        && link.told.compare_exchange(told, GOING, Ordering::SeqCst, Ordering::SeqCst).is_ok()
}

/// Takes the mark back: the transaction failed.
fn stay(store: &Store, name: &str, digest: &Digest, told: i64) {
    let index = store.index();
    if let Some(link) = index.repository(name).and_then(|it| it.blobs.get(digest)) {
        link.told.compare_exchange(GOING, told, Ordering::SeqCst, Ordering::SeqCst).ok();
    }
}

/// Blobs without a link, and files without a blob. Their number and size.
fn blobs(store: &Arc<Store>, cutoff: i64, dry_run: bool) -> Result<(u64, u64), Refusal> {
    let sql = "SELECT '', digest FROM blobs b
               WHERE at < ? AND NOT EXISTS (SELECT 1 FROM links l WHERE l.digest = b.digest)";
    let mut found: Vec<Digest> =
        pairs(store, sql, cutoff)?.into_iter().map(|(_, digest)| digest).collect();
    found.extend(strays(store, cutoff)?);
    let (mut count, mut bytes) = (0, 0);
    for digest in found {
        let size = fs_err::metadata(store.blobs.path(&digest)).map_or(0, |it| it.len());
        if dry_run || remove(store, &digest)? {
            count += 1;
            bytes += size;
        }
    }
    Ok((count, bytes))
}

/// Removes a blob that has no link, row first.
fn remove(store: &Arc<Store>, digest: &Digest) -> Result<bool, Refusal> {
    let _guard = store.blobs.lock_blocking(digest);
    let row = digest.clone();
    let gone = store.writer.run_blocking(move |change| {
        let linked = "SELECT 1 FROM links WHERE digest = ?";
        if change.db.prepare_cached(linked)?.exists([row.as_str()])? {
            return Ok(false);
        }
        change.db.prepare_cached("DELETE FROM blobs WHERE digest = ?")?.execute([row.as_str()])?;
        Ok(true)
    })?;
    if gone {
        let removed = store.blobs.remove(digest);
        removed.map_err(|error| Refusal::storage("remove a blob", &error))?;
    }
    Ok(gone)
}

/// Files that no row knows, old enough not to be of an upload that is just being finished.
fn strays(store: &Store, cutoff: i64) -> Result<Vec<Digest>, Refusal> {
    use std::os::unix::fs::MetadataExt as _;
    let files = store.blobs.list().map_err(|error| Refusal::storage("list the blobs", &error))?;
    let read = store.readers.with(|db| {
        let mut known = db.prepare_cached("SELECT 1 FROM blobs WHERE digest = ?")?;
        let mut strays = Vec::new();
        for digest in files {
            if !known.exists([digest.as_str()])? {
                strays.push(digest);
            }
        }
        Ok(strays)
    });
    let strays = read.map_err(|error| Refusal::internal("look for garbage", &error))?;
    let old = |digest: &Digest| {
        fs_err::metadata(store.blobs.path(digest)).is_ok_and(|it| it.mtime() < cutoff)
    };
    Ok(strays.into_iter().filter(old).collect())
}
