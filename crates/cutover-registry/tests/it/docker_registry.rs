//! Debian's docker-registry on loopback, with an image put there by skopeo.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cutover_core::oci::media_type;
use cutover_registry::{Event, Place, Silent};
use cutover_store::archive;

use crate::fixture::{Bench, Content};

struct Registry {
    child: Child,
    port: u16,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn start(dir: &Path) -> Registry {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = dir.join("config.yml");
    let text = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n",
        dir.join("data").display()
    );
    fs_err::write(&config, text).unwrap();
    let child = Command::new("docker-registry")
        .arg("serve")
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("docker-registry is installed (Debian package docker-registry)");
    let registry = Registry { child, port };
    let deadline = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "docker-registry does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    registry
}

/// An OCI archive of a made-up image, as a file for skopeo.
fn archive_file(dir: &Path, first: u8) -> std::path::PathBuf {
    let bench = Bench::new();
    let content = Content::image_from(first, 3);
    for blob in content.blobs.values() {
        bench.store.blobs().put(blob).unwrap();
    }
    let manifest = &content.manifests["1.0"].1;
    let parsed: serde_json::Value = serde_json::from_slice(manifest).unwrap();
    let config = &content.blobs[parsed["config"]["digest"].as_str().unwrap()];
    let reference = "app:1.0".parse().unwrap();
    bench.store.images().put(manifest, config, Some(&reference)).unwrap();
    let path = dir.join(format!("image-{first}.tar"));
    let mut file = fs_err::File::create(&path).unwrap();
    archive::save(&bench.store, &[reference], archive::Format::OciArchive, &mut file).unwrap();
    file.flush().unwrap();
    path
}

fn skopeo(arguments: &[&str]) {
    let output = Command::new("skopeo")
        .args(["--insecure-policy", "copy", "--dest-tls-verify=false"])
        .args(arguments)
        .output()
        .expect("skopeo is installed (Debian package skopeo)");
    assert!(output.status.success(), "skopeo: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn images_of_every_kind() {
    let dir = tempfile::tempdir().unwrap();
    let registry = start(dir.path());
    let host = format!("127.0.0.1:{}", registry.port);
    let source = |first: u8| format!("oci-archive:{}", archive_file(dir.path(), first).display());
    let target = |tag: &str| format!("docker://{host}/team/app:{tag}");
    skopeo(&["--format", "oci", &source(0), &target("oci")]);
    skopeo(&["--format", "v2s2", &source(0), &target("docker")]);
    // other layers: skopeo would use the ones that are there, however they are compressed
    let zstd = ["--format", "oci", "--dest-compress-format", "zstd"];
    skopeo(&[&zstd[..], &[&source(10), &target("zstd")]].concat());

    for (tag, file, kind, layer) in [
        ("oci", "file-2", media_type::OCI_MANIFEST, media_type::OCI_LAYER_GZIP),
        ("docker", "file-2", media_type::DOCKER_MANIFEST, media_type::DOCKER_LAYER_GZIP),
        ("zstd", "file-12", media_type::OCI_MANIFEST, media_type::OCI_LAYER_ZSTD),
    ] {
        let bench = Bench::new();
        let image = bench.pull(&format!("{host}/team/app:{tag}")).unwrap();
        assert_eq!(image.manifest.media_type.as_deref(), Some(kind), "{tag}");
        assert_eq!(image.manifest.layers[0].media_type, layer, "{tag}");
        bench.assert_clean();
        let lowers = bench.store.snapshots().ensure(&image, &mut |_| ()).unwrap();
        assert_eq!(lowers.len(), 3);
        assert_eq!(fs_err::metadata(lowers[0].join(file)).unwrap().len(), 100_000, "{tag}");
        let events = bench.events.0.lock().unwrap();
        assert!(matches!(events[0], Event::Resolved { layers: 3, .. }));
    }
    let bench = Bench::new();
    let failure = bench.failure(&format!("{host}/team/app:none"));
    insta::assert_snapshot!(failure, @"
      cannot pull `HOST/team/app:none` from registry `HOST`
        caused by: manifest `none` is not in repository `team/app`: manifest unknown
      hint: check the name and tag of `HOST/team/app:none`
    ");
    let reference = format!("{host}/team/app:oci").parse().unwrap();
    cutover_registry::pull(&bench.store, &reference, &bench.options, &Silent).unwrap();
}

/// What we push is pulled by others, and by us; and a second push sends nothing.
#[test]
fn pushes_that_others_pull() {
    let dir = tempfile::tempdir().unwrap();
    let registry = start(dir.path());
    let host = format!("127.0.0.1:{}", registry.port);
    for (tag, form, chunk) in [
        ("zstd", None, None),
        ("gzip", Some(cutover_store::LayerForm::GZIP), None),
        ("plain", Some(cutover_store::LayerForm::Uncompressed), Some(40_000)),
    ] {
        let (mut bench, digest) = Bench::with_image(20, 3);
        (bench.options.form, bench.options.chunk) = (form, chunk);
        let name = format!("{host}/team/pushed:{tag}");
        let pushed = bench.push(&digest, &name).unwrap();
        assert_eq!(bench.push(&digest, &name).unwrap(), pushed);
        let events = bench.events.0.lock().unwrap().clone();
        let uploaded =
            events.iter().filter(|event| matches!(event, Event::Uploaded { .. })).count();
        // the config is there since the first of the three
        assert_eq!(uploaded, if tag == "zstd" { 4 } else { 3 }, "{tag}");
        let to = format!("oci:{}:{tag}", dir.path().join("layout").display());
        skopeo(&["--src-tls-verify=false", &format!("docker://{name}"), &to]);
        let other = Bench::new();
        let image = other.pull(&name).unwrap();
        assert_eq!(image.digest, pushed.descriptor.digest);
        let lowers = other.store.snapshots().ensure(&image, &mut |_| ()).unwrap();
        assert_eq!(fs_err::metadata(lowers[0].join("file-22")).unwrap().len(), 100_000);
    }
}

/// Layouts and archives of ours are skopeo's, and the reverse.
#[test]
fn copies_that_others_read() {
    let dir = tempfile::tempdir().unwrap();
    let registry = start(dir.path());
    let bench = Bench::new();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let copy = |from: String, to: String| {
        let (from, to): (Place, Place) = (from.parse().unwrap(), to.parse().unwrap());
        cutover_registry::copy(&bench.store, (&from, &to), None, &bench.options, &Silent).unwrap()
    };
    let name = format!("127.0.0.1:{}/team/app:1", registry.port);
    let first =
        copy(format!("oci-archive:{}", archive_file(dir.path(), 30).display()), name.clone());
    copy(name.clone(), format!("oci:{}:a", at("ours")));
    copy(name, format!("oci-archive:{}:a", at("ours.tar")));
    skopeo(&[
        "--preserve-digests",
        &format!("oci:{}:a", at("ours")),
        &format!("oci:{}:b", at("theirs")),
    ]);
    skopeo(&[
        "--preserve-digests",
        &format!("oci-archive:{}:a", at("ours.tar")),
        &format!("oci-archive:{}:b", at("theirs.tar")),
    ]);
    for theirs in [format!("oci:{}:b", at("theirs")), format!("oci-archive:{}:b", at("theirs.tar"))]
    {
        let back = format!("127.0.0.1:{}/team/back:1", registry.port);
        assert_eq!(copy(theirs, back).digest, first.digest);
    }
}
