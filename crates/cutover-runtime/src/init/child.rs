//! The child's part in making a container, in order. See [`super`] for what code here may not do.

use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount, unmount};
use rustix::process::{Gid, Uid};

use super::filesystems::FileSystems;
use super::program::{Join, Program, Streams};
use super::report::{self, At, Failure, Message, Step};
use super::{attach, filesystems, finish, terminal};
use crate::sys::mount::{Attributes, READ_ONLY, set_attributes};
use crate::sys::process;

/// Makes the container around this process, waits for the word, and becomes the program.
pub(super) fn run(program: &Program, socket: BorrowedFd<'_>) -> i32 {
    match make(program, socket) {
        Ok(true) => finish::run(&program.finish, socket),
        // The parent is gone or does not want it any more.
        Ok(false) => 0,
        Err(failure) => finish::give_up(socket, Err::<Infallible, _>(failure)),
    }
}

/// Everything up to the program's own turn; all descriptors opened here are closed when it returns.
fn make(program: &Program, socket: BorrowedFd<'_>) -> Result<bool, Failure> {
    // Half a container must not outlive its maker; what holds for the program is set at its turn.
    process::set_parent_death_signal(libc::SIGKILL).at(Step::Isolate, 0)?;
    isolate(program)?;
    let made = filesystems::create(program)?;
    enter_root(program.root.as_fd()).at(Step::EnterRoot, 0)?;
    let sysctls = furnish(program, &made)?;
    let console = match program.streams {
        Streams::Given(_) => None,
        Streams::Terminal { rows, columns } => Some(
            terminal::open_first(&made, (rows, columns), program.finish.uid)
                .at(Step::OpenTerminal, 0)?,
        ),
    };
    if program.root_read_only {
        let read_only = Attributes { set: READ_ONLY, ..Attributes::default() };
        set_attributes(program.root.as_fd(), false, read_only).at(Step::MakeReadOnly, 0)?;
    }
    report::send(socket, &Message::Ready, console.as_ref().map(|console| console.master.as_fd()));
    if !report::wait_for_go(socket) {
        return Ok(false);
    }
    for (index, (path, value)) in program.sysctls.iter().enumerate() {
        set_sysctl(sysctls.as_fd(), path, value).at(Step::SetSysctl, index)?;
    }
    match (&program.streams, console) {
        (Streams::Given(streams), _) => {
            connect(streams.each_ref().map(AsFd::as_fd), program.finish.uid)
        }
        (Streams::Terminal { .. }, Some(console)) => terminal::connect(console.slave.as_fd()),
        (Streams::Terminal { .. }, None) => Err(Errno::NOTTY),
    }
    .at(Step::SetStreams, 0)?;
    Ok(true)
}

fn isolate(program: &Program) -> Result<(), Failure> {
    join(&program.join)?;
    // After joining, so that the container's own group is the root of what it sees.
    process::unshare(libc::CLONE_NEWCGROUP).at(Step::Isolate, 0)?;
    process::set_dumpable(false).at(Step::Isolate, 0)?;
    rustix::process::umask(Mode::empty());
    if let Some(network) = &program.network {
        process::join_namespaces(network.as_fd(), libc::CLONE_NEWNET).at(Step::JoinNetwork, 0)?;
    }
    if let Some(name) = &program.hostname {
        rustix::system::sethostname(name).at(Step::SetHostname, 0)?;
    }
    if let Some(name) = &program.domainname {
        rustix::system::setdomainname(name).at(Step::SetHostname, 1)?;
    }
    // Nothing that is mounted or unmounted from here on is seen by the host.
    let root = rustix::fs::open(c"/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .at(Step::Isolate, 0)?;
    let private = Attributes { propagation: libc::MS_PRIVATE, ..Attributes::default() };
    set_attributes(root.as_fd(), true, private).at(Step::Isolate, 0)
}

/// Joins v1 control groups, by itself: moving a process from outside waits for a grace period.
pub(super) fn join(join: &Join) -> Result<(), Failure> {
    for (index, tasks) in join.tasks.iter().enumerate() {
        rustix::io::write(tasks, b"0").at(Step::JoinCgroup, index)?;
    }
    if let Some(score) = &join.oom_score_adj {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::open(c"/proc/self/oom_score_adj", flags, Mode::empty())
            .at(Step::SetOomScore, 0)?;
        rustix::io::write(&file, score).at(Step::SetOomScore, 0)?;
    }
    Ok(())
}

/// Makes the detached root the root and lets go of the host's.
fn enter_root(root: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(root, c"", CWD, c"/", flags)?;
    rustix::process::fchdir(root)?;
    rustix::process::pivot_root(c".", c".")?;
    unmount(c".", UnmountFlags::DETACH)?;
    rustix::process::chdir(c"/")
}

/// Attaches everything. Our own file systems are in place, and masked, before the first thing that the image or
/// the user had a say in. Hands back a writable `/proc/sys`.
fn furnish(program: &Program, made: &FileSystems) -> Result<OwnedFd, Failure> {
    let root = program.root.as_fd();
    filesystems::attach(program, made, root)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let sysctls = rustix::fs::openat2(&made.proc, c"sys", flags, Mode::empty(), beneath)
        .at(Step::AttachFileSystem, 0)?;
    attach::hide(program, made, attach::When::BeforeVolumes)?;
    attach::mounts(program, made, root)?;
    attach::hide(program, made, attach::When::AfterVolumes)?;
    let cwd = &program.finish.cwd;
    if cwd.depth() > 0 {
        cwd.ensure(root, super::target::Kind::Directory).at(Step::MakeWorkingDirectory, 0)?;
    }
    Ok(sysctls)
}

fn set_sysctl(base: BorrowedFd<'_>, path: &std::ffi::CStr, value: &[u8]) -> Result<(), Errno> {
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat2(base, path, flags, Mode::empty(), beneath)?;
    rustix::io::write(&file, value).map(drop)
}

/// Makes the three descriptors the standard streams. Pipes are given to the user, so that a program that is not root
/// can open `/dev/stdout` anew, as nginx does.
pub(super) fn connect(streams: [BorrowedFd<'_>; 3], uid: u32) -> Result<(), Errno> {
    for (number, fd) in (0..).zip(streams) {
        if uid != 0 && FileType::from_raw_mode(fstat(fd)?.st_mode) == FileType::Fifo {
            let _unchanged = rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), None::<Gid>);
        }
        process::set_stream(fd, number)?;
    }
    Ok(())
}
