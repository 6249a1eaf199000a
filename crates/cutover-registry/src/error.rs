//! [`PullError`] and [`PushError`]: why an image could not be moved, and what to do about it.

use std::io;
use std::time::Duration;

use cutover_core::{Digest, Reference};
use cutover_store::{BlobError, ImageError, IoError, LoadError, SnapshotError};

use crate::keychain::KeychainError;

/// A pull that failed. The source is the [`Cause`]; [`PullError::hint`] says what helps.
#[derive(Debug, thiserror::Error)]
#[error("cannot pull `{reference}` from registry `{}`", reference.registry())]
pub struct PullError {
    pub reference: Reference,
    #[source]
    pub cause: Box<Cause>,
}

/// A push that failed. The source is the [`Cause`]; [`PushError::hint`] says what helps.
#[derive(Debug, thiserror::Error)]
#[error("cannot push `{reference}` to registry `{}`", reference.registry())]
pub struct PushError {
    pub reference: Reference,
    #[source]
    pub cause: Box<Cause>,
}

/// A copy that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot copy `{from}` to `{to}`")]
pub struct CopyError {
    pub from: String,
    pub to: String,
    #[source]
    pub cause: Box<Cause>,
}

/// A list of tags that could not be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot list the tags of `{}`", reference.familiar_name())]
pub struct ListError {
    pub reference: Reference,
    #[source]
    pub cause: Box<Cause>,
}

/// Credentials that are not good, or could not be tried.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    #[error("`{registry}` does not accept these credentials: {message}")]
    Refused { registry: String, message: String },
    #[error("cannot log in to `{registry}`")]
    Cause {
        registry: String,
        #[source]
        cause: Box<Cause>,
    },
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    #[error("cannot connect to `{host}`")]
    Connect { host: String, source: io::Error },
    #[error("`{host}` did not {what} within {}", cutover_core::units::format_duration(*after))]
    Timeout { host: String, what: &'static str, after: Duration },
    #[error("no trusted TLS connection to `{host}`")]
    Tls { host: String, source: io::Error },
    #[error("proxy `{proxy}`: {message}")]
    Proxy { proxy: String, message: String },
    #[error("the connection to `{host}` broke")]
    Broken { host: String, source: hyper::Error },
    #[error("`{host}` ended the response after {got} of {expected} bytes")]
    Short { host: String, got: u64, expected: u64 },
    #[error("access to repository `{repository}` denied: {message}")]
    Denied { repository: String, message: String, anonymous: bool },
    #[error("{what} is not in repository `{repository}`{}", after_colon(message))]
    NotFound { repository: String, what: String, message: String },
    #[error("`{host}` limits how often it is asked{}", after_colon(message))]
    RateLimited { host: String, message: String, retry_after: Option<Duration> },
    #[error("`{host}` is not available{}", after_colon(message))]
    Unavailable { host: String, message: String, retry_after: Option<Duration> },
    #[error("`{host}` answered {status} for {what}{}", after_colon(message))]
    Status { host: String, what: String, status: u16, message: String },
    #[error("`{host}` does not answer as a registry: {message}")]
    NotARegistry { host: String, message: String },
    #[error("`{host}` answered what cannot be understood: {message}")]
    Protocol { host: String, message: String },
    #[error("{what} has {size} bytes, more than the {max} allowed for it")]
    TooLarge { what: String, size: u64, max: u64 },
    #[error("{what} {expected} came with other bytes: they are {actual}")]
    WrongDigest { what: &'static str, expected: Digest, actual: Digest },
    #[error("{what} has media type `{media_type}`, which is not an image")]
    MediaType { what: String, media_type: String },
    #[error("indexes are nested more than {0} deep")]
    NestedIndex(usize),
    #[error("image index {digest} has no image for {platform} (it has: {available})")]
    NoPlatform { digest: Digest, platform: String, available: String },
    #[error("cannot trust `{0}`: not a certificate")]
    Certificate(String),
    #[error("what came is not an image that can be used")]
    Image(#[source] LoadError),
    #[error("cannot keep it in the store")]
    Store(#[source] ImageError),
    #[error(transparent)]
    Keychain(Box<KeychainError>),
    #[error("cannot read {what}")]
    Layer { what: String, source: Box<SnapshotError> },
    #[error("cannot make a part of the artifact")]
    Part(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("{what} names {missing}, which is not in the store")]
    Incomplete { what: String, missing: String },
    #[error("cannot write what came")]
    Write(#[source] io::Error),
    #[error("cannot {what} `{path}`")]
    File { what: &'static str, path: String, source: io::Error },
    #[error(
        "{count} images in `{path}` {}",
        if tag.is_empty() { "and no tag says which".to_owned() } else { format!("have the tag `{tag}`") }
    )]
    Ambiguous { path: String, tag: String, count: usize },
    #[error("cannot start the network runtime")]
    Runtime(#[source] io::Error),
}

fn after_colon(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

impl PullError {
    /// The next step for the user, when there is one.
    pub fn hint(&self) -> Option<String> {
        self.cause.hint(&self.reference, "pull")
    }
}

impl ListError {
    /// The next step for the user, when there is one.
    pub fn hint(&self) -> Option<String> {
        self.cause.hint(&self.reference, "pull")
    }
}

impl PushError {
    /// The next step for the user, when there is one.
    pub fn hint(&self) -> Option<String> {
        match &*self.cause {
            // a registry that takes no push of ours may well not know the repository either
            Cause::NotFound { .. } => {
                Some("check that the registry takes pushes and the repository exists".to_owned())
            }
            cause => cause.hint(&self.reference, "push"),
        }
    }
}

impl Cause {
    fn hint(&self, reference: &Reference, action: &str) -> Option<String> {
        let name = reference.familiar_name();
        Some(match self {
            Self::Connect { host, .. } | Self::Timeout { host, .. } => {
                format!("check that `{host}` is right and can be reached from this machine")
            }
            Self::Tls { .. } => {
                "give the registry's certificate authority, or plain HTTP if that is what it speaks"
                    .to_owned()
            }
            Self::Proxy { .. } => "check the proxy settings".to_owned(),
            Self::Denied { anonymous: true, .. } => {
                let registry = reference.registry();
                format!(
                    "check that `{name}` is spelt right; if it needs credentials, see `cutover login {registry}`"
                )
            }
            Self::Denied { .. } => format!("these credentials may not {action} `{name}`"),
            Self::NotFound { .. } => format!("check the name and tag of `{reference}`"),
            Self::RateLimited { retry_after: Some(wait), .. } => {
                format!("try again in {}", cutover_core::units::format_duration(*wait))
            }
            Self::RateLimited { .. } => {
                "try again later, or give credentials: many registries limit anonymous pulls"
                    .to_owned()
            }
            Self::NotARegistry { host, .. } => {
                format!("`{host}` is taken for a registry because of the `.` or `:` in it")
            }
            Self::Unavailable { retry_after: Some(wait), .. } => {
                format!("try again in {}", cutover_core::units::format_duration(*wait))
            }
            Self::NoPlatform { .. } => "build it for this platform, or choose another".to_owned(),
            _ => return None,
        })
    }

    /// Whether the same request may well succeed a moment later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Broken { .. } | Self::Short { .. } => true,
            Self::Connect { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::TimedOut
            ),
            Self::RateLimited { retry_after, .. } | Self::Unavailable { retry_after, .. } => {
                retry_after.is_none_or(|wait| wait <= crate::retry::MAX_WAIT)
            }
            Self::Status { status, .. } => matches!(status, 408 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }
}

impl From<ImageError> for Cause {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Load(LoadError::Blob(error)) => Self::Store(error.into()),
            ImageError::Load(error) => Self::Image(error),
            error => Self::Store(error),
        }
    }
}

impl From<BlobError> for Cause {
    fn from(error: BlobError) -> Self {
        Self::Store(ImageError::from(error))
    }
}

impl From<LoadError> for Cause {
    fn from(error: LoadError) -> Self {
        ImageError::from(error).into()
    }
}

impl From<IoError> for Cause {
    fn from(error: IoError) -> Self {
        Self::Store(ImageError::from(error))
    }
}
