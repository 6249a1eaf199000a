//! From a plan to a [`Program`]: opens everything that the child will need, on the host's side.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{FsOpenFlags, fsopen};

use super::plan::{Plan, Walls, invalid};
use super::program::{Attach, Attached, CgroupTrees, Finish, Join, Launch, Program, Streams};
use super::target::{Kind, Target};
use super::user::{self, Identity};
use super::{CreateError, Io};
use super::{devices, filesystems};
use crate::caps::CapSet;
use crate::cgroup::Entrance;
use crate::mounts::{self, Bind, MountError};
use crate::spec::{Mount, MountKind, Network, Sharing, Spec};
use crate::sys::exec::StringArray;
use crate::sys::mount::{NO_DEV, NO_EXEC, NO_SUID};

type Result<T> = std::result::Result<T, CreateError>;

impl From<MountError> for CreateError {
    fn from(error: MountError) -> Self {
        Self::Prepare {
            what: error.what,
            subject: error.path.display().to_string(),
            source: error.source,
        }
    }
}

/// Names the operation and its subject.
pub(super) fn failed(
    what: &'static str,
    subject: &str,
) -> impl FnOnce(rustix::io::Errno) -> CreateError {
    let subject = subject.to_owned();
    move |errno| CreateError::Prepare { what, subject, source: errno.into() }
}

/// The capabilities that this process can give.
pub(super) fn own_capabilities() -> Result<CapSet> {
    let sets =
        rustix::thread::capabilities(None).map_err(failed("read the capabilities of", "self"))?;
    Ok(CapSet(sets.permitted.bits()))
}

/// Everything but the control group, whose mounts are added when it exists.
pub(super) fn program(spec: &Spec, plan: Plan<'_>, io: Io) -> Result<Program> {
    let root = mounts::rootfs(&spec.rootfs)?;
    let (passwd, group) = read_users(&root)?;
    let identity = user::resolve(&spec.user, &spec.additional_groups, &passwd, &group)
        .map_err(|reason| invalid("user", reason))?;
    let network = match &spec.network {
        Network::Private | Network::Host => None,
        Network::Path(path) => Some(
            rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .map_err(failed("open the network namespace", &path.display().to_string()))?,
        ),
    };
    let (streams, terminal) = streams(io)?;
    let (files, mounts) = attachments(plan.mounts)?;
    let name = |name: &str| {
        (!name.is_empty() && spec.uts == Sharing::Private).then(|| name.as_bytes().to_vec())
    };
    Ok(Program {
        join: Join {
            tasks: Vec::new(),
            oom_score_adj: spec.oom_score_adj.map(|score| score.to_string().into_bytes()),
        },
        network,
        hostname: name(&spec.hostname),
        domainname: name(&spec.domainname),
        root,
        root_read_only: spec.rootfs.read_only(),
        privileged: spec.privileged,
        shm_size: text("shm_size", spec.shm_size.to_string())?,
        nodes: devices::nodes(spec)?.0,
        cgroups: CgroupTrees::None,
        files,
        mounts,
        masked: plan.masked,
        read_only: plan.read_only,
        sysctls: plan.sysctls,
        streams,
        finish: finish(Process {
            args: &spec.args,
            env: &spec.env,
            cwd: &spec.cwd,
            identity,
            walls: plan.walls,
            no_new_privileges: spec.no_new_privileges && !spec.privileged,
            parent_death_signal: spec.parent_death_signal,
            limits: plan.limits,
            umask: spec.umask,
            terminal,
            launch: if spec.init { Launch::UnderReaper } else { Launch::Here },
        })?,
    })
}

/// The container's user files.
pub(super) fn read_users(root: &OwnedFd) -> Result<(String, String)> {
    user::read_files(root.as_fd()).map_err(|source| CreateError::Prepare {
        what: "read the users of",
        subject: "container".to_owned(),
        source,
    })
}

/// What a process is, apart from the container around it.
#[derive(Debug)]
pub(super) struct Process<'a> {
    pub(super) args: &'a [String],
    pub(super) env: &'a [String],
    pub(super) cwd: &'a str,
    pub(super) identity: Identity,
    pub(super) walls: Walls,
    pub(super) no_new_privileges: bool,
    pub(super) parent_death_signal: Option<i32>,
    pub(super) limits: Vec<super::program::Limit>,
    pub(super) umask: u32,
    pub(super) terminal: bool,
    pub(super) launch: Launch,
}

/// The last steps of a process.
pub(super) fn finish(process: Process<'_>) -> Result<Finish> {
    let program = process.args.first().filter(|program| !program.is_empty());
    let program = program.ok_or_else(|| invalid("args", "no program is given"))?;
    let mut env = process.env.to_vec();
    if !env.iter().any(|pair| pair.starts_with("HOME=")) {
        env.push(format!("HOME={}", process.identity.home));
    }
    let args = strings("args", process.args)?;
    let cwd = if process.cwd.is_empty() { "/" } else { process.cwd };
    Ok(Finish {
        launch: process.launch,
        terminal: process.terminal,
        limits: process.limits,
        no_new_privileges: process.no_new_privileges,
        filter: process.walls.filter,
        caps: process.walls.caps.0,
        uid: process.identity.uid,
        gid: process.identity.gid,
        groups: process.identity.groups,
        umask: process.umask,
        parent_death_signal: process.parent_death_signal,
        cwd: Target::new(cwd).map_err(|reason| invalid("cwd", reason))?,
        candidates: candidates(program, &env)?,
        args,
        env: strings("env", &env)?,
    })
}

/// Where the program may be. Relative entries of `PATH` are passed over: they would depend on the directory.
fn candidates(program: &str, env: &[String]) -> Result<Vec<CString>> {
    const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    if program.contains('/') {
        return Ok(vec![text("args", program.to_owned())?]);
    }
    let path = env.iter().rev().find_map(|pair| pair.strip_prefix("PATH=")).unwrap_or(PATH);
    path.split(':')
        .filter(|directory| directory.starts_with('/'))
        .map(|directory| text("args", format!("{directory}/{program}")))
        .collect()
}

fn strings(field: &'static str, strings: &[String]) -> Result<StringArray> {
    let strings = strings.iter().map(|string| text(field, string.clone()));
    Ok(StringArray::new(strings.collect::<Result<_>>()?))
}

fn text(field: &'static str, text: String) -> Result<CString> {
    CString::new(text).map_err(|error| {
        let shown = String::from_utf8_lossy(&error.into_vec()).escape_debug().to_string();
        invalid(field, format!("`{shown}` contains a NUL"))
    })
}

/// Descriptors above the standard ones, so that making them the standard streams overwrites none of them.
pub(super) fn streams(io: Io) -> Result<(Streams, bool)> {
    let above = |fd: OwnedFd| {
        rustix::io::fcntl_dupfd_cloexec(&fd, 3).map_err(failed("duplicate a", "standard stream"))
    };
    match io {
        Io::Streams { stdin, stdout, stderr } => {
            let given = [above(stdin)?, above(stdout)?, above(stderr)?];
            Ok((Streams::Given(given), false))
        }
        Io::Terminal { rows, columns } => Ok((Streams::Terminal { rows, columns }, true)),
    }
}

fn attachments(planned: Vec<(Target, &Mount)>) -> Result<(Option<OwnedFd>, Vec<Attach>)> {
    let mut files = None;
    let mut mounts = Vec::with_capacity(planned.len());
    for (index, (target, mount)) in planned.into_iter().enumerate() {
        let (kind, what) = match &mount.kind {
            MountKind::Bind { .. } => bind(&mount.kind)?,
            MountKind::Tmpfs { .. } => (Kind::Directory, tmpfs(&mount.kind)?),
            MountKind::File { .. } => {
                if files.is_none() {
                    files = Some(file_store()?);
                }
                let store = files.as_ref().ok_or_else(|| invalid("mounts", "no file store"))?;
                (Kind::File, file(store, index, &mount.kind, target.display())?)
            }
        };
        mounts.push(Attach { target, kind, what });
    }
    Ok((files, mounts))
}

fn bind(kind: &MountKind) -> Result<(Kind, Attached)> {
    let MountKind::Bind { source, subpath, read_only, recursive, create_source, propagation } =
        kind
    else {
        return Err(invalid("mounts", "not a bind mount"));
    };
    let opened = mounts::bind(Bind {
        source,
        subpath: subpath.as_deref(),
        read_only: *read_only,
        recursive: *recursive,
        create_source: *create_source,
        propagation: *propagation,
    })?;
    let kind = if opened.is_directory { Kind::Directory } else { Kind::File };
    Ok((kind, Attached::Tree(opened.tree)))
}

fn tmpfs(kind: &MountKind) -> Result<Attached> {
    let MountKind::Tmpfs { size, mode, uid, gid, exec, read_only } = kind else {
        return Err(invalid("mounts", "not a tmpfs"));
    };
    let mut options = vec![(c"mode".to_owned(), text("mounts", format!("{mode:o}"))?)];
    for (key, id) in [(c"uid", uid), (c"gid", gid)] {
        options.push((key.to_owned(), text("mounts", id.to_string())?));
    }
    if let Some(size) = size {
        options.push((c"size".to_owned(), text("mounts", size.to_string())?));
    }
    Ok(Attached::Tmpfs { options, exec: *exec, read_only: *read_only })
}

fn file_store() -> Result<OwnedFd> {
    let make = || {
        let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        filesystems::set_option(fs.as_fd(), c"mode", c"700")?;
        filesystems::finish(fs.as_fd(), NO_SUID | NO_DEV | NO_EXEC)
    };
    make().map_err(failed("create a", "tmpfs"))
}

fn file(store: &OwnedFd, index: usize, kind: &MountKind, target: &str) -> Result<Attached> {
    let MountKind::File { content, mode, uid, gid, read_only } = kind else {
        return Err(invalid("mounts", "not a file"));
    };
    let name = text("mounts", index.to_string())?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let write = || {
        let file = openat(store, &name, flags, Mode::empty())?;
        let mut rest = content.as_slice();
        while !rest.is_empty() {
            rest = &rest[rustix::io::write(&file, rest)?..];
        }
        let (uid, gid) = (rustix::fs::Uid::from_raw(*uid), rustix::fs::Gid::from_raw(*gid));
        rustix::fs::fchown(&file, Some(uid), Some(gid))?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(*mode))
    };
    write().map_err(failed("write the file", target))?;
    Ok(Attached::File { name, read_only: *read_only })
}

/// Adds the control group to a program.
pub(super) fn join_cgroup(program: &mut Program, entrance: &mut Entrance) -> Result<()> {
    let mut trees = entrance.trees(program.privileged)?;
    program.cgroups = if entrance.is_unified() {
        trees.pop().map_or(CgroupTrees::None, |(_, tree)| CgroupTrees::Unified(tree))
    } else {
        let mut links = Vec::new();
        for (label, _) in &trees {
            let text = label.to_string_lossy();
            let parts = text.split(',').filter(|part| text.contains(',') && !part.is_empty());
            for part in parts {
                links.push((label.clone(), self::text("cgroup", part.to_owned())?));
            }
        }
        CgroupTrees::Split { trees, links }
    };
    program.join.tasks = std::mem::take(&mut entrance.tasks);
    Ok(())
}
