//! What the planner chooses, where a story would say too much.

use cutover_release::facts::Kind;
use cutover_release::{Action, Plan, policy};

use crate::app::services;
use crate::site::{Site, Wish};

/// Deploys one release and plans the next.
fn between(old: &[&str], new: &[&str]) -> Plan {
    let mut site = Site::new();
    site.seal(old.iter().copied());
    let next = site.seal(new.iter().copied());
    assert!(site.go(&Wish::Deploy(1)).unwrap().unwrap().is_success());
    site.plan(&Wish::Deploy(next.number)).unwrap()
}

fn stops_first(plan: &Plan) -> bool {
    let switch = plan.switch_at().unwrap();
    plan.steps[..switch].iter().any(|step| matches!(step.action, Action::Stop { .. }))
}

#[test]
fn order_falls_back_where_two_copies_conflict() {
    let check = |old: &str, new: &str, expected: bool| {
        let plan = between(&[old], &[new]);
        assert_eq!(stops_first(&plan), expected, "{old} → {new}");
    };
    check("db image=v1 volume=data", "db image=v2 volume=data", true);
    check("db image=v1 volume=data", "db image=v2 volume=other", false);
    check("db image=v1", "db image=v2 volume=data", false);
    check("db image=v1 volume=data replicas=2", "db image=v2 volume=data replicas=2", false);
    check("db image=v1 volume=data", "db image=v2 volume=data order=start-first", false);
    check("web image=v1 port=80", "web image=v2 port=80", true);
    check("web image=v1 port=80", "web image=v2 port=81", false);
    check("web image=v1", "web image=v2 order=stop-first", true);
}

#[test]
fn a_volume_that_others_write_too_is_nobodys_own() {
    let old = ["web image=v1 routes=/ volume=files", "worker image=v1 volume=files"];
    let new = ["web image=v2 routes=/ volume=files", "worker image=v2 volume=files"];
    assert!(!stops_first(&between(&old, &new)));
}

#[test]
fn requests_are_held_for_all_that_need_it() {
    let of = |tag: &str| {
        [
            format!("db image={tag} volume=data"),
            "api image=v1 routes=/api after=db".to_owned(),
            "web image=v1 routes=/ after=api".to_owned(),
            "docs image=v1 routes=/docs".to_owned(),
        ]
    };
    let (old, new) = (of("v1"), of("v2"));
    let old: Vec<_> = old.iter().map(String::as_str).collect();
    let new: Vec<_> = new.iter().map(String::as_str).collect();
    let plan = between(&old, &new);
    let held = plan.steps.iter().find_map(|step| match &step.action {
        Action::Hold { services, .. } => Some(services.clone()),
        _ => None,
    });
    assert_eq!(held.unwrap(), ["api", "web"]);
}

#[test]
fn an_instance_is_of_a_spec() {
    let plan = between(
        &["web image=v1 routes=/", "worker image=v1"],
        &["web image=v1 routes=/new verify=/ standby=none", "worker image=v2"],
    );
    let starts: Vec<_> = plan
        .steps
        .iter()
        .filter_map(|step| match &step.action {
            Action::Start { instance } => Some(instance.id.0.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(starts, ["worker-2-1"], "routes and checks change without a new instance");
}

#[test]
fn old_releases_are_forgotten_but_not_those_in_use() {
    let mut site = Site::new();
    for number in 1..=14 {
        let line = format!("web image=v{number} routes=/");
        let release = site.seal([line.as_str()]);
        assert!(site.go(&Wish::Deploy(release.number)).unwrap().unwrap().is_success());
    }
    let kept: Vec<u64> = site.facts().releases.into_keys().collect();
    assert_eq!(kept, (3..=14).collect::<Vec<_>>(), "ten besides the two in use");
    assert!(site.go(&Wish::Rollback(Some(3))).unwrap().unwrap().is_success());
    let kept: Vec<u64> = site.facts().releases.into_keys().collect();
    assert!(kept.contains(&3) && kept.contains(&14), "{kept:?}");
}

#[test]
fn a_lost_volume_runs_migrations_again() {
    let mut site = Site::new();
    site.seal(["db image=v1 volume=data", "web image=v1 routes=/ hook=migrate after=db"]);
    assert!(site.go(&Wish::Deploy(1)).unwrap().unwrap().is_success());
    let hooks = |site: &Site| {
        let plan = site.plan(&Wish::Replace([].into())).unwrap();
        plan.steps.iter().filter(|step| matches!(step.action, Action::RunHook { .. })).count()
    };
    assert_eq!(hooks(&site), 0, "unchanged and succeeded");
    site.world.volumes.clear();
    assert_eq!(hooks(&site), 1);
}

#[test]
fn a_plan_survives_the_ledger() {
    let plan = between(
        &["db image=v1 volume=data", "web image=v1 routes=/ after=db"],
        &["db image=v2 volume=data", "web image=v2 routes=/ after=db try=x hook=y each=z"],
    );
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
}

#[test]
fn a_healthcheck_gets_the_time_it_asks_for() {
    let sealed = services(["web image=v1"]);
    let mut service = sealed["web"].service.clone();
    let mut check = cutover_core::service::Healthcheck::default();
    let second = std::time::Duration::from_secs(1);
    (check.interval, check.timeout, check.retries) = (Some(second), Some(second), Some(3));
    service.healthcheck = Some(check.clone());
    assert_eq!(policy::health_timeout(&service), 60 * second, "the least");
    check.start_period = Some(300 * second);
    service.healthcheck = Some(check);
    assert_eq!(policy::health_timeout(&service), 316 * second);
    assert_eq!(policy::config(Kind::Rollback, &service).parallelism, 0);
}
