//! What is mounted into a service's containers: folders, volumes, tmpfs, secrets and configs.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::is_default;

/// One mount of a service, from `volumes` or `tmpfs`, short or long form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    #[serde(flatten)]
    pub kind: MountKind,
    /// Absolute path in the container.
    pub target: String,
    #[serde(default, skip_serializing_if = "is_default")]
    pub read_only: bool,
}

/// What a [`Mount`] shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum MountKind {
    Bind {
        /// Absolute path on the machine.
        source: String,
        /// Make a missing source a folder, as docker's short form does.
        #[serde(default, skip_serializing_if = "is_default")]
        create: bool,
        /// Mounts below the source are shown too.
        #[serde(default, skip_serializing_if = "is_default")]
        recursive: bool,
        /// `shared`, `slave`, `private` and their `r…` forms.
        #[serde(default, skip_serializing_if = "is_default")]
        propagation: Option<String>,
    },
    Volume {
        /// `None`: an anonymous volume that ends with its container.
        #[serde(default, skip_serializing_if = "is_default")]
        volume: Option<Volume>,
        /// Do not fill an empty volume with the image's files at the target.
        #[serde(default, skip_serializing_if = "is_default")]
        no_copy: bool,
        /// Only this folder of the volume.
        #[serde(default, skip_serializing_if = "is_default")]
        subpath: Option<String>,
    },
    Tmpfs {
        /// Bytes; `None` is the kernel's half of the memory.
        #[serde(default, skip_serializing_if = "is_default")]
        size: Option<u64>,
        #[serde(default, skip_serializing_if = "is_default")]
        mode: Option<u32>,
    },
}

/// A named volume of the app.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Volume {
    /// The name on the machine: `APP_KEY` unless the file gives a `name`.
    pub name: String,
    /// Made by someone else: never created, never removed.
    #[serde(skip_serializing_if = "is_default")]
    pub external: bool,
    /// `driver_opts` of the `local` driver: `type`, `device`, `o`.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub driver_opts: IndexMap<String, String>,
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub labels: IndexMap<String, String>,
}

/// A secret or config shown to a service as a file. Contents are not here: a release names them
/// by digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMount {
    /// The key under the top-level `secrets` or `configs`.
    pub source: String,
    pub from: FileSource,
    /// Absolute path in the container.
    pub target: String,
    #[serde(default, skip_serializing_if = "is_default")]
    pub uid: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    pub gid: u32,
    /// Permission bits; 0o444 unless written.
    pub mode: u32,
}

/// Where the contents of a secret or config come from.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileSource {
    /// A file, resolved against the compose file's folder.
    File(String),
    /// The value of a variable in the environment of the command that reads the project.
    Environment(String),
    /// Configs only: the text itself.
    Content(String),
    /// Kept by the machine under this name.
    External(String),
}

/// Shows where, never what: a config's text may hold an interpolated password.
impl std::fmt::Debug for FileSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Environment(name) => f.debug_tuple("Environment").field(name).finish(),
            Self::Content(text) => write!(f, "Content(*** {} bytes)", text.len()),
            Self::External(name) => f.debug_tuple("External").field(name).finish(),
        }
    }
}
