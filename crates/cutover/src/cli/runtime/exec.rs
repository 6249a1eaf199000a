//! `exec`: one more process in a container.

use std::path::PathBuf;

use clap::Args;
use cutover_runtime::oci::{self, Error, Extras, Options, config};

use super::{Front, Result, foreground, life};

/// Run one more process in a container
#[derive(Debug, Args)]
pub(super) struct Exec {
    /// Socket that is sent the terminal
    #[arg(long, value_name = "PATH")]
    console_socket: Option<PathBuf>,
    /// Working directory
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,
    /// Environment variable, `KEY=value`
    #[arg(short, long, value_name = "KEY=VALUE")]
    env: Vec<String>,
    /// On a terminal
    #[arg(short, long)]
    tty: bool,
    /// By number, `UID[:GID]`
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// More groups, by number
    #[arg(short = 'g', long, value_name = "GID")]
    additional_gids: Vec<u32>,
    /// File with the `process` to run, instead of everything else
    #[arg(short, long, value_name = "FILE")]
    process: Option<PathBuf>,
    /// Return when the program runs
    #[arg(short, long)]
    detach: bool,
    /// Where the process's number is written
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Profile of AppArmor
    #[arg(long, value_name = "NAME")]
    apparmor: Option<String>,
    /// `execve` grants nothing
    #[arg(long)]
    no_new_privs: bool,
    /// More capabilities
    #[arg(short, long, value_name = "CAP")]
    cap: Vec<String>,
    /// Descriptors after the standard ones that the program gets
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
    /// Accepted for runc's sake: there is no need of it
    #[arg(long)]
    no_subreaper: bool,
    /// Also in a paused container
    #[arg(long)]
    ignore_paused: bool,
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
    /// Program and its arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Exec {
    pub(super) fn run(self, front: &Front) -> Result<u8> {
        let process = self.wanted(front)?;
        if self.detach && process.terminal && self.console_socket.is_none() {
            let reason = "nobody would hold the terminal";
            return Err(Error::invalid("--console-socket", reason));
        }
        let options = Options {
            console_socket: self.console_socket.clone(),
            no_pivot: false,
            extras: Extras { preserve_fds: self.preserve_fds, no_new_keyring: false },
        };
        let signals = if self.detach { None } else { Some(foreground::listen()?) };
        let joined = oci::exec(&front.store, &self.id, &process, &options, self.ignore_paused)?;
        joined.warnings.iter().for_each(|warning| front.log.warning(warning));
        if let Some(file) = &self.pid_file {
            life::write_pid(file, joined.pid)?;
        }
        match signals {
            None => Ok(0),
            Some(signals) => foreground::serve(signals, &joined.pidfd, joined.console),
        }
    }

    /// What the file says, or the container's own process with changes.
    fn wanted(&self, front: &Front) -> Result<config::Process> {
        if let Some(file) = &self.process {
            let text = fs_err::read(file).map_err(Error::from_io("read", file))?;
            let mut process: config::Process = config::typed(&text, "--process")?;
            process.terminal |= self.tty;
            return Ok(process);
        }
        let missing = || Error::invalid("process", "it is missing");
        let mut process = front.store.config(&self.id)?.process.ok_or_else(missing)?;
        process.args.clone_from(&self.command);
        process.terminal = self.tty;
        process.console_size = None;
        process.cwd = self.cwd.clone().unwrap_or(process.cwd);
        process.env.extend(self.env.iter().cloned());
        process.no_new_privileges |= self.no_new_privs;
        process.apparmor_profile = self.apparmor.clone().unwrap_or(process.apparmor_profile);
        if let Some(user) = &self.user {
            let wrong = || Error::invalid("--user", format!("`{user}` is not `UID[:GID]`"));
            let (uid, gid) = user.split_once(':').unwrap_or((user, ""));
            process.user.uid = uid.parse().map_err(|_why| wrong())?;
            if !gid.is_empty() {
                process.user.gid = gid.parse().map_err(|_why| wrong())?;
            }
        }
        process.user.additional_gids.extend(&self.additional_gids);
        if !self.cap.is_empty() {
            let caps = process.capabilities.get_or_insert_default();
            for set in [&mut caps.bounding, &mut caps.effective, &mut caps.permitted] {
                set.extend(self.cap.iter().cloned());
            }
        }
        Ok(process)
    }
}
