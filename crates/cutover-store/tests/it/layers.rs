//! The facts about layers that are most often gotten wrong, one test each.

use std::os::unix::fs::MetadataExt;

use cutover_core::Digest;

use crate::support::{Meta, Node, Overlay, Tar, Tree, What, fixture};

/// Applies the layers, lowest first, and compares the merged paths.
fn check(layers: &[Build], expected: &[&str]) -> Tree {
    let fixture = fixture();
    let mut chain: Vec<Digest> = Vec::new();
    for layer in layers {
        let tar = layer(Tar::new()).build();
        chain.push(fixture.apply(chain.last(), &tar).unwrap());
    }
    let tree = fixture.tree(&chain);
    assert_eq!(tree.paths(), expected);
    assert_eq!(fixture.leftovers(), Vec::<String>::new());
    tree
}

type Build = fn(Tar) -> Tar;

#[test]
fn a_whiteout_hides_a_file_and_a_directory() {
    let base: Build = |tar| tar.dir("d", 0o755).file("d/a", "a").file("d/b", "b").file("e", "e");
    check(&[base, |tar| tar.file("d/.wh.a", "")], &["d", "d/b", "e"]);
    check(&[base, |tar| tar.file(".wh.d", "")], &["e"]);
    check(&[base, |tar| tar.file(".wh.d", "").file(".wh.e", "")], &[]);
}

#[test]
fn a_whiteout_never_hides_its_own_layer_whatever_the_order() {
    let base: Build = |tar| tar.dir("d", 0o755).file("d/old", "old").file("f", "old");
    fn new(tar: Tar) -> Tar {
        tar.dir("d", 0o755).file("d/new", "new").file("f", "new")
    }
    let before: Build = |tar| new(tar.file(".wh.d", "").file(".wh.f", ""));
    let after: Build = |tar| new(tar).file(".wh.d", "").file(".wh.f", "");
    for layer in [before, after] {
        let tree = check(&[base, layer], &["d", "d/new", "f"]);
        assert_eq!(tree.text("f"), "new");
    }
}

#[test]
fn an_opaque_directory_hides_lower_children_only() {
    let base: Build =
        |tar| tar.dir("d", 0o700).file("d/old", "").dir("d/sub", 0o755).file("d/sub/x", "");
    let before: Build =
        |tar| tar.dir("d", 0o755).file("d/.wh..wh..opq", "").dir("d/sub", 0o755).file("d/new", "");
    let after: Build =
        |tar| tar.dir("d", 0o755).dir("d/sub", 0o755).file("d/new", "").file("d/.wh..wh..opq", "");
    check(&[base, before], &["d", "d/new", "d/sub"]);
    check(&[base, after], &["d", "d/new", "d/sub"]);
    // Not mentioned otherwise: it is empty and keeps its attributes.
    let tree = check(&[base, |tar| tar.file("d/.wh..wh..opq", "")], &["d"]);
    assert_eq!(tree.node("d").mode, 0o700);
    // Beside explicit whiteouts, and on a directory that hides nothing.
    check(&[base, |tar| tar.file("d/.wh.old", "").file("d/.wh..wh..opq", "")], &["d"]);
    check(
        &[base, |tar| tar.dir("n", 0o755).file("n/.wh..wh..opq", "").file("n/f", "")],
        &["d", "d/old", "d/sub", "d/sub/x", "n", "n/f"],
    );
}

#[test]
fn an_opaque_root_hides_everything_below() {
    let base: Build = |tar| tar.dir("d", 0o755).file("d/old", "").file("f", "");
    check(
        &[base, |tar| tar.file(".wh..wh..opq", "").dir("d", 0o755).file("d/n", "")],
        &["d", "d/n"],
    );
    check(&[base, |tar| tar.file(".wh..wh..opq", ""), |tar| tar.file("g", "")], &["g"]);
}

#[test]
fn a_needless_whiteout_is_not_listed() {
    // overlayfs shows a whiteout in a directory that only one layer has.
    check(&[|tar| tar.dir("d", 0o755).file("d/.wh.gone", "").file("d/f", "")], &["d", "d/f"]);
    check(
        &[|tar| tar.file("f", ""), |tar| tar.dir("d", 0o755).file("d/.wh.gone", "")],
        &["d", "f"],
    );
    check(
        &[
            |tar| tar.dir("d", 0o755).file("d/x", ""),
            |tar| tar.file(".wh.d", "").dir("d", 0o755).file("d/.wh.x", "").file("d/y", ""),
        ],
        &["d", "d/y"],
    );
}

#[test]
fn directories_and_others_replace_each_other_across_layers() {
    let dir: Build = |tar| tar.dir("x", 0o755).file("x/old", "");
    let file: Build = |tar| tar.file("x", "file");
    let link: Build = |tar| tar.symlink("x", "/etc");
    check(&[dir, file], &["x"]);
    check(&[dir, link], &["x"]);
    let new: Build = |tar| tar.dir("x", 0o755).file("x/new", "");
    check(&[dir, file, new], &["x", "x/new"]);
    check(&[link, new], &["x", "x/new"]);
    check(&[dir, |tar| tar.file(".wh.x", ""), new], &["x", "x/new"]);
    check(&[dir, new], &["x", "x/new", "x/old"]);
}

#[test]
fn within_a_layer_the_last_one_wins() {
    let tree = check(&[|tar| tar.file("a", "first").file("a", "second")], &["a"]);
    assert_eq!(tree.text("a"), "second");
    check(&[|tar| tar.dir("a", 0o755).file("a/b/c", "").file("a", "file")], &["a"]);
    check(&[|tar| tar.file("a", "").dir("a", 0o700).file("a/b", "")], &["a", "a/b"]);
    let tree = check(&[|tar| tar.dir("a", 0o755).file("a/b", "").dir("a", 0o700)], &["a", "a/b"]);
    assert_eq!(tree.node("a").mode, 0o700);
    // Through a hard link or a symlink nothing is written.
    let tree = check(&[|tar| tar.file("a", "a").hard_link("b", "a").file("b", "b")], &["a", "b"]);
    assert_eq!((tree.text("a"), tree.text("b")), ("a".into(), "b".into()));
    let tree = check(&[|tar| tar.file("a", "a").symlink("b", "a").file("b", "b")], &["a", "b"]);
    assert_eq!((tree.text("a"), tree.text("b")), ("a".into(), "b".into()));
}

#[test]
fn missing_parents_are_made_and_keep_lower_attributes() {
    let tree = check(&[|tar| tar.file("a/b/c", "")], &["a", "a/b", "a/b/c"]);
    let Node { mode, owner, mtime, .. } = tree.node("a/b").clone();
    assert_eq!((mode, owner, mtime), (0o755, (0, 0), (0, 0)));
    let base: Build = |tar| {
        let meta = Meta { mode: 0o1777, uid: 5, gid: 6, mtime: 77, ..Meta::default() };
        tar.raw(b'5', "tmp", "", b"", &meta)
    };
    let tree = check(&[base, |tar| tar.file("tmp/f", "")], &["tmp", "tmp/f"]);
    let Node { mode, owner, mtime, .. } = tree.node("tmp").clone();
    assert_eq!((mode, owner, mtime), (0o1777, (5, 6), (77, 0)));
}

#[test]
fn a_parent_that_is_no_directory_is_replaced_not_followed() {
    check(&[|tar| tar.file("a", "").file("a/b", "")], &["a", "a/b"]);
    check(
        &[|tar| tar.dir("real", 0o755).symlink("a", "real").file("a/b", "")],
        &["a", "a/b", "real"],
    );
    let base: Build = |tar| tar.dir("real", 0o755).symlink("a", "real");
    check(&[base, |tar| tar.file("a/b", "")], &["a", "a/b", "real"]);
}

#[test]
fn hard_links() {
    let fixture = fixture();
    let base = fixture.apply(None, &Tar::new().file("low", "low").build()).unwrap();
    let tar = Tar::new()
        .file("a", "a")
        .hard_link("b", "a")
        .hard_link("./d/c", "/a")
        .symlink("s", "nowhere")
        .hard_link("t", "s")
        .hard_link("high", "low")
        .build();
    let top = fixture.apply(Some(&base), &tar).unwrap();
    let lowers = fixture.store.snapshots().lower_dirs(&[base.clone(), top]).unwrap();
    let inode = |name: &str| fs_err::symlink_metadata(lowers[0].join(name)).unwrap().ino();
    assert_eq!(inode("a"), inode("b"));
    assert_eq!(inode("a"), inode("d/c"));
    assert_eq!(inode("s"), inode("t"));
    assert_eq!(inode("high"), inode("low"), "a link across layers copies up first");
    let merged = Overlay::mount(fixture.dir.path(), &lowers, None);
    assert_eq!(fs_err::read_to_string(merged.path.join("high")).unwrap(), "low");

    let later = Tar::new().hard_link("b", "a").file("a", "").build();
    assert_eq!(
        fixture.apply(Some(&base), &later).unwrap_err(),
        format!(
            "cannot unpack layer {}: entry `b` is a hard link to `a`, which is not in the layer \
             before it nor below it",
            Digest::sha256(&later)
        )
    );
    for link in ["a", "gone", "", "/", "d"] {
        let tar = Tar::new().dir("d", 0o755).hard_link("a", link).build();
        fixture.apply(None, &tar).expect_err(link);
    }
}

#[test]
fn attributes_survive() {
    const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let tree = check(
        &[|tar| {
            let setuid = Meta {
                mode: 0o104_755, // with the file type bits of old writers
                uid: 1000,
                gid: 1000,
                pax: &[
                    ("SCHILY.xattr.security.capability", CAPABILITY),
                    ("SCHILY.xattr.user.k", b"v"),
                ],
                ..Meta::default()
            };
            let early = Meta { pax: &[("mtime", b"-1.25")], ..Meta::default() };
            let fine = Meta { pax: &[("mtime", b"12.000000034")], ..Meta::default() };
            let large =
                Meta { pax: &[("uid", b"4000000000"), ("gid", b"3000000")], ..Meta::default() };
            let binary = Meta { uid: 5_000_000, gid: 6_000_000, ..Meta::default() };
            let hidden =
                Meta { pax: &[("SCHILY.xattr.trusted.overlay.opaque", b"y")], ..Meta::default() };
            tar.raw(b'0', "setuid", "", b"x", &setuid)
                .raw(b'0', "early", "", b"", &early)
                .raw(b'5', "fine", "", b"", &fine)
                .raw(b'0', "fine/file", "", b"", &fine)
                .raw(b'2', "link", "to", b"", &early)
                .raw(b'0', "large", "", b"", &large)
                .raw(b'0', "binary", "", b"", &binary)
                .raw(b'0', "hidden", "", b"", &hidden)
                .raw(b'5', "none", "", b"", &Meta { mode: 0, ..Meta::default() })
                .raw(b'0', "none/inside", "", b"", &Meta { mode: 0, ..Meta::default() })
        }],
        &[
            "binary",
            "early",
            "fine",
            "fine/file",
            "hidden",
            "large",
            "link",
            "none",
            "none/inside",
            "setuid",
        ],
    );
    let setuid = tree.node("setuid");
    assert_eq!((setuid.mode, setuid.owner), (0o4755, (1000, 1000)));
    let expected =
        vec![("security.capability".into(), CAPABILITY.to_vec()), ("user.k".into(), b"v".to_vec())];
    assert_eq!(setuid.xattrs, expected);
    assert_eq!(tree.node("early").mtime, (-2, 750_000_000));
    assert_eq!(tree.node("link").mtime, (-2, 750_000_000));
    assert_eq!(tree.node("fine").mtime, (12, 34), "set after the file in it was made");
    assert_eq!(tree.node("fine/file").mtime, (12, 34));
    assert_eq!(tree.node("large").owner, (4_000_000_000, 3_000_000));
    assert_eq!(tree.node("binary").owner, (5_000_000, 6_000_000));
    assert_eq!(tree.node("none/inside").mode, 0);
}

#[test]
fn devices_and_fifos() {
    let tree = check(
        &[|tar| {
            tar.device(b'3', "null", (1, 3)).device(b'4', "sda", (8, 0)).device(b'6', "p", (0, 0))
        }],
        &["null", "p", "sda"],
    );
    assert_eq!(tree.node("null").what, What::Char(rustix::fs::makedev(1, 3)));
    assert_eq!(tree.node("sda").what, What::Block(rustix::fs::makedev(8, 0)));
    assert_eq!(tree.node("p").what, What::Fifo);
    assert_eq!(tree.node("p").mode, 0o600);
}

#[test]
fn the_root_keeps_its_attributes_through_layers() {
    let base: Build =
        |tar| tar.raw(b'5', "./", "", b"", &Meta { mode: 0o700, mtime: 99, ..Meta::default() });
    let tree = check(&[base], &[]);
    assert_eq!(tree.node("").mode, 0o755, "what was packed first is not of the image");
    let tree = check(&[|tar| tar.file("a", ""), base, |tar| tar.file("f", "")], &["a", "f"]);
    assert_eq!((tree.node("").mode, tree.node("").mtime), (0o700, (99, 0)));
}

#[test]
fn long_names_and_targets() {
    let fixture = fixture();
    let name = format!("{}/{}", "d".repeat(200), "f".repeat(255));
    let target = "t".repeat(4000);
    let tar = Tar::new()
        .raw(
            b'0',
            "short",
            "",
            b"x",
            &Meta { pax: &[("path", name.as_bytes())], ..Meta::default() },
        )
        .raw(
            b'2',
            "s",
            "y",
            b"",
            &Meta { pax: &[("linkpath", target.as_bytes())], ..Meta::default() },
        )
        .build();
    let chain = [fixture.apply(None, &tar).unwrap()];
    let tree = fixture.tree(&chain);
    assert_eq!(tree.text(&name), "x");
    assert_eq!(tree.node("s").what, What::Link(target));
    // and out again
    let mut again = Vec::new();
    fixture.store.snapshots().write_tar(&chain[0], &mut again).unwrap();
    let other = self::fixture();
    let chain = [other.apply(None, &again).unwrap()];
    assert_eq!(other.tree(&chain), tree);
}

#[test]
fn zeros_become_holes() {
    let fixture = fixture();
    let size: usize = 8 << 20;
    let mut data = vec![0; size];
    data[4 << 20] = 1;
    let tar = Tar::new().raw(b'0', "sparse", "", &data, &Meta::default());
    let tar = tar.raw(b'0', "zeros", "", &data[..1 << 20], &Meta::default()).build();
    let chain = [fixture.apply(None, &tar).unwrap()];
    let fs = &fixture.store.snapshots().lower_dirs(&chain).unwrap()[0];
    let file = fs_err::metadata(fs.join("sparse")).unwrap();
    assert_eq!(file.size(), size as u64);
    assert!(file.blocks() * 512 < 1 << 20, "{} blocks", file.blocks());
    assert_eq!(fs_err::read(fs.join("sparse")).unwrap(), data);
    let file = fs_err::metadata(fs.join("zeros")).unwrap();
    assert_eq!((file.size(), file.blocks()), (1 << 20, 0));
}

#[test]
fn sparse_archives_of_gnu_tar() {
    let fixture = fixture();
    let source = fixture.path("source");
    fs_err::create_dir(&source).unwrap();
    let file = fs_err::File::create(source.join("f")).unwrap();
    // More segments than one header holds.
    for at in 0..40_u64 {
        rustix::io::pwrite(file.file(), b"data", at * 131_072).unwrap();
    }
    file.set_len(6 << 20).unwrap();
    let expected = fs_err::read(source.join("f")).unwrap();
    for format in [
        &["--format=gnu"][..],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
    ] {
        let mut tar = std::process::Command::new("tar");
        tar.args(["-c", "-S", "--hole-detection=raw"]).args(format);
        let output = tar.arg("-C").arg(&source).arg("f").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(output.stdout.len() < 1 << 20, "tar must have left the holes out");
        let chain = [fixture.apply(None, &output.stdout).unwrap()];
        let fs = &fixture.store.snapshots().lower_dirs(&chain).unwrap()[0];
        assert!(fs_err::read(fs.join("f")).unwrap() == expected, "{format:?}");
    }
}

#[test]
fn an_unchanged_draft_is_empty_and_one_layer_is_stored_once() {
    let fixture = fixture();
    let snapshots = fixture.store.snapshots();
    let base = fixture.apply(None, &Tar::new().file("f", "f").build()).unwrap();
    let layer = snapshots.draft(std::slice::from_ref(&base)).unwrap().commit("").unwrap();
    assert!(layer.empty);
    assert_eq!((layer.size, layer.diff_id.clone()), (1024, Digest::sha256(&[0; 1024])));
    let make = || {
        let draft = snapshots.draft(std::slice::from_ref(&base)).unwrap();
        let path = draft.upper.join("new");
        fs_err::write(&path, "new").unwrap();
        let time = rustix::fs::Timespec { tv_sec: 5, tv_nsec: 0 };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(rustix::fs::CWD, &path, &times, rustix::fs::AtFlags::empty())
            .unwrap();
        draft.commit("").unwrap()
    };
    let first = make();
    assert_eq!(first, make());
    assert!(!first.empty);
    assert_eq!(fixture.leftovers(), Vec::<String>::new());
    drop(snapshots.draft(&[]).unwrap());
    assert_eq!(fixture.leftovers(), Vec::<String>::new());
}

#[test]
fn a_draft_says_when_the_root_changed() {
    let fixture = fixture();
    let snapshots = fixture.store.snapshots();
    let base = fixture.apply(None, &Tar::new().dir("./", 0o750).build()).unwrap();
    let draft = snapshots.draft(std::slice::from_ref(&base)).unwrap();
    assert_eq!(fs_err::metadata(&draft.upper).unwrap().mode() & 0o7777, 0o755);
    use std::os::unix::fs::PermissionsExt;
    fs_err::set_permissions(&draft.upper, std::fs::Permissions::from_mode(0o711)).unwrap();
    let layer = draft.commit("").unwrap();
    let mut tar = Vec::new();
    snapshots.write_tar(&layer.chain_id, &mut tar).unwrap();
    assert_eq!(Digest::sha256(&tar), layer.diff_id);
    let other = self::fixture();
    let base = other.apply(None, &Tar::new().dir("./", 0o750).build()).unwrap();
    let top = other.apply(Some(&base), &tar).unwrap();
    assert_eq!(other.tree(&[base, top]).node("").mode, 0o711);
}

#[test]
fn names_that_a_layer_cannot_hold_are_refused() {
    let fixture = fixture();
    let draft = fixture.store.snapshots().draft(&[]).unwrap();
    fs_err::create_dir(draft.upper.join("d")).unwrap();
    fs_err::write(draft.upper.join("d/.wh.x"), "").unwrap();
    let error = crate::support::chain(&draft.commit("").unwrap_err());
    assert!(error.contains("`d/.wh.x` cannot be stored in a layer"), "{error}");
    assert_eq!(fixture.leftovers(), Vec::<String>::new());
}
