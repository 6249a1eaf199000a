//! [`Healthcheck`]: a command run inside the container that says whether it is well.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::units;

/// The `healthcheck` key. `None` in a field keeps the image's value, else docker's default
/// (interval 30s, timeout 30s, start period 0s, start interval 5s, 3 retries).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Healthcheck {
    /// `None` keeps the image's test.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<HealthcheckTest>,
    #[serde(with = "units::duration_text_opt", skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
    #[serde(with = "units::duration_text_opt", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    #[serde(with = "units::duration_text_opt", skip_serializing_if = "Option::is_none")]
    pub start_period: Option<Duration>,
    #[serde(with = "units::duration_text_opt", skip_serializing_if = "Option::is_none")]
    pub start_interval: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
}

/// What a healthcheck runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthcheckTest {
    /// `["NONE"]` or `disable: true`: the image's healthcheck is switched off.
    None,
    /// `["CMD", …]`: the command itself.
    Cmd(Vec<String>),
    /// `["CMD-SHELL", "…"]` or a text: by the image's shell.
    Shell(String),
}

impl HealthcheckTest {
    /// The form of the image specification's `Healthcheck.Test`.
    pub fn to_oci(&self) -> Vec<String> {
        match self {
            Self::None => vec!["NONE".to_owned()],
            Self::Cmd(command) => {
                std::iter::once("CMD".to_owned()).chain(command.iter().cloned()).collect()
            }
            Self::Shell(command) => vec!["CMD-SHELL".to_owned(), command.clone()],
        }
    }
}
