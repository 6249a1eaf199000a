//! `create`, `start`, `run`, `kill`, `delete`, `pause`, `resume`, `update`.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use cutover_runtime::container::parse_signal;
use cutover_runtime::oci::{self, Error, Extras, Options, config};

use super::{Front, Result, foreground};
use crate::clock;

/// What `create` and `run` take.
#[derive(Debug, Args)]
struct Making {
    /// Directory with `config.json`
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// Socket that is sent the terminal
    #[arg(long, value_name = "PATH")]
    console_socket: Option<PathBuf>,
    /// Where the first process's number is written
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Change the root without `pivot_root`
    #[arg(long)]
    no_pivot: bool,
    /// Keep the caller's session keyring
    #[arg(long)]
    no_new_keyring: bool,
    /// Descriptors after the standard ones that the program gets
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
}

impl Making {
    fn create(&self, front: &Front) -> Result<oci::Created> {
        let options = Options {
            console_socket: self.console_socket.clone(),
            no_pivot: self.no_pivot,
            extras: Extras { preserve_fds: self.preserve_fds, no_new_keyring: self.no_new_keyring },
        };
        let now = clock::now().to_string();
        let created = oci::create(&front.store, &self.id, &self.bundle, &options, now)?;
        created.warnings.iter().for_each(|warning| front.log.warning(warning));
        if let Some(file) = &self.pid_file
            && let Err(error) = write_pid(file, created.pid)
        {
            drop(oci::delete(&front.store, &self.id, true));
            return Err(error);
        }
        Ok(created)
    }

    fn wants_terminal(&self) -> Result<bool> {
        let bundle = config::Bundle::load(&self.bundle)?;
        Ok(bundle.config.process.is_some_and(|process| process.terminal))
    }
}

/// Whole or not at all: whoever waits for the file reads it at once.
pub(super) fn write_pid(file: &Path, pid: i32) -> Result<()> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let temporary = file.with_file_name(format!(".{name}.new"));
    fs_err::write(&temporary, pid.to_string())
        .and_then(|()| fs_err::rename(&temporary, file))
        .map_err(Error::from_io("write", file))
}

/// Create a container that waits to be started
#[derive(Debug, Args)]
pub(super) struct Create {
    #[command(flatten)]
    making: Making,
}

impl Create {
    pub(super) fn run(self, front: &Front) -> Result<()> {
        if self.making.console_socket.is_none() && self.making.wants_terminal()? {
            let reason = "`process.terminal` is set: nobody would hold the terminal";
            return Err(Error::invalid("--console-socket", reason));
        }
        self.making.create(front).map(drop)
    }
}

/// Run the program of a created container
#[derive(Debug, Args)]
pub(super) struct Start {
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
}

impl Start {
    pub(super) fn run(self, front: &Front) -> Result<()> {
        oci::start(&front.store, &self.id)
    }
}

/// Create a container, run its program, and delete it when it has ended
#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    making: Making,
    /// Return when the program runs
    #[arg(short, long)]
    detach: bool,
    /// Do not delete it when it has ended
    #[arg(long)]
    keep: bool,
    /// Accepted for runc's sake: there is no need of it
    #[arg(long)]
    no_subreaper: bool,
}

impl Run {
    pub(super) fn run(self, front: &Front) -> Result<u8> {
        let nobody = self.detach && self.making.console_socket.is_none();
        if nobody && self.making.wants_terminal()? {
            let reason = "`process.terminal` is set: nobody would hold the terminal";
            return Err(Error::invalid("--console-socket", reason));
        }
        let signals = if self.detach { None } else { Some(foreground::listen()?) };
        let created = self.making.create(front)?;
        let id = &self.making.id;
        if let Err(error) = oci::start(&front.store, id) {
            drop(oci::delete(&front.store, id, true));
            return Err(error);
        }
        let Some(signals) = signals else { return Ok(0) };
        let ended = foreground::serve(signals, &created.pidfd, created.console);
        if !self.keep {
            let warnings = oci::delete(&front.store, id, true)?;
            warnings.iter().for_each(|warning| front.log.warning(&warning.tell().text));
        }
        ended
    }
}

/// Send a signal to a container
#[derive(Debug, Args)]
pub(super) struct Kill {
    /// To all processes, not only the first one
    #[arg(short, long)]
    all: bool,
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
    /// By name or number
    #[arg(value_name = "SIGNAL", default_value = "SIGTERM")]
    signal: String,
}

impl Kill {
    pub(super) fn run(self, front: &Front) -> Result<()> {
        let signal = parse_signal(&self.signal)
            .map_err(|error| Error::invalid("SIGNAL", error.to_string()))?;
        oci::kill(&front.store, &self.id, signal, self.all)
    }
}

/// Remove what a container that has ended left
#[derive(Debug, Args)]
pub(super) struct Delete {
    /// Kill it first; a container that does not exist is no error
    #[arg(short, long)]
    force: bool,
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
}

impl Delete {
    pub(super) fn run(self, front: &Front) -> Result<()> {
        let warnings = oci::delete(&front.store, &self.id, self.force)?;
        warnings.iter().for_each(|warning| front.log.warning(&warning.tell().text));
        Ok(())
    }
}

/// Stop all processes of a container
#[derive(Debug, Args)]
pub(super) struct Pause {
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
}

impl Pause {
    pub(super) fn run(self, front: &Front) -> Result<()> {
        oci::pause(&front.store, &self.id)
    }
}

/// Let the processes of a paused container go on
#[derive(Debug, Args)]
pub(super) struct Resume {
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
}

impl Resume {
    pub(super) fn run(self, front: &Front) -> Result<()> {
        oci::resume(&front.store, &self.id)
    }
}

/// Change the limits of a container (for docker and containerd; releases never change)
#[derive(Debug, Args)]
pub(super) struct Update {
    /// `linux.resources` of the specification; `-` is stdin
    #[arg(short, long, value_name = "FILE")]
    resources: PathBuf,
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
}

/// No document of limits is this large.
const LARGEST: u64 = 1 << 20;

impl Update {
    pub(super) fn run(self, front: &Front) -> Result<()> {
        let file = &self.resources;
        let mut text = Vec::new();
        let read = if file.as_os_str() == "-" {
            std::io::stdin().take(LARGEST).read_to_end(&mut text)
        } else {
            fs_err::File::open(file).and_then(|f| f.take(LARGEST).read_to_end(&mut text))
        };
        read.map_err(Error::from_io("read", file))?;
        let resources = config::typed(&text, "--resources")?;
        oci::update(&front.store, &self.id, &resources)
    }
}
