//! `create`: the maker's part.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::channel::{self, Said};
use super::config::{Bundle, Config, NamespaceKind, Process};
use super::error::{Error, Result};
use super::finish::{self, Extras};
use super::prepare::{self, Work};
use super::state::{Facts, Locked, ProcessId, State, Store, WAITING};
use super::{child, hooks, namespaces};
use crate::cgroup::Cgroup;
use crate::sys::process::SchedulerAttributes;
use crate::sys::{clone, own_exe, process};

/// What the command line says besides the bundle.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where the terminal's controlling end goes.
    pub console_socket: Option<PathBuf>,
    /// `chroot` instead of `pivot_root`.
    pub no_pivot: bool,
    /// About the program.
    pub extras: Extras,
}

/// A created container.
#[derive(Debug)]
pub struct Created {
    /// Its first process, a child of ours.
    pub pid: i32,
    /// The same.
    pub pidfd: OwnedFd,
    /// The terminal, unless it went to the console socket.
    pub console: Option<OwnedFd>,
    /// What was passed over and is worth a warning.
    pub warnings: Vec<String>,
}

/// Undoes what a failed `create` did.
struct Undo<'a> {
    locked: Option<Locked>,
    cgroup: Option<(Cgroup, bool)>,
    child: Option<OwnedFd>,
    facts: Option<(&'a Config, Facts)>,
    mounted: Option<(State, &'a Config)>,
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        // The first error is the one to report.
        if let Some(child) = &self.child {
            drop(process::signal(child.as_fd(), libc::SIGKILL));
            drop(process::wait(child.as_fd()));
        }
        if let Some((cgroup, false)) = &self.cgroup {
            drop(cgroup.kill_all());
            drop(cgroup.remove());
        }
        if let Some((state, config)) = &self.mounted {
            drop(state.unmount(config));
        }
        if let Some((config, facts)) = &self.facts {
            let state = facts.json("stopped", None);
            drop(hooks::run_all("poststop", &config.hooks.poststop, &state));
        }
        if let Some(locked) = self.locked.take() {
            drop(locked.forget());
        }
    }
}

/// Makes everything but runs nothing. `now` is the time, RFC 3339. The caller must have one thread.
pub fn create(
    store: &Store,
    id: &str,
    bundle: &Path,
    options: &Options,
    now: String,
) -> Result<Created> {
    if !own_exe::is_protected() {
        return Err(Error::Unprotected);
    }
    let bundle = Bundle::load(bundle)?;
    let config = &bundle.config;
    let wanted = config.process.as_ref();
    let wanted = wanted.ok_or_else(|| Error::invalid("process", "it is missing"))?;
    check_terminal(wanted, options)?;
    let locked = store.claim(id)?;
    let mut undo =
        Undo { locked: Some(locked), cgroup: None, child: None, facts: None, mounted: None };
    let locked = undo.locked.as_ref().ok_or(Error::Died)?;

    let mut state = State::new(id, &bundle.path, now, cgroup_path(config, id, locked));
    locked.write_config(config)?;
    locked.write(&state)?;
    let facts = state.facts(config);
    let listener = prepare::listen(locked.directory(), WAITING)?;
    let mut spaces = namespaces::open(&config.linux)?;
    let root = rustix::fs::open(
        bundle.rootfs(),
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .map_err(Error::step("open the root file system", bundle.rootfs().display().to_string()))?;
    let (last, unknown) = finish::last(wanted, config, &root, options.extras)?;
    drop(root);
    let mut work = prepare::work(&bundle, &mut spaces, listener, last)?;

    if !config.linux.separate(NamespaceKind::Mount) {
        state.mount = super::state::mount_of(&work.root);
        locked.write(&state)?;
    }
    undo.mounted = Some((state.clone(), config));
    let existed = Cgroup::at(&state.cgroup)?.exists();
    let cgroup = Cgroup::create_for_bundle(&state.cgroup, &config.linux.resources)?;
    undo.cgroup = Some((cgroup.clone(), existed));
    let mut entrance = cgroup.entrance()?;
    prepare::join(&mut work, &mut entrance)?;

    let (ours, theirs) = channel::pair()?;
    let born_in = entrance.unified.as_ref().map(AsFd::as_fd);
    let flags = u64::from(spaces.new.unsigned_abs());
    let made = spaces.around(&config.linux, || {
        clone::spawn(flags, born_in, || {
            // The child's copy of our end would keep it from ever hearing that we are gone; that of the lock would
            // hold it.
            close(&ours);
            close(locked.file());
            child::run(&work, &facts, options, theirs.as_fd())
        })
        .map_err(Error::step("create the namespaces of", id))
    })?;
    drop(theirs);
    let made = follow_into(&work, made, &ours)?;
    undo.child = Some(made.pidfd.try_clone().map_err(Error::step("duplicate a", "pidfd"))?);
    undo.facts = Some((config, facts.clone()));
    let console = converse(&work, &bundle, &facts, &made, &ours)?;
    let console = hand_over(console, options)?;
    settle(made.pid, wanted)?;
    state.process = Some(ProcessId::of(made.pid)?);
    locked.write(&state)?;
    channel::go(ours.as_fd());
    expect(&ours, &Said::Ready)?;
    (undo.child, undo.cgroup, undo.facts, undo.mounted) = (None, None, None, None);
    drop(undo.locked.take());
    let warnings = unknown.iter().map(|name| format!("unknown capability `{name}`")).collect();
    Ok(Created { pid: made.pid, pidfd: made.pidfd, console, warnings })
}

fn close(fd: &OwnedFd) {
    // Not by drop: the maker's copy is another process's.
    let _closed = process::close_one(std::os::fd::AsRawFd::as_raw_fd(fd));
}

fn check_terminal(process: &Process, options: &Options) -> Result<()> {
    match (&options.console_socket, process.terminal) {
        (Some(_), false) => {
            let reason = "there is a console socket, but `process.terminal` is not set";
            Err(Error::invalid("--console-socket", reason))
        }
        _ => Ok(()),
    }
}

/// Below the mount points: absolute paths as they are, all others below ours. Without a path it is nobody else's, also
/// when another root has a container of this name.
fn cgroup_path(config: &Config, id: &str, locked: &Locked) -> String {
    use std::os::unix::fs::MetadataExt;
    let given = config.linux.cgroups_path.as_str();
    let trimmed = given.trim_matches('/');
    match (trimmed.is_empty(), given.starts_with('/')) {
        (false, true) => trimmed.to_owned(),
        (false, false) => format!("cutover/oci/{trimmed}"),
        (true, _) => {
            let own = fs_err::metadata(locked.directory()).map_or(0, |meta| meta.ino());
            format!("cutover/oci/{id}.{own:x}")
        }
    }
}

/// The first process, which another one makes inside of a user namespace that is joined.
fn follow_into(work: &Work, made: clone::Child, socket: &OwnedFd) -> Result<clone::Child> {
    if work.user.is_none() {
        return Ok(made);
    }
    let said = channel::hear(socket.as_fd());
    drop(process::wait(made.pidfd.as_fd()));
    match said? {
        Some((Said::Forked(pid), _)) => {
            let number = rustix::process::Pid::from_raw(pid).ok_or(Error::Died)?;
            let flags = rustix::process::PidfdFlags::empty();
            let pidfd = rustix::process::pidfd_open(number, flags)
                .map_err(Error::step("find the", "child"))?;
            Ok(clone::Child { pid, pidfd })
        }
        Some((Said::Failed(told), _)) => Err(Error::Told(told)),
        _ => Err(Error::Died),
    }
}

/// From birth to the wait for `start`.
fn converse(
    work: &Work,
    bundle: &Bundle,
    facts: &Facts,
    child: &clone::Child,
    socket: &OwnedFd,
) -> Result<Option<OwnedFd>> {
    let config = &work.config;
    let linux = &config.linux;
    if work.mapped && work.user.is_none() {
        namespaces::map(child.pid, &linux.uid_mappings, &linux.gid_mappings)?;
    }
    if let Some(score) = config.process.as_ref().and_then(|process| process.oom_score_adj) {
        let path = format!("/proc/{}/oom_score_adj", child.pid);
        fs_err::write(&path, score.to_string()).map_err(Error::step("write", path))?;
    }
    channel::go(socket.as_fd());
    expect(socket, &Said::Isolated)?;
    let state = facts.json("creating", Some(child.pid));
    hooks::run("prestart", &config.hooks.prestart, &state)?;
    hooks::run("createRuntime", &config.hooks.create_runtime, &state)?;
    channel::go(socket.as_fd());
    expect(socket, &Said::Made)?;
    for source in prepare::sources(bundle)? {
        channel::say(socket.as_fd(), &Said::Source, Some(source.as_fd()));
    }
    expect(socket, &Said::Ready)
}

fn expect(socket: &OwnedFd, wanted: &Said) -> Result<Option<OwnedFd>> {
    match channel::hear(socket.as_fd())? {
        Some((said, fd)) if said == *wanted => Ok(fd),
        Some((Said::Failed(told), _)) => Err(Error::Told(told)),
        _ => Err(Error::Died),
    }
}

/// The terminal goes to whoever listens for it.
pub(super) fn hand_over(console: Option<OwnedFd>, options: &Options) -> Result<Option<OwnedFd>> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let (Some(master), Some(path)) = (&console, &options.console_socket) else {
        return Ok(console);
    };
    let send = || {
        let kind = SocketType::STREAM;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path.as_path())?)?;
        channel::send(socket.as_fd(), b"/dev/ptmx", Some(master.as_fd()))
    };
    send().map_err(Error::step::<rustix::io::Errno>(
        "send the terminal to",
        path.display().to_string(),
    ))?;
    Ok(None)
}

/// What is set from outside, with the host's privileges: limits and scheduling.
pub(super) fn settle(pid: i32, process: &Process) -> Result<()> {
    for limit in &process.rlimits {
        let name = limit.kind.strip_prefix("RLIMIT_").unwrap_or_default().to_lowercase();
        let ulimit = crate::spec::Ulimit { name, soft: limit.soft, hard: limit.hard };
        let known = crate::init::limit(&ulimit)
            .map_err(|why| Error::invalid("process.rlimits", format!("`{}`: {why}", limit.kind)))?;
        process::set_limit_of(pid, known, limit.soft, limit.hard)
            .map_err(Error::step("set the limit", limit.kind.clone()))?;
    }
    if let Some(scheduler) = &process.scheduler {
        process::set_scheduler(pid, attributes(scheduler)?)
            .map_err(Error::step("set the scheduler", scheduler.policy.clone()))?;
    }
    if let Some(priority) = &process.io_priority {
        let class = match priority.class.as_str() {
            "IOPRIO_CLASS_RT" => 1,
            "IOPRIO_CLASS_BE" => 2,
            "IOPRIO_CLASS_IDLE" => 3,
            other => return Err(Error::invalid("process.ioPriority.class", format!("`{other}`"))),
        };
        if !(0..=7).contains(&priority.priority) {
            return Err(Error::invalid("process.ioPriority.priority", "it is between 0 and 7"));
        }
        process::set_io_priority(pid, class << 13 | priority.priority)
            .map_err(Error::step("set the priority of disks", priority.class.clone()))?;
    }
    Ok(())
}

fn attributes(scheduler: &super::config::Scheduler) -> Result<SchedulerAttributes> {
    let policy = match scheduler.policy.as_str() {
        "SCHED_OTHER" => 0,
        "SCHED_FIFO" => 1,
        "SCHED_RR" => 2,
        "SCHED_BATCH" => 3,
        "SCHED_ISO" => 4,
        "SCHED_IDLE" => 5,
        "SCHED_DEADLINE" => 6,
        other => return Err(Error::invalid("process.scheduler.policy", format!("`{other}`"))),
    };
    let mut flags = 0;
    for flag in &scheduler.flags {
        flags |= match flag.as_str() {
            "SCHED_FLAG_RESET_ON_FORK" => 0x01,
            "SCHED_FLAG_RECLAIM" => 0x02,
            "SCHED_FLAG_DL_OVERRUN" => 0x04,
            "SCHED_FLAG_KEEP_POLICY" => 0x08,
            "SCHED_FLAG_KEEP_PARAMS" => 0x10,
            "SCHED_FLAG_UTIL_CLAMP_MIN" => 0x20,
            "SCHED_FLAG_UTIL_CLAMP_MAX" => 0x40,
            other => {
                return Err(Error::invalid("process.scheduler.flags", format!("`{other}`")));
            }
        };
    }
    let priority = u32::try_from(scheduler.priority)
        .map_err(|_why| Error::invalid("process.scheduler.priority", "it is below 0"))?;
    Ok(SchedulerAttributes {
        policy,
        flags,
        nice: scheduler.nice,
        priority,
        runtime: scheduler.runtime,
        deadline: scheduler.deadline,
        period: scheduler.period,
        ..SchedulerAttributes::default()
    })
}

/// Which namespaces of a container are not the caller's: what `exec` joins.
pub(super) fn separate(config: &Config) -> i32 {
    use NamespaceKind::{Cgroup, Ipc, Mount, Network, Pid, Time, User, Uts};
    [Pid, Network, Mount, Ipc, Uts, User, Cgroup, Time]
        .into_iter()
        .filter(|&kind| config.linux.separate(kind))
        .fold(0, |flags, kind| flags | kind.flag())
}
