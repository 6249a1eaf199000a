use super::*;

/// One line an instruction: lines and what was understood; or the error.
fn show(text: &str) -> String {
    let file = match parse(text.as_bytes()) {
        Ok(file) => file,
        Err(error) => {
            let hint = error.hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
            return format!("{}: {}{hint}", error.lines.start, error.problem);
        }
    };
    let mut out = Vec::new();
    let line = |instruction: &Instruction| {
        let Lines { start, end } = instruction.lines;
        format!("{start}-{end} {:?}", instruction.kind)
    };
    out.extend(file.global_args.iter().map(line));
    for stage in &file.stages {
        let name = stage.name.as_deref().unwrap_or("-");
        let platform = stage.platform.as_deref().unwrap_or("-");
        out.push(format!("{} FROM {} {name} {platform}", stage.lines.start, stage.base));
        out.extend(stage.instructions.iter().map(line));
    }
    out.extend(file.warnings.iter().map(|w| format!("{} {}", w.lines.start, w.rule)));
    out.join("\n")
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    assert_eq!(show(text).lines().collect::<Vec<_>>(), expected, "of {text}");
}

/// Checks one instruction behind a FROM.
#[track_caller]
fn check_one(text: &str, expected: &str) {
    let shown = show(&format!("FROM scratch\n{text}"));
    let shown = shown.strip_prefix("1 FROM scratch - -\n").unwrap_or(&shown);
    assert_eq!(shown, expected, "of {text}");
}

fn shell(text: &str) -> String {
    format!("CommandLine {{ words: [{text:?}], shell: true }}")
}

#[test]
fn lines_are_joined_and_comments_dropped() {
    check(
        "\u{feff}# c\n\n  from \\\n\\\n  # c\n\n b \nuser a\\  \n  b\nUSER x\\\r\n y\r\nUSER z\\",
        &[
            "3 FROM b - -",
            "8-9 User(\"a  b\")",
            "10-11 User(\"x y\")",
            "12-12 User(\"z\")",
            "7 NoEmptyContinuation",
        ],
    );
    check(
        "FROM a\nUSER b\\\\\nUSER c",
        &["1 FROM a - -", "2-2 User(\"b\\\\\\\\\")", "3-3 User(\"c\")"],
    );
    check("FROM a\nUSER b # c", &["1 FROM a - -", "2-2 User(\"b # c\")"]);
    check("", &["1: file with no instructions"]);
    check("# only\n\n", &["2: file with no instructions"]);
    let long = format!("FROM a\nUSER {}", "x".repeat(65_536));
    check(&long, &["2: line is longer than 65535 bytes"]);
}

#[test]
fn directives() {
    check("# escape=`\nFROM a\nUSER b`\n c\\\n", &["2 FROM a - -", "3-4 User(\"b c\\\\\")"]);
    check(
        "#Escape = `\n# syntax=x\n#escape=`\nFROM a",
        &["3: only one `escape` parser directive can be used"],
    );
    check("# escape=x\nFROM a", &["1: invalid escape token `x`: it must be ` or \\"]);
    check("# comment\n# escape=x\nFROM a", &["3 FROM a - -"]);
    check("# unknown=1\n# escape=x\nFROM a", &["3 FROM a - -"]);
    let file =
        parse(b"#!/usr/bin/cutover\n# syntax = docker/dockerfile:1 \n# check=skip=all\nFROM a")
            .unwrap();
    assert_eq!(file.syntax.as_deref(), Some("docker/dockerfile:1"));
    assert_eq!(file.check.as_deref(), Some("skip=all"));
}

#[test]
fn stages() {
    check(
        "ARG v=1\nFROM --platform=$BUILDPLATFORM a:$v as Build-1.x\nFROM build-1.x",
        &[
            "1-1 Arg([Arg { name: \"v\", default: Some(\"1\") }])",
            "2 FROM a:$v build-1.x $BUILDPLATFORM",
            "3 FROM build-1.x - -",
        ],
    );
    check("FROM a b", &["1: FROM requires either one or three arguments"]);
    check("FROM", &["1: FROM requires either one or three arguments"]);
    check(
        "RUN x\nFROM a",
        &["1: no build stage in current context: only ARG may come before FROM"],
    );
    check("ARG x", &["1: no build stage: the Dockerfile has no FROM"]);
    check(
        "FROM a AS 1",
        &[
            "1: invalid name for build stage: `1`: a name starts with a letter and has only letters, digits, `-`, `_` and `.`",
        ],
    );
    check("FROM --plattform=x a", &["1: unknown flag `--plattform` (did you mean `--platform`?)"]);
}

#[test]
fn unknown_instructions_have_a_suggestion() {
    check_one("ENTRYPONT x", "2: unknown instruction `ENTRYPONT` (did you mean `ENTRYPOINT`?)");
    check_one("RUNN x", "2: unknown instruction `RUNN` (did you mean `RUN`?)");
    check_one("FOOBAR x", "2: unknown instruction `FOOBAR`");
}

#[test]
fn commands() {
    check_one("CMD echo  $a", &format!("2-2 Cmd({})", shell("echo  $a")));
    check_one(
        "CMD [\"a\", \"b c\"]",
        "2-2 Cmd(CommandLine { words: [\"a\", \"b c\"], shell: false })",
    );
    check_one("CMD ['a']", &format!("2-2 Cmd({})", shell("['a']")));
    check_one("CMD [\"a\"", &format!("2-2 Cmd({})", shell("[\"a\"")));
    check_one(
        "CMD [1]",
        "2: when using JSON array syntax, arrays must be comprised of strings only",
    );
    check_one("ENTRYPOINT []", "2-2 Entrypoint(CommandLine { words: [], shell: false })");
    check_one("SHELL [\"a\"]", "2-2 Shell([\"a\"])");
    check_one("SHELL a", "2: SHELL requires the arguments to be in JSON form");
    check_one("SHELL []", "2: SHELL requires at least one argument");
    check_one(
        "RUN --network=none x",
        &format!(
            "2-2 Run(Run {{ command: {}, heredocs: [], network: None, mounts: [], insecure: false }})",
            shell("x")
        ),
    );
    check_one("RUN --device=x y", "2: `RUN --device` is not supported");
    check_one("RUN --network=x y", "2: invalid network mode `x`");
    check_one("RUN --x y", "2: unknown flag `--x`");
}

#[test]
fn pairs() {
    check_one(
        "ENV a=1 b='2 3' c=\"4\\\" 5\" d=\\ 6",
        "2-2 Env([Pair { key: \"a\", value: \"1\", legacy: false }, Pair { key: \"b\", value: \"'2 3'\", legacy: false }, Pair { key: \"c\", value: \"\\\"4\\\\\\\" 5\\\"\", legacy: false }, Pair { key: \"d\", value: \"\\\\ 6\", legacy: false }])",
    );
    check_one("ENV a b  c=d", "2-2 Env([Pair { key: \"a\", value: \"b  c=d\", legacy: true }])");
    check_one("LABEL a=1 b", "2: no `=` in `b`: it must be of the form name=value");
    check_one("ENV a", "2: ENV must have two arguments");
    check_one("ENV =a", "2: ENV names can not be blank");
    check_one("ENV", "2: ENV requires at least one argument");
    check_one(
        "ARG a b=\"c d\" e=",
        "2-2 Arg([Arg { name: \"a\", default: None }, Arg { name: \"b\", default: Some(\"\\\"c d\\\"\") }, Arg { name: \"e\", default: Some(\"\") }])",
    );
    check_one("ARG =x", "2: ARG names can not be blank");
}

#[test]
fn lists() {
    check_one("EXPOSE 90 80/udp", "2-2 Expose([\"80/udp\", \"90\"])");
    check_one("VOLUME a b", "2-2 Volume([\"a\", \"b\"])");
    check_one("VOLUME [\"a b\"]", "2-2 Volume([\"a b\"])");
    check_one("VOLUME [\"\"]", "2: VOLUME can not be an empty string");
    check_one("VOLUME []", "2: VOLUME requires at least one argument");
    check_one("USER", "2: USER requires exactly one argument");
    check_one("USER --x a", "2: unknown flag `--x`");
}

#[test]
fn copies() {
    let copy = |text: &str| match &parse(format!("FROM a\n{text}").as_bytes()).unwrap().stages[0]
        .instructions[0]
        .kind
    {
        Kind::Copy(copy) | Kind::Add(copy) => copy.clone(),
        other => panic!("{other:?}"),
    };
    let got = copy("COPY --from=b --chown=1:2 --chmod='755' --link --exclude=x --exclude=y a b c/");
    assert_eq!((got.from.as_str(), got.chown.as_str(), got.chmod.as_str()), ("b", "1:2", "755"));
    assert_eq!(
        (got.link, got.exclude, got.sources),
        (true, vec!["x".into(), "y".into()], vec!["a".to_owned(), "b".into()])
    );
    assert_eq!(copy("COPY [\"a b\", \"c\"]").sources, ["a b"]);
    assert_eq!(copy("COPY -- --a b").sources, ["--a"]);
    assert_eq!(copy("ADD --unpack=false a b").unpack, Some(false));
    check_one(
        "COPY a",
        "2: COPY requires at least two arguments, but only one was provided: the destination could not be determined",
    );
    check_one(
        "COPY --link=maybe a b",
        "2: expecting a boolean value for flag `--link`, not `maybe`",
    );
    check_one("COPY --chown a b", "2: missing a value on flag `--chown`");
    check_one("COPY --chmod=1 --chmod=2 a b", "2: duplicate flag `--chmod`");
    check_one("COPY --form=x a b", "2: unknown flag `--form` (did you mean `--from`?)");
}

#[test]
fn heredocs() {
    check_one(
        "RUN <<EOF\n echo\nEOF\nUSER x",
        &format!(
            "2-4 Run(Run {{ command: {}, heredocs: [Heredoc {{ name: \"EOF\", expand: true, chomp: false, content: \" echo\\n\" }}], network: Default, mounts: [], insecure: false }})\n5-5 User(\"x\")",
            shell("<<EOF")
        ),
    );
    let file = parse(b"FROM a\nCOPY <<-'A' <<B\"\" c /d/\n\t1\n\tA\n2\nB\n").unwrap();
    let Kind::Copy(copy) = &file.stages[0].instructions[0].kind else { panic!() };
    assert_eq!(copy.sources, ["c"]);
    let inline: Vec<_> =
        copy.inline.iter().map(|i| (i.name.as_str(), i.content.as_str(), i.expand)).collect();
    assert_eq!(inline, [("A", "1\n", false), ("B", "2\n", false)]);
    check_one("RUN <<EOF\nx", "2: unterminated heredoc: no line is `EOF`");
    check_one(
        "RUN cat <<<x",
        &format!(
            "2-2 Run(Run {{ command: {}, heredocs: [], network: Default, mounts: [], insecure: false }})",
            shell("cat <<<x")
        ),
    );
    check_one(
        "RUN echo \"1<<2\"\nUSER x",
        &format!(
            "2-2 Run(Run {{ command: {}, heredocs: [], network: Default, mounts: [], insecure: false }})\n3-3 User(\"x\")",
            shell("echo \"1<<2\"")
        ),
    );
    check_one(
        "RUN [\"<<EOF\"]",
        "2-2 Run(Run { command: CommandLine { words: [\"<<EOF\"], shell: false }, heredocs: [], network: Default, mounts: [], insecure: false })",
    );
    check_one("COPY a <<EOF\nEOF", "2: COPY cannot accept a heredoc as a destination");
    check_one("ONBUILD RUN <<EOF\nx\nEOF", "2-4 Onbuild(\"RUN <<EOF\\nx\\nEOF\")");
}

#[test]
fn heredoc_words() {
    // What follows `FROM` in lines: names, bodies, `expand` and `chomp` of each heredoc.
    let heredocs = |text: &str| {
        let file = parse(format!("FROM a\n{text}").as_bytes()).unwrap();
        let Kind::Run(run) = &file.stages[0].instructions[0].kind else { panic!("{text}") };
        let show = |h: &Heredoc| format!("{}|{}|{}|{}", h.name, h.content, h.expand, h.chomp);
        (run.heredocs.iter().map(show).collect::<Vec<_>>(), file.stages[0].instructions.len())
    };
    let check = |text: &str, expected: &[&str], instructions: usize| {
        let (shown, count) = heredocs(text);
        assert_eq!(
            (shown, count),
            (expected.iter().map(|s| (*s).to_owned()).collect(), instructions)
        );
    };
    check("RUN 3<<EOF cat\nx\nEOF\nUSER y", &["EOF|x\n|true|false"], 2);
    check("RUN cat <<A <<B\n1\nA\n2\nB\n", &["A|1\n|true|false", "B|2\n|true|false"], 1);
    check("RUN <<-E\n\tx\n\t\tE\n", &["E|\tx\n|true|true"], 1);
    check("RUN <<'E'\n$x\nE", &["E|$x\n|false|false"], 1);
    check("RUN <<\"E\"F\n$x\nEF", &["EF|$x\n|false|false"], 1);
    check("RUN << E\nx\nE", &["E|x\n|true|false"], 1);
    check("RUN <<E\r\nx\r\nE\r\n", &["E|x\r\n|true|false"], 1);
    check("RUN <<E\n# kept \\\n\nE\n", &["E|# kept \\\n\n|true|false"], 1);
    check("RUN echo '<<E' \\\n <<F\n1\nF\nUSER x", &["F|1\n|true|false"], 2);
    check("RUN cat <<<E\nUSER x", &[], 2);
    check("RUN echo $((1<<2))\nUSER x", &[], 2);
}

#[test]
fn onbuild() {
    check_one("onbuild  COPY --link a b", "2-2 Onbuild(\"COPY --link a b\")");
    check_one("ONBUILD ONBUILD RUN x", "2: chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
    check_one("ONBUILD FROM x", "2: FROM isn't allowed as an ONBUILD trigger");
    check_one("ONBUILD", "2: ONBUILD requires at least one argument");
    let place = Lines::one(7);
    assert_eq!(parse_trigger("USER x", place).unwrap().lines, place);
    assert_eq!(parse_trigger("USER", place).unwrap_err().lines, place);
}

#[test]
fn healthchecks() {
    let health =
        |test: &str, rest: &str| format!("2-2 Healthcheck(Health {{ test: {test}, {rest} }})");
    check_one(
        "HEALTHCHECK NONE",
        &health(
            "[\"NONE\"]",
            "interval: 0, timeout: 0, start_period: 0, start_interval: 0, retries: 0",
        ),
    );
    check_one(
        "HEALTHCHECK --interval=5s --retries=3 CMD a b",
        &health(
            "[\"CMD-SHELL\", \"a b\"]",
            "interval: 5000000000, timeout: 0, start_period: 0, start_interval: 0, retries: 3",
        ),
    );
    check_one(
        "HEALTHCHECK CMD [\"a\"]",
        &health(
            "[\"CMD\", \"a\"]",
            "interval: 0, timeout: 0, start_period: 0, start_interval: 0, retries: 0",
        ),
    );
    check_one("HEALTHCHECK NONE x", "2: HEALTHCHECK NONE takes no arguments");
    check_one("HEALTHCHECK CMD", "2: missing command after HEALTHCHECK CMD");
    check_one("HEALTHCHECK TRY x", "2: unknown type `TRY` in HEALTHCHECK: try CMD");
    check_one("HEALTHCHECK --retries=-1 CMD x", "2: `--retries` cannot be negative (-1)");
    check_one("HEALTHCHECK --interval=1us CMD x", "2: `--interval` cannot be less than 1ms");
}

proptest::proptest! {
    #[test]
    fn nothing_panics(text in "((FROM|RUN|COPY|ENV|ONBUILD|HEALTHCHECK|ARG|#|--[a-z]+=| |\\\\|\n|<<-?E|E|\"|'|\\[|\\]|,|[a-z=$]){0,3}){0,40}") {
        let _unused = parse(text.as_bytes());
    }
}
