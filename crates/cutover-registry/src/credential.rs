//! [`Credential`]: what proves to a registry who we are.

use std::fmt;

/// One way of proving it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Credential {
    Basic(Basic),
    /// OAuth2's refresh token, which `docker login` keeps for some registries.
    IdentityToken(String),
    /// A Bearer token that is sent as it is.
    RegistryToken(String),
}

/// A user name and password (or access token) for one registry.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Basic {
    pub username: String,
    pub password: String,
}

impl From<Basic> for Credential {
    fn from(basic: Basic) -> Self {
        Self::Basic(basic)
    }
}

impl fmt::Debug for Basic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Basic").field("username", &self.username).finish_non_exhaustive()
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basic(basic) => basic.fmt(f),
            Self::IdentityToken(_) => f.write_str("IdentityToken(***)"),
            Self::RegistryToken(_) => f.write_str("RegistryToken(***)"),
        }
    }
}
