//! Killed shims, reboots, and what is found afterwards.

use std::path::Path;
use std::process::{Command, ExitCode};

use cutover_runtime::cgroup::Cgroup;
use cutover_runtime::container::{Container, Containers, RestartPolicy, State, Status};
use cutover_runtime::spec::Resources;
use fs_err as fs;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::tests;
use crate::world::{World, await_line, await_state, is_alive};

tests![recovery: shim_killed, dies_with_its_shim, killed_while_starting, removed_at_exit, shim_terminated, waiter_of_a_killed_shim, rebooted, policies, creator_dies];

fn kill_shim(container: &Container, signal: Signal) -> State {
    let state = container.state().unwrap();
    let shim = Pid::from_raw(state.shim_pid.unwrap()).unwrap();
    kill_process(shim, signal).unwrap();
    state
}

fn shim_killed() {
    let Some(world) = World::new() else { return };
    let container = world.start(world.options("sleep 1000 & echo ready; sleep 1000"));
    await_line(&container, "ready");
    let before = kill_shim(&container, Signal::KILL);
    // The kernel needs a moment to close the lock.
    while container.state().unwrap().status.is_live() {
        std::thread::yield_now();
    }
    let state = world.containers.get(container.name()).unwrap().state().unwrap();
    assert_eq!((state.status, state.exit_code()), (Status::Exited, 137));
    assert_eq!(state.error.as_deref(), Some("its shim was killed"));
    assert!(state.interrupted && !state.stopped_by_user);
    assert!(!is_alive(before.pid.unwrap()), "nothing runs unsupervised");
    assert!(!Cgroup::open(container.id().as_str()).unwrap().exists());
    container.start().unwrap();
    assert!(!container.state().unwrap().interrupted);
}

/// Without anybody looking, and whatever user it became.
fn dies_with_its_shim() {
    let Some(world) = World::new() else { return };
    for user in ["", "web"] {
        let mut options = world.options("echo ready; sleep 1000");
        options.user = Some(user.to_owned());
        let container = world.start(options);
        await_line(&container, "ready");
        let pid = Pid::from_raw(container.state().unwrap().pid.unwrap()).unwrap();
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        kill_shim(&container, Signal::KILL);
        let timeout = Timespec { tv_sec: 10, tv_nsec: 0 };
        let ended = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)).unwrap();
        assert_eq!(ended, 1, "user `{user}`: it goes on without its shim");
    }
}

fn killed_while_starting() {
    let Some(world) = World::new() else { return };
    let container = world.create(world.options("echo fine"));
    // All that is left of a first attempt: a control group, and a directory for the socket.
    Cgroup::create(container.id().as_str(), &Resources::default(), None).unwrap();
    fs::create_dir_all(world.dir.path().join("run/containers").join(container.id().as_str()))
        .unwrap();
    container.start().unwrap();
    assert_eq!(container.wait().unwrap().code, 0);
    container.remove(false, false).unwrap();
    assert!(!Cgroup::open(container.id().as_str()).unwrap().exists());
}

fn removed_at_exit() {
    let Some(world) = World::new() else { return };
    let mut options = world.options("sleep 1000");
    options.auto_remove = true;
    let container = world.start(options);
    kill_shim(&container, Signal::KILL);
    while container.state().unwrap().status.is_live() {
        std::thread::yield_now();
    }
    let recovered = world.containers.recover().unwrap();
    assert!(recovered[0].removed && recovered[0].restarted.is_none());
    assert_eq!(world.containers.list().unwrap(), []);
}

/// What a machine does when it goes down.
fn shim_terminated() {
    let Some(world) = World::new() else { return };
    let mut options = world.options("trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done");
    options.restart = RestartPolicy::UnlessStopped;
    let container = world.start(options);
    await_line(&container, "ready");
    kill_shim(&container, Signal::TERM);
    assert_eq!(container.wait().unwrap().code, 3);
    let state = container.state().unwrap();
    assert!(state.interrupted && !state.stopped_by_user, "so its policy brings it back");
    let recovered = world.containers.recover().unwrap();
    assert_eq!(recovered.len(), 1);
    assert!(matches!(recovered[0].restarted, Some(Ok(()))));
    assert_eq!(container.state().unwrap().status, Status::Running);
}

fn waiter_of_a_killed_shim() {
    let Some(world) = World::new() else { return };
    let container = world.start(world.options("sleep 1000"));
    let waiter = std::thread::spawn({
        let container = container.clone();
        move || container.wait().unwrap()
    });
    kill_shim(&container, Signal::KILL);
    assert_eq!(waiter.join().unwrap().code, 137);
}

fn rebooted() {
    let Some(world) = World::new() else { return };
    let container = world.create(world.options("true"));
    let path = world.dir.path().join("containers").join(container.id().as_str()).join("state.json");
    let state = State {
        status: Status::Running,
        pid: Some(1),
        shim_pid: Some(1),
        boot_id: "an-earlier-boot".to_owned(),
        ..State::created()
    };
    fs::write(path, serde_json::to_vec(&state).unwrap()).unwrap();
    let state = container.state().unwrap();
    assert_eq!((state.status, state.exit_code()), (Status::Exited, 137));
    assert_eq!(state.error.as_deref(), Some("the machine was restarted"));
    container.start().unwrap();
    assert_eq!(container.wait().unwrap().code, 0);
}

fn policies() {
    let Some(world) = World::new() else { return };
    let start = |restart| {
        let mut options = world.options("sleep 1000");
        options.restart = restart;
        world.start(options)
    };
    let always = start(RestartPolicy::Always);
    let never = start(RestartPolicy::No);
    let stopped = start(RestartPolicy::UnlessStopped);
    stopped.stop(Some(std::time::Duration::ZERO)).unwrap();
    for container in [&always, &never] {
        kill_shim(container, Signal::KILL);
        while container.state().unwrap().status.is_live() {
            std::thread::yield_now();
        }
    }
    let mut recovered: Vec<(String, bool)> = world
        .containers
        .recover()
        .unwrap()
        .into_iter()
        .map(|one| (one.name, one.restarted.is_some_and(|result| result.is_ok())))
        .collect();
    let mut expected = vec![(always.name().to_owned(), true), (never.name().to_owned(), false)];
    recovered.sort();
    expected.sort();
    assert_eq!(recovered, expected);
    assert_eq!(always.state().unwrap().status, Status::Running);
}

/// Argument that makes this executable a program that starts a container and stays attached.
pub(crate) const CREATOR: &str = "creator";

pub(crate) fn creator(args: Vec<String>) -> ExitCode {
    let root = Path::new(&args[0]);
    let containers = Containers::open(root, &root.join("run")).unwrap();
    let containers = containers.with_shim(&std::env::current_exe().unwrap());
    let session = containers.get(&args[1]).unwrap().start_attached(true, None).unwrap();
    crate::world::collect(session, None);
    ExitCode::SUCCESS
}

/// A shim is in a session of its own, its output goes to nobody's terminal, and neither its creator's
/// death nor a hangup is its own.
fn creator_dies() {
    let Some(world) = World::new() else { return };
    let container = world.create(world.options("echo ready; sleep 1000"));
    let mut creator = Command::new(std::env::current_exe().unwrap())
        .args([CREATOR, world.dir.path().to_str().unwrap(), container.name()])
        .spawn()
        .unwrap();
    await_state(&world, &container, |state| state.status == Status::Running);
    await_line(&container, "ready");
    creator.kill().unwrap();
    creator.wait().unwrap();
    let shim = container.state().unwrap().shim_pid.unwrap();
    let shim_pid = Pid::from_raw(shim).unwrap();
    assert_eq!(rustix::process::getsid(Some(shim_pid)).unwrap(), shim_pid);
    kill_process(shim_pid, Signal::HUP).unwrap();
    kill_process(shim_pid, Signal::INT).unwrap();
    assert_eq!(crate::world::exec(&container, "echo on").stdout, "on\n");
    let open: Vec<String> = fs::read_dir(format!("/proc/{shim}/fd"))
        .unwrap()
        .filter_map(|fd| fs::read_link(fd.unwrap().path()).ok())
        .map(|path| path.to_string_lossy().into_owned())
        .collect();
    assert!(open.len() < 24, "{open:?}");
    assert!(!open.iter().any(|path| path.contains("/dev/pts")), "{open:?}");
}
