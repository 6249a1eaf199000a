use std::io;

use super::*;
use crate::container::LogConfig;
use crate::logs::write::stamp;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn write(writer: &mut Writer, second: i64, text: &str) {
    writer.add(Stream::Stdout, &stamp(at(second)), text.as_bytes());
    writer.flush(at(second));
}

fn read(reader: &mut Reader) -> Vec<String> {
    std::iter::from_fn(|| reader.next().unwrap()).map(|entry| entry.text).collect()
}

fn numbers(range: std::ops::Range<i64>) -> Vec<String> {
    range.map(|n| format!("{n}\n")).collect()
}

#[test]
fn entries_read_back_as_they_were_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(dir.path(), LogConfig::default()).unwrap();
    let time = "2024-05-06T07:08:09.000000010Z".parse().unwrap();
    writer.add(Stream::Stderr, &stamp(time), b"q\" b\\ t\t \x1b[0m \xff \xc3\xa9\r\n");
    writer.flush(time);
    let file = fs_err::read_to_string(dir.path().join("container.log")).unwrap();
    insta::assert_snapshot!(
        file.trim_end(),
        @r#"{"log":"q\" b\\ t\t \u001b[0m � é\r\n","stream":"stderr","time":"2024-05-06T07:08:09.000000010Z"}"#
    );
    let entry = Reader::open(dir.path(), &LogOptions::default()).unwrap().next().unwrap();
    let text = "q\" b\\ t\t \u{1b}[0m \u{fffd} é\r\n".to_owned();
    assert_eq!(entry, Some(Entry { time, stream: Stream::Stderr, text }));
}

fn small() -> LogConfig {
    // Each entry of `numbers` takes 70 or 71 bytes: three fit.
    LogConfig { size: 220, files: 3 }
}

#[test]
fn rotation_bounds_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(dir.path(), small()).unwrap();
    for n in 0..100 {
        write(&mut writer, n, &format!("{n}\n"));
    }
    let sizes: Vec<u64> = fs_err::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .collect();
    assert_eq!(sizes.len(), 3);
    assert!(sizes.iter().all(|size| *size <= 220), "{sizes:?}");
    let mut reader = Reader::open(dir.path(), &LogOptions::default()).unwrap();
    let kept = read(&mut reader);
    assert_eq!(kept, numbers(100 - i64::try_from(kept.len()).unwrap()..100), "the newest");
}

#[test]
fn a_follower_crosses_rotations() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(dir.path(), small()).unwrap();
    let mut reader = Reader::open(dir.path(), &LogOptions::default()).unwrap();
    let mut seen = Vec::new();
    for n in 0..50 {
        write(&mut writer, n, &format!("{n}\n"));
        if n % 4 == 0 {
            seen.extend(read(&mut reader));
        }
    }
    seen.extend(read(&mut reader));
    assert_eq!(seen, numbers(0..50));
}

#[test]
fn one_file_only() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(dir.path(), LogConfig { size: 220, files: 1 }).unwrap();
    let mut reader = Reader::open(dir.path(), &LogOptions::default()).unwrap();
    let mut seen = Vec::new();
    for n in 0..10 {
        write(&mut writer, n, &format!("{n}\n"));
        seen.extend(read(&mut reader));
    }
    assert_eq!(seen, numbers(0..10));
}

#[test]
fn tail_since_and_until() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(dir.path(), small()).unwrap();
    for n in 0..8 {
        write(&mut writer, n, &format!("{n}\n"));
    }
    let check = |options: LogOptions, expected: std::ops::Range<i64>| {
        let mut reader = Reader::open(dir.path(), &options).unwrap();
        assert_eq!(read(&mut reader), numbers(expected), "{options:?}");
    };
    let options = LogOptions::default;
    check(LogOptions { tail: Some(0), ..options() }, 8..8);
    check(LogOptions { tail: Some(1), ..options() }, 7..8);
    check(LogOptions { tail: Some(3), ..options() }, 5..8);
    check(LogOptions { tail: Some(7), ..options() }, 1..8);
    check(LogOptions { tail: Some(99), ..options() }, 0..8);
    check(LogOptions { since: Some(at(2)), ..options() }, 2..8);
    check(LogOptions { until: Some(at(2)), ..options() }, 0..3);
    check(LogOptions { since: Some(at(2)), until: Some(at(4)), ..options() }, 2..5);
}

#[test]
fn a_torn_line_is_skipped_and_ended() {
    let dir = tempfile::tempdir().unwrap();
    write(&mut Writer::open(dir.path(), small()).unwrap(), 0, "0\n");
    let path = dir.path().join("container.log");
    let whole = fs_err::read(&path).unwrap();
    fs_err::write(&path, [&whole, &whole[..20]].concat()).unwrap();
    write(&mut Writer::open(dir.path(), small()).unwrap(), 1, "1\n");
    let mut reader = Reader::open(dir.path(), &LogOptions::default()).unwrap();
    assert_eq!(read(&mut reader), numbers(0..2));
}

#[test]
fn an_empty_log_has_no_entries() -> io::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut reader = Reader::open(dir.path(), &LogOptions::default())?;
    assert_eq!(reader.next()?, None);
    Ok(())
}
