//! What a failure means: the table.

use cutover_core::service::FailureAction;
use cutover_release::journal::{Entry, Failure, Progress};
use cutover_release::judge::{self, Verdict};
use cutover_release::{Plan, StepError};

use crate::site::{Site, Wish};

fn plan(settings: &str, wish: &Wish) -> Plan {
    let mut site = Site::new();
    for tag in ["v1", "v2"] {
        let web = format!("web image={tag} routes=/ verify=/ replicas=4 after=db {settings}");
        site.seal([format!("db image={tag} volume=data").as_str(), web.as_str()]);
    }
    let before: &[u64] = if matches!(wish, Wish::Rollback(_)) { &[1, 2] } else { &[1] };
    for number in before {
        assert!(site.go(&Wish::Deploy(*number)).unwrap().unwrap().is_success());
    }
    site.plan(wish).unwrap()
}

/// Everything before step `id` went well.
fn until(plan: &Plan, id: &str) -> Progress {
    let mut progress = Progress::default();
    for step in plan.steps.iter().take_while(|step| step.id.0 != id) {
        progress.apply(&Entry::Finished { step, at: std::time::Duration::ZERO, note: None });
    }
    progress
}

#[track_caller]
fn check(settings: &str, id: &str, expected: Verdict) {
    let plan = plan(settings, &Wish::Deploy(2));
    let progress = until(&plan, id);
    let step = plan.steps.iter().find(|step| step.id.0 == id).expect("the step is there");
    assert_eq!(judge::on_failure(&plan, &progress, step), expected, "{settings} {id}");
}

#[test]
fn the_failure_action_is_about_instances() {
    check("", "healthy web-2-1", Verdict::Revert);
    check("action=continue", "healthy web-2-1", Verdict::Tolerate);
    check("ratio=0.25", "healthy web-2-1", Verdict::Tolerate);
    check("ratio=0.24", "healthy web-2-1", Verdict::Revert);
    check("ratio=0.9", "verify web-2-1", Verdict::Revert);
    check("action=continue", "verify web-2-1", Verdict::Tolerate);
}

#[test]
fn everything_else_undoes() {
    for settings in ["", "action=pause", "action=continue", "ratio=1"] {
        check(settings, "image web", Verdict::Revert);
        check(settings, "stop db-1-1", Verdict::Revert);
        check(settings, "switch", Verdict::Revert);
    }
}

#[test]
fn clean_up_never_does() {
    check("", "drain web", Verdict::Tolerate);
    check("action=pause", "standby web-1-1", Verdict::Tolerate);
    check("", "collect", Verdict::Tolerate);
}

#[test]
fn pause_leaves_nobody_without_a_release() {
    check("action=pause", "healthy web-2-1", Verdict::Revert);
}

#[test]
fn a_rollback_is_not_rolled_back() {
    let plan = plan("action=rollback", &Wish::Rollback(None));
    let failure = Failure { service: Some("web".to_owned()), ..Failure::because("it errs") };
    let progress = until(&plan, "monitor");
    assert_eq!(judge::on_watch(&plan, &progress, &failure), Verdict::Pause);
    let early = until(&plan, "healthy db-1-1");
    let step = plan.steps.iter().find(|step| step.id.0 == "healthy db-1-1").unwrap();
    assert_eq!(judge::on_failure(&plan, &early, step), Verdict::Revert);
    assert_eq!(plan.policies["web"].failure_action, FailureAction::Pause);
}

#[test]
fn a_tolerated_instance_counts_once() {
    let plan = plan("ratio=0.25 parallelism=0", &Wish::Deploy(2));
    let mut progress = until(&plan, "start web-2-2");
    let step = |id: &str| plan.steps.iter().find(|step| step.id.0 == id).unwrap();
    let (error, at) = (StepError::new("it ended with 1"), std::time::Duration::ZERO);
    let first = step("start web-2-1");
    progress.apply(&Entry::Failed { step: first, at, error: &error, tolerated: true });
    let judge = |id: &str| judge::on_failure(&plan, &progress, step(id));
    assert_eq!(judge("healthy web-2-1"), Verdict::Tolerate, "the same one");
    assert_eq!(judge("start web-2-2"), Verdict::Revert, "a second one");
}
