//! One table per unit.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;

#[test]
fn durations() {
    let check = |text: &str, micros: u64, printed: &str| {
        let duration = parse_duration(text).unwrap();
        assert_eq!(duration, Duration::from_micros(micros), "{text}");
        assert_eq!(format_duration(duration), printed, "{text}");
        assert_eq!(parse_duration(printed), Ok(duration), "{text}");
    };
    check("0", 0, "0s");
    check("10s", 10_000_000, "10s");
    check("1m30s", 90_000_000, "1m30s");
    check("90s", 90_000_000, "1m30s");
    check("1.5h", 5_400_000_000, "1h30m");
    check("500ms", 500_000, "500ms");
    check("1500us", 1500, "1ms500us");
    check("2d", 172_800_000_000, "48h");
    check(".5s", 500_000, "500ms");
    for text in ["", "5", "s", "-1s", "1x", "1 s", "1s5", "1..5s", "9999999999h", "1e3s", ".s"] {
        assert!(parse_duration(text).is_err(), "{text}");
    }
}

#[test]
fn sizes() {
    let check = |text: &str, bytes: u64| assert_eq!(parse_size(text), Ok(bytes), "{text}");
    check("0", 0);
    check("1024", 1024);
    check("1b", 1);
    check("1k", 1 << 10);
    check("512m", 512 << 20);
    check("512MB", 512 << 20);
    check("512MiB", 512 << 20);
    check("1.5g", 3 << 29);
    check("2 GB", 2 << 30);
    check("1t", 1 << 40);
    for text in ["", "m", "12q", "-1m", "1ib", "1.2.3m", "99999999999999999999", "999999p999"] {
        assert!(parse_size(text).is_err(), "{text}");
    }
    assert_eq!(parse_cpus("0.5"), Ok(500_000_000));
    assert_eq!(parse_cpus("2"), Ok(2_000_000_000));
    assert!(parse_cpus("two").is_err());
    let shown = |bytes: u64| format_size(bytes);
    assert_eq!(shown(0), "0B");
    assert_eq!(shown(999), "999B");
    assert_eq!(shown(1_500), "1.50kB");
    assert_eq!(shown(74_800_000), "74.8MB");
    assert_eq!(shown(123_456_789_000), "123GB");
    assert_eq!(shown(u64::MAX), "18.4EB");
}

#[test]
fn ports() {
    let check = |text: &str, expected: &str| {
        let ports = parse_ports(text).unwrap();
        let shown: Vec<_> = ports.iter().map(ToString::to_string).collect();
        assert_eq!(shown.join(" "), expected, "{text}");
        for port in ports {
            assert_eq!(parse_ports(&port.to_string()), Ok(vec![port]), "{text} must round-trip");
        }
    };
    check("80", "80/tcp");
    check("80/UDP", "80/udp");
    check("8080:80", "8080:80/tcp");
    check(":80", "80/tcp");
    check("127.0.0.1:80", "127.0.0.1::80/tcp");
    check("0.0.0.0:1-3:4-6", "0.0.0.0:1:4/tcp 0.0.0.0:2:5/tcp 0.0.0.0:3:6/tcp");
    for text in [
        "", "0", "70000", "a", "80/icmp", "1-3:4-5", "5-4", "x:80:80", "80:", "1:2:3:4", "-1", "+5",
    ] {
        assert!(parse_ports(text).is_err(), "{text}");
    }
}

#[test]
fn mounts() {
    let check = |text: &str, source: Option<&str>, target: &str, bind: bool, read_only: bool| {
        let spec = parse_volume(text).unwrap();
        assert_eq!(spec.source.as_deref(), source, "{text}");
        assert_eq!(
            (spec.target.as_str(), spec.is_bind(), spec.read_only),
            (target, bind, read_only)
        );
    };
    check("/data", None, "/data", false, false);
    check("data:/data", Some("data"), "/data", false, false);
    check("./a:/b:ro", Some("./a"), "/b", true, true);
    check("/a:/b:rw,rslave", Some("/a"), "/b", true, false);
    for text in
        ["", ":", "a", "a:b", ":/b", "a:", "a:/b:c", "a:/b:ro:x", "a b:/c", "/a:/", "/a:/./"]
    {
        assert!(parse_volume(text).is_err(), "{text}");
    }
}

#[test]
fn words() {
    let check = |text: &str, expected: &[&str]| {
        assert_eq!(shell_words(text).unwrap(), expected, "{text}");
    };
    check("", &[]);
    check("  a   b ", &["a", "b"]);
    check("a 'b c' \"d e\"", &["a", "b c", "d e"]);
    check("a''b", &["ab"]);
    check("'' \"\"", &["", ""]);
    check(r#"a\ b "c\"d" 'e\f' "g\h""#, &["a b", "c\"d", "e\\f", "g\\h"]);
    check("a\\\nb", &["ab"]);
    check("echo $HOME *", &["echo", "$HOME", "*"]);
    for text in ["'a", "\"a", "a\\", "\"a\\"] {
        assert!(shell_words(text).is_err(), "{text}");
    }
}

fn env(text: &str, dialect: Dialect) -> Result<String, EnvFileError> {
    let lookup = BTreeMap::from([("HOME".to_owned(), "/me".to_owned())]);
    let pairs = parse_env_file(text, dialect, &lookup)?;
    let pairs: Vec<_> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
    Ok(pairs.join("|"))
}

#[test]
fn env_files_by_dockers_rules() {
    let check = |text: &str, expected: &str| {
        assert_eq!(env(text, Dialect::Docker).as_deref(), Ok(expected), "{text}");
    };
    check("A=1\n# no\n\n  B=x y # z\nC='q'\nD=\n", "A=1|B=x y # z|C='q'|D=");
    check("HOME\nNOTHING\n", "HOME=/me");
    check("A=$HOME\r\nB=2\r\n", "A=$HOME|B=2");
    let error = env("A=1\nB C=2\n", Dialect::Docker).unwrap_err();
    assert_eq!(error.to_string(), "line 2: `B C` is not a variable name");
}

#[test]
fn env_files_by_composes_rules() {
    let check = |text: &str, expected: &str| {
        assert_eq!(env(text, Dialect::Compose).as_deref(), Ok(expected), "{text}");
    };
    check("A=1\n# no\n\nexport B = x y # z\nC=a#b\n", "A=1|B=x y|C=a#b");
    check(
        "A='x $HOME # y' # c\nB=\"x $HOME \\\"q\\\" \\$HOME\"\n",
        "A=x $HOME # y|B=x /me \"q\" $HOME",
    );
    check("A=1\nB=${A}2\nC=${NO:-d}\n", "A=1|B=12|C=d");
    check("A=\"one\ntwo\"\nB='three\nfour'\nC=5", "A=one\ntwo|B=three\nfour|C=5");
    check("A=\"x\\ny\"", "A=x\ny");
    check("HOME\nNOTHING\nA=\n", "HOME=/me|A=");
    check("A: yaml\n", "A=yaml");
    check("\u{feff}A=1\r\nB='2'\r\n", "A=1|B=2");
    let error = |text: &str| env(text, Dialect::Compose).unwrap_err().to_string();
    assert_eq!(error("A=1\nB='x\n"), "line 2: a `'` is not closed");
    assert_eq!(error("A='b' c"), "line 1: unexpected text after the closing `'`");
    assert_eq!(error("A B=1"), "line 1: `A B` is not a variable name");
    assert_eq!(error("A=\"1\n2\"\nB=${X"), "line 3: `${` is not closed");
    assert_eq!(error("some words"), "line 1: not a `KEY=value` line");
}
