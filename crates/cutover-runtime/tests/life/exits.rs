//! How runs end: codes, signals, failures to start.

use cutover_runtime::container::{Ended, Error, ExitStatus, Status};
use fs_err as fs;

use crate::tests;
use crate::world::{World, exited};

tests![exits: codes_and_streams, signals_and_memory, failures_to_start, auto_remove, names];

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
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let count = || fs::read_dir(world.dir.path().join("containers")).unwrap().count();
    while count() > 1 && std::time::Instant::now() < end {
        std::thread::yield_now();
    }
    assert_eq!(count(), 1, "only `names` is left");
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
    first.remove(false, false).unwrap();
    assert!(matches!(first.remove(false, false), Err(Error::NotFound(_))));
    named("web").unwrap();
}
