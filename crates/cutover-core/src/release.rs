//! [`Release`]: an app's services at one moment, resolved, pinned and sealed by digest.
//!
//! A release restores everything without asking anyone: images are digests, variables are
//! resolved, secrets and configs are versions (digests of their contents; the contents are never
//! here). Its digest is over the canonical JSON of all of that and excludes the number: sealing the
//! same wish twice gives the same digest.

mod canonical;

pub use canonical::canonical_json;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::reference::Reference;
use crate::service::{Deploy, FileSource, Service, XCutover};

/// An immutable, numbered state of an app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Release {
    pub app: String,
    /// Grows by one per release of the app; given by the ledger.
    pub number: u64,
    pub services: BTreeMap<String, SealedService>,
    /// Of everything above but the number; see [`Release::is_intact`].
    pub digest: Digest,
}

/// A service as a release holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SealedService {
    /// Resolved; its `image` is pinned to [`SealedService::image`] and its `build` is gone.
    pub service: Service,
    /// The manifest's digest.
    pub image: Digest,
    /// The name it was resolved from, for people.
    pub image_name: Reference,
    /// The digest of each secret's contents, by the secret's key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secret_versions: BTreeMap<String, Digest>,
    /// The digest of each config's contents, by the config's key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config_versions: BTreeMap<String, Digest>,
}

impl SealedService {
    /// Pins `service` to `image`, which `image_name` was resolved to.
    pub fn new(service: Service, image_name: Reference, image: Digest) -> Self {
        let service = Service { image: Some(image_name.at(image.clone())), build: None, ..service };
        Self {
            service,
            image,
            image_name,
            secret_versions: BTreeMap::new(),
            config_versions: BTreeMap::new(),
        }
    }

    /// Changes when anything that a deployment must act on changes: two releases with the same
    /// value leave the service untouched. The image's name does not count, its digest does.
    pub fn spec_digest(&self) -> Digest {
        let service = Service { image: None, ..self.service.clone() };
        self.digest_of(&service)
    }

    /// Changes when a running instance is no longer what the release asks for. Unlike
    /// [`SealedService::spec_digest`] it leaves out the number of replicas, routes, checks and the
    /// manner of deployment, which can change without replacing an instance.
    pub fn instance_digest(&self) -> Digest {
        let service = Service {
            image: None,
            deploy: Deploy::default(),
            cutover: XCutover::default(),
            depends_on: indexmap::IndexMap::new(),
            pull_policy: crate::service::PullPolicy::default(),
            ..self.service.clone()
        };
        self.digest_of(&service)
    }

    /// Over the image, the contents of secrets and configs, and `service` without where those
    /// contents came from: a project that moved to another folder is still the same.
    fn digest_of(&self, service: &Service) -> Digest {
        let mut service = service.clone();
        for file in service.secrets.iter_mut().chain(&mut service.configs) {
            file.from = FileSource::External(file.source.clone());
        }
        let parts = (&service, &self.image, &self.secret_versions, &self.config_versions);
        Digest::sha256(&canonical_json(&parts))
    }
}

/// Seals `services` as release `number` of `app`.
pub fn seal(app: &str, number: u64, services: BTreeMap<String, SealedService>) -> Release {
    let digest = digest_of(app, &services);
    Release { app: app.to_owned(), number, services, digest }
}

impl Release {
    /// Whether the digest is still that of the contents: false for a release that was changed
    /// after sealing, or written by a version with fields that this one does not know.
    pub fn is_intact(&self) -> bool {
        self.digest == digest_of(&self.app, &self.services)
    }
}

fn digest_of(app: &str, services: &BTreeMap<String, SealedService>) -> Digest {
    #[derive(Serialize)]
    struct Sealed<'a> {
        format: u32,
        app: &'a str,
        services: &'a BTreeMap<String, SealedService>,
    }
    Digest::sha256(&canonical_json(&Sealed { format: 1, app, services }))
}

#[cfg(test)]
mod tests;
