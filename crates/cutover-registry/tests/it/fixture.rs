//! A made-up image, a registry that serves it faithfully, and a store to pull into.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use cutover_core::oci::{Platform, media_type};
use cutover_core::{Digest, Reference};
use cutover_registry::{Event, Limits, Options, Progress, PullError, pull};
use cutover_store::{Image, Store};
use serde_json::json;

use crate::server::{Reply, Request};

/// What a registry holds: documents and blobs by path below `/v2/team/app/`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    pub(crate) manifests: BTreeMap<String, (String, Vec<u8>)>,
    pub(crate) blobs: BTreeMap<String, Vec<u8>>,
    /// Digest of the image's manifest.
    pub(crate) image: Option<Digest>,
    pub(crate) layers: Vec<Digest>,
}

impl Content {
    /// An image of `count` layers of some 100 KiB, under the tag `1.0`.
    pub(crate) fn image(count: u8) -> Self {
        Self::image_from(0, count)
    }

    /// The same, with layers of its own: those from `first` on.
    pub(crate) fn image_from(first: u8, count: u8) -> Self {
        let mut content = Self::default();
        let layers: Vec<Vec<u8>> = (first..first + count).map(layer).collect();
        let diff_ids: Vec<_> =
            layers.iter().map(|bytes| Digest::sha256(bytes).to_string()).collect();
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = serde_json::to_vec(&config).unwrap();
        let describe = |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "digest": Digest::sha256(bytes), "size": bytes.len()});
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "config": describe(media_type::OCI_CONFIG, &config),
            "layers": layers.iter().map(|bytes| describe(media_type::OCI_LAYER, bytes)).collect::<Vec<_>>(),
        });
        content.layers = layers.iter().map(|bytes| Digest::sha256(bytes)).collect();
        for blob in layers.into_iter().chain([config]) {
            content.blobs.insert(Digest::sha256(&blob).to_string(), blob);
        }
        let digest = content.add_manifest("1.0", media_type::OCI_MANIFEST, &manifest);
        content.image = Some(digest);
        content
    }

    pub(crate) fn add_manifest(
        &mut self,
        tag: &str,
        kind: &str,
        value: &serde_json::Value,
    ) -> Digest {
        let bytes = serde_json::to_vec(value).unwrap();
        let digest = Digest::sha256(&bytes);
        for name in [tag, digest.as_str()] {
            self.manifests.insert(name.to_owned(), (kind.to_owned(), bytes.clone()));
        }
        digest
    }

    /// The faithful answer.
    pub(crate) fn answer(&self, request: &Request) -> Reply {
        if request.target == "/v2/" {
            return Reply::new(200, "{}");
        }
        let missing = || {
            let body = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
            Reply::new(404, body)
        };
        let Some(path) = request.target.strip_prefix("/v2/team/app/") else { return missing() };
        if let Some(name) = path.strip_prefix("manifests/") {
            return match self.manifests.get(name) {
                Some((kind, bytes)) => Reply::new(200, bytes.clone())
                    .with("content-type", kind)
                    .with("docker-content-digest", Digest::sha256(bytes)),
                None => missing(),
            };
        }
        let digest = path.strip_prefix("blobs/").unwrap_or_default();
        let Some(bytes) = self.blobs.get(digest) else { return missing() };
        let from = request.header("range").and_then(|range| range.strip_prefix("bytes="));
        match from.and_then(|range| range.strip_suffix('-')?.parse::<usize>().ok()) {
            Some(from) => Reply::new(206, &bytes[from..])
                .with("content-range", format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len())),
            None => Reply::new(200, bytes.clone()),
        }
    }
}

/// Bytes that do not repeat themselves.
pub(crate) fn content(seed: u8) -> Vec<u8> {
    let mut state = u32::from(seed) + 1;
    (0..100_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .collect()
}

/// A tar of one file.
fn layer(seed: u8) -> Vec<u8> {
    let content = content(seed);
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, format!("file-{seed}"), content.as_slice()).unwrap();
    archive.into_inner().unwrap()
}

/// A store in a folder of its own, and what its pulls told.
pub(crate) struct Bench {
    pub(crate) store: Store,
    pub(crate) options: Options,
    pub(crate) events: Events,
    _dir: tempfile::TempDir,
}

#[derive(Debug, Default)]
pub(crate) struct Events(pub(crate) Mutex<Vec<Event>>);

impl Progress for Events {
    fn on(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Bench {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let mut options = Options::new(Platform::new("linux", "amd64"));
        options.limits = Limits {
            backoff: Duration::from_millis(1),
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(10),
            ..Limits::default()
        };
        Self { store, options, events: Events::default(), _dir: dir }
    }

    pub(crate) fn pull(&self, name: &str) -> Result<Image, PullError> {
        let reference: Reference = name.parse().unwrap();
        pull(&self.store, &reference, &self.options, &self.events)
    }

    /// The chain of messages and the hint of a pull that must fail, with `host` made anonymous.
    pub(crate) fn failure(&self, name: &str) -> String {
        let error = self.pull(name).expect_err(name);
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text += &format!("\n  caused by: {cause}");
            source = cause.source();
        }
        if let Some(hint) = error.hint() {
            text += &format!("\nhint: {hint}");
        }
        let host = name.split('/').next().unwrap();
        text.replace(host, "HOST")
    }

    pub(crate) fn retries(&self) -> usize {
        let events = self.events.0.lock().unwrap();
        events.iter().filter(|event| matches!(event, Event::Retrying { .. })).count()
    }

    /// Nothing half-written may be left behind.
    pub(crate) fn assert_clean(&self) {
        let left: Vec<_> = fs_err::read_dir(self.store.root().join("tmp"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            // locks of snapshots stay for the garbage collector, parts of blobs for the next pull
            .filter(|path| path.extension().is_none_or(|it| it != "lock" && it != "part"))
            .collect();
        assert!(left.is_empty(), "left in tmp: {left:?}");
        for digest in self.store.blobs().list().unwrap() {
            self.store.blobs().verify(&digest).unwrap();
        }
    }
}
