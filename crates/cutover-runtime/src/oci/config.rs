//! `config.json` of an OCI bundle: its types, and what of it can be done here.
//!
//! Readers are lenient as the specification wants: unknown properties and `null` are passed over. What is known and
//! cannot be done is refused by name in [`check`], before anything is made.

mod check;
mod linux;
mod process;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

pub use check::{check, mappings, process as check_process};
pub use linux::{
    BlockIo, Cpu, DeviceRule, HugepageLimit, IdMapping, Linux, LinuxDevice, Memory, Namespace,
    NamespaceKind, Network, Personality, Pids, Priority, Rdma, Resources, ThrottleDevice,
    TimeOffset, WeightDevice,
};
pub use process::{Box as ConsoleSize, Capabilities, IoPriority, Process, Rlimit, Scheduler, User};

use super::error::{Error, Result};

/// The newest version of the specification that is followed.
pub const VERSION: &str = "1.2.0";

/// No bundle of a person or a program is this large.
const LARGEST: u64 = 8 << 20;

/// One `config.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// Of the specification.
    pub oci_version: String,
    /// The root file system.
    pub root: Option<Root>,
    /// What is mounted, in this order.
    pub mounts: Vec<Mount>,
    /// The program.
    pub process: Option<Process>,
    /// Host name inside.
    pub hostname: String,
    /// NIS domain name inside.
    pub domainname: String,
    /// Programs of the host's that take part.
    pub hooks: Hooks,
    /// Whatever the caller wants to keep.
    pub annotations: BTreeMap<String, String>,
    /// The rest.
    pub linux: Linux,
    #[serde(skip_serializing)]
    vm: Option<IgnoredAny>,
    #[serde(skip_serializing)]
    windows: Option<IgnoredAny>,
    #[serde(skip_serializing)]
    solaris: Option<IgnoredAny>,
}

/// The root file system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Root {
    /// Relative to the bundle unless absolute.
    pub path: PathBuf,
    /// Nothing of it can be written.
    pub readonly: bool,
}

/// Something mounted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Mount {
    /// Inside.
    pub destination: String,
    /// A file system's name, or `bind`.
    #[serde(rename = "type")]
    pub kind: String,
    /// On the host.
    pub source: String,
    /// Of the mount and of the file system.
    pub options: Vec<String>,
    /// For an idmapped mount.
    pub uid_mappings: Vec<IdMapping>,
    /// For an idmapped mount.
    pub gid_mappings: Vec<IdMapping>,
}

/// Programs that take part, by the moment at which they run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hooks {
    /// On the host, when the namespaces exist (deprecated).
    pub prestart: Vec<Hook>,
    /// On the host, when the namespaces exist.
    pub create_runtime: Vec<Hook>,
    /// In the container's namespaces, with the host's files still there.
    pub create_container: Vec<Hook>,
    /// In the container, just before the program.
    pub start_container: Vec<Hook>,
    /// On the host, when the program runs.
    pub poststart: Vec<Hook>,
    /// On the host, when the container is deleted.
    pub poststop: Vec<Hook>,
}

/// One of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hook {
    /// Absolute.
    pub path: PathBuf,
    /// With its own name first.
    pub args: Vec<String>,
    /// All of its environment.
    pub env: Vec<String>,
    /// Seconds.
    pub timeout: Option<i64>,
}

/// A folder with a checked `config.json`.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// Absolute.
    pub path: PathBuf,
    /// Checked.
    pub config: Config,
}

impl Bundle {
    /// Reads and checks.
    pub fn load(path: &Path) -> Result<Self> {
        use std::io::Read;
        let path = fs_err::canonicalize(path).map_err(Error::from_io("find the bundle", path))?;
        let file = path.join("config.json");
        let opened =
            fs_err::File::open(&file).map_err(Error::from_io("open the bundle's", &file))?;
        let mut text = Vec::new();
        opened
            .take(LARGEST + 1)
            .read_to_end(&mut text)
            .map_err(Error::from_io("read the bundle's", &file))?;
        if text.len() as u64 > LARGEST {
            return Err(Error::invalid("config.json", "it is larger than 8 MiB"));
        }
        let config = parse(&text)?;
        check(&config)?;
        Ok(Self { path, config })
    }

    /// The root file system on the host.
    pub fn rootfs(&self) -> PathBuf {
        self.path.join(self.config.root.as_ref().map_or(Path::new(""), |root| &root.path))
    }
}

/// Reads a `config.json`; names the place of what does not fit.
pub fn parse(text: &[u8]) -> Result<Config> {
    typed(text, "config.json")
}

/// Reads a document of the specification, `null` being as good as absent.
pub fn typed<T: serde::de::DeserializeOwned>(text: &[u8], name: &'static str) -> Result<T> {
    let mut value: serde_json::Value =
        serde_json::from_slice(text).map_err(|error| Error::invalid(name, error.to_string()))?;
    drop_nulls(&mut value);
    serde_path_to_error::deserialize(value)
        .map_err(|error| Error::invalid(name, format!("`{}`: {}", error.path(), error.inner())))
}

fn drop_nulls(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        serde_json::Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
