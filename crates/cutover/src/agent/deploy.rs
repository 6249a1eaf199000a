//! One deployment in the agent: facts, plan, check, execute, and what is said about it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cutover_release::execute::ExecuteError;
use cutover_release::facts::{Kind, Wanted};
use cutover_release::journal::{Entry, Journal, JournalError};
use cutover_release::ledger::Begin;
use cutover_release::step::Action;
use cutover_release::{
    Attempt, Course, Facts, Outcome as Ending, Plan, PlanError, Releases, check, execute, explain,
    plan, resume, rollback,
};
use cutover_runtime::container::Error as ContainerError;
use cutover_runtime::net::NetError;
use tracing::{error, info, warn};

use super::conversation::Conversation;
use super::protocol::{Event, Services, Summary};
use super::server::Shared;
use super::world::AgentWorld;
use super::{names, routes};
use crate::clock;
use crate::failure::{Context, Failure, Kind as FailureKind, Outcome};

/// Releases that stay in the ledger besides those in use.
const KEEP_RELEASES: usize = 10;

/// What a client wants of an app.
#[derive(Debug)]
pub(crate) enum Wish {
    Deploy { services: Services },
    Rollback { to: Option<u64> },
    Replace { services: Vec<String> },
    Down { volumes: bool },
}

/// A decided deployment and what it was decided from.
struct Decided {
    plan: Plan,
    facts: Facts,
}

enum Decision {
    Plan(Box<Decided>),
    /// What is wished for serves already.
    Nothing {
        release: u64,
    },
}

fn nothing_to_do(app: &str, release: u64) -> String {
    format!(
        "release {release} of `{app}` serves already and nothing changed: there is nothing to do"
    )
}

/// Plans without changing anything.
pub(crate) fn show_plan(shared: &Shared, app: &str, wish: Wish) -> Event {
    match decide(shared, app, &wish) {
        Ok(Decision::Plan(decided)) => {
            Event::Plan { lines: explain::plan(&decided.plan, &decided.facts.releases) }
        }
        Ok(Decision::Nothing { release }) => {
            Event::Plan { lines: vec![nothing_to_do(app, release)] }
        }
        Err(failure) => refused(failure),
    }
}

/// The whole deployment, from facts to outcome. Runs in a thread of its own.
pub(crate) fn run(
    shared: &Arc<Shared>,
    app: &str,
    wish: Wish,
    who: &str,
    conversation: &Arc<Conversation>,
) {
    let started = clock::since_epoch();
    let event = match begin(shared, app, &wish, who, conversation) {
        Err(failure) => refused(failure),
        Ok(Decision::Nothing { release }) => {
            conversation.line(nothing_to_do(app, release));
            let outcome = "unchanged".to_owned();
            let (app, serving) = (app.to_owned(), Some(release));
            Event::Done { summary: Summary { app, serving, outcome, ..Summary::default() } }
        }
        Ok(Decision::Plan(decided)) => {
            let attempt = Attempt::new(&decided.plan, &decided.facts.releases);
            let ended = carry_out(shared, attempt, conversation, started);
            if let (Wish::Down { volumes }, Event::Done { .. }) = (&wish, &ended) {
                after_down(shared, &decided.plan, &decided.facts, *volumes, conversation);
            }
            ended
        }
    };
    conversation.say(event);
    collect_secrets(shared);
}

/// Removes versions of secrets that no kept release names any more.
pub(crate) fn collect_secrets(shared: &Shared) {
    let machine = &shared.machine;
    let collected = machine.secrets.collect(|| super::ledger::secret_versions(&machine.paths));
    match collected {
        Ok(None | Some(0)) => {}
        Ok(Some(count)) => info!(count, "removed old versions of secrets"),
        Err(failure) => error!("cannot remove old versions of secrets: {failure}"),
    }
}

fn begin(
    shared: &Shared,
    app: &str,
    wish: &Wish,
    who: &str,
    conversation: &Conversation,
) -> Outcome<Decision> {
    let decided = match decide(shared, app, wish)? {
        Decision::Plan(decided) => decided,
        nothing => return Ok(nothing),
    };
    let plan = &decided.plan;
    let at = clock::since_epoch();
    let release = plan.to.and_then(|number| decided.facts.releases.get(&number));
    let begin = Begin { plan, release, who, reason: "", at };
    shared
        .ledger
        .lock()
        .begin(shared.ledger.owner, &begin)
        .or_fail(FailureKind::Deploy, "begin the deployment")?;
    info!(app, deployment = plan.deployment, kind = plan.kind.word(), "begun");
    conversation.say(Event::Started { deployment: plan.deployment, release: plan.to });
    for line in explain::intro(plan, &decided.facts.releases) {
        conversation.line(line);
    }
    Ok(Decision::Plan(decided))
}

/// Facts, plan and proof. Nothing is written: a new release takes its number when its deployment
/// begins.
fn decide(shared: &Shared, app: &str, wish: &Wish) -> Outcome<Decision> {
    // Addresses are not compared meanwhile, nor until this deployment has ended.
    let _looking = shared.refreshing();
    let observed =
        shared.machine.observed(app).or_fail(FailureKind::Internal, "look at the machine")?;
    let ledger = shared.ledger.lock();
    let (kind, release) = match wish {
        Wish::Deploy { services } => {
            let sealed = ledger.would_seal(app, services.clone());
            (Kind::Deploy, Some(sealed.or_fail(FailureKind::Internal, "seal the release")?))
        }
        Wish::Rollback { to } => {
            let facts = ledger.facts(app, observed.clone())?;
            let history = ledger.deployments(app, usize::MAX)?;
            let chosen = rollback::choose(&facts, &history, *to).map_err(|error| {
                let hint = error.hint();
                let error =
                    anyhow::Error::new(error).context(format!("failed to roll back `{app}`"));
                Failure { hint, ..Failure::new(FailureKind::Deploy, error) }
            })?;
            (Kind::Rollback, Some(chosen))
        }
        Wish::Replace { .. } => (Kind::Replace, None),
        Wish::Down { .. } => (Kind::Down, None),
    };
    let mut facts = ledger.facts(app, observed)?;
    let tainted = ledger.tainted(app)?;
    let deployment = ledger.next_deployment(app)?;
    drop(ledger);
    for fact in &mut facts.observed.instances {
        fact.tainted = tainted.contains(&fact.instance.id);
    }
    if let Some(release) = &release {
        facts.releases.insert(release.number, release.clone());
    }
    let wanted = Wanted {
        app: app.to_owned(),
        kind,
        release,
        deployment,
        services: match wish {
            Wish::Replace { services } => services.iter().cloned().collect(),
            _ => BTreeSet::new(),
        },
        rerun_hooks: false,
        keep_releases: KEEP_RELEASES,
    };
    let plan = match plan(&wanted, &facts) {
        Ok(plan) => plan,
        // What is wished for is so already: a success for a script that deploys.
        Err(PlanError::Nothing { release, .. }) if matches!(wish, Wish::Deploy { .. }) => {
            return Ok(Decision::Nothing { release });
        }
        Err(error) => {
            let hint = explain::plan_hint(&error);
            return Err(Failure { hint, ..Failure::new(FailureKind::Deploy, error) });
        }
    };
    check(&plan).map_err(|violations| {
        let list: Vec<String> = violations.iter().map(ToString::to_string).collect();
        Failure::msg(FailureKind::Internal, format!("the plan is not sound: {}", list.join("; ")))
            .hint("this is a mistake in cutover: nothing was changed; please report it")
    })?;
    Ok(Decision::Plan(Box::new(Decided { plan, facts })))
}

/// Executes to the end; the last event says how it ended and which release serves.
fn carry_out(
    shared: &Shared,
    attempt: Attempt<'_>,
    conversation: &Arc<Conversation>,
    started: Duration,
) -> Event {
    let (plan, releases) = (attempt.plan, attempt.releases);
    let mut world = AgentWorld {
        machine: Arc::clone(&shared.machine),
        app: plan.app.clone(),
        stopper: conversation.stopper.clone(),
    };
    let mut ledger = match shared.ledger.another() {
        Ok(ledger) => ledger,
        Err(failure) => return refused(failure),
    };
    let mut journal = Telling {
        inner: ledger.writer(shared.ledger.owner, plan),
        conversation,
        plan,
        started,
        switched: None,
    };
    let result = execute(attempt, &mut world, &mut journal);
    let switched = journal.switched;
    drop(journal);
    let serving = ledger.app(&plan.app).ok().flatten().and_then(|app| app.serving);
    let total = clock::since_epoch().saturating_sub(started);
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut summary = Summary {
        app: plan.app.clone(),
        deployment: Some(plan.deployment),
        serving,
        outcome: String::new(),
        switched_ms: switched.map(millis),
        total_ms: millis(total),
    };
    match result {
        Ok(Some(ending)) => {
            summary.outcome = ending.word().to_owned();
            info!(app = plan.app, deployment = plan.deployment, outcome = summary.outcome, "ended");
            finish(plan, releases, &ending, summary, conversation)
        }
        Ok(None) => {
            summary.outcome = "suspended".to_owned();
            let report = format!(
                "the agent is going down; deployment {} goes on when it is back",
                plan.deployment
            );
            Event::Refused { report, hint: None }
        }
        Err(error) => {
            error!(app = plan.app, deployment = plan.deployment, "{error}");
            summary.outcome = "suspended".to_owned();
            let report = causes(&error);
            let hint = Some(explain::serving(&plan.app, serving));
            Event::Failed { report, hint, summary }
        }
    }
}

fn causes(error: &ExecuteError) -> String {
    let mut lines = vec!["the deployment could not go on".to_owned(), error.to_string()];
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        lines.push(cause.to_string());
        source = cause.source();
    }
    lines.join("\n")
}

fn finish(
    plan: &Plan,
    releases: &Releases,
    ending: &Ending,
    summary: Summary,
    conversation: &Conversation,
) -> Event {
    let told = explain::outcome(plan, releases, ending, summary.serving);
    match ending.is_success() {
        true => {
            for line in told.lines {
                conversation.line(line);
            }
            Event::Done { summary }
        }
        false => Event::Failed { report: told.lines.join("\n"), hint: told.hint, summary },
    }
}

fn refused(failure: Failure) -> Event {
    let error = failure.error.unwrap_or_else(|| anyhow::Error::msg("refused"));
    let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
    Event::Refused { report: chain.join("\n"), hint: failure.hint }
}

/// A journal that also says what it records.
struct Telling<'a, J> {
    inner: J,
    conversation: &'a Conversation,
    plan: &'a Plan,
    started: Duration,
    /// From the start to the acknowledged switch.
    switched: Option<Duration>,
}

impl<J: Journal> Journal for Telling<'_, J> {
    fn record(&mut self, entries: &[Entry<'_>]) -> Result<(), JournalError> {
        self.inner.record(entries)?;
        for entry in entries {
            if let Entry::Finished { step, at, .. } = entry
                && matches!(step.action, Action::Switch { .. })
            {
                self.switched = Some(at.saturating_sub(self.started));
            }
            if let Some(line) = explain::entry(self.plan, entry, self.started) {
                self.conversation.line(line);
            }
        }
        Ok(())
    }
}

/// Goes on with every deployment that an earlier agent did not end.
pub(crate) fn resume_all(shared: &Arc<Shared>) {
    let apps = match shared.ledger.lock().apps() {
        Ok(apps) => apps,
        Err(error) => {
            error!("cannot read the ledger: {error}");
            return;
        }
    };
    for app in apps {
        let active = shared.ledger.lock().active(&app.name);
        match active {
            Ok(Some(record)) => resume_one(shared, &app.name, record.number),
            Ok(None) => {}
            Err(error) => error!(app = app.name, "cannot read the ledger: {error}"),
        }
    }
}

/// Before a deployment that cannot be resumed is given up, half a minute in all.
const LONGEST_NAP: Duration = Duration::from_secs(20);

fn resume_one(shared: &Arc<Shared>, app: &str, number: u64) {
    let Ok(conversation) = shared.claim(app) else { return };
    let (shared, app) = (Arc::clone(shared), app.to_owned());
    std::thread::spawn(move || {
        let started = clock::since_epoch();
        let mut nap = Duration::from_millis(100);
        let event = loop {
            match resumed(&shared, &app, number, &conversation, started) {
                Ok(event) => break event,
                // what is looked at may be changing at this moment, and nobody else would finish it
                Err(failure) if nap < LONGEST_NAP => {
                    warn!(app, deployment = number, "cannot resume yet: {failure}");
                    std::thread::sleep(nap);
                    nap *= 2;
                }
                Err(failure) => {
                    error!(app, deployment = number, "cannot resume: {failure}");
                    break refused(failure);
                }
            }
        };
        conversation.say(event);
    });
}

fn resumed(
    shared: &Shared,
    app: &str,
    number: u64,
    conversation: &Arc<Conversation>,
    started: Duration,
) -> Outcome<Event> {
    let observed =
        shared.machine.observed(app).or_fail(FailureKind::Internal, "look at the machine")?;
    let ledger = shared.ledger.lock();
    let (plan, progress) = ledger.attempt(app, number)?;
    let releases = ledger.releases(app)?;
    drop(ledger);
    let course = resume(&plan, &progress, &observed);
    let word = match &course {
        Course::Forward => "finishing",
        Course::Revert(_) => "reverting",
    };
    info!(app, deployment = number, "{word} what an earlier agent began");
    conversation.say(Event::Started { deployment: number, release: plan.to });
    conversation.line(format!("the agent was restarted: {word} deployment {number}"));
    let attempt = Attempt { plan: &plan, releases: &releases, progress, course };
    Ok(carry_out(shared, attempt, conversation, started))
}

/// What the ledger says of the last deployment of `app`, for who asks after it ended.
pub(crate) fn last_outcome(shared: &Shared, app: &str) -> Event {
    let ledger = shared.ledger.lock();
    let found = ledger.deployments(app, 1).ok().and_then(|mut all| all.pop());
    let serving = ledger.app(app).ok().flatten().and_then(|app| app.serving);
    let Some(record) = found else {
        return Event::Refused { report: format!("`{app}` was never deployed here"), hint: None };
    };
    let summary = Summary {
        app: app.to_owned(),
        deployment: Some(record.number),
        serving,
        outcome: record.outcome.as_ref().map_or("under way", Ending::word).to_owned(),
        switched_ms: None,
        total_ms: 0,
    };
    let attempt = ledger.attempt(app, record.number);
    let releases = ledger.releases(app);
    match (record.outcome, attempt, releases) {
        (Some(outcome), Ok((plan, _)), Ok(releases)) => {
            let told = explain::outcome(&plan, &releases, &outcome, serving);
            match outcome.is_success() {
                true => Event::Done { summary },
                false => Event::Failed { report: told.lines.join("\n"), hint: told.hint, summary },
            }
        }
        _ => Event::Done { summary },
    }
}

/// The app is off: its names, its network and, if asked for, its volumes go.
fn after_down(
    shared: &Shared,
    plan: &Plan,
    facts: &Facts,
    volumes: bool,
    conversation: &Conversation,
) {
    let machine = &shared.machine;
    let mut problems = Vec::new();
    if let Err(error) = names::withdraw(machine, &plan.app) {
        problems.push(error.reason);
    }
    let routes = routes::load(&machine.paths.root, &plan.app).unwrap_or_default();
    let cleared = cutover_release::facts::Routes { targets: Default::default(), ..routes };
    if let Err(error) = routes::save(&machine.paths.root, &plan.app, &cleared) {
        problems.push(error.to_string());
    }
    let services = || facts.releases.values().flat_map(|release| release.services.values());
    let networks: BTreeSet<&str> = services()
        .flat_map(|sealed| sealed.service.networks.values())
        .filter(|used| !used.network.external)
        .map(|used| used.network.name.as_str())
        .collect();
    for name in networks {
        match machine.networks.remove(name) {
            Ok(()) => conversation.line(format!("removed network `{name}`")),
            Err(NetError::Missing { .. }) => {}
            Err(error) => problems.push(error.to_string()),
        }
    }
    if volumes {
        let owned: BTreeSet<&str> = services()
            .flat_map(|sealed| sealed.service.owned_volumes())
            .filter(|volume| !volume.external)
            .map(|volume| volume.name.as_str())
            .collect();
        for name in owned {
            match machine.containers.volumes().remove(name) {
                Ok(()) => conversation.line(format!("removed volume `{name}`")),
                Err(ContainerError::VolumeNotFound(_)) => {}
                Err(error) => problems.push(error.to_string()),
            }
        }
    }
    for problem in problems {
        conversation.line(format!("warning: {problem}"));
    }
}
