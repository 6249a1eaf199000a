//! `state`, `list`, `ps`, `spec`, `features`: what is only printed.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use cutover_runtime::oci::{self, Error, Status, config};
use serde_json::{Value, json};

use super::{Front, Result};

fn print(text: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{text}").map_err(Error::step("write to", "stdout"))
}

fn pretty(value: &Value) -> Result<()> {
    print(&serde_json::to_string_pretty(value).unwrap_or_default())
}

/// As docker and podman ask for it.
pub(super) fn version() -> ExitCode {
    let text =
        format!("cutover-runtime version {}\nspec: {}", env!("CARGO_PKG_VERSION"), config::VERSION);
    match print(&text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

/// Print the state of a container
#[derive(Debug, Args)]
pub(super) struct State {
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
}

/// The document of the specification, with what runc adds.
fn document(front: &Front, id: &str) -> Result<Value> {
    let state = front.store.read(id)?;
    let status = front.store.status(&state);
    let kept = front.store.config(id)?;
    let root = kept.root.unwrap_or_default();
    let pid = state.process.filter(|_| status != Status::Stopped).map_or(0, |p| p.pid);
    Ok(json!({
        "ociVersion": config::VERSION,
        "id": state.id,
        "pid": pid,
        "status": status,
        "bundle": state.bundle,
        "rootfs": state.bundle.join(root.path),
        "created": state.created,
        "annotations": kept.annotations,
        "owner": "",
    }))
}

impl State {
    pub(super) fn run(self, front: &Front) -> Result<()> {
        pretty(&document(front, &self.id)?)
    }
}

/// List containers
#[derive(Debug, Args)]
pub(super) struct List {
    /// As a table or as JSON
    #[arg(short, long, default_value = "table")]
    format: Format,
    /// Only their names
    #[arg(short, long)]
    quiet: bool,
}

impl List {
    pub(super) fn run(self, front: &Front) -> Result<()> {
        let ids = front.store.ids()?;
        if self.quiet {
            return ids.iter().try_for_each(|id| print(id));
        }
        // One that is deleted meanwhile is not there.
        let all: Vec<Value> = ids.iter().filter_map(|id| document(front, id).ok()).collect();
        if self.format == Format::Json {
            return print(&Value::from(all).to_string());
        }
        let mut table = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED"].map(str::to_owned)];
        for one in &all {
            let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
            let pid = one["pid"].to_string();
            table.push([text("id"), pid, text("status"), text("bundle"), text("created")]);
        }
        columns(&table)
    }
}

fn columns<const N: usize>(table: &[[String; N]]) -> Result<()> {
    let width = |column: usize| table.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    table.iter().try_for_each(|row| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}   "));
        print(cells.collect::<String>().trim_end())
    })
}

/// List the processes of a container
#[derive(Debug, Args)]
pub(super) struct Ps {
    /// As a table or as JSON
    #[arg(short, long, default_value = "table")]
    format: Format,
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
    /// Options for `ps`: not supported
    #[arg(value_name = "OPTIONS", trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

impl Ps {
    pub(super) fn run(self, front: &Front) -> Result<()> {
        if !self.options.is_empty() {
            return Err(Error::unsupported("ps", "it takes no options of `ps`"));
        }
        let pids = oci::pids(&front.store, &self.id)?;
        if self.format == Format::Json {
            return print(&Value::from(pids).to_string());
        }
        let mut table = vec![["PID", "COMMAND"].map(str::to_owned)];
        for pid in pids {
            let line = fs_err::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let line: String = line.trim_end().chars().filter(|c| !c.is_control()).collect();
            table.push([pid.to_string(), line]);
        }
        columns(&table)
    }
}

/// Write the `config.json` of a bundle to begin with
#[derive(Debug, Args)]
pub(super) struct Spec {
    /// Directory to write it to
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// For an ordinary user: not supported
    #[arg(long)]
    rootless: bool,
}

impl Spec {
    pub(super) fn run(self) -> Result<()> {
        if self.rootless {
            return Err(Error::unsupported("--rootless", "bundles are run by root"));
        }
        let path = self.bundle.join("config.json");
        let mut file = fs_err::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(Error::from_io("create", &path))?;
        let text = serde_json::to_string_pretty(&oci::template()).unwrap_or_default();
        writeln!(file, "{text}").map_err(Error::from_io("write", &path))
    }
}

/// Print what this runtime can do
#[derive(Debug, Args)]
pub(super) struct Features {}

impl Features {
    pub(super) fn run(self) -> Result<()> {
        pretty(&oci::features())
    }
}
