use proptest::prelude::*;

use super::header::BLOCK;
use super::*;

fn read_all(bytes: &[u8]) -> Result<Vec<Entry>, String> {
    let mut reader = Reader::new(bytes, Limits::default());
    let mut entries = Vec::new();
    while let Some(entry) = reader.next().map_err(|error| error.to_string())? {
        entries.push(entry);
    }
    Ok(entries)
}

fn entry(path: &str, kind: Kind) -> Entry {
    Entry {
        path: path.as_bytes().to_vec(),
        kind,
        link: Vec::new(),
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: Time::default(),
        size: 0,
        device: (0, 0),
        xattrs: Vec::new(),
        sparse: None,
    }
}

/// One header whose field at `at` has these bytes, sealed.
fn with_field(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    write_header(&mut block, &entry("f", Kind::File));
    block[at..at + bytes.len()].copy_from_slice(bytes);
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.extend_from_slice(&TRAILER);
    block
}

#[test]
fn paths_are_cleaned() {
    let check = |path: &str, expected: &str| {
        assert_eq!(clean(path.as_bytes()).as_deref(), Some(expected.as_bytes()), "{path}");
    };
    check("", "");
    check("./", "");
    check("/", "");
    check("..", "");
    check("./usr//bin/", "usr/bin");
    check("/etc/passwd", "etc/passwd");
    check("../../etc", "etc");
    check("a/../../b/./c", "b/c");
    check("a..", "a..");
    assert_eq!(clean(b"a\0b"), None);
    assert_eq!(split(b"a/b/c"), (&b"a/b"[..], &b"c"[..]));
    assert_eq!(split(b"a"), (&b""[..], &b"a"[..]));
}

#[test]
fn numbers_in_every_spelling() {
    let seconds = |bytes: &[u8]| read_all(&with_field(136, bytes)).map(|all| all[0].mtime.seconds);
    assert_eq!(seconds(b"00000000017\0"), Ok(15));
    assert_eq!(seconds(b"         17 "), Ok(15));
    assert_eq!(seconds(b"\0\0\0\0\0\0\0\0\0\0\0\0"), Ok(0));
    assert_eq!(seconds(b"\x80\0\0\0\0\0\0\0\x01\0\0\0"), Ok(1 << 24));
    assert_eq!(seconds(&[0xff; 12]), Ok(-1));
    let far = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xf0, 0];
    assert_eq!(seconds(&far), Ok(-4096));
    let bad = "the header at byte 0 has a bad modification time";
    assert_eq!(seconds(b"0000000009\0\0"), Err(bad.into()));
    assert_eq!(seconds(b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), Err(bad.into()));
    let uid = |bytes: &[u8]| read_all(&with_field(108, bytes)).map(|all| all[0].uid);
    assert_eq!(uid(b"\x80\0\0\0\0\x20\0\0"), Ok(1 << 21));
    assert_eq!(uid(&[0xff; 8]), Err("the header at byte 0 has a bad user id".into()));
}

#[test]
fn only_permission_bits_are_read() {
    assert_eq!(read_all(&with_field(100, b"0104755\0")).unwrap()[0].mode, 0o4755);
}

#[test]
fn a_slash_makes_an_old_file_a_directory() {
    assert_eq!(read_all(&with_field(0, b"d/")).unwrap()[0].kind, Kind::Directory);
}

#[test]
fn what_is_not_a_tar_is_refused() {
    let check = |bytes: &[u8], expected: &str| {
        assert_eq!(read_all(bytes).map(drop), Err(expected.into()));
    };
    check(&[b'x'; BLOCK], "not a tar: the header at byte 0 has a wrong checksum");
    check(&with_field(156, b"Q"), "entry `f` has an unknown type `Q`");
    check(
        &with_field(124, b"00000010000"),
        "the tar is truncated: it ends in entry `f` (byte 1536)",
    );
    check(
        &with_field(0, b"f")[..100],
        "the tar is truncated: it ends before its first entry (byte 0)",
    );
}

#[test]
fn gnu_long_names() {
    let name = "n".repeat(300);
    let mut bytes = with_field(156, b"L")[..BLOCK].to_vec();
    bytes[124..135].copy_from_slice(b"00000000455"); // 301
    bytes[148..156].fill(b' ');
    let sum: u32 = bytes.iter().map(|&byte| u32::from(byte)).sum();
    bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    bytes.extend_from_slice(name.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(padding(301));
    bytes.extend_from_slice(&with_field(0, b"short"));
    assert_eq!(read_all(&bytes).unwrap()[0].path, name.as_bytes());
}

#[test]
fn pax_records() {
    let pax = |records: &[u8]| {
        let mut bytes = with_field(156, b"x")[..BLOCK].to_vec();
        bytes[124..135].copy_from_slice(format!("{:011o}", records.len()).as_bytes());
        bytes[148..156].fill(b' ');
        let sum: u32 = bytes.iter().map(|&byte| u32::from(byte)).sum();
        bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        bytes.extend_from_slice(records);
        bytes.extend_from_slice(padding(records.len() as u64));
        bytes.extend_from_slice(&with_field(0, b"f"));
        read_all(&bytes).map(|mut all| all.remove(0))
    };
    let time = |text: &str| {
        let length = text.len() + 10;
        pax(format!("{length} mtime={text}\n").as_bytes()).map(|entry| entry.mtime)
    };
    let at = |seconds, nanoseconds| Ok(Time { seconds, nanoseconds });
    assert_eq!(time("1.5"), at(1, 500_000_000));
    assert_eq!(time("1.0000000019"), at(1, 1));
    assert_eq!(time("-1"), at(-1, 0));
    assert_eq!(time("-1.25"), at(-2, 750_000_000));
    assert!(time("1.x").is_err());
    assert!(time("x").is_err());
    assert_eq!(pax(b"9 path=p\n").unwrap().path, b"p");
    assert_eq!(pax(b"9 path=p\n8 path=\n").unwrap().path, b"f", "an empty value takes it back");
    assert_eq!(pax(b"24 SCHILY.xattr.b=1\n23 ").map_err(drop), Err(()));
    for bad in [&b"path=p\n"[..], b"9 path=pp\n", b"99 path=p\n", b"8 path=p\n", b"9 path p\n"] {
        assert!(pax(bad).unwrap_err().contains("has a bad PAX record"), "{bad:?}");
    }
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let kinds = [
        Kind::File,
        Kind::HardLink,
        Kind::Symlink,
        Kind::CharDevice,
        Kind::BlockDevice,
        Kind::Directory,
        Kind::Fifo,
    ];
    let name = "[a-zé ]{1,40}(/[a-z]{1,60}){0,6}";
    let xattrs = prop::collection::btree_map(
        "user\\.[a-z]{1,9}",
        prop::collection::vec(any::<u8>(), 0..20),
        0..3,
    );
    let numbers = (0..=0o7777_u32, 0..u32::MAX, 0..u32::MAX, -9_999_999_999_i64..99_999_999_999);
    let devices = (0..0o7_777_777_u32, 0..0o7_777_777_u32);
    (
        prop::sample::select(kinds.to_vec()),
        name,
        name,
        numbers,
        0..20_000_000_000_u64,
        devices,
        xattrs,
    )
        .prop_map(|(kind, path, link, (mode, uid, gid, seconds), size, device, xattrs)| {
            Entry {
                link: match kind {
                    Kind::HardLink | Kind::Symlink => link.into_bytes(),
                    _ => Vec::new(),
                },
                device: match kind {
                    Kind::CharDevice | Kind::BlockDevice => device,
                    _ => (0, 0),
                },
                size: if kind == Kind::File { size } else { 0 },
                mode,
                uid,
                gid,
                mtime: Time { seconds, nanoseconds: 0 },
                xattrs: xattrs
                    .into_iter()
                    .map(|(name, value)| (name.into_bytes(), value))
                    .collect(),
                ..entry(&path, kind)
            }
        })
}

proptest! {
    #[test]
    fn what_is_written_is_read(mut entry in any_entry()) {
        let mut bytes = Vec::new();
        write_header(&mut bytes, &entry);
        prop_assert_eq!(bytes.len() % BLOCK, 0);
        if entry.kind == Kind::Directory {
            entry.path.push(b'/');
        }
        let found = Reader::new(bytes.as_slice(), Limits::default()).next().unwrap().unwrap();
        prop_assert_eq!(&found, &entry);
        // And by a reader that is not ours, which takes a newline for the end of a record.
        if !entry.xattrs.iter().any(|(_, value)| value.contains(&b'\n')) {
            let mut archive = tar::Archive::new(bytes.as_slice());
            let theirs = archive.entries().unwrap().next().unwrap().unwrap();
            prop_assert_eq!(theirs.path_bytes().to_vec(), entry.path);
        }
    }

    #[test]
    fn noise_never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        drop(read_all(&bytes));
        // past the checksum
        if bytes.len() >= BLOCK {
            bytes[148..156].fill(b' ');
            let sum: u32 = bytes[..BLOCK].iter().map(|&byte| u32::from(byte)).sum();
            bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            drop(read_all(&bytes));
        }
    }
}
