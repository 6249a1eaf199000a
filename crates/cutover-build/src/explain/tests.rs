use super::*;

fn input(sort: Sort, name: &str, value: &str, hidden: bool) -> Input {
    Input { sort, name: name.to_owned(), value: value.to_owned(), hidden }
}

/// Inputs of a RUN.
fn run() -> Vec<Input> {
    vec![
        input(Sort::Base, "debian", "sha256:1", false),
        input(Sort::Before, "on", "c1", false),
        input(Sort::Text, "text", "RUN make", false),
        input(Sort::Setting, "args", "h1", true),
        input(Sort::Arg, "VERSION", "h2", true),
        input(Sort::Env, "LANG", "h3", true),
        input(Sort::Setting, "network", "default", false),
    ]
}

#[track_caller]
fn check(change: impl Fn(&mut Vec<Input>), expected: &[&str]) {
    let mut now = run();
    change(&mut now);
    let causes = changes(&run(), &now, 7, &|_| None);
    let said: Vec<_> = causes.iter().map(ToString::to_string).collect();
    assert_eq!(said, expected);
}

#[test]
fn each_input_has_its_sentence() {
    check(|_| {}, &[]);
    check(|now| now[4].value = "x".to_owned(), &["ARG VERSION changed"]);
    check(|now| drop(now.remove(4)), &["ARG VERSION is gone"]);
    check(|now| now[5].name = "TZ".to_owned(), &["ENV TZ is new", "ENV LANG is gone"]);
    check(|now| now[6].value = "host".to_owned(), &["`network` changed from `default` to `host`"]);
    check(
        |now| (now[2].value, now[3].value) = ("RUN make all".to_owned(), "h9".to_owned()),
        &["the instruction was rewritten: `RUN make all`, it was `RUN make`"],
    );
}

#[test]
fn what_is_below_has_a_cause_too() {
    let on = |now: &mut Vec<Input>| now[1].value = "c2".to_owned();
    check(
        |now| {
            on(now);
            now[0].value = "sha256:2".to_owned();
        },
        &["the base image `debian` moved from sha256:1 to sha256:2"],
    );
    check(
        |now| {
            on(now);
            now[0].name = "alpine".to_owned();
        },
        &["the base image is `alpine`, it was `debian`"],
    );
    check(
        |now| {
            on(now);
            now.remove(0);
        },
        &["the step before it, line 7, came out different"],
    );
}

#[test]
fn files_are_named_and_counted() {
    let listing = |digest: &str| {
        let mut listing = Listing::default();
        for file in 0..15 {
            listing.add(format!("f{file:02}"), "File 644".to_owned(), digest);
        }
        Some(listing)
    };
    let files = |digest| [input(Sort::Files, "the build context", digest, false)];
    let causes = changes(&files("1"), &files("2"), 0, &listing);
    let text = causes[0].to_string();
    assert!(text.starts_with("file `f00` of the build context changed\n"), "{text}");
    assert!(text.ends_with("and 5 more files"), "{text}");
    let json = serde_json::to_value(&causes[0]).unwrap();
    assert_eq!(json["changed"][0]["change"], "content");
    assert_eq!((json["cause"].as_str(), json["more"].as_u64()), (Some("files"), Some(5)));
}
