//! The API's areas, each with every blob and data case: what the conformance suite asks, in our words.

use cutover_core::Digest;
use cutover_core::digest::{Algorithm, Hasher};

use super::client::{Client, image};
use super::{Registry, movable};

fn digest(algorithm: Algorithm, bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(bytes);
    hasher.finish()
}

/// A way to push a blob. Returns the status of the last request.
type Way = fn(&mut Client, &[u8], &Digest) -> u16;

const WAYS: [(&str, Way); 7] = [
    ("post only", |client, bytes, digest| {
        let path = format!("/v2/a/blobs/uploads/?digest={digest}");
        client.send("POST", &path, &[], bytes).status
    }),
    ("post, put", |client, bytes, digest| {
        let at = client.begin("a");
        client.send("PUT", &format!("{at}?digest={digest}"), &[], bytes).status
    }),
    ("one chunk", |client, bytes, digest| chunked(client, bytes, digest, bytes.len(), false)),
    ("chunks", |client, bytes, digest| chunked(client, bytes, digest, 700, false)),
    ("chunks, the last in the put", |client, bytes, digest| {
        chunked(client, bytes, digest, 700, true)
    }),
    ("stream", |client, bytes, digest| {
        let at = client.begin("a");
        let mut body = Vec::new();
        for piece in bytes.chunks(1000) {
            body.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            body.extend_from_slice(piece);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\n\r\n");
        let answer = client.send("PATCH", &at, &[("transfer-encoding", "chunked")], &body);
        let at = answer.expect(202).header("location").to_owned();
        client.send("PUT", &format!("{at}?digest={digest}"), &[], b"").status
    }),
    ("stream with its algorithm said", |client, bytes, digest| {
        let algorithm = digest.algorithm().as_str();
        let path = format!("/v2/a/blobs/uploads/?digest-algorithm={algorithm}");
        let at = client.send("POST", &path, &[], b"").expect(202).header("location").to_owned();
        client.send("PATCH", &at, &[], bytes).expect(202);
        client.send("PUT", &format!("{at}?digest={digest}"), &[], b"").status
    }),
];

fn chunked(client: &mut Client, bytes: &[u8], digest: &Digest, size: usize, put: bool) -> u16 {
    let mut at = client.begin("a");
    let (mut from, count) = (0, bytes.len().div_ceil(size.max(1)));
    for (number, chunk) in bytes.chunks(size.max(1)).enumerate() {
        let last = put && number + 1 == count;
        let path = if last { format!("{at}?digest={digest}") } else { at.clone() };
        let range = format!("{from}-{}", from + chunk.len() - 1);
        let method = if last { "PUT" } else { "PATCH" };
        let answer = client.send(method, &path, &[("content-range", &range)], chunk);
        if last {
            return answer.status;
        }
        from += chunk.len();
        let answer = answer.expect(202);
        assert_eq!(answer.header("range"), format!("0-{}", from - 1));
        at = answer.header("location").to_owned();
    }
    client.send("PUT", &format!("{at}?digest={digest}"), &[], b"").status
}

#[test]
fn blobs_in_every_way() {
    let registry = Registry::start();
    let mut client = registry.client();
    let large: Vec<u8> =
        (0..2_000_000_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        for (name, way) in WAYS {
            for bytes in [&b""[..], b"{}", &large[..2048], &large] {
                if name.starts_with("chunks") && bytes.len() > 100_000 {
                    continue;
                }
                let digest = digest(algorithm, bytes);
                let case = format!("{name}, {algorithm:?}, {} bytes", bytes.len());
                assert_eq!(way(&mut client, bytes, &digest), 201, "{case}");
                let path = format!("/v2/a/blobs/{digest}");
                let answer = client.get(&path).expect(200);
                assert!(answer.body == bytes, "{case}");
                assert_eq!(answer.header("docker-content-digest"), digest.as_str(), "{case}");
                let answer = client.head(&path).expect(200);
                assert_eq!(answer.header("content-length"), bytes.len().to_string(), "{case}");
                client.delete(&path).expect(202);
                assert_eq!(client.head(&path).status, 404, "{case}");
                assert_eq!(client.delete(&path).short(), "404 BLOB_UNKNOWN", "{case}");
            }
            let wrong = digest(algorithm, b"something else");
            assert_eq!(way(&mut client, &large[..2048], &wrong), 400, "{name}, {algorithm:?}");
            assert_eq!(client.head(&format!("/v2/a/blobs/{wrong}")).status, 404);
        }
    }
    let left = fs_err::read_dir(registry.data().join("uploads")).unwrap().count();
    assert_eq!(left, 0, "uploads are left over");
}

#[test]
fn chunks_out_of_order() {
    let registry = Registry::start();
    let mut client = registry.client();
    let bytes = [7; 3000];
    let digest = Digest::sha256(&bytes);
    let at = client.begin("a");
    for (range, size) in [("1000-1999", 1000), ("2000-2999", 1000)] {
        let answer = client.send("PATCH", &at, &[("content-range", range)], &bytes[..size]);
        assert_eq!(answer.short(), "416 BLOB_UPLOAD_INVALID");
        assert_eq!((answer.header("location"), answer.header("range")), (&*at, "0-0"));
    }
    client.send("PATCH", &at, &[("content-range", "0-999")], &bytes[..1000]).expect(202);
    for (method, range) in [("PATCH", "0-999"), ("PUT", "2000-2999"), ("PUT", "0-999")] {
        let path = format!("{at}?digest={digest}");
        let answer = client.send(method, &path, &[("content-range", range)], &bytes[..1000]);
        assert_eq!(answer.status, 416, "{method} {range}");
        let answer = client.get(&at).expect(204);
        assert_eq!(answer.header("range"), "0-999");
    }
    for (range, length, wanted) in [
        ("1000-1998", "1000", "400 SIZE_INVALID"),
        ("x-y", "1000", "400 BLOB_UPLOAD_INVALID"),
        ("1999-1000", "1000", "400 BLOB_UPLOAD_INVALID"),
    ] {
        let headers = [("content-range", range), ("content-length", length)];
        assert_eq!(client.send("PATCH", &at, &headers, &bytes[..1000]).short(), wanted);
    }
    let path = format!("{at}?digest={digest}");
    client.send("PUT", &path, &[("content-range", "1000-2999")], &bytes[1000..]).expect(201);
    assert_eq!(client.get(&at).short(), "404 BLOB_UPLOAD_UNKNOWN");
}

#[test]
fn uploads_are_cancelled() {
    let registry = Registry::start();
    let mut client = registry.client();
    let at = client.begin("a");
    client.send("PATCH", &at, &[], b"some bytes").expect(202);
    client.delete(&at).expect(204);
    for method in ["GET", "PATCH", "DELETE"] {
        assert_eq!(client.send(method, &at, &[], b"").short(), "404 BLOB_UPLOAD_UNKNOWN");
    }
    // an upload belongs to its repository
    let other = client.begin("a").replace("/a/", "/b/");
    assert_eq!(client.get(&other).short(), "404 BLOB_UPLOAD_UNKNOWN");
}

#[test]
fn mounts() {
    let registry = Registry::start();
    let mut client = registry.client();
    let digest = client.push_blob("a/source", b"a layer");
    let missing = Digest::sha256(b"nobody has it");
    for (query, wanted) in [
        (format!("mount={digest}&from=a/source"), 201),
        (format!("mount={digest}"), 201),
        (format!("mount={digest}&from=nowhere"), 202),
        (format!("mount={missing}&from=a/source"), 202),
        (format!("mount={missing}"), 202),
        ("mount=nonsense&from=a/source".to_owned(), 202),
        (format!("mount={digest}&from=../../etc"), 202),
    ] {
        let answer = client.send("POST", &format!("/v2/b/blobs/uploads/?{query}"), &[], b"");
        assert_eq!(answer.status, wanted, "{query}");
        if wanted == 201 {
            assert_eq!(answer.header("location"), format!("/v2/b/blobs/{digest}"));
            assert_eq!(client.get(answer.header("location")).expect(200).body, b"a layer");
            client.delete(answer.header("location")).expect(202);
        }
    }
    client.head(&format!("/v2/a/source/blobs/{digest}")).expect(200);
}

#[test]
fn ranges() {
    let registry = Registry::start();
    let mut client = registry.client();
    let bytes: Vec<u8> = (0..2048_u32).map(|n| n.to_le_bytes()[0]).collect();
    let path = format!("/v2/a/blobs/{}", client.push_blob("a", &bytes));
    for (range, wanted) in [
        ("bytes=500-1499", Some(500..1500)),
        ("bytes=500-", Some(500..2048)),
        ("bytes=-500", Some(1548..2048)),
        ("bytes=2000-5000", Some(2000..2048)),
        ("bytes=500-0", None),
        ("bytes=5000-10000", None),
    ] {
        for method in ["GET", "HEAD"] {
            let answer = client.send(method, &path, &[("range", range)], b"");
            let Some(part) = wanted.clone() else {
                assert_eq!(answer.status, 416, "{range}");
                assert_eq!(answer.header("content-range"), "bytes */2048");
                continue;
            };
            assert_eq!(answer.status, 206, "{range}");
            let said = format!("bytes {}-{}/2048", part.start, part.end - 1);
            assert_eq!(answer.header("content-range"), said);
            assert_eq!(answer.header("content-length"), part.len().to_string());
            if method == "GET" {
                assert_eq!(answer.body, &bytes[part], "{range}");
            }
        }
    }
    // thousands of overlapping ranges cost no more than the file
    let many = format!("bytes={}", vec!["0-2047"; 500].join(","));
    assert_eq!(client.send("GET", &path, &[("range", &many)], b"").expect(200).body, bytes);
    let etag = client.get(&path).header("etag").to_owned();
    client.send("GET", &path, &[("if-none-match", &etag)], b"").expect(304);
    let headers = [("if-range", "\"other\""), ("range", "bytes=0-1")];
    client.send("GET", &path, &headers, b"").expect(200);
}

/// Documents of every kind. Each is stored as it is and comes back so.
fn documents() -> Vec<(&'static str, &'static str, String)> {
    let (config, layer) = (Digest::sha256(b"{}"), Digest::sha256(b"layer"));
    let far = Digest::sha256(b"never pushed");
    let (manifest, index) =
        ("application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json");
    let plain = image(&config, std::slice::from_ref(&layer), "");
    let child = Digest::sha256(plain.as_bytes());
    let list = |of: &Digest, more: &str| {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{index}","manifests":[{{"mediaType":"{manifest}","digest":"{of}","size":{}}}]{more}}}"#,
            plain.len()
        )
    };
    let subject = format!(r#","subject":{{"mediaType":"{manifest}","digest":"{child}","size":1}}"#);
    let lost = format!(r#","subject":{{"mediaType":"{manifest}","digest":"{far}","size":1}}"#);
    let long = format!(r#","annotations":{{"x":"{}"}}"#, "y".repeat(3_900_000));
    let docker = plain.replace("oci.image.manifest.v1", "docker.distribution.manifest.v2");
    vec![
        ("image", manifest, plain.clone()),
        ("spaced", manifest, format!(" {plain}\n  ")),
        ("large", manifest, image(&config, &[], &long)),
        ("index", index, list(&child, "")),
        ("nested", index, list(&Digest::sha256(list(&child, "").as_bytes()), "")),
        (
            "empty-index",
            index,
            format!(r#"{{"schemaVersion":2,"mediaType":"{index}","manifests":[]}}"#),
        ),
        ("artifact", manifest, image(&config, &[], r#","artifactType":"application/vnd.x.sbom""#)),
        ("artifact-index", index, list(&child, r#","artifactType":"application/vnd.x""#)),
        ("no-layers", manifest, image(&config, &[], "")),
        ("subject", manifest, image(&config, &[], &subject)),
        ("index-subject", index, list(&child, &subject)),
        ("missing-subject", manifest, image(&config, &[], &lost)),
        ("data", manifest, plain.replace(r#""size":1"#, r#""size":1,"data":"e30=""#)),
        (
            "nondistributable",
            manifest,
            plain.replace("layer.v1.tar", "layer.nondistributable.v1.tar"),
        ),
        ("custom", manifest, image(&config, &[layer], r#","org.example":{"a":[1,2.50,null]}"#)),
        ("sparse", manifest, image(&config, std::slice::from_ref(&far), "")),
        ("sparse-index", index, list(&far, "")),
        ("docker", "application/vnd.docker.distribution.manifest.v2+json", docker),
        ("anything", "application/vnd.example+json", r#"{"what":"ever"}"#.to_owned()),
    ]
}

#[test]
fn manifests_of_every_kind() {
    let registry = Registry::with_policy(movable);
    let mut client = registry.client();
    client.push_blob("a", b"{}");
    client.push_blob("a", b"layer");
    for (name, kind, text) in documents() {
        let bytes = text.as_bytes();
        let by_tag = Digest::sha256(bytes);
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let digest = digest(algorithm, bytes);
            let case = format!("{name} {algorithm:?}");
            let query = format!("/v2/a/manifests/{digest}?tag={name}-1&tag={name}-2");
            let answer = client.send("PUT", &query, &[("content-type", kind)], bytes).expect(201);
            assert_eq!(answer.header("oci-tag"), format!("{name}-1, {name}-2"), "{case}");
            assert_eq!(answer.header("docker-content-digest"), digest.as_str(), "{case}");
            let subject = serde_json::from_str::<serde_json::Value>(&text).unwrap();
            let subject = subject["subject"]["digest"].as_str().unwrap_or_default();
            assert_eq!(answer.header("oci-subject"), subject, "{case}");
            for target in [digest.as_str(), &format!("{name}-1"), &format!("{name}-2")] {
                let path = format!("/v2/a/manifests/{target}");
                let answer = client.get(&path).expect(200);
                assert!(answer.body == bytes, "{case} {target}");
                assert_eq!(answer.header("content-type"), kind, "{case}");
                assert_eq!(answer.header("docker-content-digest"), digest.as_str(), "{case}");
                let answer = client.head(&path).expect(200);
                assert_eq!(answer.header("content-length"), bytes.len().to_string(), "{case}");
            }
        }
        let path = format!("/v2/a/manifests/{name}");
        client.send("PUT", &path, &[("content-type", kind)], bytes).expect(201);
        assert!(client.get(&path).expect(200).body == bytes, "{name}");
        // a tag goes and the manifest stays; the manifest goes and its tags with it
        client.delete(&path).expect(202);
        assert_eq!(client.get(&path).short(), "404 MANIFEST_UNKNOWN", "{name}");
        assert_eq!(client.delete(&path).short(), "404 MANIFEST_UNKNOWN", "{name}");
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            client.delete(&format!("/v2/a/manifests/{}", digest(algorithm, bytes))).expect(202);
        }
        for target in [by_tag.as_str(), &format!("{name}-1"), &format!("{name}-2")] {
            let path = format!("/v2/a/manifests/{target}");
            assert_eq!(client.head(&path).status, 404, "{name} {target}");
        }
    }
    assert_eq!(client.get("/v2/a/tags/list").json()["tags"], serde_json::json!([]));
}

#[test]
fn manifests_that_are_refused() {
    let registry = Registry::start();
    let mut client = registry.client();
    let digest = Digest::sha256(b"other bytes");
    let kind = [("content-type", "application/vnd.oci.image.manifest.v1+json")];
    for (target, headers, body, wanted) in [
        (digest.as_str(), &kind[..], "{}", "400 DIGEST_INVALID"),
        ("sha256:baddigeststring", &kind, "{}", "400 DIGEST_INVALID"),
        ("latest", &kind, "", "400 MANIFEST_INVALID"),
        ("latest", &kind, "[]", "400 MANIFEST_INVALID"),
        ("latest", &kind, r#"{"mediaType":"other/type"}"#, "400 MANIFEST_INVALID"),
        ("latest", &kind, r#"{"config":{"digest":7}}"#, "400 MANIFEST_INVALID"),
    ] {
        let path = format!("/v2/a/manifests/{target}");
        assert_eq!(client.send("PUT", &path, headers, body.as_bytes()).short(), wanted, "{body}");
    }
    for path in ["/v2/a/manifests/latest", &format!("/v2/a/manifests/{digest}")] {
        assert_eq!(client.get(path).short(), "404 MANIFEST_UNKNOWN");
        assert_eq!(client.delete(path).short(), "404 MANIFEST_UNKNOWN");
    }
    let complete = Registry::with_policy(|policy| policy.complete = true);
    let text = image(&digest, &[], "");
    let answer = complete.client().push_manifest("a", "latest", text.as_bytes());
    assert_eq!(answer.short(), "404 MANIFEST_BLOB_UNKNOWN");
}
