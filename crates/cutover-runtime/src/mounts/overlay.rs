//! The overlay root: snapshots under a writable directory, as one detached mount.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
};

use super::{MountError, context};
use crate::sys::mount::{Attributes, set_attributes};
use crate::sys::process::unshare;

/// What an overlay is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layers<'a> {
    /// Topmost first.
    pub(super) lowers: &'a [std::path::PathBuf],
    /// Upper and work directories.
    pub(super) writable: Option<(&'a Path, &'a Path)>,
    /// Skip `fsync`.
    pub(super) volatile: bool,
}

/// Layers as open directories; a path in an option string could be misread (`:`, `,`) and is limited in length.
struct Opened {
    lowers: Vec<OwnedFd>,
    writable: Option<(OwnedFd, OwnedFd)>,
    volatile: bool,
}

/// Upper layers must be complete on their own (they become image layers), so nothing may refer to lower ones.
const OPTIONS: [(&str, &str); 3] = [("index", "off"), ("metacopy", "off"), ("redirect_dir", "off")];

const PATH: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

const WHAT: &str = "mount the overlay of";

/// Mounts the overlay, detached.
pub(super) fn mount(layers: &Layers<'_>) -> Result<OwnedFd, MountError> {
    let subject = layers.lowers.first().map_or(Path::new("(no layer)"), AsRef::as_ref);
    if let ([only], None) = (layers.lowers, layers.writable) {
        // Overlay wants two layers; one that cannot be written is a read-only bind.
        return super::bind(super::Bind {
            source: only,
            subpath: None,
            read_only: true,
            recursive: false,
            create_source: false,
            propagation: crate::spec::Propagation::Private,
        })
        .map(|source| source.tree);
    }
    match by_descriptor(&open(layers)?) {
        Err(errno) if is_too_old(errno) => by_mount(layers).map_err(context(WHAT, subject)),
        result => result.map_err(context(WHAT, subject)),
    }
}

/// Descriptors as layers need Linux 6.13. Overlay says `EINVAL` before that, and before 6.5, when it did not know
/// `fsconfig` at all, the kernel says `EOPNOTSUPP` in its place.
fn is_too_old(errno: Errno) -> bool {
    matches!(errno, Errno::INVAL | Errno::OPNOTSUPP)
}

fn open(layers: &Layers<'_>) -> Result<Opened, MountError> {
    let lowers = layers
        .lowers
        .iter()
        .map(|path| directory(path, "open the layer"))
        .collect::<Result<_, MountError>>()?;
    let writable = match layers.writable {
        None => None,
        Some((upper, work)) => {
            for path in [upper, work] {
                fs_err::create_dir_all(path).map_err(|source| MountError {
                    what: "create the directory",
                    path: path.to_owned(),
                    source,
                })?;
            }
            forget_volatile(work);
            Some((directory(upper, "open the layer")?, directory(work, "open the layer")?))
        }
    };
    Ok(Opened { lowers, writable, volatile: layers.volatile })
}

fn directory(path: &Path, what: &'static str) -> Result<OwnedFd, MountError> {
    rustix::fs::open(path, PATH | OFlags::DIRECTORY, Mode::empty()).map_err(context(what, path))
}

/// A volatile mount leaves a mark that refuses the next one, in case the machine crashed between. Whoever asks
/// for volatile accepts that, and a normal restart must work.
fn forget_volatile(work: &Path) {
    let mark = work.join("work/incompat");
    if fs_err::symlink_metadata(&mark).is_ok() {
        // What remains makes the mount fail, with an error that names it.
        drop(fs_err::remove_dir_all(&mark));
    }
}

fn by_descriptor(layers: &Opened) -> Result<OwnedFd, Errno> {
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(fs.as_fd(), "source", "overlay")?;
    for lower in &layers.lowers {
        fsconfig_set_fd(fs.as_fd(), "lowerdir+", lower.as_fd())?;
    }
    if let Some((upper, work)) = &layers.writable {
        fsconfig_set_fd(fs.as_fd(), "upperdir", upper.as_fd())?;
        fsconfig_set_fd(fs.as_fd(), "workdir", work.as_fd())?;
    }
    for (key, value) in OPTIONS {
        fsconfig_set_string(fs.as_fd(), key, value)?;
    }
    if layers.volatile {
        fsconfig_set_flag(fs.as_fd(), "volatile")?;
    }
    fsconfig_create(fs.as_fd())?;
    fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

/// For older kernels: `mount(2)` takes a page of options, which is room for 200 layers as `/proc/self/fd/N`. It needs
/// a place in a mount table, so a thread of ours gets a private one and hands back a detached clone.
fn by_mount(layers: &Layers<'_>) -> Result<OwnedFd, Errno> {
    let work = || {
        unshare(libc::CLONE_FS | libc::CLONE_NEWNS)?;
        let root = rustix::fs::open("/", PATH, Mode::empty())?;
        let private = Attributes { propagation: libc::MS_PRIVATE, ..Attributes::default() };
        set_attributes(root.as_fd(), true, private)?;
        // Opened again: the kernel takes only layers of the mount table that we are in now.
        let opened = open(layers).map_err(|_why| Errno::NOENT)?;
        let options = CString::new(option_string(&opened)).map_err(|_why| Errno::INVAL)?;
        let place = &layers.lowers[0];
        rustix::mount::mount("overlay", place, "overlay", MountFlags::empty(), Some(&*options))?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        rustix::mount::open_tree(CWD, place, flags)
    };
    std::thread::scope(|scope| scope.spawn(work).join().unwrap_or(Err(Errno::IO)))
}

fn option_string(layers: &Opened) -> String {
    let path = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
    let lowers: Vec<String> = layers.lowers.iter().map(path).collect();
    let mut options = vec![format!("lowerdir={}", lowers.join(":"))];
    if let Some((upper, work)) = &layers.writable {
        options.push(format!("upperdir={},workdir={}", path(upper), path(work)));
    }
    options.extend(OPTIONS.map(|(key, value)| format!("{key}={value}")));
    if layers.volatile {
        options.push("volatile".to_owned());
    }
    options.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ways to mount show the same files, and writes go to the upper directory.
    fn check(mount: fn(&Layers<'_>) -> Result<OwnedFd, Errno>) {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = |name: &str| dir.path().join(name);
        for name in ["top", "bottom"] {
            fs_err::create_dir(path(name)).expect("directory");
            fs_err::write(path(name).join("both"), name).expect("file");
            fs_err::write(path(name).join(name), "").expect("file");
        }
        let lowers = [path("top"), path("bottom")];
        let (upper, work) = (path("up:per,"), path("work"));
        for _ in 0..2 {
            let writable = Some((upper.as_path(), work.as_path()));
            let layers = Layers { lowers: &lowers, writable, volatile: true };
            let root = mount(&layers).expect("overlay");
            let read = |name: &str| {
                let file = rustix::fs::openat(&root, name, OFlags::RDONLY, Mode::empty());
                file.map(|fd| std::io::read_to_string(std::fs::File::from(fd)).expect("text"))
            };
            assert_eq!(read("both").expect("file"), "top");
            assert_eq!(read("bottom").expect("file"), "");
            let flags = OFlags::CREATE | OFlags::WRONLY;
            rustix::fs::openat(&root, "new", flags, Mode::RUSR).expect("writable");
            assert!(upper.join("new").exists());
        }
        let table = fs_err::read_to_string("/proc/self/mountinfo").expect("mount table");
        assert!(!table.contains(&dir.path().display().to_string()), "left mounted");
    }

    #[test]
    fn by_descriptors() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let lowers = [dir.path().to_owned(), dir.path().to_owned()];
        let layers = Layers { lowers: &lowers, writable: None, volatile: false };
        let tried = by_descriptor(&open(&layers).expect("layers"));
        if tried.is_err_and(is_too_old) {
            println!("SKIPPED: this kernel takes no descriptors as layers");
            return;
        }
        check(|layers| by_descriptor(&open(layers).expect("layers")));
    }

    #[test]
    fn on_older_kernels() {
        assert!(is_too_old(Errno::INVAL) && is_too_old(Errno::OPNOTSUPP));
        assert!(!is_too_old(Errno::NOENT), "a layer that is missing is told as such");
        check(by_mount);
    }
}
