use jiff::Timestamp;

use super::*;

const SECOND: u64 = 1_000_000_000;

fn timing(interval: u64, timeout: u64, period: u64, start_interval: u64) -> Healthcheck {
    Healthcheck {
        test: vec!["CMD".to_owned(), "true".to_owned()],
        interval: interval * SECOND,
        timeout: timeout * SECOND,
        start_period: period * SECOND,
        start_interval: start_interval * SECOND,
        retries: 2,
    }
}

fn probe(exit_code: i32) -> Probe {
    let time = Timestamp::UNIX_EPOCH;
    Probe { start: time, end: time, exit_code, output: String::new() }
}

/// Runs probes that take one second and end with `codes`; after each, `at:status:streak`.
fn check(healthcheck: &Healthcheck, codes: &[i32], expected: &[&str]) {
    let mut checks = Checks::new(healthcheck, Duration::ZERO);
    let mut seen = Vec::new();
    for code in codes {
        let due = checks.deadline().expect("waits for a probe");
        assert_eq!(checks.on(Event::Tick, due - Duration::from_millis(1)), [], "too early");
        assert_eq!(checks.on(Event::Tick, due), [Action::StartProbe]);
        let end = due + Duration::from_secs(1);
        assert_eq!(checks.on(Event::Finished(probe(*code)), end), [Action::Publish]);
        let health = checks.health();
        let (status, streak) = (health.status.as_str(), health.failing_streak);
        seen.push(format!("{}:{status}:{streak}", due.as_secs()));
    }
    assert_eq!(seen, expected);
}

#[test]
fn turns_healthy_and_unhealthy() {
    check(
        &timing(10, 5, 0, 1),
        &[0, 1, 1, 1, 0],
        &["10:healthy:0", "21:healthy:1", "32:unhealthy:2", "43:unhealthy:3", "54:healthy:0"],
    );
}

#[test]
fn the_start_period_probes_faster_and_forgives() {
    check(
        &timing(10, 5, 6, 2),
        &[1, 1, 1, 1],
        // at 2 and 5 within the period; the next comes after a full interval, and counts
        &["2:starting:0", "5:starting:0", "16:starting:1", "27:unhealthy:2"],
    );
}

#[test]
fn a_success_ends_the_start_period() {
    check(
        &timing(10, 5, 60, 2),
        &[1, 0, 1, 1],
        &["2:starting:0", "5:healthy:0", "16:healthy:1", "27:unhealthy:2"],
    );
}

#[test]
fn a_slow_probe_is_killed_and_failed() {
    let mut checks = Checks::new(&timing(10, 5, 0, 1), Duration::ZERO);
    let at = Duration::from_secs;
    assert_eq!(checks.on(Event::Tick, at(10)), [Action::StartProbe]);
    assert_eq!(checks.deadline(), Some(at(15)));
    assert_eq!(checks.on(Event::Tick, at(15)), [Action::KillProbe]);
    assert_eq!(checks.deadline(), None, "only its end matters now");
    assert_eq!(checks.on(Event::Tick, at(16)), []);
    // Whatever it ended with, it was too late.
    assert_eq!(checks.on(Event::Finished(probe(0)), at(16)), [Action::Publish]);
    let last = checks.health().log.last().unwrap();
    assert_eq!(last.exit_code, -1);
    assert_eq!(last.output, "health check exceeded its timeout (5s)");
    assert_eq!(checks.health().failing_streak, 1);
}

#[test]
fn five_probes_are_kept() {
    let mut checks = Checks::new(&timing(1, 5, 0, 1), Duration::ZERO);
    for code in 1..=7 {
        let due = checks.deadline().unwrap();
        checks.on(Event::Tick, due);
        checks.on(Event::Finished(probe(code)), due);
    }
    let codes: Vec<i32> = checks.health().log.iter().map(|probe| probe.exit_code).collect();
    assert_eq!(codes, [3, 4, 5, 6, 7]);
}

#[test]
fn zero_means_the_default() {
    let checks = Checks::new(&Healthcheck::default(), Duration::ZERO);
    assert_eq!(checks.deadline(), Some(Duration::from_secs(30)));
}

#[test]
fn a_shell_command_runs_in_the_images_shell() {
    let test = |words: &[&str]| Healthcheck {
        test: words.iter().map(|&word| word.to_owned()).collect(),
        ..Healthcheck::default()
    };
    let shell = ["/bin/bash".to_owned(), "-lc".to_owned()];
    assert_eq!(command(&test(&["CMD", "a", "b"]), &shell), ["a", "b"]);
    assert_eq!(command(&test(&["CMD-SHELL", "a b"]), &shell), ["/bin/bash", "-lc", "a b"]);
    assert_eq!(command(&test(&["CMD-SHELL", "a b"]), &[]), ["/bin/sh", "-c", "a b"]);
}
