//! [`XCutover`]: what the Compose Specification cannot say: routes, proof, standby.

use std::fmt;
use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::is_default;
use crate::units;

/// How long old instances may finish their requests unless the file says otherwise.
pub const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long requests are held while a stop-first service is replaced.
pub const DEFAULT_HOLD_TIMEOUT: Duration = Duration::from_secs(30);

/// A service's `x-cutover` key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct XCutover {
    /// Which requests the proxy sends here; empty: the service gets no traffic from the proxy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// The container's port that the proxy talks to. Always there when `routes` is not empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The proxy's own health probe; `None`: a TCP connection must succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<HttpHealth>,
    /// Proofs that a new instance works, before any traffic reaches it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub verify: Vec<Verify>,
    pub standby: Standby,
    #[serde(with = "units::duration_text")]
    pub drain_timeout: Duration,
    #[serde(with = "units::duration_text")]
    pub hold_timeout: Duration,
    pub exec: Exec,
}

impl Default for XCutover {
    fn default() -> Self {
        Self {
            routes: Vec::new(),
            port: None,
            health: None,
            verify: Vec::new(),
            standby: Standby::default(),
            drain_timeout: DEFAULT_DRAIN_TIMEOUT,
            hold_timeout: DEFAULT_HOLD_TIMEOUT,
            exec: Exec::default(),
        }
    }
}

/// Requests for one host name and path prefix.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    /// Lowercase host name, `*.example.org` for every name below; `None`: any host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Starts with `/`; matches whole path segments.
    pub path_prefix: String,
    /// The target sees the path without the prefix.
    #[serde(default, skip_serializing_if = "is_default")]
    pub strip_prefix: bool,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.host.as_deref().unwrap_or("*"), self.path_prefix)
    }
}

/// The proxy's periodic HTTP probe of a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpHealth {
    pub path: String,
    pub status: StatusSet,
    #[serde(with = "units::duration_text")]
    pub interval: Duration,
    #[serde(with = "units::duration_text")]
    pub timeout: Duration,
    /// Successes in a row that make a target healthy.
    pub healthy_after: u32,
    /// Failures in a row that make it unhealthy.
    pub unhealthy_after: u32,
    /// The `Host` header; `None`: the first route's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Another port than [`XCutover::port`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

impl Default for HttpHealth {
    fn default() -> Self {
        Self {
            path: "/".to_owned(),
            status: StatusSet::success(),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(5),
            healthy_after: 1,
            unhealthy_after: 3,
            host: None,
            port: None,
        }
    }
}

/// One proof before the switch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verify {
    /// A request to the new instance through the proxy's own code.
    Http(HttpCheck),
    /// A command in a one-off container of the new image; 0 is success.
    Command(CommandCheck),
}

/// A request and what its response must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpCheck {
    pub path: String,
    pub method: String,
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub headers: IndexMap<String, String>,
    /// The `Host` header; `None`: the first route's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    pub status: StatusSet,
    /// Text that the body must contain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_contains: Option<String>,
    #[serde(with = "units::duration_text")]
    pub timeout: Duration,
    /// Further attempts after a failed one, one second apart.
    pub retries: u32,
}

impl Default for HttpCheck {
    fn default() -> Self {
        Self {
            path: "/".to_owned(),
            method: "GET".to_owned(),
            headers: IndexMap::new(),
            host: None,
            status: StatusSet::success(),
            body_contains: None,
            timeout: Duration::from_secs(10),
            retries: 0,
        }
    }
}

/// A command that must end with 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandCheck {
    pub command: Vec<String>,
    #[serde(with = "units::duration_text")]
    pub timeout: Duration,
}

/// HTTP status codes that count as success, e.g. `200-299,304`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StatusSet(Vec<(u16, u16)>);

/// Why a text is not a set of HTTP status codes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an HTTP status (100 to 599), a range `200-299` or a list of them")]
pub struct ParseStatusError(String);

impl StatusSet {
    /// Any 2xx.
    pub fn success() -> Self {
        Self(vec![(200, 299)])
    }

    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|&(first, last)| (first..=last).contains(&status))
    }
}

impl std::str::FromStr for StatusSet {
    type Err = ParseStatusError;

    /// Accepts `200`, `200-299`, `2xx` and comma-separated lists of them.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let code = |text: &str| {
            let is_code = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|code| is_code && (100..=599).contains(code))
        };
        let part = |part: &str| {
            let part = part.trim();
            if let Some(class @ "1" | class @ "2" | class @ "3" | class @ "4" | class @ "5") =
                part.strip_suffix("xx")
            {
                return Some((code(&format!("{class}00"))?, code(&format!("{class}99"))?));
            }
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (code(first)?, code(last)?);
            (first <= last).then_some((first, last))
        };
        let ranges: Option<Vec<_>> = text.split(',').map(part).collect();
        ranges.map(Self).ok_or_else(|| ParseStatusError(text.chars().take(60).collect()))
    }
}

impl TryFrom<String> for StatusSet {
    type Error = ParseStatusError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<StatusSet> for String {
    fn from(set: StatusSet) -> Self {
        set.to_string()
    }
}

impl fmt::Display for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{first}")?;
            if last != first {
                write!(f, "-{last}")?;
            }
        }
        Ok(())
    }
}

/// What becomes of the previous release's instances after a switch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standby {
    /// Kept running: a rollback only moves traffic. A stop-first service cannot have it and keeps
    /// its old instance stopped.
    #[default]
    Running,
    /// Kept in memory but not scheduled.
    Frozen,
    /// Kept stopped.
    Stopped,
    /// Removed.
    None,
}

/// What `cutover exec` into an instance of a release means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exec {
    Allow,
    /// Allowed, recorded, and the instance counts as changed.
    #[default]
    Taint,
    Deny,
}
