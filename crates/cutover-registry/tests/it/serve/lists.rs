//! Lists and their pages: tags, repositories, referrers.

use cutover_core::Digest;
use serde_json::{Value, json};

use super::client::{Client, image};
use super::{Registry, movable};

/// Follows `Link` from page to page.
fn pages(client: &mut Client, first: &str, key: &str) -> Vec<Vec<Value>> {
    let (mut path, mut pages) = (first.to_owned(), Vec::new());
    loop {
        let answer = client.get(&path).expect(200);
        pages.push(answer.json()[key].as_array().unwrap().clone());
        let link = answer.header("link").to_owned();
        if link.is_empty() {
            return pages;
        }
        let next = link.strip_suffix(">; rel=\"next\"").unwrap();
        path = next.strip_prefix('<').unwrap().to_owned();
    }
}

#[test]
fn tags_in_pages() {
    let registry = Registry::with_policy(movable);
    let mut client = registry.client();
    assert_eq!(client.get("/v2/a/tags/list").short(), "404 NAME_UNKNOWN");
    for tag in ["b", "a", "B", "10", "9", "_x", "a.b", "a-b"] {
        client.push_manifest("a", tag, b"{}").expect(201);
    }
    let sorted = ["10", "9", "B", "_x", "a", "a-b", "a.b", "b"];
    let list = |client: &mut Client, query: &str| {
        let answer = client.get(&format!("/v2/a/tags/list{query}")).expect(200);
        assert_eq!(answer.json()["name"], "a");
        (answer.json()["tags"].clone(), answer.header("link").to_owned())
    };
    for (query, wanted, link) in [
        ("", &sorted[..], ""),
        ("?n=3", &sorted[..3], "</v2/a/tags/list?n=3&last=B>; rel=\"next\""),
        ("?n=3&last=a", &sorted[5..], ""),
        ("?last=B", &sorted[3..], ""),
        ("?last=C", &sorted[3..], ""),
        ("?last=zzz", &[], ""),
        ("?n=0", &[], ""),
        ("?n=8", &sorted, ""),
        ("?n=99999999999999999999999", &sorted, ""),
    ] {
        assert_eq!(list(&mut client, query), (json!(wanted), link.to_owned()), "{query}");
    }
    client.get("/v2/a/tags/list?n=-1").expect(400);
    client.get("/v2/a/tags/list?n=x").expect(400);
    for size in 1..9 {
        let pages = pages(&mut client, &format!("/v2/a/tags/list?n={size}"), "tags");
        assert_eq!(pages.concat(), sorted, "pages of {size}");
        assert!(pages.iter().all(|page| page.len() <= size));
    }
}

#[test]
fn repositories_in_pages() {
    let registry = Registry::start();
    let mut client = registry.client();
    assert_eq!(client.get("/v2/_catalog").expect(200).json(), json!({ "repositories": [] }));
    for name in ["b", "a/c", "a", "d"] {
        client.push_manifest(name, "latest", b"{}").expect(201);
    }
    for size in 1..6 {
        let pages = pages(&mut client, &format!("/v2/_catalog?n={size}"), "repositories");
        assert_eq!(pages.concat(), ["a", "a/c", "b", "d"]);
    }
    // one without anything in it is not listed
    let digest = Digest::sha256(b"{}");
    client.delete(&format!("/v2/d/manifests/{digest}")).expect(202);
    assert_eq!(client.get("/v2/_catalog").json(), json!({ "repositories": ["a", "a/c", "b"] }));
}

#[test]
fn referrers() {
    let registry = Registry::start();
    let mut client = registry.client();
    let subject = client.push_image("a", "latest", "subject");
    let path = format!("/v2/a/referrers/{subject}");
    let empty = client.get(&path).expect(200);
    assert_eq!(empty.header("content-type"), "application/vnd.oci.image.index.v1+json");
    assert_eq!(empty.json()["manifests"], json!([]));
    // of a repository that is not there, too
    assert_eq!(client.get(&format!("/v2/b/referrers/{subject}")).expect(200).json(), empty.json());
    assert_eq!(client.get("/v2/a/referrers/latest").short(), "400 DIGEST_INVALID");

    let config = Digest::sha256(b"{}");
    let about = format!(r#","subject":{{"mediaType":"x/y","digest":"{subject}","size":1}}"#);
    let sbom = image(
        &config,
        &[],
        &format!(r#"{about},"artifactType":"x/sbom","annotations":{{"k":"v"}}"#),
    );
    let plain = image(&config, &[], &about);
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]{about}}}"#
    );
    for text in [&sbom, &plain, &index] {
        let digest = Digest::sha256(text.as_bytes());
        let answer = client.push_manifest("a", digest.as_str(), text.as_bytes()).expect(201);
        assert_eq!(answer.header("oci-subject"), subject.as_str());
    }
    let all = client.get(&path).json();
    let find = |text: &str| {
        let digest = Digest::sha256(text.as_bytes());
        let list = all["manifests"].as_array().unwrap();
        list.iter().find(|it| it["digest"] == digest.as_str()).unwrap().clone()
    };
    assert_eq!(all["manifests"].as_array().unwrap().len(), 3);
    assert_eq!(find(&sbom)["artifactType"], "x/sbom");
    assert_eq!(find(&sbom)["annotations"], json!({ "k": "v" }));
    assert_eq!(find(&sbom)["size"], sbom.len());
    assert_eq!(find(&plain)["artifactType"], "application/vnd.oci.image.config.v1+json");
    assert_eq!(find(&index).get("artifactType"), None);
    let answer = client.get(&format!("{path}?artifactType=x%2Fsbom")).expect(200);
    assert_eq!(answer.header("oci-filters-applied"), "artifactType");
    assert_eq!(answer.json()["manifests"], json!([find(&sbom)]));
    client.delete(&format!("/v2/a/manifests/{}", Digest::sha256(plain.as_bytes()))).expect(202);
    assert_eq!(client.get(&path).json()["manifests"].as_array().unwrap().len(), 2);
}

/// A subject with more referrers than a manifest may be large.
#[test]
fn referrers_in_pages() {
    let registry = Registry::start();
    let mut client = registry.client();
    let subject = Digest::sha256(b"nowhere");
    let long = "y".repeat(900_000);
    for number in 0..6 {
        let text = format!(
            r#"{{"subject":{{"digest":"{subject}"}},"annotations":{{"n":"{number}","y":"{long}"}}}}"#
        );
        client.push_manifest("a", &format!("r{number}"), text.as_bytes()).expect(201);
    }
    let pages = pages(&mut client, &format!("/v2/a/referrers/{subject}"), "manifests");
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [4, 2]);
    let mut digests: Vec<String> =
        pages.concat().iter().map(|it| it["digest"].to_string()).collect();
    digests.dedup();
    assert_eq!(digests.len(), 6);
}
