//! Which image a name means.

use cutover_core::oci::{Platform, media_type};
use cutover_registry::Event;
use serde_json::{Value, json};

use crate::fixture::{Bench, Content};
use crate::server::{Reply, Server};

fn serve(content: Content) -> Server {
    Server::start(move |request| content.answer(request))
}

#[test]
fn by_tag() {
    let content = Content::image(3);
    let server = serve(content.clone());
    let bench = Bench::new();
    let name = format!("{}/team/app:1.0", server.host());
    let image = bench.pull(&name).unwrap();
    assert_eq!(Some(&image.digest), content.image.as_ref());
    assert_eq!(image.chain_ids.len(), 3);
    let named = bench.store.images().resolve(&name).unwrap().unwrap();
    assert_eq!(named.digest, image.digest);
    let by_digest = format!("{}/team/app@{}", server.host(), image.digest);
    assert!(bench.store.images().resolve(&by_digest).unwrap().is_some());
    for layer in &content.layers {
        assert!(bench.store.blobs().contains(layer));
    }
    bench.assert_clean();

    // a second pull asks for the manifest alone
    let before = server.requests("/blobs/").len();
    assert_eq!(before, 4);
    bench.pull(&name).unwrap();
    assert_eq!(server.requests("/blobs/").len(), before);
    let events = bench.events.0.lock().unwrap();
    let count = |wanted: fn(&Event) -> bool| events.iter().filter(|event| wanted(event)).count();
    assert_eq!(count(|event| matches!(event, Event::Downloaded { .. })), 4);
    assert_eq!(count(|event| matches!(event, Event::Present { .. })), 4);
    assert_eq!(count(|event| matches!(event, Event::Resolved { layers: 3, .. })), 2);
}

#[test]
fn by_digest() {
    let content = Content::image(1);
    let digest = content.image.clone().unwrap();
    let server = serve(content);
    let bench = Bench::new();
    let image = bench.pull(&format!("{}/team/app@{digest}", server.host())).unwrap();
    assert_eq!(image.digest, digest);
    let image = bench.pull(&format!("{}/team/app:1.0@{digest}", server.host())).unwrap();
    assert_eq!(image.digest, digest);
    assert!(server.requests("manifests/1.0").is_empty(), "the digest wins over the tag");
}

fn index(entries: &[(&str, Value)]) -> Value {
    let manifests: Vec<Value> = entries
        .iter()
        .map(|(platform, descriptor)| {
            let mut entry = descriptor.clone();
            if let Some((os, architecture)) = platform.split_once('/') {
                entry["platform"] = json!({"os": os, "architecture": architecture});
            }
            entry
        })
        .collect();
    json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": manifests})
}

fn descriptor(kind: &str, content: &Content, name: &str) -> Value {
    let bytes = &content.manifests[name].1;
    json!({"mediaType": kind, "digest": cutover_core::Digest::sha256(bytes), "size": bytes.len()})
}

#[test]
fn through_indexes() {
    let mut content = Content::image(1);
    let image = descriptor(media_type::OCI_MANIFEST, &content, "1.0");
    let other = json!({"mediaType": media_type::OCI_MANIFEST, "digest": format!("sha256:{}", "0".repeat(64)), "size": 2});
    let inner = index(&[
        ("unknown/unknown", other.clone()),
        ("linux/arm64", other),
        ("linux/amd64", image),
    ]);
    let top = content.add_manifest("multi", media_type::OCI_INDEX, &inner);
    let nested = index(&[("", descriptor(media_type::OCI_INDEX, &content, "multi"))]);
    content.add_manifest("nested", media_type::OCI_INDEX, &nested);
    let digest = content.image.clone().unwrap();
    let server = serve(content);
    let bench = Bench::new();
    let name = format!("{}/team/app:multi", server.host());
    assert_eq!(bench.pull(&name).unwrap().digest, digest);
    assert!(bench.store.blobs().contains(&top), "the index is kept");
    let by_index = format!("{}/team/app@{top}", server.host());
    assert_eq!(bench.store.images().resolve(&by_index).unwrap().unwrap().digest, digest);
    assert_eq!(bench.pull(&format!("{}/team/app:nested", server.host())).unwrap().digest, digest);

    let mut strange = Bench::new();
    strange.options.platform = Platform::new("linux", "riscv64");
    insta::assert_snapshot!(strange.failure(&name), @"
      cannot pull `HOST/team/app:multi` from registry `HOST`
        caused by: image index sha256:68f28fc2389409e0f3a9b9515f92dd159060770687735e4151d5bae33d6446fb has no image for linux/riscv64 (it has: linux/arm64, linux/amd64)
      hint: build it for this platform, or choose another
    ");
}

#[test]
fn indexes_without_end() {
    let mut content = Content::default();
    let mut inner = json!({"mediaType": media_type::OCI_INDEX, "digest": format!("sha256:{}", "0".repeat(64)), "size": 2});
    for level in 0..6 {
        let name = format!("level-{level}");
        content.add_manifest(&name, media_type::OCI_INDEX, &index(&[("", inner)]));
        inner = descriptor(media_type::OCI_INDEX, &content, &name);
    }
    let server = serve(content);
    let failure = Bench::new().failure(&format!("{}/team/app:level-5", server.host()));
    insta::assert_snapshot!(failure, @"
      cannot pull `HOST/team/app:level-5` from registry `HOST`
        caused by: indexes are nested more than 4 deep
    ");
}

#[test]
fn what_is_not_an_image() {
    let mut content = Content::image(1);
    let old = json!({"schemaVersion": 1, "name": "x", "fsLayers": []});
    content.add_manifest("old", "application/vnd.docker.distribution.manifest.v1+prettyjws", &old);
    content.manifests.insert("html".to_owned(), ("text/html".to_owned(), b"<html>".to_vec()));
    let mut artifact = serde_json::from_slice::<Value>(&content.manifests["1.0"].1).unwrap();
    artifact["config"]["mediaType"] = json!("application/vnd.example.chart");
    content.add_manifest("chart", media_type::OCI_MANIFEST, &artifact);
    let server = serve(content);
    let bench = Bench::new();
    let name = |tag: &str| format!("{}/team/app:{tag}", server.host());
    insta::assert_snapshot!(bench.failure(&name("old")), @"
      cannot pull `HOST/team/app:old` from registry `HOST`
        caused by: manifest sha256:a60b76626c66dc0662a757e3edd34abbc2adca1857370048766a22ee8f430f40 has media type `application/vnd.docker.distribution.manifest.v1+json`, which is not an image
    ");
    insta::assert_snapshot!(bench.failure(&name("html")), @"
      cannot pull `HOST/team/app:html` from registry `HOST`
        caused by: what came is not an image that can be used
        caused by: manifest sha256:b7d082ee12e91b756ea22e8513b8594eebcf5d39fab813da3cb55794dc888ad7 is not valid JSON of its kind
        caused by: expected value at line 1 column 1
    ");
    insta::assert_snapshot!(bench.failure(&name("chart")), @"
      cannot pull `HOST/team/app:chart` from registry `HOST`
        caused by: what came is not an image that can be used
        caused by: sha256:273c764b66cf64f3d83130e01e7a5caefe3e59fa9c86d957000e5f090cd3f992 is not an image: its config has media type `application/vnd.example.chart`
    ");
    insta::assert_snapshot!(bench.failure(&name("none")), @"
      cannot pull `HOST/team/app:none` from registry `HOST`
        caused by: manifest `none` is not in repository `team/app`: manifest unknown
      hint: check the name and tag of `HOST/team/app:none`
    ");
    bench.assert_clean();
}

#[test]
fn a_tag_whose_bytes_are_not_those_stated() {
    let content = Content::image(1);
    let server = Server::start(move |request| {
        let mut reply = content.answer(request);
        if request.target.contains("manifests/") {
            reply.body.push(b' ');
        }
        reply
    });
    let failure = Bench::new().failure(&format!("{}/team/app:1.0", server.host()));
    insta::assert_snapshot!(failure, @"
      cannot pull `HOST/team/app:1.0` from registry `HOST`
        caused by: manifest sha256:b05df5d1d5bdb25264ad12a9ffa75a507488332f27479fbdd30e96fb12edcc57 came with other bytes: they are sha256:46f0670e61dea0ac1ba6c9e3005fa614b3e47f9c1221bd64e79e253114ed6e42
    ");
}

#[test]
fn a_manifest_without_end() {
    let content = Content::image(1);
    let server = Server::start(move |request| {
        if request.target.contains("manifests/") {
            return Reply::new(200, vec![b' '; 5 << 20]);
        }
        content.answer(request)
    });
    let failure = Bench::new().failure(&format!("{}/team/app:1.0", server.host()));
    insta::assert_snapshot!(failure, @"
      cannot pull `HOST/team/app:1.0` from registry `HOST`
        caused by: manifest `1.0` has 5242880 bytes, more than the 4194304 allowed for it
    ");
}
