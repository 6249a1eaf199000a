//! Bad input: one error that names the place, and nothing left behind.

use cutover_build::BuildError;

use crate::support::Lab;

/// The error of a build, with its causes.
fn chain(error: &BuildError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// The error of a build whose last instruction is `code`, without the place and the code itself.
#[track_caller]
fn check(lab: &Lab, base: &str, code: &str, expected: &str) {
    let error = lab.build(&format!("FROM {base}\n{code}")).unwrap_err();
    let shown = chain(&error);
    let expected = match expected.strip_prefix("… ") {
        Some(reason) => format!("Dockerfile:2: `{code}` failed: {reason}"),
        None => expected.to_owned(),
    };
    assert_eq!(shown, expected);
    lab.assert_clean();
}

const EXCERPT: &str = r"Dockerfile:4
--------------------
   2 |     
   3 |     ENV x=1
   4 | >>> RUN echo to stdout; \
   5 | >>>   echo to stderr >&2; exit 3
   6 |     ENV y=2
   7 |     # end
--------------------
";

#[test]
fn a_failed_process_shows_what_it_said() {
    let lab = Lab::new();
    let text = "FROM base\n\nENV x=1\nRUN echo to stdout; \\\n  echo to stderr >&2; exit 3\nENV y=2\n# end\n";
    let error = lab.build(text).unwrap_err();
    let expected =
        "Dockerfile:4: `RUN echo to stdout;   echo to stderr >&2; exit 3` exited with code 3";
    assert_eq!(chain(&error), expected);
    assert_eq!(error.excerpt().unwrap(), EXCERPT);
    let mut output = error.output().to_vec();
    output.sort();
    assert_eq!(output, ["to stderr", "to stdout"]);
    lab.assert_clean();
}

#[test]
fn processes_that_do_not_start() {
    let lab = Lab::new();
    let killed = "Dockerfile:2: `RUN sh -c 'kill -9 $$'; exit $?` exited with code 137";
    check(&lab, "base", "RUN sh -c 'kill -9 $$'; exit $?", killed);
    check(&lab, "base", r#"RUN ["nope"]"#, "… `nope` was not found in the image");
    check(&lab, "base", r#"RUN ["/etc/passwd"]"#, "… `/etc/passwd` cannot be executed");
}

#[test]
fn missing_files() {
    let lab = Lab::new();
    lab.write(".dockerignore", "secret");
    lab.write("secret/key", "x");
    check(&lab, "base", "COPY nope /", "… `/nope` not found");
    let hidden = "… `/secret/key` not found: an ignore rule of the build context hides it";
    check(&lab, "base", "COPY secret/key /", hidden);
    check(&lab, "base", "COPY --from=base nope /", "… `/nope` not found");
    check(&lab, "base", "COPY ../../../../etc/hostname /", "… `/etc/hostname` not found");
    let over = "… cannot copy a directory over `/etc/passwd`, which is not a directory";
    check(&lab, "base", "COPY . /etc/passwd", over);
    lab.write("file", "x");
    let over = "… cannot replace the directory `/etc/file` with a file";
    lab.build("FROM base\nRUN mkdir -p /etc/file").unwrap();
    check(&lab, "result", "COPY file /etc/", over);
}

#[test]
fn what_cannot_be_pulled_is_named() {
    let lab = Lab::empty();
    let pull =
        "Dockerfile:1: `FROM nope:1` failed: failed to pull `nope:1`: there is no registry here";
    check(&lab, "nope:1", "", pull);
    let name =
        "Dockerfile:1: image name `UPPER` has an uppercase letter: repository names are lowercase";
    check(&lab, "UPPER", "", name);
}

#[test]
fn links_out_of_the_context_lead_nowhere() {
    let lab = Lab::empty();
    let outside = lab.context.with_file_name("outside");
    fs_err::write(&outside, "secret").unwrap();
    std::os::unix::fs::symlink("../outside", lab.context.join("up")).unwrap();
    std::os::unix::fs::symlink(&outside, lab.context.join("absolute")).unwrap();
    check(&lab, "scratch", "COPY up /x", "… `/up` not found");
    check(&lab, "scratch", "COPY absolute /x", "… `/absolute` not found");
}

#[test]
fn what_is_not_there_yet_is_refused() {
    let mut lab = Lab::empty();
    let device = "Dockerfile:2: `RUN --device` is not supported";
    check(&lab, "scratch", "RUN --device=vendor.com/x=y true", device);
    lab.options.build_args.insert("SOURCE_DATE_EPOCH".to_owned(), "stage".to_owned());
    let epoch =
        "SOURCE_DATE_EPOCH `stage` is not a number of seconds, and nothing else is supported yet";
    check(&lab, "scratch", "", epoch);
}

#[test]
fn unused_build_arguments_are_said() {
    let mut lab = Lab::empty();
    lab.options.build_args.insert("unused".to_owned(), "1".to_owned());
    lab.options.build_args.insert("NO_PROXY".to_owned(), "x".to_owned());
    let built = lab.build("FROM scratch").unwrap();
    assert_eq!(built.warnings, ["build arguments that no ARG takes: `unused`"]);
}
