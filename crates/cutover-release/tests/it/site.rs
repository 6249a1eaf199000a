//! [`Site`]: a fake machine with a real ledger, and what an agent does between them.

use std::collections::BTreeSet;
use std::time::Duration;

use cutover_core::release::Release;
use cutover_release::facts::{Facts, Kind, State, Wanted};
use cutover_release::journal::{Entry, Journal, JournalError, Outcome};
use cutover_release::ledger::{Begin, Ledger, Owner};
use cutover_release::{Attempt, Plan, check, execute, explain, plan, resume, rollback};

use crate::app;
use crate::fake::{FakeWorld, Fault};

pub(crate) const APP: &str = "shop";

pub(crate) struct Site {
    pub(crate) world: FakeWorld,
    pub(crate) ledger: Ledger,
    owner: Owner,
    /// Lines that a user would have seen.
    pub(crate) said: Vec<String>,
    /// The journal fails from its n-th write on.
    pub(crate) journal_dies: Option<usize>,
}

/// What is wanted of the site.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    Deploy(u64),
    Rollback(Option<u64>),
    Replace(BTreeSet<String>),
    Repair,
    Down,
}

impl Site {
    pub(crate) fn new() -> Self {
        let mut ledger = Ledger::in_memory().unwrap();
        let owner = ledger.take_over("test", Duration::ZERO).unwrap();
        let world = FakeWorld::default();
        Self { world, ledger, owner, said: Vec::new(), journal_dies: None }
    }

    pub(crate) fn seal<'a>(&mut self, lines: impl IntoIterator<Item = &'a str>) -> Release {
        let by = ("test", Duration::ZERO);
        self.ledger.seal(self.owner, APP, app::services(lines), by).unwrap()
    }

    pub(crate) fn facts(&self) -> Facts {
        self.ledger.facts(APP, self.world.observed()).unwrap()
    }

    pub(crate) fn plan(&self, wish: &Wish) -> Result<Plan, String> {
        let facts = self.facts();
        let (kind, release) = match wish {
            Wish::Deploy(number) => (Kind::Deploy, Some(facts.releases[number].clone())),
            Wish::Rollback(asked) => {
                let history = self.ledger.deployments(APP, usize::MAX).unwrap();
                let release = rollback::choose(&facts, &history, *asked)
                    .map_err(|error| error.to_string())?;
                (Kind::Rollback, Some(release))
            }
            Wish::Replace(_) => (Kind::Replace, None),
            Wish::Repair => (Kind::Repair, None),
            Wish::Down => (Kind::Down, None),
        };
        let wanted = Wanted {
            app: APP.to_owned(),
            kind,
            release,
            deployment: self.ledger.next_deployment(APP).unwrap(),
            services: match wish {
                Wish::Replace(services) => services.clone(),
                _ => BTreeSet::new(),
            },
            rerun_hooks: false,
            keep_releases: 10,
        };
        let plan = plan(&wanted, &facts).map_err(|error| error.to_string())?;
        if let Err(violations) = check(&plan) {
            let list: Vec<_> = violations.iter().map(ToString::to_string).collect();
            panic!("unsound plan: {}\n{plan:#?}", list.join("\n"));
        }
        Ok(plan)
    }

    /// Plans and carries out; `Ok(None)` when the executor died.
    pub(crate) fn go(&mut self, wish: &Wish) -> Result<Option<Outcome>, String> {
        let plan = self.plan(wish)?;
        let begin =
            Begin { plan: &plan, release: None, who: "test", reason: "", at: self.world.clock };
        self.ledger.begin(self.owner, &begin).map_err(|error| error.to_string())?;
        let facts = self.facts();
        self.said.extend(explain::intro(&plan, &facts.releases));
        let attempt = Attempt::new(&plan, &facts.releases);
        Ok(self.carry_out(attempt))
    }

    /// Goes on with what was interrupted; `None` when nothing was.
    pub(crate) fn resume(&mut self) -> Option<Option<Outcome>> {
        let active = self.ledger.active(APP).unwrap()?;
        self.owner = self.ledger.take_over("test", self.world.clock).unwrap();
        self.world.interrupt = None;
        self.world.faults.retain(|fault| !matches!(fault, Fault::Die { .. }));
        self.journal_dies = None;
        let (plan, progress) = self.ledger.attempt(APP, active.number).unwrap();
        let course = resume(&plan, &progress, &self.world.observed());
        let facts = self.facts();
        let releases = &facts.releases;
        Some(self.carry_out(Attempt { plan: &plan, releases, progress, course }))
    }

    fn carry_out(&mut self, attempt: Attempt<'_>) -> Option<Outcome> {
        let (plan, releases) = (attempt.plan, attempt.releases);
        let started = self.world.clock;
        let mut journal = Telling {
            inner: self.ledger.writer(self.owner, plan),
            plan,
            started,
            said: &mut self.said,
            dies: self.journal_dies,
        };
        let outcome = execute(attempt, &mut self.world, &mut journal).ok().flatten();
        if let Some(outcome) = &outcome {
            let serving = self.ledger.app(APP).unwrap().and_then(|app| app.serving);
            let told = explain::outcome(plan, releases, outcome, serving);
            self.said.extend(told.lines);
            self.said.extend(told.hint.map(|hint| format!("hint: {hint}")));
        }
        outcome
    }

    /// What one would see on the machine, one line per instance.
    pub(crate) fn status(&self) -> Vec<String> {
        let app = self.ledger.app(APP).unwrap();
        let number = |release: Option<u64>| match release {
            Some(number) => number.to_string(),
            None => "none".to_owned(),
        };
        let (serving, standby) = app.map(|app| (app.serving, app.standby)).unwrap_or_default();
        let mut lines = vec![format!("serving {} standby {}", number(serving), number(standby))];
        for (id, found) in &self.world.instances {
            let routed = self.world.routed.values().any(|ids| ids.contains(id));
            let named = self.world.routes.targets.values().any(|ids| ids.contains(id));
            let mark = if routed {
                " ← traffic"
            } else if named {
                " ← name"
            } else {
                ""
            };
            let taint = if found.tainted { " tainted" } else { "" };
            let state = format!("{:?}", found.state).to_lowercase();
            lines.push(format!("  {id} {state}{taint}{mark}"));
        }
        lines.extend(self.world.volumes.iter().map(|name| format!("  volume {name}")));
        lines.extend(self.world.held.iter().map(|name| format!("  {name} is held")));
        lines
    }
}

/// Records, tells, and dies on order.
struct Telling<'a, J> {
    inner: J,
    plan: &'a Plan,
    started: Duration,
    said: &'a mut Vec<String>,
    dies: Option<usize>,
}

impl<J: Journal> Journal for Telling<'_, J> {
    fn record(&mut self, entries: &[Entry<'_>]) -> Result<(), JournalError> {
        match &mut self.dies {
            Some(0) => return Err(JournalError("killed".into())),
            Some(left) => *left -= 1,
            None => {}
        }
        self.inner.record(entries)?;
        let lines =
            entries.iter().filter_map(|entry| explain::entry(self.plan, entry, self.started));
        self.said.extend(lines);
        Ok(())
    }
}

/// What must be the same after a deployment that was undone: who serves, and what state every
/// instance is in.
pub(crate) fn snapshot(site: &Site) -> Vec<String> {
    let named = site.world.routes.targets.iter().filter(|(_, ids)| !ids.is_empty());
    let named = named.map(|(service, ids)| format!("{service} means {ids:?}"));
    site.status().into_iter().chain(named).collect()
}

/// What must hold after every deployment that ended by itself and in which nothing was broken
/// from outside.
pub(crate) fn assert_sound(site: &Site, context: &str) {
    let world = &site.world;
    assert_eq!(world.complaints, Vec::<String>::new(), "{context}");
    assert!(site.ledger.active(APP).unwrap().is_none(), "{context}");
    assert!(world.held.is_empty(), "still held: {context}");
    assert!(world.one_offs.is_empty(), "one-offs left: {context}");
    let app = site.ledger.app(APP).unwrap().unwrap();
    assert_eq!(app.serving, world.serving, "ledger and proxy differ: {context}");
    let facts = site.facts();
    for (service, ids) in world.routes.targets.iter().filter(|(_, ids)| !ids.is_empty()) {
        let release = facts.serving_release().expect("something serves");
        let spec = release.services[service].instance_digest();
        for id in ids {
            let found = &world.instances[id];
            assert_eq!(found.state, State::Running, "`{id}` is named: {context}");
            assert_eq!(found.instance.spec, spec, "`{id}` is of another release: {context}");
        }
    }
    let (serving, waiting) = (facts.serving_instances(), facts.waiting_instances());
    for (id, found) in &world.instances {
        let accounted =
            serving.contains(id) || waiting.contains(id) || found.state == State::Completed;
        assert!(accounted, "`{id}` is left over: {context}");
    }
}
