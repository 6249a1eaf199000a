use super::*;

#[test]
fn what_looks_like_a_version() {
    for tag in [
        "1.2.3",
        "v1.2.3",
        "1.2.3-rc.1",
        "10.20.30.40",
        "1.2.3_alpine",
        "2026-01-31",
        "20260131",
        "20260131-2",
        "2026.01.31",
        "3f2a9c1",
        "sha-3f2a9c1",
        "git-3f2a9c1e",
    ] {
        assert!(is_version(tag), "{tag}");
    }
    for tag in [
        "latest",
        "main",
        "master",
        "develop",
        "edge",
        "stable",
        "1",
        "1.2",
        "v1",
        "v1.2",
        "1.x.2",
        "1.2.x",
        "feature-1.2.3",
        "bookworm-slim",
        "deadbee",
        "1234567",
        "20261",
        "sparse-image",
        "sha256-e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "",
        "v",
        ".",
    ] {
        assert!(!is_version(tag), "{tag}");
    }
}

#[test]
fn patterns() {
    for (pattern, text, expected) in [
        ("*", "", true),
        ("*", "abc", true),
        ("a*", "abc", true),
        ("*c", "abc", true),
        ("a*c*e", "abcde", true),
        ("a*c*f", "abcde", false),
        ("a?c", "abc", true),
        ("a?c", "ac", false),
        ("release-*", "release-1", true),
        ("release-*", "prerelease-1", false),
        ("", "", true),
        ("", "a", false),
        ("*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
    ] {
        assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
    }
}

#[test]
fn tags_that_stay() {
    let policy = Policy::default();
    let check = |tag: &str, before: &Before, new: &str| {
        policy.check_tag("a", tag, before, new).map_err(|refusal| refusal.to_string())
    };
    let was = Before::Is("x".to_owned());
    assert_eq!(check("1.2.3", &Before::Never, "x"), Ok(()));
    assert_eq!(check("1.2.3", &was, "x"), Ok(()));
    assert_eq!(check("latest", &was, "y"), Ok(()));
    let message =
        "tag `1.2.3` of repository `a` is immutable: it is x and cannot become y; push another tag";
    assert_eq!(check("1.2.3", &was, "y"), Err(message.to_owned()));
    let deleted = Before::Deleted("x".to_owned());
    assert!(check("1.2.3", &deleted, "y").unwrap_err().contains("x (deleted since)"));
    assert_eq!(check("1.2.3", &deleted, "x"), Ok(()));
}

#[test]
fn quotas_by_name() {
    let quotas = vec![("team/*".to_owned(), 10), ("*".to_owned(), 5)];
    let policy = Policy { quotas, ..Policy::default() };
    assert_eq!(policy.quota("team/a"), Some(10));
    assert_eq!(policy.quota("other"), Some(5));
    assert!(policy.check_room("other", 3, 2).is_ok());
    assert!(policy.check_room("other", 3, 3).is_err());
    assert!(policy.check_room("other", 3, u64::MAX).is_err());
}
