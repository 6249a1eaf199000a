//! [`Keychain`]: credentials where docker and podman keep them.
//!
//! `config.json` (docker) and `auth.json` (podman) have one form: `auths` by registry, `credHelpers`
//! by registry, and `credsStore` for all the rest. A helper is a program `docker-credential-NAME`
//! that is asked over its stdin. For a registry the most special entry wins: one for the
//! repository's namespace is podman's and is not known here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::auth;
use crate::credential::{Basic, Credential};

mod edit;
mod helper;

pub use edit::Saved;
pub use helper::HelperError;

/// docker.io's name in every such file.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";
/// The longest file that is read.
const MAX_FILE: u64 = 4 << 20;

/// Where to look for credentials, first one first.
#[derive(Clone, Debug, Default)]
pub struct Keychain {
    /// Files in docker's form. Those that are not there are passed over.
    pub files: Vec<PathBuf>,
}

/// Why credentials cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum KeychainError {
    #[error("cannot {what} `{}`", path.display())]
    File { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("`{}` is not a file of docker's credentials", path.display())]
    Format { path: PathBuf, source: serde_json::Error },
    #[error("`{}` has no valid credentials for `{registry}`", path.display())]
    Entry { path: PathBuf, registry: String },
    #[error("credential helper `{name}` failed")]
    Helper { name: String, source: HelperError },
    #[error("there is no place to keep credentials: neither `HOME` nor `DOCKER_CONFIG` is set")]
    NoFile,
}

/// What is read of a file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    #[serde(deserialize_with = "null_is_default")]
    auths: BTreeMap<String, Entry>,
    #[serde(deserialize_with = "null_is_default")]
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Entry {
    #[serde(skip_serializing_if = "Option::is_none")]
    auth: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identitytoken: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    registrytoken: Option<String>,
}

fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Where a file says that a registry's credentials are.
#[derive(Debug)]
enum Place<'a> {
    Here(&'a Entry),
    Helper(&'a str),
}

impl Keychain {
    /// The credentials for `registry`, from the first file that has some.
    pub fn find(&self, registry: &str) -> Result<Option<Credential>, KeychainError> {
        for path in &self.files {
            let Some(file) = read(path)? else { continue };
            let found = match file.place(registry) {
                None => None,
                Some(Place::Helper(name)) => helper::get(name, &key(registry))?,
                Some(Place::Here(entry)) => {
                    let wrong = || KeychainError::Entry {
                        path: path.clone(),
                        registry: registry.to_owned(),
                    };
                    entry.credential().map_err(|()| wrong())?
                }
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

fn read(path: &Path) -> Result<Option<File>, KeychainError> {
    let bytes = match bytes(path)? {
        Some(bytes) if !bytes.trim_ascii().is_empty() => bytes,
        _ => return Ok(None),
    };
    let format = |source| KeychainError::Format { path: path.to_owned(), source };
    serde_json::from_slice(&bytes).map(Some).map_err(format)
}

fn bytes(path: &Path) -> Result<Option<Vec<u8>>, KeychainError> {
    let fail = |source| KeychainError::File { what: "read", path: path.to_owned(), source };
    match fs_err::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error)),
        Ok(metadata) if metadata.len() > MAX_FILE => {
            let source = std::io::Error::new(std::io::ErrorKind::FileTooLarge, "it is too large");
            return Err(fail(source));
        }
        Ok(_) => {}
    }
    fs_err::read(path).map(Some).map_err(fail)
}

impl File {
    /// docker's order: a helper for this registry, the store for all, the file itself.
    fn place(&self, registry: &str) -> Option<Place<'_>> {
        let matching = |key: &&String| host_of(key) == registry;
        if let Some(key) = self.cred_helpers.keys().find(matching) {
            return Some(Place::Helper(&self.cred_helpers[key]));
        }
        if let Some(store) = self.creds_store.as_deref().filter(|store| !store.is_empty()) {
            return Some(Place::Helper(store));
        }
        let entry = self.auths.get(&key(registry));
        let entry = entry
            .or_else(|| self.auths.iter().find(|(key, _)| matching(key)).map(|(_, entry)| entry));
        entry.map(Place::Here)
    }
}

/// What files and helpers call `registry`.
fn key(registry: &str) -> String {
    if registry == "docker.io" { DOCKER_HUB.to_owned() } else { registry.to_owned() }
}

/// The registry that a file's key means: hosts are also written as addresses.
fn host_of(key: &str) -> &str {
    let rest = key.trim_start_matches("https://").trim_start_matches("http://");
    match rest.split('/').next().unwrap_or_default() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

impl Entry {
    fn credential(&self) -> Result<Option<Credential>, ()> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(token) = given(&self.identitytoken) {
            return Ok(Some(Credential::IdentityToken(token)));
        }
        if let Some(token) = given(&self.registrytoken) {
            return Ok(Some(Credential::RegistryToken(token)));
        }
        if let Some(auth) = given(&self.auth) {
            let plain = auth::base64_decode(&auth).and_then(|bytes| String::from_utf8(bytes).ok());
            let (username, password) =
                plain.as_deref().and_then(|plain| plain.split_once(':')).ok_or(())?;
            // docker pads with NUL
            let password = password.trim_end_matches('\0').to_owned();
            return Ok(Some(Basic { username: username.to_owned(), password }.into()));
        }
        match (given(&self.username), given(&self.password)) {
            (Some(username), Some(password)) => Ok(Some(Basic { username, password }.into())),
            // docker leaves an empty entry for what a helper keeps
            _ => Ok(None),
        }
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests;
