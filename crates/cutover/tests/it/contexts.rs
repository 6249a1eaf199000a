//! `build` of contexts that are no directory, with named ones, and for several platforms.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::channel;

use crate::harness::Root;

/// Answers each of `count` connections with the page for its path and hands on what was asked.
fn serve(
    count: usize,
    page: fn(&str) -> &'static str,
) -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sender, asked) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(count) {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap().to_lowercase();
            let path = head.split_whitespace().nth(1).unwrap().to_owned();
            let body = page(&path);
            let status = if head.contains("if-none-match") { "304 not modified" } else { "200 ok" };
            let body = if status.starts_with("304") { "" } else { body };
            let reply = format!(
                "HTTP/1.1 {status}\r\netag: \"x\"\r\nlast-modified: Sun, 06 Nov 1994 08:49:37 GMT\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(reply.as_bytes()).unwrap();
            sender.send(head).unwrap();
        }
    });
    (address, asked)
}

#[test]
fn stdin_is_a_dockerfile_or_an_archive() {
    let root = Root::with_busybox();
    let said = root.feed(b"FROM busybox\nRUN echo 1 > /from\n", ["build", "-t", "a", "-"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(root.ok(["run", "--rm", "a", "cat", "/from"]), "1");
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in [("sub/D", "FROM busybox\nCOPY f /f\n"), ("f", "packed")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    let tar = tar.into_inner().unwrap();
    let said = root.feed(&tar, ["build", "-t", "b", "-f", "sub/D", "-"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(root.ok(["run", "--rm", "b", "cat", "/f"]), "packed");
    let file = root.work().join("context.tar");
    std::fs::write(&file, tar).unwrap();
    let words = ["build", "-t", "c", "-f", "-", file.to_str().unwrap()];
    let said = root.feed(b"FROM busybox\nCOPY f /g\n", words);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(root.ok(["run", "--rm", "c", "cat", "/g"]), "packed");
    let error = root.fails(2, ["build", "-f", "-", "-"]);
    assert!(error.contains("both the Dockerfile and the context"), "{error}");
    assert_eq!(root.feed(b"", ["build", "-"]).code, 2);
    assert_eq!(root.fails(3, ["build", "nowhere-at-all"]).lines().count(), 1);
}

#[test]
fn files_over_http() {
    let root = Root::with_busybox();
    let (address, asked) = serve(4, |path| match path {
        "/dockerfile" => "FROM busybox\nRUN echo remote > /f\n",
        _ => "page",
    });
    root.write("ctx/secret", "s3cret\n");
    let secret = root.work().join("ctx/secret");
    let host = address.trim_start_matches("http://");
    let secret = format!("id=HTTP_AUTH_TOKEN_{host},src={}", secret.display());
    let text = format!("FROM busybox\nADD {address}/dir/page.txt /pages/\n");
    let context = root.work().join("ctx");
    root.write("ctx/Dockerfile", &text);
    let words = ["build", "-t", "a", "--secret", &secret, context.to_str().unwrap()];
    root.ok(words);
    let listed = root.ok([
        "run",
        "--rm",
        "a",
        "sh",
        "-c",
        "cat /pages/page.txt; stat -c ' %a' /pages/page.txt",
    ]);
    assert_eq!(listed, "page 600");
    assert!(asked.recv().unwrap().contains("authorization: bearer s3cret"));
    let said = root.run(words);
    assert!(asked.recv().unwrap().contains("if-none-match: \"x\""));
    assert!(said.err.contains("CACHED") && !said.err.contains("s3cret"), "{}", said.err);
    root.ok(["build", "-t", "b", &format!("{address}/Dockerfile")]);
    assert_eq!(root.ok(["run", "--rm", "b", "cat", "/f"]), "remote");
    let digest = "sha256:".to_owned() + &"0".repeat(64);
    root.write("ctx/Dockerfile", &format!("FROM busybox\nADD --checksum={digest} {address}/x /\n"));
    let error = root.fails(1, ["build", context.to_str().unwrap()]);
    assert!(error.contains("digest mismatch"), "{error}");
}

#[test]
fn named_contexts() {
    let root = Root::with_busybox();
    root.write("other/f", "from the other\n");
    root.write("ctx/Dockerfile", "FROM nowhere\nCOPY --from=other f /f\n");
    let (context, other) = (root.work().join("ctx"), root.work().join("other"));
    let other = format!("other={}", other.display());
    let context = context.to_str().unwrap();
    let base = "nowhere=docker-image://busybox";
    root.ok(["build", "-t", "a", "--build-context", &other, "--build-context", base, context]);
    assert_eq!(root.ok(["run", "--rm", "a", "cat", "/f"]), "from the other");
    let error = root.fails(3, ["build", "--build-context", "x=/no/such/dir", context]);
    assert!(error.contains("context `x`: `/no/such/dir` is not a directory"), "{error}");
    assert!(root.fails(2, ["build", "--build-context", "x", context]).contains("NAME=DIR"));
}

#[test]
fn several_platforms_are_an_index() {
    let root = Root::with_busybox();
    let text = "FROM scratch\nARG TARGETARCH\nCOPY <<E /arch\n$TARGETARCH\nE\n";
    root.write("ctx/Dockerfile", text);
    let context = root.work().join("ctx");
    let platforms = ["--platform", "linux/arm64,linux/amd64", "--platform", "linux/s390x"];
    let words = ["build", "-q", "-t", "many:1"].into_iter().chain(platforms);
    let index = root.ok(words.chain([context.to_str().unwrap()]));
    let blob = root.path().join("root/blobs/sha256").join(index.strip_prefix("sha256:").unwrap());
    let index: serde_json::Value = serde_json::from_slice(&std::fs::read(blob).unwrap()).unwrap();
    let entries = index["manifests"].as_array().unwrap();
    let all: Vec<_> =
        entries.iter().map(|it| it["platform"]["architecture"].as_str().unwrap()).collect();
    assert_eq!(all, ["arm64", "amd64", "s390x"]);
    let own = &root.json(&["inspect", "many:1"])[0]["config"]["architecture"];
    assert_eq!(own.as_str(), Some(if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }));
    root.ok(["gc"]);
    assert!(root.ok(["images"]).contains("many"));
    // Made for one platform only, and taken for another: with a word about it.
    root.write("ctx/Dockerfile", "FROM busybox\nCOPY Dockerfile /\n");
    let said = root.run(["build", "--platform", "linux/s390x", context.to_str().unwrap()]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("InvalidBaseImagePlatform"), "{}", said.err);
}
