//! Pseudo-terminals, opened by descriptor from the container's own devpts (CVE-2025-52565).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Gid, Mode, OFlags, ResolveFlags, Uid, fchown, fstatfs, openat, openat2};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::filesystems::{FileSystems, put};
use crate::sys::process;

/// Both ends.
#[derive(Debug)]
pub(crate) struct Console {
    pub(crate) master: OwnedFd,
    pub(crate) slave: OwnedFd,
}

const DEVPTS_SUPER_MAGIC: rustix::fs::FsWord = 0x1cd1;

/// The terminal of a first process, which also becomes `/dev/console`.
pub(super) fn open_first(made: &FileSystems, size: (u16, u16), uid: u32) -> Result<Console, Errno> {
    let console = open(made.pts.as_fd(), c"ptmx", size, uid)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let place = openat(&made.dev, c"console", flags, Mode::from_raw_mode(0o600))?;
    let tree = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    put(open_tree(&console.slave, c"", tree)?.as_fd(), place.as_fd())?;
    Ok(console)
}

/// A terminal for one more process, from what is mounted in the running container.
pub(crate) fn open_more(
    root: BorrowedFd<'_>,
    size: (u16, u16),
    uid: u32,
) -> Result<Console, Errno> {
    open(root, c"dev/pts/ptmx", size, uid)
}

fn open(
    base: BorrowedFd<'_>,
    path: &std::ffi::CStr,
    (rows, columns): (u16, u16),
    uid: u32,
) -> Result<Console, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    // Looked at before it is opened: what an image or a volume put there must not be.
    let found = openat2(base, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?;
    if fstatfs(&found)?.f_type != DEVPTS_SUPER_MAGIC {
        return Err(Errno::NOTTY);
    }
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = openat2(base, path, flags, Mode::empty(), resolve)?;
    if fstatfs(&master)?.f_type != DEVPTS_SUPER_MAGIC {
        return Err(Errno::NOTTY);
    }
    unlockpt(&master)?;
    let peer = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = ioctl_tiocgptpeer(&master, peer)?;
    if (rows, columns) != (0, 0) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size)?;
    }
    fchown(&slave, Some(Uid::from_raw(uid)), None::<Gid>)?;
    Ok(Console { master, slave })
}

/// Makes the terminal all three standard streams.
pub(crate) fn connect(slave: BorrowedFd<'_>) -> Result<(), Errno> {
    for number in 0..3 {
        process::set_stream(slave, number)?;
    }
    Ok(())
}
