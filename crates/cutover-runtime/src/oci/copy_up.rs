//! `tmpcopyup`: a tmpfs that begins with what it hides.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Uid, chmodat, chownat, fchmod, fchown, fstat,
    mkdirat, mknodat, openat, readlinkat, statat, symlinkat,
};
use rustix::io::Errno;

/// Deeper trees are refused, so that a hostile one cannot use up the descriptors.
const DEEPEST: usize = 64;

/// Copies a directory's contents, owners and permissions, never following a symlink.
pub(super) fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let from = openat(from, c".", flags, Mode::empty())?;
    let to = openat(to, c".", flags, Mode::empty())?;
    tree(&from, &to, 0)
}

fn tree(from: &OwnedFd, to: &OwnedFd, depth: usize) -> rustix::io::Result<()> {
    if depth > DEEPEST {
        return Err(Errno::NAMETOOLONG);
    }
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        one(from, to, name, &stat, depth)?;
    }
    owner(to.as_fd(), &fstat(from)?)
}

fn one(
    from: &OwnedFd,
    to: &OwnedFd,
    name: &std::ffi::CStr,
    stat: &Stat,
    depth: usize,
) -> rustix::io::Result<()> {
    let kind = FileType::from_raw_mode(stat.st_mode);
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match kind {
        FileType::Directory => {
            mkdirat(to, name, Mode::from_raw_mode(0o700))?;
            let flags = flags | OFlags::RDONLY | OFlags::DIRECTORY;
            let from = openat(from, name, flags, Mode::empty())?;
            let to = openat(to, name, flags, Mode::empty())?;
            tree(&from, &to, depth + 1)
        }
        FileType::RegularFile => {
            let from = openat(from, name, flags | OFlags::RDONLY, Mode::empty())?;
            let create = flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
            let to = openat(to, name, create, Mode::from_raw_mode(0o600))?;
            contents(&from, &to)?;
            owner(to.as_fd(), stat)
        }
        FileType::Symlink => {
            let link = readlinkat(from, name, Vec::new())?;
            symlinkat(&link, to, name)?;
            let (uid, gid) = numbers(stat);
            chownat(to, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
        }
        _ => {
            let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
            mknodat(to, name, kind, mode, stat.st_rdev)?;
            let (uid, gid) = numbers(stat);
            chownat(to, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
            chmodat(to, name, mode, AtFlags::empty())
        }
    }
}

fn contents(from: &OwnedFd, to: &OwnedFd) -> rustix::io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = rustix::io::read(from, &mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            rest = &rest[rustix::io::write(to, rest)?..];
        }
    }
}

fn owner(to: BorrowedFd<'_>, stat: &Stat) -> rustix::io::Result<()> {
    let (uid, gid) = numbers(stat);
    fchown(to, uid, gid)?;
    fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))
}

fn numbers(stat: &Stat) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
}
