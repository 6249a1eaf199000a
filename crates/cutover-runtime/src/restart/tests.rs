use super::*;

fn run(code: i32, stopped_by_user: bool, seconds: u64) -> Ended {
    let ran_for = Duration::from_secs(seconds);
    Ended { exit: ExitStatus::exited(code), stopped_by_user, ran_for }
}

/// Feeds the runs in order; the delays in milliseconds that follow them, `None` for an end.
fn check(policy: RestartPolicy, runs: &[Ended], expected: &[Option<u64>]) {
    let mut restart = Restart::new(policy);
    let delays: Vec<Option<u64>> = runs
        .iter()
        .map(|ended| match restart.on_exit(*ended) {
            Verdict::Stay => None,
            Verdict::Again { after } => u64::try_from(after.as_millis()).ok(),
        })
        .collect();
    assert_eq!(delays, expected, "{policy:?}");
}

#[test]
fn no_policy_never_restarts() {
    check(RestartPolicy::No, &[run(0, false, 0), run(1, false, 0)], &[None, None]);
}

#[test]
fn the_delay_doubles_up_to_a_minute() {
    let expected: Vec<Option<u64>> =
        [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000]
            .map(Some)
            .to_vec();
    check(RestartPolicy::Always, &[run(0, false, 9); 12], &expected);
}

#[test]
fn a_long_run_resets_the_delay() {
    check(
        RestartPolicy::UnlessStopped,
        &[run(1, false, 0), run(1, false, 0), run(1, false, 10), run(1, false, 0)],
        &[Some(100), Some(200), Some(100), Some(200)],
    );
}

#[test]
fn on_failure_counts_and_looks_at_the_code() {
    let twice = RestartPolicy::OnFailure(Some(2));
    check(twice, &[run(1, false, 0); 3], &[Some(100), Some(200), None]);
    check(twice, &[run(0, false, 0)], &[None]);
    check(
        RestartPolicy::OnFailure(None),
        &[run(1, false, 0), run(0, false, 0)],
        &[Some(100), None],
    );
}

#[test]
fn a_users_stop_ends_every_policy() {
    for policy in
        [RestartPolicy::Always, RestartPolicy::UnlessStopped, RestartPolicy::OnFailure(None)]
    {
        check(policy, &[run(143, true, 60)], &[None]);
    }
}

#[test]
fn recovery_restarts_what_was_interrupted() {
    use RestartPolicy::{Always, No, OnFailure, UnlessStopped};
    let shim_died = Found {
        exit: ExitStatus::killed(9),
        stopped_by_user: false,
        interrupted: true,
        rebooted: false,
    };
    let stopped = Found { stopped_by_user: true, interrupted: false, ..shim_died };
    let stopped_then_reboot = Found { rebooted: true, ..stopped };
    let failed_by_itself = Found { interrupted: false, ..shim_died };
    for (policy, expected) in [
        (No, [false, false, false, false]),
        (Always, [true, false, true, false]),
        (UnlessStopped, [true, false, false, false]),
        (OnFailure(None), [true, false, false, false]),
    ] {
        let found = [shim_died, stopped, stopped_then_reboot, failed_by_itself]
            .map(|found| starts_on_recovery(policy, found));
        assert_eq!(found, expected, "{policy:?}");
    }
}
