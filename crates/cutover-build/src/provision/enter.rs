//! The other end of a step that is worked on from outside: `cutover build-enter DIR PROGRAM …` runs
//! a program in the step's container, and `cutover build-outside PROGRAM …` becomes the tool itself.
//!
//! The program gets the walls, the control group and the user of the step. When it ends, this ends:
//! what it has left running in the container may still hold its output, and whoever waits for that
//! output must not wait for it.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use cutover_runtime::init::{self, Io, StartError};
use cutover_runtime::spec::{ExecSpec, Spec};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};

/// The word for [`enter`] on the command line.
pub const ENTER: &str = "build-enter";
/// The word for [`outside`].
pub const OUTSIDE: &str = "build-outside";
/// The file in a step's directory that says where its container is.
pub(crate) const CONTAINER: &str = "container.json";

/// What is needed to enter a step's container.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Container {
    pub(crate) spec: Spec,
    pub(crate) pid: i32,
}

/// Why nothing could be run in the container.
#[derive(Debug, thiserror::Error)]
enum EnterError {
    #[error("the directory and the program to run are missing")]
    Usage,
    #[error("failed to read where the container is")]
    Read(#[from] io::Error),
    #[error("the description of the container is not valid")]
    Document(#[from] serde_json::Error),
    #[error("the container is gone")]
    Gone(#[source] Errno),
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Runs a program in the container that `DIR/container.json` describes; exits as it does.
pub fn enter(args: impl Iterator<Item = OsString>) -> ExitCode {
    match entered(args) {
        Ok(code) => ExitCode::from(u8::try_from(code & 0xff).unwrap_or(1)),
        Err(error) => {
            say(&error);
            match error {
                EnterError::Start(error) => {
                    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(125))
                }
                _ => ExitCode::from(125),
            }
        }
    }
}

fn say(error: &dyn std::error::Error) {
    let mut line = format!("cutover: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    drop(writeln!(io::stderr(), "{line}"));
}

fn entered(mut args: impl Iterator<Item = OsString>) -> Result<i32, EnterError> {
    let directory = args.next().ok_or(EnterError::Usage)?;
    let words: Vec<String> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
    if words.is_empty() {
        return Err(EnterError::Usage);
    }
    let text = fs_err::read(Path::new(&directory).join(CONTAINER))?;
    let Container { spec, pid } = serde_json::from_slice(&text)?;
    let pid = Pid::from_raw(pid).ok_or(EnterError::Gone(Errno::SRCH))?;
    let init = rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(EnterError::Gone)?;
    let wanted = ExecSpec {
        args: words,
        env: spec.env.clone(),
        user: spec.user.clone(),
        parent_death_signal: Some(Signal::KILL.as_raw()),
        ..ExecSpec::default()
    };
    let (out, stdout) = pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from)?;
    let (err, stderr) = pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from)?;
    let stdin = io::stdin().as_fd().try_clone_to_owned()?;
    let running = init::exec(&spec, init.as_fd(), &wanted, Io::Streams { stdin, stdout, stderr })?;
    copy(out, err, running.pidfd.as_fd())?;
    Ok(running.wait()?.code())
}

/// Hands output over until the program has ended and what it had written is read.
fn copy(out: OwnedFd, err: OwnedFd, ended: BorrowedFd<'_>) -> io::Result<()> {
    let (stdout, stderr) = (io::stdout(), io::stderr());
    let mut open = vec![(out, stdout.as_fd()), (err, stderr.as_fd())];
    // No less than a pipe holds, so that one read gets all that was there when the program ended.
    let mut buffer = vec![0_u8; 64 * 1024];
    let mut was_over = false;
    loop {
        let mut fds: Vec<PollFd<'_>> =
            open.iter().map(|(from, _)| PollFd::new(from, PollFlags::IN)).collect();
        fds.push(PollFd::from_borrowed_fd(ended, PollFlags::IN));
        match poll(&mut fds, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        let (over, ready) =
            ready.split_last().map_or((true, &[][..]), |(last, rest)| (*last, rest));
        let mut index = 0;
        let mut failed = None;
        open.retain(|(from, to)| {
            index += 1;
            if !ready[index - 1] {
                return true;
            }
            match rustix::io::read(from, buffer.as_mut_slice()) {
                Ok(0) => false,
                Ok(length) => {
                    failed = write_all(*to, &buffer[..length]).err().or(failed);
                    true
                }
                Err(Errno::INTR) => true,
                Err(_) => false,
            }
        });
        if let Some(errno) = failed {
            return Err(errno.into());
        }
        // It may have written between the two looks of one `poll`, hence once more.
        if over && was_over {
            return Ok(());
        }
        was_over = over;
    }
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Becomes a tool that ends with the thread of the build that started it.
pub fn outside(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(program) = args.next() else {
        say(&EnterError::Usage);
        return ExitCode::from(125);
    };
    if let Err(errno) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        say(&EnterError::Gone(errno));
        return ExitCode::from(125);
    }
    let error = Command::new(program).args(args).exec();
    say(&error);
    ExitCode::from(126)
}
