//! `login` and `logout`: changing one entry of a file and nothing else in it.

use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{Entry, Keychain, KeychainError, bytes, helper, host_of, key, read};
use crate::auth;
use crate::credential::Credential;

/// Where credentials went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saved {
    /// In the file, as text that anyone who reads it can decode.
    Plain(PathBuf),
    Helper(String),
}

impl Keychain {
    /// Keeps `credential` for `registry`, where the first file says.
    pub fn save(&self, registry: &str, credential: &Credential) -> Result<Saved, KeychainError> {
        let path = self.files.first().ok_or(KeychainError::NoFile)?;
        let helper = self.helper(registry)?;
        if let Some(name) = helper {
            helper::store(&name, &key(registry), credential)?;
            // docker's own mark that there is something for this registry
            edit(path, |auths| {
                auths.insert(key(registry), Value::Object(Map::new()));
                true
            })?;
            return Ok(Saved::Helper(name));
        }
        let entry = match credential {
            Credential::Basic(basic) => {
                let plain = format!("{}:{}", basic.username, basic.password);
                Entry { auth: Some(auth::base64(plain.as_bytes())), ..Entry::default() }
            }
            Credential::IdentityToken(token) => {
                Entry { identitytoken: Some(token.clone()), ..Entry::default() }
            }
            Credential::RegistryToken(token) => {
                Entry { registrytoken: Some(token.clone()), ..Entry::default() }
            }
        };
        let entry = serde_json::to_value(entry).expect("an entry has only strings");
        edit(path, |auths| {
            auths.insert(key(registry), entry);
            true
        })?;
        Ok(Saved::Plain(path.clone()))
    }

    /// Forgets what there is for `registry`; says whether there was anything.
    pub fn forget(&self, registry: &str) -> Result<bool, KeychainError> {
        let path = self.files.first().ok_or(KeychainError::NoFile)?;
        let helper = self.helper(registry)?;
        if let Some(name) = &helper {
            helper::erase(name, &key(registry))?;
        }
        let removed = edit(path, |auths| {
            let before = auths.len();
            auths.retain(|key, _| host_of(key) != registry);
            auths.len() != before
        })?;
        Ok(removed || helper.is_some())
    }

    /// The helper that the first file names for `registry`.
    fn helper(&self, registry: &str) -> Result<Option<String>, KeychainError> {
        let Some(path) = self.files.first() else { return Ok(None) };
        let Some(file) = read(path)? else { return Ok(None) };
        let own = file.cred_helpers.iter().find(|(key, _)| host_of(key) == registry);
        let store = file.creds_store.as_ref().filter(|store| !store.is_empty());
        Ok(own.map(|(_, name)| name).or(store).cloned())
    }
}

/// Changes `auths` of the file, which keeps everything else; `change` says whether it did. The
/// new file appears whole, readable by its owner only.
fn edit(
    path: &Path,
    change: impl FnOnce(&mut Map<String, Value>) -> bool,
) -> Result<bool, KeychainError> {
    let fail = |what| move |source| KeychainError::File { what, path: path.to_owned(), source };
    let format = |source| KeychainError::Format { path: path.to_owned(), source };
    let old = bytes(path)?.filter(|bytes| !bytes.trim_ascii().is_empty());
    let mut file: Map<String, Value> = match &old {
        Some(bytes) => serde_json::from_slice(bytes).map_err(format)?,
        None => Map::new(),
    };
    let auths = file.entry("auths").or_insert_with(|| Value::Object(Map::new()));
    if auths.is_null() {
        *auths = Value::Object(Map::new());
    }
    let Some(auths) = auths.as_object_mut() else {
        let wrong = serde::de::Error::custom("`auths` is not an object");
        return Err(format(wrong));
    };
    if !change(auths) {
        return Ok(false);
    }
    // a link to the file stays a link
    let path = &fs_err::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let dir = path.parent().unwrap_or(Path::new("."));
    if !dir.is_dir() {
        fs_err::create_dir_all(dir).map_err(fail("create the folder of"))?;
        let private = std::fs::Permissions::from_mode(0o700);
        fs_err::set_permissions(dir, private).map_err(fail("protect the folder of"))?;
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = dir.join(name);
    let mut options = fs_err::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    options.options_mut().mode(0o600);
    let mut out = options.open(&temporary).map_err(fail("write"))?;
    let text = serde_json::to_vec_pretty(&file).expect("it came from JSON");
    let written = out.write_all(&text).and_then(|()| out.sync_all());
    let named = written.and_then(|()| fs_err::rename(&temporary, path));
    if named.is_err() {
        drop(fs_err::remove_file(&temporary));
    }
    named.map(|()| true).map_err(fail("write"))
}
