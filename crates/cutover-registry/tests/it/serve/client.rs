//! A client that sends exactly what a test says.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use cutover_core::Digest;
use serde_json::Value;

pub(crate) struct Client {
    port: u16,
    stream: BufReader<TcpStream>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case; several of one name are joined by `, `.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The specification's code of a refusal.
    pub(crate) fn code(&self) -> String {
        self.json()["errors"][0]["code"].as_str().unwrap_or_default().to_owned()
    }

    /// `STATUS CODE` of a refusal, `STATUS` of anything else.
    pub(crate) fn short(&self) -> String {
        format!("{} {}", self.status, self.code()).trim_end().to_owned()
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        let body = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{}", &body[..body.len().min(400)]);
        self
    }
}

impl Client {
    pub(crate) fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self { port, stream: BufReader::new(stream) }
    }

    /// The connection as it is, for what no client should send.
    pub(crate) fn raw(&mut self) -> &mut TcpStream {
        self.stream.get_mut()
    }

    pub(crate) fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: registry\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        let framed =
            headers.iter().any(|(name, _)| matches!(*name, "content-length" | "transfer-encoding"));
        if !framed && (!body.is_empty() || !matches!(method, "GET" | "HEAD")) {
            head += &format!("content-length: {}\r\n", body.len());
        }
        head += "\r\n";
        self.raw().write_all(head.as_bytes()).unwrap();
        // a refused body may not be read to its end
        drop(self.raw().write_all(body));
        self.answer(method)
    }

    /// Reads one answer.
    pub(crate) fn answer(&mut self, method: &str) -> Answer {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).and_then(|it| it.parse().ok());
        let status = status.unwrap_or_else(|| panic!("`{line}` is no status line"));
        let mut headers: BTreeMap<String, String> = BTreeMap::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            let values = headers.entry(name.to_ascii_lowercase()).or_default();
            if !values.is_empty() {
                values.push_str(", ");
            }
            values.push_str(value.trim());
        }
        let length = headers.get("content-length").and_then(|it| it.parse().ok()).unwrap_or(0);
        let none = method == "HEAD" || matches!(status, 204 | 304);
        let mut body = vec![0; if none { 0 } else { length }];
        self.stream.read_exact(&mut body).unwrap();
        if headers.get("connection").is_some_and(|it| it == "close") {
            *self = Self::connect(self.port);
        }
        Answer { status, headers, body }
    }

    pub(crate) fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    pub(crate) fn head(&mut self, path: &str) -> Answer {
        self.send("HEAD", path, &[], b"")
    }

    pub(crate) fn delete(&mut self, path: &str) -> Answer {
        self.send("DELETE", path, &[], b"")
    }

    /// Begins an upload; its address.
    #[track_caller]
    pub(crate) fn begin(&mut self, name: &str) -> String {
        let path = format!("/v2/{name}/blobs/uploads/");
        let answer = self.send("POST", &path, &[], b"").expect(202);
        assert_eq!(answer.header("range"), "0-0");
        answer.header("location").to_owned()
    }

    /// Pushes a blob in two requests.
    #[track_caller]
    pub(crate) fn push_blob(&mut self, name: &str, bytes: &[u8]) -> Digest {
        let (digest, at) = (Digest::sha256(bytes), self.begin(name));
        self.send("PUT", &format!("{at}?digest={digest}"), &[], bytes).expect(201);
        digest
    }

    #[track_caller]
    pub(crate) fn push_manifest(&mut self, name: &str, target: &str, text: &[u8]) -> Answer {
        self.send("PUT", &format!("/v2/{name}/manifests/{target}"), &[], text)
    }

    /// Pushes an image of one layer; what it is depends on `seed`.
    #[track_caller]
    pub(crate) fn push_image(&mut self, name: &str, tag: &str, seed: &str) -> Digest {
        let config = self.push_blob(name, format!("{{\"seed\":\"{seed}\"}}").as_bytes());
        let layer = self.push_blob(name, seed.as_bytes());
        let text = image(&config, &[layer], "");
        self.push_manifest(name, tag, text.as_bytes()).expect(201);
        Digest::sha256(text.as_bytes())
    }
}

/// An image's manifest, with more fields.
pub(crate) fn image(config: &Digest, layers: &[Digest], more: &str) -> String {
    let layers: Vec<String> = layers
        .iter()
        .map(|digest| {
            format!(
                r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{digest}","size":1}}"#
            )
        })
        .collect();
    let layers = layers.join(",");
    format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":1}},"layers":[{layers}]{more}}}"#
    )
}
