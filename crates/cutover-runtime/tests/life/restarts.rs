//! Restart policies and health checks at work.

use std::time::Duration;

use cutover_core::oci::Healthcheck;
use cutover_runtime::container::{HealthStatus, RestartPolicy, Status};
use cutover_runtime::logs::LogOptions;
use cutover_runtime::merge::HealthOptions;

use crate::tests;
use crate::world::{World, await_state, exec, logs};

tests![restarts: on_failure, always_until_stopped, killed_by_hand, healthy_and_unhealthy, slow_probe];

fn on_failure() {
    let Some(world) = World::new() else { return };
    let mut options = world.options("echo run; exit 3");
    options.restart = RestartPolicy::OnFailure(Some(2));
    let container = world.start(options);
    assert_eq!(container.wait().unwrap().code, 3);
    let state = container.state().unwrap();
    assert_eq!((state.status, state.restart_count), (Status::Exited, 2));
    assert_eq!(logs(&container, &LogOptions::default()).len(), 3);
}

fn always_until_stopped() {
    let Some(world) = World::new() else { return };
    let mut options = world.options("exit 0");
    options.restart = RestartPolicy::Always;
    let container = world.start(options);
    await_state(&world, &container, |state| state.restart_count >= 2);
    container.stop(None).unwrap();
    let state = container.state().unwrap();
    assert_eq!((state.status, state.stopped_by_user), (Status::Exited, true));
}

fn killed_by_hand() {
    let Some(world) = World::new() else { return };
    let mut options = world.options("sleep 1000");
    options.restart = RestartPolicy::Always;
    let container = world.start(options);
    container.kill(9).unwrap();
    assert_eq!(container.wait().unwrap().code, 137);
    assert_eq!(container.state().unwrap().restart_count, 0, "docker's rule");
}

fn check(test: &str, retries: u64) -> HealthOptions {
    let nanos = |millis| u64::try_from(Duration::from_millis(millis).as_nanos()).unwrap();
    let check = Healthcheck {
        test: vec!["CMD-SHELL".to_owned(), test.to_owned()],
        interval: nanos(20),
        timeout: nanos(1000),
        retries,
        ..Healthcheck::default()
    };
    HealthOptions { disable: false, check: Some(check) }
}

fn healthy_and_unhealthy() {
    let Some(world) = World::new() else { return };
    let mut options = world.options("sleep 1000");
    options.health = check("echo looking; ls /ok", 2);
    let container = world.start(options);
    let of = |wanted| {
        move |state: &cutover_runtime::container::State| {
            state.health.as_ref().is_some_and(|health| health.status == wanted)
        }
    };
    let state = await_state(&world, &container, of(HealthStatus::Unhealthy));
    let health = state.health.unwrap();
    assert!(health.failing_streak >= 2);
    assert_eq!(health.log[0].exit_code, 1);
    assert!(health.log[0].output.starts_with("looking\n"), "{:?}", health.log[0]);
    assert_eq!(exec(&container, "touch /ok").code(), 0);
    await_state(&world, &container, of(HealthStatus::Healthy));
    container.stop(Some(Duration::ZERO)).unwrap();
}

fn slow_probe() {
    let Some(world) = World::new() else { return };
    let mut options = world.options("sleep 1000");
    options.health = check("sleep 1000", 1);
    if let Some(check) = &mut options.health.check {
        check.timeout = 50_000_000;
    }
    let container = world.start(options);
    let state = await_state(&world, &container, |state| {
        state.health.as_ref().is_some_and(|health| health.status == HealthStatus::Unhealthy)
    });
    let probe = &state.health.unwrap().log[0];
    assert_eq!(probe.exit_code, -1);
    assert!(probe.output.starts_with("health check exceeded its timeout"), "{}", probe.output);
}
