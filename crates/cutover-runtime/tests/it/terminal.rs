//! Terminals of first and further processes.

use std::io::{Read, Write};
use std::os::fd::AsFd;

use cutover_runtime::init::{self, Io, Running};
use cutover_runtime::spec::{ExecSpec, Spec};

use crate::bundle::{Bundle, strings};

const TERMINAL: Io = Io::Terminal { rows: 33, columns: 101 };

/// All that the terminal shows until the program ends.
fn shown(running: Running, typed: &str) -> (String, i32) {
    let mut console =
        std::fs::File::from(running.console.as_ref().expect("console").try_clone().expect("clone"));
    console.write_all(typed.as_bytes()).expect("typed");
    let mut text = Vec::new();
    // The last reader of a terminal gets an error, not an end.
    let _end = console.read_to_end(&mut text);
    let code = running.wait().expect("waited").code();
    (String::from_utf8_lossy(&text).into_owned(), code)
}

#[test]
fn of_a_first_process() {
    for init in [false, true] {
        let bundle = Bundle::new();
        let script = "stty size; tty; test -t 0 && test -t 1 && test -t 2 && echo terminal; \
            stat -c '%t %u' /dev/console; echo x > /dev/tty; read line; echo got $line; exit 9";
        let spec = Spec {
            args: strings(&["sh", "-c", script]),
            user: "web".to_owned(),
            init,
            ..bundle.spec.clone()
        };
        let created = init::create(&spec, TERMINAL).expect("created");
        assert!(created.console.is_some());
        let running = created.start().expect("started");
        let (text, code) = shown(running, "word\n");
        let lines: Vec<&str> =
            text.lines().map(str::trim_end).filter(|line| *line != "word").collect();
        assert_eq!(lines, ["33 101", "/dev/pts/0", "terminal", "88 33", "x", "got word"]);
        assert_eq!(code, 9);
        cutover_runtime::cgroup::Cgroup::open(&spec.cgroup)
            .and_then(|c| c.remove())
            .expect("removed");
    }
}

#[test]
fn of_one_more_process() {
    let mut started = Bundle::new().start("echo up; sleep 1000");
    started.wait_for("up\n");
    let exec = ExecSpec {
        args: strings(&["sh", "-c", "stty size; tty; echo x > /dev/tty; exit 4"]),
        ..ExecSpec::default()
    };
    let running = init::exec(&started.spec, started.running.pidfd.as_fd(), &exec, TERMINAL)
        .expect("executed");
    let (text, code) = shown(running, "");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines, code), (vec!["33 101", "/dev/pts/0", "x"], 4));
}

/// Control-C reaches the program, as it is the session's leader and in the foreground.
#[test]
fn control_c() {
    let bundle = Bundle::new();
    let spec = Spec {
        args: strings(&["sh", "-c", "trap 'exit 3' INT; echo up; while :; do sleep 0.01; done"]),
        ..bundle.spec.clone()
    };
    let running = init::create(&spec, TERMINAL).expect("created").start().expect("started");
    let mut console =
        std::fs::File::from(running.console.as_ref().expect("console").try_clone().expect("clone"));
    let mut up = [0; 4];
    console.read_exact(&mut up).expect("output");
    let (_, code) = shown(running, "\x03");
    assert_eq!(code, 3);
    cutover_runtime::cgroup::Cgroup::open(&spec.cgroup).and_then(|c| c.remove()).expect("removed");
}

#[test]
fn a_directory_in_the_place_of_the_terminals() {
    // What a container that may mount can do to itself must not reach the host.
    let mut bundle = Bundle::new();
    bundle.spec.capabilities.add = strings(&["SYS_ADMIN"]);
    let mut started =
        bundle.start("umount /dev/pts && ln -s /etc/passwd /dev/pts/ptmx && echo up; sleep 1000");
    started.wait_for("up\n");
    let exec = ExecSpec { args: strings(&["true"]), ..ExecSpec::default() };
    let error = init::exec(&started.spec, started.running.pidfd.as_fd(), &exec, TERMINAL)
        .expect_err("refused");
    assert_eq!(
        crate::bundle::chain(&error),
        "open a terminal ``: Too many levels of symbolic links (os error 40)"
    );
}
