//! Attaching volumes, masking paths and making paths read-only, all by descriptor.
//!
//! A mask is a bind of our own `/dev/null`, which nobody but us has touched and which is checked to be one
//! (CVE-2025-31133), or an empty read-only tmpfs.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    FileType, Mode, OFlags, ResolveFlags, fstat, fstatfs, mkdirat, openat2, unlinkat,
};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, UnmountFlags, open_tree, unmount};

use super::filesystems::{FileSystems, finish, new, put, set_option};
use super::program::{Attach, Attached, Hide, Program, Within};
use super::report::{At, Failure, Step};
use crate::sys::mount::{Attributes, NO_DEV, NO_EXEC, NO_SUID, READ_ONLY, set_attributes};

/// Where the files in memory hang while they are cloned: in our `/dev`, until the volumes are attached.
const FILES: &CStr = c".files";

/// Attaches volumes, tmpfs and files in the given order.
pub(super) fn mounts(
    program: &Program,
    made: &FileSystems,
    root: BorrowedFd<'_>,
) -> Result<(), Failure> {
    let files = program.files.as_ref().map(AsFd::as_fd);
    if let Some(files) = files {
        hang(files, made.dev.as_fd()).at(Step::MakeFileSystem, 2)?;
    }
    for (index, mount) in program.mounts.iter().enumerate() {
        one(mount, files, made, root).at(Step::Mount, index)?;
    }
    if let Some(files) = files {
        unhang(files, made.dev.as_fd()).at(Step::MakeFileSystem, 2)?;
    }
    Ok(())
}

/// Older kernels clone only what is attached somewhere in our mount table.
fn hang(files: BorrowedFd<'_>, dev: BorrowedFd<'_>) -> Result<(), Errno> {
    mkdirat(dev, FILES, Mode::from_raw_mode(0o700))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    put(files, rustix::fs::openat(dev, FILES, flags, Mode::empty())?.as_fd())
}

fn unhang(files: BorrowedFd<'_>, dev: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::process::fchdir(files)?;
    unmount(c".", UnmountFlags::DETACH)?;
    rustix::process::chdir(c"/")?;
    unlinkat(dev, FILES, rustix::fs::AtFlags::REMOVEDIR)
}

fn one(
    mount: &Attach,
    files: Option<BorrowedFd<'_>>,
    made: &FileSystems,
    root: BorrowedFd<'_>,
) -> Result<(), Errno> {
    let target = mount.target.ensure(root, mount.kind)?;
    refuse_ours(target.as_fd(), made, root)?;
    let made_here = match (&mount.what, files) {
        (Attached::Tree(tree), _) => return put(tree.as_fd(), target.as_fd()),
        (Attached::Tmpfs { options, exec, read_only }, _) => {
            let fs = rustix::mount::fsopen(c"tmpfs", rustix::mount::FsOpenFlags::FSOPEN_CLOEXEC)?;
            for (key, value) in options {
                set_option(fs.as_fd(), key, value)?;
            }
            let attributes = NO_SUID
                | NO_DEV
                | if *exec { 0 } else { NO_EXEC }
                | if *read_only { READ_ONLY } else { 0 };
            finish(fs.as_fd(), attributes)?
        }
        (Attached::File { name, read_only }, Some(files)) => {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            let file = open_tree(files, name, flags)?;
            let set = NO_SUID | NO_DEV | NO_EXEC | if *read_only { READ_ONLY } else { 0 };
            set_attributes(file.as_fd(), false, Attributes { set, ..Attributes::default() })?;
            file
        }
        (Attached::File { .. }, None) => return Err(Errno::NOENT),
    };
    put(made_here.as_fd(), target.as_fd())
}

/// A symlink of the image may lead a volume onto `/proc`, the root of `/dev` or `/` itself (CVE-2019-16884).
fn refuse_ours(
    target: BorrowedFd<'_>,
    made: &FileSystems,
    root: BorrowedFd<'_>,
) -> Result<(), Errno> {
    if fstatfs(target)?.f_type == rustix::fs::PROC_SUPER_MAGIC {
        return Err(Errno::PERM);
    }
    let place = fstat(target)?;
    for ours in [root, made.dev.as_fd(), made.pts.as_fd()] {
        let ours = fstat(ours)?;
        if (ours.st_dev, ours.st_ino) == (place.st_dev, place.st_ino) {
            return Err(Errno::PERM);
        }
    }
    Ok(())
}

/// Which paths to hide: the kernel's before anything of the user is attached, all others after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    BeforeVolumes,
    AfterVolumes,
}

/// Masks paths and makes paths read-only.
pub(super) fn hide(program: &Program, made: &FileSystems, when: When) -> Result<(), Failure> {
    let due = |hide: &Hide| matches!(hide.within, Within::Root(_)) == (when == When::AfterVolumes);
    let root = program.root.as_fd();
    let mut empty = None;
    for (index, path) in program.masked.iter().enumerate().filter(|(_, hide)| due(hide)) {
        mask(path, made, root, &mut empty).at(Step::Mask, index)?;
    }
    for (index, path) in program.read_only.iter().enumerate().filter(|(_, hide)| due(hide)) {
        make_read_only(path, made, root).at(Step::MakeReadOnly, index)?;
    }
    Ok(())
}

fn mask(
    path: &Hide,
    made: &FileSystems,
    root: BorrowedFd<'_>,
    empty: &mut Option<OwnedFd>,
) -> Result<(), Errno> {
    let Some(found) = find(path, made, root)? else { return Ok(()) };
    if FileType::from_raw_mode(fstat(&found)?.st_mode) != FileType::Directory {
        return put(clone(null(made)?.as_fd(), false)?.as_fd(), found.as_fd());
    }
    // One empty tmpfs serves for all directories.
    if let Some(empty) = empty {
        return put(clone(empty.as_fd(), false)?.as_fd(), found.as_fd());
    }
    let options = [(c"nr_inodes", c"1"), (c"size", c"4k"), (c"mode", c"755")];
    let tmpfs = new(c"tmpfs", &options, READ_ONLY | NO_SUID | NO_DEV | NO_EXEC)?;
    put(tmpfs.as_fd(), found.as_fd())?;
    *empty = Some(tmpfs);
    Ok(())
}

fn make_read_only(path: &Hide, made: &FileSystems, root: BorrowedFd<'_>) -> Result<(), Errno> {
    let Some(found) = find(path, made, root)? else { return Ok(()) };
    let copy = clone(found.as_fd(), true)?;
    let read_only = Attributes { set: READ_ONLY, ..Attributes::default() };
    set_attributes(copy.as_fd(), true, read_only)?;
    put(copy.as_fd(), found.as_fd())
}

/// The path, `None` when it is not there.
fn find(path: &Hide, made: &FileSystems, root: BorrowedFd<'_>) -> Result<Option<OwnedFd>, Errno> {
    let below = |base: BorrowedFd<'_>, path: &CStr| {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        openat2(base, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
    };
    let found = match &path.within {
        Within::Proc(path) => below(made.proc.as_fd(), path),
        Within::Sys(path) => below(made.sys.as_fd(), path),
        Within::Root(target) => target.open(root, OFlags::PATH),
    };
    match found {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn clone(source: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    open_tree(source, c"", flags)
}

/// The null device of our own `/dev`, checked to be it.
fn null(made: &FileSystems) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let null = rustix::fs::openat(&made.dev, c"null", flags, Mode::empty())?;
    let stat = fstat(&null)?;
    let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(1, 3);
    if is_null { Ok(null) } else { Err(Errno::NODEV) }
}
