use std::process::Command;

use super::*;
use crate::tree::Tree;

const TIME: i64 = 1_600_000_000;

/// git in `dir`, with its own times and without the user's configuration. None without git.
fn git(dir: &Path, words: &[&str]) -> Option<String> {
    let date = format!("{TIME} +0000");
    let mut command = Command::new("git");
    command.current_dir(dir).args(["-c", "user.name=x", "-c", "user.email=x@example.com"]);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    command.env("GIT_AUTHOR_DATE", &date).env("GIT_COMMITTER_DATE", &date);
    let output = command.args(words).output().ok()?;
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

fn time(context: &Path) -> Option<i64> {
    let tree = Tree::open(context).unwrap();
    commit_time(context, &|path| tree.meta(path).unwrap())
}

/// A repository with a commit: `a`, `sub/b`, `sub.c`, an executable and a link.
fn repository() -> Option<tempfile::TempDir> {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    if git(dir.path(), &["init", "-q"]).is_none() {
        eprintln!("SKIPPED: this test needs git");
        return None;
    }
    fs_err::create_dir_all(at("sub/deep")).unwrap();
    for name in ["a", "sub/b", "sub.c", "sub/deep/d", "x"] {
        fs_err::write(at(name), name).unwrap();
    }
    fs_err::set_permissions(at("x"), std::fs::Permissions::from_mode(0o755)).unwrap();
    symlink("a", at("l")).unwrap();
    git(dir.path(), &["add", "-A"]);
    git(dir.path(), &["commit", "-qm", "one"]);
    Some(dir)
}

#[test]
fn a_clean_checkout_has_the_time_of_its_commit() {
    let Some(dir) = repository() else { return };
    let at = |name: &str| dir.path().join(name);
    assert_eq!(time(dir.path()), Some(TIME));
    assert_eq!(time(&at("sub")), Some(TIME));
    fs_err::write(at("unknown"), "git does not know it").unwrap();
    assert_eq!(time(dir.path()), Some(TIME));
    // Other times, same bytes.
    fs_err::write(at("a"), "a").unwrap();
    assert_eq!(time(dir.path()), Some(TIME));
    fs_err::write(at("a"), "A").unwrap();
    assert_eq!(time(dir.path()), None, "changed");
    assert_eq!(time(&at("sub")), Some(TIME), "not in this directory");
    git(dir.path(), &["add", "a"]);
    assert_eq!(time(&at("sub")), None, "the index is not the commit");
    git(dir.path(), &["commit", "-qm", "two"]);
    assert_eq!(time(dir.path()), Some(TIME));
}

#[test]
fn packs_worktrees_clones_and_index_versions_are_read() {
    let Some(dir) = repository() else { return };
    for number in 0..20 {
        fs_err::write(dir.path().join("a"), format!("{number}")).unwrap();
        let message = format!("{number} {}", "the same long message ".repeat(50));
        git(dir.path(), &["commit", "-qam", &message]);
    }
    git(dir.path(), &["gc", "-q", "--aggressive"]);
    assert_eq!(time(dir.path()), Some(TIME));
    git(dir.path(), &["update-index", "--index-version", "4"]);
    assert_eq!(time(dir.path()), Some(TIME));
    let other = tempfile::tempdir().unwrap();
    let path = other.path().join("w");
    git(dir.path(), &["worktree", "add", "-q", path.to_str().unwrap()]);
    assert_eq!(time(&path), Some(TIME));
    let clone = other.path().join("c");
    git(
        other.path(),
        &["clone", "-q", "--depth=1", &format!("file://{}", dir.path().display()), "c"],
    );
    assert_eq!(time(&clone), Some(TIME));
    git(&clone, &["checkout", "-q", "--detach"]);
    assert_eq!(time(&clone), Some(TIME));
}

#[test]
fn what_is_no_checkout_has_no_time() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(time(dir.path()), None);
    fs_err::create_dir(dir.path().join(".git")).unwrap();
    fs_err::write(dir.path().join(".git/HEAD"), "ref: ../../etc/passwd").unwrap();
    assert_eq!(time(dir.path()), None);
    fs_err::write(dir.path().join(".git/HEAD"), "ref: refs/heads/x").unwrap();
    assert_eq!(time(dir.path()), None);
}
