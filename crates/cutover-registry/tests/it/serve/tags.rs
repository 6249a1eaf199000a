//! Tags that stay, tombstones, histories, quotas, read-only.

use cutover_registry::server::Immutable;
use serde_json::json;

use super::Registry;

#[test]
fn versions_stay_and_branches_move() {
    let registry = Registry::start();
    let mut client = registry.client();
    let first = client.push_image("a", "1.2.3", "first");
    client.push_image("a", "latest", "first");
    client.push_image("a", "1.2.3", "first");
    client.push_image("a", "latest", "second");
    let answer = client.push_manifest("a", "1.2.3", b"{}");
    assert_eq!(answer.short(), "409 DENIED");
    let message = answer.json()["errors"][0]["message"].as_str().unwrap().to_owned();
    let start = format!(
        "tag `1.2.3` of repository `a` is immutable: it is {first} and cannot become sha256:"
    );
    assert!(message.starts_with(&start), "{message}");
    // one that stays among several tags: none is set
    let digest = cutover_core::Digest::sha256(b"{ }");
    let query = format!("{digest}?tag=new&tag=1.2.3");
    assert_eq!(client.push_manifest("a", &query, b"{ }").short(), "409 DENIED");
    assert_eq!(client.head("/v2/a/manifests/new").status, 404);
    assert_eq!(client.head(&format!("/v2/a/manifests/{digest}")).status, 404);
    // what was deleted keeps its place
    client.delete("/v2/a/manifests/1.2.3").expect(202);
    let registry = registry.again();
    let mut client = registry.client();
    assert_eq!(client.push_manifest("a", "1.2.3", b"{}").short(), "409 DENIED");
    client.push_image("a", "1.2.3", "first");
}

#[test]
fn patterns_of_immutable_tags() {
    let registry = Registry::with_policy(|policy| {
        policy.immutable = vec![Immutable::Pattern("release-*".to_owned())];
    });
    let mut client = registry.client();
    for (tag, wanted) in [("release-1", "409 DENIED"), ("1.2.3", "201"), ("main", "201")] {
        client.push_manifest("a", tag, b"{}").expect(201);
        assert_eq!(client.push_manifest("a", tag, b"{ }").short(), wanted, "{tag}");
    }
}

#[test]
fn a_tag_has_a_history() {
    let registry = Registry::start();
    let mut client = registry.client();
    let first = client.push_image("a", "latest", "first");
    let second = client.push_image("a", "latest", "second");
    client.push_image("a", "other", "second");
    client.delete("/v2/a/manifests/latest").expect(202);
    let list = client.get("/v2/a/_cutover/tags/history?tag=latest").expect(200).json();
    let short: Vec<_> = list["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| json!([it["what"], it["who"], it["old"], it["new"]]))
        .collect();
    assert_eq!(
        json!(short),
        json!([
            ["delete", "anonymous", second, null],
            ["push", "anonymous", first, second],
            ["push", "anonymous", null, first],
        ])
    );
    let page = client.get("/v2/a/_cutover/tags/history?n=1").expect(200);
    assert!(page.header("link").contains("last="), "{}", page.header("link"));
    client.get("/v2/b/_cutover/tags/history").expect(404);
    client.get("/v2/a/_cutover/tags/history?last=x").expect(400);
}

#[test]
fn a_repository_is_no_larger_than_it_may_be() {
    let registry = Registry::with_policy(|policy| policy.quotas = vec![("small".to_owned(), 3000)]);
    let mut client = registry.client();
    let first = client.push_blob("small", &[1; 2000]);
    let at = client.begin("small");
    let digest = cutover_core::Digest::sha256(&[2; 2000]);
    let answer = client.send("PUT", &format!("{at}?digest={digest}"), &[], &[2; 2000]);
    assert_eq!(answer.short(), "403 DENIED");
    assert_eq!(client.head(&format!("/v2/small/blobs/{digest}")).status, 404);
    // what it has costs nothing, and what is refused is refused before it comes
    client.push_blob("small", &[1; 2000]);
    let at = client.begin("small");
    let answer = client.send("PATCH", &at, &[("content-length", "1000000000")], b"");
    assert_eq!(answer.short(), "403 DENIED");
    client.push_blob("large", &[2; 2000]);
    let mount = format!("/v2/small/blobs/uploads/?mount={digest}&from=large");
    assert_eq!(client.send("POST", &mount, &[], b"").short(), "403 DENIED");
    client.delete(&format!("/v2/small/blobs/{first}")).expect(202);
    client.send("POST", &mount, &[], b"").expect(201);
}

#[test]
fn read_only() {
    let registry = Registry::start();
    let digest = registry.client().push_image("a", "latest", "x");
    let (dir, _stopped) = (std::sync::Arc::clone(&registry.dir), drop(registry));
    let registry = Registry::at(dir, |options| options.policy.read_only = true);
    let mut client = registry.client();
    client.get("/v2/a/manifests/latest").expect(200);
    for (method, path) in [
        ("PUT", "/v2/a/manifests/latest".to_owned()),
        ("DELETE", format!("/v2/a/manifests/{digest}")),
        ("POST", "/v2/a/blobs/uploads/".to_owned()),
        ("DELETE", format!("/v2/a/blobs/{digest}")),
    ] {
        assert_eq!(
            client.send(method, &path, &[], b"").short(),
            "405 UNSUPPORTED",
            "{method} {path}"
        );
    }
}
