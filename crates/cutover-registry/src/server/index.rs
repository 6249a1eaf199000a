//! What is stored, in memory: everything but bytes. Requests that only read touch nothing else.
//!
//! The database is the truth. The index is made from it at the start and changed by
//! [`Delta`]s after the transaction that they belong to is on disk, so nobody is ever told of
//! something that a power failure would take back.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use cutover_core::digest::Digest;
use hyper::header::HeaderValue;
use serde_json::value::RawValue;

/// A manifest of a repository, without its bytes.
#[derive(Debug)]
pub(super) struct Manifest {
    pub(super) digest: Digest,
    /// The digest as a header.
    pub(super) header: HeaderValue,
    pub(super) media_type: HeaderValue,
    pub(super) size: u64,
    pub(super) subject: Option<Digest>,
    pub(super) artifact_type: Option<String>,
    pub(super) annotations: Option<Box<RawValue>>,
}

/// A blob that a repository has.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) size: u64,
    /// Seconds since 1970 when a client was last told that it is there, or [`GOING`].
    pub(super) told: AtomicI64,
}

/// A link that is being removed: nobody is told of it any more.
pub(super) const GOING: i64 = i64::MIN;

#[derive(Debug, Default)]
pub(super) struct Repository {
    pub(super) blobs: HashMap<Digest, Link>,
    pub(super) manifests: HashMap<Digest, Arc<Manifest>>,
    pub(super) tags: BTreeMap<String, Arc<Manifest>>,
    /// Manifests by the subject that they name.
    pub(super) referrers: HashMap<Digest, BTreeSet<Digest>>,
}

#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) repositories: BTreeMap<String, Repository>,
}

/// One change, decided and on disk.
#[derive(Debug)]
pub(super) enum Delta {
    /// A repository is there, empty or not.
    Repository(Arc<str>),
    Link {
        repository: Arc<str>,
        digest: Digest,
        size: u64,
        at: i64,
    },
    Unlink {
        repository: Arc<str>,
        digest: Digest,
    },
    Manifest {
        repository: Arc<str>,
        manifest: Arc<Manifest>,
    },
    NoManifest {
        repository: Arc<str>,
        digest: Digest,
    },
    Tag {
        repository: Arc<str>,
        tag: String,
        digest: Digest,
    },
    NoTag {
        repository: Arc<str>,
        tag: String,
    },
}

impl Index {
    pub(super) fn repository(&self, name: &str) -> Option<&Repository> {
        self.repositories.get(name)
    }

    pub(super) fn apply(&mut self, delta: Delta) {
        match delta {
            Delta::Repository(name) => drop(self.at(&name)),
            Delta::Link { repository, digest, size, at } => {
                let told = AtomicI64::new(at);
                self.at(&repository).blobs.insert(digest, Link { size, told });
            }
            Delta::Unlink { repository, digest } => {
                self.at(&repository).blobs.remove(&digest);
            }
            Delta::Manifest { repository, manifest } => self.at(&repository).add(manifest),
            Delta::NoManifest { repository, digest } => self.at(&repository).remove(&digest),
            Delta::Tag { repository, tag, digest } => self.at(&repository).tag(tag, &digest),
            Delta::NoTag { repository, tag } => {
                self.at(&repository).tags.remove(&tag);
            }
        }
    }

    fn at(&mut self, name: &str) -> &mut Repository {
        if !self.repositories.contains_key(name) {
            self.repositories.insert(name.to_owned(), Repository::default());
        }
        self.repositories.get_mut(name).expect("it is there or was just made")
    }
}

impl Repository {
    /// A blob's size. Whoever is told that a blob is there may rely on it for a while: see `gc`.
    pub(super) fn blob(&self, digest: &Digest, now: i64) -> Option<u64> {
        let link = self.blobs.get(digest)?;
        let mut told = link.told.load(Ordering::SeqCst);
        while told < now {
            if told == GOING {
                return None;
            }
            match link.told.compare_exchange(told, now, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => break,
                Err(other) => told = other,
            }
        }
        Some(link.size)
    }

    fn add(&mut self, manifest: Arc<Manifest>) {
        if let Some(subject) = &manifest.subject {
            let referrers = self.referrers.entry(subject.clone()).or_default();
            referrers.insert(manifest.digest.clone());
        }
        for tagged in self.tags.values_mut().filter(|it| it.digest == manifest.digest) {
            *tagged = Arc::clone(&manifest);
        }
        self.manifests.insert(manifest.digest.clone(), manifest);
    }

    fn remove(&mut self, digest: &Digest) {
        let Some(manifest) = self.manifests.remove(digest) else { return };
        let Some(subject) = &manifest.subject else { return };
        if let Entry::Occupied(mut referrers) = self.referrers.entry(subject.clone()) {
            referrers.get_mut().remove(digest);
            if referrers.get().is_empty() {
                referrers.remove();
            }
        }
    }

    fn tag(&mut self, tag: String, digest: &Digest) {
        match self.manifests.get(digest) {
            Some(manifest) => drop(self.tags.insert(tag, Arc::clone(manifest))),
            None => debug_assert!(false, "tag `{tag}` points to `{digest}`, which is not here"),
        }
    }
}
