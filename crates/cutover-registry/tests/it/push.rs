//! Pushes: nothing twice, whatever breaks.

use std::sync::atomic::{AtomicUsize, Ordering};

use cutover_core::oci::{Descriptor, Manifest, media_type};
use cutover_core::{Digest, Reference};
use cutover_registry::{Event, PushError, Pushed, push, push_all};
use cutover_store::LayerForm;

use crate::fixture::Bench;
use crate::server::{Reply, Server};
use crate::target::{self, Shared};

impl Bench {
    /// A store with an image as a build leaves it: layers are snapshots and nothing else.
    pub(crate) fn with_image(first: u8, count: u8) -> (Self, Digest) {
        let bench = Self::new();
        let digest = bench.build(first, count);
        (bench, digest)
    }

    /// An image whose layers have one file each, `file-FIRST` and so on.
    pub(crate) fn build(&self, first: u8, count: u8) -> Digest {
        let (mut chain, mut diff_ids, mut layers) = (Vec::new(), Vec::new(), Vec::new());
        for seed in first..first + count {
            let draft = self.store.snapshots().draft(&chain).unwrap();
            let path = draft.upper.join(format!("file-{seed}"));
            fs_err::write(&path, crate::fixture::content(seed)).unwrap();
            let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
            let layer = draft.commit("2026-01-01T00:00:00Z").unwrap();
            layers.push(Descriptor::new(media_type::OCI_LAYER, layer.diff_id.clone(), layer.size));
            diff_ids.push(layer.diff_id);
            chain.push(layer.chain_id);
        }
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = serde_json::to_vec(&config).unwrap();
        let size = config.len() as u64;
        let described = Descriptor::new(media_type::OCI_CONFIG, Digest::sha256(&config), size);
        let manifest = cutover_store::manifest_bytes(described, layers);
        self.store.images().put(&manifest, &config, None).unwrap().digest
    }

    pub(crate) fn push(&self, digest: &Digest, name: &str) -> Result<Pushed, PushError> {
        let reference: Reference = name.parse().unwrap();
        push(&self.store, digest, &reference, &self.options, &self.events)
    }

    fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.events.0.lock().unwrap().iter().filter(|event| wanted(event)).count()
    }
}

fn chain(error: &PushError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

fn manifest(state: &Shared, name: &str) -> Manifest {
    let key = ("team/app".to_owned(), name.to_owned());
    serde_json::from_slice(&state.lock().unwrap().manifests[&key].1).unwrap()
}

#[test]
fn layers_are_compressed_once_and_sent_once() {
    let (bench, digest) = Bench::with_image(0, 3);
    let (server, state) = target::start(|_, _| None);
    let name = format!("{}/team/app:1.0", server.host());
    let first = bench.push(&digest, &name).unwrap();
    let sent = manifest(&state, "1.0");
    assert!(sent.layers.iter().all(|layer| layer.media_type == media_type::OCI_LAYER_ZSTD));
    assert_eq!(bench.count(|event| matches!(event, Event::Compressing { .. })), 3);
    assert_eq!(bench.count(|event| matches!(event, Event::Uploaded { .. })), 4);
    assert!(state.lock().unwrap().uploads.is_empty(), "each upload was ended");

    server.log.lock().unwrap().clear();
    bench.events.0.lock().unwrap().clear();
    assert_eq!(bench.push(&digest, &name).unwrap(), first);
    assert_eq!(bench.count(|event| matches!(event, Event::Compressing { .. })), 0);
    let requests: Vec<_> = server.requests("/").iter().map(|it| it.method.clone()).collect();
    assert_eq!(requests, ["GET", "HEAD", "PUT"], "ping, is it there, tag");

    // what was pushed comes back
    let other = Bench::new();
    let image = other.pull(&name).unwrap();
    assert_eq!(image.digest, first.descriptor.digest);
    other.store.snapshots().ensure(&image, &mut |_| ()).unwrap();
    bench.assert_clean();
}

#[test]
fn one_more_layer_sends_one_layer() {
    let (bench, digest) = Bench::with_image(0, 3);
    let (server, _state) = target::start(|_, _| None);
    let name = format!("{}/team/app:1.0", server.host());
    bench.push(&digest, &name).unwrap();
    let more = bench.build(0, 4);
    bench.events.0.lock().unwrap().clear();
    bench.push(&more, &name).unwrap();
    assert_eq!(bench.count(|event| matches!(event, Event::Compressing { .. })), 1);
    assert_eq!(bench.count(|event| matches!(event, Event::Uploaded { .. })), 2, "and the config");
}

#[test]
fn another_repository_takes_the_layers_over() {
    let (bench, digest) = Bench::with_image(0, 3);
    let (server, state) = target::start(|_, _| None);
    bench.push(&digest, &format!("{}/team/app:1.0", server.host())).unwrap();
    bench.events.0.lock().unwrap().clear();
    bench.push(&digest, &format!("{}/team/other:1.0", server.host())).unwrap();
    assert_eq!(bench.count(|event| matches!(event, Event::Mounted { .. })), 4);
    assert_eq!(bench.count(|event| matches!(event, Event::Uploaded { .. })), 0);
    assert!(state.lock().unwrap().uploads.is_empty());
}

#[test]
fn a_mount_that_is_not_done_is_an_upload() {
    let (bench, digest) = Bench::with_image(0, 2);
    let (server, state) = target::start(|request, state| {
        let plain = request.target.split("?mount=").next()?;
        let request = crate::server::Request { target: plain.to_owned(), ..request.clone() };
        (plain != request.target || request.target.ends_with("uploads/"))
            .then(|| target::answer(&mut state.lock().unwrap(), &request))
    });
    bench.push(&digest, &format!("{}/team/app:1.0", server.host())).unwrap();
    bench.push(&digest, &format!("{}/team/other:1.0", server.host())).unwrap();
    assert_eq!(bench.count(|event| matches!(event, Event::Uploaded { .. })), 6);
    assert!(state.lock().unwrap().uploads.is_empty(), "what was begun instead is cancelled");
}

#[test]
fn forms() {
    for (form, kind) in [
        (LayerForm::GZIP, media_type::OCI_LAYER_GZIP),
        (LayerForm::Uncompressed, media_type::OCI_LAYER),
    ] {
        let (mut bench, digest) = Bench::with_image(0, 2);
        bench.options.form = Some(form);
        let (server, state) = target::start(|_, _| None);
        let name = format!("{}/team/app:1.0", server.host());
        let pushed = bench.push(&digest, &name).unwrap();
        assert!(manifest(&state, "1.0").layers.iter().all(|layer| layer.media_type == kind));
        let same = form == LayerForm::Uncompressed;
        assert_eq!(pushed.descriptor.digest == digest, same, "untouched bytes keep their digest");
        let other = Bench::new();
        let image = other.pull(&name).unwrap();
        other.store.snapshots().ensure(&image, &mut |_| ()).unwrap();
    }
}

#[test]
fn pieces_and_registries_that_take_only_small_ones() {
    let (mut bench, digest) = Bench::with_image(0, 1);
    bench.options.chunk = Some(30_000);
    let (server, state) = target::start(|_, _| None);
    bench.push(&digest, &format!("{}/team/app:1.0", server.host())).unwrap();
    let patches = server.requests("/uploads/u");
    let ranges: Vec<_> = patches.iter().filter_map(|it| it.header("content-range")).collect();
    assert!(ranges.contains(&"0-29999") && ranges.contains(&"30000-59999"), "{ranges:?}");
    assert_eq!(state.lock().unwrap().blobs.len(), 2);
}

#[test]
fn a_broken_upload_goes_on_where_it_was() {
    let (mut bench, digest) = Bench::with_image(0, 1);
    bench.options.chunk = Some(60_000);
    bench.options.form = Some(LayerForm::Uncompressed);
    let tries = AtomicUsize::new(0);
    let (server, state) = target::start(move |request, state| {
        // the first piece arrives by half, then the connection is cut
        if request.method != "PATCH" || tries.fetch_add(1, Ordering::SeqCst) > 0 {
            return None;
        }
        let mut half = request.clone();
        half.body.truncate(25_000);
        target::answer(&mut state.lock().unwrap(), &half);
        Some(Reply::new(500, "").cut(0))
    });
    bench.push(&digest, &format!("{}/team/app:1.0", server.host())).unwrap();
    let ranges: Vec<_> = server
        .requests("/uploads/u")
        .iter()
        .filter_map(|it| it.header("content-range").map(str::to_owned))
        .filter(|range| !range.starts_with("0-1")) // the config
        .collect();
    assert_eq!(ranges, ["0-59999", "25000-84999", "85000-101887"]);
    assert_eq!(state.lock().unwrap().blobs.len(), 2);
    assert_eq!(bench.retries(), 1);
}

#[test]
fn a_lost_session_begins_anew() {
    let (mut bench, digest) = Bench::with_image(0, 1);
    bench.options.chunk = Some(60_000);
    let tries = AtomicUsize::new(0);
    let (server, state) = target::start(move |request, state| {
        if request.method == "PATCH" && tries.fetch_add(1, Ordering::SeqCst) == 1 {
            state.lock().unwrap().uploads.clear();
        }
        None
    });
    bench.push(&digest, &format!("{}/team/app:1.0", server.host())).unwrap();
    assert_eq!(state.lock().unwrap().blobs.len(), 2);
}

#[test]
fn errors_that_pass_are_waited_out() {
    let (bench, digest) = Bench::with_image(0, 2);
    let seen = std::sync::Mutex::new(std::collections::BTreeSet::new());
    let (server, state) = target::start(move |request, _| {
        let first = seen.lock().unwrap().insert((request.method.clone(), request.target.clone()));
        first.then(|| match request.target.len() % 3 {
            0 => Reply::new(503, "busy").with("retry-after", 0),
            1 => Reply::new(429, "slow down").with("retry-after", 0),
            _ => Reply::new(500, ""),
        })
    });
    bench.push(&digest, &format!("{}/team/app:1.0", server.host())).unwrap();
    assert_eq!(manifest(&state, "1.0").layers.len(), 2);
    assert!(bench.retries() > 4);
}

#[test]
fn a_registry_that_damages_what_it_gets() {
    let (bench, digest) = Bench::with_image(0, 1);
    let (server, state) = target::start(|request, state| {
        (request.method == "PUT" && !request.body.is_empty()).then(|| {
            let mut request = request.clone();
            request.body[0] ^= 1;
            target::answer(&mut state.lock().unwrap(), &request)
        })
    });
    let error = bench.push(&digest, &format!("{}/team/app:1.0", server.host())).unwrap_err();
    assert!(chain(&error).contains("DIGEST_INVALID"), "{}", chain(&error));
    assert!(state.lock().unwrap().manifests.is_empty(), "no manifest without its blobs");
    // one that says so itself
    let (server, _) = target::start(|request, _| {
        request.target.contains("/manifests/").then(|| match request.method.as_str() {
            "PUT" => Reply::new(201, "").with("docker-content-digest", Digest::sha256(b"other")),
            _ => Reply::new(404, ""),
        })
    });
    let error = bench.push(&digest, &format!("{}/team/app:1.0", server.host())).unwrap_err();
    assert!(chain(&error).contains("manifest sha256:"), "{}", chain(&error));
}

#[test]
fn uploads_that_go_elsewhere_are_sent_there_without_credentials() {
    let (elsewhere, state) = target::start(|_, _| None);
    let other = elsewhere.host();
    let (server, _) = target::start(move |request, _| {
        let ok = request.header("authorization").is_some() || request.target == "/v2/";
        if !ok {
            return Some(Reply::new(401, "").with("www-authenticate", "Basic realm=x"));
        }
        // begins uploads that are to be made at another host
        (request.method == "POST").then(|| {
            Reply::new(307, "").with("location", format!("http://{other}{}", request.target))
        })
    });
    let (mut bench, digest) = Bench::with_image(0, 1);
    bench.options.auth = Some(
        cutover_registry::Basic { username: "me".to_owned(), password: "secret".to_owned() }.into(),
    );
    bench.push(&digest, &format!("{}/team/app:1.0", server.host())).unwrap();
    assert_eq!(state.lock().unwrap().blobs.len(), 2);
    for request in elsewhere.requests("/") {
        assert_eq!(request.header("authorization"), None, "{}", request.target);
    }
}

#[test]
fn tokens_for_pushes_and_mounts() {
    let tokens = Server::start(|request| {
        let scopes: Vec<_> =
            request.target.split('&').filter_map(|it| it.strip_prefix("scope=")).collect();
        Reply::new(200, format!(r#"{{"token":"{}"}}"#, scopes.join("+")))
    });
    let realm = format!(r#"Bearer realm="http://{}/token",service="r""#, tokens.host());
    let (server, _) = target::start(move |request, _| {
        let has = |scope: &str| {
            let token = request.header("authorization").unwrap_or_default();
            token.contains(&format!("repository:{scope}"))
        };
        let own = request.target.trim_start_matches("/v2/");
        let own = own.split(['/']).take(2).collect::<Vec<_>>().join("/");
        let source = request.target.split_once("from=").map(|(_, from)| format!("{from}:pull"));
        let allowed = request.target != "/v2/"
            && has(&format!("{own}:pull%2Cpush"))
            && source.is_none_or(|source| has(&source));
        (!allowed).then(|| Reply::new(401, "").with("www-authenticate", &realm))
    });
    let (bench, digest) = Bench::with_image(0, 2);
    bench.push(&digest, &format!("{}/team/app:1.0", server.host())).unwrap();
    assert_eq!(tokens.requests("/token").len(), 1);
    bench.push(&digest, &format!("{}/team/other:1.0", server.host())).unwrap();
    assert_eq!(bench.count(|event| matches!(event, Event::Mounted { .. })), 3);
}

#[test]
fn indexes_with_what_they_name() {
    let bench = Bench::new();
    let amd = bench.build(0, 2);
    let arm = bench.build(5, 2);
    let entry = |digest: &Digest, architecture: &str| {
        serde_json::json!({
            "mediaType": media_type::OCI_MANIFEST, "digest": digest, "size": 1,
            "platform": {"os": "linux", "architecture": architecture}, "x-mine": true,
        })
    };
    let index = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_INDEX,
        "manifests": [entry(&amd, "amd64"), entry(&arm, "arm64")],
    });
    let digest = bench.store.blobs().put(&serde_json::to_vec(&index).unwrap()).unwrap();
    let (server, state) = target::start(|_, _| None);
    let name = format!("{}/team/app:multi", server.host());
    bench.push(&digest, &name).unwrap();
    let kept = {
        let state = state.lock().unwrap();
        let key = ("team/app".to_owned(), "multi".to_owned());
        serde_json::from_slice::<serde_json::Value>(&state.manifests[&key].1).unwrap()
    };
    assert_eq!(kept["manifests"][1]["x-mine"], true);
    assert_ne!(kept["manifests"][0]["digest"], amd.as_str(), "its layers are compressed");
    Bench::new().pull(&name).unwrap();
}

#[test]
fn what_refers_to_a_manifest_can_be_found() {
    let (bench, digest) = Bench::with_image(0, 1);
    let empty = bench.store.blobs().put(b"{}").unwrap();
    let artifact = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "artifactType": "text/sbom",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2},
        "layers": [{"mediaType": "text/plain", "digest": empty, "size": 2}],
        "subject": {"mediaType": media_type::OCI_MANIFEST, "digest": digest, "size": 1},
        "annotations": {"a": "b"},
    });
    let artifact = bench.store.blobs().put(&serde_json::to_vec(&artifact).unwrap()).unwrap();
    let (server, state) = target::start(|_, _| None);
    let name: Reference = format!("{}/team/app", server.host()).parse().unwrap();
    for _ in 0..2 {
        bench.push(&artifact, &name.at(artifact.clone()).to_string()).unwrap();
    }
    let key = ("team/app".to_owned(), format!("sha256-{}", digest.hex()));
    let state = state.lock().unwrap();
    let index: serde_json::Value = serde_json::from_slice(&state.manifests[&key].1).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 1);
    assert_eq!(index["manifests"][0]["artifactType"], "text/sbom");
    assert_eq!(index["manifests"][0]["annotations"]["a"], "b");
}

#[test]
fn sha512() {
    let bench = Bench::new();
    let algorithm = cutover_core::digest::Algorithm::Sha512;
    let blob = bench.store.blobs().put_with(algorithm, b"something").unwrap();
    let empty = bench.store.blobs().put(b"{}").unwrap();
    let artifact = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2},
        "layers": [{"mediaType": "text/plain", "digest": blob, "size": 9}],
    });
    let artifact = bench.store.blobs().put(&serde_json::to_vec(&artifact).unwrap()).unwrap();
    let (server, state) = target::start(|_, _| None);
    bench.push(&artifact, &format!("{}/team/app:512", server.host())).unwrap();
    let key = ("team/app".to_owned(), blob.to_string());
    assert_eq!(state.lock().unwrap().blobs[&key], b"something");
}

#[test]
fn several_tags_over_one_connection() {
    let (bench, digest) = Bench::with_image(0, 2);
    let (server, state) = target::start(|_, _| None);
    let images: Vec<_> = ["a", "b", "c"]
        .iter()
        .map(|tag| (digest.clone(), format!("{}/team/app:{tag}", server.host()).parse().unwrap()))
        .collect();
    let pushed = push_all(&bench.store, &images, &bench.options, &bench.events).unwrap();
    assert_eq!(pushed.len(), 3);
    for tag in ["a", "b", "c"] {
        assert_eq!(manifest(&state, tag).layers.len(), 2);
    }
    assert_eq!(bench.count(|event| matches!(event, Event::Uploaded { .. })), 3);
}

#[test]
fn refusals() {
    let (bench, digest) = Bench::with_image(0, 1);
    let (server, _) = target::start(|request, _| {
        let body = r#"{"errors":[{"code":"DENIED","message":"read only"}]}"#;
        (request.method == "POST").then(|| Reply::new(403, body))
    });
    let error = bench.push(&digest, &format!("{}/team/app:1.0", server.host())).unwrap_err();
    assert!(chain(&error).contains("access to repository `team/app` denied: read only"));
    assert!(error.hint().unwrap().contains("cutover login 127.0.0.1"), "{:?}", error.hint());
    let missing = Digest::sha256(b"not there");
    let error = bench.push(&missing, &format!("{}/team/app:1.0", server.host())).unwrap_err();
    assert!(chain(&error).contains("is not in the store"), "{}", chain(&error));
}
