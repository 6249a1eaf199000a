//! How runs end: codes, signals, failures to start.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use cutover_runtime::container::{Containers, Ended, Error, ExitStatus, Id, Status};
use fs_err as fs;

use crate::tests;
use crate::world::{World, await_line, exec, exited};

tests![exits: codes_and_streams, signals_and_memory, failures_to_start, auto_remove, names, deep_root, watched];

fn codes_and_streams() {
    let Some(world) = World::new() else { return };
    let output = world.run(world.options("echo out; echo err >&2; exit 7"));
    assert_eq!(output.exit, exited(7));
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
    assert_eq!(world.run(world.options("true")).exit, exited(0));
}

fn signals_and_memory() {
    let Some(world) = World::new() else { return };
    // Not process 1, which is immune to its own signals.
    let container = world.create(world.options("sh -c 'kill -9 $$'; exit $?"));
    container.start().unwrap();
    assert_eq!(container.wait().unwrap(), ExitStatus::exited(137));

    let mut options = world.options("dd if=/dev/zero of=/dev/null bs=64M count=1");
    options.resources.memory = Some(8 << 20);
    options.resources.memory_swap = Some(8 << 20);
    options.cmd = ["dd", "if=/dev/zero", "of=/dev/null", "bs=64M"].map(str::to_owned).to_vec();
    let container = match world.create(options) {
        container if container.start().is_ok() => container,
        // A machine without the memory controller says so.
        _ => return eprintln!("SKIPPED: no memory controller"),
    };
    let exit = container.wait().unwrap();
    assert_eq!((exit.code, exit.oom_killed), (137, true));
    assert!(container.state().unwrap().oom_killed());
}

fn failures_to_start() {
    let Some(world) = World::new() else { return };
    let check = |args: &[&str], code: i32| {
        let mut options = world.options("");
        options.cmd = args.iter().map(|&arg| arg.to_owned()).collect();
        let container = world.create(options);
        let error = container.start().unwrap_err();
        assert_eq!(error.exit_code(), code, "{args:?}: {error}");
        let state = container.state().unwrap();
        assert_eq!((state.status, state.exit_code()), (Status::Exited, code));
        assert!(state.error.is_some_and(|error| error.contains(args[0])), "names the program");
        container.remove(false, false).unwrap();
    };
    check(&["nosuchprogram"], 127);
    check(&["/etc/passwd"], 126);
    check(&["/bin"], 126);
}

fn auto_remove() {
    let Some(world) = World::new() else { return };
    let mut options = world.options("echo x");
    options.auto_remove = true;
    options.name = Some("once".to_owned());
    // The name is free as soon as the exit is known, though the rest is removed a little later.
    for _ in 0..3 {
        let mut again = options.clone();
        again.id = crate::world::random_id().parse().unwrap();
        assert_eq!(world.run(again).exit, Ended::Exited(ExitStatus::exited(0)));
    }
    let end = std::time::Instant::now() + Duration::from_secs(10);
    let count = || fs::read_dir(world.dir.path().join("containers")).unwrap().count();
    while count() > 1 && std::time::Instant::now() < end {
        std::thread::yield_now();
    }
    assert_eq!(count(), 1, "only `names` is left");
}

/// A socket's address holds 108 bytes; a root may be deeper than that.
fn deep_root() {
    let Some(mut world) = World::new() else { return };
    let root = world.dir.path().join("deep".repeat(30));
    let containers = Containers::open(&root, &root.join("run")).unwrap();
    world.containers = containers.with_shim(&std::env::current_exe().unwrap());
    let container = world.start(world.options("echo ready; sleep 1000"));
    await_line(&container, "ready");
    assert_eq!(exec(&container, "echo in").stdout, "in\n");
    let mode = fs::metadata(root.join("containers")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "what is in an environment is nobody else's");
    container.stop(Some(Duration::ZERO)).unwrap();
}

/// Every change of state wakes, also of containers that did not exist when the watch began.
fn watched() {
    let Some(world) = World::new() else { return };
    let mut watch = world.containers.watch().unwrap();
    let mut changed = |what: &str, id: &Id| {
        let changed = watch.next(Some(Duration::from_secs(20))).unwrap();
        assert!(changed.contains(id), "{what}: {changed:?}");
    };
    let mut options = world.options("read go");
    options.stdin = true;
    let container = world.create(options);
    changed("created", container.id());
    container.start().unwrap();
    changed("started", container.id());
    container.kill(9).unwrap();
    container.wait().unwrap();
    changed("exited", container.id());
    container.remove(false, false).unwrap();
    changed("removed", container.id());
    assert_eq!(watch.next(Some(Duration::ZERO)).unwrap().len(), 0);
}

fn names() {
    let Some(world) = World::new() else { return };
    let named = |name: &str| {
        let mut options = world.options("true");
        options.name = Some(name.to_owned());
        world.try_create(options)
    };
    let first = named("web").unwrap();
    let short = first.id().short().to_owned();
    let taken = named("web").unwrap_err();
    assert!(matches!(&taken, Error::NameTaken { holder, .. } if *holder == short), "{taken}");
    assert_eq!(world.containers.list().unwrap().len(), 1, "nothing of the second is left");
    for text in ["web", first.id().as_str(), &short, &first.id().as_str()[..20]] {
        assert_eq!(world.containers.get(text).unwrap().id(), first.id());
    }
    assert!(matches!(world.containers.get("wex"), Err(Error::NotFound(_))));
    assert!(matches!(world.containers.get("../x"), Err(Error::NotFound(_))));
    let told = |text| world.containers.get(text).unwrap_err().to_string();
    assert_eq!(told("webb"), "no container is named `webb`: did you mean `web`?");
    assert_eq!(told("zzz"), "no container is named `zzz`: see `cutover ps -a`");
    let second = named("shop-web-1-1").unwrap();
    assert_eq!(told("web-1-1"), "no container is named `web-1-1`: did you mean `shop-web-1-1`?");
    second.remove(false, false).unwrap();
    first.remove(false, false).unwrap();
    assert!(matches!(first.remove(false, false), Err(Error::NotFound(_))));
    named("web").unwrap();
}
