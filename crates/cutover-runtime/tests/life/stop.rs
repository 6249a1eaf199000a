//! Stopping, killing and removing.

use std::time::Duration;

use cutover_runtime::container::{Error, Status};

use crate::tests;
use crate::world::{World, await_line, is_alive};

tests![stop: gentle, forced, signals_pass, removal, stop_when_stopped];

fn gentle() {
    let Some(world) = World::new() else { return };
    let mut options =
        world.options("trap 'echo bye; exit 5' QUIT; echo ready; while :; do sleep 0.05; done");
    options.stop_signal = Some("SIGQUIT".to_owned());
    let container = world.start(options);
    await_line(&container, "ready");
    container.stop(None).unwrap();
    let state = container.state().unwrap();
    assert_eq!((state.status, state.exit_code()), (Status::Exited, 5));
    assert!(state.stopped_by_user && !state.interrupted);
    await_line(&container, "bye");
}

fn forced() {
    let Some(world) = World::new() else { return };
    // Process 1 without a handler is immune to SIGTERM.
    let container = world.start(world.options("echo ready; sleep 1000 & sleep 1000"));
    await_line(&container, "ready");
    let pid = container.state().unwrap().pid.unwrap();
    container.stop(Some(Duration::from_millis(50))).unwrap();
    let exit = container.state().unwrap().exit.unwrap();
    assert_eq!((exit.code, exit.signal), (137, Some(9)));
    assert!(!is_alive(pid));
}

fn signals_pass() {
    let Some(world) = World::new() else { return };
    let script =
        "trap 'echo usr1' USR1; trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let container = world.start(world.options(script));
    await_line(&container, "ready");
    container.kill(10).unwrap();
    await_line(&container, "usr1");
    container.kill(15).unwrap();
    assert_eq!(container.wait().unwrap().code, 9);
    let error = container.kill(15).unwrap_err();
    let text = format!(
        "container `{}` is exited, so it cannot be killed: start it first",
        container.name()
    );
    assert_eq!(error.to_string(), text);
}

fn removal() {
    let Some(world) = World::new() else { return };
    let container = world.start(world.options("sleep 1000"));
    let refused = container.remove(false, false).unwrap_err();
    assert!(matches!(refused, Error::Status { status: Status::Running, .. }), "{refused}");
    let pid = container.state().unwrap().pid.unwrap();
    container.remove(true, false).unwrap();
    assert!(!is_alive(pid));
    assert!(matches!(world.containers.get(container.name()), Err(Error::NotFound(_))));
    // Again and again: start, stop, start, without waiting for what a shim does after it reported.
    let container = world.create(world.options("true"));
    for _ in 0..5 {
        container.start().unwrap();
        container.wait().unwrap();
    }
    container.remove(false, false).unwrap();
}

fn stop_when_stopped() {
    let Some(world) = World::new() else { return };
    let container = world.create(world.options("true"));
    container.stop(None).unwrap();
    assert_eq!(container.wait().unwrap().code, 0);
    container.start().unwrap();
    container.wait().unwrap();
    container.stop(None).unwrap();
    container.remove(true, true).unwrap();
}
