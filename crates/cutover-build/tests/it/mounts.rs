//! `RUN --mount` with real containers: what each type shows, what stays and what must not.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use cutover_build::{CacheMounts, Entitlement, Secret};

use crate::support::Lab;

/// The files of the last layer.
fn top(lab: &Lab) -> Vec<String> {
    lab.layer(lab.image().config.rootfs.diff_ids.len() - 1)
}

#[track_caller]
fn fails(lab: &Lab, text: &str, expected: &str) {
    let error = lab.build(&format!("FROM base\n{text}")).unwrap_err();
    let mut chain = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(error) = source {
        chain = format!("{chain}: {error}");
        source = error.source();
    }
    assert!(chain.contains(expected), "`{chain}` does not say `{expected}`");
    lab.assert_clean();
}

#[test]
fn a_bind_shows_the_context() {
    let lab = Lab::new();
    lab.write("dir/a", "A");
    lab.write("dir/hidden", "no");
    lab.write(".dockerignore", "dir/hidden");
    lab.build("FROM base\nRUN --mount=target=/in/here,source=dir cat /in/here/a > /out; ls /in/here >> /out; ! touch /in/here/b 2>/dev/null").unwrap();
    assert_eq!(lab.read("out"), "Aa\n");
    assert_eq!(top(&lab), ["out"]);
    // A file, and WORKDIR for a relative target.
    lab.build("FROM base\nWORKDIR /w\nRUN --mount=target=x,source=dir/a cat /w/x > /out").unwrap();
    assert_eq!((lab.read("out"), top(&lab)), ("A".to_owned(), vec!["out".to_owned()]));
    lab.assert_clean();
}

#[test]
fn a_context_belongs_to_root() {
    let lab = Lab::new();
    lab.write("mine", "x");
    std::os::unix::fs::chown(lab.context.join("mine"), Some(1000), Some(1000)).unwrap();
    lab.build("FROM base\nRUN --mount=target=/in stat -c '%u:%g' /in/mine > /out").unwrap();
    assert_eq!(lab.read("out"), "0:0\n");
}

#[test]
fn what_is_written_to_a_bind_is_thrown_away() {
    let lab = Lab::new();
    lab.write("a", "A");
    let text = "FROM base AS one\nRUN mkdir /d && echo 1 > /d/f\nFROM base\n\
        RUN --mount=from=one,source=/d,target=/d,rw echo 2 > /d/f && touch /d/new && cat /d/f > /out\n\
        RUN --mount=from=one,source=/d/f,target=/f cat /f >> /out\n\
        RUN --mount=target=/c,rw echo B > /c/a && touch /c/b && cat /c/a >> /out";
    lab.build(text).unwrap();
    assert_eq!(lab.read("out"), "2\n1\nB\n");
    assert_eq!(fs_err::read_to_string(lab.context.join("a")).unwrap(), "A");
    assert!(!lab.context.join("b").exists());
    lab.assert_clean();
}

#[test]
fn what_a_bind_shows_is_part_of_the_key() {
    let lab = Lab::new();
    let text = "FROM base\nRUN --mount=target=/in,source=dir cat /in/a";
    let cached = |lab: &Lab| {
        lab.record(text).1.iter().any(|line| line.contains("cached") && line.contains("RUN"))
    };
    lab.write("dir/a", "1");
    lab.write("other", "1");
    assert!(!cached(&lab));
    lab.write("other", "2");
    assert!(cached(&lab));
    lab.write("dir/a", "2");
    assert!(!cached(&lab));
}

#[test]
fn mount_points_leave_what_buildkit_leaves() {
    let lab = Lab::new();
    lab.build("FROM base\nRUN mkdir -m 700 /own && ln -s /own /link").unwrap();
    let check = |run: &str, expected: &[&str]| {
        let text = format!("FROM result\n{run}");
        let before = lab.options.tags.clone();
        let mut options = lab.options.clone();
        options.tags = vec!["other".parse().unwrap()];
        lab.build_with(&options, &text).unwrap();
        let image = lab.store.images().get(&"other".parse().unwrap()).unwrap().unwrap();
        assert_eq!(before, lab.options.tags);
        assert_eq!(lab.layer_of(&image, image.config.rootfs.diff_ids.len() - 1), expected, "{run}");
    };
    check("RUN --mount=type=tmpfs,target=/a/b/c true", &[]);
    check("RUN --mount=type=tmpfs,target=/a/b/c chmod 700 /a/b && touch /a", &[]);
    check("RUN --mount=type=tmpfs,target=/a/b/c touch /a/f", &["a/", "a/f"]);
    check("RUN --mount=type=tmpfs,target=/own/x touch /own/x/y", &[]);
    check("RUN --mount=type=tmpfs,target=/link/x touch /own/f", &["own/", "own/f"]);
    check("RUN --mount=type=secret,id=none,target=/s/t touch /f", &["f"]);
    check("RUN --mount=type=tmpfs,target=/a --mount=type=tmpfs,target=/a/b touch /a/b/c", &[]);
    assert_eq!(fs_err::metadata(lab.file("own")).unwrap().mode() & 0o7777, 0o700);
}

#[test]
fn caches_outlive_builds() {
    let lab = Lab::new();
    let run = |text: &str| lab.build(&format!("FROM base\n{text}")).unwrap();
    run(
        "RUN --mount=type=cache,target=/c,uid=7,gid=8,mode=750 stat -c '%u:%g %a' /c > /out; echo 1 > /c/f",
    );
    assert_eq!(lab.read("out"), "7:8 750\n");
    assert_eq!(top(&lab), ["out"]);
    // The same id with nothing said of owners is another cache, as in BuildKit.
    run("RUN --mount=type=cache,target=/c ! test -e /c/f && echo 2 > /c/f");
    run("RUN --mount=type=cache,id=/c,target=/other cat /other/f > /out");
    assert_eq!(lab.read("out"), "2\n");
    run("RUN --mount=type=cache,target=/c,ro ! touch /c/g 2>/dev/null");
    let caches = CacheMounts::of(&lab.root);
    let ids: Vec<_> = caches.list().unwrap().into_iter().map(|c| (c.id, c.base, c.size)).collect();
    let expected =
        [("/c".to_owned(), "7:8 750".to_owned(), 2), ("/c".to_owned(), String::new(), 2)];
    assert_eq!(ids.len(), 2);
    assert!(expected.iter().all(|one| ids.contains(one)), "{ids:?}");
    let mut lab = lab;
    lab.options.build_args.insert("BUILDKIT_CACHE_MOUNT_NS".to_owned(), "ns".to_owned());
    lab.build("FROM base\nRUN --mount=type=cache,target=/c ! test -e /c/f").unwrap();
    lab.assert_clean();
}

#[test]
fn a_cache_may_begin_with_files() {
    let lab = Lab::new();
    let text = "FROM base AS one\nRUN mkdir -p /d/e && echo 1 > /d/e/f && chown 5:6 /d/e && chmod 711 /d/e\nFROM base\n\
        RUN --mount=type=cache,from=one,source=/d/e,target=/c stat -c '%u:%g %a' /c > /out && cat /c/f >> /out && echo 2 > /c/f\n\
        RUN --mount=type=cache,id=/c,from=one,source=/d/e,target=/x cat /x/f >> /out\n\
        RUN --mount=from=one,target=/x cat /x/d/e/f >> /out";
    lab.build(text).unwrap();
    assert_eq!(lab.read("out"), "5:6 711\n1\n2\n1\n");
    fails(
        &lab,
        "RUN --mount=type=cache,from=base,source=/etc/passwd,target=/c true",
        "not a directory",
    );
}

#[test]
fn one_step_may_mount_a_cache_twice() {
    let lab = Lab::new();
    let text = "FROM base\nRUN --mount=type=cache,id=a,target=/x,sharing=locked \
        --mount=type=cache,id=a,target=/y,sharing=private echo 1 > /x/f && cat /y/f > /out";
    lab.build(text).unwrap();
    assert_eq!(lab.read("out"), "1\n");
}

/// Two stages at the same time, each adding to what the other wrote.
#[test]
fn sharing_modes() {
    let lab = Lab::new();
    /// Waits until the other has come, for two seconds at most.
    const W: &str = "i=0; wait() { while ! test -e $1 && test $i -lt 100; do i=$((i+1)); usleep 20000; done; }; wait";
    let both = |sharing: &str| {
        let step = format!(
            "RUN --mount=type=cache,id={sharing},target=/c,sharing={sharing} --mount=type=cache,id=meet-{sharing},target=/m "
        );
        format!(
            "FROM base AS one\n{step} touch /m/one; {W} /m/two; echo x >> /c/f; wc -l < /c/f > /n\n\
             FROM base AS two\n{step} touch /m/two; {W} /m/one; echo x >> /c/f; wc -l < /c/f > /n\n\
             FROM base\nCOPY --from=one /n /n1\nCOPY --from=two /n /n2",
        )
    };
    let sum = |lab: &Lab| {
        let mut lines = [lab.read("n1"), lab.read("n2")].map(|n| n.trim().parse::<u32>().unwrap());
        lines.sort_unstable();
        lines
    };
    lab.build(&both("private")).unwrap();
    // Both ran at once, each with a directory of its own.
    assert_eq!(sum(&lab), [1, 1]);
    lab.build(&both("locked")).unwrap();
    // The second began after the first had ended, in the same directory.
    assert_eq!(sum(&lab), [1, 2]);
    lab.build(&both("shared")).unwrap();
    let caches = CacheMounts::of(&lab.root).list().unwrap();
    let count = |id: &str| caches.iter().filter(|cache| cache.id == id).count();
    assert_eq!((count("private"), count("locked"), count("shared")), (2, 1, 1));
    assert!(caches.iter().all(|cache| !cache.in_use));
}

#[test]
fn memory_is_gone_after_the_step() {
    let lab = Lab::new();
    let text = "FROM base\nRUN --mount=type=tmpfs,target=/m,size=1m stat -c %a /m > /out; \
        ! dd if=/dev/zero of=/m/f bs=64k count=32 2>/dev/null; stat -c %s /m/f >> /out\nRUN test ! -e /m";
    lab.build(text).unwrap();
    assert_eq!(lab.read("out"), "1777\n1048576\n");
}

#[test]
fn secrets_are_files_or_variables() {
    let mut lab = Lab::new();
    const CANARY: &str = "canary-5f1c-secret-value";
    lab.options.secrets.insert("key".to_owned(), Secret(CANARY.as_bytes().to_vec()));
    lab.options.secrets.insert("bytes".to_owned(), Secret(vec![0xff, 0]));
    let text = format!(
        "FROM base\n\
         RUN --mount=type=secret,id=key stat -c '%u:%g %a %s' /run/secrets/key > /out && grep -q {half} /run/secrets/key\n\
         RUN --mount=type=secret,id=key,target=/k/x,uid=5,gid=6,mode=0440 stat -c '%u:%g %a' /k/x >> /out\n\
         RUN --mount=type=secret,id=key,env=KEY echo ${{#KEY}} >> /out; test ! -e /run/secrets\n\
         RUN --mount=type=secret,id=key,env=KEY,target=/k test \"$(cat /k)\" = \"$KEY\"\n\
         RUN --mount=type=secret,id=none test ! -e /run/secrets/none\n\
         RUN --mount=type=secret,id=key echo tail | tee -a /run/secrets/key 2>/dev/null || echo denied >> /out",
        half = &CANARY[..10]
    );
    let (built, log) = lab.record(&text);
    built.unwrap();
    assert_eq!(lab.read("out"), format!("0:0 400 {0}\n5:6 440\n{0}\ndenied\n", CANARY.len()));
    assert!(!log.concat().contains(CANARY));
    assert!(!contains(&lab.root, CANARY.as_bytes()), "the secret is in the root");
    assert!(!format!("{:?}", lab.options).contains(CANARY));
    // Its value is no part of the key.
    lab.options.secrets.insert("key".to_owned(), Secret(b"another value".to_vec()));
    assert!(lab.build(&text).unwrap().executed == 0);
    fails(
        &lab,
        "RUN --mount=type=secret,id=no,required true",
        "secret `no` is required and was not given",
    );
    fails(
        &lab,
        "RUN --mount=type=secret,id=bytes,env=X true",
        "secret `bytes` is not text without NUL",
    );
}

/// Whether a file below `dir` has these bytes.
fn contains(dir: &Path, bytes: &[u8]) -> bool {
    fs_err::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        let kind = path.symlink_metadata().unwrap().file_type();
        if kind.is_dir() {
            return contains(&path, bytes);
        }
        kind.is_file()
            && fs_err::read(&path).unwrap().windows(bytes.len()).any(|part| part == bytes)
    })
}

#[test]
fn an_agent_is_reached() {
    let mut lab = Lab::new();
    let socket = lab.root.with_file_name("agent");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let agent = std::thread::spawn(move || {
        // The first is the look whether it is there.
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 5];
            if stream.read_exact(&mut request).is_ok() {
                assert_eq!(request, [0, 0, 0, 1, 11]);
                stream.write_all(&[0, 0, 0, 5, 12, 0, 0, 0, 0]).unwrap();
            }
        }
    });
    lab.options.ssh.insert("default".to_owned(), socket);
    let text = "FROM base\nRUN --mount=type=ssh echo $SSH_AUTH_SOCK > /out; stat -c '%F %a %u' $SSH_AUTH_SOCK >> /out; \
        printf '\\0\\0\\0\\1\\13' | nc local:$SSH_AUTH_SOCK 2>/dev/null | wc -c >> /out\n\
        RUN --mount=type=ssh,id=other test -n \"$SSH_AUTH_SOCK\" && test ! -e $SSH_AUTH_SOCK";
    lab.build(text).unwrap();
    let out = lab.read("out");
    assert!(out.starts_with("/run/buildkit/ssh_agent.0\nsocket 600 0\n"), "{out}");
    // busybox may have no nc: then the agent is asked by nobody but us.
    if !out.ends_with("9\n") {
        let mut stream =
            std::os::unix::net::UnixStream::connect(&lab.options.ssh["default"]).unwrap();
        stream.write_all(&[0, 0, 0, 1, 11]).unwrap();
        let mut reply = [0; 9];
        stream.read_exact(&mut reply).unwrap();
    }
    agent.join().unwrap();
    fails(
        &lab,
        "RUN --mount=type=ssh,id=no,required true",
        "ssh agent `no` is required and was not given",
    );
}

#[test]
fn what_is_not_allowed_is_refused_before_anything_runs() {
    let mut lab = Lab::new();
    fails(
        &lab,
        "RUN touch /x\nRUN --security=insecure true",
        "`RUN --security=insecure` is not allowed",
    );
    fails(&lab, "RUN --network=host true", "`RUN --network=host` is not allowed");
    lab.options.allow.insert(Entitlement::Insecure);
    let caps = "FROM base\nRUN --security=insecure grep CapBnd /proc/self/status > /out\nRUN grep CapBnd /proc/self/status >> /out";
    lab.build(caps).unwrap();
    let out = lab.read("out");
    let caps: Vec<&str> = out.split_whitespace().filter(|word| word.len() == 16).collect();
    assert_eq!(caps[1], "00000000a80425fb");
    assert!(u64::from_str_radix(caps[0], 16).unwrap() > 0xa804_25fb);
}

#[test]
fn wrong_mounts_are_errors_at_their_line() {
    let lab = Lab::new();
    fails(
        &lab,
        "RUN --mount=typ=tmpfs true",
        "Dockerfile:2: unexpected key `typ` in `typ=tmpfs`: did you mean `type`?",
    );
    fails(&lab, "RUN --mount=target=/ true", "invalid mount target `/`");
    fails(
        &lab,
        "RUN --mount=from=$x,target=/x true",
        "`from` of a mount does not support variables",
    );
    fails(&lab, "RUN --mount=source=nope,target=/x true", "`/nope` not found");
    fails(&lab, "RUN --mount=from=base,source=nope,target=/x true", "`/nope` not found");
    fails(&lab, "RUN --mount=target=/proc/x,type=tmpfs true", "`/proc` is the runtime's own");
    fails(
        &lab,
        "FROM base AS a\nRUN --mount=from=later,target=/x true\nFROM base AS later\nFROM a",
        "cannot use files of a later stage",
    );
}

#[test]
fn nothing_leads_out() {
    let lab = Lab::new();
    let outside = lab.root.with_file_name("outside");
    fs_err::create_dir(&outside).unwrap();
    fs_err::write(outside.join("canary"), "outside").unwrap();
    let out = outside.display();
    symlink(&outside, lab.context.join("link")).unwrap();
    fails(&lab, "RUN --mount=source=link,target=/x true", "not found");
    fails(&lab, "RUN --mount=source=../outside,target=/x true", "not found");
    let stage = format!("FROM base AS one\nRUN ln -s {out} /link\nFROM base\n");
    let error = lab.build(&format!("{stage}RUN --mount=from=one,source=/link,target=/x true"));
    assert!(error.is_err());
    // A cache that was changed into a link between two steps.
    let error = lab.build(&format!(
        "FROM base\nRUN --mount=type=cache,id=a,target=/c mkdir /c/sel\n\
         RUN --mount=type=cache,id=a,target=/c rmdir /c/sel && ln -s {out} /c/sel\n\
         RUN --mount=type=cache,id=a,source=sel,target=/x cat /x/canary"
    ));
    assert!(error.is_err());
    // A target that the image leads elsewhere: made inside of the image, not outside.
    lab.build(&format!("FROM base\nRUN ln -s {out}/sub /evil\nRUN --mount=type=tmpfs,target=/evil/x touch /evil/x/y")).unwrap();
    let names: Vec<_> =
        fs_err::read_dir(&outside).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["canary"]);
    // Devices in a cache are of no use to anybody.
    fails(
        &lab,
        "RUN --mount=type=cache,id=d,target=/c mknod /c/disk b 8 0 && head -c 1 /c/disk",
        "exited with code",
    );
    lab.build("FROM base\nRUN ln -s /proc /evil").unwrap();
    let mut options = lab.options.clone();
    options.tags.clear();
    let error =
        lab.build_with(&options, "FROM result\nRUN --mount=type=tmpfs,target=/evil/sys true");
    assert!(error.is_err());
    lab.assert_clean();
}

#[test]
fn caches_travel_as_tars() {
    let lab = Lab::new();
    let text = "FROM base\nRUN --mount=type=cache,id=a,target=/c mkdir -p /c/d && echo 1 > /c/d/f && ln /c/d/f /c/g && ln -s d /c/l && chown 5:6 /c/d && mkfifo /c/p";
    lab.build(text).unwrap();
    let mut tar = Vec::new();
    CacheMounts::of(&lab.root).export("a", &mut tar).unwrap();
    let other = Lab::new();
    let caches = CacheMounts::of(&other.root);
    caches.import("a", "", tar.as_slice(), 5).unwrap();
    other.build("FROM base\nRUN --mount=type=cache,id=a,target=/c cat /c/l/f /c/g > /out; stat -c %u:%g /c/d >> /out; stat -c %h /c/g >> /out; ls /c | wc -l >> /out").unwrap();
    assert_eq!(other.read("out"), "1\n1\n5:6\n2\n3\n");
    // What cannot be read changes nothing.
    caches.import("a", "", &b"\x1f\x8bnot gzip at all"[..], 6).unwrap_err();
    assert_eq!(caches.list().unwrap().len(), 1);
    let removed = caches.prune(&|cache| cache.id == "a").unwrap();
    assert_eq!((removed.len(), caches.list().unwrap().len()), (1, 0));
    assert_eq!(fs_err::read_dir(other.root.join("cache-mounts")).unwrap().count(), 0);
    caches.export("a", Vec::new()).unwrap_err();
}

#[test]
fn limits_hold() {
    let mut lab = Lab::new();
    lab.options.limits.resources.pids = Some(20);
    lab.options.limits.ulimits =
        vec![cutover_runtime::spec::Ulimit { name: "nofile".to_owned(), soft: 77, hard: 99 }];
    lab.build("FROM base\nRUN ulimit -n > /out; (for i in $(seq 100); do sleep 100 & done) 2>/dev/null; true").unwrap();
    assert_eq!(lab.read("out"), "77\n");
    lab.assert_clean();
}

#[test]
fn cache_directories_are_for_root_only() {
    let lab = Lab::new();
    lab.build("FROM base\nRUN --mount=type=cache,target=/c true").unwrap();
    let mode = fs_err::metadata(lab.root.join("cache-mounts")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o700);
}

/// On a disk of its own, which is full at the end.
#[test]
fn a_full_disk_is_said_and_leaves_nothing() {
    use cutover_runtime::sys::mount::{Attributes, set_attributes};
    use rustix::fs::{Mode, OFlags};
    use rustix::mount::{MountFlags, MountPropagationFlags};
    use rustix::thread::UnshareFlags;
    use std::os::fd::AsFd as _;

    let flags = UnshareFlags::FS | UnshareFlags::NEWNS;
    cutover_runtime::sys::process::unshare(flags.bits().cast_signed()).unwrap();
    let slash = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let propagation = MountPropagationFlags::PRIVATE.bits().into();
    set_attributes(slash.as_fd(), true, Attributes { propagation, ..Attributes::default() })
        .unwrap();
    let disk = std::env::temp_dir();
    rustix::mount::mount("tmpfs", &disk, "tmpfs", MountFlags::empty(), Some(c"size=48m")).unwrap();
    {
        let lab = Lab::new();
        let step = "RUN dd if=/dev/zero of=/big bs=1M count=200";
        fails(&lab, step, "is full");
        let free = rustix::fs::statvfs(&disk).unwrap();
        assert!(free.f_bavail * free.f_frsize > 20 << 20, "the step's files are gone");
        lab.build("FROM base\nRUN echo again > /out").unwrap();
    }
    rustix::mount::unmount(&disk, rustix::mount::UnmountFlags::DETACH).unwrap();
}

#[test]
fn what_a_step_leaves_running_is_killed() {
    let lab = Lab::new();
    lab.build("FROM base\nRUN (sleep 1000; echo late > /late) & echo $? > /out").unwrap();
    assert_eq!(top(&lab), ["out"]);
    lab.assert_clean();
}

/// Changes a file of the context as soon as a step says something.
struct Meddler<'a>(&'a Lab);

impl cutover_build::Progress for Meddler<'_> {
    fn on(&self, event: cutover_build::Event<'_>) {
        if let cutover_build::Event::Output { .. } = event {
            self.0.write("file", "new");
        }
    }
}

#[test]
fn a_context_that_changes_under_a_step_is_an_error() {
    let lab = Lab::new();
    lab.write("file", "old");
    let text = "FROM base\nRUN --mount=target=/ctx echo go; until grep -q new /ctx/file; do sleep 0.01; done";
    let error = lab.build_watched(&lab.options, text, &Meddler(&lab)).unwrap_err();
    let source = std::error::Error::source(&error).map(ToString::to_string);
    assert!(
        source.as_ref().is_some_and(|text| text.contains("file") && text.contains("changed")),
        "{source:?}"
    );
    lab.assert_clean();
}
