//! Attached clients, stdin, terminals and execs.

use std::os::fd::AsFd;
use std::time::Duration;

use cutover_runtime::container::{
    DOCKER_DETACH_KEYS, Ended, Error, ExecOptions, SessionIo, Status,
};
use rustix::process::{Signal, getpid, kill_process};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::tcgetattr;

use crate::tests;
use crate::world::{World, await_line, collect, exec, exited, input};

tests![sessions: stdin, large_output, terminal, execs, exec_failures, forwarded_signals, detach_keys, late_attach, pause, ends_are_told];

fn stdin() {
    let Some(world) = World::new() else { return };
    let mut options = world.options("cat; echo end");
    options.stdin = true;
    let container = world.create(options.clone());
    let session = container.start_attached(true, None).unwrap();
    let output = collect(session, Some(&input("hello\n")));
    assert_eq!((output.exit, output.stdout.as_str()), (exited(0), "hello\nend\n"));

    // Without `-i` there is nothing to read.
    let output = world.run(world.options("cat; echo end"));
    assert_eq!(output.stdout, "end\n");
}

fn large_output() {
    let Some(world) = World::new() else { return };
    let output = world.run(world.options("seq 1 200000"));
    assert_eq!(output.exit, exited(0));
    let expected: usize = (1..=200_000_u32).map(|n| n.to_string().len() + 1).sum();
    assert_eq!(output.stdout.len(), expected, "nothing lost, nothing added");
    assert!(output.stdout.ends_with("199999\n200000\n"));
}

fn terminal() {
    let Some(world) = World::new() else { return };
    let mut options = world.options("tty; stty size; echo $TERM; read line; echo got $line");
    options.terminal = true;
    options.stdin = true;
    let container = world.create(options);
    let session = container.start_attached(true, Some((33, 99))).unwrap();
    let output = collect(session, Some(&input("typed\n")));
    assert_eq!(output.exit, exited(0));
    let text = output.stdout.replace("\r\n", "\n");
    assert!(text.contains("/dev/"), "{text}");
    assert!(text.contains("33 99\nxterm\n"), "{text}");
    assert!(text.ends_with("got typed\n"), "{text}");
}

fn execs() {
    let Some(world) = World::new() else { return };
    let mut options = world.options("echo ready; sleep 1000");
    options.env = vec!["A=1".to_owned(), "B=2".to_owned()];
    options.working_dir = Some("/tmp".to_owned());
    let container = world.start(options);
    await_line(&container, "ready");

    let output = exec(&container, "pwd; echo $A; echo err >&2; exit 3");
    assert_eq!(
        (output.code(), output.stdout.as_str(), output.stderr.as_str()),
        (3, "/tmp\n1\n", "err\n")
    );

    let options = ExecOptions {
        args: ["sh", "-c", "id -un; id -G; echo $A$B; pwd; cat"].map(str::to_owned).to_vec(),
        env: vec!["B=3".to_owned()],
        working_dir: Some("/etc".to_owned()),
        user: Some("web".to_owned()),
        stdin: true,
        ..ExecOptions::default()
    };
    let output = collect(container.exec(&options).unwrap(), Some(&input("in\n")));
    assert_eq!(output.stdout, "web\n1000 2000\n13\n/etc\nin\n");

    let options = ExecOptions {
        args: ["stty", "size"].map(str::to_owned).to_vec(),
        terminal: true,
        size: Some((20, 70)),
        ..ExecOptions::default()
    };
    let output = collect(container.exec(&options).unwrap(), None);
    assert_eq!((output.code(), output.stdout.trim()), (0, "20 70"));

    // A signal's end, and an orphan that keeps the streams open, do not hold it up.
    assert_eq!(exec(&container, "kill -9 $$").code(), 137);
    assert_eq!(exec(&container, "sleep 1000 & echo $?").stdout, "0\n");
    // One exec does not wait for another one.
    let slow = container.exec(&ExecOptions {
        args: ["sleep", "1000"].map(str::to_owned).to_vec(),
        ..ExecOptions::default()
    });
    assert_eq!(exec(&container, "echo quick").stdout, "quick\n");
    slow.unwrap().detach();

    // An exec ends with its container.
    let session = container.exec(&ExecOptions {
        args: ["sleep", "1000"].map(str::to_owned).to_vec(),
        ..ExecOptions::default()
    });
    container.kill(9).unwrap();
    assert_eq!(collect(session.unwrap(), None).code(), 137);
}

fn exec_failures() {
    let Some(world) = World::new() else { return };
    let container = world.create(world.options("echo ready; sleep 1000"));
    let run = |args: &[&str]| {
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        container.exec(&ExecOptions { args, ..ExecOptions::default() }).map(drop).unwrap_err()
    };
    let stopped = run(&["true"]);
    assert!(matches!(stopped, Error::Status { status: Status::Created, .. }), "{stopped}");
    container.start().unwrap();
    assert_eq!(run(&["nosuchprogram"]).exit_code(), 127);
    assert_eq!(run(&["/etc/passwd"]).exit_code(), 126);
}

fn late_attach() {
    let Some(world) = World::new() else { return };
    let mut options = world.options("read line; echo got $line; exit 4");
    options.stdin = true;
    let container = world.start(options);
    let session = container.attach(true).unwrap();
    let output = collect(session, Some(&input("late\n")));
    assert_eq!((output.exit, output.stdout.as_str()), (exited(4), "got late\n"));
    assert!(matches!(container.attach(false), Err(Error::Status { .. })));
}

/// What the caller gets, the container gets.
fn forwarded_signals() {
    let Some(world) = World::new() else { return };
    let script = "trap 'exit 12' USR1; echo ready; while :; do sleep 0.05; done";
    let container = world.create(world.options(script));
    let session = container.start_attached(false, None).unwrap();
    // The first output is carried when the handlers are in place: before, it would be our own end.
    let (told, tell) = rustix::pipe::pipe().unwrap();
    let sender = std::thread::spawn(move || {
        let mut byte = [0];
        rustix::io::read(told, &mut byte).unwrap();
        kill_process(getpid(), Signal::USR1).unwrap();
    });
    let ended = session
        .run(SessionIo {
            stdin: None,
            stdout: &mut std::fs::File::from(tell),
            stderr: &mut std::io::sink(),
            forward_signals: true,
            detach_keys: Vec::new(),
        })
        .unwrap();
    sender.join().unwrap();
    assert_eq!(ended, exited(12));
}

fn detach_keys() {
    let Some(world) = World::new() else { return };
    let mut options = world.options("echo ready; cat");
    options.terminal = true;
    options.stdin = true;
    let container = world.create(options);
    let typist = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    unlockpt(&typist).unwrap();
    let terminal = ioctl_tiocgptpeer(&typist, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    let before = tcgetattr(&terminal).unwrap();
    let session = container.start_attached(true, None).unwrap();
    let typed = std::thread::spawn(move || {
        // The echo of a raw terminal is the container's: when it comes, the mode has changed.
        let mut seen = Vec::new();
        let mut byte = [0];
        while !seen.ends_with(b"ready") {
            rustix::io::read(&typist, &mut byte).unwrap();
            seen.extend(byte);
        }
        // Ctrl-p alone is not yet a wish to leave.
        rustix::io::write(&typist, b"ab\x10c\n\x10\x11").unwrap();
        typist
    });
    let ended = session
        .run(SessionIo {
            stdin: Some(terminal.as_fd()),
            stdout: &mut std::fs::File::from(terminal.try_clone().unwrap()),
            stderr: &mut std::io::sink(),
            forward_signals: true,
            detach_keys: DOCKER_DETACH_KEYS.to_vec(),
        })
        .unwrap();
    assert_eq!(ended, Ended::Detached);
    drop(typed.join().unwrap());
    let after = tcgetattr(&terminal);
    // Its other end is closed by now, and it was put back before.
    assert!(after.is_err() || after.unwrap().local_modes == before.local_modes);
    assert_eq!(container.state().unwrap().status, Status::Running);
    await_line(&container, "ab\u{10}c");
}

fn pause() {
    let Some(world) = World::new() else { return };
    let container = world.start(world.options("while :; do echo tick; sleep 0.01; done"));
    await_line(&container, "tick");
    container.pause().unwrap();
    assert_eq!(container.state().unwrap().status, Status::Paused);
    assert!(container.pause().is_err(), "twice");
    assert!(container.exec(&ExecOptions::default()).is_err(), "nothing runs in it");
    container.unpause().unwrap();
    assert_eq!(container.state().unwrap().status, Status::Running);
    container.pause().unwrap();
    // A paused container can be stopped.
    container.stop(Some(Duration::from_millis(10))).unwrap();
    assert_eq!(container.state().unwrap().status, Status::Exited);
}

/// Everyone who waits in whatever way hears of the end, with the signal.
fn ends_are_told() {
    let Some(world) = World::new() else { return };
    let container = world.start(world.options("echo ready; sleep 1000"));
    await_line(&container, "ready");
    let mut sink = std::io::sink();
    let mut other = std::io::sink();
    let session = container.attach(false).unwrap();
    let waiter = std::thread::spawn({
        let container = container.clone();
        move || container.wait().unwrap()
    });
    container.kill(9).unwrap();
    let ended = session
        .run(SessionIo {
            stdin: None,
            stdout: &mut sink,
            stderr: &mut other,
            forward_signals: false,
            detach_keys: Vec::new(),
        })
        .unwrap();
    assert!(matches!(ended, Ended::Exited(exit) if exit.code == 137 && exit.signal == Some(9)));
    assert_eq!(waiter.join().unwrap().code, 137);
}
