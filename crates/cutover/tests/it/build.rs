//! `build`: Dockerfile to image, its cache, its errors.

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
