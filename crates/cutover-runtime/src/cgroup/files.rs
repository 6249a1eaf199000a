//! Reading and writing the files of a control group.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use super::CgroupError;

/// Adds the operation and the file to an error.
pub(super) fn context<'a, E: Into<io::Error>>(
    what: &'static str,
    path: &'a Path,
) -> impl FnOnce(E) -> CgroupError + 'a {
    move |error| CgroupError::File { what, path: path.to_owned(), source: error.into() }
}

/// An open group.
#[derive(Debug)]
pub(super) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

impl Dir {
    pub(super) fn open(path: &Path) -> Result<Self, CgroupError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(context("open", path))?;
        Ok(Self { fd, path: path.to_owned() })
    }

    pub(super) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    pub(super) fn open_file(&self, name: &str, flags: OFlags) -> Result<OwnedFd, CgroupError> {
        openat(&self.fd, name, flags | OFlags::CLOEXEC, Mode::empty())
            .map_err(context("open", &self.path.join(name)))
    }

    /// One `write`, as the kernel wants it.
    pub(super) fn write(&self, name: &str, value: &str) -> Result<(), CgroupError> {
        let file = self.open_file(name, OFlags::WRONLY)?;
        match rustix::io::write(&file, value.as_bytes()) {
            Ok(_) => Ok(()),
            Err(errno) => Err(context("write", &self.path.join(name))(errno)),
        }
    }

    pub(super) fn read(&self, name: &str) -> Result<String, CgroupError> {
        let file = fs_err::File::from_parts(
            self.open_file(name, OFlags::RDONLY)?.into(),
            self.path.join(name),
        );
        io::read_to_string(file).map_err(context("read", &self.path.join(name)))
    }

    /// A file with one number; `max` and huge values mean no limit.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, CgroupError> {
        let text = self.read(name)?;
        // v1 says "no limit" as the largest multiple of a page.
        Ok(text.trim().parse().ok().filter(|&number: &u64| number < 1 << 62))
    }

    /// The value of a key in a file of `key value` lines.
    pub(super) fn keyed(&self, name: &str, key: &str) -> Result<Option<u64>, CgroupError> {
        let text = self.read(name)?;
        Ok(text.lines().find_map(|line| {
            let (found, value) = line.split_once(' ')?;
            (found == key).then(|| value.parse().ok()).flatten()
        }))
    }
}

/// Makes a directory; whether it was missing.
pub(super) fn make(path: &Path) -> Result<bool, CgroupError> {
    match rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(errno) => Err(context("create", path)(errno)),
    }
}

/// Process ids in a group and in all below it.
pub(super) fn collect_pids(path: &Path, pids: &mut Vec<i32>) -> Result<(), CgroupError> {
    match Dir::open(path).and_then(|dir| dir.read("cgroup.procs")) {
        Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok())),
        Err(error) if is_gone(&error) => return Ok(()),
        Err(error) => return Err(error),
    }
    for child in children(path).map_err(context("list", path))? {
        collect_pids(&child, pids)?;
    }
    Ok(())
}

/// Whether the group vanished meanwhile.
fn is_gone(error: &CgroupError) -> bool {
    let CgroupError::File { source, .. } = error else { return false };
    let errno = source.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::NOENT | Errno::NODEV))
}

/// Removes a group and all below it; nothing there is fine.
pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    // Almost always there is nothing below.
    match rustix::fs::rmdir(path) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::BUSY) => {}
        Err(errno) => return Err(errno.into()),
    }
    for child in children(path)? {
        remove_tree(&child)?;
    }
    match rustix::fs::rmdir(path) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn children(path: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs_err::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let directories = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        entry.file_type().ok()?.is_dir().then(|| entry.path())
    });
    Ok(directories.collect())
}
