//! [`Attributes`]: owner, extended attributes, mode and time of a file, and the one order to set
//! them in.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chmodat, chownat,
    fchmod, fchown, fsetxattr, futimens, lgetxattr, llistxattr, lsetxattr, utimensat,
};
use rustix::io::Errno;

use super::OVERLAY_XATTRS;
use crate::tar::{Entry, Time};

/// What a file has besides its name, kind and contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Attributes {
    /// What a directory gets that a layer's tar needs but does not hold: root's, 0755, and the
    /// epoch, because the same tar must make the same tree every time.
    pub(crate) fn of_missing_parent() -> Self {
        let mtime = Time { seconds: 0, nanoseconds: 0 };
        Self { mode: 0o755, uid: 0, gid: 0, mtime, xattrs: Vec::new() }
    }

    pub(crate) fn of_entry(entry: &mut Entry) -> Self {
        let mut xattrs = std::mem::take(&mut entry.xattrs);
        xattrs.retain(|(name, _)| is_portable(name));
        let Entry { mode, uid, gid, mtime, .. } = *entry;
        Self { mode, uid, gid, mtime, xattrs }
    }

    /// The attributes of the file at `path`, whose `stat` is known. Links are not followed.
    pub(crate) fn read(path: &Path, stat: &Stat) -> io::Result<Self> {
        Ok(Self { xattrs: portable_xattrs(path)?, ..Self::without_xattrs(stat) })
    }

    pub(super) fn without_xattrs(stat: &Stat) -> Self {
        let (mode, uid, gid) = (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid);
        Self { mode, uid, gid, mtime: mtime(stat), xattrs: Vec::new() }
    }

    /// Sets all of them on an open file or directory. chown first: it clears set-user-id bits and
    /// `security.capability`; the time last: everything else may change it.
    pub(crate) fn set(&self, file: BorrowedFd<'_>) -> Result<(), Errno> {
        fchown(file, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))?;
        for (name, value) in &self.xattrs {
            tolerate(fsetxattr(file, name.as_slice(), value, XattrFlags::empty()), name)?;
        }
        fchmod(file, Mode::from_raw_mode(self.mode))?;
        futimens(file, &times(self.mtime))
    }

    /// Sets them on `name`, which was just created in `dir` and is a link, device or fifo: those
    /// cannot be opened for this.
    pub(crate) fn set_at(
        &self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        is_symlink: bool,
    ) -> Result<(), Errno> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        if !self.xattrs.is_empty() {
            let path = [format!("/proc/self/fd/{}/", dir.as_raw_fd()).as_bytes(), name].concat();
            for (name, value) in &self.xattrs {
                let set = lsetxattr(&path, name.as_slice(), value, XattrFlags::empty());
                tolerate(set, name)?;
            }
        }
        if !is_symlink {
            chmodat(dir, name, Mode::from_raw_mode(self.mode), AtFlags::empty())?;
        }
        utimensat(dir, name, &times(self.mtime), AtFlags::SYMLINK_NOFOLLOW)
    }
}

/// Attributes that belong to the file rather than to this machine: overlayfs's own would let a
/// layer redirect lookups, and labels are given by the machine's own policy.
pub(super) fn is_portable(name: &[u8]) -> bool {
    const LOCAL: [&[u8]; 3] = [b"security.selinux", b"security.ima", b"security.evm"];
    !name.starts_with(OVERLAY_XATTRS) && !LOCAL.contains(&name)
}

/// A file system that has no such attributes keeps the file without them, as docker does; but
/// not silently.
fn tolerate(result: Result<(), Errno>, name: &[u8]) -> Result<(), Errno> {
    match result {
        Err(Errno::OPNOTSUPP) => {
            let name = crate::tar::shown(name);
            tracing::warn!(%name, "the file system cannot keep an extended attribute");
            Ok(())
        }
        other => other,
    }
}

pub(super) fn times(mtime: Time) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec {
            tv_sec: mtime.seconds,
            tv_nsec: i64::from(mtime.nanoseconds),
        },
    }
}

pub(super) fn mtime(stat: &Stat) -> Time {
    #[expect(clippy::unnecessary_cast, reason = "the field's type differs between targets")]
    let seconds = stat.st_mtime as i64;
    Time { seconds, nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) }
}

/// The portable extended attributes of `path`, sorted by name.
pub(super) fn portable_xattrs(path: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut xattrs = Vec::new();
    for name in xattr_names(path)? {
        if is_portable(&name)
            && let Some(value) = xattr(path, &name)?
        {
            xattrs.push((name, value));
        }
    }
    xattrs.sort();
    Ok(xattrs)
}

pub(super) fn xattr_names(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    // Nearly every file has none: one call with a small buffer.
    let mut buffer = vec![0; 256];
    let size = match llistxattr(path, &mut buffer[..]) {
        Err(Errno::RANGE) => {
            buffer.resize(64 << 10, 0); // the kernel's limit
            llistxattr(path, &mut buffer[..])?
        }
        Err(Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    let names = buffer[..size].split(|&byte| byte == 0).filter(|name| !name.is_empty());
    Ok(names.map(<[u8]>::to_vec).collect())
}

pub(super) fn xattr(path: &Path, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut buffer = vec![0; 256];
    let size = match lgetxattr(path, name, &mut buffer[..]) {
        Err(Errno::RANGE) => {
            buffer.resize(64 << 10, 0);
            lgetxattr(path, name, &mut buffer[..])
        }
        other => other,
    };
    match size {
        Ok(size) => {
            buffer.truncate(size);
            Ok(Some(buffer))
        }
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}
