//! The command line's side of the agent's socket: start an agent if none is there, ask, show what
//! it says, re-attach when it was restarted underneath.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cutover_store::Lease;
use fs_err as fs;

use super::protocol::{Envelope, Event, LINE_LIMIT, Request, Summary, VERSION};
use crate::cli::Ctx;
use crate::failure::{Context, Failure, Kind, Outcome};
use crate::paths::Paths;
use crate::secrets::Pin;

/// How long a freshly started agent may take to answer.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a follower waits for an agent that went away in the middle of a deployment.
const REATTACH_TIMEOUT: Duration = Duration::from_secs(60);

/// How to show a deployment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Show {
    pub(crate) json: bool,
    pub(crate) detach: bool,
    /// The deployment is meant to be undone: that it was is a success.
    pub(crate) undo: bool,
}

/// Sends `request` and shows what the agent says until it is done. If the agent is restarted
/// meanwhile, the deployment goes on there, and so does this.
pub(crate) fn follow(ctx: &Ctx, request: &Request, show: Show) -> Outcome {
    follow_with(ctx, request, show, None)
}

/// The same; `pin`, secrets and images, is let go of once the ledger names what it holds.
pub(crate) fn follow_with(
    ctx: &Ctx,
    request: &Request,
    show: Show,
    mut pin: Option<(Pin, Lease)>,
) -> Outcome {
    let mut stream = connect_or_start(&ctx.paths)?;
    send(&mut stream, request)?;
    let mut attach = attach_request(request);
    let mut told = false;
    loop {
        match listen(ctx, stream, show, &mut pin)? {
            Some(ending) => return ending,
            None => {
                let Some(request) = attach.take() else {
                    return Err(Failure::msg(Kind::Internal, "the agent ended the conversation")
                        .hint(format!("see `{}`", ctx.paths.agent_log().display())));
                };
                if !told {
                    ctx.ui.warn("the agent went away; waiting for it to come back");
                    told = true;
                }
                stream = wait_for_agent(&ctx.paths, REATTACH_TIMEOUT)?;
                send(&mut stream, &request)?;
                attach = Some(request);
            }
        }
    }
}

/// Whether an agent answers on this root.
pub(crate) fn ping(paths: &Paths) -> Option<(String, u32)> {
    let mut stream = UnixStream::connect(paths.agent_socket()).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    send(&mut stream, &Request::Ping).ok()?;
    match next_event(&mut BufReader::new(stream)).ok()?? {
        Event::Pong { version, pid } => Some((version, pid)),
        _ => None,
    }
}

/// One request whose answer is a single event.
pub(crate) fn ask(paths: &Paths, request: &Request) -> Outcome<Option<Event>> {
    let Ok(mut stream) = UnixStream::connect(paths.agent_socket()) else { return Ok(None) };
    send(&mut stream, request)?;
    next_event(&mut BufReader::new(stream))
}

fn attach_request(request: &Request) -> Option<Request> {
    match request {
        Request::Deploy { app, .. } | Request::Rollback { app, plan_only: false, .. } => {
            Some(Request::Attach { app: app.clone() })
        }
        _ => None,
    }
}

/// Shows events until the last one; `None` when the agent went away before it.
fn listen(
    ctx: &Ctx,
    stream: UnixStream,
    show: Show,
    pin: &mut Option<(Pin, Lease)>,
) -> Outcome<Option<Outcome>> {
    let mut reader = BufReader::new(stream);
    while let Some(event) = next_event(&mut reader)? {
        match event {
            Event::Pong { .. } => return Ok(Some(Ok(()))),
            Event::Say { line } if show.json => drop(line),
            Event::Say { line } => ctx.ui.say(line),
            Event::Started { deployment, release } => {
                drop(pin.take());
                if show.detach {
                    let release =
                        release.map_or(String::new(), |number| format!(" of release {number}"));
                    ctx.ui.say(format!(
                        "deployment {deployment}{release} is under way; see `cutover status`"
                    ));
                    return Ok(Some(Ok(())));
                }
            }
            Event::Plan { lines } => {
                for line in lines {
                    ctx.ui.data(line)?;
                }
                return Ok(Some(Ok(())));
            }
            Event::Done { summary } => {
                print_summary(ctx, &summary, show)?;
                return Ok(Some(Ok(())));
            }
            Event::Failed { report, summary, .. } if show.undo && summary.outcome == "reverted" => {
                ctx.ui.say(report);
                return Ok(Some(Ok(())));
            }
            Event::Failed { report, hint, summary } => {
                print_summary(ctx, &summary, show)?;
                return Ok(Some(Err(failure(&report, hint))));
            }
            Event::Refused { report, hint } => return Ok(Some(Err(failure(&report, hint)))),
        }
    }
    Ok(None)
}

/// The report is `what failed`, then one cause a line, then evidence, indented.
fn failure(report: &str, hint: Option<String>) -> Failure {
    let is_evidence = |line: &&str| line.starts_with(' ');
    let evidence: Vec<&str> = report.lines().filter(is_evidence).collect();
    let mut lines = report.lines().filter(|line| !is_evidence(line));
    let first = lines.next().unwrap_or("the deployment failed").to_owned();
    let mut causes: Vec<String> = lines.map(str::to_owned).collect();
    if !evidence.is_empty() {
        let evidence = evidence.join("\n    ");
        match causes.last_mut() {
            Some(last) => *last = format!("{last}\n    {evidence}"),
            None => causes.push(evidence),
        }
    }
    let mut error: Option<anyhow::Error> = None;
    for cause in causes.into_iter().rev() {
        error = Some(match error {
            None => anyhow::Error::msg(cause),
            Some(source) => source.context(cause),
        });
    }
    let error = match error {
        None => anyhow::Error::msg(first),
        Some(source) => source.context(first),
    };
    Failure { kind: Kind::Deploy, error: Some(error), hint }
}

fn print_summary(ctx: &Ctx, summary: &Summary, show: Show) -> Outcome {
    match show.json {
        true => ctx.ui.json(summary),
        false => Ok(()),
    }
}

fn send(stream: &mut UnixStream, request: &Request) -> Outcome {
    #[derive(serde::Serialize)]
    struct Borrowed<'a> {
        version: u32,
        request: &'a Request,
    }
    // the same shape as the agent reads
    const _: fn(Envelope) = |envelope| drop((envelope.version, envelope.request));
    let mut line = serde_json::to_vec(&Borrowed { version: VERSION, request })?;
    line.push(b'\n');
    stream.write_all(&line).or_fail(Kind::Internal, "speak to the agent")
}

fn next_event(reader: &mut BufReader<UnixStream>) -> Outcome<Option<Event>> {
    let mut line = Vec::new();
    let limit = LINE_LIMIT as u64;
    match reader.take(limit).read_until(b'\n', &mut line) {
        Ok(0) => Ok(None),
        Ok(_) if !line.ends_with(b"\n") => Ok(None),
        Ok(_) => Ok(Some(serde_json::from_slice(&line)?)),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(None),
        Err(error) => Err(error).or_fail(Kind::Internal, "read the agent's answer"),
    }
}

fn connect_or_start(paths: &Paths) -> Outcome<UnixStream> {
    if let Ok(stream) = UnixStream::connect(paths.agent_socket()) {
        return Ok(stream);
    }
    start(paths)
}

/// Starts an agent and waits until it answers.
pub(crate) fn start_and_wait(paths: &Paths) -> Outcome {
    start(paths).map(drop)
}

/// Ends a proxy that has no agent, and waits for it.
pub(crate) fn stop_proxy(paths: &Paths) -> Outcome {
    use cutover_proxy::control::Client;
    let Ok(mut client) = Client::connect(&paths.proxy_socket()) else { return Ok(()) };
    // one that is ending already says so, and that is fine
    drop(client.lame_duck(Duration::ZERO, Duration::from_secs(2)));
    drop(client);
    super::supervise::end_by_force(paths, Duration::from_secs(5))
}

/// Waits until no agent answers any more.
pub(crate) fn wait_until_gone(paths: &Paths) -> Outcome {
    for _ in 0..1000 {
        if UnixStream::connect(paths.agent_socket()).is_err() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(Failure::msg(Kind::Internal, "the agent does not end"))
}

/// Starts an agent for this root in the background; it outlives this command.
fn start(paths: &Paths) -> Outcome<UnixStream> {
    fs::create_dir_all(&paths.root)?;
    let log = fs::OpenOptions::new().create(true).append(true).open(paths.agent_log())?;
    let before = log.metadata()?.len();
    let mut command = Command::new("/proc/self/exe");
    command.arg0("cutover").arg("--root").arg(&paths.root).arg("agent");
    command.stdin(Stdio::null()).stdout(log.file().try_clone()?).stderr(log.into_file());
    // its allocator would ask for huge pages: 6 MiB that a small process never uses
    command.env("MIMALLOC_ALLOW_THP", "0").current_dir("/").process_group(0);
    let mut agent = command.spawn().or_fail(Kind::Internal, "start the agent")?;
    cutover_runtime::cgroup::outlive(agent.id());
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        if let Ok(stream) = UnixStream::connect(paths.agent_socket()) {
            return Ok(stream);
        }
        // Another command may have started one at the same moment: then that one answers.
        if agent.try_wait()?.is_some() && UnixStream::connect(paths.agent_socket()).is_err() {
            return Err(did_not_start(paths, before));
        }
        if Instant::now() >= deadline {
            return Err(did_not_start(paths, before));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What the agent wrote before it ended, from byte `from` of its log.
fn did_not_start(paths: &Paths, from: u64) -> Failure {
    let log = fs::read(paths.agent_log()).unwrap_or_default();
    let from = usize::try_from(from).unwrap_or(0).min(log.len());
    let said = String::from_utf8_lossy(&log[from..]);
    let reasons = said
        .lines()
        .filter_map(|line| line.strip_prefix("error: ").or(line.strip_prefix("  caused by: ")));
    let reasons: Vec<&str> = reasons.collect();
    let failure = match reasons.is_empty() {
        true => Failure::msg(Kind::Internal, "the agent did not start"),
        false => {
            Failure::msg(Kind::Internal, format!("the agent did not start: {}", reasons.join(": ")))
        }
    };
    failure.hint(format!("see `{}`", paths.agent_log().display()))
}

fn wait_for_agent(paths: &Paths, timeout: Duration) -> Outcome<UnixStream> {
    let deadline = Instant::now() + timeout;
    loop {
        match UnixStream::connect(paths.agent_socket()) {
            Ok(stream) => return Ok(stream),
            Err(error) if Instant::now() >= deadline => {
                return Err(error).or_fail(Kind::Internal, "reach the agent").map_err(|failure| {
                    failure.hint(format!("see `{}`", paths.agent_log().display()))
                });
            }
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}
