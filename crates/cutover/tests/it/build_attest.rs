//! `build --sbom --provenance`: documents beside an image, found by what refers to it.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::harness::{Root, have};
use crate::registry::Registry;

const STATUS: &str = "Package: libfoo\nStatus: install ok installed\nArchitecture: amd64\n\
    Version: 1:2.3-4\n\nPackage: removed\nStatus: deinstall ok config-files\nVersion: 1\n\n";
const APK: &str = "P:musl\nV:1.2.4-r2\nA:x86_64\nL:MIT\n\n";

fn project(root: &Root) {
    root.write(
        "app/Dockerfile",
        "FROM busybox\nARG API_TOKEN\nARG VERSION\n\
         COPY status /var/lib/dpkg/status\nCOPY apk /lib/apk/db/installed\n\
         COPY os-release /etc/\nCOPY npm /app/node_modules/left-pad/package.json\n\
         RUN --mount=type=secret,id=hidden cat /run/secrets/hidden > /dev/null; echo $VERSION\n",
    );
    root.write("app/status", STATUS);
    root.write("app/apk", APK);
    root.write("app/os-release", "ID=debian\nVERSION_ID=\"12\"\n");
    root.write("app/npm", r#"{"name":"left-pad","version":"1.3.0"}"#);
    root.write("secret", "s3cret-of-a-file");
}

const ARGUMENTS: [&str; 8] = [
    "--build-arg",
    "API_TOKEN=s3cret-of-an-argument",
    "--build-arg",
    "VERSION=7",
    "--secret",
    "id=hidden,src=secret",
    "--sbom",
    "--provenance=mode=max",
];

fn check_sbom(text: &str, digest: Option<&str>) {
    let sbom: Value = serde_json::from_str(text).unwrap();
    assert_eq!(sbom["spdxVersion"], "SPDX-2.3");
    if let Some(digest) = digest {
        assert_eq!(sbom["packages"][0]["versionInfo"], digest);
    }
    let purls: Vec<_> = sbom["packages"].as_array().unwrap()[1..]
        .iter()
        .map(|package| package["externalRefs"][0]["referenceLocator"].as_str().unwrap())
        .collect();
    let expected = [
        "pkg:deb/debian/libfoo@1%3A2.3-4?arch=amd64&distro=debian-12",
        "pkg:apk/debian/musl@1.2.4-r2?arch=x86_64&distro=debian-12",
        "pkg:npm/left-pad@1.3.0",
    ];
    assert_eq!(purls, expected);
    assert_eq!(sbom["packages"][2]["licenseDeclared"], "MIT");
}

fn check_provenance(text: &str, digest: Option<&str>) {
    assert!(!text.contains("s3cret"), "{text}");
    let statement: Value = serde_json::from_str(text).unwrap();
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    if let Some(digest) = digest {
        let own = statement["subject"][0]["digest"]["sha256"].as_str().unwrap();
        assert_eq!(format!("sha256:{own}"), digest);
    }
    let definition = &statement["predicate"]["buildDefinition"];
    let base = definition["resolvedDependencies"][0]["uri"].as_str().unwrap();
    assert!(base.starts_with("pkg:docker/busybox@latest?platform=linux%2F"), "{base}");
    let arguments = &definition["externalParameters"]["request"]["buildArgs"];
    assert_eq!((&arguments["VERSION"], &arguments["API_TOKEN"]), (&"7".into(), &"***".into()));
    let dockerfile = definition["internalParameters"]["dockerfile"].as_str().unwrap();
    assert!(dockerfile.starts_with("FROM busybox\n"));
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// The documents of a layout about `subject`, by type.
fn of_layout(dir: &Path, subject: &str) -> Vec<(String, String)> {
    let blob = |digest: &str| read(&dir.join("blobs/sha256").join(&digest["sha256:".len()..]));
    let index: Value = serde_json::from_str(&read(&dir.join("index.json"))).unwrap();
    let mut found = Vec::new();
    for entry in index["manifests"].as_array().unwrap() {
        let Some(kind) = entry["artifactType"].as_str() else { continue };
        let manifest: Value =
            serde_json::from_str(&blob(entry["digest"].as_str().unwrap())).unwrap();
        assert_eq!(manifest["subject"]["digest"], subject);
        assert_eq!(manifest["config"]["mediaType"], "application/vnd.oci.empty.v1+json");
        let document = blob(manifest["layers"][0]["digest"].as_str().unwrap());
        found.push((kind.to_owned(), document));
    }
    found
}

#[test]
fn beside_files_and_layouts() {
    let root = Root::with_busybox();
    project(&root);
    let outputs = [
        "--metadata-file",
        "meta.json",
        "--output",
        "type=oci,tar=false,dest=layout",
        "--output",
        "files",
        "app",
    ];
    root.ok([&["build", "-q", "-t", "app:1"], &ARGUMENTS[..], &outputs].concat());
    let at = |name: &str| root.work().join(name);
    check_sbom(&read(&at("files/sbom.spdx.json")), None);
    check_provenance(&read(&at("files/provenance.json")), None);
    let meta: Value = serde_json::from_str(&read(&at("meta.json"))).unwrap();
    assert!(meta["buildx.build.provenance"]["buildDefinition"].is_object(), "{meta}");
    let digest = meta["containerimage.digest"].as_str().unwrap();
    let found = of_layout(&at("layout"), digest);
    let kinds: Vec<_> = found.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["application/spdx+json", "application/vnd.in-toto+json"]);
    check_sbom(&found[0].1, Some(digest));
    check_provenance(&found[1].1, Some(digest));
    // the image is the same one as without
    root.ok([
        "build",
        "-q",
        "-t",
        "app:1",
        "--build-arg",
        "API_TOKEN=s3cret-of-an-argument",
        "--build-arg",
        "VERSION=7",
        "--secret",
        "id=hidden,src=secret",
        "--metadata-file",
        "plain.json",
        "--output",
        "type=oci,dest=plain.tar",
        "app",
    ]);
    let plain: Value = serde_json::from_str(&read(&at("plain.json"))).unwrap();
    assert_eq!(plain["containerimage.digest"], digest);
}

#[test]
fn a_registry_leads_to_them() {
    if !have("docker-registry") || !have("skopeo") {
        return;
    }
    let root = Root::with_busybox();
    project(&root);
    let registry = Registry::start(&root.work());
    let name = format!("{}/app:1", registry.host);
    let push = ["--push", "--metadata-file", "meta.json", "app"];
    root.ok([&["build", "-q", "-t", &name], &ARGUMENTS[..], &push].concat());
    let meta: Value = serde_json::from_str(&read(&root.work().join("meta.json"))).unwrap();
    let digest = meta["containerimage.digest"].as_str().unwrap();
    // this registry knows no referrers: the specification's index has them
    let tag = format!("{}/app:{}", registry.host, digest.replace(':', "-"));
    let output = Command::new("skopeo")
        .args(["inspect", "--raw", "--tls-verify=false"])
        .arg(format!("docker://{tag}"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let index: Value = serde_json::from_slice(&output.stdout).unwrap();
    let kinds: Vec<_> = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["artifactType"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["application/spdx+json", "application/vnd.in-toto+json"]);
    let image = Command::new("skopeo")
        .args(["inspect", "--raw", "--tls-verify=false"])
        .arg(format!("docker://{name}"))
        .output()
        .unwrap();
    let manifest: Value = serde_json::from_slice(&image.stdout).unwrap();
    assert!(manifest["manifests"].is_null(), "no index with unknown platforms: {manifest}");
}

/// The statements of an index about its only image; `blob` reads one.
fn check_inline(index: &Value, blob: &dyn Fn(&str) -> String) {
    let [image, statements] = index["manifests"].as_array().unwrap().as_slice() else {
        panic!("{index}");
    };
    assert_eq!(statements["platform"]["os"], "unknown");
    let digest = image["digest"].as_str().unwrap();
    assert_eq!(statements["annotations"]["vnd.docker.reference.digest"], digest);
    let manifest: Value =
        serde_json::from_str(&blob(statements["digest"].as_str().unwrap())).unwrap();
    assert_eq!(manifest["subject"]["digest"], digest);
    let text = |layer: usize| blob(manifest["layers"][layer]["digest"].as_str().unwrap());
    let sbom: Value = serde_json::from_str(&text(0)).unwrap();
    check_sbom(&sbom["predicate"].to_string(), Some(digest));
    check_provenance(&text(1), Some(digest));
}

#[test]
fn within_the_index_when_asked() {
    let root = Root::with_busybox();
    project(&root);
    let output = "type=oci,tar=false,dest=layout,attestation-inline=true";
    root.ok([&["build", "-q", "-t", "app:1"], &ARGUMENTS[..], &["-o", output, "app"]].concat());
    let dir = root.work().join("layout");
    let blob = |digest: &str| {
        read(&dir.join("blobs/sha256").join(digest.strip_prefix("sha256:").unwrap()))
    };
    let top: Value = serde_json::from_str(&read(&dir.join("index.json"))).unwrap();
    let entries = top["manifests"].as_array().unwrap();
    assert_eq!(entries.len(), 1, "nothing beside the index: {top}");
    let index = serde_json::from_str(&blob(entries[0]["digest"].as_str().unwrap())).unwrap();
    check_inline(&index, &blob);

    if !have("docker-registry") || !have("skopeo") {
        return;
    }
    let registry = Registry::start(&root.work());
    let name = format!("{}/app:1", registry.host);
    let push = ["-o", "type=registry,attestation-inline=true", "app"];
    root.ok([&["build", "-q", "-t", &name], &ARGUMENTS[..], &push].concat());
    let get = |path: &str| {
        let url = format!("http://{}/v2/app/{path}", registry.host);
        let accept = "Accept: application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json";
        let output = Command::new("curl").args(["-sfL", "-H", accept, &url]).output().unwrap();
        assert!(output.status.success(), "{url}");
        String::from_utf8(output.stdout).unwrap()
    };
    let index = serde_json::from_str(&get("manifests/1")).unwrap();
    check_inline(&index, &|digest| {
        let known = index["manifests"].as_array().unwrap().iter().any(|it| it["digest"] == digest);
        get(&format!("{}/{digest}", if known { "manifests" } else { "blobs" }))
    });
    // every client takes the image out of it
    root.ok(["rmi", "-f", &name]);
    root.ok(["pull", "-q", &name]);
}

#[test]
fn what_cannot_be_attested() {
    let root = Root::new();
    root.write("app/Dockerfile", "FROM nothing.invalid/nothing\n");
    let check = |args: &[&str], expected: &str| {
        let said = root.fails(2, [&["build"], args, &["app"]].concat());
        assert!(said.contains(expected), "{args:?}: {said}");
    };
    check(&["--sbom"], "attestations go along with an image, and none leaves");
    check(&["--provenance", "-o", "type=docker,dest=x.tar"], "none leaves");
    check(&["--attest", "type=sbom,generator=x", "-o", "d"], "there are no generators");
    check(&["--attest", "type=vex", "-o", "d"], "type `vex` is not known");
    check(&["--provenance=inline-only=true", "-o", "d"], "`inline-only` is not supported");
}
