use super::*;

fn check(glob: &Glob, yes: &[&str], no: &[&str]) {
    for text in yes {
        assert!(glob.matches(text), "{glob:?} must match `{text}`");
    }
    for text in no {
        assert!(!glob.matches(text), "{glob:?} must not match `{text}`");
    }
}

#[test]
fn paths_match_as_in_go() {
    let path = |pattern| Glob::path(pattern).unwrap();
    check(&path("abc"), &["abc"], &["ab", "abcd", "a/bc"]);
    check(&path("*"), &["", "abc"], &["a/b"]);
    check(&path("a*"), &["a", "abc"], &["ab/c"]);
    check(&path("a*/b"), &["a/b", "abc/b"], &["a/c/b"]);
    check(&path("a*b*c*d*e*/f"), &["axbxcxdxe/f", "axbxcxdxexxx/f"], &["axbxcxdxe/xxx/f"]);
    check(&path("a?b"), &["axb", "a☺b"], &["a/b", "ab"]);
    check(&path("ab[b-d]"), &["abc"], &["abe"]);
    check(&path("ab[^b-d]"), &["abe"], &["abc", "ab/"]);
    check(&path("[\\]a]"), &["]", "a"], &["b"]);
    check(&path("[\\-x]"), &["-", "x"], &["z"]);
    check(&path("[[]x"), &["[x"], &["x"]);
    check(&path("a\\*b"), &["a*b"], &["ab"]);
    check(&path("**"), &["abc"], &["a/b"]);
}

#[test]
fn bad_paths_are_refused() {
    for pattern in ["[", "[a", "[]a]", "[-]", "[x-]", "[-x]", "a\\", "[a-b-c]"] {
        assert!(Glob::path(pattern).is_err(), "`{pattern}` must be refused");
    }
}

#[test]
fn double_stars_cross_directories() {
    let ignore = |pattern| Glob::ignore(pattern).unwrap();
    check(&ignore("**/*.go"), &["a.go", "a/b/c.go"], &["a.god", "ago"]);
    check(&ignore("a/**/b"), &["a/b", "a/x/b", "a/x/y/b"], &["a/xb", "ab"]);
    check(&ignore("a/**/*"), &["a/b", "a/b/c"], &["a"]);
    check(&ignore("a**"), &["a", "ab", "a/b/c"], &["ba"]);
    check(&ignore("**/a/**"), &["a/", "x/a/y"], &["a", "xa/y"]);
}

#[test]
fn shell_patterns_have_shortest_and_longest_prefixes() {
    let check = |pattern, text, shortest, longest| {
        let glob = Glob::shell(pattern).unwrap();
        assert_eq!(glob.shortest_prefix(text), shortest, "shortest {pattern} in {text}");
        assert_eq!(glob.longest_prefix(text), longest, "longest {pattern} in {text}");
    };
    check("*/", "a/b/c", Some(2), Some(4));
    check("", "abc", Some(0), Some(0));
    check("?b", "ab", Some(2), Some(2));
    check("x*", "abc", None, None);
    check("*", "abc", Some(0), Some(3));
    check("\\*", "*a", Some(1), Some(1));
    check("\\/a", "/ab", Some(2), Some(2));
    assert!(Glob::shell("\\a").is_err());
    assert!(Glob::shell("\\").is_err());
}

#[test]
fn many_stars_take_no_time() {
    let glob = Glob::path(&"a*".repeat(500)).unwrap();
    assert!(!glob.matches(&"a".repeat(499)));
}
