//! The ledger as a file: durable, fenced, versioned, and never quietly wrong.

use std::path::PathBuf;
use std::time::Duration;

use cutover_release::facts::{InstanceId, Kind, Observed, Routes};
use cutover_release::journal::{Entry, Journal, Outcome};
use cutover_release::ledger::{Begin, KEEP_PLANS, KEEP_STEPS, LedgerError, Taint};
use cutover_release::{Action, Ledger, Plan};

use crate::app::services;

const NOW: Duration = Duration::from_millis(1_750_000_000_123);

fn temp() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    (dir, path)
}

fn plan(deployment: u64, from: Option<u64>, to: Option<u64>) -> Plan {
    Plan {
        version: 1,
        app: "shop".to_owned(),
        deployment,
        kind: Kind::Deploy,
        from,
        to,
        found: Default::default(),
        routed: Default::default(),
        steps: vec![cutover_release::Step {
            id: cutover_release::StepId("switch".to_owned()),
            action: Action::Switch { generation: 1, release: to, targets: Default::default() },
        }],
        policies: Default::default(),
        notes: Vec::new(),
    }
}

fn begin(plan: &Plan) -> Begin<'_> {
    Begin { plan, release: None, who: "root@fra1", reason: "", at: NOW }
}

#[test]
fn everything_is_there_after_reopening() {
    let (_dir, path) = temp();
    let plan = plan(1, None, Some(1));
    let release = {
        let mut ledger = Ledger::open(&path).unwrap();
        let owner = ledger.take_over("test", NOW).unwrap();
        let release = ledger.seal(owner, "shop", services(["web image=v1"]), ("me", NOW)).unwrap();
        ledger.begin(owner, &begin(&plan)).unwrap();
        let mut writer = ledger.writer(owner, &plan);
        let step = &plan.steps[0];
        writer.record(&[Entry::Started { step, at: NOW }]).unwrap();
        let outcome = Outcome::Succeeded { left: Vec::new() };
        writer
            .record(&[
                Entry::Finished { step, at: NOW, note: Some("a note") },
                Entry::Ended { at: NOW, outcome: &outcome },
            ])
            .unwrap();
        release
    };
    let ledger = Ledger::open(&path).unwrap();
    assert_eq!(ledger.release("shop", 1).unwrap(), release);
    let facts = ledger.facts("shop", Observed::default()).unwrap();
    assert_eq!((facts.serving, facts.standby), (Some(1), None));
    let record = ledger.deployment("shop", 1).unwrap();
    assert_eq!((record.started, record.ended), (NOW, Some(NOW)));
    assert!(record.outcome.unwrap().is_success());
    let (read, progress) = ledger.attempt("shop", 1).unwrap();
    assert_eq!(read, plan);
    assert_eq!(progress.steps[&plan.steps[0].id].note.as_deref(), Some("a note"));
    assert!(ledger.active("shop").unwrap().is_none());
}

#[test]
fn a_release_takes_its_number_with_its_deployment() {
    let mut ledger = Ledger::in_memory().unwrap();
    let owner = ledger.take_over("test", NOW).unwrap();
    let wanted = ledger.would_seal("shop", services(["web image=v1"])).unwrap();
    assert_eq!(wanted.number, 1);
    assert!(ledger.apps().unwrap().is_empty(), "nothing is written by planning");
    let stale = plan(7, None, Some(1));
    let begin = Begin { release: Some(&wanted), ..begin(&stale) };
    ledger.begin(owner, &begin).unwrap_err();
    assert!(ledger.releases("shop").unwrap().is_empty(), "what is not begun takes no number");
    let plan = plan(1, None, Some(1));
    ledger.begin(owner, &Begin { plan: &plan, ..begin }).unwrap();
    assert_eq!(ledger.release("shop", 1).unwrap(), wanted);
    assert_eq!(ledger.would_seal("shop", services(["web image=v1"])).unwrap().number, 1);
    assert_eq!(ledger.would_seal("shop", services(["web image=v2"])).unwrap().number, 2);
}

#[test]
fn a_switch_that_left_the_proxy_nothing_still_counts() {
    let mut ledger = Ledger::in_memory().unwrap();
    let owner = ledger.take_over("test", NOW).unwrap();
    let mut down = plan(1, None, None);
    down.steps[0].action =
        Action::Switch { generation: 8, release: None, targets: Default::default() };
    ledger.begin(owner, &begin(&down)).unwrap();
    let step = &down.steps[0];
    // acknowledged by the proxy, and the agent died: neither its routes nor the proxy know of it
    ledger.writer(owner, &down).record(&[Entry::Started { step, at: NOW }]).unwrap();
    let facts = ledger.facts("shop", Observed::default()).unwrap();
    assert_eq!(facts.observed.routes.generation, 8, "the next switch is above it");
    let newer = Routes { generation: 11, ..Routes::default() };
    let facts = ledger.facts("shop", Observed { routes: newer, ..Default::default() }).unwrap();
    assert_eq!(facts.observed.routes.generation, 11);
}

#[test]
fn plans_and_steps_are_bounded_and_the_history_is_not() {
    let mut ledger = Ledger::in_memory().unwrap();
    let owner = ledger.take_over("test", NOW).unwrap();
    let last = KEEP_STEPS + 5;
    for number in 1..=last {
        let plan = plan(number, None, None);
        ledger.begin(owner, &begin(&plan)).unwrap();
        let step = &plan.steps[0];
        let outcome = Outcome::Succeeded { left: Vec::new() };
        let entries =
            [Entry::Started { step, at: NOW }, Entry::Ended { at: NOW, outcome: &outcome }];
        ledger.writer(owner, &plan).record(&entries).unwrap();
    }
    assert_eq!(ledger.deployments("shop", usize::MAX).unwrap().len() as u64, last);
    assert!(ledger.deployment("shop", 1).unwrap().outcome.is_some());
    let plans = (1..=last).filter(|number| ledger.attempt("shop", *number).is_ok()).count();
    assert_eq!(plans as u64, KEEP_PLANS);
    let error = ledger.attempt("shop", 1).unwrap_err().to_string();
    assert_eq!(error, "the plan of deployment 1 of `shop` is not kept any more");
    let steps = |number| ledger.steps("shop", number).unwrap().len();
    assert_eq!((steps(5), steps(6), steps(last)), (0, 1, 1));
}

#[test]
fn is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let (dir, path) = temp();
    let _ledger = Ledger::open(&path).unwrap();
    for entry in fs_err::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", entry.path().display());
    }
}

#[test]
fn a_stale_owner_is_fenced_in_the_middle() {
    let (_dir, path) = temp();
    let mut old = Ledger::open(&path).unwrap();
    let stale = old.take_over("agent pid 1", NOW).unwrap();
    let plan = plan(1, None, None);
    old.begin(stale, &begin(&plan)).unwrap();
    let mut new = Ledger::open(&path).unwrap();
    let owner = new.take_over("agent pid 2", NOW).unwrap();
    let step = &plan.steps[0];
    let entry = Entry::Started { step, at: NOW };
    let error = old.writer(stale, &plan).record(&[entry]).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(
        source,
        "the ledger was taken over by agent pid 2: this process may not write any more"
    );
    assert!(new.steps("shop", 1).unwrap().is_empty());
    new.writer(owner, &plan).record(&[entry]).unwrap();
    assert_eq!(new.steps("shop", 1).unwrap().len(), 1);
}

#[test]
fn one_deployment_at_a_time_and_none_from_old_facts() {
    let mut ledger = Ledger::in_memory().unwrap();
    let owner = ledger.take_over("test", NOW).unwrap();
    let first = plan(1, None, None);
    ledger.begin(owner, &begin(&first)).unwrap();
    let second = plan(2, None, None);
    let error = ledger.begin(owner, &begin(&second)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "deployment 1 of `shop` (deploy) is under way, started by root@fra1"
    );
    let outcome = Outcome::Succeeded { left: Vec::new() };
    let ended = Entry::Ended { at: NOW, outcome: &outcome };
    ledger.writer(owner, &first).record(&[ended]).unwrap();
    let error = ledger.begin(owner, &begin(&first)).unwrap_err();
    assert!(matches!(error, LedgerError::Stale { planned: 1, next: 2, .. }), "{error}");
    ledger.begin(owner, &begin(&second)).unwrap();
}

#[test]
fn the_same_wish_is_the_same_release() {
    let mut ledger = Ledger::in_memory().unwrap();
    let owner = ledger.take_over("test", NOW).unwrap();
    let mut seal = |line: &str| ledger.seal(owner, "shop", services([line]), ("me", NOW)).unwrap();
    assert_eq!(seal("web image=v1").number, 1);
    assert_eq!(seal("web image=v2").number, 2);
    assert_eq!(seal("web image=v1").number, 1);
    let peek = ledger.would_seal("shop", services(["web image=v3"])).unwrap();
    assert_eq!(peek.number, 3);
    assert_eq!(ledger.release_records("shop").unwrap().len(), 2, "a look changes nothing");
}

#[test]
fn numbers_are_not_used_twice() {
    let mut ledger = Ledger::in_memory().unwrap();
    let owner = ledger.take_over("test", NOW).unwrap();
    ledger.seal(owner, "shop", services(["web image=v1"]), ("me", NOW)).unwrap();
    let mut plan = plan(1, None, None);
    plan.steps[0].action = Action::Collect { releases: vec![1] };
    ledger.begin(owner, &begin(&plan)).unwrap();
    let finished = Entry::Finished { step: &plan.steps[0], at: NOW, note: None };
    ledger.writer(owner, &plan).record(&[finished]).unwrap();
    assert!(ledger.releases("shop").unwrap().is_empty());
    let next = ledger.seal(owner, "shop", services(["web image=v1"]), ("me", NOW)).unwrap();
    assert_eq!(next.number, 2);
}

#[test]
fn a_newer_format_and_a_broken_file_are_refused() {
    let (_dir, path) = temp();
    drop(Ledger::open(&path).unwrap());
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.pragma_update(None, "user_version", 99).unwrap();
    drop(conn);
    let error = Ledger::open(&path).unwrap_err();
    assert!(matches!(error, LedgerError::Newer { found: 99, .. }), "{error}");
    fs_err::write(&path, b"not a database, and long enough to be looked at as one").unwrap();
    let error = Ledger::open(&path).unwrap_err().to_string();
    assert!(error.contains("ledger.db"), "{error}");
}

#[test]
fn a_changed_release_is_noticed() {
    let (_dir, path) = temp();
    let mut ledger = Ledger::open(&path).unwrap();
    let owner = ledger.take_over("test", NOW).unwrap();
    ledger.seal(owner, "shop", services(["web image=v1 env=A:1"]), ("me", NOW)).unwrap();
    let conn = rusqlite::Connection::open(&path).unwrap();
    let sql = "UPDATE releases SET sealed = CAST(replace(CAST(sealed AS TEXT), \
               '\"A\":\"1\"', '\"A\":\"2\"') AS BLOB)";
    assert_eq!(conn.execute(sql, []).unwrap(), 1);
    let error = ledger.releases("shop").unwrap_err().to_string();
    assert!(error.starts_with("release 1 of `shop` does not match its digest"), "{error}");
}

#[test]
fn taints_are_kept() {
    let mut ledger = Ledger::in_memory().unwrap();
    let owner = ledger.take_over("test", NOW).unwrap();
    let taint = Taint {
        instance: InstanceId("web-1-1".to_owned()),
        who: "root@fra1".to_owned(),
        command: "sh".to_owned(),
        at: NOW,
    };
    ledger.taint(owner, "shop", &taint).unwrap();
    assert_eq!(ledger.taints("shop").unwrap().first(), Some(&taint));
    assert!(ledger.tainted("shop").unwrap().contains(&taint.instance));
    assert!(ledger.tainted("blog").unwrap().is_empty());
}
