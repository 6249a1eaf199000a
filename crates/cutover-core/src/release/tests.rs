//! Sealing: the same wish has the same digest, and any change shows.

use std::collections::BTreeMap;

use super::*;
use crate::compose::tests::web;

fn sealed(body: &str) -> SealedService {
    let name = "nginx:1".parse().unwrap();
    SealedService::new(web(body), name, Digest::sha256(b"image"))
}

fn release(body: &str) -> Release {
    seal("shop", 7, BTreeMap::from([("web".to_owned(), sealed(body))]))
}

#[test]
fn the_digest_covers_all_but_the_number() {
    let one = release("environment: {A: 1, B: 2}");
    assert!(one.is_intact());
    let mut other = one.clone();
    other.number = 8;
    assert!(other.is_intact(), "a number is a place in a list, not content");
    assert_eq!(release("environment: {B: 2, A: 1}").digest, one.digest, "order means nothing");
    assert_ne!(release("environment: {A: 1, B: 3}").digest, one.digest);
    other.services.get_mut("web").unwrap().service.user = Some("root".to_owned());
    assert!(!other.is_intact());
    let json = serde_json::to_string(&one).unwrap();
    let back: Release = serde_json::from_str(&json).unwrap();
    assert!(back.is_intact());
    assert_eq!(back, one);
}

/// A change of this value is a change of the format: old releases would no longer be intact.
#[test]
fn the_digest_is_stable() {
    let digest =
        release("environment: {A: 1}\nx-cutover: {port: 80, routes: [example.org]}").digest;
    insta::assert_snapshot!(digest, @"sha256:011c6c7e7a3ba5c160ec08ce5397d416f8336f95af983ee34b1089f7631be2a3");
}

#[test]
fn the_image_is_pinned_and_the_build_gone() {
    let sealed = sealed("build: .");
    let pinned = sealed.service.image.clone().unwrap();
    assert_eq!(pinned.digest(), Some(&sealed.image));
    assert_eq!(sealed.service.build, None);
    assert_eq!(sealed.image_name.to_string(), "nginx:1");
}

#[test]
fn what_changes_which_digest() {
    let base = sealed("");
    let check = |body: &str, spec: bool, instance: bool| {
        let other = sealed(body);
        assert_eq!(other.spec_digest() != base.spec_digest(), spec, "spec with {body}");
        assert_eq!(other.instance_digest() != base.instance_digest(), instance, "instance, {body}");
    };
    check("", false, false);
    check("build: .", false, false);
    check("user: app", true, true);
    check("environment: {A: 1}", true, true);
    check("deploy: {replicas: 2}", true, false);
    check("x-cutover: {port: 80, routes: [/]}", true, false);
    check("depends_on: [db]", true, false);
    let mut renamed = base.clone();
    renamed.image_name = "nginx:2".parse().unwrap();
    assert_eq!(renamed.spec_digest(), base.spec_digest(), "a tag is only a name");
    let mut moved = sealed("secrets: [password]");
    let before = moved.spec_digest();
    moved.service.secrets[0].from = FileSource::File("/elsewhere/pw.txt".to_owned());
    assert_eq!(moved.spec_digest(), before, "contents count, not where they came from");
    let mut secret = base.clone();
    secret.secret_versions.insert("password".to_owned(), Digest::sha256(b"new"));
    assert_ne!(secret.instance_digest(), base.instance_digest());
}

#[test]
fn canonical_json_sorts_and_keeps_values() {
    let value = serde_json::json!({"b": [2, {"z": 1, "a": null}], "a": 0.5});
    let text = String::from_utf8(canonical_json(&value)).unwrap();
    assert_eq!(text, r#"{"a":0.5,"b":[2,{"a":null,"z":1}]}"#);
}
