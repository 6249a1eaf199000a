use super::*;

fn graph(text: &str, target: Option<&str>) -> Result<Graph, String> {
    let file = crate::dockerfile::parse(text.as_bytes()).unwrap();
    let host = Platform::new("linux", "amd64");
    let mut globals = Vars::default();
    globals.set("v", "12");
    globals.set("TARGETPLATFORM", "linux/arm64");
    Graph::new(&file, &globals, target, &host, &Contexts::default()).map_err(|error| {
        let line = error.lines.map_or(0, |lines| lines.start);
        let hint = error.hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
        format!("{line}: {}{hint}", error.problem)
    })
}

/// Bases and the needed stages.
#[track_caller]
fn check(text: &str, target: Option<&str>, bases: &[Base], needed: &[usize]) {
    let graph = graph(text, target).unwrap();
    assert_eq!(graph.nodes.into_iter().map(|node| node.base).collect::<Vec<_>>(), bases);
    assert_eq!(Vec::from_iter(graph.needed), needed, "of {text}");
}

#[track_caller]
fn check_error(text: &str, target: Option<&str>, expected: &str) {
    assert_eq!(graph(text, target).unwrap_err(), expected, "of {text}");
}

fn image(name: &str) -> Base {
    Base::Image(name.to_owned())
}

#[test]
fn stages_are_found_by_name_and_index() {
    let text = "FROM debian:$v AS a\nFROM scratch AS B\nFROM a\nCOPY --from=b x y\nFROM scratch\nCOPY --from=0 x y\nCOPY --from=busybox x y";
    let bases = [image("debian:12"), Base::Scratch, Base::Stage(0), Base::Scratch];
    check(text, None, &bases, &[0, 3]);
    check(text, Some("2"), &bases, &[0, 1, 2]);
    check(text, Some("b"), &bases, &[1]);
    check(text, Some("B"), &bases, &[1]);
}

#[test]
fn a_base_name_is_compared_as_written_and_later_names_are_images() {
    check("FROM b AS a\nFROM scratch AS b", None, &[image("b"), Base::Scratch], &[1]);
    check("FROM scratch AS a\nFROM A", None, &[Base::Scratch, image("A")], &[1]);
    check(
        "FROM x AS a\nFROM y AS a\nFROM a",
        None,
        &[image("x"), image("y"), Base::Stage(1)],
        &[1, 2],
    );
}

#[test]
fn platforms_are_expanded() {
    let graph = graph("FROM --platform=$TARGETPLATFORM a", None).unwrap();
    assert_eq!(graph.nodes[0].platform, Some(Platform::new("linux", "arm64")));
}

#[test]
fn what_does_not_fit_is_refused() {
    check_error("FROM $nope", None, "1: base name ($nope) should not be blank");
    check_error("FROM ${v", None, "1: failed to process `${v`: syntax error: missing `}`");
    check_error("FROM --platform=$nope a", None, "1: empty platform value from expression `$nope`");
    check_error("FROM --platform=x/y/z/a a", None, "1: failed to parse platform `x/y/z/a`");
    check_error(
        "FROM a AS build",
        Some("biuld"),
        "0: target stage `biuld` could not be found (did you mean `build`?)",
    );
    check_error("FROM a\nCOPY --from=1 x y", None, "2: invalid stage index `1`");
    check_error(
        "FROM a AS b\nCOPY --from=b x y",
        None,
        "2: circular dependency detected on stage `b`",
    );
    check_error(
        "FROM a\nCOPY --from=c x y\nFROM x AS c\nCOPY --from=0 x y",
        None,
        "2: circular dependency detected on stage `0`",
    );
    check_error(
        "FROM a\nCOPY --from=c x y\nFROM x AS c",
        Some("0"),
        "2: cannot use files of a later stage: it needs to be defined before the current stage `0`",
    );
    check_error(
        "FROM a\nCOPY --from=$v x y",
        None,
        "2: variable expansion is not supported for --from (define a new stage with FROM using ARG from global scope instead)",
    );
}
