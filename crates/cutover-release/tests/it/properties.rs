//! Random apps, faults and crashes: whatever happens, somebody answers, and only one release does.

use std::collections::BTreeSet;

use cutover_release::facts::State;
use cutover_release::{InstanceId, Outcome};
use proptest::prelude::*;
use proptest::sample::select;

use crate::fake::{Fault, When};
use crate::site::{APP, Site, Wish, assert_sound};

/// One service in three releases: what stays and, per release, its image.
fn service(
    name: &'static str,
    after: &'static [&'static str],
) -> impl Strategy<Value = [String; 3]> {
    let settings = (
        select(&["", "replicas=2", "replicas=3"][..]),
        select(&["", "order=stop-first", "order=start-first"][..]),
        select(&["", "parallelism=0", "parallelism=2 delay=1s"][..]),
        select(&["", "action=pause", "action=continue", "ratio=0.5"][..]),
        select(&["", "standby=frozen", "standby=stopped", "standby=none"][..]),
        select(&["", "monitor=0s"][..]),
        (any::<bool>(), any::<bool>(), proptest::sample::subsequence(after, 0..=after.len())),
    );
    let images = prop::array::uniform3(1..=2_u8);
    (settings, images).prop_map(move |(settings, images)| {
        let (replicas, order, parallelism, action, standby, monitor, (own, hook, after)) = settings;
        let own = match (name, own) {
            ("db", true) => "volume=data",
            ("web", _) => "routes=/ verify=/ try=smoke",
            (_, true) => "routes=/api",
            _ => "",
        };
        let hook = if hook { "hook=migrate each=warm" } else { "" };
        let after =
            if after.is_empty() { String::new() } else { format!("after={}", after.join(",")) };
        images.map(|image| {
            format!(
                "{name} image=v{image} {replicas} {order} {parallelism} {action} {standby} \
                 {monitor} {own} {hook} {after}"
            )
        })
    })
}

fn app() -> impl Strategy<Value = [Vec<String>; 3]> {
    (service("db", &[]), service("api", &["db"]), service("web", &["db", "api"])).prop_map(
        |(db, api, web)| {
            [0, 1, 2].map(|release| {
                vec![db[release].clone(), api[release].clone(), web[release].clone()]
            })
        },
    )
}

/// What is done, and what goes wrong meanwhile. Numbers are taken modulo what there is.
#[derive(Clone, Debug)]
struct Act {
    wish: Wish,
    fail: Option<(usize, u32, bool)>,
    die: Option<(usize, bool)>,
    journal: Option<usize>,
    kill: Option<(usize, usize)>,
}

fn act(kills: bool) -> impl Strategy<Value = Act> {
    let wish = prop_oneof![
        6 => (1..=3_u64).prop_map(Wish::Deploy),
        2 => Just(Wish::Rollback(None)),
        1 => Just(Wish::Replace(BTreeSet::new())),
        1 => Just(Wish::Repair),
        1 => Just(Wish::Down),
    ];
    let at = 0..60_usize;
    (
        wish,
        prop::option::of((at.clone(), 1..5_u32, any::<bool>())),
        prop::option::of((at.clone(), any::<bool>())),
        prop::option::of(at.clone()),
        prop::option::of((at.clone(), at)).prop_map(move |kill| kill.filter(|_| kills)),
    )
        .prop_map(|(wish, fail, die, journal, kill)| Act { wish, fail, die, journal, kill })
}

/// Plays one act to its end, through every death. `None`: there was nothing to do.
fn play(site: &mut Site, act: &Act) -> Option<Outcome> {
    let plan = site.plan(&act.wish).ok()?;
    let name = |at: usize| plan.steps[at % plan.steps.len()].action.id().0;
    if let Some((at, times, after)) = act.fail {
        let when = if after { When::After } else { When::Before };
        let (step, reason) = (name(at), "it is broken".to_owned());
        site.world.faults.push(Fault::Fail { step, reason, times, when });
    }
    if let Some((at, after)) = act.die {
        let when = if after { When::After } else { When::Before };
        site.world.faults.push(Fault::Die { at, when });
    }
    if let Some((at, which)) = act.kill {
        let ids: Vec<InstanceId> =
            plan.steps.iter().filter_map(|it| Some(it.action.instance()?.id.clone())).collect();
        if let Some(instance) = ids.get(which % ids.len().max(1)).cloned() {
            site.world.faults.push(Fault::Kill { instance, step: name(at) });
        }
    }
    site.journal_dies = act.journal;
    let mut outcome = site.go(&act.wish).unwrap();
    if outcome.is_none() {
        outcome = site.resume().expect("it is active");
    }
    site.world.faults.clear();
    outcome
}

fn never_two_of_an_exclusive(site: &Site) {
    let releases = site.facts().releases;
    let owns = releases.values().any(|release| {
        let db = &release.services["db"].service;
        let explicit = db.deploy.update.order == Some(cutover_core::service::Order::StartFirst);
        db.owned_volumes().next().is_some() && db.deploy.replicas == 1 && !explicit
    });
    let up = site
        .world
        .instances
        .values()
        .filter(|found| found.instance.service == "db" && found.state == State::Running);
    assert!(!owns || up.count() <= 1, "two databases run: {}", site.said.join("\n"));
}

fn site_of(app: &[Vec<String>; 3]) -> (Site, [u64; 3]) {
    let mut site = Site::new();
    let numbers = [0, 1, 2].map(|it| site.seal(app[it].iter().map(String::as_str)).number);
    (site, numbers)
}

/// Releases with the same contents have the same number.
fn numbered(act: &Act, numbers: [u64; 3]) -> Act {
    let wish = match act.wish {
        Wish::Deploy(at) => Wish::Deploy(numbers[usize::try_from(at).unwrap() - 1]),
        ref other => other.clone(),
    };
    Act { wish, ..act.clone() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Nothing fails but the executor: every deployment succeeds in the end.
    #[test]
    fn deaths_only(app in app(), acts in prop::collection::vec(act(false), 1..6)) {
        let (mut site, numbers) = site_of(&app);
        for act in &acts {
            let act = Act { fail: None, ..numbered(act, numbers) };
            let Some(outcome) = play(&mut site, &act) else { continue };
            let context = format!("{act:?}: {outcome:?}\n{}", site.said.join("\n"));
            let clean = matches!(&outcome, Outcome::Succeeded { left } if left.is_empty());
            prop_assert!(clean, "{}", context);
            assert_sound(&site, &context);
            never_two_of_an_exclusive(&site);
        }
    }

    /// Steps fail too: nobody is turned away, one release serves, and what the ledger says is so.
    #[test]
    fn faults_and_deaths(app in app(), acts in prop::collection::vec(act(false), 1..6)) {
        let (mut site, numbers) = site_of(&app);
        for act in &acts {
            let act = numbered(act, numbers);
            let before = site.ledger.app(APP).unwrap().and_then(|app| app.serving);
            let Some(outcome) = play(&mut site, &act) else { continue };
            let context = format!("{act:?}: {outcome:?}\n{}", site.said.join("\n"));
            let serving = site.ledger.app(APP).unwrap().unwrap().serving;
            prop_assert_eq!(serving, site.world.serving, "{}", context);
            if matches!(outcome, Outcome::Stuck { .. }) {
                break;
            }
            prop_assert_eq!(&site.world.complaints, &Vec::<String>::new(), "{}", context);
            prop_assert!(site.world.held.is_empty(), "{}", context);
            if matches!(outcome, Outcome::Reverted { .. }) {
                prop_assert_eq!(serving, before, "{}", context);
            }
            never_two_of_an_exclusive(&site);
        }
    }

    /// Instances die as well: every deployment ends, and something that served still does.
    #[test]
    fn anything_goes(app in app(), acts in prop::collection::vec(act(true), 1..6)) {
        let (mut site, numbers) = site_of(&app);
        for act in &acts {
            let act = numbered(act, numbers);
            let before = site.ledger.app(APP).unwrap().and_then(|app| app.serving);
            let Some(outcome) = play(&mut site, &act) else { continue };
            let serving = site.ledger.app(APP).unwrap().unwrap().serving;
            prop_assert_eq!(serving, site.world.serving);
            let down = matches!(act.wish, Wish::Down) && outcome.is_success();
            prop_assert!(serving.is_some() || before.is_none() || down, "{:?}", outcome);
            if matches!(outcome, Outcome::Stuck { .. }) {
                break;
            }
        }
    }
}
