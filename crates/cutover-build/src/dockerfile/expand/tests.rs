use std::collections::HashMap;

use super::*;

fn variables(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn standard() -> HashMap<String, String> {
    variables(&[
        ("PWD", "/home"),
        ("SHELL", "bash"),
        ("KOREAN", "한국어"),
        ("NULL", ""),
        ("v", "a/b.c"),
    ])
}

#[track_caller]
fn check(text: &str, expected: &str) {
    let expanded = Expander::new('\\').word(text, &standard());
    assert_eq!(expanded.map(|expanded| expanded.text), Ok(expected.to_owned()), "of `{text}`");
}

#[track_caller]
fn check_error(text: &str, expected: &str) {
    let error = Expander::new('\\').word(text, &standard()).unwrap_err();
    assert_eq!(error.problem.to_string(), expected, "of `{text}`");
}

#[test]
fn quotes_and_escapes() {
    check("hello", "hello");
    check("he'll'o", "hello");
    check("he'llo\\'", "hello\\");
    check("he\\'llo", "he'llo");
    check("'he\\llo'", "he\\llo");
    check("\"he'llo\"", "he'llo");
    check("\"\\t\" \\t", "\\t t");
    check("\"he\\\"llo\" \\$PWD \"\\$PWD\" '$PWD'", "he\"llo $PWD $PWD $PWD");
    check("back\\", "back");
    check("he<<  x", "he<<  x");
}

#[test]
fn plain_references() {
    check("$PWD", "/home");
    check("${PWD}x", "/homex");
    check("$PWDx|${NOPE}|$", "||$");
    check("안$KOREAN", "안한국어");
    check("$1x $@x $$x $12x", "x x x x");
    check("\"$PWD\"", "/home");
}

#[test]
fn defaults_and_alternatives() {
    check("${NOPE:-w}|${NOPE-w}|${NULL:-w}|${NULL-w}|${PWD:-w}", "w|w|w||/home");
    check("${NOPE:+w}|${NOPE+w}|${NULL:+w}|${NULL+w}|${PWD:+w}", "|||w|w");
    check("${NOPE:-${PWD:-x}/$SHELL}", "/home/bash");
    check("${NOPE:-'}'}", "}");
    check("${PWD:?no}|${NULL?no}", "/home|");
    check_error("${NOPE:?it is needed}", "NOPE: it is needed");
    check_error("${NULL:?}", "NULL: is not allowed to be empty");
    check_error("${NOPE?}", "NOPE: is not allowed to be unset");
}

#[test]
fn patterns() {
    check("${v#*/}|${v##*/}|${v%.*}|${v%%/*}", "b.c|b.c|a/b|a");
    check("${PWD#x}|${v%?c}|${v#?}", "/home|a/b|/b.c");
    check("${v/b/X}|${v//?/X}|${v/\\//-}|${v/*/all}", "a/X.c|XXXXX|a-b.c|all");
    check("${v//\\//}", "ab.c");
    check("${KOREAN%?}|${KOREAN#?}", "한국|국어");
    check_error(
        "${v#\\a}",
        "invalid pattern in substitution: invalid escape `\\a` in pattern `\\a`",
    );
}

#[test]
fn errors() {
    check_error("${}", "syntax error: bad substitution");
    check_error("${:x}", "syntax error: bad substitution");
    check_error("${{x}}", "syntax error: bad substitution");
    check_error("${x", "syntax error: missing `}`");
    check_error("${x:=y}", "unsupported modifier (:=) in substitution");
    check_error("${x:#y}", "unsupported modifier (:#) in substitution");
    check_error("${x/y}", "syntax error: missing `/`");
    check_error("'x", "unexpected end of statement while looking for matching single-quote");
    check_error("\"x", "unexpected end of statement while looking for matching double-quote");
    check_error(&"${a:-".repeat(1000), "nested too deeply");
}

/// Found by fuzzing: each of these was too slow, or took too much memory.
#[test]
fn what_multiplies_is_bounded() {
    let long = variables(&[("v", &"x".repeat(100_000)), ("w", &"ab".repeat(40))]);
    let too_long = |text: &str| {
        let error = Expander::new('\\').word(text, &long).unwrap_err();
        assert_eq!(error.problem, Problem::TooLong, "of `{text}`");
    };
    too_long("${v//?/$v}");
    too_long("${w//?/${w//?/${w//?/${w//?/x}}}}");
    too_long(&"${w:+$v}".repeat(1000));
    too_long(&format!("{}$v{}", "${v:+".repeat(150), "}".repeat(150)));
    too_long("${v%%*x*y*x*y}");
    // What is long and simple is neither.
    let expanded = Expander::new('\\').word("${v//x/y}${v#x}", &long).unwrap();
    assert_eq!(expanded.text.len(), 199_999);
}

#[test]
fn words_are_split_after_expansion_unless_quoted() {
    let env = variables(&[("two", "80 81"), ("none", "")]);
    let check = |text: &str, expected: &[&str]| {
        assert_eq!(Expander::new('\\').words(text, &env).unwrap(), expected, "of `{text}`");
    };
    check("$two 82", &["80", "81", "82"]);
    check("\"$two\" a\\ b", &["80 81", "a b"]);
    check("$none", &[]);
    check("  a\t b ", &["a", "b"]);
}

#[test]
fn what_was_asked_for_is_reported() {
    let expanded = Expander::new('\\').word("$PWD ${X:-$Y}", &standard()).unwrap();
    assert_eq!(Vec::from_iter(expanded.used), ["PWD"]);
    assert_eq!(Vec::from_iter(expanded.unset), ["X", "Y"]);
}

#[test]
fn unset_references_can_be_kept() {
    let keep = Expander { keep_unset: true, raw_quotes: true, ..Expander::new('\\') };
    let expanded = keep.word("'a' $A ${A} ${A:-b} ${A#c} ${A/d/e} $PWD", &standard()).unwrap();
    assert_eq!(expanded.text, "'a' $A ${A} ${A:-b} ${A#c} ${A/d/e} /home");
}

#[test]
fn the_escape_character_is_a_choice() {
    let expanded = Expander::new('`').word("`$PWD \\$PWD", &standard()).unwrap();
    assert_eq!(expanded.text, "$PWD \\/home");
}

proptest::proptest! {
    #[test]
    fn nothing_panics(text in "[a-z$\\{\\}:/#%?*'\"\\\\ -]{0,60}") {
        let expander = Expander::new('\\');
        let _unused = expander.word(&text, &standard());
        let _unused = expander.words(&text, &());
    }
}
