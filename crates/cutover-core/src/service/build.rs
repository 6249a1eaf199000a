//! [`Build`]: how a service's image is made, from a Dockerfile or without one.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::{FileSource, Ulimit, is_default};

/// The `build` key, short or long form. Paths are resolved against the compose file's folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Build {
    /// The folder whose files the Dockerfile may copy.
    pub context: String,
    /// Path of the Dockerfile, resolved against the context; `None` with [`Build::inline`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dockerfile: Option<String>,
    /// `dockerfile_inline`: the Dockerfile's text itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inline: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub args: IndexMap<String, String>,
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub labels: IndexMap<String, String>,
    /// More names for the built image, besides the service's `image`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub no_cache: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub pull: bool,
    /// As `build --cache-from` and `--cache-to` have them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cache_from: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cache_to: Vec<String>,
    /// `none` or `host`, for `RUN` steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extra_hosts: Vec<(String, String)>,
    /// Named contexts for `COPY --from=NAME` and `FROM NAME`.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub additional_contexts: IndexMap<String, String>,
    /// What `RUN --mount=type=secret` finds, by id.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub secrets: IndexMap<String, FileSource>,
    /// Agents for `RUN --mount=type=ssh`: `default`, or a name and the path of a socket.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub ssh: IndexMap<String, Option<String>>,
    /// Limits of `RUN`, -1 for none.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub ulimits: IndexMap<String, Ulimit>,
    /// Bytes of `/dev/shm` in `RUN`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shm_size: Option<u64>,
    /// Rights that the Dockerfile may ask for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entitlements: Vec<Entitlement>,
    /// `x-cutover`: an image without a Dockerfile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provision: Option<Provisioning>,
}

/// A right that a build has only if its caller says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entitlement {
    /// `RUN --network=host`.
    #[serde(rename = "network.host")]
    NetworkHost,
    /// `RUN --security=insecure`.
    #[serde(rename = "security.insecure")]
    SecurityInsecure,
}

/// Scripts, playbooks and manifests over a base image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Provisioning {
    /// The base image.
    pub from: String,
    /// In order: `shell=FILE`, `ansible=PLAYBOOK`, `puppet=MANIFEST`, below the context.
    pub steps: Vec<String>,
    /// Dockerfile instructions for the config, such as `CMD ["nginx"]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
}
