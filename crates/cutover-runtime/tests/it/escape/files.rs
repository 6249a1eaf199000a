//! Descriptors and files of the host: leaked, followed, or read for the container (CVE-2024-21626, CVE-2024-9676).

use fs_err::File;
use std::os::unix::fs::symlink;

use cutover_runtime::spec::ExecSpec;

use super::Canary;
use crate::bundle::{Bundle, strings};

#[test]
fn working_directories_of_the_host() {
    let canary = Canary::new();
    let _open = File::open(canary.path()).expect("a directory of the host, open");
    let mut bundle = Bundle::new();
    symlink("/proc/self/fd", bundle.image("fds")).expect("symlink");
    let script = "while [ $(pwd) != / ]; do cd ..; done; pwd; ls /; cat /proc/self/cwd/null";
    for number in 0..32 {
        for cwd in [
            format!("/proc/self/fd/{number}"),
            format!("/proc/self/fd/{number}/../../.."),
            format!("/fds/{number}"),
            format!("/proc/1/fd/{number}"),
            format!("/proc/thread-self/fd/{number}"),
        ] {
            bundle.spec.cwd = cwd.clone();
            let output = bundle.sh(script);
            assert!(!output.stdout.contains("canary"), "{cwd}");
            let inside = output.stdout.starts_with("/\nbin\n") || output.code == 125;
            assert!(inside, "{cwd}: {} {}", output.stdout, output.stderr);
        }
    }
}

#[test]
fn working_directories_of_the_host_in_exec() {
    let canary = Canary::new();
    let _open = File::open(canary.path()).expect("a directory of the host, open");
    let mut started = Bundle::new().start("echo up; sleep 1000");
    started.wait_for("up\n");
    for number in 0..32 {
        let exec = ExecSpec {
            args: strings(&["sh", "-c", "pwd; cat null"]),
            cwd: format!("/proc/self/fd/{number}"),
            ..ExecSpec::default()
        };
        let output = started.exec_as(exec);
        assert_eq!((output.code, output.stdout.as_str()), (125, ""), "{number}");
    }
}

/// Only the three streams are open, whatever the caller left open without close-on-exec.
#[test]
fn open_descriptors() {
    let file = File::open("/etc/passwd").expect("a file of the host");
    let leaky: Vec<_> = (0..20).map(|_| rustix::io::dup(&file).expect("duplicate")).collect();
    let script = "ls /proc/self/fd | tr '\\n' ' '";
    for init in [false, true] {
        let mut bundle = Bundle::new();
        bundle.spec.init = init;
        // 3 is the directory that `ls` reads.
        assert_eq!(bundle.sh(script).stdout, "0 1 2 3 ");
        let mut started = bundle.start("echo up; sleep 1000");
        started.wait_for("up\n");
        assert_eq!(started.exec(&["sh", "-c", script]).stdout, "0 1 2 3 ");
        assert_eq!(started.exec(&["ls", "/proc/1/fd"]).stdout, "0\n1\n2\n");
    }
    drop(leaky);
}

#[test]
fn user_files_that_are_traps() {
    let mode = rustix::fs::Mode::from_raw_mode(0o666);
    let at = rustix::fs::CWD;
    for trap in ["fifo", "zero", "host", "loop", "proc"] {
        let bundle = Bundle::new();
        let passwd = bundle.image("etc/passwd");
        fs_err::remove_file(&passwd).expect("file");
        match trap {
            "fifo" => {
                rustix::fs::mknodat(at, &passwd, rustix::fs::FileType::Fifo, mode, 0)
                    .expect("fifo");
            }
            "zero" => rustix::fs::mknodat(
                at,
                &passwd,
                rustix::fs::FileType::CharacterDevice,
                mode,
                rustix::fs::makedev(1, 5),
            )
            .expect("device"),
            "host" => symlink("../../../../../../etc/shadow", &passwd).expect("symlink"),
            "loop" => symlink("passwd", &passwd).expect("symlink"),
            _ => symlink("/proc/self/environ", &passwd).expect("symlink"),
        }
        let mut bundle = bundle;
        bundle.spec.user = "web".to_owned();
        let output = bundle.sh("echo ran");
        assert_eq!((output.code, output.stdout.as_str()), (125, ""), "{trap}");
        let mut started = Bundle::new().start("echo up; sleep 1000");
        started.wait_for("up\n");
    }
}

/// The same files swapped while the container runs, for `exec`.
#[test]
fn user_files_that_become_traps() {
    let mut started =
        Bundle::new().start("rm /etc/passwd; mknod /etc/passwd p; echo up; sleep 1000");
    started.wait_for("up\n");
    let exec = ExecSpec { args: strings(&["true"]), user: "web".to_owned(), ..ExecSpec::default() };
    assert_eq!(
        started.exec_as(exec).stderr,
        "read the users of `container`: `/etc/passwd` is not a regular file"
    );
}
