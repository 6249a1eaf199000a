//! Options of netlink sockets, which `rustix` has no functions for.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Errors carry the kernel's text and not a copy of the request.
pub(crate) fn explain_errors(socket: BorrowedFd<'_>) -> io::Result<()> {
    enable(socket, libc::NETLINK_EXT_ACK)?;
    enable(socket, libc::NETLINK_CAP_ACK)
}

fn enable(socket: BorrowedFd<'_>, option: c_int) -> io::Result<()> {
    let on: c_int = 1;
    let size = libc::socklen_t::try_from(size_of_val(&on)).unwrap_or(4);
    // SAFETY: `on` lives through the call and `size` is its size; the kernel only reads it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            std::ptr::from_ref(&on).cast(),
            size,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
