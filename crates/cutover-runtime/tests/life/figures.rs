//! What a shim costs.

use fs_err as fs;

use crate::tests;
use crate::world::{World, await_line, exec};

tests![figures: shim_is_small, huge_pages_are_the_containers, shims_have_a_group];

/// The figure to reach is 4 MiB for the release binary; this executable is larger than that one's share.
fn shim_is_small() {
    let Some(world) = World::new() else { return };
    let container = world.start(world.options("seq 1 20000; echo ready; sleep 1000"));
    await_line(&container, "ready");
    let shim = container.state().unwrap().shim_pid.unwrap();
    let rollup = fs::read_to_string(format!("/proc/{shim}/smaps_rollup")).unwrap();
    let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
    let kib: u32 = pss.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 4 << 10, "{rollup}");
}

/// The shim does without, which its container must not inherit.
fn huge_pages_are_the_containers() {
    let Some(world) = World::new() else { return };
    let container = world.start(world.options("grep THP_enabled /proc/self/status; sleep 1000"));
    await_line(&container, "THP_enabled:\t1");
    assert_eq!(exec(&container, "grep THP_enabled /proc/self/status").stdout, "THP_enabled:\t1\n");
    let shim = container.state().unwrap().shim_pid.unwrap();
    let status = fs::read_to_string(format!("/proc/{shim}/status")).unwrap();
    assert!(status.contains("THP_enabled:\t0\n"), "{status}");
}

/// Not the one of the session or service that started it, which systemd would end it with.
fn shims_have_a_group() {
    let Some(world) = World::new() else { return };
    let container = world.start(world.options("sleep 1000"));
    let shim = container.state().unwrap().shim_pid.unwrap();
    let groups = fs::read_to_string(format!("/proc/{shim}/cgroup")).unwrap();
    let v2 = groups.lines().find(|line| line.starts_with("0::"));
    assert!(v2.is_none_or(|line| line.ends_with("/cutover/host")), "{groups}");
}
