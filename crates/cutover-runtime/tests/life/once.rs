//! Build steps: one program, no shim.

use std::os::fd::{AsFd, OwnedFd};

use cutover_runtime::cgroup::Cgroup;
use cutover_runtime::container::{ExitStatus, run_once};
use cutover_runtime::init::{Io, StartError};
use cutover_runtime::net::loopback_up;
use cutover_runtime::spec::{Rootfs, Spec};
use cutover_runtime::sys::own_exe::accept_unprotected;

use crate::tests;
use crate::world::{World, random_id};

tests![once: ends, leftovers_are_killed];

fn spec(world: &World, args: &[&str]) -> Spec {
    accept_unprotected();
    let dir = world.dir.path().join(random_id());
    Spec {
        cgroup: random_id(),
        rootfs: Rootfs::Overlay {
            lowers: vec![world.lower()],
            upper: Some(dir.join("upper")),
            work: Some(dir.join("work")),
            read_only: false,
            volatile: true,
        },
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
        env: vec!["PATH=/bin".to_owned()],
        ..Spec::default()
    }
}

fn io() -> (OwnedFd, Io) {
    let (read, stdout) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let stdin = fs_err::File::open("/dev/null").unwrap().into_parts().0.into();
    let stderr = stdout.try_clone().unwrap();
    (read, Io::Streams { stdin, stdout, stderr })
}

fn ends() {
    let Some(world) = World::new() else { return };
    let run = |args: &[&str]| {
        let (_read, io) = io();
        run_once::<StartError>(&spec(&world, args), io, |created| {
            loopback_up(created.netns.as_fd()).unwrap();
            Ok(())
        })
    };
    assert_eq!(run(&["sh", "-c", "exit 6"]).unwrap(), ExitStatus::exited(6));
    assert_eq!(run(&["nosuchprogram"]).unwrap_err().exit_code(), 127);
}

fn leftovers_are_killed() {
    let Some(world) = World::new() else { return };
    let spec = spec(&world, &["sh", "-c", "sleep 1000 & echo made"]);
    let (read, io) = io();
    let exit = run_once::<StartError>(&spec, io, |_| Ok(())).unwrap();
    assert!(exit.success());
    // The end of the pipe: nobody is left to write.
    let text = std::io::read_to_string(std::fs::File::from(read)).unwrap();
    assert_eq!(text, "made\n");
    assert!(!Cgroup::open(&spec.cgroup).unwrap().exists());
}
