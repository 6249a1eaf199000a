//! Images: save and load with real peers, names, history.

use std::process::Command;

use crate::harness::{Root, have};

#[test]
fn names_come_and_go() {
    let root = Root::with_busybox();
    root.ok(["tag", "busybox", "team/box:1.0"]);
    let listed = root.ok(["images"]);
    assert!(listed.contains("team/box") && listed.contains("1.0"), "{listed}");
    assert_eq!(root.ok(["rmi", "busybox"]), "Untagged: busybox:latest");
    let gone = root.ok(["rmi", "team/box:1.0"]);
    assert!(gone.contains("Untagged: team/box:1.0") && gone.contains("Deleted: sha256:"), "{gone}");
    assert_eq!(root.json(&["images", "--json"]), serde_json::json!([]));
}

#[test]
fn an_image_in_use_stays() {
    let root = Root::with_busybox();
    root.ok(["run", "-d", "--name", "user", "busybox", "sleep", "600"]);
    let refused = root.fails(1, ["rmi", "busybox"]);
    assert!(refused.contains("`user`"), "{refused}");
    assert_eq!(root.ok(["exec", "user", "echo", "still here"]), "still here");
}

#[test]
fn saved_images_load_again() {
    let root = Root::with_busybox();
    let before = root.json(&["inspect", "busybox"])[0]["digest"].clone();
    for format in ["both", "oci-archive", "docker-archive"] {
        let other = Root::new();
        let file = other.work().join("image.tar");
        root.ok(["save", "--format", format, "-o", file.to_str().unwrap(), "busybox"]);
        let loaded = other.ok(["load", "-i", file.to_str().unwrap()]);
        assert_eq!(loaded, "Loaded image: busybox:latest", "{format}");
        assert_eq!(other.ok(["run", "--rm", "busybox", "echo", "works"]), "works", "{format}");
        if format != "docker-archive" {
            let after = other.json(&["inspect", "busybox"])[0]["digest"].clone();
            assert_eq!(after, before, "{format}: the digest is the image's identity");
        }
    }
}

#[test]
fn podman_and_skopeo_read_what_we_save_and_the_other_way() {
    if !have("podman") || !have("skopeo") {
        return;
    }
    let root = Root::with_busybox();
    let dir = root.work();
    let saved = dir.join("saved.tar");
    root.ok(["save", "-o", saved.to_str().unwrap(), "busybox"]);
    let podman = |args: &[&str]| {
        let output = Command::new("podman")
            .arg("--root")
            .arg(dir.join("podman"))
            .arg("--runroot")
            .arg(dir.join("podman-run"))
            .args(["--storage-driver", "vfs"])
            .args(args)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "podman {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let loaded = podman(&["load", "-i", saved.to_str().unwrap()]);
    assert!(loaded.contains("busybox"), "{loaded}");
    for format in ["docker-archive", "oci-archive"] {
        let theirs = dir.join(format);
        podman(&[
            "save",
            "--format",
            format,
            "-o",
            theirs.to_str().unwrap(),
            "docker.io/library/busybox:latest",
        ]);
        let other = Root::new();
        let said = other.ok(["load", "-i", theirs.to_str().unwrap()]);
        assert!(said.contains("busybox"), "{format}: {said}");
        assert_eq!(other.ok(["run", "--rm", "busybox", "echo", "works"]), "works", "{format}");
    }
    let copied = dir.join("copied.tar");
    let output = Command::new("skopeo")
        .args(["--insecure-policy", "copy"])
        .arg(format!("docker-archive:{}", saved.display()))
        .arg(format!("oci-archive:{}:copied:1", copied.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let other = Root::new();
    let said = other.ok(["load", "-i", copied.to_str().unwrap()]);
    assert!(said.starts_with("Loaded image"), "{said}");
}

#[test]
fn damaged_archives_are_refused_and_leave_nothing() {
    let root = Root::with_busybox();
    let file = root.work().join("image.tar");
    root.ok(["save", "-o", file.to_str().unwrap(), "busybox"]);
    let bytes = std::fs::read(&file).unwrap();
    let other = Root::new();
    for (name, bytes) in
        [("truncated", &bytes[..bytes.len() / 2]), ("empty", &[]), ("noise", &[7; 4096])]
    {
        let path = other.work().join(name);
        std::fs::write(&path, bytes).unwrap();
        let err = other.fails(3, ["load", "-i", path.to_str().unwrap()]);
        assert!(err.contains(name), "{name}: {err}");
    }
    assert_eq!(other.json(&["images", "--json"]), serde_json::json!([]));
    let blobs = other.path().join("root/tmp");
    assert_eq!(std::fs::read_dir(blobs).unwrap().count(), 0, "nothing is left in tmp");
}
