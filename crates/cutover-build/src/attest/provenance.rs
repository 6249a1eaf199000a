//! [`provenance`]: what an image was made of and how, as SLSA provenance in an in-toto statement.

use std::collections::BTreeMap;

use cutover_core::Digest;
use serde_json::{Map, Value, json};

use super::{Attestation, IN_TOTO_TYPE, redact};

/// How much is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProvenanceMode {
    /// What the image is made of, and when.
    #[default]
    Min,
    /// Also arguments, labels and the Dockerfile.
    Max,
}

/// Something that the build took from outside.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Material {
    pub uri: String,
    /// `sha256`, `sha1` or `gitCommit`, and the hexadecimal digits.
    pub digest: (String, String),
}

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Where the context is, if it is not on this machine.
    pub context: Option<String>,
    /// Path of the Dockerfile.
    pub dockerfile: String,
    /// Its text.
    pub source: Option<Vec<u8>>,
    pub target: Option<String>,
    pub build_args: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    pub no_cache: bool,
    pub platform: String,
    pub builder_platform: String,
    /// RFC 3339.
    pub started: String,
    pub finished: String,
    /// Who is responsible for the machine, as the caller says.
    pub builder: String,
    pub version: String,
}

/// Where the meaning of the parameters is said.
const BUILD_TYPE: &str =
    concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/dockerfile-support.md#attestations");
const PREDICATE: &str = "https://slsa.dev/provenance/v1";

/// Writes the statement about the image with these names.
pub fn provenance(
    mode: ProvenanceMode,
    request: &Request,
    materials: &[Material],
    (names, digest): (&[String], &Digest),
) -> Attestation {
    let mut subjects: Vec<Value> = Vec::new();
    let sha = json!({digest.algorithm().as_str(): digest.hex()});
    for name in names {
        subjects.push(json!({"name": name, "digest": sha}));
    }
    if subjects.is_empty() {
        subjects.push(json!({"name": "_", "digest": sha}));
    }
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects,
        "predicateType": PREDICATE,
        "predicate": predicate(mode, request, materials),
    });
    Attestation {
        media_type: IN_TOTO_TYPE,
        predicate_type: PREDICATE,
        document: serde_json::to_vec(&statement).expect("only string keys"),
    }
}

fn predicate(mode: ProvenanceMode, request: &Request, materials: &[Material]) -> Value {
    let mut source = Map::new();
    source.insert("path".to_owned(), json!(request.dockerfile));
    if let Some(context) = &request.context {
        source.insert("uri".to_owned(), json!(redact::address(context)));
    }
    if let Some(text) = &request.source {
        source.insert("digest".to_owned(), json!({"sha256": Digest::sha256(text).hex()}));
    }
    let mut asked = Map::new();
    asked.insert("platform".to_owned(), json!(request.platform));
    if let Some(target) = &request.target {
        asked.insert("target".to_owned(), json!(target));
    }
    let mut internal = Map::new();
    internal.insert("builderPlatform".to_owned(), json!(request.builder_platform));
    if mode == ProvenanceMode::Max {
        let told = |(name, value): (&String, &String)| {
            (name.clone(), json!(redact::argument(name, value)))
        };
        let arguments: Map<String, Value> = request.build_args.iter().map(told).collect();
        let labels: Map<String, Value> = request.labels.iter().map(told).collect();
        asked.insert("buildArgs".to_owned(), Value::Object(arguments));
        asked.insert("labels".to_owned(), Value::Object(labels));
        asked.insert("noCache".to_owned(), json!(request.no_cache));
        if let Some(text) = &request.source {
            internal.insert(
                "dockerfile".to_owned(),
                json!(redact::dockerfile(&String::from_utf8_lossy(text))),
            );
        }
    }
    let resolved = materials.iter().map(|material| {
        let (algorithm, digits) = &material.digest;
        json!({"uri": redact::address(&material.uri), "digest": {algorithm: digits}})
    });
    json!({
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {"configSource": source, "request": asked},
            "internalParameters": internal,
            "resolvedDependencies": resolved.collect::<Vec<_>>(),
        },
        "runDetails": {
            "builder": {"id": request.builder, "version": {"cutover": request.version}},
            "metadata": {"startedOn": request.started, "finishedOn": request.finished},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        let pairs =
            [("VERSION", "1.2"), ("API_TOKEN", "s3cret"), ("http_proxy", "http://u:s3cret@p")];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Request {
            context: Some("https://me:s3cret@h.org/a.git?token=s3cret#main".to_owned()),
            dockerfile: "Dockerfile".to_owned(),
            source: Some(b"FROM scratch\n".to_vec()),
            build_args: BTreeMap::from(pairs),
            ..Request::default()
        }
    }

    #[test]
    fn what_is_said_in_each_mode() {
        let material = Material {
            uri: "https://u:s3cret@h/x.tar?sig=s3cret".to_owned(),
            digest: ("sha256".to_owned(), "00ff".to_owned()),
        };
        let write = |mode| {
            let names = ["pkg:docker/a@1".to_owned()];
            let made = provenance(
                mode,
                &request(),
                std::slice::from_ref(&material),
                (&names, &Digest::sha256(b"x")),
            );
            assert!(!String::from_utf8(made.document.clone()).unwrap().contains("s3cret"));
            serde_json::from_slice::<Value>(&made.document).unwrap()
        };
        let min = write(ProvenanceMode::Min);
        assert_eq!(min["predicateType"], PREDICATE);
        let definition = &min["predicate"]["buildDefinition"];
        assert_eq!(definition["resolvedDependencies"][0]["uri"], "https://h/x.tar");
        assert_eq!(
            definition["externalParameters"]["configSource"]["uri"],
            "https://h.org/a.git#main"
        );
        assert!(definition["externalParameters"]["request"]["buildArgs"].is_null());
        let max = write(ProvenanceMode::Max);
        let definition = &max["predicate"]["buildDefinition"];
        let arguments = &definition["externalParameters"]["request"]["buildArgs"];
        assert_eq!(
            (&arguments["VERSION"], &arguments["API_TOKEN"]),
            (&json!("1.2"), &json!("***"))
        );
        assert_eq!(definition["internalParameters"]["dockerfile"], "FROM scratch\n");
    }
}
