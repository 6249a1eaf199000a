use super::*;
use crate::spec::MountKind;

fn check(change: impl FnOnce(&mut Spec), expected: &str) {
    let mut spec = Spec::default();
    change(&mut spec);
    let got = match plan(&spec, CapSet::ALL) {
        Ok(plan) => {
            let targets: Vec<_> = plan.mounts.iter().map(|(target, _)| target.display()).collect();
            targets.join(" ")
        }
        Err(error) => error.to_string(),
    };
    assert_eq!(got, expected);
}

fn tmpfs(target: &str) -> Mount {
    let kind =
        MountKind::Tmpfs { size: None, mode: 0o755, uid: 0, gid: 0, exec: false, read_only: false };
    Mount { target: target.to_owned(), kind }
}

#[test]
fn parents_come_first() {
    check(
        |spec| spec.mounts = vec![tmpfs("/a/b/c"), tmpfs("/b"), tmpfs("//a/./b"), tmpfs("/a")],
        "/b /a /a/b /a/b/c",
    );
}

#[test]
fn refused_targets() {
    let mount = |target: &'static str| move |spec: &mut Spec| spec.mounts = vec![tmpfs(target)];
    check(mount("/"), "invalid `mounts`: `/`: nothing can be mounted over the root");
    check(mount("/x/.."), "invalid `mounts`: `/x/..`: nothing can be mounted over the root");
    check(mount("/proc"), "invalid `mounts`: `/proc`: `/proc` is the runtime's own");
    check(
        mount("/a/../proc/self/attr"),
        "invalid `mounts`: `/a/../proc/self/attr`: `/proc` is the runtime's own",
    );
    check(mount("/dev"), "invalid `mounts`: `/dev`: `/dev` is the runtime's own");
    check(mount("/dev/pts/0"), "invalid `mounts`: `/dev/pts/0`: it is the runtime's own");
    check(mount("relative"), "invalid `mounts`: `relative` is not an absolute path");
    check(mount("/dev/shm"), "/dev/shm");
    check(
        |spec| spec.mounts = vec![tmpfs("/a"), tmpfs("/a/")],
        "invalid `mounts`: two mounts have the target `/a`",
    );
}

#[test]
fn sysctls_of_the_container_only() {
    let set = |key: &'static str| {
        move |spec: &mut Spec| spec.sysctls = vec![(key.to_owned(), "1".to_owned())]
    };
    check(set("net.core.somaxconn"), "");
    check(set("net.ipv4.conf.eth0/1.forwarding"), "");
    check(set("fs.mqueue.msg_max"), "");
    check(
        set("kernel.core_pattern"),
        "invalid `sysctls`: `kernel.core_pattern` is not separate for each container",
    );
    check(
        set("net/../kernel/core_pattern"),
        "invalid `sysctls`: `net/../kernel/core_pattern` is not a sysctl",
    );
    check(set("net.//.kernel"), "invalid `sysctls`: `net.//.kernel` is not a sysctl");
    check(
        |spec| {
            spec.network = Network::Host;
            spec.sysctls = vec![("net.core.somaxconn".to_owned(), "1".to_owned())];
        },
        "invalid `sysctls`: `net.core.somaxconn` belongs to the host's network",
    );
}

#[test]
fn limits() {
    let limit = |name: &'static str, soft| {
        move |spec: &mut Spec| {
            spec.ulimits = vec![Ulimit { name: name.to_owned(), soft, hard: 10 }];
        }
    };
    check(limit("nofile", 10), "");
    check(limit("nofiles", 10), "invalid `ulimits`: unknown ulimit `nofiles`");
    check(limit("core", 11), "invalid `ulimits`: `core`: the soft limit is above the hard limit");
}

#[test]
fn capabilities_that_we_lack_are_not_given() {
    let walls = walls(&Capabilities::default(), &Seccomp::Default, true, CapSet(0b11));
    assert_eq!(walls.expect("valid").caps, CapSet(0b11));
}
