//! `mount_setattr`, which rustix lacks. Fit for the child of `clone3`.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::check;

/// `struct mount_attr`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Attributes {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, or 0 to keep it.
    pub propagation: u64,
    /// User namespace for idmapping (later).
    pub userns: u64,
}

/// Nothing can be written through the mount.
pub const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY;
/// No setuid programs.
pub const NO_SUID: u64 = libc::MOUNT_ATTR_NOSUID;
/// No device nodes.
pub const NO_DEV: u64 = libc::MOUNT_ATTR_NODEV;
/// No programs.
pub const NO_EXEC: u64 = libc::MOUNT_ATTR_NOEXEC;

/// Changes the attributes of the mount whose root `fd` is, and of all mounts below it if `recursive`.
pub fn set_attributes(
    fd: BorrowedFd<'_>,
    recursive: bool,
    attributes: Attributes,
) -> Result<(), Errno> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a valid empty string and `attributes` a valid `mount_attr` of the given size.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    })
    .map(drop)
}
