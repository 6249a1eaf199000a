//! Paths inside a container, and finding or making what they name without ever leaving its root.
//!
//! A path is cleaned lexically when the spec is compiled and split into components, so that the child needs no
//! memory. Nothing is created by path: each component is made in the directory that is already held open, so
//! exchanging directories for symlinks meanwhile cannot move the creation elsewhere (CVE-2024-45310).

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat, openat2};
use rustix::io::Errno;

/// An absolute path inside a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// As shown: absolute and clean.
    display: String,
    /// Without the leading `/`; `.` for the root.
    full: CString,
    components: Vec<Component>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Component {
    /// The path up to and including `name`, without the leading `/`.
    prefix: CString,
    name: CString,
}

/// What a target has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File,
}

impl Target {
    /// Cleans an absolute path as docker does: `.`, `..` and doubled slashes vanish without looking at the disk.
    pub(crate) fn new(path: &str) -> Result<Self, String> {
        if !path.starts_with('/') {
            return Err(format!("`{path}` is not an absolute path"));
        }
        let mut names: Vec<&str> = Vec::new();
        for name in path.split('/') {
            match name {
                "" | "." => {}
                ".." => drop(names.pop()),
                _ => names.push(name),
            }
        }
        let text = |text: &str| {
            CString::new(text).map_err(|_why| format!("`{}` contains a NUL", path.escape_debug()))
        };
        let components = (0..names.len())
            .map(|last| {
                let prefix = text(&names[..=last].join("/"))?;
                Ok(Component { prefix, name: text(names[last])? })
            })
            .collect::<Result<_, String>>()?;
        let joined = names.join("/");
        let full = if joined.is_empty() { c".".to_owned() } else { text(&joined)? };
        Ok(Self { display: format!("/{joined}"), full, components })
    }

    /// The clean absolute path.
    pub(crate) fn display(&self) -> &str {
        &self.display
    }

    /// How deep it lies; the root is 0.
    pub(crate) fn depth(&self) -> usize {
        self.components.len()
    }

    /// Whether it is `path` or below it.
    pub(crate) fn is_within(&self, path: &str) -> bool {
        self.display.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Opens it below `root`, following symlinks inside, never magic links. Fit for the child of `clone3`.
    pub(crate) fn open(&self, root: BorrowedFd<'_>, flags: OFlags) -> Result<OwnedFd, Errno> {
        open_inside(root, &self.full, flags | OFlags::CLOEXEC)
    }

    /// Opens it below `root` as a path, making what is missing. Fit for the child of `clone3`.
    pub(crate) fn ensure(&self, root: BorrowedFd<'_>, kind: Kind) -> Result<OwnedFd, Errno> {
        match open_inside(root, &self.full, OFlags::PATH | OFlags::CLOEXEC) {
            Ok(found) => return of_kind(found, kind),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
        let mut at: Option<OwnedFd> = None;
        let mut creating = false;
        for (number, component) in self.components.iter().enumerate() {
            let last = number + 1 == self.components.len();
            if !creating && !last {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                match open_inside(root, &component.prefix, flags) {
                    Ok(found) => {
                        at = Some(found);
                        continue;
                    }
                    Err(Errno::NOENT) => creating = true,
                    Err(errno) => return Err(errno),
                }
            }
            let parent = at.as_ref().map_or(root, AsFd::as_fd);
            let kind = if last { kind } else { Kind::Directory };
            at = Some(make(parent, &component.name, kind)?);
        }
        at.ok_or(Errno::NOENT)
    }
}

impl Target {
    /// The directory that holds it, made when missing (`None` is `root` itself), and its name there. Fit for the
    /// child of `clone3`.
    pub(crate) fn parent(&self, root: BorrowedFd<'_>) -> Result<(Option<OwnedFd>, &CStr), Errno> {
        let (last, above) = self.components.split_last().ok_or(Errno::INVAL)?;
        let mut at: Option<OwnedFd> = None;
        for component in above {
            let parent = at.as_ref().map_or(root, AsFd::as_fd);
            at = Some(make(parent, &component.name, Kind::Directory)?);
        }
        Ok((at, &last.name))
    }
}

fn open_inside(root: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    loop {
        // EAGAIN: something was renamed while `..` or a symlink was being resolved.
        match openat2(root, path, flags, Mode::empty(), resolve) {
            Err(Errno::INTR | Errno::AGAIN) => {}
            result => return result,
        }
    }
}

/// Makes one entry in an open directory and opens it; a symlink in its place is refused.
fn make(parent: BorrowedFd<'_>, name: &CStr, kind: Kind) -> Result<OwnedFd, Errno> {
    let path = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match kind {
        Kind::Directory => {
            match mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
            openat(parent, name, path | OFlags::DIRECTORY, Mode::empty())
        }
        Kind::File => {
            let create =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match openat(parent, name, create, Mode::from_raw_mode(0o644)) {
                Ok(made) => drop(made),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
            of_kind(openat(parent, name, path, Mode::empty())?, kind)
        }
    }
}

fn of_kind(found: OwnedFd, kind: Kind) -> Result<OwnedFd, Errno> {
    let is_directory = match FileType::from_raw_mode(fstat(&found)?.st_mode) {
        FileType::Directory => true,
        FileType::Symlink => return Err(Errno::LOOP),
        _ => false,
    };
    match kind {
        Kind::Directory if !is_directory => Err(Errno::NOTDIR),
        Kind::File if is_directory => Err(Errno::ISDIR),
        _ => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: &str) {
        let got = match Target::new(path) {
            Ok(target) => format!("{} {}", target.display(), target.depth()),
            Err(error) => error,
        };
        assert_eq!(got, expected);
    }

    #[test]
    fn paths_are_cleaned() {
        check("/", "/ 0");
        check("//a/./b//", "/a/b 2");
        check("/../../etc/../a", "/a 1");
        check("a/b", "`a/b` is not an absolute path");
        check("/a\0b", "`/a\\0b` contains a NUL");
    }

    #[test]
    fn within() {
        let target = Target::new("/proc/sys").expect("valid");
        assert!(target.is_within("/proc"));
        assert!(!Target::new("/process").expect("valid").is_within("/proc"));
    }

    fn ensure(root: &std::path::Path, path: &str, kind: Kind) -> Result<(), Errno> {
        let fd = fs_err::File::open(root).expect("the temporary directory");
        let target = Target::new(path).expect("valid");
        target.ensure(fd.as_fd(), kind).map(drop)
    }

    #[test]
    fn missing_parts_are_made_inside() {
        let outside = tempfile::tempdir().expect("temporary directory");
        let inside = tempfile::tempdir().expect("temporary directory");
        let root = inside.path();
        let link = |to: &std::path::Path, name: &str| {
            std::os::unix::fs::symlink(to, root.join(name)).expect("symlink");
        };
        fs_err::create_dir_all(root.join("run")).expect("directory");
        link("/run".as_ref(), "var");
        link(outside.path(), "escape");
        link("/proc/self/fd/0".as_ref(), "magic");
        assert_eq!(ensure(root, "/a/b/c", Kind::Directory), Ok(()));
        assert_eq!(ensure(root, "/var/x/file", Kind::File), Ok(()));
        assert!(root.join("run/x/file").is_file());
        assert_eq!(ensure(root, "/a", Kind::File), Err(Errno::ISDIR));
        assert_eq!(ensure(root, "/run/x/file", Kind::Directory), Err(Errno::NOTDIR));
        // The link leads nowhere inside, so the directory cannot be made through it.
        assert_eq!(ensure(root, "/escape/x", Kind::Directory), Err(Errno::NOTDIR));
        assert_eq!(fs_err::read_dir(outside.path()).expect("listing").count(), 0);
    }
}
