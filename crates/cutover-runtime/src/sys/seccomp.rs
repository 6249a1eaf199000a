//! Loading a system call filter.

use rustix::io::Errno;

use super::check;

/// Puts the filter in force for the calling thread. Fit for the child of `clone3`. Needs no_new_privs or
/// `CAP_SYS_ADMIN`.
pub fn load(program: &[libc::sock_filter]) -> Result<(), Errno> {
    load_with(program, 0)
}

/// The same with flags (`SECCOMP_FILTER_FLAG_LOG`…).
pub fn load_with(program: &[libc::sock_filter], flags: u32) -> Result<(), Errno> {
    let Ok(len) = libc::c_ushort::try_from(program.len()) else { return Err(Errno::INVAL) };
    let filter = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: `filter` describes a live array, which the kernel only reads.
    check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::c_long::from(libc::SECCOMP_SET_MODE_FILTER),
            flags,
            &raw const filter,
        )
    })
    .map(drop)
}
