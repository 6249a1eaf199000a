//! Forgetting steps: those not used for long, and the least used ones beyond a size.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::params;

use super::{Cache, CacheError, path_of};

/// What may stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of layers' tars; those of the steps that were used last stay.
    pub max_bytes: Option<u64>,
    /// Seconds since 1970: steps that were not used since are forgotten.
    pub until: Option<i64>,
}

/// Forgets what is beyond the limits; without any, all steps. What they were made of stays
/// remembered, so that a build can say that only a layer was removed. Returns how many steps were
/// forgotten. The layers are the collector's business.
pub fn prune_cache(root: &Path, limits: Limits) -> Result<usize, CacheError> {
    let path = path_of(root);
    if !path.exists() {
        return Ok(0);
    }
    let failed = |source| CacheError::Database { path: path.clone(), source };
    let cache = Cache::open(root)?;
    let forgotten = cache.prune(limits).map_err(failed)?;
    cache.forget_listings().map_err(failed)?;
    Ok(forgotten)
}

impl Cache {
    fn prune(&self, limits: Limits) -> Result<usize, rusqlite::Error> {
        let mut db = self.db();
        let change = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let mut forgotten = 0;
        if limits == Limits::default() {
            forgotten += change.execute("DELETE FROM steps", [])?;
            change.execute("DELETE FROM contents", [])?;
        }
        if let Some(until) = limits.until {
            forgotten += change.execute("DELETE FROM steps WHERE used < ?1", [until])?;
        }
        if let Some(max) = limits.max_bytes {
            for key in beyond(&change, max)? {
                forgotten += change.execute("DELETE FROM steps WHERE key = ?1", params![key])?;
            }
        }
        change.commit()?;
        Ok(forgotten)
    }
}

/// Steps whose layers, counted once from the last used, do not fit any more.
fn beyond(db: &rusqlite::Connection, max: u64) -> Result<Vec<String>, rusqlite::Error> {
    let mut query = db.prepare("SELECT key, chain_id, size FROM steps ORDER BY used DESC, key")?;
    let rows = query.query_map([], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?))
    })?;
    let (mut total, mut kept, mut beyond) = (0_u64, BTreeMap::new(), Vec::new());
    for row in rows {
        let (key, chain, size) = row?;
        let size = u64::try_from(size).unwrap_or(0);
        let fits = *kept.entry(chain).or_insert_with(|| {
            let fits = total.saturating_add(size) <= max;
            total += if fits { size } else { 0 };
            fits
        });
        if !fits {
            beyond.push(key);
        }
    }
    Ok(beyond)
}

#[cfg(test)]
mod tests {
    use cutover_core::Digest;

    use super::*;
    use crate::cache::Step;

    /// Three steps of 10 bytes, used at 1, 2 and 3; which of them stay.
    fn staying(limits: Limits) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let key = |name: u8| Digest::sha256(&[name]);
        for at in 1..=3 {
            let step = Step { diff_id: key(at), chain_id: key(at), size: 10 };
            cache.remember(&key(at), &step, at.into()).unwrap();
        }
        let forgotten = prune_cache(dir.path(), limits).unwrap();
        let staying: Vec<u8> =
            (1..=3).filter(|at| cache.step(&key(*at)).unwrap().is_some()).collect();
        assert_eq!(forgotten + staying.len(), 3);
        staying
    }

    #[test]
    fn the_youngest_stay() {
        assert!(staying(Limits::default()).is_empty());
        assert_eq!(staying(Limits { until: Some(2), max_bytes: None }), [2, 3]);
        assert_eq!(staying(Limits { until: None, max_bytes: Some(25) }), [2, 3]);
        assert_eq!(staying(Limits { until: Some(3), max_bytes: Some(25) }), [3]);
        assert_eq!(staying(Limits { until: None, max_bytes: Some(30) }), [1, 2, 3]);
    }
}
