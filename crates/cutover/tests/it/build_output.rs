//! `build --output`, `--push`, `--annotation` and `--metadata-file`, read by other programs.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::harness::{Root, have};
use crate::registry::Registry;

const DOCKERFILE: &str = "FROM busybox\n\
    RUN mkdir -p /srv/dir && echo one > /srv/one && ln -s one /srv/link && chmod 4711 /srv/one\n\
    RUN rm /etc/group && ln /srv/one /srv/hard && chown 7:8 /srv/dir\n\
    CMD [\"cat\", \"/srv/one\"]\n";

fn project(root: &Root) {
    root.write("app/Dockerfile", DOCKERFILE);
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// What a peer prints; it must succeed.
#[track_caller]
fn peer(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {args:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn peers_read_the_archives() {
    if !have("skopeo") || !have("podman") {
        return;
    }
    let root = Root::with_busybox();
    project(&root);
    root.ok([
        "build",
        "-q",
        "-t",
        "app:1",
        "--metadata-file",
        "meta.json",
        "--output",
        "type=oci,dest=oci.tar",
        "--output",
        "type=docker,dest=docker.tar",
        "--output",
        "type=oci,tar=false,dest=layout,compression=gzip,force-compression=true",
        "app",
    ]);
    let at = |name: &str| root.work().join(name).display().to_string();
    let meta = json(&root.work().join("meta.json"));
    assert_eq!(meta["image.name"], "docker.io/library/app:1");
    let raw = |place: &str| peer("skopeo", &["inspect", "--raw", place]);
    let oci: Value = serde_json::from_str(&raw(&format!("oci-archive:{}", at("oci.tar")))).unwrap();
    assert_eq!(oci["layers"][2]["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd");
    assert_eq!(oci["config"]["digest"], meta["containerimage.config.digest"]);
    let digest =
        cutover_core::Digest::sha256(raw(&format!("oci-archive:{}", at("oci.tar"))).as_bytes());
    assert_eq!(meta["containerimage.digest"], digest.to_string());
    let gzip: Value = serde_json::from_str(&raw(&format!("oci:{}:1", at("layout")))).unwrap();
    let layers = gzip["layers"].as_array().unwrap();
    assert!(
        layers.iter().all(|it| it["mediaType"].as_str().unwrap().ends_with("tar+gzip")),
        "{gzip}"
    );
    // peers unpack and check every layer
    let copy = root.work().join("copied");
    for place in ["oci-archive:oci.tar", "docker-archive:docker.tar", "oci:layout:1"] {
        let (kind, rest) = place.split_once(':').unwrap();
        let from = format!("{kind}:{}", at(rest));
        peer("skopeo", &["copy", "-q", &from, &format!("dir:{}", copy.display())]);
    }
    let (graph, run) = (at("podman"), at("podman-run"));
    let podman = |args: &[&str]| {
        let storage = ["--root", &graph, "--runroot", &run, "--storage-driver", "vfs"];
        peer("podman", &[&storage, args].concat())
    };
    for archive in ["oci.tar", "docker.tar"] {
        assert!(podman(&["load", "-i", &at(archive)]).contains("app:1"), "{archive}");
        let id = podman(&["images", "-q", "--no-trunc"]);
        assert_eq!(id.trim(), meta["containerimage.config.digest"], "{archive}");
        podman(&["rmi", "-f", "app:1"]);
    }
    // and so do we
    let other = Root::new();
    other.ok(["load", "-i", &at("oci.tar")]);
    assert_eq!(other.ok(["run", "--rm", "app:1"]), "one");
}

#[test]
fn files_in_a_directory_and_as_a_tar() {
    let root = Root::with_busybox();
    project(&root);
    let outside = root.work().join("outside");
    std::fs::create_dir_all(root.work().join("out/keep")).unwrap();
    std::fs::create_dir(&outside).unwrap();
    // what is there must not lead anywhere
    symlink(&outside, root.work().join("out/srv")).unwrap();
    root.ok(["build", "-q", "-o", "out", "app"]);
    let out = root.work().join("out");
    assert!(out.join("keep").is_dir() && out.join("bin/busybox").is_file());
    assert!(!out.join("etc/group").exists(), "it was deleted in a layer");
    assert_eq!(outside.read_dir().unwrap().count(), 0, "the link was followed");
    assert_eq!(std::fs::read_to_string(out.join("srv/one")).unwrap(), "one\n");
    assert_eq!(std::fs::read_link(out.join("srv/link")).unwrap(), Path::new("one"));
    let mode = out.join("srv/one").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o711, "nothing runs as its owner");

    let said = root.command(["build", "--progress", "quiet", "-o", "-", "app"]).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let mut tar = tar::Archive::new(said.stdout.as_slice());
    let mut seen = 0;
    for entry in tar.entries().unwrap() {
        let entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        assert!(path != Path::new("etc/group") && !path.to_string_lossy().contains(".wh."));
        if path == Path::new("srv/hard") {
            assert_eq!(entry.header().mode().unwrap() & 0o7777, 0o4711);
            seen += 1;
        }
        if path == Path::new("srv/dir") {
            assert_eq!((entry.header().uid().unwrap(), entry.header().gid().unwrap()), (7, 8));
            seen += 1;
        }
    }
    assert_eq!(seen, 2);
}

#[test]
fn pushed_with_annotations_and_in_other_forms() {
    if !have("docker-registry") || !have("skopeo") {
        return;
    }
    let root = Root::with_busybox();
    project(&root);
    let registry = Registry::start(&root.work());
    let name = format!("{}/app:1", registry.host);
    let raw = |name: &str| {
        let place = format!("docker://{name}");
        let text = peer("skopeo", &["inspect", "--raw", "--tls-verify=false", &place]);
        (
            cutover_core::Digest::sha256(text.as_bytes()),
            serde_json::from_str::<Value>(&text).unwrap(),
        )
    };
    root.ok([
        "build",
        "-q",
        "-t",
        &name,
        "--push",
        "--metadata-file",
        "meta.json",
        "--annotation",
        "org.example.a=b",
        "--annotation",
        "manifest[linux/arm64]:not=here",
        "app",
    ]);
    let (digest, manifest) = raw(&name);
    assert_eq!(json(&root.work().join("meta.json"))["containerimage.digest"], digest.to_string());
    assert_eq!(manifest["annotations"], serde_json::json!({"org.example.a": "b"}));
    let gzip = format!("{}/other/app:gzip", registry.host);
    let output = format!(
        "type=image,name={gzip},push=true,oci-mediatypes=false,compression=gzip,force-compression=true"
    );
    root.ok(["build", "-q", "--output", &output, "app"]);
    let (_, manifest) = raw(&gzip);
    assert_eq!(manifest["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
    let layers = manifest["layers"].as_array().unwrap();
    let docker = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    assert!(layers.iter().all(|layer| layer["mediaType"] == docker), "{manifest}");
    let other = Root::new();
    for name in [&name, &gzip] {
        assert_eq!(other.ok(["run", "--rm", name]), "one");
    }
}

#[test]
fn several_platforms_leave_as_an_index() {
    if !have("docker-registry") || !have("skopeo") {
        return;
    }
    let root = Root::new();
    let registry = Registry::start(&root.work());
    let name = format!("{}/app:1", registry.host);
    root.write("app/Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /arch\n");
    root.write("app/amd64", "amd64\n");
    root.write("app/arm64", "arm64\n");
    root.ok([
        "build",
        "-q",
        "--platform",
        "linux/amd64,linux/arm64",
        "-t",
        &name,
        "--push",
        "--annotation",
        "index,manifest-descriptor:k=v",
        "--annotation",
        "manifest[linux/arm64]:a=r",
        "--output",
        "type=oci,dest=oci.tar",
        "--output",
        "files",
        "app",
    ]);
    let place = format!("docker://{name}");
    let text = peer("skopeo", &["inspect", "--raw", "--tls-verify=false", &place]);
    let index: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&index["annotations"]["k"], index["manifests"].as_array().unwrap().len()),
        (&"v".into(), 2)
    );
    assert_eq!(index["manifests"][1]["annotations"]["k"], "v");
    assert_eq!(index["manifests"][1]["platform"]["architecture"], "arm64");
    let arm = format!(
        "docker://{}/app@{}",
        registry.host,
        index["manifests"][1]["digest"].as_str().unwrap()
    );
    let text = peer("skopeo", &["inspect", "--raw", "--tls-verify=false", &arm]);
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["annotations"]["a"], "r");
    let archive = format!("oci-archive:{}", root.work().join("oci.tar").display());
    let to = format!("dir:{}", root.work().join("copied").display());
    peer("skopeo", &["copy", "-q", "--all", &archive, &to]);
    let file = |path: &str| std::fs::read_to_string(root.work().join(path)).unwrap();
    assert_eq!(file("files/linux_amd64/arch"), "amd64\n");
    assert_eq!(file("files/linux_arm64/arch"), "arm64\n");
}

#[test]
fn outputs_that_make_no_sense_build_nothing() {
    let root = Root::new();
    // it could not be built: what is wrong must be said before
    root.write("app/Dockerfile", "FROM nothing.invalid/nothing\n");
    let check = |args: &[&str], expected: &str| {
        let said = root.fails(2, [&["build"], args, &["app"]].concat());
        assert!(said.contains(expected), "{args:?}: {said}");
    };
    check(&["--push"], "there is no name to push to");
    check(&["-o", "type=oci,dest=x,compression=estargz"], "`estargz` is not supported");
    check(&["-o", "type=docker,dest=x,attestation-inline=true"], "within an index");
    check(&["-o", "type=zip,dest=x"], "type `zip` is not known");
    check(&["-o", "-", "-o", "type=oci"], "two outputs go to stdout");
    check(&["-q", "-o", "-"], "`--quiet`");
    check(&["--annotation", "index:a=b"], "no index to annotate");
    check(&["--platform", "linux/amd64,linux/arm64", "-o", "-"], "`type=tar` is for one platform");
}
