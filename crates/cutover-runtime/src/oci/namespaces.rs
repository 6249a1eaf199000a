//! The namespaces of a bundle: which are made with the first process, and which are joined.
//!
//! All but the user namespace are joined by the maker itself, around the moment at which the child is born, and left
//! again: the child is then in them whatever user namespace it gets.

use std::fmt::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::config::{IdMapping, Linux, NamespaceKind};
use super::error::{Error, Result};
use crate::sys::{clone, process};

/// What to do about namespaces.
#[derive(Debug)]
pub(super) struct Namespaces {
    /// `CLONE_NEW…` of those that are made with the child.
    pub(super) new: i32,
    /// Joined by the maker, and where it came from.
    joined: Vec<(OwnedFd, OwnedFd, i32)>,
    /// The user namespace to join.
    pub(super) user: Option<OwnedFd>,
    /// The mount namespace to join, by the child itself.
    pub(super) mount: Option<OwnedFd>,
    /// A new time namespace, made by the maker for its children.
    time: bool,
}

/// Opens those that are joined and sorts out those that are made. A new control group namespace is the child's own
/// affair, after it has joined its group.
pub(super) fn open(linux: &Linux) -> Result<Namespaces> {
    let mut all = Namespaces { new: 0, joined: Vec::new(), user: None, mount: None, time: false };
    for namespace in &linux.namespaces {
        let flag = namespace.kind.flag();
        match (&namespace.path, namespace.kind) {
            (None, NamespaceKind::Cgroup) => {}
            (None, NamespaceKind::Time) => all.time = true,
            (None, _) => all.new |= flag,
            (Some(path), kind) => {
                let wanted = of_kind(path, kind)?;
                match kind {
                    NamespaceKind::User => {
                        all.user = Some(wanted);
                        continue;
                    }
                    NamespaceKind::Mount => {
                        all.mount = Some(not_ours(wanted)?);
                        continue;
                    }
                    _ => {}
                }
                let own = own(if kind == NamespaceKind::Pid { "pid" } else { kind.file() })?;
                all.joined.push((wanted, own, flag));
            }
        }
    }
    if all.time {
        all.joined.push((own("time")?, own("time")?, NamespaceKind::Time.flag()));
    }
    Ok(all)
}

/// A new root for our own mount namespace would be one for the host.
fn not_ours(mount: OwnedFd) -> Result<OwnedFd> {
    let number = |fd: &OwnedFd| {
        rustix::fs::fstat(fd)
            .map(|stat| (stat.st_dev, stat.st_ino))
            .map_err(Error::step("look at", "a mount namespace"))
    };
    if number(&mount)? == number(&own("mnt")?)? {
        let reason = "the mount namespace to join is the host's";
        return Err(Error::invalid("linux.namespaces", reason));
    }
    Ok(mount)
}

fn own(name: &str) -> Result<OwnedFd> {
    let path = format!("/proc/self/ns/{name}");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::open(&path, flags, Mode::empty()).map_err(Error::step("open", path))
}

/// A namespace of this kind and nothing else.
fn of_kind(path: &Path, kind: NamespaceKind) -> Result<OwnedFd> {
    let shown = path.display().to_string();
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let fd = rustix::fs::open(path, flags, Mode::empty())
        .map_err(Error::step("open the namespace", shown.clone()))?;
    let found = process::namespace_kind(fd.as_fd())
        .map_err(|_why| Error::invalid("linux.namespaces", format!("`{shown}` is none")))?;
    if found != kind.flag() {
        let reason = format!("`{shown}` is not a namespace of the kind `{}`", kind.file());
        return Err(Error::invalid("linux.namespaces", reason));
    }
    Ok(fd)
}

impl Namespaces {
    /// Makes the child while being where it is to be.
    pub(super) fn around(
        &self,
        linux: &Linux,
        make: impl FnOnce() -> Result<clone::Child>,
    ) -> Result<clone::Child> {
        let mut entered = 0;
        let result = self.enter(linux, &mut entered).and_then(|()| make());
        for (_, own, flag) in self.joined[..entered].iter().rev() {
            process::join_namespaces(own.as_fd(), *flag)
                .map_err(Error::step("return to", "the own namespaces"))?;
        }
        result
    }

    fn enter(&self, linux: &Linux, entered: &mut usize) -> Result<()> {
        for (wanted, _, flag) in &self.joined {
            *entered += 1;
            if *flag == NamespaceKind::Time.flag() && self.time {
                process::unshare(*flag).map_err(Error::step("make a", "time namespace"))?;
                offsets(linux)?;
            } else {
                process::join_namespaces(wanted.as_fd(), *flag)
                    .map_err(Error::step("join the", "namespaces"))?;
            }
        }
        Ok(())
    }
}

fn offsets(linux: &Linux) -> Result<()> {
    if linux.time_offsets.is_empty() {
        return Ok(());
    }
    let mut text = String::new();
    for (clock, offset) in &linux.time_offsets {
        let _ = writeln!(text, "{clock} {} {}", offset.secs, offset.nanosecs);
    }
    let path = Path::new("/proc/self/timens_offsets");
    fs_err::write(path, text).map_err(Error::from_io("set the offsets of", path))
}

/// Gives a process in a new user namespace its numbers.
pub(super) fn map(pid: i32, uids: &[IdMapping], gids: &[IdMapping]) -> Result<()> {
    for (file, mappings) in [("uid_map", uids), ("gid_map", gids)] {
        let mut text = String::new();
        for mapping in mappings {
            let _ = writeln!(text, "{} {} {}", mapping.container_id, mapping.host_id, mapping.size);
        }
        let path = format!("/proc/{pid}/{file}");
        fs_err::write(&path, text).map_err(Error::step("write", path))?;
    }
    Ok(())
}

/// A user namespace with these numbers and nobody in it, for an idmapped mount.
pub(super) fn mapped(uids: &[IdMapping], gids: &[IdMapping]) -> Result<OwnedFd> {
    let (ours, theirs) = super::channel::pair()?;
    let flags = u64::from(libc::CLONE_NEWUSER.unsigned_abs());
    let child = clone::spawn(flags, None, || {
        let _end = super::channel::wait(theirs.as_fd());
        0
    })
    .map_err(Error::step("make a", "user namespace"))?;
    let made = map(child.pid, uids, gids).and_then(|()| {
        let path = format!("/proc/{}/ns/user", child.pid);
        rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(Error::step("open", path))
    });
    super::channel::go(ours.as_fd());
    drop(process::wait(child.pidfd.as_fd()));
    made
}

/// The child's part: into the user namespace that exists already.
pub(super) fn join_user(user: BorrowedFd<'_>) -> Result<()> {
    process::join_namespaces(user, libc::CLONE_NEWUSER)
        .map_err(Error::step("join the", "user namespace"))
}
