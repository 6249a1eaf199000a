//! The kernel's file systems of a container: made detached while the host's are still visible, attached after the
//! pivot.
//!
//! `/proc`, `/sys` and `/dev` must be real directories of the image: a symlink in their place is refused, whatever
//! it points to (CVE-2019-19921). Device nodes are only made in our own tmpfs.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    Gid, Mode, OFlags, ResolveFlags, Uid, chownat, mkdirat, mknodat, openat2, symlinkat,
};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};

use super::program::{CgroupTrees, Node, Program};
use super::report::{At, Failure, Step};
use crate::sys::mount::{Attributes, NO_DEV, NO_EXEC, NO_SUID, READ_ONLY, set_attributes};

/// Detached, then attached; the descriptors stay roots of the mounts.
#[derive(Debug)]
pub(super) struct FileSystems {
    pub(super) proc: OwnedFd,
    pub(super) sys: OwnedFd,
    pub(super) dev: OwnedFd,
    pub(super) pts: OwnedFd,
    shm: OwnedFd,
    mqueue: OwnedFd,
    /// Only where `/sys/fs/cgroup` is a directory of hierarchies.
    cgroup: Option<OwnedFd>,
}

/// Names for messages, by index.
pub(super) const NAMES: [&str; 7] =
    ["/proc", "/sys", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys/fs/cgroup"];

const COMMON: u64 = NO_SUID | NO_DEV | NO_EXEC;

/// Links that programs expect in `/dev`.
const LINKS: [(&CStr, &CStr); 6] = [
    (c"/proc/self/fd", c"fd"),
    (c"/proc/self/fd/0", c"stdin"),
    (c"/proc/self/fd/1", c"stdout"),
    (c"/proc/self/fd/2", c"stderr"),
    (c"/proc/kcore", c"core"),
    (c"pts/ptmx", c"ptmx"),
];

/// Makes them all.
pub(super) fn create(program: &Program) -> Result<FileSystems, Failure> {
    let read_only = if program.privileged { 0 } else { READ_ONLY };
    let shm = [(c"mode", c"1777"), (c"size", program.shm_size.as_c_str())];
    let pts = [(c"newinstance", c""), (c"ptmxmode", c"0666"), (c"mode", c"0620"), (c"gid", c"5")];
    let made = FileSystems {
        proc: new(c"proc", &[], COMMON).at(Step::MakeFileSystem, 0)?,
        sys: new(c"sysfs", &[], COMMON | read_only).at(Step::MakeFileSystem, 1)?,
        dev: new(c"tmpfs", &[(c"mode", c"755"), (c"size", c"65536k")], NO_SUID | NO_EXEC)
            .at(Step::MakeFileSystem, 2)?,
        pts: new(c"devpts", &pts, NO_SUID | NO_EXEC).at(Step::MakeFileSystem, 3)?,
        shm: new(c"tmpfs", &shm, COMMON).at(Step::MakeFileSystem, 4)?,
        mqueue: new(c"mqueue", &[], COMMON).at(Step::MakeFileSystem, 5)?,
        cgroup: match program.cgroups {
            CgroupTrees::Split { .. } => {
                Some(new(c"tmpfs", &[(c"mode", c"755")], COMMON).at(Step::MakeFileSystem, 6)?)
            }
            CgroupTrees::None | CgroupTrees::Unified(_) => None,
        },
    };
    fill_dev(program, made.dev.as_fd())?;
    Ok(made)
}

/// A detached file system. An option without a value is a flag.
pub(super) fn new(
    name: &CStr,
    options: &[(&CStr, &CStr)],
    attributes: u64,
) -> Result<OwnedFd, Errno> {
    let fs = fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(fs.as_fd(), c"source", name)?;
    for (key, value) in options {
        set_option(fs.as_fd(), key, value)?;
    }
    finish(fs.as_fd(), attributes)
}

/// One option of a file system that is being made.
pub(super) fn set_option(fs: BorrowedFd<'_>, key: &CStr, value: &CStr) -> Result<(), Errno> {
    if value.is_empty() {
        rustix::mount::fsconfig_set_flag(fs, key)
    } else {
        fsconfig_set_string(fs, key, value)
    }
}

/// Makes the superblock and a detached mount of it.
pub(super) fn finish(fs: BorrowedFd<'_>, attributes: u64) -> Result<OwnedFd, Errno> {
    fsconfig_create(fs)?;
    let attributes = u32::try_from(attributes).map_err(|_why| Errno::INVAL)?;
    let attributes = MountAttrFlags::from_bits_retain(attributes);
    fsmount(fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

fn fill_dev(program: &Program, dev: BorrowedFd<'_>) -> Result<(), Failure> {
    let made = (|| {
        for (to, name) in LINKS {
            symlinkat(to, dev, name)?;
        }
        for name in [c"pts", c"shm", c"mqueue"] {
            mkdirat(dev, name, Mode::from_raw_mode(0o755))?;
        }
        Ok(())
    })();
    made.at(Step::AttachFileSystem, 2)?;
    for (index, node) in program.nodes.iter().enumerate() {
        make_node(dev, node).at(Step::MakeDevice, index)?;
    }
    Ok(())
}

fn make_node(dev: BorrowedFd<'_>, node: &Node) -> Result<(), Errno> {
    let (parent, name) = node.target.parent(dev)?;
    let directory = parent.as_ref().map_or(dev, AsFd::as_fd);
    let kind = rustix::fs::FileType::from_raw_mode(node.mode);
    mknodat(directory, name, kind, Mode::from_raw_mode(node.mode & 0o7777), node.device)?;
    if (node.uid, node.gid) != (0, 0) {
        let (uid, gid) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        chownat(directory, name, Some(uid), Some(gid), flags)?;
    }
    Ok(())
}

/// Attaches them below the new root.
pub(super) fn attach(
    program: &Program,
    made: &FileSystems,
    root: BorrowedFd<'_>,
) -> Result<(), Failure> {
    for (index, (fs, name)) in
        [(&made.proc, c"proc"), (&made.sys, c"sys"), (&made.dev, c"dev")].into_iter().enumerate()
    {
        let attached = top_level(root, name).and_then(|target| put(fs.as_fd(), target.as_fd()));
        attached.at(Step::AttachFileSystem, index)?;
    }
    let dev = made.dev.as_fd();
    for (index, fs, name) in
        [(3, &made.pts, c"pts"), (4, &made.shm, c"shm"), (5, &made.mqueue, c"mqueue")]
    {
        let attached = directory(dev, name).and_then(|target| put(fs.as_fd(), target.as_fd()));
        attached.at(Step::AttachFileSystem, index)?;
    }
    attach_cgroups(program, made).at(Step::AttachFileSystem, 6)
}

fn attach_cgroups(program: &Program, made: &FileSystems) -> Result<(), Errno> {
    if matches!(program.cgroups, CgroupTrees::None) {
        return Ok(());
    }
    let place = directory(made.sys.as_fd(), c"fs/cgroup")?;
    match (&program.cgroups, &made.cgroup) {
        (CgroupTrees::Unified(tree), _) => put(tree.as_fd(), place.as_fd()),
        (CgroupTrees::Split { trees, links }, Some(tmpfs)) => {
            put(tmpfs.as_fd(), place.as_fd())?;
            for (label, tree) in trees {
                mkdirat(tmpfs, label, Mode::from_raw_mode(0o755))?;
                put(tree.as_fd(), directory(tmpfs.as_fd(), label)?.as_fd())?;
            }
            for (to, name) in links {
                symlinkat(to, tmpfs, name)?;
            }
            let read_only = Attributes { set: READ_ONLY, ..Attributes::default() };
            set_attributes(tmpfs.as_fd(), false, read_only)
        }
        _ => Ok(()),
    }
}

/// A real directory at the top of the image, made when missing.
fn top_level(root: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    match directory(root, name) {
        Err(Errno::NOENT) => {
            mkdirat(root, name, Mode::from_raw_mode(0o755))?;
            directory(root, name)
        }
        result => result,
    }
}

/// A directory below another, no symlink on the way.
fn directory(base: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    openat2(base, name, flags, Mode::empty(), resolve)
}

/// Moves a detached mount onto what is open.
pub(super) fn put(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, c"", target, c"", flags)
}
