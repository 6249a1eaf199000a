//! [`Build`]: how a service's image is made from a Dockerfile.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::is_default;

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
    /// `none` or `host`, for `RUN` steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extra_hosts: Vec<(String, String)>,
    /// Named contexts for `COPY --from=NAME` and `FROM NAME`.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub additional_contexts: IndexMap<String, String>,
}
