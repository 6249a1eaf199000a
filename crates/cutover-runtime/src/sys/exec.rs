//! `execve` with everything prepared before the fork.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use rustix::io::Errno;

use super::last_errno;

/// Strings and the array of pointers to them that `execve` wants.
#[derive(Debug)]
pub struct StringArray {
    /// Keeps the memory that `pointers` point to; never changed after construction.
    strings: Vec<CString>,
    pointers: Vec<*const libc::c_char>,
}

impl StringArray {
    /// Takes the strings.
    pub fn new(strings: Vec<CString>) -> Self {
        let pointers = strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect();
        Self { strings, pointers }
    }

    /// The first string, for messages; empty when there is none.
    pub fn first(&self) -> String {
        self.strings.first().map_or(String::new(), |s| s.to_string_lossy().into_owned())
    }
}

/// Runs a program; returns only when that failed. Fit for the child of `clone3`.
pub fn execve(path: &CStr, args: &StringArray, env: &StringArray) -> Errno {
    // SAFETY: both arrays end with a null pointer and point to strings that live as long as they do.
    unsafe { libc::execve(path.as_ptr(), args.pointers.as_ptr(), env.pointers.as_ptr()) };
    last_errno()
}

/// Runs the program behind a descriptor; returns only when that failed.
pub fn fexecve(fd: BorrowedFd<'_>, args: &StringArray, env: &StringArray) -> Errno {
    // SAFETY: as in `execve`; the empty path with AT_EMPTY_PATH means the descriptor itself.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd.as_raw_fd(),
            c"".as_ptr(),
            args.pointers.as_ptr(),
            env.pointers.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    last_errno()
}
