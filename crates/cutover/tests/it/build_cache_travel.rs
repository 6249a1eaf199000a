//! `build --cache-to` here, `--cache-from` on a machine that has nothing: every step is found, and
//! the image is the same one.

use std::path::{Path, PathBuf};

use crate::harness::{Root, Said, have};
use crate::registry::Registry;

const DOCKERFILE: &str = "FROM busybox AS made\n\
    RUN mkdir /out && seq 1 5000 > /out/numbers && ln /out/numbers /out/hard && ln -s hard /out/soft\n\
    RUN dd if=/dev/zero of=/out/sparse bs=1 count=1 seek=3000000 2> /dev/null; chmod 1777 /out\n\
    FROM busybox\n\
    COPY --link notes.txt /srv/notes.txt\n\
    COPY --from=made /out /srv/out\n\
    RUN rm /etc/group && rm -r /root && mkdir /root && touch /root/new && chmod 4755 /srv/notes.txt\n\
    WORKDIR /srv/made/here\n\
    CMD [\"cat\", \"/srv/notes.txt\"]\n";

/// A project and its base image, the same on each machine.
struct Machines {
    first: Root,
    base: PathBuf,
}

impl Machines {
    fn new() -> Self {
        let first = Root::with_busybox();
        let base = first.work().join("base.tar");
        first.ok(["save", "-o", base.to_str().unwrap(), "busybox"]);
        fill(&first);
        Self { first, base }
    }

    /// Another one with nothing but the base image and the project.
    fn another(&self) -> Root {
        let root = Root::new();
        root.ok(["load", "-i", self.base.to_str().unwrap()]);
        fill(&root);
        root
    }
}

fn fill(root: &Root) {
    root.write("app/Dockerfile", DOCKERFILE);
    root.write("app/notes.txt", "notes\n");
}

/// Builds and shows everything.
fn build(root: &Root, args: &[&str]) -> Said {
    let args = [&["build", "--progress", "plain", "--iidfile", "id", "-t", "app"], args, &["app"]];
    let said = root.run(args.concat());
    assert_eq!(said.code, 0, "{}", said.err);
    said
}

fn digest(root: &Root) -> String {
    std::fs::read_to_string(root.work().join("id")).unwrap()
}

/// Steps that were executed, by their lines of progress.
fn executed(said: &Said) -> Vec<&str> {
    let named = |line: &&str| line.contains("/") && line.starts_with('#');
    let steps = said.err.lines().filter(named).filter(|line| {
        ["RUN ", "COPY ", "WORKDIR "].iter().any(|word| line.contains(&format!("] {word}")))
    });
    steps
        .filter(|line| {
            let number = line.split_whitespace().next().unwrap();
            !said.err.lines().any(|other| other == format!("{number} CACHED"))
        })
        .collect()
}

#[track_caller]
fn all_is_found(machines: &Machines, from: &str, more: &[&str]) {
    let other = machines.another();
    let said = build(&other, &[&["--cache-from", from], more].concat());
    assert_eq!(executed(&said), Vec::<&str>::new(), "{}", said.err);
    assert_eq!(digest(&other), digest(&machines.first), "{}", said.err);
    assert_eq!(other.ok(["run", "--rm", "app"]), "notes");
    let files = other.ok(["run", "--rm", "app", "ls", "-ln", "/srv", "/srv/out", "/", "/etc"]);
    let expected =
        machines.first.ok(["run", "--rm", "app", "ls", "-ln", "/srv", "/srv/out", "/", "/etc"]);
    // the root and what is mounted in it have times of their own
    let stable = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.contains("2000") || line.contains("2023"));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(stable(&files), stable(&expected));
    // once more, without the cache from elsewhere
    let again = build(&other, more);
    assert_eq!(executed(&again), Vec::<&str>::new(), "{}", again.err);
    // what was imported leaves again byte for byte
    other.ok(["save", "-o", "saved.tar", "app"]);
}

#[test]
fn by_a_directory() {
    let machines = Machines::new();
    let dir = machines.first.work().join("cache");
    let to = |mode: &str| format!("type=local,dest={},tag={mode},mode={mode}", dir.display());
    build(&machines.first, &["--cache-to", &to("max"), "--cache-to", &to("min")]);
    for tag in ["max", "min"] {
        all_is_found(&machines, &format!("type=local,src={},tag={tag}", dir.display()), &[]);
    }
}

#[test]
fn by_a_registry_and_in_the_image() {
    if !have("docker-registry") {
        return;
    }
    let machines = Machines::new();
    let registry = Registry::start(&machines.first.work());
    let cache = format!("{}/app/cache:main", registry.host);
    build(&machines.first, &["--cache-to", &format!("type=registry,ref={cache},mode=max")]);
    all_is_found(&machines, &cache, &[]);
    let image = format!("{}/app:1", registry.host);
    let inline = ["--cache-to", "type=inline"];
    build(
        &machines.first,
        &[&inline[..], &["--output", &format!("type=registry,name={image}")]].concat(),
    );
    all_is_found(&machines, &image, &inline);
    let other = machines.another();
    other.ok(["pull", &image]);
    assert_eq!(other.ok(["run", "--rm", &image]), "notes");
}

#[test]
fn without_the_layers_of_other_stages_only_what_changed_is_done_again() {
    let machines = Machines::new();
    let dir = machines.first.work().join("cache");
    build(&machines.first, &["--cache-to", &format!("type=local,dest={}", dir.display())]);
    let other = machines.another();
    let changed = DOCKERFILE.replace("FROM busybox\n", "RUN echo more > /out/more\nFROM busybox\n");
    for root in [&other, &machines.first] {
        root.write("app/Dockerfile", &changed);
    }
    let said = build(&other, &["--cache-from", &format!("type=local,src={}", dir.display())]);
    assert!(!said.err.contains("ERROR") && !said.err.contains("warning"), "{}", said.err);
    build(&machines.first, &[]);
    assert_eq!(digest(&other), digest(&machines.first));
    assert_eq!(other.ok(["run", "--rm", "app", "cat", "/srv/out/more"]), "more");
}

/// The largest blob of a layout.
fn largest(dir: &Path) -> PathBuf {
    let entries = dir.join("blobs/sha256").read_dir().unwrap().map(|entry| entry.unwrap().path());
    entries.max_by_key(|path| path.metadata().unwrap().len()).unwrap()
}

#[test]
fn a_cache_that_lies_is_not_believed() {
    let machines = Machines::new();
    let make = |name: &str| {
        let dir = machines.first.work().join(name);
        let to = format!("type=local,dest={},mode=max", dir.display());
        build(&machines.first, &["--cache-to", &to]);
        dir
    };
    let check = |dir: &Path, expected: &str| {
        let other = machines.another();
        let said = build(&other, &["--cache-from", &format!("type=local,src={}", dir.display())]);
        assert!(
            said.err.contains("warning: cache `") && said.err.contains(expected),
            "{}",
            said.err
        );
        assert_eq!(digest(&other), digest(&machines.first));
        assert_eq!(other.ok(["run", "--rm", "app"]), "notes");
    };
    let other_bytes = make("other-bytes");
    let blob = largest(&other_bytes);
    let mut bytes = std::fs::read(&blob).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&blob, &bytes).unwrap();
    check(&other_bytes, "cannot be used");
    let shorter = make("shorter");
    let blob = largest(&shorter);
    std::fs::write(&blob, &bytes[..middle]).unwrap();
    check(&shorter, "bytes, not the");
    let gone = make("gone");
    std::fs::remove_file(largest(&gone)).unwrap();
    check(&gone, "cannot be used");
    let link = make("link");
    let blob = largest(&link);
    std::fs::remove_file(&blob).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &blob).unwrap();
    check(&link, "cannot open");
    std::fs::remove_file(&blob).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &blob,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    check(&link, "is not a file");
    let index = make("index");
    std::fs::write(index.join("index.json"), "{\"manifests\": 1}").unwrap();
    check(&index, "cannot be read");
    check(&machines.first.work(), "it has no index");
}

#[test]
fn errors_and_what_may_be_ignored() {
    let root = Root::with_busybox();
    root.write("app/Dockerfile", "FROM busybox\nRUN true\n");
    let check = |code: i32, args: &[&str], expected: &str| {
        let said = root.fails(code, [&["build"], args, &["app"]].concat());
        assert!(said.contains(expected), "{args:?}: {said}");
    };
    check(2, &["--cache-to", "type=gha"], "caches of type `gha` are not supported");
    check(2, &["--cache-from", "type=s3,bucket=x"], "caches of type `s3` are not supported");
    check(2, &["--cache-to", "type=local"], "`dest` is missing");
    check(4, &["--cache-to", "127.0.0.1:1/a"], "cannot connect to `127.0.0.1:1`");
    let said = build(&root, &["--cache-to", "type=registry,ref=127.0.0.1:1/a,ignore-error=true"]);
    assert!(said.err.contains("warning: the cache was not written"), "{}", said.err);
    let said = build(&root, &["--cache-from", "127.0.0.1:1/a"]);
    assert!(said.err.contains("warning: cache `127.0.0.1:1/a:latest` is not used"), "{}", said.err);
}

#[test]
fn compose_has_the_same_caches() {
    let machines = Machines::new();
    let dir = machines.first.work().join("cache");
    build(&machines.first, &["--cache-to", &format!("type=local,dest={},mode=max", dir.display())]);
    let other = machines.another();
    let text = format!(
        "name: shop\nservices:\n  web:\n    build:\n      context: app\n      cache_from: [\"type=local,src={}\"]\n      cache_to: [\"type=local,dest={}\"]\n",
        dir.display(),
        other.work().join("written").display()
    );
    other.write("compose.yaml", &text);
    let said = other.run(["deploy", "--plan"]);
    assert_eq!(executed(&said), Vec::<&str>::new(), "{}", said.err);
    assert!(said.err.contains("cache written to"), "{}", said.err);
    assert!(other.work().join("written/index.json").is_file());
    other.write("compose.yaml", &text.replace("type=local,src", "type=gha,src"));
    let said = other.run(["deploy", "--plan"]);
    assert_eq!(said.code, 3, "{}", said.err);
    assert!(said.err.contains("caches of type `gha` are not supported"), "{}", said.err);
}
