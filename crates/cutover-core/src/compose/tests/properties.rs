//! The parser answers every text: it never panics, hangs or eats the memory.

use proptest::prelude::*;

use super::{Case, parse_text};
use crate::compose::keys::SECTIONS;

/// Something like a document: keys of the table with values that are sometimes right.
fn document() -> impl Strategy<Value = String> {
    let keys: Vec<&'static str> =
        SECTIONS.iter().flat_map(|section| section.keys.iter().map(|key| key.name)).collect();
    let value = prop_oneof![
        Just("".to_owned()),
        Just("{}".to_owned()),
        Just("[]".to_owned()),
        Just("[[a]]".to_owned()),
        Just("*a".to_owned()),
        Just("&a {x: 1}".to_owned()),
        Just("!reset x".to_owned()),
        "[0-9a-z:./-]{0,12}",
        "'[$a-z:{}?-]{0,12}'",
        "\\[[a-z:/=, ]{0,20}\\]",
        "\\{[a-z]{1,8}: [a-z0-9:]{0,8}\\}",
    ];
    let line = (0usize..4, prop::sample::select(keys), value)
        .prop_map(|(indent, key, value)| format!("{}{key}: {value}\n", "  ".repeat(indent)));
    prop::collection::vec(line, 0..20)
        .prop_map(|lines| format!("services:\n  a:\n    image: x\n{}", lines.concat()))
}

/// A good document with one cut and one piece put in.
fn mutated() -> impl Strategy<Value = String> {
    const GOOD: &str = include_str!("../testdata/everything.yaml");
    (0..GOOD.len(), 0..GOOD.len(), ".{0,8}").prop_map(|(a, b, piece)| {
        let (from, to) = (a.min(b), a.max(b).min(a.min(b) + 40));
        let head: String = GOOD.chars().take(from).collect();
        let tail: String = GOOD.chars().skip(to).collect();
        head + &piece + &tail
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_panics_on_text(text in ".{0,200}") {
        let _answer = parse_text(&text);
    }

    #[test]
    fn never_panics_on_documents(text in document(), over in document()) {
        let mut case = Case::new(&text);
        case.files.push(("over.yaml".to_owned(), over));
        let _answer = case.parse();
    }

    #[test]
    fn never_panics_on_damaged_documents(text in mutated()) {
        let _answer = parse_text(&text);
    }
}

#[test]
fn bombs_do_not_go_off() {
    let mut laughs = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for level in 1..20 {
        let refs = vec![format!("*a{}", level - 1); 9].join(", ");
        laughs += &format!("a{level}: &a{level} [{refs}]\n");
    }
    let check = |text: &str, expected: &str| {
        let problems = parse_text(text).unwrap_err();
        assert!(problems.to_string().contains(expected), "{problems}");
    };
    check(&laughs, "too large with its aliases expanded");
    let long_key = format!("a: &a {{{}: 1}}\nb: [{}]", "k".repeat(100_000), "*a,".repeat(300_000));
    check(&long_key, "too large with its aliases expanded");
    check(&"[".repeat(100_000), "");
    let mut deep = String::new();
    for level in 0..200 {
        deep += &format!("{}a:\n", " ".repeat(level));
    }
    check(&deep, "nested more than");
    check(&"x".repeat((1 << 20) + 1), "larger than 1024 KiB");
    check("a: &a {b: *a}", "");
    let mut extends =
        format!("services:\n  base: {{image: x, labels: [{}]}}\n", "l,".repeat(20_000));
    for index in 0..2000 {
        extends += &format!("  s{index}: {{extends: base}}\n");
    }
    check(&extends, "too large with its `extends`");
}

#[test]
fn variables_cannot_blow_up() {
    let mut case =
        Case::new(&format!("services: {{a: {{image: x, command: [{}]}}}}", "'$BIG',".repeat(5000)));
    case.dot_env = Some(format!("BIG={}", "x".repeat(100_000)));
    assert!(case.parse().unwrap_err().to_string().contains("too large with its variables"));
}
