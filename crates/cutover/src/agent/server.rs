//! The agent's socket: one thread a client, one JSON line asked, lines with events answered.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fs_err as fs;
use tracing::{debug, warn};

use super::conversation::Conversation;
use super::deploy::{self, Wish};
use super::ledger::SharedLedger;
use super::machine::Machine;
use super::protocol::{Envelope, Event, LINE_LIMIT, Request, VERSION};
use crate::failure::{Context, Failure, Kind, Outcome};

/// What every client's thread shares. Lives as long as the agent.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) machine: Arc<Machine>,
    pub(crate) ledger: SharedLedger,
    /// The deployment of each app that is under way, or the last one that ended.
    conversations: Mutex<HashMap<String, Arc<Conversation>>>,
    refreshing: Mutex<()>,
}

impl Shared {
    pub(crate) fn new(machine: Arc<Machine>, ledger: SharedLedger) -> Self {
        Self { machine, ledger, conversations: Mutex::default(), refreshing: Mutex::default() }
    }

    fn conversations(&self) -> MutexGuard<'_, HashMap<String, Arc<Conversation>>> {
        self.conversations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The deployment of `app` that is under way.
    pub(crate) fn active(&self, app: &str) -> Option<Arc<Conversation>> {
        let found = self.conversations().get(app).cloned();
        found.filter(|conversation| !conversation.has_ended())
    }

    /// Whether any deployment is under way.
    pub(crate) fn is_busy(&self) -> bool {
        self.conversations().values().any(|conversation| !conversation.has_ended())
    }

    /// Held while addresses are compared, and while a deployment looks at the machine.
    pub(crate) fn refreshing(&self) -> MutexGuard<'_, ()> {
        self.refreshing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks every deployment to stop where it is; a later agent goes on with it.
    pub(crate) fn shut_down(&self) {
        let all: Vec<_> = self.conversations().values().cloned().collect();
        for conversation in &all {
            conversation.stopper.shut_down();
        }
        let patience = Duration::from_secs(5);
        for conversation in all {
            conversation.wait_at_most(patience);
        }
    }

    /// Takes the app's only place for a deployment, or says who has it.
    pub(crate) fn claim(&self, app: &str) -> Result<Arc<Conversation>, Arc<Conversation>> {
        let mut all = self.conversations();
        match all.get(app) {
            Some(other) if !other.has_ended() => Err(Arc::clone(other)),
            _ => {
                let mine = Arc::new(Conversation::default());
                all.insert(app.to_owned(), Arc::clone(&mine));
                Ok(mine)
            }
        }
    }
}

/// Binds the socket for root alone.
pub(crate) fn bind(path: &Path) -> Outcome<UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
        fs::set_permissions(dir, PermissionsExt::from_mode(0o700))?;
    }
    // The lock on the root says that no other agent is alive: the socket is a dead one's.
    drop(fs::remove_file(path));
    let doing = format!("listen on `{}`", path.display());
    let listener = UnixListener::bind(path).or_fail(Kind::Internal, doing)?;
    fs::set_permissions(path, PermissionsExt::from_mode(0o600))?;
    Ok(listener)
}

/// Answers clients until asked to stop; returns whether the proxy is to stop as well.
pub(crate) fn serve(listener: &UnixListener, shared: &Arc<Shared>) -> bool {
    let (stop, stopped) = std::sync::mpsc::channel();
    let accepting = listener.try_clone();
    let clients = Arc::clone(shared);
    std::thread::spawn(move || {
        let Ok(accepting) = accepting else { return };
        for stream in accepting.incoming() {
            match stream {
                Ok(stream) => {
                    let (shared, stop) = (Arc::clone(&clients), stop.clone());
                    std::thread::spawn(move || client(stream, &shared, &stop));
                }
                Err(error) => {
                    warn!("cannot accept a client: {error}");
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        }
    });
    stopped.recv().unwrap_or(false)
}

fn client(mut stream: UnixStream, shared: &Arc<Shared>, stop: &std::sync::mpsc::Sender<bool>) {
    let request = match read_request(&stream) {
        Ok(request) => request,
        Err(failure) => {
            let report = first_line(&failure);
            let event = Event::Refused { report, hint: failure.hint };
            drop(send(&mut stream, &event));
            return;
        }
    };
    match request {
        Request::Ping => {
            let version = env!("CARGO_PKG_VERSION").to_owned();
            drop(send(&mut stream, &Event::Pong { version, pid: std::process::id() }));
        }
        Request::Stop { all } => {
            drop(send(&mut stream, &Event::Done { summary: Default::default() }));
            // the receiver is gone when the agent is stopping already
            stop.send(all).unwrap_or_default();
        }
        Request::Taint { app, instance, who, command } => {
            let done = shared.ledger.taint(&app, &instance, &who, &command);
            let event = match done {
                Ok(()) => Event::Done { summary: Default::default() },
                Err(failure) => Event::Refused { report: first_line(&failure), hint: failure.hint },
            };
            drop(send(&mut stream, &event));
        }
        Request::Cancel { app } => match shared.active(&app) {
            Some(conversation) => {
                conversation.stopper.cancel();
                follow(stream, &conversation);
            }
            None => {
                let report = format!("no deployment of `{app}` is under way");
                drop(send(&mut stream, &Event::Refused { report, hint: None }));
            }
        },
        Request::Attach { app } => match shared.active(&app).or_else(|| shared.last(&app)) {
            Some(conversation) => follow(stream, &conversation),
            None => {
                let event = deploy::last_outcome(shared, &app);
                drop(send(&mut stream, &event));
            }
        },
        Request::Plan { app, services } => {
            let event = deploy::show_plan(shared, &app, Wish::Deploy { services });
            drop(send(&mut stream, &event));
        }
        Request::Rollback { app, to, plan_only: true, .. } => {
            let event = deploy::show_plan(shared, &app, Wish::Rollback { to });
            drop(send(&mut stream, &event));
        }
        Request::Deploy { app, services, who, wait } => {
            begin(stream, shared, app, Wish::Deploy { services }, who, wait);
        }
        Request::Rollback { app, to, who, plan_only: false } => {
            begin(stream, shared, app, Wish::Rollback { to }, who, true);
        }
        Request::Replace { app, services, who } => {
            begin(stream, shared, app, Wish::Replace { services }, who, true);
        }
        Request::Down { app, volumes, who } => {
            begin(stream, shared, app, Wish::Down { volumes }, who, true);
        }
    }
}

impl Shared {
    fn last(&self, app: &str) -> Option<Arc<Conversation>> {
        self.conversations().get(app).cloned()
    }
}

/// Starts a deployment in a thread of its own and follows it for as long as the client listens.
fn begin(
    mut stream: UnixStream,
    shared: &Arc<Shared>,
    app: String,
    wish: Wish,
    who: String,
    wait: bool,
) {
    let mine = loop {
        match shared.claim(&app) {
            Ok(mine) => break mine,
            Err(other) if wait => {
                let line = format!("waiting for the deployment of `{app}` that is under way");
                if send(&mut stream, &Event::Say { line }).is_err() {
                    return;
                }
                other.wait();
            }
            Err(_) => {
                let report = format!("a deployment of `{app}` is under way");
                let hint = Some("leave out `--no-wait`, or see `cutover status`".to_owned());
                drop(send(&mut stream, &Event::Refused { report, hint }));
                return;
            }
        }
    };
    let (worker, conversation) = (Arc::clone(shared), Arc::clone(&mine));
    std::thread::spawn(move || deploy::run(&worker, &app, wish, &who, &conversation));
    follow(stream, &mine);
}

fn follow(mut stream: UnixStream, conversation: &Conversation) {
    conversation.follow(|event| send(&mut stream, event));
}

fn read_request(stream: &UnixStream) -> Outcome<Request> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut line = Vec::new();
    BufReader::new(stream).take(LINE_LIMIT as u64).read_until(b'\n', &mut line)?;
    if !line.ends_with(b"\n") {
        return Err(Failure::msg(Kind::Usage, "the request is cut off or too long"));
    }
    #[derive(serde::Deserialize)]
    struct Version {
        version: u32,
    }
    let version: Version =
        serde_json::from_slice(&line).or_fail(Kind::Usage, "read the request")?;
    if version.version > VERSION {
        return Err(Failure::msg(Kind::Usage, "this command is newer than the running agent")
            .hint("restart the agent: `cutover agent --stop`, then try again"));
    }
    let envelope: Envelope =
        serde_json::from_slice(&line).or_fail(Kind::Usage, "read the request")?;
    debug!(request = ?std::mem::discriminant(&envelope.request), "asked");
    Ok(envelope.request)
}

fn send(stream: &mut UnixStream, event: &Event) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    stream.write_all(&line)
}

fn first_line(failure: &Failure) -> String {
    failure.error.as_ref().map_or(String::new(), |error| {
        error.chain().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    })
}
