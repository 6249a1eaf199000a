//! Layers that want out: whatever they try, nothing beside the layer changes, and a refusal leaves
//! nothing behind.

use cutover_core::Digest;

use crate::support::{Fixture, Meta, Tar, Tree, fixture};

/// A directory beside the store that must not change.
fn canary(fixture: &Fixture) -> std::path::PathBuf {
    let canary = fixture.path("canary");
    fs_err::create_dir(&canary).unwrap();
    fs_err::write(canary.join("file"), "untouched").unwrap();
    fs_err::create_dir(canary.join("dir")).unwrap();
    canary
}

/// The layer is unpacked, somewhere inside.
fn check_contained(build: impl Fn(Tar, &str) -> Tar, expected: &[&str]) {
    let fixture = fixture();
    let canary = canary(&fixture);
    let before = Tree::read(&canary);
    let tar = build(Tar::new(), &canary.display().to_string()).build();
    let chain = [fixture.apply(None, &tar).unwrap()];
    assert_eq!(Tree::read(&canary), before);
    assert_eq!(fixture.tree(&chain).paths(), expected);
}

fn check_refused(build: impl Fn(Tar) -> Tar, expected: &str) {
    let fixture = fixture();
    let canary = canary(&fixture);
    let before = Tree::read(&canary);
    let tar = build(Tar::new()).build();
    let error = fixture.apply(None, &tar).unwrap_err();
    let prefix = format!("cannot unpack layer {}: ", Digest::sha256(&tar));
    assert_eq!(error.strip_prefix(&prefix), Some(expected), "{error}");
    assert_eq!(Tree::read(&canary), before);
    assert_eq!(fixture.leftovers(), Vec::<String>::new());
}

#[test]
fn dots_and_absolute_paths_stay_inside() {
    check_contained(
        |tar, _| tar.file("../../../../../up", "").file("/abs", "").file("d/../../e/./f//g", ""),
        &["abs", "e", "e/f", "e/f/g", "up"],
    );
}

#[test]
fn links_to_outside_are_not_followed() {
    let long = |tar: Tar, canary: &str, name: &str| {
        let pax = [("linkpath", canary.as_bytes())];
        tar.raw(b'2', name, "x", b"", &Meta { pax: &pax, ..Meta::default() })
    };
    check_contained(
        |tar, canary| long(tar, canary, "l").file("l/file", "owned").file("l/dir/new", "owned"),
        &["l", "l/dir", "l/dir/new", "l/file"],
    );
    check_contained(
        |tar, canary| long(tar, &format!("{canary}/file"), "l").file("l", "owned"),
        &["l"],
    );
    check_contained(
        |tar, canary| long(tar, canary, "l").dir("l", 0o777).file("l/.wh.file", ""),
        &["l"],
    );
    check_contained(|tar, canary| long(tar, canary, "l").file("l/.wh..wh..opq", ""), &["l"]);
    check_contained(
        |tar, canary| {
            let tar = long(tar, canary, "a/b").symlink("a/c", "b");
            tar.file("a/c/dir/x", "").raw(b'5', "a/b/dir", "", b"", &Meta::default())
        },
        &["a", "a/b", "a/b/dir", "a/c", "a/c/dir", "a/c/dir/x"],
    );
}

#[test]
fn a_hard_link_reaches_only_its_layers() {
    let fixture = fixture();
    let canary = canary(&fixture);
    let target = format!("{}/file", canary.display());
    for (link, with_symlink) in [(target.as_str(), false), ("l/file", true)] {
        let mut tar = Tar::new();
        if with_symlink {
            let pax = [("linkpath", canary.as_os_str().as_encoded_bytes())];
            tar = tar.raw(b'2', "l", "x", b"", &Meta { pax: &pax, ..Meta::default() });
        }
        let pax = [("linkpath", link.as_bytes())];
        let tar = tar.raw(b'1', "h", "x", b"", &Meta { pax: &pax, ..Meta::default() }).build();
        fixture.apply(None, &tar).unwrap_err();
    }
    assert_eq!(fs_err::read_to_string(canary.join("file")).unwrap(), "untouched");
}

#[test]
fn bad_whiteouts_are_refused() {
    let reserved = "is refused: names that begin with `.wh.` are reserved";
    check_refused(
        |tar| tar.file(".wh.", ""),
        "entry `.wh.` is refused: a whiteout must name what it hides",
    );
    check_refused(
        |tar| tar.file("d/.wh...", ""),
        "entry `d/.wh...` is refused: a whiteout must name what it hides",
    );
    check_refused(|tar| tar.file(".wh.x/y", ""), &format!("entry `.wh.x/y` {reserved}"));
    check_contained(
        |tar, _| tar.file(".wh..wh.plnk/1", "").file(".wh..wh.aufs", "").file("f", ""),
        &["f"],
    );
}

#[test]
fn what_cannot_be_stored_is_refused() {
    check_refused(
        |tar| tar.device(b'3', "dev", (0, 0)),
        "entry `dev` is refused: overlayfs reads the device 0:0 as a deleted file",
    );
    check_refused(
        |tar| tar.file(".", ""),
        "entry `.` is refused: only a directory can be the root",
    );
}

#[test]
fn limits() {
    let deep = "d/".repeat(600);
    let pax = [("path", deep.as_bytes())];
    let meta = Meta { pax: &pax, ..Meta::default() };
    check_refused(
        |tar| tar.raw(b'0', "x", "", b"", &meta),
        &format!("entry `{}` is refused: its path is too deep", deep.get(..300).unwrap()),
    );
    let long = "n".repeat(5000);
    let pax = [("path", long.as_bytes())];
    let meta = Meta { pax: &pax, ..Meta::default() };
    check_refused(
        |tar| tar.raw(b'0', "x", "", b"", &meta),
        &format!(
            "entry `{}` exceeds a limit: a path of 5000 bytes, the most is 4095",
            long.get(..300).unwrap()
        ),
    );
    let huge = vec![b'v'; 2 << 20];
    let pax = [("SCHILY.xattr.user.x", huge.as_slice())];
    let meta = Meta { pax: &pax, ..Meta::default() };
    let fixture = fixture();
    let error = fixture.apply(None, &Tar::new().raw(b'0', "x", "", b"", &meta).build());
    assert!(error.unwrap_err().contains("bytes of extended header"));
    let pax: [(&str, &[u8]); 1] = [("uid", b"4294967295")];
    let meta = Meta { pax: &pax, ..Meta::default() };
    check_refused(
        |tar| tar.raw(b'0', "x", "", b"", &meta),
        "entry `x` exceeds a limit: user id 4294967295",
    );
}

#[test]
fn a_tar_with_other_bytes_than_its_digest_is_refused() {
    let fixture = fixture();
    let tar = Tar::new().file("f", "f").build();
    let wrong = Digest::sha256(b"wrong");
    let error = fixture.store.snapshots().apply(None, &mut tar.as_slice(), &wrong).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "layer {wrong} is not what its image says: its tar is {}, not {wrong}",
            Digest::sha256(&tar)
        )
    );
    assert_eq!(fixture.leftovers(), Vec::<String>::new());
}
