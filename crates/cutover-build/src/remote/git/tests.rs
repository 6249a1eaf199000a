use super::*;

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

/// `commit name` of what is chosen.
#[track_caller]
fn check(listing: &[(&str, &str)], reference: &str, expected: Option<(&str, &str)>) {
    let lines: Vec<String> = listing.iter().map(|(hash, name)| format!("{hash}\t{name}")).collect();
    let chosen = Listing::read(&lines.join("\n"), reference).choose();
    let chosen = chosen.as_ref().map(|it| (it.commit.as_str(), it.name.as_str()));
    assert_eq!(chosen, expected, "of `{reference}`");
}

#[test]
fn references_are_chosen_as_git_does() {
    check(&[("ref: refs/heads/main", "HEAD"), (A, "HEAD")], "HEAD", Some((A, "HEAD")));
    check(&[(A, "refs/heads/x"), (B, "refs/tags/x")], "x", Some((A, "refs/heads/x")));
    check(&[(A, "refs/tags/x"), (B, "refs/tags/x^{}")], "x", Some((B, "refs/tags/x")));
    check(&[(A, "refs/tags/x"), (B, "refs/tags/x^{}")], "refs/tags/x", Some((B, "refs/tags/x")));
    check(&[(A, "refs/pull/1/head")], "refs/pull/1/head", Some((A, "refs/pull/1/head")));
    check(&[(A, "refs/heads/other/x")], "x", None);
    check(&[("junk", "refs/heads/x")], "x", None);
}
