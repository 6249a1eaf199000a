use super::*;

/// Verdicts for a tree walked from the root, as a context is.
#[track_caller]
fn check(file: &str, ignored: &[&str], kept: &[&str]) {
    let ignore = Ignore::new(&lines(file)).unwrap();
    let verdict = |path: &str| {
        let mut parent = Matched(vec![false; ignore.patterns.len()]);
        let mut last = false;
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for end in ends {
            (last, parent) = ignore.matches(&path[..end], &parent);
        }
        assert_eq!(last, ignore.ignores(path), "walked and alone differ for `{path}`");
        last
    };
    for path in ignored {
        assert!(verdict(path), "`{path}` must be ignored by {file:?}");
    }
    for path in kept {
        assert!(!verdict(path), "`{path}` must be kept by {file:?}");
    }
}

#[test]
fn patterns_are_anchored_and_cover_children() {
    check("a", &["a", "a/b/c"], &["b/a", "ab"]);
    check("/a/b/", &["a/b", "a/b/c"], &["a", "b"]);
    check("./a/../b", &["b"], &["a"]);
    check("*", &["a", "a/b", ".x"], &[]);
    check("*.md", &["x.md", "x.md/y"], &["a/x.md"]);
    check("a?c\nx[0-9]\ny[^0-9]", &["abc", "x1", "yz"], &["a/c", "xy", "y1"]);
    check("*/*/t", &["a/b/t"], &["a/t", "t"]);
}

#[test]
fn double_stars() {
    check("**", &["a", "a/b"], &[]);
    check("**/x", &["x", "a/x", "a/b/x/y"], &["ax", "a/bx"]);
    check("**x", &["x", "ax", "a/bx"], &["xa"]);
    check("a/**", &["a/b", "a/b/c"], &["a", "ab"]);
    check("a/**/b", &["a/b", "a/x/y/b"], &["a/xb"]);
    check("**/*.go", &["a.go", "x/a.go"], &["a.g"]);
    check("**/a/**", &["a/x", "y/a/x"], &["xa/y"]);
    check("**/.git*", &[".git", "a/.gitignore"], &["git"]);
}

#[test]
fn the_last_match_wins() {
    check("*.md\n!README.md", &["a.md"], &["README.md"]);
    check("!README.md\n*.md", &["README.md"], &[]);
    check("a\n!a/b", &["a", "a/c"], &["a/b", "a/b/c"]);
    check("*\n! a/b \n", &["a", "c"], &["a/b"]);
    check("a\n!a/b\na/b/c", &["a/b/c"], &["a/b/d"]);
    check("**\n!x/**", &["a"], &["x/y"]);
}

#[test]
fn comments_and_escapes() {
    check("\u{feff}# a\n #b\n\n  c  \n", &["#b", "c"], &["a", "# a"]);
    check("a\\*\nb\\!", &["a*", "b!"], &["ab"]);
    check(".\n/", &[], &["a"]);
}

#[test]
fn bad_patterns_are_refused() {
    let error = |text: &str| Ignore::new(&lines(text)).unwrap_err().to_string();
    assert_eq!(error("!"), "`!` without a pattern");
    assert_eq!(error("! "), "`!` without a pattern");
    assert_eq!(error("["), "syntax error in pattern `[`");
    assert_eq!(error("a\\"), "syntax error in pattern `a\\`");
}
