//! Stages at the same time: they overlap, a failure stops the others, nothing is done twice.

use std::sync::Mutex;

use cutover_build::{BuildError, Cancel, Event, Progress};

use crate::support::Lab;

/// A RUN that says `own` and waits until somebody said `other`; fails after a minute.
fn meet(own: &str, other: &str) -> String {
    let wait = format!(
        "for i in $(seq 600); do test -e /c/{other} && exit 0; usleep 100000; done; exit 9"
    );
    format!("RUN --mount=type=cache,id=meet,target=/c touch /c/{own}; {wait}")
}

#[test]
fn stages_overlap_until_one_needs_the_other() {
    let lab = Lab::new();
    // The last stage meets the first before it copies from it.
    let text = format!(
        "FROM base AS a\n{}\nRUN echo a > /a\nFROM base AS b\n{}\nFROM base\n{}\nCOPY --from=a /a /\nCOPY --from=b /bin/sh /b",
        meet("a", "b"),
        meet("b", "c"),
        meet("c", "a")
    );
    lab.build(&text).unwrap();
    assert_eq!(lab.read("a"), "a\n");
    lab.assert_clean();
}

#[test]
fn a_failure_stops_the_others_and_is_the_one_reported() {
    let lab = Lab::new();
    let text = "FROM base AS long
        RUN --mount=type=cache,id=meet,target=/c touch /c/started && exec sleep 1000
        FROM base AS bad
        RUN --mount=type=cache,id=meet,target=/c while ! test -e /c/started; do usleep 1000; done; exit 3
        FROM base
        COPY --from=long /x /
        COPY --from=bad /y /";
    match lab.build(text) {
        Err(BuildError::Exit { code: 3, place, .. }) => assert_eq!(place.start, 4),
        other => panic!("{other:?}"),
    }
    lab.assert_clean();
}

#[test]
fn the_same_step_of_two_stages_is_done_once() {
    let lab = Lab::new();
    let text = "FROM base AS a
        RUN head -c 8 /dev/urandom > /random
        FROM base AS b
        RUN head -c 8 /dev/urandom > /random
        FROM scratch
        COPY --from=a /random /a
        COPY --from=b /random /b";
    let built = lab.build(text).unwrap();
    assert_eq!(fs_err::read(lab.file("a")).unwrap(), fs_err::read(lab.file("b")).unwrap());
    // The base, found twice over, is no step.
    assert_eq!((built.executed, built.cached), (3, 1));
}

#[test]
fn many_stages_in_a_row_and_side_by_side() {
    let lab = Lab::new();
    let mut text = "FROM base AS s0\nRUN echo 0 > /n\n".to_owned();
    for n in 1..40 {
        text += &format!("FROM s{} AS s{n}\nCOPY <<END /n{n}\n{n}\nEND\n", n / 3);
    }
    text += "FROM scratch\n";
    for n in 1..40 {
        text += &format!("COPY --from=s{n} /n{n} /\n");
    }
    let built = lab.build(&text).unwrap();
    assert_eq!(lab.read("n39"), "39\n");
    let mut again = Lab::new();
    again.options.no_cache = true;
    assert_eq!(again.build(&text).unwrap().image, built.image, "in whatever order they end");
}

/// Raises a flag when a step writes something.
struct Stop<'a>(&'a Cancel, Mutex<Vec<String>>);

impl Progress for Stop<'_> {
    fn on(&self, event: Event<'_>) {
        match event {
            Event::Output { .. } => self.0.raise(),
            Event::Failed { error, .. } => self.1.lock().unwrap().push(error.to_owned()),
            _ => {}
        }
    }
}

#[test]
fn an_interrupted_build_ends_at_once_and_leaves_nothing() {
    let mut lab = Lab::new();
    lab.options.cancel = Cancel::new();
    let cancel = lab.options.cancel.clone();
    let stop = Stop(&cancel, Mutex::default());
    let text = "FROM base AS other\nRUN exec sleep 1000\nFROM base\nRUN echo started; exec sleep 1000\nCOPY --from=other /x /";
    let ended = lab.build_watched(&lab.options, text, &stop);
    assert!(matches!(ended, Err(BuildError::Interrupted)), "{ended:?}");
    let failed = stop.1.into_inner().unwrap();
    assert!(failed.iter().all(|error| error == "canceled"), "{failed:?}");
    lab.assert_clean();
}
