//! `build`: Dockerfile to image, its cache, its errors.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Instant;

use crate::harness::Root;

const DOCKERFILE: &str = "\
FROM busybox AS base
ARG GREETING=hello
ENV NAME=world
RUN echo \"$GREETING $NAME\" > /greeting && mkdir /made
COPY --chown=1000:1000 app/ /app/

FROM base AS extra
RUN echo extra > /extra

FROM base
COPY --from=extra /extra /copied
WORKDIR /app
USER web
LABEL kind=test
EXPOSE 80/tcp
HEALTHCHECK --interval=5s CMD test -e /greeting
ENTRYPOINT [\"cat\"]
CMD [\"/greeting\", \"/copied\", \"file\"]
";

fn context(root: &Root) -> String {
    root.write("ctx/Dockerfile", DOCKERFILE);
    root.write("ctx/app/file", "from the context\n");
    root.write("ctx/.dockerignore", "**/*.log\n");
    root.write("ctx/app/noise.log", "1");
    root.work().join("ctx").to_str().unwrap().to_owned()
}

#[test]
fn builds_stages_and_runs_the_result() {
    let root = Root::with_busybox();
    let context = context(&root);
    let said = root.run(["build", "-t", "app:1", "--build-arg", "GREETING=hi", &context]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(root.ok(["run", "--rm", "app:1"]), "hi world\nextra\nfrom the context");
    let listed = root.ok(["run", "--rm", "--entrypoint", "ls", "app:1", "-n", "/app"]);
    assert!(listed.contains("1000") && !listed.contains("noise.log"), "{listed}");
    let config = &root.json(&["inspect", "app:1"])[0]["config"]["config"];
    assert_eq!(config["User"], "web");
    assert_eq!(config["WorkingDir"], "/app");
    assert_eq!(config["Labels"]["kind"], "test");
    let history = root.ok(["history", "app:1"]);
    assert!(history.contains("HEALTHCHECK"), "{history}");
    let leftovers = root.ok(["run", "--rm", "--entrypoint", "ls", "app:1", "/etc"]);
    assert_eq!(
        leftovers,
        "group\nhostname\nhosts\nmtab\npasswd\nresolv.conf".replace("mtab\n", ""),
        "{leftovers}"
    );
}

#[test]
fn the_cache_follows_content_and_nothing_else() {
    let root = Root::with_busybox();
    let context = context(&root);
    let build = || root.ok(["build", "-q", "-t", "app", &context]);
    let first = build();
    assert!(first.starts_with("sha256:"), "{first}");
    assert_eq!(build(), first, "nothing changed");
    let file = root.work().join("ctx/app/file");
    let touched = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, touched).unwrap();
    assert_eq!(build(), first, "only times changed");
    std::fs::write(root.work().join("ctx/app/noise.log"), "2").unwrap();
    assert_eq!(build(), first, "an ignored file changed");
    std::fs::write(&file, "other\n").unwrap();
    assert_ne!(build(), first, "a file changed");
    std::fs::write(&file, "from the context\n").unwrap();
    assert_eq!(build(), first, "changed back");
}

#[test]
fn errors_name_file_line_and_instruction() {
    let root = Root::with_busybox();
    let fails = |text: &str| {
        let dir = root.write("bad/Dockerfile", text);
        let said = root.run(["build", dir.parent().unwrap().to_str().unwrap()]);
        assert_ne!(said.code, 0, "{text}");
        said.err
    };
    let err = fails("FROM busybox\nRUN echo one\nRUN echo to the log; exit 3\n");
    for part in ["Dockerfile:3", "exit 3", "to the log", ">>>", "code 3"] {
        assert!(err.contains(part), "`{part}` is not in:\n{err}");
    }
    let err = fails("FROM busybox\nRUM echo\n");
    assert!(err.contains("Dockerfile:2") && err.contains("RUN"), "{err}");
    let err = fails("FROM busybox\nCOPY missing /\n");
    assert!(err.contains("Dockerfile:2") && err.contains("missing"), "{err}");
    let err = root.run(["build", "/nonexistent"]).err;
    assert!(err.contains("/nonexistent"), "{err}");
}

#[test]
fn a_target_and_labels_from_flags() {
    let root = Root::with_busybox();
    let context = context(&root);
    let iid = root.work().join("iid");
    root.ok([
        "build",
        "-q",
        "--target",
        "base",
        "--label",
        "kind=flag",
        "--iidfile",
        iid.to_str().unwrap(),
        "-t",
        "base-only",
        &context,
    ]);
    let image = &root.json(&["inspect", "base-only"])[0];
    assert_eq!(image["config"]["config"]["Labels"]["kind"], "flag");
    assert_eq!(std::fs::read_to_string(iid).unwrap(), image["digest"].as_str().unwrap());
}

#[test]
fn an_interrupted_build_leaves_nothing() {
    let root = Root::with_busybox();
    let text = "FROM busybox AS one\nRUN exec sleep 1000\nFROM busybox\n\
        RUN echo really started; exec sleep 1000\nCOPY --from=one /x /x\n";
    root.write("ctx/Dockerfile", text);
    let command = ["build", "--network=none", "-t", "never", "ctx"];
    let mut child = root.command(command).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let started = lines.any(|line| line.unwrap().ends_with("really started"));
    assert!(started);
    let pid = rustix::process::Pid::from_child(&child);
    let begin = Instant::now();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
    assert!(begin.elapsed().as_secs() < 20, "it did not stop at once");
    assert!(rest.iter().any(|line| line.contains("interrupted")), "{rest:?}");
    assert!(!root.ok(["images"]).contains("never"));
    let tmp = std::fs::read_dir(root.path().join("root/tmp")).unwrap();
    let names = tmp.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| !name.ends_with(".lock")).collect::<Vec<_>>(), [""; 0]);
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(root.path().to_str().unwrap()), "{mounts}");
    for group in std::fs::read_dir("/sys/fs/cgroup").unwrap() {
        let name = group.unwrap().file_name().into_string().unwrap();
        assert!(!name.contains(&format!("build-{}-", child.id())), "{name}");
    }
}

#[test]
fn it_explains_itself() {
    let root = Root::with_busybox();
    let context = context(&root);
    root.ok(["build", "-t", "app", &context]);
    root.write("ctx/app/file", "changed\n");
    let said = root.run(["build", "--explain", "-t", "app", &context]);
    assert_eq!(said.code, 0, "{}", said.err);
    for part in [
        "hit   Dockerfile:4  [base 2/3] RUN ",
        "miss  Dockerfile:5  [base 3/3] COPY --chown=1000:1000 app/ /app/\n      \
         file `app/file` of the build context changed",
        "      the step before it, line 5, came out different",
    ] {
        assert!(said.err.contains(part), "{part}\n{}", said.err);
    }
    let said = root.run(["build", "--context-files=all", &context]);
    assert!(
        said.out.contains("-       1B app/noise.log   .dockerignore:1 **/*.log"),
        "{}",
        said.out
    );
    assert!(
        said.err.contains("3 files, ") && said.err.contains("1 files, 1B excluded"),
        "{}",
        said.err
    );
    let said = root.run(["build", "--no-cache-filter=extra", "--explain", &context]);
    assert!(said.err.contains("the cache was not to be used"), "{}", said.err);
}

#[test]
fn a_collected_cache_leaves_named_images_only() {
    let root = Root::with_busybox();
    let context = context(&root);
    root.ok(["build", "-t", "app", &context]);
    root.write("ctx/app/file", "changed\n");
    root.ok(["build", "-t", "app", &context]);
    root.ok(["gc", "--build-cache", "--keep-storage", "1GB", "--filter", "until=1h"]);
    let said = root.run(["build", "-t", "app", &context]);
    assert!(said.err.contains("CACHED"), "{}", said.err);
    root.ok(["gc", "--build-cache"]);
    // What is left is what the two named images have.
    let mut wanted = std::collections::BTreeSet::new();
    for name in ["app", "busybox"] {
        let image = &root.json(&["inspect", name])[0];
        let layers = image["config"]["rootfs"]["diff_ids"].as_array().unwrap().len();
        wanted.insert((name, layers));
    }
    let layers = wanted.iter().map(|(_, layers)| layers).max().unwrap();
    let snapshots = std::fs::read_dir(root.path().join("root/snapshots")).unwrap();
    assert_eq!(snapshots.count(), *layers, "app's own, which has busybox's below");
    assert_eq!(root.ok(["run", "--rm", "--entrypoint", "cat", "app", "file"]), "changed");
    root.ok(["rmi", "-f", "app", "busybox"]);
    root.ok(["gc", "--build-cache", "--all"]);
    for dir in ["snapshots", "blobs/sha256", "tmp"] {
        let left = std::fs::read_dir(root.path().join("root").join(dir)).unwrap();
        assert_eq!(left.count(), 0, "left in {dir}");
    }
}
