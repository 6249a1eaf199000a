//! The changes: what is decided and written in one transaction. No I/O but the database's.

use std::sync::Arc;

use cutover_core::digest::Digest;
use hyper::StatusCode;
use rusqlite::{OptionalExtension, params};

use super::db::Described;
use super::index::{Delta, Manifest};
use super::policy::{Before, Policy};
use super::refusal::{Code, Refusal};
use super::writer::Change;

/// Who changes something, and when.
#[derive(Clone, Debug)]
pub(super) struct By {
    pub(super) who: Arc<str>,
    /// Seconds since 1970.
    pub(super) at: i64,
}

/// A manifest that is to be stored, and tags that are to point to it.
#[derive(Clone, Debug)]
pub(super) struct NewManifest {
    pub(super) described: Described,
    pub(super) bytes: bytes::Bytes,
    pub(super) uses: Vec<Digest>,
    pub(super) tags: Vec<String>,
}

/// A size as SQLite has it.
fn stored(size: u64) -> i64 {
    size.try_into().unwrap_or(i64::MAX)
}

impl Change<'_> {
    /// A repository's row and how many bytes it has.
    pub(super) fn repository(&self, name: &str) -> Result<Option<(i64, u64)>, Refusal> {
        let mut query =
            self.db.prepare_cached("SELECT id, bytes FROM repositories WHERE name = ?")?;
        let found = query.query_row([name], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)));
        Ok(found.optional()?.map(|(id, bytes)| (id, bytes.try_into().unwrap_or(0))))
    }

    pub(super) fn make_repository(&mut self, name: &Arc<str>) -> Result<(i64, u64), Refusal> {
        if let Some(found) = self.repository(name)? {
            return Ok(found);
        }
        self.db.prepare_cached("INSERT INTO repositories (name) VALUES (?)")?.execute([&**name])?;
        self.deltas.push(Delta::Repository(Arc::clone(name)));
        Ok((self.db.last_insert_rowid(), 0))
    }

    fn grow(&self, id: i64, by: i64) -> Result<(), Refusal> {
        let sql = "UPDATE repositories SET bytes = max(0, bytes + ?) WHERE id = ?";
        self.db.prepare_cached(sql)?.execute(params![by, id])?;
        Ok(())
    }

    /// A blob whose file is there belongs to a repository from now on.
    pub(super) fn link(
        &mut self,
        policy: &Policy,
        name: &Arc<str>,
        (digest, size): (&Digest, u64),
        at: i64,
    ) -> Result<(), Refusal> {
        let (id, used) = self.make_repository(name)?;
        let blob = "INSERT INTO blobs (digest, size, at) VALUES (?, ?, ?)
                    ON CONFLICT (digest) DO UPDATE SET at = max(at, excluded.at)";
        self.db.prepare_cached(blob)?.execute(params![digest.as_str(), stored(size), at])?;
        let had = "SELECT 1 FROM links WHERE repository = ? AND digest = ?";
        let had = self.db.prepare_cached(had)?.exists(params![id, digest.as_str()])?;
        let link = "INSERT INTO links (repository, digest, at) VALUES (?, ?, ?)
                    ON CONFLICT (repository, digest) DO UPDATE SET at = max(at, excluded.at)";
        self.db.prepare_cached(link)?.execute(params![id, digest.as_str(), at])?;
        if !had {
            policy.check_room(name, used, size)?;
            self.grow(id, stored(size))?;
            let (repository, digest) = (Arc::clone(name), digest.clone());
            self.deltas.push(Delta::Link { repository, digest, size, at });
        }
        Ok(())
    }

    /// A repository does not have a blob any more. Whether it had.
    pub(super) fn unlink(&mut self, name: &Arc<str>, digest: &Digest) -> Result<bool, Refusal> {
        let Some((id, _)) = self.repository(name)? else { return Ok(false) };
        let sql = "DELETE FROM links WHERE repository = ? AND digest = ?
                   RETURNING (SELECT size FROM blobs WHERE blobs.digest = links.digest)";
        let mut delete = self.db.prepare_cached(sql)?;
        let size: Option<i64> =
            delete.query_row(params![id, digest.as_str()], |row| row.get(0)).optional()?;
        let Some(size) = size else { return Ok(false) };
        self.grow(id, -size)?;
        self.deltas.push(Delta::Unlink { repository: Arc::clone(name), digest: digest.clone() });
        Ok(true)
    }

    /// Stores a manifest and sets its tags: all of it, or nothing.
    pub(super) fn put_manifest(
        &mut self,
        policy: &Policy,
        name: &Arc<str>,
        new: &NewManifest,
        by: &By,
    ) -> Result<(), Refusal> {
        let (id, used) = self.make_repository(name)?;
        if policy.complete {
            self.check_complete(id, new)?;
        }
        let digest = new.described.digest.as_str();
        let had = "SELECT media_type FROM manifests WHERE repository = ? AND digest = ?";
        let had: Option<String> = self
            .db
            .prepare_cached(had)?
            .query_row(params![id, digest], |row| row.get(0))
            .optional()?;
        if had.as_ref() != Some(&new.described.media_type) {
            if had.is_none() {
                policy.check_room(name, used, new.described.size)?;
                self.grow(id, stored(new.described.size))?;
            }
            self.store(id, name, new, by.at)?;
        }
        for tag in &new.tags {
            self.tag(policy, (id, name), (tag, &new.described.digest), "push", by)?;
        }
        Ok(())
    }

    fn store(
        &mut self,
        id: i64,
        name: &Arc<str>,
        new: &NewManifest,
        at: i64,
    ) -> Result<(), Refusal> {
        let it = &new.described;
        let document = "INSERT OR IGNORE INTO documents (digest, bytes) VALUES (?, ?)";
        self.db.prepare_cached(document)?.execute(params![it.digest.as_str(), &new.bytes[..]])?;
        let row = "INSERT INTO manifests
                   (repository, digest, media_type, size, subject, artifact_type, annotations, at)
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                   ON CONFLICT (repository, digest) DO UPDATE SET media_type = excluded.media_type";
        self.db.prepare_cached(row)?.execute(params![
            id,
            it.digest.as_str(),
            it.media_type,
            stored(it.size),
            it.subject.as_ref().map(Digest::as_str),
            it.artifact_type,
            it.annotations,
            at
        ])?;
        let mut uses = self.db.prepare_cached(
            "INSERT OR IGNORE INTO uses (repository, manifest, digest) VALUES (?, ?, ?)",
        )?;
        for used in &new.uses {
            uses.execute(params![id, it.digest.as_str(), used.as_str()])?;
        }
        let manifest = Manifest::new(it.clone());
        self.deltas.push(Delta::Manifest { repository: Arc::clone(name), manifest });
        Ok(())
    }

    fn check_complete(&self, id: i64, new: &NewManifest) -> Result<(), Refusal> {
        let mut have = self.db.prepare_cached(
            "SELECT 1 FROM links WHERE repository = ?1 AND digest = ?2
             UNION ALL SELECT 1 FROM manifests WHERE repository = ?1 AND digest = ?2",
        )?;
        for digest in &new.uses {
            if !have.exists(params![id, digest.as_str()])? {
                let message =
                    format!("the manifest names {digest}, which the repository does not have");
                return Err(Refusal::not_found(Code::ManifestBlobUnknown, message));
            }
        }
        Ok(())
    }

    /// Points a tag to a manifest of its repository, and writes that down.
    pub(super) fn tag(
        &mut self,
        policy: &Policy,
        (id, name): (i64, &Arc<str>),
        (tag, digest): (&str, &Digest),
        what: &str,
        by: &By,
    ) -> Result<(), Refusal> {
        let before = self.before(id, tag)?;
        policy.check_tag(name, tag, &before, digest.as_str())?;
        let old = match &before {
            Before::Is(old) if old == digest.as_str() => return Ok(()),
            Before::Is(old) => Some(old.as_str()),
            Before::Never | Before::Deleted(_) => None,
        };
        let set = "INSERT INTO tags (repository, tag, digest, at) VALUES (?, ?, ?, ?)
                   ON CONFLICT (repository, tag) DO UPDATE
                   SET digest = excluded.digest, at = excluded.at";
        self.db.prepare_cached(set)?.execute(params![id, tag, digest.as_str(), by.at])?;
        self.note(id, tag, (old, Some(digest.as_str())), what, by)?;
        let (repository, tag) = (Arc::clone(name), tag.to_owned());
        self.deltas.push(Delta::Tag { repository, tag, digest: digest.clone() });
        Ok(())
    }

    /// What a tag is, or last was.
    fn before(&self, id: i64, tag: &str) -> Result<Before, Refusal> {
        let last = "SELECT old, new FROM history WHERE repository = ? AND tag = ?
                    ORDER BY id DESC LIMIT 1";
        let mut last = self.db.prepare_cached(last)?;
        let found: Option<(Option<String>, Option<String>)> =
            last.query_row(params![id, tag], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        Ok(match found {
            None | Some((None, None)) => Before::Never,
            Some((_, Some(new))) => Before::Is(new),
            Some((Some(old), None)) => Before::Deleted(old),
        })
    }

    fn note(
        &self,
        id: i64,
        tag: &str,
        (old, new): (Option<&str>, Option<&str>),
        what: &str,
        by: &By,
    ) -> Result<(), Refusal> {
        let sql = "INSERT INTO history (repository, tag, at, who, what, old, new)
                   VALUES (?, ?, ?, ?, ?, ?, ?)";
        let mut insert = self.db.prepare_cached(sql)?;
        insert.execute(params![id, tag, by.at, &*by.who, what, old, new])?;
        Ok(())
    }

    /// Takes a tag away; its history stays. Whether it was there.
    pub(super) fn untag(
        &mut self,
        name: &Arc<str>,
        tag: &str,
        what: &str,
        by: &By,
    ) -> Result<bool, Refusal> {
        let Some((id, _)) = self.repository(name)? else { return Ok(false) };
        let delete = "DELETE FROM tags WHERE repository = ? AND tag = ? RETURNING digest";
        let mut delete = self.db.prepare_cached(delete)?;
        let old: Option<String> =
            delete.query_row(params![id, tag], |row| row.get(0)).optional()?;
        let Some(old) = old else { return Ok(false) };
        self.note(id, tag, (Some(&old), None), what, by)?;
        self.deltas.push(Delta::NoTag { repository: Arc::clone(name), tag: tag.to_owned() });
        Ok(true)
    }

    /// Removes a manifest and all tags that point to it.
    pub(super) fn remove_manifest(
        &mut self,
        name: &Arc<str>,
        digest: &Digest,
        what: &str,
        by: &By,
    ) -> Result<(), Refusal> {
        let unknown = || {
            let message = format!("repository `{name}` has no manifest {digest}");
            Refusal::not_found(Code::ManifestUnknown, message)
        };
        let (id, _) = self.repository(name)?.ok_or_else(unknown)?;
        let mut tags =
            self.db.prepare_cached("SELECT tag FROM tags WHERE repository = ? AND digest = ?")?;
        let tags: Vec<String> = tags
            .query_map(params![id, digest.as_str()], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for tag in tags {
            self.untag(name, &tag, what, by)?;
        }
        let delete = "DELETE FROM manifests WHERE repository = ? AND digest = ? RETURNING size";
        let mut delete = self.db.prepare_cached(delete)?;
        let size: Option<i64> =
            delete.query_row(params![id, digest.as_str()], |row| row.get(0)).optional()?;
        self.grow(id, -size.ok_or_else(unknown)?)?;
        let orphan = "DELETE FROM documents WHERE digest = ?1
                      AND NOT EXISTS (SELECT 1 FROM manifests WHERE digest = ?1)";
        self.db.prepare_cached(orphan)?.execute([digest.as_str()])?;
        let (repository, digest) = (Arc::clone(name), digest.clone());
        self.deltas.push(Delta::NoManifest { repository, digest });
        Ok(())
    }
}

/// A repository that nobody has pushed to.
pub(super) fn name_unknown(name: &str) -> Refusal {
    let message = format!("there is no repository `{name}`");
    Refusal::new(StatusCode::NOT_FOUND, Code::NameUnknown, message)
}
