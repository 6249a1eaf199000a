//! Removing images as `docker rmi` does: a name first, the image with its last name.

use std::collections::BTreeSet;
use std::fmt;

use cutover_core::{Digest, Reference};
use rusqlite::TransactionBehavior;

use super::rows::{key, references};
use super::{ImageError, Images};
use crate::error::IoError;
use crate::gc::{GcError, Keep};
use crate::store::Store;

/// A container that uses an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InUse {
    /// Its name or short id, for the message.
    pub container: String,
    pub running: bool,
}

/// What the caller knows that the store does not.
#[derive(Clone, Copy)]
pub struct RemoveOptions<'a> {
    /// Remove an image given by id with all its names, and images of stopped containers.
    pub force: bool,
    /// The container that uses the image with this manifest, a running one first.
    pub in_use: &'a dyn Fn(&Digest) -> Option<InUse>,
    /// What the collection that follows must spare; see [`Store::gc`].
    pub keep: &'a dyn Fn() -> Result<Keep, IoError>,
}

/// What was removed, in the order to print it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removal {
    pub untagged: Vec<Reference>,
    /// The image's digest, when the image itself went.
    pub deleted: Vec<Digest>,
}

/// Why an image is not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    #[error("no such image: `{0}`")]
    NoSuchImage(String),
    #[error("image {} has several names ({}): remove them one by one, or use force", digest.short(), names(references))]
    SeveralNames { digest: Digest, references: Vec<Reference> },
    #[error("image {} is used by container `{}`", digest.short(), in_use.container)]
    InUse { digest: Digest, in_use: InUse },
    #[error(transparent)]
    Image(#[from] ImageError),
}

fn names(references: &[Reference]) -> String {
    references.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What to do with the database; chosen before anything is done.
#[derive(Debug, PartialEq, Eq)]
struct Decision {
    untag: Vec<Reference>,
    delete: bool,
}

impl Images {
    /// Removes what `text` means, and the files that nothing else needs. By name: the name, and
    /// the image with its last tag. By id: the image if it has at most one name, or by force.
    pub fn remove(&self, text: &str, options: &RemoveOptions<'_>) -> Result<Removal, RemoveError> {
        let digest = self.resolve_digest(text)?;
        let digest = digest.ok_or_else(|| RemoveError::NoSuchImage(text.to_owned()))?;
        let all = self.references(&digest)?;
        let by_name = text.parse::<Reference>().ok().map(|name| key(&name));
        let named = all.iter().find(|name| by_name.as_deref() == Some(&key(name)));
        let decision = decide(&digest, named, &all, options.force)?;
        if decision.delete {
            check_unused(&digest, options)?;
        }
        let deleted = self.apply_removal(&digest, &decision).map_err(ImageError::from)?;
        if deleted {
            collect(&self.store, options);
        }
        let deleted = if deleted { vec![digest] } else { Vec::new() };
        Ok(Removal { untagged: decision.untag, deleted })
    }

    /// Forgets images without a name that are not in `used`, and says which; their files go with
    /// the next collection. While a [`crate::Lease`] is held, none: what it was just made for may
    /// not be known to anybody else yet.
    pub fn forget_dangling(&self, used: &BTreeSet<Digest>) -> Result<Vec<Digest>, ImageError> {
        let Some(_exclusive) = self.store.try_exclusive()? else { return Ok(Vec::new()) };
        let all = self.digests()?;
        let mut forgotten = Vec::new();
        for digest in all.into_iter().filter(|digest| !used.contains(digest)) {
            if self.references(&digest)?.is_empty() {
                let decision = Decision { untag: Vec::new(), delete: true };
                if self.apply_removal(&digest, &decision)? {
                    forgotten.push(digest);
                }
            }
        }
        Ok(forgotten)
    }

    /// Does it to the database; says whether the image went.
    fn apply_removal(&self, digest: &Digest, decision: &Decision) -> Result<bool, rusqlite::Error> {
        let mut db = self.store.db();
        let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for reference in &decision.untag {
            let name = key(reference);
            let parameters = [name.as_str(), digest.as_str()];
            transaction.execute("DELETE FROM refs WHERE name = ?1 AND digest = ?2", parameters)?;
        }
        // Someone may have given it a name since; then the image stays.
        let delete = decision.delete && references(&transaction, digest)?.is_empty();
        if delete {
            transaction.execute("DELETE FROM images WHERE digest = ?1", [digest.as_str()])?;
        }
        transaction.commit()?;
        Ok(delete)
    }
}

/// `named` is the name that the user gave, `None` when they gave an id.
fn decide(
    digest: &Digest,
    named: Option<&Reference>,
    all: &[Reference],
    force: bool,
) -> Result<Decision, RemoveError> {
    let Some(named) = named else {
        if !force && !is_single(all) {
            let (digest, references) = (digest.clone(), all.to_vec());
            return Err(RemoveError::SeveralNames { digest, references });
        }
        return Ok(Decision { untag: all.to_vec(), delete: true });
    };
    let rest = all.iter().filter(|name| *name != named);
    if rest.clone().any(|name| name.digest().is_none()) {
        // Names by digest go with the last tag of their repository.
        let repository_tagged =
            rest.clone().any(|name| name.digest().is_none() && name.name() == named.name());
        let orphans =
            rest.filter(|name| name.digest().is_some() && name.name() == named.name()).cloned();
        let mut untag = vec![named.clone()];
        if named.digest().is_none() && !repository_tagged {
            untag.extend(orphans);
        }
        return Ok(Decision { untag, delete: false });
    }
    if named.digest().is_some() && rest.clone().next().is_some() {
        return Ok(Decision { untag: vec![named.clone()], delete: false });
    }
    let mut untag = vec![named.clone()];
    untag.extend(rest.cloned());
    Ok(Decision { untag, delete: true })
}

/// docker's rule: no name, one name, or a tag and a digest of one repository.
fn is_single(all: &[Reference]) -> bool {
    match all {
        [] | [_] => true,
        [a, b] => a.name() == b.name() && a.digest().is_some() != b.digest().is_some(),
        _ => false,
    }
}

fn check_unused(digest: &Digest, options: &RemoveOptions<'_>) -> Result<(), RemoveError> {
    match (options.in_use)(digest) {
        Some(in_use) if in_use.running || !options.force => {
            Err(RemoveError::InUse { digest: digest.clone(), in_use })
        }
        _ => Ok(()),
    }
}

/// Frees the space. The image is gone whatever happens here; while someone works in the store,
/// or where another image is damaged, the files stay for the next collection.
fn collect(store: &Store, options: &RemoveOptions<'_>) {
    match store.gc(options.keep) {
        Ok(_) | Err(GcError::Busy) => {}
        Err(error) => tracing::warn!(%error, "removed an image, but not its files"),
    }
}

impl fmt::Debug for RemoveOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoveOptions").field("force", &self.force).finish_non_exhaustive()
    }
}
