use std::os::fd::AsFd;

use super::*;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
    web:x:33:34::/var/www:/bin/false\n\
    77:x:500:500::/odd:\n\
    broken\n\
    huge:x:4294967296:1::/:\n";
const GROUP: &str = "root:x:0:\nwww:x:34:\nssl:x:101:web,root\nlog:x:102:other,web\n";

fn check(user: &str, additional: &[&str], expected: &str) {
    let additional: Vec<String> = additional.iter().map(|&group| group.to_owned()).collect();
    let got = match resolve(user, &additional, PASSWD, GROUP) {
        Ok(Identity { uid, gid, groups, home }) => format!("{uid}:{gid} {groups:?} {home}"),
        Err(error) => error,
    };
    assert_eq!(got, expected, "{user}");
}

#[test]
fn dockers_rules() {
    check("", &[], "0:0 [101] /root");
    check("root", &[], "0:0 [101] /root");
    check("web", &[], "33:34 [101, 102] /var/www");
    check("33", &[], "33:34 [101, 102] /var/www");
    check("web:ssl", &[], "33:101 [] /var/www");
    check("web:", &[], "33:34 [101, 102] /var/www");
    check("1000", &[], "1000:0 [] /");
    check("1000:1001", &[], "1000:1001 [] /");
    check("1000", &["ssl", "7", "ssl"], "1000:0 [7, 101] /");
    check("77", &[], "500:500 [] /odd");
}

#[test]
fn refused() {
    check("nobody", &[], "no user `nobody` in the container");
    check("web:nogroup", &[], "no group `nogroup` in the container");
    check("4294967296", &[], "user number `4294967296` is out of range");
    check("4294967295", &[], "user number `4294967295` is out of range");
    check("0:4294967296", &[], "group number `4294967296` is out of range");
    check("huge", &[], "user `huge` has no valid number");
    check("-1", &[], "no user `-1` in the container");
}

/// A root whose `/etc/passwd` is hostile, and what reading it says.
fn check_file(make: impl FnOnce(&std::path::Path), expected: &str) {
    let root = tempfile::tempdir().expect("temporary directory");
    fs_err::create_dir_all(root.path().join("etc")).expect("directory");
    make(&root.path().join("etc/passwd"));
    let fd = fs_err::File::open(root.path()).expect("root");
    let got = match read_files(fd.as_fd()) {
        Ok((passwd, _)) => passwd,
        Err(error) => error.to_string(),
    };
    assert_eq!(got, expected);
}

#[test]
fn hostile_files() {
    let link = |to: &'static str| {
        move |path: &std::path::Path| std::os::unix::fs::symlink(to, path).expect("symlink")
    };
    check_file(|_| (), "");
    check_file(|path| fs_err::write(path, "a:b").expect("file"), "a:b");
    // Below the root there is no /etc/hostname: the host's is not read.
    check_file(link("/etc/hostname"), "");
    check_file(link("../../../../etc/hostname"), "");
    let fifo = |path: &std::path::Path| {
        rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .expect("fifo");
    };
    check_file(fifo, "`/etc/passwd` is not a regular file");
    let zero = |path: &std::path::Path| {
        rustix::fs::mknodat(
            rustix::fs::CWD,
            path,
            FileType::CharacterDevice,
            Mode::from_raw_mode(0o600),
            rustix::fs::makedev(1, 5),
        )
        .expect("device");
    };
    check_file(zero, "`/etc/passwd` is not a regular file");
    let large = |path: &std::path::Path| {
        fs_err::File::create(path).and_then(|file| file.set_len(LARGEST + 1)).expect("file");
    };
    check_file(large, "`/etc/passwd` is larger than 1 MiB");
}
