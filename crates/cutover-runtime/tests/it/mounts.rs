//! What is attached inside, and how.

use cutover_runtime::spec::{Mount, MountKind, Propagation, Rootfs, Spec};

use crate::bundle::{Bundle, strings};

pub(crate) fn bind(source: impl Into<std::path::PathBuf>, target: &str) -> Mount {
    let kind = MountKind::Bind {
        source: source.into(),
        subpath: None,
        read_only: false,
        recursive: true,
        create_source: false,
        propagation: Propagation::Private,
    };
    Mount { target: target.to_owned(), kind }
}

/// The host's libraries and programs, read-only, for programs that are not static.
pub(crate) fn host_libraries() -> Vec<Mount> {
    let read_only = |path: &&str| {
        let mut mount = bind(path, path);
        let MountKind::Bind { read_only, .. } = &mut mount.kind else { unreachable!() };
        *read_only = true;
        mount
    };
    let exists = |path: &&&str| std::path::Path::new(path).exists();
    ["/usr", "/lib", "/lib64"].iter().filter(exists).map(read_only).collect()
}

fn file(content: &str, target: &str) -> Mount {
    let kind =
        MountKind::File { content: content.into(), mode: 0o440, uid: 1, gid: 2, read_only: true };
    Mount { target: target.to_owned(), kind }
}

fn tmpfs(target: &str) -> Mount {
    let kind = MountKind::Tmpfs {
        size: Some(1 << 20),
        mode: 0o750,
        uid: 33,
        gid: 34,
        exec: false,
        read_only: false,
    };
    Mount { target: target.to_owned(), kind }
}

#[track_caller]
fn check(bundle: &Bundle, script: &str, expected: &str) {
    let output = bundle.sh(script);
    assert_eq!((output.stdout.trim_end(), output.stderr.as_str()), (expected, ""));
}

#[test]
fn volumes() {
    let mut bundle = Bundle::new();
    let data = bundle.path("data");
    fs_err::create_dir_all(data.join("sub")).expect("directory");
    fs_err::write(data.join("file"), "content").expect("file");
    let mut read_only = bind(&data, "/ro");
    let MountKind::Bind { read_only: flag, .. } = &mut read_only.kind else { unreachable!() };
    *flag = true;
    let mut part = bind(&data, "/part");
    let MountKind::Bind { subpath, .. } = &mut part.kind else { unreachable!() };
    *subpath = Some("sub".to_owned());
    bundle.spec.mounts =
        vec![bind(&data, "/data"), read_only, part, bind(data.join("file"), "/etc/one/file")];
    check(
        &bundle,
        "cat /data/file /ro/file /etc/one/file; touch /data/new /part/below",
        "contentcontentcontent",
    );
    assert!(data.join("new").exists() && data.join("sub/below").exists());
    check(&bundle, "touch /ro/x 2>/dev/null || echo refused", "refused");
    // What is mounted below a read-only volume is read-only too.
    check(&bundle, "touch /ro/sub/x 2>/dev/null || echo refused", "refused");
}

#[test]
fn volumes_in_volumes() {
    let mut bundle = Bundle::new();
    let (outer, inner) = (bundle.path("outer"), bundle.path("inner"));
    for path in [&outer, &inner] {
        fs_err::create_dir(path).expect("directory");
    }
    bundle.spec.mounts = vec![bind(&inner, "/v/deep/inner"), bind(&outer, "/v")];
    check(&bundle, "touch /v/deep/inner/x; ls /v", "deep");
    assert!(inner.join("x").exists() && outer.join("deep/inner").is_dir());
}

#[test]
fn missing_sources() {
    let mut bundle = Bundle::new();
    let missing = bundle.path("missing");
    bundle.spec.mounts = vec![bind(&missing, "/v")];
    assert_eq!(
        bundle.sh("true").stderr,
        format!("open the source `{}`: No such file or directory (os error 2)", missing.display())
    );
    let MountKind::Bind { create_source, .. } = &mut bundle.spec.mounts[0].kind else {
        unreachable!()
    };
    *create_source = true;
    check(&bundle, "touch /v/x", "");
    assert!(missing.join("x").exists());
}

#[test]
fn memory() {
    let mut bundle = Bundle::new();
    bundle.spec.mounts = vec![tmpfs("/t"), file("secret", "/run/secrets/key")];
    let script = "stat -c '%a %u %g' /t /run/secrets/key; cat /run/secrets/key; echo; \
        grep ' /t ' /proc/mounts | cut -d' ' -f3,4 | grep -c 'nosuid,nodev,noexec'; \
        echo x 2>/dev/null > /run/secrets/key || echo refused; ls -a /dev | grep -c files";
    let script = script.replace("cut -d' ' -f3,4 | ", "");
    check(&bundle, &script, "750 33 34\n440 1 2\nsecret\n1\nrefused\n0");
    let upper = bundle.path("upper");
    assert!(fs_err::read(upper.join("run/secrets/key")).expect("mount point").is_empty());
}

#[test]
fn symlinks_of_the_image_are_followed_inside() {
    let mut bundle = Bundle::new();
    std::os::unix::fs::symlink("/run", bundle.image("var/run")).expect("symlink");
    std::os::unix::fs::symlink("../../../../../srv", bundle.image("up")).expect("symlink");
    fs_err::create_dir(bundle.image("srv")).expect("directory");
    let data = bundle.path("data");
    fs_err::create_dir(&data).expect("directory");
    bundle.spec.mounts = vec![bind(&data, "/var/run/app/x"), bind(&data, "/up/y")];
    check(&bundle, "touch /run/app/x/one; ls /srv/y", "one");
}

#[test]
fn a_read_only_root() {
    let mut bundle = Bundle::new();
    let Rootfs::Overlay { read_only, .. } = &mut bundle.spec.rootfs else { unreachable!() };
    *read_only = true;
    bundle.spec.mounts = vec![tmpfs("/new/t")];
    let script =
        "touch /x 2>/dev/null || echo refused; touch /new/t/x /dev/shm/x /dev/x && echo written";
    check(&bundle, script, "refused\nwritten");
}

#[test]
fn a_root_without_a_writable_layer() {
    let mut bundle = Bundle::new();
    for count in [1, 2] {
        let lowers = [bundle.image(""), bundle.path("layer")];
        bundle.spec.rootfs = Rootfs::Overlay {
            lowers: lowers[..count].to_vec(),
            upper: None,
            work: None,
            read_only: true,
            volatile: false,
        };
        check(&bundle, "touch /x 2>/dev/null || echo refused", "refused");
    }
    bundle.spec.cwd = "/made".to_owned();
    assert_eq!(
        bundle.sh("true").stderr,
        "create the working directory `/made`: Read-only file system (os error 30)"
    );
}

#[test]
fn a_directory_as_root() {
    let mut bundle = Bundle::new();
    bundle.spec.rootfs = Rootfs::Dir { path: bundle.image(""), read_only: false };
    check(&bundle, "touch /x; echo $$", "1");
    assert!(bundle.image("x").exists());
    bundle.spec.rootfs = Rootfs::Dir { path: bundle.image(""), read_only: true };
    check(&bundle, "touch /y 2>/dev/null || echo refused", "refused");
}

#[test]
fn an_empty_image() {
    let mut bundle = Bundle::new();
    let empty = bundle.path("empty");
    fs_err::create_dir_all(empty.join("bin")).expect("directory");
    fs_err::copy("/bin/busybox", empty.join("bin/busybox")).expect("busybox");
    let Rootfs::Overlay { lowers, .. } = &mut bundle.spec.rootfs else { unreachable!() };
    *lowers = vec![empty];
    let output = bundle.run(&["busybox", "ls", "/", "/sys/fs/cgroup"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(output.stdout.starts_with("/:\nbin\ndev\nproc\nsys\n"), "{}", output.stdout);
}

/// The tables of docker's container, in our words.
#[test]
fn the_usual_file_systems() {
    let bundle = Bundle::new();
    let output =
        bundle.sh("while read a b c d; do echo $b $c ${d%%,*}; done < /proc/mounts | sort -u");
    for expected in [
        "/ overlay rw",
        "/dev tmpfs rw",
        "/dev/mqueue mqueue rw",
        "/dev/pts devpts rw",
        "/dev/shm tmpfs rw",
        "/proc proc rw",
        "/proc/kcore tmpfs rw",
        "/proc/keys tmpfs rw",
        "/proc/timer_list tmpfs rw",
        "/proc/sys proc ro",
        "/proc/sysrq-trigger proc ro",
        "/sys sysfs ro",
        "/sys/firmware tmpfs ro",
    ] {
        let path = expected.split(' ').next().unwrap_or_default();
        // Some kernels lack some of the masked files.
        if !std::path::Path::new(path).exists() {
            continue;
        }
        assert!(
            output.stdout.lines().any(|line| line == expected),
            "{expected}\n{}",
            output.stdout
        );
    }
    let output = bundle.sh("ls -x /dev");
    let names: Vec<&str> = output.stdout.split_whitespace().collect();
    let expected =
        "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero";
    assert_eq!(names.join(" "), expected);
}

#[test]
fn the_size_of_shared_memory() {
    let mut bundle = Bundle::new();
    bundle.spec.shm_size = 1 << 20;
    check(&bundle, "df -k /dev/shm | tail -1 | tr -s ' ' | (read a b c; echo $b)", "1024");
}

#[test]
fn the_containers_own_control_groups() {
    let mut bundle = Bundle::new();
    bundle.spec.resources.pids = Some(123);
    let script = "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null; \
        for f in /sys/fs/cgroup/*/cgroup.procs /sys/fs/cgroup/cgroup.procs; do \
        [ -e $f ] && (echo 1 > $f) 2>/dev/null && echo written $f; done; true";
    check(&bundle, script, "123");
}

#[test]
fn privileged() {
    let mut bundle = Bundle::new();
    bundle.spec.privileged = true;
    check(
        &bundle,
        "mount -t tmpfs none /tmp && grep -c ' /sys sysfs rw' /proc/mounts; grep -E '^Seccomp:|NoNewPrivs' /proc/self/status | tr -d '\\n\\t'; [ -s /proc/timer_list ] && echo; echo",
        "1\nNoNewPrivs:0Seccomp:0",
    );
}

#[test]
fn devices_of_the_host() {
    let mut bundle = Bundle::new();
    bundle.spec.capabilities.add = strings(&["SYSLOG"]);
    bundle.spec.devices = vec![cutover_runtime::spec::Device {
        source: "/dev/kmsg".into(),
        target: "/dev/sub/log".to_owned(),
        permissions: "r".to_owned(),
    }];
    let script = "stat -c '%t:%T' /dev/sub/log; head -c 0 /dev/sub/log && echo read; \
        (echo x > /dev/sub/log) 2>/dev/null || echo refused";
    check(&bundle, script, "1:b\nread\nrefused");
    for (target, permissions, error) in [
        ("/etc/x", "rw", "invalid `devices`: `/etc/x` is not a place for a device"),
        ("/dev/null", "rw", "invalid `devices`: `/dev/null` is not a place for a device"),
        ("/dev/../etc/x", "rw", "invalid `devices`: `/dev/../etc/x` is not a place for a device"),
        ("/dev/x", "rwx", "invalid `devices`: `rwx`: permissions are `r`, `w` and `m`"),
    ] {
        bundle.spec.devices[0].target = target.to_owned();
        bundle.spec.devices[0].permissions = permissions.to_owned();
        assert_eq!(bundle.sh("true").stderr, error);
    }
}

#[test]
fn propagation_from_the_host() {
    let mut bundle = Bundle::new();
    let data = bundle.path("data");
    fs_err::create_dir(&data).expect("directory");
    let spec = Spec { args: strings(&["true"]), ..bundle.spec.clone() };
    bundle.spec = spec;
    let mut mount = bind(&data, "/v");
    let MountKind::Bind { propagation, .. } = &mut mount.kind else { unreachable!() };
    *propagation = Propagation::Slave;
    bundle.spec.mounts = vec![mount];
    check(&bundle, "echo ok", "ok");
}
