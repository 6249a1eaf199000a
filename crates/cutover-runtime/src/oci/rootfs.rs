//! A bundle's mounts, devices and hidden paths, all by descriptor.
//!
//! What the kernel's file systems are attached to is never reached through a symlink of the image (CVE-2019-19921,
//! CVE-2026-41579), and nothing is attached to procfs but what [`super::prepare`] lets pass.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, chownat, fstat, fstatfs, mkdirat,
    mknodat, openat, openat2, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use super::copy_up;
use super::error::{Error, Result};
use super::prepare::{Attach, Node, What, Work};
use crate::init::target::{Kind, Target};
use crate::sys::mount::{Attributes, NO_DEV, NO_EXEC, NO_SUID, READ_ONLY, set_attributes};

/// File systems that were made, by the number of their mount.
#[derive(Debug)]
pub(super) struct Made(Vec<Option<OwnedFd>>);

impl Made {
    /// Adds the sources of bind mounts, which the maker hands over in their order.
    pub(super) fn take_sources(
        &mut self,
        work: &Work,
        mut next: impl FnMut() -> Result<OwnedFd>,
    ) -> Result<()> {
        for (mount, made) in work.mounts.iter().zip(&mut self.0) {
            if matches!(mount.what, What::Bind) {
                *made = Some(next()?);
            }
        }
        Ok(())
    }
}

/// Makes them, detached.
pub(super) fn create(work: &Work) -> Result<Made> {
    let one = |mount: &Attach| match &mount.what {
        What::New { kind, source } => new(mount, kind, source).map(Some),
        What::Cgroups if !work.unified => {
            let tmpfs = [("mode".to_owned(), Some("755".to_owned()))];
            file_system("tmpfs", "tmpfs", &tmpfs, NO_SUID | NO_DEV | NO_EXEC).map(Some)
        }
        What::Cgroups | What::Bind => Ok(None),
    };
    let made = work.mounts.iter().map(|mount| {
        one(mount).map_err(|error| match error {
            Error::Step { what, subject, source } => {
                let subject = format!("{subject}` for `{}", mount.target.display());
                Error::Step { what, subject, source }
            }
            other => other,
        })
    });
    Ok(Made(made.collect::<Result<_>>()?))
}

fn new(mount: &Attach, kind: &str, source: &str) -> Result<OwnedFd> {
    let options = &mount.options;
    let mut attributes = options.own.0 | options.all.0;
    if options.copy_up {
        // It is filled first.
        attributes &= !READ_ONLY;
    }
    file_system(kind, source, &options.data, attributes)
}

fn file_system(
    kind: &str,
    source: &str,
    data: &[(String, Option<String>)],
    attributes: u64,
) -> Result<OwnedFd> {
    let shown = kind.escape_debug().to_string();
    let fs = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(Error::step("use a file system of the type", shown.clone()))?;
    if !source.is_empty() {
        fsconfig_set_string(fs.as_fd(), "source", source)
            .map_err(Error::step("set the source of", shown.clone()))?;
    }
    for (key, value) in data {
        let set = match value {
            None if matches!(key.as_str(), "acl" | "noiversion") => Ok(()),
            None => fsconfig_set_flag(fs.as_fd(), key.as_str()),
            Some(value) => fsconfig_set_string(fs.as_fd(), key.as_str(), value.as_str()),
        };
        set.map_err(Error::step("set the option", key.escape_debug().to_string()))?;
    }
    fsconfig_create(fs.as_fd()).map_err(Error::step("create the file system", shown.clone()))?;
    let attributes = u32::try_from(attributes).unwrap_or(0);
    let attributes = MountAttrFlags::from_bits_retain(attributes);
    fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .map_err(Error::step("mount the file system", shown))
}

/// A procfs of our own that is attached nowhere.
pub(super) fn proc_handle() -> Result<OwnedFd> {
    file_system("proc", "proc", &[], NO_SUID | NO_DEV | NO_EXEC)
}

/// Attaches everything and lays out `/dev`.
pub(super) fn furnish(work: &Work, made: &Made) -> Result<()> {
    for (mount, made) in work.mounts.iter().zip(&made.0) {
        attach(work, mount, made.as_ref())
            .map_err(Error::step("mount on", mount.target.display()))?;
    }
    let Some(nodes) = &work.nodes else { return Ok(()) };
    for node in nodes {
        make_node(work.root.as_fd(), node)
            .map_err(Error::step("create the device", node.target.display()))?;
    }
    links(work.root.as_fd()).map_err(Error::step("create the links in", "/dev"))
}

fn attach(work: &Work, mount: &Attach, made: Option<&OwnedFd>) -> rustix::io::Result<()> {
    let root = work.root.as_fd();
    let is_bind = matches!(mount.what, What::Bind);
    let kind = match made {
        Some(tree) if is_bind && !is_directory(tree)? => Kind::File,
        _ => Kind::Directory,
    };
    let strict =
        ["/dev", "/proc", "/sys"].iter().any(|path| mount.target.is_within(path)) || !is_bind;
    let target = place(root, &mount.target, kind, strict && !is_plain(mount))?;
    refuse(root, target.as_fd(), &mount.target)?;
    match (&mount.what, made) {
        (What::Bind, Some(tree)) => put(tree.as_fd(), target.as_fd()),
        (What::New { .. }, Some(made)) => {
            if mount.options.copy_up {
                copy_up::copy(target.as_fd(), made.as_fd())?;
                let set = (mount.options.own.0 | mount.options.all.0) & READ_ONLY;
                set_attributes(made.as_fd(), false, Attributes { set, ..Attributes::default() })?;
            }
            put(made.as_fd(), target.as_fd())?;
            propagate(mount, made.as_fd())
        }
        (What::Cgroups, made) => cgroups(work, mount, made, target.as_fd()),
        (What::New { .. } | What::Bind, None) => Err(Errno::NOENT),
    }
}

fn is_directory(tree: &OwnedFd) -> rustix::io::Result<bool> {
    Ok(FileType::from_raw_mode(fstat(tree)?.st_mode) == FileType::Directory)
}

/// A tmpfs outside of the kernel's places may be reached through a symlink, as a volume may.
fn is_plain(mount: &Attach) -> bool {
    let outside = !["/dev", "/proc", "/sys"].iter().any(|path| mount.target.is_within(path));
    outside && matches!(&mount.what, What::New { kind, .. } if kind == "tmpfs")
}

/// Opens or makes the target.
fn place(
    root: BorrowedFd<'_>,
    target: &Target,
    kind: Kind,
    strict: bool,
) -> rustix::io::Result<OwnedFd> {
    if !strict {
        return target.ensure(root, kind);
    }
    match straight(root, target) {
        Err(Errno::NOENT) => {
            target.ensure(root, kind)?;
            straight(root, target)
        }
        result => result,
    }
}

/// No symlink on the way.
fn straight(root: BorrowedFd<'_>, target: &Target) -> rustix::io::Result<OwnedFd> {
    let path = target.display().trim_start_matches('/');
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// A symlink may lead a volume onto `/proc` or over the root itself (CVE-2019-16884); and what is meant for procfs
/// must be there.
fn refuse(root: BorrowedFd<'_>, target: BorrowedFd<'_>, path: &Target) -> rustix::io::Result<()> {
    let is_proc = fstatfs(target)?.f_type == rustix::fs::PROC_SUPER_MAGIC;
    let wanted = path.depth() > 1 && path.is_within("/proc");
    if is_proc != wanted && path.display() != "/proc" {
        return Err(Errno::PERM);
    }
    let (root, place) = (fstat(root)?, fstat(target)?);
    if (root.st_dev, root.st_ino) == (place.st_dev, place.st_ino) {
        return Err(Errno::PERM);
    }
    Ok(())
}

fn propagate(mount: &Attach, made: BorrowedFd<'_>) -> rustix::io::Result<()> {
    for (flag, all) in &mount.options.propagation {
        let attributes = Attributes { propagation: *flag, ..Attributes::default() };
        set_attributes(made, *all, attributes)?;
    }
    Ok(())
}

fn cgroups(
    work: &Work,
    mount: &Attach,
    tmpfs: Option<&OwnedFd>,
    target: BorrowedFd<'_>,
) -> rustix::io::Result<()> {
    let set = mount.options.own.0 | mount.options.all.0;
    let attributes = Attributes { set, ..Attributes::default() };
    let Some(tmpfs) = tmpfs else {
        let Some((_, tree)) = work.cgroups.first() else { return Err(Errno::NODEV) };
        set_attributes(tree.as_fd(), false, attributes)?;
        return put(tree.as_fd(), target);
    };
    put(tmpfs.as_fd(), target)?;
    for (label, tree) in &work.cgroups {
        mkdirat(tmpfs, label.as_str(), Mode::from_raw_mode(0o755))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let place = openat(tmpfs, label.as_str(), flags, Mode::empty())?;
        set_attributes(tree.as_fd(), false, attributes)?;
        put(tree.as_fd(), place.as_fd())?;
        for part in label.split(',').filter(|_| label.contains(',')) {
            symlinkat(label.as_str(), tmpfs, part)?;
        }
    }
    set_attributes(tmpfs.as_fd(), false, attributes)
}

fn make_node(root: BorrowedFd<'_>, node: &Node) -> rustix::io::Result<()> {
    let (parent, name) = node.target.parent(root)?;
    let directory = parent.as_ref().map_or(root, AsFd::as_fd);
    let kind = FileType::from_raw_mode(node.mode);
    if let Some(bind) = &node.bind {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let place = openat(directory, name, flags, Mode::from_raw_mode(0o600))?;
        return put(bind.as_fd(), place.as_fd());
    }
    let mode = Mode::from_raw_mode(node.mode & 0o7777);
    match mknodat(directory, name, kind, mode, node.device) {
        Err(Errno::EXIST) => {
            let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let same = FileType::from_raw_mode(stat.st_mode) == kind
                && (kind == FileType::Fifo || stat.st_rdev == node.device);
            return if same { Ok(()) } else { Err(Errno::EXIST) };
        }
        result => result?,
    }
    if (node.uid, node.gid) != (0, 0) {
        let (uid, gid) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
        chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

fn dev(root: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat2(root, c"dev", flags, Mode::empty(), resolve)
}

fn links(root: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let dev = dev(root)?;
    for (to, name) in [
        ("/proc/self/fd", "fd"),
        ("/proc/self/fd/0", "stdin"),
        ("/proc/self/fd/1", "stdout"),
        ("/proc/self/fd/2", "stderr"),
        ("/proc/kcore", "core"),
    ] {
        match symlinkat(to, &dev, name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    match unlinkat(&dev, "ptmx", AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    symlinkat("pts/ptmx", &dev, "ptmx")
}

/// The terminal as `/dev/console`.
pub(super) fn console(work: &Work, slave: BorrowedFd<'_>) -> Result<()> {
    let make = || {
        let dev = dev(work.root.as_fd())?;
        let flags = OFlags::CREATE | OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        match openat(&dev, c"console", create, Mode::from_raw_mode(0o600)) {
            Ok(_) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        let place = openat(&dev, c"console", flags - OFlags::CREATE, Mode::empty())?;
        if FileType::from_raw_mode(fstat(&place)?.st_mode) == FileType::Symlink {
            return Err(Errno::LOOP);
        }
        put(clone(slave, false)?.as_fd(), place.as_fd())
    };
    make().map_err(Error::step("attach the terminal at", "/dev/console"))
}

/// Masks paths and makes paths read-only.
pub(super) fn hide(work: &Work) -> Result<()> {
    let root = work.root.as_fd();
    let mut empty = None;
    for (path, null) in &work.masked {
        mask(root, path, null.as_fd(), &mut empty).map_err(Error::step("mask", path.display()))?;
    }
    for path in &work.read_only {
        make_read_only(root, path).map_err(Error::step("make read-only", path.display()))?;
    }
    Ok(())
}

fn find(root: BorrowedFd<'_>, path: &Target) -> rustix::io::Result<Option<OwnedFd>> {
    let kernels = path.is_within("/proc") || path.is_within("/sys");
    let found = if kernels { straight(root, path) } else { path.open(root, OFlags::PATH) };
    match found {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn mask(
    root: BorrowedFd<'_>,
    path: &Target,
    null: BorrowedFd<'_>,
    empty: &mut Option<OwnedFd>,
) -> rustix::io::Result<()> {
    let Some(found) = find(root, path)? else { return Ok(()) };
    if FileType::from_raw_mode(fstat(&found)?.st_mode) != FileType::Directory {
        return put(null, found.as_fd());
    }
    if let Some(empty) = empty {
        return put(clone(empty.as_fd(), false)?.as_fd(), found.as_fd());
    }
    let options = [("nr_inodes", "1"), ("size", "4k"), ("mode", "755")];
    let options = options.map(|(key, value)| (key.to_owned(), Some(value.to_owned())));
    let attributes = READ_ONLY | NO_SUID | NO_DEV | NO_EXEC;
    let tmpfs = file_system("tmpfs", "tmpfs", &options, attributes).map_err(|_why| Errno::NOMEM)?;
    put(tmpfs.as_fd(), found.as_fd())?;
    *empty = Some(tmpfs);
    Ok(())
}

fn make_read_only(root: BorrowedFd<'_>, path: &Target) -> rustix::io::Result<()> {
    let Some(found) = find(root, path)? else { return Ok(()) };
    let copy = clone(found.as_fd(), true)?;
    let read_only = Attributes { set: READ_ONLY, ..Attributes::default() };
    set_attributes(copy.as_fd(), true, read_only)?;
    put(copy.as_fd(), found.as_fd())
}

/// Made when it is missing, as others do.
pub(super) fn working_directory(work: &Work) -> Result<()> {
    let process = work.config.process.as_ref();
    let Some(process) = process else { return Ok(()) };
    let cwd = Target::new(&process.cwd).map_err(|why| Error::invalid("process.cwd", why))?;
    if cwd.depth() == 0 {
        return Ok(());
    }
    cwd.ensure(work.root.as_fd(), Kind::Directory)
        .map(drop)
        .map_err(Error::step("create the working directory", cwd.display()))
}

fn clone(source: BorrowedFd<'_>, recursive: bool) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    open_tree(source, c"", flags)
}

/// Moves a detached mount onto what is open.
pub(super) fn put(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, c"", target, c"", flags)
}
