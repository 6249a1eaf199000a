//! Copies between registries, layouts and archives.

use std::sync::atomic::{AtomicUsize, Ordering};

use cutover_core::Digest;
use cutover_core::oci::{Descriptor, Platform, media_type};
use cutover_registry::{CopyError, Place, copy};

use crate::fixture::{Bench, Content};
use crate::server::Server;
use crate::target;

impl Bench {
    fn copy(&self, from: &str, to: &str) -> Result<Descriptor, CopyError> {
        let (from, to): (Place, Place) = (from.parse().unwrap(), to.parse().unwrap());
        copy(&self.store, (&from, &to), None, &self.options, &self.events)
    }
}

/// An index of two images, as a registry has it.
fn multi() -> Content {
    let (mut content, other) = (Content::image(2), Content::image_from(5, 2));
    let (amd, arm) = (content.image.clone().unwrap(), other.image.clone().unwrap());
    let manifest = other.manifests[arm.as_str()].clone();
    content.manifests.insert(arm.to_string(), manifest);
    content.blobs.extend(other.blobs);
    let entry = |digest: &Digest, architecture: &str, content: &Content| {
        serde_json::json!({
            "mediaType": media_type::OCI_MANIFEST, "digest": digest,
            "size": content.manifests[digest.as_str()].1.len(),
            "platform": {"os": "linux", "architecture": architecture},
        })
    };
    let manifests = [entry(&amd, "amd64", &content), entry(&arm, "arm64", &content)];
    let index = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": manifests,
    });
    content.add_manifest("multi", media_type::OCI_INDEX, &index);
    content
}

#[test]
fn between_registries_everything_goes_along() {
    let content = multi();
    let wanted: Vec<String> = content.manifests.keys().filter(|it| it.len() > 9).cloned().collect();
    let blobs = content.blobs.len();
    let server = Server::start(move |request| content.answer(request));
    let (other, state) = target::start(|_, _| None);
    let bench = Bench::new();
    let from = format!("{}/team/app:multi", server.host());
    let copied = bench.copy(&from, &format!("{}/team/copy:1", other.host())).unwrap();
    let state = state.lock().unwrap();
    for digest in &wanted {
        assert!(state.manifests.contains_key(&("team/copy".to_owned(), digest.clone())));
    }
    assert!(wanted.contains(&copied.digest.to_string()), "no byte is changed");
    assert_eq!(state.blobs.len(), blobs);
    assert!(bench.store.blobs().list().unwrap().is_empty(), "nothing goes through the store");
}

#[test]
fn one_platform() {
    let content = multi();
    let server = Server::start(move |request| content.answer(request));
    let (other, state) = target::start(|_, _| None);
    let bench = Bench::new();
    let from = format!("{}/team/app:multi", server.host()).parse().unwrap();
    let to = format!("{}/team/copy:1", other.host()).parse().unwrap();
    let platform = Platform::new("linux", "arm64");
    copy(&bench.store, (&from, &to), Some(&platform), &bench.options, &bench.events).unwrap();
    assert_eq!(state.lock().unwrap().blobs.len(), 3);
}

#[test]
fn through_folders_and_archives_and_back() {
    let content = multi();
    let server = Server::start(move |request| content.answer(request));
    let (other, state) = target::start(|_, _| None);
    let (bench, dir) = (Bench::new(), tempfile::tempdir().unwrap());
    let at = |name: &str| dir.path().join(name).display().to_string();
    let (folder, archive) =
        (format!("oci:{}:v1", at("d")), format!("oci-archive:{}:v2", at("a.tar")));
    let first = bench.copy(&format!("{}/team/app:multi", server.host()), &folder).unwrap();
    // again, and another one beside it
    bench.copy(&format!("{}/team/app:multi", server.host()), &folder).unwrap();
    bench
        .copy(&format!("{}/team/app:1.0", server.host()), &format!("oci:{}:single", at("d")))
        .unwrap();
    assert_eq!(bench.copy(&folder, &archive).unwrap(), first);
    let pushed = bench.copy(&archive, &format!("{}/team/copy:1", other.host())).unwrap();
    assert_eq!(pushed, first);
    assert_eq!(state.lock().unwrap().blobs.len(), 6);
    let error = bench.copy(&format!("oci:{}:none", at("d")), &archive).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.starts_with("0 images in"), "{cause}");
    let error = bench.copy(&format!("oci:{}", at("d")), &archive).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.starts_with("2 images in") && cause.ends_with("no tag says which"), "{cause}");
    // a damaged blob is not passed on
    let layer = Content::image(2).layers[0].clone();
    let path = dir.path().join("d/blobs/sha256").join(layer.hex());
    let mut bytes = fs_err::read(&path).unwrap();
    bytes[100] ^= 1;
    fs_err::write(&path, bytes).unwrap();
    let broken = format!("oci-archive:{}", at("b.tar"));
    let error = bench.copy(&folder, &broken).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("came with other bytes"), "{cause}");
    assert!(!dir.path().join("b.tar").exists());
    let left = fs_err::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, 2, "no temporary file stays");
}

#[test]
fn within_a_registry_blobs_are_mounted() {
    let (bench, digest) = Bench::with_image(0, 3);
    let (server, _) = target::start(|_, _| None);
    let from = format!("{}/team/app:1", server.host());
    bench.push(&digest, &from).unwrap();
    let plain = Bench::new();
    plain.copy(&from, &format!("{}/team/other:1", server.host())).unwrap();
    assert!(server.requests("/blobs/sha256").iter().all(|request| request.method == "HEAD"));
}

#[test]
fn a_source_that_breaks_off_is_resumed() {
    let content = Content::image(1);
    let layer = content.layers[0].to_string();
    let tries = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        let reply = content.answer(request);
        if request.target.ends_with(&layer) && tries.fetch_add(1, Ordering::SeqCst) < 1 {
            return reply.cut(50_000);
        }
        reply
    });
    let (other, state) = target::start(|_, _| None);
    let mut bench = Bench::new();
    bench.options.chunk = Some(40_000);
    bench
        .copy(&format!("{}/team/app:1.0", server.host()), &format!("{}/team/copy:1", other.host()))
        .unwrap();
    assert_eq!(state.lock().unwrap().blobs.len(), 2);
    let ranges = server.requests("/blobs/");
    assert!(ranges.iter().any(|request| request.header("range") == Some("bytes=40000-")));
}
