//! What is kept of a container's output.

use cutover_runtime::container::LogConfig;
use cutover_runtime::logs::LogOptions;
use fs_err as fs;

use crate::tests;
use crate::world::{World, await_line, logs};

tests![logs: kept_after_the_end, followed_to_the_end, flood, long_lines];

fn kept_after_the_end() {
    let Some(world) = World::new() else { return };
    let container = world.start(world.options("echo a; echo b >&2; printf c"));
    container.wait().unwrap();
    let mut lines = logs(&container, &LogOptions::default());
    lines.sort();
    assert_eq!(lines, ["stderr: b", "stdout: a", "stdout: c"]);
    container.start().unwrap();
    container.wait().unwrap();
    assert_eq!(logs(&container, &LogOptions::default()).len(), 6, "runs add up");
    assert_eq!(logs(&container, &LogOptions { tail: Some(2), ..LogOptions::default() }).len(), 2);
}

fn followed_to_the_end() {
    let Some(world) = World::new() else { return };
    let mut options = world.options("echo first; read go; seq 1 50000");
    options.stdin = true;
    // so small that following crosses rotations, so large that none is lost unread
    options.log = LogConfig { size: 1 << 20, files: 20 };
    let container = world.start(options);
    await_line(&container, "first");
    let follower = std::thread::spawn({
        let container = container.clone();
        move || logs(&container, &LogOptions { follow: true, ..LogOptions::default() })
    });
    let session = container.attach(true).unwrap();
    crate::world::collect(session, Some(&crate::world::input("go\n")));
    let lines = follower.join().unwrap();
    assert_eq!(lines.len(), 50001);
    assert_eq!(lines[0], "stdout: first");
    assert_eq!(lines[50000], "stdout: 50000");
}

fn flood() {
    let Some(world) = World::new() else { return };
    let mut options = world.options("yes | head -c 2000000");
    options.log = LogConfig { size: 64 << 10, files: 2 };
    let container = world.start(options);
    container.wait().unwrap();
    let dir = world.dir.path().join("containers").join(container.id().as_str()).join("log");
    let sizes: Vec<u64> =
        fs::read_dir(dir).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).collect();
    assert_eq!(sizes.len(), 2);
    // A batch that is larger than the limit is not torn apart.
    assert!(sizes.iter().sum::<u64>() < 4 << 20, "{sizes:?}");
}

fn long_lines() {
    let Some(world) = World::new() else { return };
    let container = world.start(world.options("head -c 40000 /dev/zero; echo"));
    container.wait().unwrap();
    let mut sizes = Vec::new();
    let mut sink = |entry: &cutover_runtime::logs::Entry| {
        sizes.push(entry.text.len());
        Ok(())
    };
    container.logs(&LogOptions::default(), &mut sink).unwrap();
    assert_eq!(sizes, [16384, 16384, 7233], "docker's pieces of 16 KiB");
}
