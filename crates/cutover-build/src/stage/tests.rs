use super::*;
use crate::dockerfile::parse;

/// Applies the instructions of the last stage of `text` to an empty image.
fn apply(text: &str, build_args: &[(&str, &str)]) -> Result<(Stage, Vec<Op>), String> {
    let file = parse(format!("ARG g=global\nFROM scratch\n{text}").as_bytes()).unwrap();
    let mut globals = Vars::default();
    globals.set("g", "global");
    globals.set("TARGETARCH", "amd64");
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let shared = Shared {
        escape: file.escape,
        globals,
        build_args: build_args.iter().map(owned).collect(),
        proxies: Vec::new(),
    };
    let mut stage = Stage::scratch(&Platform::new("linux", "amd64"));
    let mut ops = Vec::new();
    for instruction in &file.stages[0].instructions {
        ops.extend(stage.apply(instruction, &shared).map_err(|error| error.to_string())?);
    }
    Ok((stage, ops))
}

/// History lines; those without a layer are marked `-`.
#[track_caller]
fn history(text: &str, expected: &[&str]) {
    let (stage, _) = apply(text, &[]).unwrap();
    let line = |line: &History| {
        let mark = if line.empty_layer == Some(true) { "- " } else { "" };
        format!("{mark}{}", line.created_by.as_deref().unwrap_or_default())
    };
    assert_eq!(stage.image.history.iter().map(line).collect::<Vec<_>>(), expected, "of {text}");
}

#[track_caller]
fn error(text: &str, expected: &str) {
    assert_eq!(apply(text, &[]).unwrap_err(), expected, "of {text}");
}

fn config(text: &str) -> oci::Config {
    apply(text, &[]).unwrap().0.image.config
}

#[test]
fn history_lines_are_buildkits() {
    history(
        "ARG a=1 b\nARG g\nENV x=$a y=\"2 3\"\nLABEL l='m n'\nWORKDIR d\nWORKDIR /\nUSER u\nEXPOSE 90/udp 80\nVOLUME /v /w",
        &[
            "- ARG a=1 b",
            "- ARG g=global",
            "- ENV x=1 y=2 3",
            "- LABEL l=m n",
            "WORKDIR /d",
            "- WORKDIR /",
            "- USER u",
            "- EXPOSE [80/tcp 90/udp]",
            "- VOLUME [/v /w]",
        ],
    );
    history(
        "SHELL [\"/bin/bash\", \"-c\"]\nCMD a\nENTRYPOINT [\"b\", \"c d\"]\nSTOPSIGNAL 9\nMAINTAINER me\nHEALTHCHECK --interval=1m30s CMD x\nONBUILD RUN y",
        &[
            "- SHELL [/bin/bash -c]",
            "- CMD [\"/bin/bash\" \"-c\" \"a\"]",
            "- ENTRYPOINT [\"b\" \"c d\"]",
            "- STOPSIGNAL 9",
            "- MAINTAINER me",
            "- HEALTHCHECK {Test:[CMD-SHELL x] Interval:1m30s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}",
        ],
    );
    history("RUN a\nRUN [\"b\", \"c\"]", &["RUN /bin/sh -c a # buildkit", "RUN b c # buildkit"]);
    history(
        "ARG v=1\nARG w\nENV v=2\nRUN a",
        &["- ARG v=1", "- ARG w", "- ENV v=2", "RUN |2 v=2 w= /bin/sh -c a # buildkit"],
    );
    history(
        "ENV d=dir\nCOPY --chown=1:2 --chmod=755 a b $d/\nADD <<EOF x\nEOF",
        &[
            "- ENV d=dir",
            "COPY --chown=1:2 --chmod=755 a b dir/ # buildkit",
            "ADD <<EOF x # buildkit",
        ],
    );
}

#[test]
fn variables_have_one_value_for_an_instruction() {
    let config = config("ENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc");
    assert_eq!(config.env[1..], ["abc=bye", "def=hello", "ghi=bye"]);
}

#[test]
fn env_beats_arg_and_build_args_beat_defaults() {
    let value = |text: &str, args: &[(&str, &str)]| apply(text, args).unwrap().0.image.config.user;
    assert_eq!(value("ARG a=1\nUSER $a", &[]), "1");
    assert_eq!(value("ARG a=1\nUSER $a", &[("a", "2")]), "2");
    assert_eq!(value("ARG a=1\nENV a=3\nUSER $a", &[("a", "2")]), "3");
    assert_eq!(value("USER x$a", &[("a", "2")]), "x");
    assert_eq!(value("USER x$g", &[]), "x");
    assert_eq!(value("ARG g\nUSER x$g$TARGETARCH", &[]), "xglobal");
    assert_eq!(value("ARG TARGETARCH\nUSER $TARGETARCH", &[]), "amd64");
    assert_eq!(value("ARG a=${b:?no}\nUSER x", &[("a", "2")]), "x");
}

#[test]
fn config_fields() {
    let scratch = config("");
    assert_eq!(
        (scratch.working_dir.as_str(), scratch.env[0].as_str()),
        ("/", &*format!("PATH={DEFAULT_PATH}"))
    );
    let cmd = |text: &str| config(text).cmd;
    assert_eq!(
        cmd("CMD a\nENTRYPOINT b"),
        Some(["/bin/sh", "-c", "a"].map(str::to_owned).to_vec())
    );
    assert_eq!(cmd("CMD []"), Some(vec![]));
    assert_eq!(config("ENTRYPOINT a\nENTRYPOINT []").entrypoint, None);
    assert_eq!(config("WORKDIR /a\nWORKDIR b/../c").working_dir, "/a/c");
    let ports = config("ENV p=\"1-2 3/udp\"\nEXPOSE $p").exposed_ports;
    assert_eq!(Vec::from_iter(ports.keys()), ["1/tcp", "2/tcp", "3/udp"]);
}

#[test]
fn entrypoint_resets_an_inherited_cmd_only() {
    let mut base = Stage::scratch(&Platform::new("linux", "amd64"));
    base.image.config.cmd = Some(vec!["a".to_owned()]);
    let stage = Stage::from_stage(&base);
    let (set, _) = apply("CMD x\nENTRYPOINT y", &[]).unwrap();
    assert!(set.image.config.cmd.is_some());
    let mut inherited = stage;
    inherited.entrypoint(&CommandLine { words: vec!["y".to_owned()], shell: false });
    assert_eq!(inherited.image.config.cmd, None);
}

#[test]
fn runs() {
    let run = |text: &str| match apply(text, &[]).unwrap().1.remove(0) {
        Op::Run(run) => run,
        other => panic!("{other:?}"),
    };
    let plain = run("ARG a=1\nENV b=2\nUSER u\nRUN x");
    assert_eq!(plain.env[1..], ["a=1", "b=2"]);
    assert_eq!((plain.cwd.as_str(), plain.user.as_str()), ("/", "u"));
    assert_eq!(run("RUN <<EOF\na\nb\nEOF").args[2], "a\nb\n");
    assert_eq!(run("RUN <<-EOF\n\ta\n\tEOF").args[2], "a\n");
    assert_eq!(run("RUN cat <<A <<B\na\nA\nb\nB").args[2], "cat <<A <<B\na\nA\nb\nB");
    let script = run("RUN <<EOF\n#!/bin/x\na\nEOF");
    assert_eq!(script.args[2], "/dev/pipes/EOF");
    assert_eq!(script.script, Some(("/dev/pipes/EOF".to_owned(), "#!/bin/x\na\n".to_owned())));
}

#[test]
fn copies() {
    let copy = |text: &str| match apply(text, &[]).unwrap().1.pop().unwrap() {
        Op::Copy(copy) => copy,
        other => panic!("{other:?}"),
    };
    let plain = copy("WORKDIR /w\nCOPY ../a/./b . d/");
    assert_eq!(plain.sources.iter().map(|s| s.path.as_str()).collect::<Vec<_>>(), ["/a/b", "/"]);
    assert_eq!((plain.destination.as_str(), plain.unpack), ("/w/d/", false));
    assert!(copy("ADD a b").unpack);
    assert!(!copy("ADD --unpack=false a b").unpack);
    assert_eq!(copy("ENV x='\"y\"'\nCOPY <<EOF /f\n$x \"q\"\nEOF").inline[0].1, "\"y\" \"q\"\n");
    assert_eq!(copy("COPY <<'EOF' /f\n$x\nEOF").inline[0].1, "$x\n");
    let parents = copy("COPY --parents a/./b/*.c /d/").sources.remove(0);
    assert_eq!((parents.path.as_str(), parents.include.as_deref()), ("/a", Some("b/*.c")));
}

#[test]
fn what_is_wrong_in_its_place_is_refused() {
    error("STOPSIGNAL FOO", "invalid signal `FOO`");
    error("EXPOSE 80/x", "invalid port `80/x`: invalid protocol `x`");
    error("VOLUME $nope", "VOLUME can not be an empty string");
    error(
        "COPY --chmod=888 a b",
        "invalid chmod parameter `888`: it should be an octal number between 0 and 07777, or symbolic such as `u=rwX,go=rX`",
    );
    error("COPY http://x/y z", "source can't be a URL for COPY");
    error("COPY https://x/y.git z", "source can't be a git ref for COPY");
    error("ADD https://x/y.git?nope=1 z", "unexpected query `nope`");
    error(
        "ADD --keep-git-dir https://x/y.git?keep-git-dir=0 z",
        "inconsistent keep-git-dir configuration",
    );
    error("ADD --checksum=12 https://x/y.git?checksum=34 z", "checksum mismatch `12` != `34`");
    error("ADD --checksum=sha256:12 x z", "checksum requires HTTP(S) or Git sources");
    error("ARG a=${b:?missing}", "failed to process `${b:?missing}`: b: missing");
}
