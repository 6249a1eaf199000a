use std::os::unix::fs::symlink;

use super::*;

fn tree() -> (tempfile::TempDir, Tree) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs_err::create_dir_all(root.join("a/b")).unwrap();
    fs_err::write(dir.path().join("secret"), "outside").unwrap();
    fs_err::write(root.join("a/file"), "inside").unwrap();
    let tree = Tree::open(&root).unwrap();
    (dir, tree)
}

#[test]
fn links_are_followed_within_the_root() {
    let (dir, tree) = tree();
    let root = dir.path().join("root");
    for (target, name) in [
        ("../../../../secret", "up"),
        ("/a", "absolute"),
        ("loop", "loop"),
        ("missing/x", "dangling"),
        ("absolute/b", "twice"),
        ("..", "a/parent"),
    ] {
        symlink(target, root.join(name)).unwrap();
    }
    let check = |path: &str, expected: &str| {
        assert_eq!(tree.resolve(Path::new(path)).unwrap(), Path::new(expected), "of {path}");
    };
    check("up", "secret");
    check("absolute/file", "a/file");
    check("twice/new/x", "a/b/new/x");
    check("dangling", "missing/x");
    check("a/parent/a/parent/a", "a");
    check("../../a", "a");
    assert!(tree.resolve(Path::new("loop")).is_err());
    assert_eq!(tree.resolve_parent(Path::new("absolute/up")).unwrap(), Path::new("a/up"));
}

#[test]
fn an_unresolved_link_is_refused_not_followed() {
    let (dir, tree) = tree();
    symlink(dir.path(), dir.path().join("root/out")).unwrap();
    assert!(tree.file(Path::new("out/secret")).is_err());
    assert!(tree.file(Path::new("out")).is_err());
    assert!(tree.make_file(Path::new("out/new")).is_err());
    assert!(tree.make_dirs(Path::new("out/new"), 0o755, None).is_err());
    assert!(tree.remove(Path::new("out/secret")).is_err());
    assert!(dir.path().join("secret").exists() && !dir.path().join("new").exists());
    assert_eq!(tree.meta(Path::new("../secret")).unwrap(), None);
}

#[test]
fn made_directories_are_reported() {
    let (_dir, tree) = tree();
    let made = tree.make_dirs(Path::new("a/x/y"), 0o750, Some((1, 2))).unwrap();
    assert_eq!(made, [Path::new("a/x"), Path::new("a/x/y")]);
    let meta = tree.meta(Path::new("a/x")).unwrap().unwrap();
    assert_eq!((meta.mode, meta.uid, meta.gid), (0o750, 1, 2));
    assert!(tree.make_dirs(Path::new("a/file/x"), 0o755, None).is_err());
    tree.remove(Path::new("a")).unwrap();
    assert_eq!(tree.names(Path::new("")).unwrap(), Vec::<OsString>::new());
}
