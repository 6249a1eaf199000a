use super::*;

use TargetState::{Adding, Draining, Healthy, Unhealthy};

/// Each step is an event and what it makes visible: `+` a passed probe, `-` a failed one, `!` drain.
#[track_caller]
fn check(from: TargetState, healthy_after: u32, unhealthy_after: u32, steps: &[(char, &str)]) {
    let start = Instant::now();
    let interval = Duration::from_secs(1);
    let mut health = Health::new(from, Rhythm { interval, healthy_after, unhealthy_after });
    assert_eq!(health.on(Event::Start, start), [Action::ProbeAt(start)]);
    for (index, (step, expected)) in steps.iter().enumerate() {
        let event = match step {
            '+' => Event::ProbePassed,
            '-' => Event::ProbeFailed("refused".into()),
            _ => Event::Drain,
        };
        let seen: Vec<_> = health
            .on(event, start)
            .into_iter()
            .map(|action| match action {
                Action::Publish(Adding) => "adding".to_owned(),
                Action::Publish(Healthy) => "healthy".to_owned(),
                Action::Publish(Unhealthy) => "unhealthy".to_owned(),
                Action::Publish(Draining) => "draining".to_owned(),
                Action::ProbeAt(at) => {
                    assert_eq!(at, start + interval);
                    "probe".to_owned()
                }
                Action::StopProbing => "stop".to_owned(),
            })
            .collect();
        assert_eq!(&seen.join(" "), expected, "step {index}");
    }
}

#[test]
fn one_success_makes_an_added_target_healthy() {
    check(Adding, 1, 3, &[('+', "healthy probe"), ('+', "probe"), ('!', "draining stop")]);
}

#[test]
fn only_runs_of_equal_results_count() {
    check(
        Adding,
        2,
        3,
        &[
            ('+', "probe"),
            ('-', "probe"),
            ('+', "probe"),
            ('+', "healthy probe"),
            ('-', "probe"),
            ('-', "probe"),
            ('+', "probe"),
            ('-', "probe"),
            ('-', "probe"),
            ('-', "unhealthy probe"),
            ('-', "probe"),
            ('+', "probe"),
            ('+', "healthy probe"),
        ],
    );
}

#[test]
fn probing_goes_on_after_every_verdict() {
    check(Healthy, 1, 1, &[('-', "unhealthy probe"), ('-', "probe"), ('+', "healthy probe")]);
}

#[test]
fn draining_is_for_good() {
    check(Healthy, 1, 1, &[('!', "draining stop"), ('+', ""), ('-', ""), ('!', "")]);
}

#[test]
fn a_target_that_never_answers_becomes_unhealthy() {
    check(Adding, 1, 2, &[('-', "probe"), ('-', "unhealthy probe")]);
}

#[test]
fn counts_of_zero_mean_one() {
    check(Adding, 0, 0, &[('+', "healthy probe"), ('-', "unhealthy probe")]);
}

#[test]
fn the_reason_of_a_failure_is_kept_until_a_probe_passes() {
    let now = Instant::now();
    let rhythm = Rhythm { interval: Duration::from_secs(1), healthy_after: 1, unhealthy_after: 1 };
    let mut health = Health::new(Adding, rhythm);
    health.on(Event::ProbeFailed("GET /up answered 503".into()), now);
    assert_eq!(health.last_failure(), Some("GET /up answered 503"));
    health.on(Event::ProbePassed, now);
    assert_eq!(health.last_failure(), None);
}
