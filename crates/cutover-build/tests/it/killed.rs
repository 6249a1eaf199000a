//! A build that is killed: its processes die with it, and what it left is collected.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::Lab;

/// Run by the test below, in a process of its own.
#[test]
#[ignore = "the victim of `a_killed_build_leaves_nothing`"]
fn victim() {
    let lab = Lab::new();
    println!("root {}", lab.root.display());
    let text = "FROM base\nRUN touch /half && exec sleep 1000";
    lab.build(text).unwrap();
}

#[test]
fn a_killed_build_leaves_nothing() {
    let mut victim = Command::new(std::env::current_exe().unwrap());
    victim.args(["--exact", "killed::victim", "--ignored", "--nocapture"]).stdout(Stdio::piped());
    let mut victim = victim.spawn().unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let root = lines.find_map(|line| Some(line.unwrap().split_once("root ")?.1.to_owned()));
    let root = PathBuf::from(root.unwrap());
    // Its program has written into the layer: it runs.
    wait(|| drafts(&root).any(|draft| draft.join("fs/half").exists()));
    let marks = root.join("run/builds");
    let mark = fs_err::read_dir(&marks).unwrap().next().unwrap().unwrap();
    let name = mark.file_name().into_string().unwrap();
    assert!(!pids(&name).is_empty());
    victim.kill().unwrap();
    victim.wait().unwrap();
    wait(|| pids(&name).is_empty());
    assert!(!cutover_build::is_running_build(&name));
    // The next runner removes the mark and the control group, the collector the rest.
    let networks = cutover_runtime::net::Networks::open(&root, &root.join("run")).unwrap();
    drop(cutover_build::RuntimeRunner::new(&root, &root.join("run"), networks));
    assert_eq!(fs_err::read_dir(&marks).unwrap().count(), 0);
    assert!(!cutover_runtime::cgroup::Cgroup::open(&name).unwrap().exists());
    let store = cutover_store::Store::open(&root).unwrap();
    // The next build removes the draft and nothing of what lives.
    let own = store.snapshots().draft(&[]).unwrap();
    assert_eq!(store.sweep().unwrap(), 1);
    assert!(own.upper.exists() && !drafts(&root).any(|draft| draft.join("fs/half").exists()));
    drop(own);
    store.gc(&|| Ok(cutover_store::Keep::default())).unwrap();
    assert_eq!(fs_err::read_dir(root.join("tmp")).unwrap().count(), 0);
    fs_err::remove_dir_all(root.parent().unwrap()).unwrap();
}

/// Until `done`; a minute means that it will never be.
#[track_caller]
fn wait(done: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !done() {
        assert!(start.elapsed().as_secs() < 60, "waited in vain");
        std::thread::yield_now();
    }
}

fn drafts(root: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs_err::read_dir(root.join("tmp")).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path()))
}

/// Processes in the control group of a step.
fn pids(name: &str) -> Vec<i32> {
    let group = cutover_runtime::cgroup::Cgroup::open(name).unwrap();
    group.pids().unwrap_or_default()
}
