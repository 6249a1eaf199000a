//! The first process of a bundle's container, in order. Unlike [`crate::init`]'s it is a child of a process of one
//! thread and may allocate; like there, all file systems are made while the host's are visible and attached by
//! descriptor after the pivot.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount, unmount};

use super::channel::{self, Said};
use super::config::NamespaceKind;
use super::error::{Error, Result};
use super::finish::give_up;
use super::hooks;
use super::prepare::Work;
use super::rootfs;
use super::state::Facts;
use super::{create::Options, namespaces};
use crate::init::terminal;
use crate::sys::mount::{Attributes, READ_ONLY, set_attributes};
use crate::sys::{clone, process};

/// The child that the maker got: the first process itself, or the one that makes it inside a user namespace.
pub(super) fn run(work: &Work, facts: &Facts, options: &Options, socket: BorrowedFd<'_>) -> i32 {
    let born = || -> Result<Option<i32>> {
        die_with_maker()?;
        for tasks in &work.tasks {
            rustix::io::write(tasks, b"0")
                .map_err(Error::step("join the control group of", facts.id.clone()))?;
        }
        let Some(user) = &work.user else { return Ok(None) };
        namespaces::join_user(user.as_fd())?;
        become_root()?;
        clone::fork_into(work.inner, true, || first(work, facts, options, socket))
            .map(Some)
            .map_err(Error::step("make the namespaces of", facts.id.clone()))
    };
    match born() {
        Ok(None) => first(work, facts, options, socket),
        Ok(Some(pid)) => {
            channel::say(socket, &Said::Forked(pid), None);
            0
        }
        Err(error) => give_up(socket, &error),
    }
}

fn die_with_maker() -> Result<()> {
    process::set_parent_death_signal(libc::SIGKILL)
        .map_err(Error::step("tie to its maker", "the process"))
}

fn become_root() -> Result<()> {
    use rustix::process::{Gid, Uid};
    let (uid, gid) = (Uid::ROOT, Gid::ROOT);
    let change = || {
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)
    };
    change().map_err(Error::step::<Errno>("become root of", "the user namespace"))?;
    // Forgotten with the old numbers.
    die_with_maker()
}

fn first(work: &Work, facts: &Facts, options: &Options, socket: BorrowedFd<'_>) -> i32 {
    match make(work, facts, options, socket) {
        Ok(Some(label)) => wait_and_run(work, facts, label),
        Ok(None) => 0,
        Err(error) => give_up(socket, &error),
    }
}

type Label = Option<OwnedFd>;

/// Everything up to the wait for `start`; `None` when the maker is gone.
fn make(
    work: &Work,
    facts: &Facts,
    options: &Options,
    socket: BorrowedFd<'_>,
) -> Result<Option<Label>> {
    if !channel::wait(socket) {
        return Ok(None);
    }
    if work.mapped && work.user.is_none() {
        become_root()?;
    }
    die_with_maker()?;
    isolate(work)?;
    channel::say(socket, &Said::Isolated, None);
    if !channel::wait(socket) {
        return Ok(None);
    }
    let label = work.last.label()?;
    let mut made = rootfs::create(work)?;
    channel::say(socket, &Said::Made, None);
    made.take_sources(work, || match channel::hear(socket)? {
        Some((Said::Source, Some(tree))) => Ok(tree),
        _ => Err(Error::Died),
    })?;
    let sysctls = if work.sysctls.is_empty() { None } else { Some(rootfs::proc_handle()?) };
    let root = work.root.as_fd();
    let before = &work.config.hooks.create_container;
    let own_mounts = work.config.linux.separate(NamespaceKind::Mount);
    if before.is_empty() && own_mounts {
        enter(root, options.no_pivot).map_err(Error::step("enter", "the root file system"))?;
        rootfs::furnish(work, &made)?;
    } else {
        place(work, &facts.bundle)?;
        rootfs::furnish(work, &made)?;
        hooks::run("createContainer", before, &facts.json("creating", Some(inner_pid())))?;
        pivot(root, options.no_pivot || !own_mounts)
            .map_err(Error::step("enter", "the root file system"))?;
    }
    complete(work, sysctls, socket)?;
    // The maker has noted everything when it says so; from then on this process may outlive it.
    if !channel::wait(socket) {
        return Ok(None);
    }
    process::set_parent_death_signal(0)
        .map_err(Error::step("untie from its maker", "the process"))?;
    channel::say(socket, &Said::Ready, None);
    Ok(Some(label))
}

fn inner_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

fn isolate(work: &Work) -> Result<()> {
    let step = |what: &'static str| Error::step::<Errno>(what, "the process");
    if work.new_cgroup_namespace {
        process::unshare(libc::CLONE_NEWCGROUP)
            .map_err(step("make a control group namespace for"))?;
    }
    process::set_dumpable(false).map_err(step("hide the memory of"))?;
    rustix::process::umask(Mode::empty());
    if !work.hostname.is_empty() {
        rustix::system::sethostname(work.hostname.as_bytes())
            .map_err(Error::step("set the host name", work.hostname.clone()))?;
    }
    if !work.domainname.is_empty() {
        rustix::system::setdomainname(work.domainname.as_bytes())
            .map_err(Error::step("set the domain name", work.domainname.clone()))?;
    }
    if let Some(mount) = &work.mount {
        process::join_namespaces(mount.as_fd(), libc::CLONE_NEWNS)
            .map_err(Error::step("join the", "mount namespace"))?;
    }
    if !work.config.linux.separate(NamespaceKind::Mount) {
        // The host's are the container's: what is attached below the root is its own all the same.
        return Ok(());
    }
    // Nothing that is mounted or unmounted from here on is seen by the host.
    let open = || {
        let root = rustix::fs::open(c"/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let private = Attributes { propagation: libc::MS_PRIVATE, ..Attributes::default() };
        set_attributes(root.as_fd(), true, private)
    };
    open().map_err(step("separate the mounts of"))
}

/// Makes the detached root the root and lets go of the host's.
fn enter(root: BorrowedFd<'_>, no_pivot: bool) -> rustix::io::Result<()> {
    move_mount(root, c"", CWD, c"/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    pivot(root, no_pivot)
}

fn pivot(root: BorrowedFd<'_>, no_pivot: bool) -> rustix::io::Result<()> {
    rustix::process::fchdir(root)?;
    if no_pivot {
        return rustix::process::chroot(c".").and_then(|()| rustix::process::chdir(c"/"));
    }
    rustix::process::pivot_root(c".", c".")?;
    unmount(c".", UnmountFlags::DETACH)?;
    rustix::process::chdir(c"/")
}

/// Where hooks expect the root: at its path on the host.
fn place(work: &Work, bundle: &std::path::Path) -> Result<()> {
    let root = work.config.root.clone().unwrap_or_default();
    let path = bundle.join(root.path);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(&path, flags, Mode::empty())
        .and_then(|at| rootfs::put(work.root.as_fd(), at.as_fd()))
        .map_err(Error::step("attach the root at", path.display().to_string()))
}

/// What needs the new root as root.
fn complete(work: &Work, sysctls: Option<OwnedFd>, socket: BorrowedFd<'_>) -> Result<()> {
    let root = work.root.as_fd();
    let console = match work.terminal {
        None => None,
        Some(size) => {
            let console = terminal::open_more(root, size, work.streams_to)
                .map_err(Error::step("open a terminal at", "/dev/pts"))?;
            rootfs::console(work, console.slave.as_fd())?;
            Some(console)
        }
    };
    rootfs::hide(work)?;
    rootfs::working_directory(work)?;
    if let Some((flag, all)) = work.root_propagation {
        let propagation = Attributes { propagation: flag, ..Attributes::default() };
        set_attributes(root, all, propagation)
            .map_err(Error::step("set the propagation of", "the root file system"))?;
    }
    if work.root_read_only {
        let read_only = Attributes { set: READ_ONLY, ..Attributes::default() };
        set_attributes(root, false, read_only)
            .map_err(Error::step("make read-only", "the root file system"))?;
    }
    if let Some(proc) = sysctls {
        for (path, value) in &work.sysctls {
            set_sysctl(proc.as_fd(), path, value)
                .map_err(Error::step("set the sysctl", path.clone()))?;
        }
    }
    work.last.look()?;
    match &console {
        Some(console) => {
            terminal::connect(console.slave.as_fd())
                .map_err(Error::step("connect", "the standard streams"))?;
        }
        None => own_streams(work.streams_to),
    }
    channel::say(socket, &Said::Ready, console.as_ref().map(|console| console.master.as_fd()));
    Ok(())
}

/// Pipes are given to the user, so that a program that is not root can open `/dev/stdout` anew.
fn own_streams(uid: u32) {
    use rustix::fs::{FileType, Gid, Uid, fchown, fstat};
    for fd in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let pipe =
            fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo);
        if pipe {
            let _unchanged = fchown(fd, Some(Uid::from_raw(uid)), None::<Gid>);
        }
    }
}

/// By a procfs of our own that nobody else has seen (CVE-2025-52881).
fn set_sysctl(proc: BorrowedFd<'_>, path: &str, value: &str) -> rustix::io::Result<()> {
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat2(proc, format!("sys/{path}"), flags, Mode::empty(), beneath)?;
    rustix::io::write(&file, value.as_bytes()).map(drop)
}

/// Sleeps until `start` connects, runs what goes before, and becomes the program.
fn wait_and_run(work: &Work, facts: &Facts, label: Label) -> i32 {
    // Nothing of the host's stays open meanwhile, but what the program gets and where its profile is written.
    let listener = match &label {
        None => process::keep_at(work.listener.as_fd(), work.last.first_free()),
        Some(_) => Ok(work.listener.as_fd()),
    };
    let Ok(listener) = listener else { return 125 };
    let reply = loop {
        match rustix::net::accept_with(listener, rustix::net::SocketFlags::CLOEXEC) {
            // Somebody only looked whether we still wait.
            Ok(reply) if !channel::wait(reply.as_fd()) => {}
            Ok(reply) => break reply,
            Err(Errno::INTR | Errno::CONNABORTED) => {}
            Err(_) => return 125,
        }
    };
    let hooks = &work.config.hooks.start_container;
    let pid = if work.config.linux.separate(NamespaceKind::Pid) { 1 } else { inner_pid() };
    if let Err(error) = hooks::run("startContainer", hooks, &facts.json("created", Some(pid))) {
        return give_up(reply.as_fd(), &error);
    }
    let code = work.last.run(reply.as_fd(), label);
    // Closed by its number already.
    std::mem::forget(reply);
    code
}
