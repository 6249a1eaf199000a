//! From a bundle to [`Work`]: opens on the host's side everything that the child will need.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, fstat, makedev};
use rustix::mount::{OpenTreeFlags, open_tree};

use super::config::{Bundle, Config, LinuxDevice, Mount, NamespaceKind};
use super::error::{Error, Result};
use super::finish::Last;
use super::options::{self, Options};
use super::{namespaces, sysctl};
use crate::cgroup::Entrance;
use crate::init::target::Target;
use crate::sys::mount::{Attributes, set_attributes};

/// What the child works on. Everything of the host's is open already.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) root: OwnedFd,
    pub(super) root_read_only: bool,
    pub(super) root_propagation: Option<(u64, bool)>,
    pub(super) mounts: Vec<Attach>,
    /// Nobody but us is to lay out `/dev`: `None` when it is a bind mount.
    pub(super) nodes: Option<Vec<Node>>,
    /// Each with the host's null device, checked to be it: a mount is used up by attaching it.
    pub(super) masked: Vec<(Target, OwnedFd)>,
    pub(super) read_only: Vec<Target>,
    pub(super) sysctls: Vec<(String, String)>,
    pub(super) hostname: String,
    pub(super) domainname: String,
    /// A user namespace to join.
    pub(super) user: Option<OwnedFd>,
    /// A mount namespace to join.
    pub(super) mount: Option<OwnedFd>,
    /// `CLONE_NEW…` to make inside of that user namespace.
    pub(super) inner: i32,
    /// The user namespace is not the host's.
    pub(super) mapped: bool,
    pub(super) new_cgroup_namespace: bool,
    pub(super) tasks: Vec<OwnedFd>,
    pub(super) cgroups: Vec<(String, OwnedFd)>,
    pub(super) unified: bool,
    pub(super) terminal: Option<(u16, u16)>,
    pub(super) streams_to: u32,
    pub(super) listener: OwnedFd,
    pub(super) config: Config,
    pub(super) last: Last,
}

/// Something to attach.
#[derive(Debug)]
pub(super) struct Attach {
    pub(super) target: Target,
    pub(super) options: Options,
    pub(super) what: What,
}

/// Where it comes from.
#[derive(Debug)]
pub(super) enum What {
    /// The host's files: opened by the maker when the file systems of the container exist, so that mounts are numbered
    /// in the order in which bundles usually list them.
    Bind,
    /// A file system that is made inside.
    New { kind: String, source: String },
    /// The container's control groups.
    Cgroups,
}

/// A device node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) target: Target,
    /// Type and permissions.
    pub(super) mode: u32,
    pub(super) device: u64,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// The host's node, where none may be made.
    pub(super) bind: Option<OwnedFd>,
}

/// Everything but what depends on the control group.
pub(super) fn work(
    bundle: &Bundle,
    spaces: &mut namespaces::Namespaces,
    listener: OwnedFd,
    last: Last,
) -> Result<Work> {
    let config = &bundle.config;
    let linux = &config.linux;
    let mapped = linux.separate(NamespaceKind::User);
    let hidden = |paths: &[String]| -> Result<Vec<Target>> {
        paths.iter().map(|path| target("linux.maskedPaths", path)).collect()
    };
    let mounts: Vec<Attach> = config.mounts.iter().map(attach).collect::<Result<_>>()?;
    let dev_is_bound = mounts
        .iter()
        .any(|mount| mount.target.display() == "/dev" && matches!(mount.what, What::Bind));
    let user = spaces.user.take();
    let inner = if user.is_some() { std::mem::take(&mut spaces.new) } else { 0 };
    let process = config.process.as_ref();
    let size = process.and_then(|process| process.console_size).unwrap_or_default();
    let root = config.root.clone().unwrap_or_default();
    let propagation = propagation(&linux.rootfs_propagation);
    Ok(Work {
        root: rootfs(&bundle.rootfs(), propagation)?,
        root_read_only: root.readonly,
        root_propagation: propagation,
        mounts,
        nodes: if dev_is_bound { None } else { Some(nodes(&linux.devices, mapped)?) },
        masked: hidden(&linux.masked_paths)?
            .into_iter()
            .map(|path| Ok((path, null()?)))
            .collect::<Result<_>>()?,
        read_only: hidden(&linux.readonly_paths)?,
        sysctls: linux
            .sysctl
            .iter()
            .map(|(key, value)| (sysctl::path(key), value.clone()))
            .collect(),
        hostname: config.hostname.clone(),
        domainname: config.domainname.clone(),
        user,
        mount: spaces.mount.take(),
        inner,
        mapped,
        new_cgroup_namespace: linux
            .namespace(NamespaceKind::Cgroup)
            .is_some_and(|namespace| namespace.path.is_none()),
        tasks: Vec::new(),
        cgroups: Vec::new(),
        unified: false,
        terminal: process
            .is_some_and(|process| process.terminal)
            .then_some((size.height, size.width)),
        streams_to: process.map_or(0, |process| process.user.uid),
        listener,
        config: config.clone(),
        last,
    })
}

/// Adds the control group.
pub(super) fn join(work: &mut Work, entrance: &mut Entrance) -> Result<()> {
    let wanted = work.mounts.iter().any(|mount| matches!(mount.what, What::Cgroups));
    if wanted {
        work.cgroups = entrance
            .trees(true)?
            .into_iter()
            .map(|(label, tree)| (label.to_string_lossy().into_owned(), tree))
            .collect();
    }
    work.unified = entrance.is_unified();
    work.tasks = std::mem::take(&mut entrance.tasks);
    Ok(())
}

fn target(field: &str, path: &str) -> Result<Target> {
    Target::new(path).map_err(|reason| Error::invalid(field, reason))
}

fn propagation(word: &str) -> Option<(u64, bool)> {
    let (word, all) = match word.strip_prefix('r') {
        Some(word) => (word, true),
        None => (word, false),
    };
    let flag = match word {
        "private" => libc::MS_PRIVATE,
        "slave" => libc::MS_SLAVE,
        "shared" => libc::MS_SHARED,
        "unbindable" => libc::MS_UNBINDABLE,
        _ => return None,
    };
    Some((flag, all))
}

/// The bundle's root, detached. A slave stays one of the host's; all others have nothing to do with it.
fn rootfs(path: &Path, propagation: Option<(u64, bool)>) -> Result<OwnedFd> {
    let shown = path.display().to_string();
    let root = tree(path, true).map_err(Error::step("open the root file system", shown.clone()))?;
    let stat = fstat(&root).map_err(Error::step("look at", shown.clone()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(Error::invalid("root.path", format!("`{shown}` is not a directory")));
    }
    let propagation = match propagation {
        Some((libc::MS_SLAVE, _)) => libc::MS_SLAVE,
        _ => libc::MS_PRIVATE,
    };
    let attributes = Attributes { propagation, ..Attributes::default() };
    set_attributes(root.as_fd(), true, attributes)
        .map_err(Error::step("set the mount options of", shown))?;
    Ok(root)
}

fn tree(path: &Path, recursive: bool) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    open_tree(rustix::fs::CWD, path, flags)
}

fn attach(mount: &Mount) -> Result<Attach> {
    // Older bundles leave out the first slash.
    let path = format!("/{}", mount.destination);
    let target = target("mounts", &path)?;
    let options = options::parse(mount)?;
    refuse(&target, mount, &options)?;
    let what = match (options.bind, mount.kind.as_str()) {
        (Some(_), _) => What::Bind,
        (None, "cgroup" | "cgroup2") => What::Cgroups,
        (None, kind) => What::New { kind: kind.to_owned(), source: mount.source.clone() },
    };
    Ok(Attach { target, options, what })
}

/// What would deceive us or the program about the kernel's files (CVE-2019-16884, CVE-2025-52881): the names below
/// `/proc` that may be covered are those that lxcfs offers, and the like.
fn refuse(target: &Target, mount: &Mount, options: &Options) -> Result<()> {
    const COVERED: [&str; 11] = [
        "/proc/cpuinfo",
        "/proc/diskstats",
        "/proc/meminfo",
        "/proc/stat",
        "/proc/swaps",
        "/proc/uptime",
        "/proc/loadavg",
        "/proc/slabinfo",
        "/proc/net/dev",
        "/proc/sys/kernel/ns_last_pid",
        "/proc/sys/crypto/fips_enabled",
    ];
    let path = target.display();
    let reason = if path == "/" {
        "nothing can be mounted over the root"
    } else if path == "/proc" {
        if options.bind.is_none() && mount.kind == "proc" || options.bind.is_some() {
            return Ok(());
        }
        "only procfs can be mounted there"
    } else if target.is_within("/proc") && !COVERED.contains(&path) {
        "nothing can be mounted below `/proc`"
    } else {
        return Ok(());
    };
    Err(Error::invalid("mounts", format!("`{}`: {reason}", mount.destination.escape_debug())))
}

/// The sources of the bind mounts, detached, in their order.
pub(super) fn sources(bundle: &Bundle) -> Result<Vec<OwnedFd>> {
    let mut all = Vec::new();
    for mount in &bundle.config.mounts {
        let options = options::parse(mount)?;
        if let Some(recursive) = options.bind {
            all.push(bind(bundle, mount, recursive, &options)?);
        }
    }
    Ok(all)
}

fn bind(bundle: &Bundle, mount: &Mount, recursive: bool, options: &Options) -> Result<OwnedFd> {
    let path: PathBuf = bundle.path.join(&mount.source);
    let shown = path.display().to_string();
    let opened = tree(&path, recursive).map_err(Error::step("open the source", shown.clone()))?;
    let fd = opened.as_fd();
    if Target::new(&mount.destination).is_ok_and(|target| target.display() == "/proc")
        && rustix::fs::fstatfs(fd).map_err(Error::step("look at", shown.clone()))?.f_type
            != rustix::fs::PROC_SUPER_MAGIC
    {
        return Err(Error::invalid("mounts", "only procfs can be mounted at `/proc`"));
    }
    let apply = |recursive, set, clear, propagation| {
        set_attributes(fd, recursive, Attributes { set, clear, propagation, userns: 0 })
            .map_err(Error::step("set the mount options of", shown.clone()))
    };
    if let Some(all) = options.idmap {
        idmap(bundle, mount, fd, all)?;
    }
    // Nothing is shared with the host unless it is asked for.
    if options.propagation.is_empty() {
        apply(true, 0, 0, libc::MS_PRIVATE)?;
    }
    for (flag, all) in &options.propagation {
        apply(*all, 0, 0, *flag)?;
    }
    for (recursive, (set, clear)) in [(false, options.own), (true, options.all)] {
        if (set, clear) != (0, 0) {
            apply(recursive, set, clear, 0)?;
        }
    }
    Ok(opened)
}

fn idmap(
    bundle: &Bundle,
    mount: &Mount,
    tree: std::os::fd::BorrowedFd<'_>,
    recursive: bool,
) -> Result<()> {
    let linux = &bundle.config.linux;
    let (uids, gids) = if mount.uid_mappings.is_empty() {
        (&linux.uid_mappings, &linux.gid_mappings)
    } else {
        (&mount.uid_mappings, &mount.gid_mappings)
    };
    if uids.is_empty() || gids.is_empty() {
        return Err(Error::invalid("mounts", "`idmap` without mappings"));
    }
    let user = namespaces::mapped(uids, gids)?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&user);
    let attributes = Attributes {
        set: libc::MOUNT_ATTR_IDMAP,
        userns: u64::from(number.unsigned_abs()),
        ..Attributes::default()
    };
    set_attributes(tree, recursive, attributes)
        .map_err(Error::step("map the owners of", mount.source.clone()))
}

/// The host's null device, opened once and looked at (CVE-2025-31133).
fn null() -> Result<OwnedFd> {
    let fd = tree(Path::new("/dev/null"), false).map_err(Error::step("open", "/dev/null"))?;
    let stat = fstat(&fd).map_err(Error::step("look at", "/dev/null"))?;
    let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == makedev(1, 3);
    if is_null { Ok(fd) } else { Err(Error::invalid("/dev/null", "it is not the null device")) }
}

fn nodes(given: &[LinuxDevice], mapped: bool) -> Result<Vec<Node>> {
    const DEFAULT: [(&str, i64, i64); 6] = [
        ("/dev/null", 1, 3),
        ("/dev/zero", 1, 5),
        ("/dev/full", 1, 7),
        ("/dev/random", 1, 8),
        ("/dev/urandom", 1, 9),
        ("/dev/tty", 5, 0),
    ];
    let mut all: Vec<LinuxDevice> = DEFAULT
        .iter()
        .map(|&(path, major, minor)| LinuxDevice {
            path: path.to_owned(),
            kind: "c".to_owned(),
            major,
            minor,
            ..LinuxDevice::default()
        })
        .collect();
    for device in given {
        all.retain(|other| other.path != device.path);
        all.push(device.clone());
    }
    all.iter().map(|device| node(device, mapped)).collect()
}

fn node(device: &LinuxDevice, mapped: bool) -> Result<Node> {
    let field = "linux.devices";
    let target = target(field, &device.path)?;
    // Made by ourselves; what is there instead would be a trap.
    const OURS: [&str; 3] = ["/dev/ptmx", "/dev/pts", "/dev/console"];
    if target.depth() == 0 || target.is_within("/proc") {
        let reason = format!("`{}` is not a place for a device", device.path.escape_debug());
        return Err(Error::invalid(field, reason));
    }
    let kind = match device.kind.as_str() {
        "c" | "u" => FileType::CharacterDevice,
        "b" => FileType::BlockDevice,
        "p" => FileType::Fifo,
        other => {
            let reason = format!("`{}`: no kind of device", other.escape_debug());
            return Err(Error::invalid(field, reason));
        }
    };
    let number = |number: i64| {
        u32::try_from(number).map_err(|_why| Error::invalid(field, format!("number {number}")))
    };
    let device_number = match kind {
        FileType::Fifo => 0,
        _ => makedev(number(device.major)?, number(device.minor)?),
    };
    let bind = if mapped && kind != FileType::Fifo && !OURS.contains(&target.display()) {
        let path = Path::new(&device.path);
        Some(tree(path, false).map_err(Error::step("open the host's", device.path.clone()))?)
    } else {
        None
    };
    Ok(Node {
        target,
        mode: kind.as_raw_mode() | device.file_mode.unwrap_or(0o666) & 0o7777,
        device: device_number,
        uid: device.uid.unwrap_or(0),
        gid: device.gid.unwrap_or(0),
        bind,
    })
}

/// A socket bound to a path of any length, by the directory that holds it.
pub(super) fn listen(directory: &Path, name: &str) -> Result<OwnedFd> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let shown = directory.join(name).display().to_string();
    let make = || {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(directory, flags, Mode::empty())?;
        let kind = SocketType::SEQPACKET;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
        let socket = rustix::io::fcntl_dupfd_cloexec(&socket, 3)?;
        rustix::net::bind(&socket, &address(&dir, name)?)?;
        rustix::net::listen(&socket, 8)?;
        Ok(socket)
    };
    fn address(dir: &OwnedFd, name: &str) -> rustix::io::Result<SocketAddrUnix> {
        let number = std::os::fd::AsRawFd::as_raw_fd(dir);
        SocketAddrUnix::new(format!("/proc/self/fd/{number}/{name}"))
    }
    make().map_err(Error::step::<rustix::io::Errno>("listen at", shown))
}
