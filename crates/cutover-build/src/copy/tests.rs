//! Archives: what counts as one, and what is kept out.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;

use super::{ArchiveError, CopyError, archive, unpack};
use crate::tree::Tree;

/// A tar with `d/f` (mode 0640, owner 7:8, time 1000, content `hi`), compressed with xz.
const XZ: &[u8] = &[
    0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0x00, 0x04, 0xe6, 0xd6, 0xb4, 0x46, 0x02, 0x00, 0x21, 0x01,
    0x16, 0x00, 0x00, 0x00, 0x74, 0x2f, 0xe5, 0xa3, 0xe0, 0x27, 0xff, 0x00, 0x60, 0x5d, 0x00, 0x32,
    0x0b, 0xc8, 0xc0, 0x0e, 0x50, 0x27, 0x08, 0xfc, 0xe7, 0x00, 0xa3, 0x80, 0x49, 0xb2, 0xc1, 0xc4,
    0x3d, 0xc4, 0x6c, 0x41, 0xbd, 0xd2, 0xbb, 0x95, 0x14, 0x36, 0xf1, 0x2c, 0x46, 0xbb, 0x1a, 0x36,
    0xee, 0x97, 0xad, 0x96, 0x0e, 0xc3, 0x24, 0x7c, 0x42, 0x58, 0xa4, 0x87, 0xa6, 0x3a, 0xc0, 0x3c,
    0x25, 0xe1, 0xb1, 0xb2, 0xdb, 0xd6, 0xad, 0x4d, 0x9a, 0x52, 0x43, 0x29, 0x08, 0x23, 0x87, 0x8d,
    0x99, 0x2c, 0x83, 0xbd, 0xdc, 0xca, 0xbc, 0xbd, 0xf2, 0x6e, 0x29, 0xe6, 0x5d, 0x49, 0x33, 0xd4,
    0x5f, 0xdb, 0x53, 0xaa, 0x6e, 0x7e, 0xbb, 0x79, 0xd6, 0x81, 0x1a, 0xb2, 0x06, 0xb9, 0x00, 0x00,
    0x78, 0x02, 0xec, 0x54, 0xf2, 0xa1, 0xcb, 0x1b, 0x00, 0x01, 0x7c, 0x80, 0x50, 0x00, 0x00, 0x00,
    0x57, 0xa6, 0x5e, 0xc5, 0xb1, 0xc4, 0x67, 0xfb, 0x02, 0x00, 0x00, 0x00, 0x00, 0x04, 0x59, 0x5a,
];

fn tar(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, kind, content) in entries {
        let mut header = tar::Header::new_ustar();
        // as hostile programs do: no check of the name
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        let data = match kind {
            tar::EntryType::Regular => content.as_bytes(),
            _ => {
                header.as_mut_bytes()[157..157 + content.len()].copy_from_slice(content.as_bytes());
                b""
            }
        };
        header.set_size(data.len() as u64);
        header.set_cksum();
        builder.append(&header, data).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Unpacks into a directory that is itself in a directory.
fn unpacked(bytes: &[u8]) -> (tempfile::TempDir, Result<(), CopyError>) {
    let dir = tempfile::tempdir().unwrap();
    fs_err::create_dir(dir.path().join("in")).unwrap();
    let tree = Tree::open(&dir.path().join("in")).unwrap();
    let result = unpack(archive::open(bytes).expect("a tar"), &tree, "x.tar", None);
    (dir, result)
}

#[test]
fn every_compression_is_told_by_content() {
    let plain = archive::open(XZ).map(|mut bytes| {
        let mut plain = Vec::new();
        bytes.read_to_end(&mut plain).unwrap();
        plain
    });
    let plain = plain.expect("xz");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(&plain).unwrap();
    let zstd = zstd::encode_all(plain.as_slice(), 1).unwrap();
    let all = [plain, gzip.finish().unwrap(), bzip2.finish().unwrap(), zstd, XZ.to_vec()];
    for bytes in all {
        let (dir, result) = unpacked(&bytes);
        result.unwrap();
        let file = dir.path().join("in/d/f");
        let meta = fs_err::metadata(&file).unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), (0o640, 7, 8));
        assert_eq!((meta.mtime(), fs_err::read_to_string(&file).unwrap().as_str()), (1000, "hi"));
    }
}

#[test]
fn what_is_no_archive_is_none() {
    for bytes in
        [&b""[..], b"text", &[0; 2048], &[0x1f, 0x8b, 8, 0, 0, 0], b"BZh91AY&SY junk", &XZ[..30]]
    {
        assert!(archive::open(bytes).is_none(), "{bytes:?}");
    }
    let zipped_text = zstd::encode_all(&b"text"[..], 1).unwrap();
    assert!(archive::open(zipped_text.as_slice()).is_none());
}

#[test]
fn nothing_leaves_the_directory() {
    use tar::EntryType::{Link, Regular, Symlink};
    let (dir, result) = unpacked(&tar(&[
        ("../up", Regular, "x"),
        ("/abs", Regular, "x"),
        ("out", Symlink, "/"),
        ("out/through", Regular, "x"),
        ("up2", Symlink, "../.."),
        ("up2/over", Regular, "x"),
        ("hard", Link, "../../abs"),
    ]));
    result.unwrap();
    let mut names: Vec<_> = fs_err::read_dir(dir.path().join("in"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["abs", "hard", "out", "over", "through", "up", "up2"]);
    assert_eq!(fs_err::read_dir(dir.path()).unwrap().count(), 1);
    let (_dir, result) = unpacked(&tar(&[("hard", Link, "/etc/passwd")]));
    assert!(result.is_err(), "a file of the host must not be linked");
    let (_dir, result) = unpacked(&tar(&[("a/.wh.b", Regular, "")]));
    assert!(matches!(result, Err(CopyError::Whiteout { .. })));
}

#[test]
fn a_cut_archive_is_an_error() {
    let whole = tar(&[("f", tar::EntryType::Regular, &"x".repeat(2000))]);
    let (_dir, result) = unpacked(&whole[..1500]);
    assert!(matches!(result, Err(CopyError::Archive(ArchiveError::Tar { .. }))));
}

#[test]
fn zeros_take_no_place_and_bombs_end() {
    // 2 GiB of zeros in one file: about 64 KiB of zstd
    let size = 2_u64 << 30;
    let mut header = tar::Header::new_gnu();
    header.set_path("zeros").unwrap();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    let tar = std::io::Cursor::new(header.as_bytes().to_vec())
        .chain(std::io::repeat(0).take(size + 1024));
    let bytes = zstd::encode_all(tar, 1).unwrap();
    assert!((bytes.len() as u64) < size / 1100, "{}", bytes.len());
    let (dir, result) = unpacked(&bytes);
    let error = result.unwrap_err();
    let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    let text = format!("{error} {source}");
    assert!(text.contains("zeros") || text.contains("x.tar"), "{text}");
    let file = fs_err::metadata(dir.path().join("in/zeros")).unwrap();
    assert!(file.blocks() * 512 < 1 << 20, "holes stay holes: {}", file.blocks());
}
