//! Archives exchanged with docker, podman and skopeo, each with a private root of its own.
//!
//! A tool that is not installed is skipped, and says so.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cutover_core::oci::{Descriptor, media_type};
use cutover_core::{Digest, Reference};
use cutover_store::archive::{self, Format};
use cutover_store::{Image, Store};

use crate::support::{Fixture, Tar, fixture, image_of};

const NAME: &str = "cutover.test/app:1";

fn name() -> Reference {
    NAME.parse().unwrap()
}

#[expect(clippy::print_stderr, reason = "a skipped test must say so")]
fn installed(tools: &[&str]) -> bool {
    let missing = tools
        .iter()
        .find(|tool| Command::new(tool).arg("--version").stdout(Stdio::null()).status().is_err());
    if let Some(tool) = missing {
        eprintln!("SKIPPED: `{tool}` is not installed");
    }
    missing.is_none()
}

/// Runs a command that must succeed; returns what it printed.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

/// An image of a compressed layer, a plain one, and one that was built and has no blob.
fn sample(store: &Store) -> Image {
    let base = Tar::new()
        .dir("bin", 0o755)
        .file("bin/tool", "tool")
        .hard_link("bin/alias", "bin/tool")
        .dir("etc", 0o755)
        .file("etc/gone", "gone")
        .build();
    let middle = Tar::new().file("etc/middle", "middle").symlink("link", "etc/middle").build();
    let packed = gzip(&base);
    let digest = store.blobs().put(&packed).unwrap();
    store.blobs().put(&middle).unwrap();
    let mut diff_ids = vec![Digest::sha256(&base), Digest::sha256(&middle)];
    let mut layers = vec![
        Descriptor::new(media_type::OCI_LAYER_GZIP, digest, packed.len() as u64),
        Descriptor::new(media_type::OCI_LAYER, diff_ids[1].clone(), middle.len() as u64),
    ];
    let below = image_of(store, layers.clone(), diff_ids.clone(), "below");
    store.snapshots().ensure(&below, &mut |_| {}).unwrap();
    let draft = store.snapshots().draft(&below.chain_ids).unwrap();
    let merged = crate::support::Overlay::mount(
        store.root(),
        &draft.lowers,
        Some((&draft.upper, &draft.work)),
    );
    fs_err::remove_file(merged.path.join("etc/gone")).unwrap();
    fs_err::write(merged.path.join("etc/built"), "built").unwrap();
    drop(merged);
    let built = draft.commit("2024-01-01T00:00:00Z").unwrap();
    diff_ids.push(built.diff_id.clone());
    layers.push(Descriptor::new(media_type::OCI_LAYER, built.diff_id, built.size));
    let image = image_of(store, layers, diff_ids, "/bin/tool");
    store.images().tag(&name(), &image.digest).unwrap();
    image
}

fn save(fixture: &Fixture, format: Format) -> PathBuf {
    let path = fixture.path("saved.tar");
    let file = fs_err::File::create(&path).unwrap();
    archive::save(&fixture.store, &[name()], format, file).unwrap();
    path
}

/// Loads an archive that someone else wrote and compares it with `image`.
fn check_load(path: &Path, image: &Image, original: &Fixture) {
    let other = fixture();
    let loaded = archive::load(&other.store, fs_err::File::open(path).unwrap()).unwrap();
    assert_eq!(loaded.len(), 1);
    let found = other.store.images().resolve(loaded[0].digest.as_str()).unwrap().unwrap();
    assert_eq!(found.config.rootfs, image.config.rootfs, "the layers are the same bytes");
    assert_eq!(found.config.config.cmd, image.config.config.cmd);
    if let Some(reference) = &loaded[0].reference {
        assert_eq!(reference, &name());
    }
    other.store.snapshots().ensure(&found, &mut |_| {}).unwrap();
    let (there, here) = (other.tree(&found.chain_ids), original.tree(&image.chain_ids));
    assert!(there.clone().whole_seconds() == here.clone().whole_seconds(), "{there:?}\n{here:?}");
}

/// A dockerd of the test's own, ended with the test.
struct Dockerd {
    daemon: Child,
    socket: String,
    _dir: tempfile::TempDir,
}

impl Dockerd {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let socket = format!("unix://{}", at("d.sock"));
        let log = fs_err::File::create(at("log")).unwrap().into_file();
        let daemon = Command::new("dockerd")
            .args(["--iptables=false", "--ip6tables=false", "--bridge=none"])
            .args(["--storage-driver", "vfs", "-H", &socket, "--pidfile", &at("pid")])
            .args(["--data-root", &at("data"), "--exec-root", &at("exec")])
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut this = Self { daemon, socket, _dir: dir };
        let started = Instant::now();
        while !this.command(&["version"]).output().unwrap().status.success() {
            let log = fs_err::read_to_string(this._dir.path().join("log")).unwrap();
            assert!(this.daemon.try_wait().unwrap().is_none(), "dockerd ended: {log}");
            assert!(started.elapsed() < Duration::from_secs(60), "dockerd does not answer: {log}");
            std::thread::yield_now();
        }
        this
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.arg("-H").arg(&self.socket).args(arguments);
        command
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.daemon);
        let asked = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let ended = self.daemon.wait();
        asked.unwrap();
        ended.unwrap();
    }
}

#[test]
fn docker_loads_ours_and_we_load_its() {
    if !installed(&["docker", "dockerd"]) {
        return;
    }
    let docker = Dockerd::start();
    for format in [Format::Both, Format::DockerArchive] {
        let fixture = fixture();
        let image = sample(&fixture.store);
        let saved = save(&fixture, format);
        let printed = run(docker.command(&["load", "-q", "-i"]).arg(&saved));
        assert_eq!(printed, format!("Loaded image: {NAME}"), "{format:?}");
        let id = run(docker.command(&["image", "inspect", "-f", "{{.Id}}"]).arg(NAME));
        assert_eq!(id, image.config_digest.as_str(), "docker names images by config");

        let container = run(docker.command(&["create"]).arg(NAME));
        let export = fixture.path("export.tar");
        run(docker.command(&["export", "-o"]).arg(&export).arg(&container));
        let files = run(Command::new("tar").arg("-tf").arg(&export));
        for file in ["bin/alias", "etc/built", "etc/middle", "link"] {
            assert!(files.lines().any(|line| line == file), "{file} in {files}");
        }
        assert!(!files.contains("etc/gone"), "{files}");

        let theirs = fixture.path("theirs.tar");
        run(docker.command(&["save", "-o"]).arg(&theirs).arg(NAME));
        check_load(&theirs, &image, &fixture);
        run(docker.command(&["rm", &container]).arg("-f"));
        run(docker.command(&["rmi", NAME]).arg("-f"));
    }
}

#[test]
fn podman_loads_ours_and_we_load_its() {
    if !installed(&["podman"]) {
        return;
    }
    for format in [Format::Both, Format::DockerArchive, Format::OciArchive] {
        let fixture = fixture();
        let image = sample(&fixture.store);
        let saved = save(&fixture, format);
        let podman = |arguments: &[&str]| {
            let mut command = Command::new("podman");
            command.arg("--root").arg(fixture.path("root"));
            command.arg("--runroot").arg(fixture.path("run"));
            command.args(["--storage-driver", "vfs"]).args(arguments);
            command
        };
        run(podman(&["load", "-q", "-i"]).arg(&saved));
        let images = run(&mut podman(&["images", "--no-trunc", "-q"]));
        assert_eq!(images, image.config_digest.as_str(), "{format:?}");
        for theirs in ["docker-archive", "oci-archive"] {
            let path = fixture.path(theirs);
            run(podman(&["save", "-q", "--format", theirs, "-o"])
                .arg(&path)
                .arg(image.config_digest.hex()));
            check_load(&path, &image, &fixture);
        }
        run(&mut podman(&["rmi", "-a", "-f"]));
    }
}

#[test]
fn skopeo_copies_between_our_formats() {
    if !installed(&["skopeo"]) {
        return;
    }
    let policy = ["--insecure-policy", "copy", "-q"];
    for (format, scheme) in [
        (Format::Both, "docker-archive"),
        (Format::Both, "oci-archive"),
        (Format::DockerArchive, "docker-archive"),
        (Format::OciArchive, "oci-archive"),
    ] {
        let fixture = fixture();
        let image = sample(&fixture.store);
        let saved = format!("{scheme}:{}", save(&fixture, format).display());
        for target in ["docker-archive", "oci-archive"] {
            let path = fixture.path(target);
            let to = format!("{target}:{}:{NAME}", path.display());
            run(Command::new("skopeo").args(policy).arg(&saved).arg(&to));
            check_load(&path, &image, &fixture);
        }
    }
}
