//! Stages, RUN, ONBUILD, heredocs and the image that comes out.

use cutover_core::oci::History;

use crate::support::Lab;

#[test]
fn an_image_from_two_stages() {
    let lab = Lab::new();
    lab.write("app.sh", "echo hello\n");
    let text = r#"ARG greeting=hi
        FROM base AS build
        ARG greeting
        WORKDIR /src
        COPY app.sh .
        RUN echo $greeting > out && mkdir -p deep/er && ln -s out link
        FROM base AS never
        RUN false
        FROM base
        LABEL a=b
        COPY --from=build /src/out /src/link /app/
        COPY --from=build --chown=app:extra /src/deep /deep
        ENV X=1
        USER app
        ENTRYPOINT ["/bin/sh"]
        "#;
    let built = lab.build(text).unwrap();
    assert_eq!((built.cached, built.executed), (0, 5));
    assert_eq!(lab.read("app/out"), "hi\n");
    assert_eq!(lab.read("app/link"), "hi\n", "a link that is named is followed");
    let image = lab.image();
    let config = &image.config.config;
    assert_eq!((config.user.as_str(), config.labels["a"].as_str()), ("app", "b"));
    assert_eq!(config.cmd, None, "ENTRYPOINT resets the inherited CMD");
    let lines: Vec<&History> = image.config.history.iter().rev().take(6).collect();
    let text = |line: &History| line.created_by.clone().unwrap_or_default();
    assert_eq!(text(lines[3]), "COPY --chown=app:extra /src/deep /deep # buildkit");
    assert_eq!(lines[3].empty_layer, None);
    assert_eq!(lines[0].created, image.config.created);
    lab.assert_clean();
}

#[test]
fn a_run_leaves_only_what_it_made() {
    let lab = Lab::new();
    lab.build("FROM base\nRUN touch /made\nRUN true\nRUN touch /etc/new && rm /etc/group").unwrap();
    let layers = lab.image().chain_ids.len();
    assert_eq!(lab.layer(layers - 3), ["made"]);
    assert_eq!(lab.layer(layers - 2), Vec::<String>::new());
    assert_eq!(lab.layer(layers - 1), ["etc/", "etc/group", "etc/new"], "a whiteout is a node");
    lab.assert_clean();
}

#[test]
fn a_container_is_as_docker_makes_it() {
    let lab = Lab::new();
    let text = r#"FROM base
        ENV A=1
        ARG B=2
        RUN [ "$A$B" = 12 ] && [ "$(hostname)" = buildkitsandbox ] && [ "$(id -u)" = 0 ]
        RUN grep -q localhost /etc/hosts && [ -e /dev/null ] && [ -d /proc/1 ] && [ "$(pwd)" = / ]
        USER app:extra
        WORKDIR /w
        RUN [ "$(id -u):$(id -g)" = 1000:1002 ] && touch /w/mine && [ "$HOME" = /home/app ]
        SHELL ["/bin/ash", "-ec"]
        RUN false; true || exit 3
        "#;
    let error = lab.build(text).unwrap_err();
    assert!(error.to_string().contains("exited with code 1"), "{error}");
    assert_eq!(error.place().unwrap().start, 10, "SHELL is used");
}

#[test]
fn a_step_has_a_network() {
    let mut lab = Lab::new();
    lab.options.network = cutover_build::Network::Default;
    lab.build("FROM base\nRUN ls /sys/class/net > /links && ip route > /route").unwrap();
    assert!(lab.read("links").contains("eth0"));
    assert!(lab.read("route").contains("default via"));
    let networks = cutover_runtime::net::Networks::open(&lab.root, &lab.root.join("run")).unwrap();
    let (_, leases) = networks.inspect("bridge").unwrap();
    assert!(leases.is_empty(), "the address was given back: {leases:?}");
    networks.remove("bridge").unwrap();
    lab.assert_clean();
}

const HEREDOCS: &str = r#"FROM base
RUN <<EOF
echo one > /one
echo two >> /one
EOF
RUN <<EOF
#!/bin/ash
echo script > /script
EOF
RUN cat <<A > /three && cat <<'B' >> /three
$HOME
A
$HOME
B
ENV name=world
COPY --chmod=640 <<hello.txt /dir/
hello $name
hello.txt
"#;

#[test]
fn heredocs() {
    let lab = Lab::new();
    lab.build(HEREDOCS).unwrap();
    assert_eq!(lab.read("one"), "one\ntwo\n");
    assert_eq!(lab.read("script"), "script\n");
    assert_eq!(lab.read("three"), "/root\n$HOME\n");
    assert_eq!(lab.read("dir/hello.txt"), "hello world\n");
}

#[test]
fn triggers_run_in_the_child_and_are_gone() {
    let mut lab = Lab::new();
    lab.options.tags = vec!["parent".parse().unwrap()];
    lab.build("FROM base\nONBUILD ENV A=1\nONBUILD COPY file /copied\nONBUILD RUN echo $A > /ran")
        .unwrap();
    lab.options.tags = vec!["result".parse().unwrap()];
    lab.write("file", "from the child\n");
    lab.build("FROM parent\nUSER app").unwrap();
    assert_eq!(
        (lab.read("copied").as_str(), lab.read("ran").as_str()),
        ("from the child\n", "1\n")
    );
    assert!(lab.image().config.config.on_build.is_empty());
    // Stages hand them on too, once.
    lab.build("FROM base AS a\nONBUILD RUN echo x >> /count\nFROM a AS b\nFROM b").unwrap();
    assert_eq!(lab.read("count"), "x\n");
}

#[test]
fn labels_and_targets_from_the_command_line() {
    let mut lab = Lab::new();
    lab.options.labels.insert("a".to_owned(), "cli".to_owned());
    lab.options.target = Some("first".to_owned());
    lab.build("FROM base AS first\nLABEL a=file\nFROM base\nRUN false").unwrap();
    assert_eq!(lab.image().config.config.labels["a"], "cli");
}

#[test]
fn metadata_alone_makes_an_image_without_layers() {
    let lab = Lab::empty();
    lab.build("FROM scratch\nENV A=b\nEXPOSE 80").unwrap();
    let image = lab.image();
    assert!(image.manifest.layers.is_empty());
    assert_eq!(image.config.config.working_dir, "/");
    assert!(image.config.config.env[0].starts_with("PATH="));
}

#[test]
fn two_builds_of_one_thing_at_once_agree() {
    let lab = Lab::new();
    lab.write("f", "x");
    let text = "FROM base\nCOPY f /\nRUN cp /f /g";
    let digests: Vec<_> = std::thread::scope(|scope| {
        let builds: Vec<_> = (0..3).map(|_| scope.spawn(|| lab.build(text).unwrap())).collect();
        builds.into_iter().map(|build| build.join().unwrap().image).collect()
    });
    let last = lab.build(text).unwrap();
    assert_eq!((last.cached, last.executed), (2, 0));
    assert!(digests.contains(&last.image));
    lab.assert_clean();
}

#[test]
fn an_epoch_makes_the_same_image_anywhere() {
    let digest = |now: i64| {
        let mut lab = Lab::empty();
        lab.options.now = now;
        lab.options.source_date_epoch = Some(1_000_000_000);
        lab.write("dir/f", "x");
        let text = "FROM scratch\nCOPY dir /new/dir\nWORKDIR /work\nENV a=b";
        lab.build(text).unwrap().image
    };
    assert_eq!(digest(1_700_000_000), digest(1_800_000_000));
}
