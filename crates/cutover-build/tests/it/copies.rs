//! COPY, ADD and WORKDIR: what ends where, with which owner and mode.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use crate::support::Lab;

/// `mode uid gid` of a file of the image.
#[track_caller]
fn check(lab: &Lab, path: &str, expected: &str) {
    let meta = fs_err::symlink_metadata(lab.file(path)).unwrap();
    let got = format!("{:o} {} {}", meta.mode() & 0o7777, meta.uid(), meta.gid());
    assert_eq!(got, expected, "of `{path}`");
}

#[test]
fn owners_and_modes() {
    let lab = Lab::new();
    lab.write("d/f", "x");
    let file = lab.context.join("d/f");
    std::os::unix::fs::chown(&file, Some(7), Some(7)).unwrap();
    fs_err::set_permissions(&file, std::fs::Permissions::from_mode(0o4750)).unwrap();
    let text = "FROM base
        COPY d/f /plain
        COPY --chown=app d /named/deep/
        COPY --chown=5 d/f /number
        COPY --chown=app:extra --chmod=600 d/f /both
        COPY --chown=nobody-knows d/f /unknown
        COPY --chmod=u=rwX,go=rX d /symbolic
        WORKDIR /work/dir
        USER app
        WORKDIR mine
        ";
    lab.build(text).unwrap();
    check(&lab, "plain", "4750 0 0");
    check(&lab, "named/deep/f", "4750 1000 1001");
    check(&lab, "named", "755 1000 1001");
    check(&lab, "number", "4750 5 5");
    check(&lab, "both", "600 1000 1002");
    check(&lab, "unknown", "4750 0 0");
    check(&lab, "symbolic/f", "755 0 0");
    check(&lab, "work/dir", "755 0 0");
    check(&lab, "work/dir/mine", "755 1000 1001");
}

#[test]
fn directories_merge_and_links_stay_inside() {
    let lab = Lab::new();
    lab.write("d/new", "new");
    lab.write("d/sub/file", "file");
    symlink("new", lab.context.join("d/link")).unwrap();
    let outside = lab.context.with_file_name("outside");
    fs_err::create_dir(&outside).unwrap();
    let outside_text = outside.to_str().unwrap();
    let text = format!(
        "FROM base
        RUN mkdir -p /d/sub /real && touch /d/old && ln -s /real /to
        RUN ln -s ../../../../../..{outside_text} /escape && ln -s /nowhere/deep /dangling
        COPY d /d
        COPY d/new /to/
        COPY d/new /escape/
        COPY d/new /dangling/
        COPY d/*.none d/n* /wild/
        "
    );
    lab.build(&text).unwrap();
    assert_eq!(lab.read("d/new"), "new");
    assert!(lab.file("d/old").exists());
    assert_eq!(fs_err::read_link(lab.file("d/link")).unwrap().to_str(), Some("new"));
    assert_eq!(lab.read("real/new"), "new");
    assert_eq!(lab.read("nowhere/deep/new"), "new");
    assert_eq!(lab.read("wild/new"), "new");
    let inside = format!("{}/new", &outside_text[1..]);
    assert_eq!(lab.read(&inside), "new", "the link was followed in the image");
    assert_eq!(fs_err::read_dir(&outside).unwrap().count(), 0, "and not on the host");
}

#[test]
fn hard_links_and_empty_layers() {
    let lab = Lab::empty();
    lab.write("d/a", "x");
    fs_err::hard_link(lab.context.join("d/a"), lab.context.join("d/b")).unwrap();
    lab.build("FROM scratch\nCOPY d /d\nCOPY nothing* /d/").unwrap();
    let inode = |path| fs_err::metadata(lab.file(path)).unwrap().ino();
    assert_eq!(inode("d/a"), inode("d/b"));
    assert_eq!(lab.layer(1), Vec::<String>::new());
}

#[test]
fn links_below_a_linked_copy_are_not_followed() {
    let lab = Lab::new();
    lab.write("f", "x");
    lab.build("FROM base\nRUN mkdir /real && ln -s /real /to\nCOPY --link f /to/").unwrap();
    assert_eq!(lab.read("to/f"), "x");
    let layers = lab.image().chain_ids.len();
    assert_eq!(lab.layer(layers - 1), ["to/", "to/f"]);
}

/// A tar with these entries: path, type, content or link target.
fn tar(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, kind, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        header.set_uid(3);
        header.set_gid(4);
        // As bytes: the crate refuses hostile names.
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        let mut data: &[u8] = &[];
        if *kind == tar::EntryType::Regular {
            data = content.as_bytes();
        } else {
            header.as_mut_bytes()[157..157 + content.len()].copy_from_slice(content.as_bytes());
        }
        header.set_size(data.len() as u64);
        header.set_cksum();
        builder.append(&header, data).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn archives_are_unpacked_by_content() {
    use std::io::Write as _;

    use tar::EntryType::{Directory, Link, Regular, Symlink};
    let lab = Lab::empty();
    let plain = tar(&[
        ("dir/", Directory, ""),
        ("dir/f", Regular, "f"),
        ("dir/again", Link, "dir/f"),
        ("dir/soft", Symlink, "f"),
        ("missing/parent/g", Regular, "g"),
    ]);
    let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    zipped.write_all(&plain).unwrap();
    fs_err::write(lab.context.join("named-anything"), zipped.finish().unwrap()).unwrap();
    fs_err::write(lab.context.join("plain.txt"), "no archive").unwrap();
    let text = "FROM scratch
        ADD named-anything /u/
        ADD plain.txt /
        ADD --unpack=false named-anything /kept
        COPY named-anything /copied";
    lab.build(text).unwrap();
    assert_eq!((lab.read("u/dir/f").as_str(), lab.read("u/missing/parent/g").as_str()), ("f", "g"));
    assert_eq!(lab.read("u/dir/again"), "f");
    check(&lab, "u/dir/f", "644 3 4");
    assert_eq!(lab.read("plain.txt"), "no archive");
    assert!(lab.file("kept").is_file() && lab.file("copied").is_file());
}

#[test]
fn hostile_archives_stay_below_the_destination() {
    use tar::EntryType::{Regular, Symlink};
    let lab = Lab::empty();
    let outside = lab.context.with_file_name("outside");
    fs_err::create_dir(&outside).unwrap();
    let link = outside.to_str().unwrap();
    let hostile = tar(&[
        ("../../../../up", Regular, "1"),
        ("/absolute", Regular, "2"),
        ("out", Symlink, link),
        ("out/through", Regular, "3"),
        ("back", Symlink, "../../../../.."),
        ("back/through", Regular, "4"),
    ]);
    fs_err::write(lab.context.join("a.tar"), hostile).unwrap();
    lab.build("FROM scratch\nADD a.tar /u/").unwrap();
    assert_eq!((lab.read("u/up").as_str(), lab.read("u/absolute").as_str()), ("1", "2"));
    assert_eq!(lab.read("u/through"), "4");
    assert_eq!(lab.read(&format!("u{link}/through")), "3");
    assert_eq!(fs_err::read_dir(&outside).unwrap().count(), 0);
}

/// Below a directory that a copy makes, files are written past the overlay, by several threads.
#[test]
fn a_new_directory_hides_what_was_removed() {
    let lab = Lab::new();
    for number in 0..100 {
        lab.write(&format!("tree/sub{}/file{number}", number % 3), &format!("{number}"));
    }
    let name = |name: &str| lab.context.join("tree/sub0").join(name);
    fs_err::hard_link(name("file0"), name("same")).unwrap();
    symlink("file0", name("link")).unwrap();
    let text = "FROM base\n\
        RUN mkdir -p /d/sub0 /e/sub1 && echo old > /d/sub0/old && echo kept > /e/sub1/kept\n\
        RUN rm -r /d\n\
        COPY --chown=7:8 tree /d\n\
        COPY tree /e\n\
        RUN find /d -type f | wc -l > /count; stat -c '%h %u:%g' /d/sub0/same > /same; \
            cat /d/*/* | wc -c >> /count; ls /e/sub1 | wc -l >> /count; test ! -e /d/sub0/old && cat /e/sub1/kept";
    lab.build(text).unwrap();
    assert_eq!(lab.read("count"), "101\n192\n34\n");
    assert_eq!(lab.read("same"), "2 7:8\n");
    assert!(!lab.file("d/sub0").join("old").exists());
}
