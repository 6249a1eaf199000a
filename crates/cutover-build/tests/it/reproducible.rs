//! The same inputs make the same image: anywhere, at any time, with any cache.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use crate::support::{Lab, NOW};

const TEXT: &str = "FROM base
WORKDIR /work
COPY src dst
RUN mkdir -p made/deep && echo x > made/deep/file && ln -s file made/deep/link && touch -d '1990-01-01 00:00:00' old
ADD archive.tar /unpacked/
RUN chmod 700 dst && rm /etc/group
COPY --link src/a /linked";

fn fill(lab: &Lab) {
    lab.write("src/a", "a");
    lab.write("src/deep/b", "b");
    lab.write("../archived/member", "in");
    let mut tar = std::process::Command::new("tar");
    tar.args(["--mtime=@1600000000", "--owner=0", "--group=0", "-cf", "archive.tar"]);
    tar.args(["-C", "../archived", "member"]).current_dir(&lab.context);
    assert!(tar.status().unwrap().success());
}

/// Sets the times of everything in the context.
fn date(path: &Path, seconds: u64) {
    if path.is_dir() {
        for entry in fs_err::read_dir(path).unwrap() {
            date(&entry.unwrap().path(), seconds);
        }
    }
    let time = UNIX_EPOCH + Duration::from_secs(seconds);
    fs_err::File::open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn two_roots_and_two_days_make_one_image() {
    let build = |now: i64| {
        let mut lab = Lab::new();
        fill(&lab);
        date(&lab.context, 1_500_000_000);
        lab.options.now = now;
        let image = lab.build(TEXT).unwrap().image;
        let base = lab.store.images().get(&"base".parse().unwrap()).unwrap().unwrap();
        assert_eq!(lab.image().config.created, base.config.created);
        // Nothing of the day is in our layers: neither files nor directories nor stubs.
        let dirs = lab.store.snapshots().lowers(&lab.image()).unwrap();
        for dir in &dirs[..dirs.len() - lab.base_layers()] {
            assert_old(dir);
        }
        image
    };
    assert_eq!(build(NOW), build(NOW + 86_400 * 1000));
}

/// Everything below `path` is older than any file of the test.
fn assert_old(path: &Path) {
    let meta = fs_err::symlink_metadata(path).unwrap();
    assert!(meta.mtime() < 1_100_000_000, "{} is of {}", path.display(), meta.mtime());
    if meta.is_dir() {
        fs_err::read_dir(path).unwrap().for_each(|entry| assert_old(&entry.unwrap().path()));
    }
}

#[test]
fn times_of_files_do_not_matter() {
    let image = |seconds: u64| {
        let lab = Lab::new();
        fill(&lab);
        date(&lab.context, seconds);
        lab.build(TEXT).unwrap().image
    };
    assert_eq!(image(1_500_000_000), image(1_700_000_000));
}

#[test]
fn a_warm_cache_makes_what_a_cold_one_makes() {
    let change = |lab: &Lab| {
        lab.write("src/a", "changed");
        date(&lab.context, 1_600_000_000);
    };
    let warm = Lab::new();
    fill(&warm);
    date(&warm.context, 1_500_000_000);
    warm.build(&TEXT.replace("COPY src dst\n", "RUN true\nCOPY src dst\n")).unwrap();
    let before = warm.build(TEXT).unwrap().image;
    change(&warm);
    let warm = warm.build(TEXT).unwrap();
    assert!(warm.cached > 0);
    let cold = Lab::new();
    fill(&cold);
    change(&cold);
    assert_eq!(cold.build(TEXT).unwrap().image, warm.image);
    assert_ne!(before, warm.image);
}

#[test]
fn another_content_has_another_time() {
    let lab = Lab::new();
    let text = "FROM scratch\nCOPY style.css /";
    let time = |content: &str| {
        lab.write("style.css", content);
        lab.build(text).unwrap();
        fs_err::metadata(lab.file("style.css")).unwrap().mtime()
    };
    let (first, second) = (time("color: red "), time("color: blue"));
    assert_ne!(first, second, "an entity tag of time and size must change");
    assert_eq!(time("color: red "), first);
}

#[test]
fn a_step_is_younger_than_what_it_was_made_of() {
    let lab = Lab::new();
    lab.write("in", "1");
    lab.build("FROM base\nCOPY in /in\nRUN cp /in /out\nRUN test /out -nt /in && cp /out /last")
        .unwrap();
    let time = |path: &str| fs_err::metadata(lab.file(path)).unwrap().mtime();
    assert!(time("in") < time("out") && time("out") < time("last"));
}

#[test]
fn a_checkout_can_give_the_time_of_its_commit() {
    let mut lab = Lab::new();
    fill(&lab);
    let git = |words: &[&str]| {
        let mut command = std::process::Command::new("git");
        command.current_dir(&lab.context).env("GIT_CONFIG_GLOBAL", "/dev/null");
        command.args(["-c", "user.name=x", "-c", "user.email=x@example.com"]);
        command.env("GIT_COMMITTER_DATE", "1234567890 +0000").args(words).status()
    };
    if git(&["init", "-q"]).is_err() {
        eprintln!("SKIPPED: this test needs git");
        return;
    }
    git(&["add", "-A"]).unwrap();
    git(&["commit", "-qm", "x"]).unwrap();
    lab.options.build_args.insert("SOURCE_DATE_EPOCH".to_owned(), "context".to_owned());
    let created = || {
        lab.build("FROM base\nCOPY src /src").unwrap();
        lab.image().config.created.clone().unwrap()
    };
    assert_eq!(created(), "2009-02-13T23:31:30Z");
    assert_eq!(fs_err::metadata(lab.file("src/a")).unwrap().mtime(), 1_234_567_890);
    lab.write("src/a", "dirty");
    assert_ne!(created(), "2009-02-13T23:31:30Z");
}
