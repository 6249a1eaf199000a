//! What no decent client sends: the specification's errors, bounded memory, nothing half-written.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::time::Duration;

use cutover_core::Digest;

use super::Registry;

/// Nothing of a refused push can be seen.
fn assert_empty(registry: &Registry) {
    let files = |path: &str| -> Vec<_> {
        let mut folders = vec![registry.data().join(path)];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in fs_err::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        files
    };
    assert_eq!(files("blobs"), [""; 0].map(std::path::PathBuf::from));
}

#[test]
fn odd_requests() {
    let registry = Registry::start();
    let mut client = registry.client();
    for (method, path, wanted) in [
        ("GET", "/", "404 UNSUPPORTED"),
        ("GET", "/v2/../../etc/passwd", "404 UNSUPPORTED"),
        ("GET", "/v2/%2e%2e/manifests/x", "400 NAME_INVALID"),
        ("GET", "/v2/a/blobs/sha256:../../x", "404 UNSUPPORTED"),
        ("GET", "/v2/a/manifests/..%2f..%2fx", "400 DIGEST_INVALID"),
        ("POST", "/v2/A/blobs/uploads/", "400 NAME_INVALID"),
        ("POST", "/v2/a/blobs/uploads/?digest=x", "400 DIGEST_INVALID"),
        ("POST", "/v2/a/blobs/uploads/?digest-algorithm=md5", "400 UNSUPPORTED"),
        ("POST", "/v2/a/manifests/x", "405 UNSUPPORTED"),
        ("PUT", "/v2/", "405 UNSUPPORTED"),
        ("BREW", "/v2/a/tags/list", "405 UNSUPPORTED"),
    ] {
        assert_eq!(client.send(method, path, &[], b"").short(), wanted, "{method} {path}");
    }
    let allow = client.send("POST", "/v2/a/tags/list", &[], b"").header("allow").to_owned();
    assert_eq!(allow, "GET, HEAD");
    client.get("/v2/").expect(200);
}

#[test]
fn large_manifests() {
    let registry = Registry::start();
    let mut client = registry.client();
    let bytes = vec![b' '; 10_000_000];
    let answer = client.push_manifest("a", "latest", &bytes);
    assert_eq!(answer.short(), "413 MANIFEST_INVALID");
    let mut body = format!("{:x}\r\n", bytes.len()).into_bytes();
    body.extend_from_slice(&bytes);
    body.extend_from_slice(b"\r\n0\r\n\r\n");
    let headers = [("transfer-encoding", "chunked")];
    let answer = client.send("PUT", "/v2/a/manifests/latest", &headers, &body);
    assert_eq!(answer.short(), "413 MANIFEST_INVALID");
    assert_eq!(client.head("/v2/a/manifests/latest").status, 404);
}

#[test]
fn absurd_lengths() {
    let registry = Registry::start();
    let mut client = registry.client();
    let at = client.begin("a");
    for (length, wanted) in
        [("1000000000000000000", "507 UNKNOWN"), ("99999999999999999999", "400")]
    {
        let answer = client.send("PATCH", &at, &[("content-length", length)], b"");
        assert_eq!(answer.short(), wanted);
        client = registry.client();
    }
    let headers = [("content-range", "0-99999999999999999998")];
    assert_eq!(client.send("PATCH", &at, &headers, b"x").status, 400);
    assert_eq!(client.get(&at).expect(204).header("range"), "0-0");
    assert_empty(&registry);
}

/// What came before a client broke off can be gone on with; nothing else is seen of it.
#[test]
fn short_bodies() {
    let registry = Registry::start();
    let mut client = registry.client();
    let bytes = [3; 4000];
    let digest = Digest::sha256(&bytes);
    let at = client.begin("a");
    let mut broken = registry.client();
    let head = format!("PATCH {at} HTTP/1.1\r\nhost: x\r\ncontent-length: 4000\r\n\r\n");
    broken.raw().write_all(head.as_bytes()).unwrap();
    broken.raw().write_all(&bytes[..1000]).unwrap();
    broken.raw().shutdown(Shutdown::Both).unwrap();
    // waits for the other request, which ends when the server hears of its end
    let answer = client.get(&at).expect(204);
    let answer = if answer.header("range") == "0-0" { client.get(&at) } else { answer };
    assert!(matches!(answer.header("range"), "0-999" | "0-0"), "{}", answer.header("range"));
    let have = if answer.header("range") == "0-999" { 1000 } else { 0 };
    let range = format!("{have}-3999");
    let path = format!("{at}?digest={digest}");
    client.send("PUT", &path, &[("content-range", &range)], &bytes[have..]).expect(201);
    assert_eq!(client.get(&format!("/v2/a/blobs/{digest}")).expect(200).body, bytes);

    let other = Digest::sha256(b"never whole");
    let mut broken = registry.client();
    let head = format!(
        "POST /v2/a/blobs/uploads/?digest={other} HTTP/1.1\r\nhost: x\r\ncontent-length: 11\r\n\r\nnever"
    );
    broken.raw().write_all(head.as_bytes()).unwrap();
    broken.raw().shutdown(Shutdown::Write).unwrap();
    let mut rest = String::new();
    drop(broken.raw().read_to_string(&mut rest));
    assert!(!rest.starts_with("HTTP/1.1 201"), "{rest}");
    assert_eq!(client.head(&format!("/v2/a/blobs/{other}")).status, 404);
    assert_eq!(fs_err::read_dir(registry.data().join("uploads")).unwrap().count(), 0);
}

#[test]
fn slow_bodies_end() {
    let registry = Registry::with(|options| options.idle = Duration::from_millis(200));
    let mut client = registry.client();
    let at = client.begin("a");
    let head = format!("PATCH {at} HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc");
    client.raw().write_all(head.as_bytes()).unwrap();
    assert_eq!(client.answer("PATCH").short(), "408 BLOB_UPLOAD_INVALID");
    let mut client = registry.client();
    assert_eq!(client.get(&at).expect(204).header("range"), "0-2");
    let head = "PUT /v2/a/manifests/x HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{";
    client.raw().write_all(head.as_bytes()).unwrap();
    assert_eq!(client.answer("PUT").short(), "408 MANIFEST_INVALID");
}
