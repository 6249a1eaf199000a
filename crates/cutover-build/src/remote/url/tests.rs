use super::*;

/// `remote ref subdir` of a repository, `-` for what is none, the error otherwise.
#[track_caller]
fn check(text: &str, expected: &str) {
    let got = match git(text) {
        Ok(Some(url)) => format!(
            "{} {} {}",
            url.remote,
            url.reference.as_deref().unwrap_or("-"),
            if url.subdir.is_empty() { "-" } else { &url.subdir }
        ),
        Ok(None) => "-".to_owned(),
        Err(problem) => problem,
    };
    assert_eq!(got, expected, "of `{text}`");
}

#[test]
fn repositories() {
    check("https://h/x.git", "https://h/x.git - -");
    check("https://h/x.git#main", "https://h/x.git main -");
    check("https://h/x.git#main:a/b", "https://h/x.git main a/b");
    check("https://h/x.git#:a/../../b", "https://h/x.git - b");
    check("https://h/x.git?ref=v1&subdir=d", "https://h/x.git v1 d");
    check("https://h/x.git?tag=v1", "https://h/x.git refs/tags/v1 -");
    check("https://h/x.git?branch=a%2Fb", "https://h/x.git refs/heads/a/b -");
    check("git@h.org:x/y.git#b", "git@h.org:x/y.git b -");
    check("me@h:x", "me@h:x - -");
    check("ssh://git@h/x", "ssh://git@h/x - -");
    check("git://h/x", "git://h/x - -");
    check("file:///x/y", "file:///x/y - -");
}

#[test]
fn other_things() {
    for text in [
        "https://h/x",
        "https://h/x.git/y",
        "./x.git",
        "x.git",
        "a:b",
        "ext::sh -c true",
        "ftp://h/x.git",
        "fd::17",
        "@h:x",
        "a@-oProxyCommand=x:y",
        "git://",
        "https://h/x?y=.git",
    ] {
        check(text, "-");
    }
}

#[test]
fn wrong_queries() {
    check("https://h/x.git?nope=1", "unexpected query `nope`");
    check("https://h/x.git?ref=", "query `ref` has no value");
    check("https://h/x.git?ref=a&ref=a", "query `ref` has multiple values");
    check("https://h/x.git?ref=a#b", "ref conflicts: `b` vs `a`");
    check("https://h/x.git?tag=a&branch=b", "branch conflicts with tag");
    check("https://h/x.git?submodules=maybe", "invalid submodules value: `maybe`");
    check("https://h/x.git?mtime=now", "invalid mtime value: `now`");
    check("https://h/x.git#--upload-pack=x", "`--upload-pack=x` is not a git reference");
    check(
        "https://h/x.git?checksum=xyz",
        "invalid checksum xyz for a git source, expected a commit hash",
    );
}

#[test]
fn switches() {
    let url = git("https://h/x.git?keep-git-dir&submodules=0&commit=abc").unwrap().unwrap();
    assert_eq!((url.keep_git_dir, url.submodules), (Some(true), Some(false)));
    assert_eq!(url.checksum.as_deref(), Some("abc"));
}

#[test]
fn kinds() {
    assert_eq!(kind("https://h/x"), Ok(Kind::Http));
    assert_eq!(kind("a/b"), Ok(Kind::Path));
    assert_eq!(
        kind("file:///etc"),
        Ok(Kind::Path),
        "a Dockerfile may not name files of the machine"
    );
    assert!(matches!(kind("https://h/x.git"), Ok(Kind::Git(_))));
}

#[test]
fn parts() {
    assert_eq!(host("https://me:pw@h:8443/x?y"), "h:8443");
    assert_eq!(host("git@h:x"), "h:x");
    assert_eq!(shown("https://me:pw@h/x@y"), "https://***@h/x@y");
    assert_eq!(shown("https://h/x@y"), "https://h/x@y");
    for (url, name) in [
        ("http://h/a/b.tar?x=/y", "b.tar"),
        ("http://h", "__unnamed__"),
        ("http://h/", "__unnamed__"),
        ("http://h/a/", "a"),
        ("http://h/%61%2Fb", "a_b"),
        ("http://h/..", "__unnamed__"),
    ] {
        assert_eq!(file_name(url), name, "of `{url}`");
    }
}
