//! `RUN --mount`: its fields with their variables expanded → what is to be mounted. Pure.
//!
//! Rules and defaults are BuildKit's, its oddities too: a key counts for the type that stands
//! before it, `source` is a second name of a secret's `id`, and relative targets of secrets and
//! agents start at the root while all others start at WORKDIR.

mod fields;

use self::fields::Fields;
use crate::dockerfile::MountFlag;

/// One thing mounted during one RUN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Absolute and clean; empty for a secret that is only a variable and for an agent that gets a
    /// place by its number.
    pub(crate) target: String,
    pub(crate) kind: MountKind,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MountKind {
    /// Files of the context, a stage or an image; what is written to them is thrown away.
    Bind {
        from: Option<String>,
        source: String,
        writable: bool,
    },
    Cache(CacheMount),
    Tmpfs {
        size: Option<u64>,
        read_only: bool,
    },
    Secret(SecretMount),
    Ssh {
        id: String,
        required: bool,
        access: Access,
    },
}

/// A directory that outlives the build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CacheMount {
    pub(crate) id: String,
    /// What it has in the beginning: a stage or an image.
    pub(crate) from: Option<String>,
    /// The part that is shown; absolute and clean.
    pub(crate) source: String,
    pub(crate) read_only: bool,
    pub(crate) sharing: Sharing,
    /// Of the new directory; part of its identity.
    pub(crate) access: Option<Access>,
}

/// Who may use a cache at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sharing {
    #[default]
    Shared,
    /// A second user gets a second directory.
    Private,
    /// A second user waits.
    Locked,
}

/// A value of the caller's, as a file or as a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SecretMount {
    pub(crate) id: String,
    pub(crate) env: Option<String>,
    pub(crate) required: bool,
    pub(crate) access: Access,
}

/// Permissions and owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Mount {
    /// Reads a flag; `cwd` is WORKDIR. The error is a sentence.
    pub(crate) fn read<E: ToString>(
        flag: &MountFlag,
        cwd: &str,
        expand: impl Fn(&str) -> Result<String, E>,
    ) -> Result<Self, String> {
        let mut fields = Fields::default();
        for field in &flag.fields {
            match field.split_once('=') {
                None => fields.switch(field)?,
                Some((key, value)) => {
                    let value = expand(value).map_err(|error| error.to_string())?;
                    fields.set(&key.to_lowercase(), value, field)?;
                }
            }
        }
        fields.check()?;
        fields.finish(cwd)
    }
}

#[cfg(test)]
mod tests;
