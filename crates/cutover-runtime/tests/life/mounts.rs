//! Files that are mounted into containers.

use std::net::IpAddr;
use std::path::Path;

use cutover_runtime::container::{Error, Mount, MountKind};
use fs_err as fs;

use crate::tests;
use crate::world::{World, exited};

tests![mounts: etc, volumes, binds, tmpfs_and_read_only];

fn mount(kind: MountKind, target: &str) -> Mount {
    Mount { kind, target: target.to_owned(), read_only: false }
}

fn etc() {
    let Some(world) = World::new() else { return };
    let mut options = world
        .options("hostname; cat /etc/hostname; grep -v '^[f:]' /etc/hosts; cat /etc/resolv.conf");
    options.hostname = Some("box".to_owned());
    let address: IpAddr = "10.1.2.3".parse().unwrap();
    options.extra_hosts = vec![("db".to_owned(), Some(address))];
    options.dns.servers = vec!["10.9.9.9".parse().unwrap()];
    options.dns.search = vec!["example.org".to_owned()];
    let output = world.run(options);
    let expected =
        "box\nbox\n127.0.0.1\tlocalhost\n10.1.2.3\tdb\nnameserver 10.9.9.9\nsearch example.org\n";
    assert_eq!(output.stdout, expected, "{}", output.stderr);
}

fn volumes() {
    let Some(world) = World::new() else { return };
    fs::create_dir_all(world.lower().join("data")).unwrap();
    fs::write(world.lower().join("data/from-image"), "image\n").unwrap();
    let mut world = world;
    world.image.volumes = [("/anonymous".to_owned(), true.into())].into();
    let named =
        MountKind::Volume { name: Some("keep".to_owned()), anonymous: false, no_copy: false };
    let options = |script: &str| {
        let mut options = world.options(script);
        options.mounts = vec![mount(named.clone(), "/data")];
        options
    };
    let output =
        world.run(options("cat /data/from-image; echo kept > /data/own; touch /anonymous/x"));
    assert_eq!((output.exit, output.stdout.as_str()), (exited(0), "image\n"));
    let output = world.run(options("cat /data/own; ls /anonymous"));
    assert_eq!(output.stdout, "kept\n", "named ones are shared, anonymous ones are not");

    let volumes = world.containers.volumes();
    assert_eq!(volumes.list().unwrap().len(), 3);
    let in_use = volumes.remove("keep").unwrap_err();
    assert!(matches!(in_use, Error::VolumeInUse { .. }), "{in_use}");
    for summary in world.containers.list().unwrap() {
        world.containers.get(&summary.config.name).unwrap().remove(false, true).unwrap();
    }
    let left: Vec<String> = volumes.list().unwrap().into_iter().map(|volume| volume.name).collect();
    assert_eq!(left, ["keep"], "anonymous ones went with their containers");
    volumes.remove("keep").unwrap();
}

fn binds() {
    let Some(world) = World::new() else { return };
    let source = world.dir.path().join("host");
    fs::create_dir(&source).unwrap();
    let bind = |source: &Path, create| MountKind::Bind { source: source.to_owned(), create };
    let mut options = world.options("echo in > /mnt/file; echo no > /ro/file");
    options.mounts = vec![
        mount(bind(&source, false), "/mnt"),
        Mount { read_only: true, ..mount(bind(&source, false), "/ro") },
        mount(bind(&world.dir.path().join("made"), true), "/made"),
    ];
    let output = world.run(options);
    assert_eq!(output.code(), 1, "{}", output.stderr);
    assert_eq!(fs::read_to_string(source.join("file")).unwrap(), "in\n");
    assert!(world.dir.path().join("made").is_dir());

    let mut options = world.options("true");
    options.mounts = vec![mount(bind(Path::new("/nosuchdir"), false), "/mnt")];
    let missing = world.try_create(options).unwrap_err();
    assert_eq!(missing.to_string(), "bind mount source `/nosuchdir` does not exist");
}

fn tmpfs_and_read_only() {
    let Some(world) = World::new() else { return };
    let mut options = world
        .options("touch /scratch/x && ! touch /x 2>/dev/null && grep ' /scratch ' /proc/mounts");
    options.read_only = true;
    let kind = MountKind::Tmpfs { size: Some(1 << 20), mode: None };
    options.mounts = vec![mount(kind, "/scratch")];
    let output = world.run(options);
    assert_eq!(output.exit, exited(0), "{output:?}");
    assert!(output.stdout.contains("size=1024k"), "{}", output.stdout);
}
