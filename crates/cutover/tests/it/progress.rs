//! How a build is shown: on a terminal, in documents, and in its container when it failed.

use rustix::process::{Signal, kill_process};
use serde_json::Value;

use crate::harness::Root;
use crate::terminal::{Terminal, screen};

const STAGES: &str = "\
FROM busybox AS one
RUN for i in 1 2 3; do echo one $i; sleep 0.1; done
FROM busybox AS two
RUN for i in 1 2 3; do echo two $i; sleep 0.1; done
FROM one
COPY --from=two /bin/busybox /copied
";

fn context(root: &Root, dockerfile: &str) -> String {
    root.write("ctx/Dockerfile", dockerfile);
    root.work().join("ctx").to_str().unwrap().to_owned()
}

#[test]
fn a_terminal_ends_with_all_steps() {
    let root = Root::with_busybox();
    let context = context(&root, STAGES);
    for (columns, rows) in [(80, 24), (30, 5)] {
        let command = root.command(["build", "--no-cache", "-t", "x", &context]);
        let (code, written) = Terminal::run(command, columns, rows).finish();
        assert_eq!(code, 0, "{written}");
        let image = written.find("image sha256:").unwrap();
        let lines = screen(&written[..image], columns.into());
        assert!(lines[0].starts_with("[+] Building "), "{lines:#?}");
        assert!(lines[0].ends_with("(6/6), 2 cached") || columns == 30, "{lines:#?}");
        let shown: Vec<&str> =
            lines[1..].iter().map(|line| line.get(..8).unwrap_or(line)).collect();
        assert_eq!(
            shown.iter().filter(|line| line.starts_with(" one 2/2")).count(),
            1,
            "{lines:#?}"
        );
        assert_eq!(
            shown.iter().filter(|line| line.starts_with(" two 2/2")).count(),
            1,
            "{lines:#?}"
        );
        // Output was shown while it came, and is gone.
        assert!(written.contains("=> => # ") || rows == 5, "{written}");
        assert!(lines.iter().all(|line| !line.contains("=> => #")), "{lines:#?}");
    }
}

#[test]
fn an_interrupted_build_leaves_the_terminal_fine() {
    let root = Root::with_busybox();
    let context = context(&root, "FROM busybox\nRUN echo up; sleep 1000\n");
    let mut terminal = Terminal::run(root.command(["build", &context]), 60, 12);
    terminal.wait_for("# up");
    kill_process(terminal.pid(), Signal::INT).unwrap();
    let (code, written) = terminal.finish();
    assert_eq!(code, 130, "{written}");
    let lines = screen(&written, 60);
    assert!(lines.iter().any(|line| line.contains("CANCELED [2/2] RUN")), "{lines:#?}");
    // Whatever comes next begins on a line of its own; the cursor was never hidden.
    assert_eq!(lines.last().map(String::as_str), Some(""), "{lines:#?}");
    assert!(!written.contains("\x1b[?25l"));
}

#[test]
fn documents_are_buildkits() {
    let root = Root::with_busybox();
    let context = context(&root, "FROM busybox as x\nRUN echo hello; echo oops >&2; exit 3\n");
    let said = root.run(["build", "--progress=rawjson", &context]);
    assert_eq!(said.code, 1, "{}", said.err);
    let documents: Vec<Value> =
        said.err.lines().map_while(|line| serde_json::from_str(line).ok()).collect();
    let vertexes = || documents.iter().filter_map(|one| one["vertexes"][0].as_object());
    let failed = vertexes().find(|vertex| vertex.contains_key("error")).unwrap();
    assert_eq!(failed["error"], "exit code 3");
    assert!(failed["name"].as_str().unwrap().starts_with("[2/2] RUN echo hello"));
    let started = failed["started"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let completed = failed["completed"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(started <= completed && jiff::Timestamp::now().duration_since(started).as_secs() < 600);
    let logs: Vec<_> = documents.iter().filter_map(|one| one["logs"][0].as_object()).collect();
    let texts: Vec<_> = logs.iter().map(|log| (log["stream"].as_u64(), &log["data"])).collect();
    assert!(texts.contains(&(Some(1), &"aGVsbG8K".into())), "{texts:?}");
    assert!(texts.contains(&(Some(2), &"b29wcwo=".into())), "{texts:?}");
    assert!(logs.iter().all(|log| log["vertex"] == failed["digest"]));
    // `as` in lower case is what a check warns of: once.
    let warnings: Vec<_> = documents.iter().filter(|one| !one["warnings"].is_null()).collect();
    assert_eq!(warnings.len(), 1, "{}", said.err);
    let error = said.err.lines().last().unwrap();
    assert!(error.contains("exited with code 3"), "{}", said.err);
}

#[test]
fn styles() {
    let root = Root::with_busybox();
    let context = context(&root, "FROM busybox\nRUN echo hello\n");
    let quiet = root.run(["build", "--progress=quiet", &context]);
    assert!(quiet.out.starts_with("sha256:") && quiet.err.is_empty(), "{quiet:?}");
    let none = root.run(["build", "--progress=none", &context]);
    assert!(none.out.is_empty() && none.err.is_empty(), "{none:?}");
    let plain = root.run(["build", &context]);
    assert!(plain.err.contains("CACHED") && !plain.err.contains('\x1b'), "{plain:?}");
    let error = root.fails(2, ["build", "--progress=tty", &context]);
    assert!(error.contains("needs a terminal"), "{error}");
    let error = root.fails(2, ["build", "--on-error=shell", &context]);
    assert!(error.contains("needs a terminal"), "{error}");
    let mut command = root.command(["build", &context]);
    let said = command.env("CUTOVER_PROGRESS", "rawjson").output().unwrap();
    let line = String::from_utf8(said.stderr).unwrap();
    assert!(line.starts_with("{\"vertexes\""), "{line}");
}

#[test]
fn a_shell_opens_where_a_step_failed() {
    let root = Root::with_busybox();
    let dockerfile = "\
FROM busybox
ENV NAME=value
WORKDIR /work
USER 1000:1000
RUN --mount=type=tmpfs,target=/mounted --mount=type=cache,target=/cache,mode=0777 \\
    touch /cache/kept /tmp/half 2>/dev/null; echo broken; exit 4
";
    let context = context(&root, dockerfile);
    let command = root.command(["build", "--on-error=shell", &context]);
    let mut terminal = Terminal::run(command, 100, 30);
    terminal.wait_for("ended with exit code 4");
    terminal.type_in("echo \"<$NAME $(pwd) $(id -u) $(ls /cache) $(stty size)>\"; exit\r");
    terminal.wait_for("<value /work 1000 kept 30 100>");
    let (code, written) = terminal.finish();
    assert_eq!(code, 1, "{written}");
    assert!(written.contains("exited with code 4"), "{written}");
    assert!(written.contains("broken"), "{written}");
    let left = std::fs::read_dir(root.path().join("root/tmp")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name.to_string_lossy().ends_with(".lock")), "{left:?}");
}
