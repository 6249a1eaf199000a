//! Images whose `/dev`, `/proc` and `/sys` are not what they seem (CVE-2019-19921, CVE-2019-16884, CVE-2026-41579).

use std::os::unix::fs::symlink;

use super::Canary;
use crate::bundle::Bundle;
use crate::mounts::bind;

/// Replaces a directory of the image by a symlink.
fn swap(bundle: &Bundle, name: &str, to: impl AsRef<std::path::Path>) {
    fs_err::remove_dir(bundle.image(name)).expect("empty directory");
    symlink(to, bundle.image(name)).expect("symlink");
}

#[test]
fn symlinks_in_the_place_of_kernel_file_systems() {
    for name in ["dev", "proc", "sys"] {
        let canary = Canary::new();
        for to in
            [canary.path().display().to_string(), "/tmp".to_owned(), "../../../../tmp".to_owned()]
        {
            let bundle = Bundle::new();
            swap(&bundle, name, &to);
            let output = bundle.sh("echo ran");
            assert_eq!((output.code, output.stdout.as_str()), (125, ""), "{name} -> {to}");
            assert_eq!(
                output.stderr,
                format!(
                    "attach the file system at `/{name}`: Too many levels of symbolic links (os error 40)"
                )
            );
            canary.is_alive();
        }
    }
}

#[test]
fn files_in_the_place_of_kernel_file_systems() {
    for name in ["dev", "proc", "sys"] {
        let bundle = Bundle::new();
        fs_err::remove_dir(bundle.image(name)).expect("empty directory");
        fs_err::write(bundle.image(name), "").expect("file");
        let output = bundle.sh("echo ran");
        assert_eq!((output.code, output.stdout.as_str()), (125, ""), "{name}");
    }
}

/// Whatever the image has below them is covered, not used.
#[test]
fn a_prepared_dev() {
    let canary = Canary::new();
    let bundle = Bundle::new();
    for name in ["null", "console", "pts", "shm", "fd", "stdout"] {
        symlink(canary.path().join(name), bundle.image("dev").join(name)).expect("symlink");
    }
    let output = bundle.sh("stat -c '%F %t:%T' /dev/null; readlink /dev/fd; echo x > /dev/null");
    assert_eq!(output.stdout, "character special file 1:3\n/proc/self/fd\n");
    canary.is_alive();
}

#[test]
fn volumes_that_symlinks_lead_onto_ours() {
    for (link, to, target) in [
        ("data", "/proc", "/data"),
        ("data", "/proc/self", "/data/attr"),
        ("data", "/proc/sys", "/data"),
        ("data", "/dev", "/data"),
        ("data", "/", "/data"),
        ("data", "/dev/pts", "/data"),
        ("run/x", "../proc", "/run/x"),
    ] {
        let mut bundle = Bundle::new();
        symlink(to, bundle.image(link)).expect("symlink");
        let data = bundle.path("volume");
        fs_err::create_dir(&data).expect("directory");
        bundle.spec.mounts = vec![bind(data, target)];
        let output = bundle.sh("echo ran");
        assert_eq!((output.code, output.stdout.as_str()), (125, ""), "{target} -> {to}");
        assert!(output.stderr.starts_with(&format!("mount on `{target}`: ")), "{}", output.stderr);
    }
}

#[test]
fn targets_through_magic_links() {
    let canary = Canary::new();
    let mut bundle = Bundle::new();
    symlink("/proc/self/fd", bundle.image("fds")).expect("symlink");
    let data = bundle.path("volume");
    fs_err::create_dir(&data).expect("directory");
    for number in 3..12 {
        bundle.spec.mounts = vec![bind(&data, &format!("/fds/{number}/x"))];
        assert_eq!(bundle.sh("echo ran").stdout, "", "{number}");
    }
    canary.is_alive();
}

/// `/etc` itself leads out: what is injected there goes nowhere.
#[test]
fn a_directory_that_leads_out() {
    let canary = Canary::new();
    let mut bundle = Bundle::new();
    fs_err::remove_dir_all(bundle.image("etc")).expect("directory");
    symlink(canary.path(), bundle.image("etc")).expect("symlink");
    let kind = cutover_runtime::spec::MountKind::File {
        content: b"overwritten".to_vec(),
        mode: 0o644,
        uid: 0,
        gid: 0,
        read_only: false,
    };
    bundle.spec.mounts =
        vec![cutover_runtime::spec::Mount { target: "/etc/null".to_owned(), kind }];
    assert_eq!(bundle.sh("echo ran").code, 125);
    bundle.spec.mounts.clear();
    bundle.spec.cwd = "/etc/new".to_owned();
    assert_eq!(bundle.sh("echo ran").code, 125);
    canary.is_alive();
}

/// The same image on Debian's runc 1.1.5 writes links to the host: the probe bites.
#[test]
fn the_probe_bites_elsewhere() {
    let runc = |args: &[&str], dir: &std::path::Path| {
        std::process::Command::new("runc").args(args).current_dir(dir).output()
    };
    let canary = Canary::new();
    let bundle = Bundle::new();
    swap(&bundle, "dev", canary.path().join("pts"));
    fs_err::rename(bundle.image(""), bundle.path("rootfs")).expect("rootfs");
    let version = runc(&["--version"], &bundle.path(""));
    if !version.is_ok_and(|output| output.stdout.starts_with(b"runc version 1.1.5")) {
        println!("SKIPPED: no runc 1.1.5 to try the probe on");
        return;
    }
    assert!(runc(&["spec"], &bundle.path("")).expect("runc").status.success());
    let path = bundle.path("config.json");
    let text = fs_err::read_to_string(&path).expect("config");
    let mut config: serde_json::Value = serde_json::from_str(&text).expect("config");
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = vec!["/bin/true"].into();
    let mounts = config["mounts"].as_array_mut().expect("mounts");
    mounts.retain(|mount| !mount["destination"].as_str().is_some_and(|to| to.starts_with("/dev")));
    fs_err::write(&path, config.to_string()).expect("config");
    let state = bundle.path("state");
    let state = state.to_str().expect("text");
    let output =
        runc(&["--root", state, "run", &bundle.spec.cgroup], &bundle.path("")).expect("runc");
    assert!(canary.path().join("pts/stdout").is_symlink(), "{output:?}");
}
