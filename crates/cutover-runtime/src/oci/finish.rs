//! The last steps before a bundle's program: giving up everything that it must not have, in the one order that is
//! safe, as [`crate::init`] does it, with everything that a bundle can say.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, statat};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::channel::{self, Said};
use super::config::{Capabilities, Config, Process};
use super::error::{Error, Result};
use crate::caps::CapSet;
use crate::init::target::Target;
use crate::init::user;
use crate::seccomp::Instruction;
use crate::sys::exec::{StringArray, execve};
use crate::sys::{process, seccomp, signals};

/// Everything about the program, in the kernel's form.
#[derive(Debug)]
pub(super) struct Last {
    pub(super) program: String,
    candidates: Vec<CString>,
    args: StringArray,
    env: StringArray,
    cwd: Target,
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    umask: u32,
    caps: Sets,
    no_new_privileges: bool,
    filter: Option<(Vec<Instruction>, u32)>,
    personality: Option<u64>,
    apparmor: Option<String>,
    terminal: bool,
    /// Descriptors after the standard ones that the program gets.
    preserved: u32,
    keyring: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sets {
    bounding: u64,
    effective: u64,
    inheritable: u64,
    permitted: u64,
    ambient: u64,
}

/// What the command line says about it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extras {
    /// How many descriptors after the standard ones the program gets.
    pub preserve_fds: u32,
    /// Leave the caller's session keyring to it.
    pub no_new_keyring: bool,
}

/// Puts a process into the kernel's form; `root` has the users. Capabilities that nobody knows are handed back.
pub(super) fn last(
    process: &Process,
    config: &Config,
    root: &OwnedFd,
    extras: Extras,
) -> Result<(Last, Vec<String>)> {
    let program = process.args.first().cloned().unwrap_or_default();
    let (caps, unknown) = sets(process.capabilities.as_ref())?;
    let filter = config
        .linux
        .seccomp
        .as_ref()
        .map(|seccomp| crate::seccomp::bundle_filter(seccomp, CapSet(caps.bounding)))
        .transpose()
        .map_err(|error| Error::invalid("linux.seccomp", error.to_string()))?;
    let mut env = process.env.clone();
    if !env.iter().any(|pair| pair.starts_with("HOME=")) {
        env.push(format!("HOME={}", home(root, process.user.uid)));
    }
    let personality = config.linux.personality.as_ref();
    let last = Last {
        candidates: candidates(&program, &env)?,
        args: strings(&process.args)?,
        env: strings(&env)?,
        cwd: Target::new(&process.cwd).map_err(|reason| Error::invalid("process.cwd", reason))?,
        uid: process.user.uid,
        gid: process.user.gid,
        groups: process.user.additional_gids.clone(),
        umask: process.user.umask.unwrap_or(0o022),
        caps,
        no_new_privileges: process.no_new_privileges,
        filter,
        personality: personality.map(|p| if p.domain == "LINUX32" { 8 } else { 0 }),
        apparmor: apparmor(&process.apparmor_profile)?,
        terminal: process.terminal,
        preserved: extras.preserve_fds,
        keyring: !extras.no_new_keyring,
        program,
    };
    Ok((last, unknown))
}

fn apparmor(profile: &str) -> Result<Option<String>> {
    if profile.is_empty() {
        return Ok(None);
    }
    let enabled = fs_err::read_to_string("/sys/module/apparmor/parameters/enabled");
    if enabled.is_ok_and(|text| text.starts_with('Y')) {
        return Ok(Some(profile.to_owned()));
    }
    Err(Error::unsupported("process.apparmorProfile", "AppArmor is not enabled on this machine"))
}

/// Of the user, for `HOME`; whatever is wrong with the container's file is no reason to fail.
fn home(root: &OwnedFd, uid: u32) -> String {
    let Ok((passwd, group)) = user::read_files(root.as_fd()) else { return "/".to_owned() };
    user::resolve(&uid.to_string(), &[], &passwd, &group)
        .map_or_else(|_unknown| "/".to_owned(), |identity| identity.home)
}

fn sets(given: Option<&Capabilities>) -> Result<(Sets, Vec<String>)> {
    let Some(given) = given else { return Ok((Sets::default(), Vec::new())) };
    let own = rustix::thread::capabilities(None)
        .map_err(Error::step("read the capabilities of", "self"))?
        .permitted
        .bits();
    let mut unknown = Vec::new();
    let mut set = |names: &[String]| {
        let (set, more) = CapSet::named(names);
        unknown.extend(more);
        set.0 & own
    };
    let sets = Sets {
        bounding: set(&given.bounding),
        effective: set(&given.effective),
        inheritable: set(&given.inheritable),
        permitted: set(&given.permitted),
        ambient: set(&given.ambient),
    };
    unknown.sort();
    unknown.dedup();
    Ok((sets, unknown))
}

/// Where the program may be, in the order of `PATH`.
fn candidates(program: &str, env: &[String]) -> Result<Vec<CString>> {
    if program.contains('/') {
        return Ok(vec![text(program)?]);
    }
    let path = env.iter().rev().find_map(|pair| pair.strip_prefix("PATH=")).unwrap_or_default();
    path.split(':')
        .filter(|directory| directory.starts_with('/'))
        .map(|directory| text(&format!("{directory}/{program}")))
        .collect()
}

fn text(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_why| Error::invalid("process", "a string contains a NUL"))
}

fn strings(given: &[String]) -> Result<StringArray> {
    Ok(StringArray::new(given.iter().map(|given| text(given)).collect::<Result<_>>()?))
}

impl Last {
    /// Opens what needs the host's procfs.
    pub(super) fn label(&self) -> Result<Option<OwnedFd>> {
        if self.apparmor.is_none() {
            return Ok(None);
        }
        let path = "/proc/self/attr/apparmor/exec";
        rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            .map(Some)
            .map_err(Error::step("open", path))
    }

    /// Whether there is such a program, before anybody waits for it.
    pub(super) fn look(&self) -> Result<()> {
        let mut found = Err(Errno::NOENT);
        for candidate in &self.candidates {
            match statat(rustix::fs::CWD, candidate, AtFlags::empty()) {
                Ok(stat) => {
                    let kind = FileType::from_raw_mode(stat.st_mode);
                    if kind == FileType::RegularFile && stat.st_mode & 0o111 != 0 {
                        return Ok(());
                    }
                    found = Err(Errno::ACCESS);
                }
                Err(errno) if is_missing(errno) => {}
                Err(errno) => found = Err(errno),
            }
        }
        // A relative program depends on the directory; `execve` finds out.
        if self.program.contains('/') && !self.program.starts_with('/') {
            return Ok(());
        }
        found.map_err(|errno| self.not_executed(errno))
    }

    fn not_executed(&self, errno: Errno) -> Error {
        let program = self.program.clone();
        if is_missing(errno) {
            Error::NotFound { program }
        } else {
            Error::NotExecutable { program, source: errno.into() }
        }
    }

    /// Becomes the program; returns only when that failed. `reply` hears how it went.
    pub(super) fn run(&self, reply: BorrowedFd<'_>, label: Option<OwnedFd>) -> i32 {
        let (Some(apparmor), Some(label)) = (&self.apparmor, label) else {
            return self.go(reply);
        };
        let words = format!("exec {apparmor}");
        match rustix::io::write(&label, words.as_bytes()) {
            Ok(_) => {
                drop(label);
                self.go(reply)
            }
            Err(errno) => give_up(reply, &Error::step("set the AppArmor profile", apparmor)(errno)),
        }
    }

    /// The first number after the descriptors that the program gets.
    pub(super) fn first_free(&self) -> i32 {
        3 + self.preserved.cast_signed()
    }

    fn go(&self, reply: BorrowedFd<'_>) -> i32 {
        let reply = match process::keep_at(reply, self.first_free()) {
            Ok(kept) => kept,
            Err(errno) => return give_up(reply, &Error::step("close", "descriptors")(errno)),
        };
        let error = match self.confine() {
            Ok(()) => {
                channel::say(reply, &Said::Executing, None);
                self.not_executed(self.execute())
            }
            Err(error) => error,
        };
        give_up(reply, &error)
    }

    fn confine(&self) -> Result<()> {
        let step = |what: &'static str| Error::step::<Errno>(what, "the process");
        if self.keyring {
            match process::new_session_keyring() {
                Ok(()) | Err(Errno::NOSYS) => {}
                Err(errno) => return Err(step("make a session keyring for")(errno)),
            }
        }
        rustix::process::setsid().map_err(step("make a session for"))?;
        if self.terminal {
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())
                .map_err(step("give a terminal to"))?;
        }
        if self.no_new_privileges {
            rustix::thread::set_no_new_privs(true).map_err(step("set no_new_privs of"))?;
        }
        if let Some(domain) = self.personality {
            process::set_personality(domain).map_err(step("set the personality of"))?;
        }
        self.enter().map_err(Error::step("enter the working directory", self.cwd.display()))?;
        process::drop_bounding_set(self.caps.bounding).map_err(step("set the capabilities of"))?;
        if !self.no_new_privileges {
            self.load()?;
        }
        self.change_user()
            .map_err(Error::step("change to the user", format!("{}:{}", self.uid, self.gid)))?;
        self.capabilities().map_err(step("set the capabilities of"))?;
        rustix::process::umask(Mode::from_raw_mode(self.umask));
        signals::reset();
        if self.no_new_privileges {
            self.load()?;
        }
        Ok(())
    }

    fn load(&self) -> Result<()> {
        let Some((filter, flags)) = &self.filter else { return Ok(()) };
        seccomp::load_with(filter, *flags)
            .map_err(Error::step("load the seccomp filter of", "the process"))
    }

    /// By a handle inside of the root, and looked at afterwards (CVE-2024-21626).
    fn enter(&self) -> std::result::Result<(), Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(c"/", flags, Mode::empty())?;
        let directory = self.cwd.open(root.as_fd(), flags)?;
        rustix::process::fchdir(&directory)?;
        if process::cwd_is_inside()? { Ok(()) } else { Err(Errno::XDEV) }
    }

    fn change_user(&self) -> std::result::Result<(), Errno> {
        rustix::thread::set_keep_capabilities(true)?;
        match process::set_groups(&self.groups) {
            // A user namespace may deny it; then there is nothing to drop, either.
            Err(Errno::PERM) if self.groups.is_empty() => {}
            result => result?,
        }
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        rustix::thread::set_keep_capabilities(false)
    }

    fn capabilities(&self) -> std::result::Result<(), Errno> {
        let set = CapabilitySet::from_bits_retain;
        rustix::thread::clear_ambient_capability_set()?;
        rustix::thread::set_capabilities(
            None,
            CapabilitySets {
                effective: set(self.caps.effective),
                permitted: set(self.caps.permitted),
                inheritable: set(self.caps.inheritable),
            },
        )?;
        // The kernel keeps ambient only what is permitted and inheritable, too; others pass the rest over as well.
        let ambient = self.caps.ambient & self.caps.permitted & self.caps.inheritable;
        for capability in 0..64 {
            if ambient >> capability & 1 == 1 {
                process::raise_ambient(capability)?;
            }
        }
        Ok(())
    }

    fn execute(&self) -> Errno {
        let mut result = Errno::NOENT;
        for candidate in &self.candidates {
            match execve(candidate, &self.args, &self.env) {
                errno if is_missing(errno) => {}
                Errno::ACCESS => result = Errno::ACCESS,
                errno => return errno,
            }
        }
        result
    }
}

fn is_missing(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NOTDIR)
}

/// Says why and ends.
pub(super) fn give_up(reply: BorrowedFd<'_>, error: &Error) -> i32 {
    channel::say(reply, &Said::Failed(error.tell()), None);
    error.exit_code().into()
}
