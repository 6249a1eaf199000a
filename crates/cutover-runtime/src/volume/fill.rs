//! Copying an image's directory into a new volume.
//!
//! The source is the merged image, mounted detached and read-only, so whiteouts and opaque directories need no
//! code here. Paths are resolved inside of it (`openat2`), and every step is by descriptor: a hostile image can
//! name nothing of the host's.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use fs_err as fs;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timestamps, Uid, XattrFlags, chmodat,
    chownat, fchmod, fchown, fgetxattr, flistxattr, fsetxattr, fstat, futimens, mkdirat, mknodat,
    openat, openat2, readlinkat, statat, symlinkat,
};
use rustix::io::Errno;

use crate::mounts;
use crate::spec::Rootfs;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const FILE: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC);

pub(super) fn fill(data: &Path, lowers: &[PathBuf], target: &str) -> io::Result<()> {
    if fs::read_dir(data)?.next().is_some() || lowers.is_empty() {
        return Ok(());
    }
    let Some(source) = source(lowers, target)? else { return Ok(()) };
    // Copied aside and renamed over the empty directory: whole or not at all.
    let aside = data.with_extension("new");
    if aside.exists() {
        fs::remove_dir_all(&aside)?;
    }
    fs::create_dir(&aside)?;
    let copy = rustix::fs::open(&aside, DIRECTORY, Mode::empty())?;
    directory(&source, &copy)?;
    fs::rename(aside, data)
}

/// The directory at `target` in the image; `None` when there is none.
fn source(lowers: &[PathBuf], target: &str) -> io::Result<Option<OwnedFd>> {
    let rootfs = Rootfs::Overlay {
        lowers: lowers.to_vec(),
        upper: None,
        work: None,
        read_only: true,
        volatile: false,
    };
    let root = mounts::rootfs(&rootfs).map_err(io::Error::other)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let found = openat2(&root, target, flags, Mode::empty(), ResolveFlags::IN_ROOT);
    match found {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn directory(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    for entry in rustix::fs::Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_bytes() == b"." || name.to_bytes() == b".." {
            continue;
        }
        let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                mkdirat(to, name, Mode::RWXU)?;
                let source = openat(from, name, DIRECTORY, Mode::empty())?;
                directory(&source, &openat(to, name, DIRECTORY, Mode::empty())?)?;
            }
            FileType::RegularFile => {
                let source = openat(from, name, FILE | OFlags::RDONLY, Mode::empty())?;
                let flags = FILE | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
                regular(source, openat(to, name, flags, Mode::RUSR | Mode::WUSR)?)?;
            }
            FileType::Symlink => {
                let link = readlinkat(from, name, Vec::new())?;
                symlinkat(&link, to, name)?;
                owner(to.as_fd(), name, &stat)?;
            }
            kind => {
                mknodat(to, name, kind, Mode::empty(), stat.st_rdev)?;
                owner(to.as_fd(), name, &stat)?;
                chmodat(to, name, Mode::from_raw_mode(stat.st_mode), AtFlags::empty())?;
            }
        }
    }
    // After its entries, which change its time.
    metadata(from.as_fd(), to.as_fd())
}

fn regular(from: OwnedFd, to: OwnedFd) -> io::Result<()> {
    let (mut source, mut copy) = (std::fs::File::from(from), std::fs::File::from(to));
    io::copy(&mut source, &mut copy)?;
    metadata(source.as_fd(), copy.as_fd())
}

/// Owner first: changing it clears setuid bits and capabilities.
fn metadata(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let stat = fstat(from)?;
    fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    attributes(from, to)?;
    fchmod(to, Mode::from_raw_mode(stat.st_mode))?;
    let time = |seconds: i64, nanos: u64| rustix::fs::Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanos).unwrap_or_default(),
    };
    Ok(futimens(
        to,
        &Timestamps {
            last_access: time(stat.st_atime, stat.st_atime_nsec),
            last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
        },
    )?)
}

fn owner(dir: BorrowedFd<'_>, name: &std::ffi::CStr, stat: &rustix::fs::Stat) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    Ok(chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let mut names = vec![0; 64 << 10];
    let length = match flistxattr(from, &mut names) {
        // Nothing to be had on such a file system.
        Err(Errno::NOTSUP) => return Ok(()),
        length => length?,
    };
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 64 << 10];
        let length = fgetxattr(from, name, &mut value)?;
        match fsetxattr(to, name, &value[..length], XattrFlags::empty()) {
            // Security labels and the like are the target's own business.
            Err(Errno::NOTSUP | Errno::PERM) => {}
            result => result?,
        }
    }
    Ok(())
}
