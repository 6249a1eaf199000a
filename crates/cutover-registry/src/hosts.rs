//! [`Hosts`]: what this machine knows about registries: credentials, certificates, mirrors.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;

use crate::credential::Credential;
use crate::error::Cause;
use crate::keychain::Keychain;
use crate::options::{Identity, Tls};

/// The longest configuration or certificate that is read.
const MAX_FILE: u64 = 1 << 20;

/// Knowledge about registries. The default knows nothing.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    keychain: Keychain,
    /// Folders like `/etc/docker/certs.d`, each with a folder for each registry.
    certificates: Vec<PathBuf>,
    settings: BTreeMap<String, Registry>,
}

/// A table `[registry."HOST"]` of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Registry {
    /// Where to pull from first, in this order.
    mirrors: Vec<String>,
    /// Certificates are not checked; plain HTTP if it speaks no TLS.
    insecure: bool,
    /// A file of authorities to trust for it.
    ca: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    registry: BTreeMap<String, Registry>,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HostsError {
    #[error("cannot read `{}`", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("`{}` is not valid", path.display())]
    Format { path: PathBuf, source: toml::de::Error },
    #[error("`{}`: mirror `{mirror}` is not a host, like `mirror.example.org:5000`", path.display())]
    Mirror { path: PathBuf, mirror: String },
}

impl Hosts {
    pub fn new(keychain: Keychain, certificates: Vec<PathBuf>) -> Self {
        Self { keychain, certificates, settings: BTreeMap::new() }
    }

    /// Adds the mirrors and exceptions of a configuration file; one that is not there has none.
    pub fn read_config(&mut self, path: &Path) -> Result<(), HostsError> {
        let text = match fs_err::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(|source| HostsError::Read { path: path.to_owned(), source })?,
        };
        let config: Config = toml::from_str(&text)
            .map_err(|source| HostsError::Format { path: path.to_owned(), source })?;
        for mirror in config.registry.values().flat_map(|registry| &registry.mirrors) {
            let is_host = format!("{mirror}/x").parse::<cutover_core::Reference>();
            if !is_host.is_ok_and(|parsed| parsed.registry() == mirror) {
                let (path, mirror) = (path.to_owned(), mirror.clone());
                return Err(HostsError::Mirror { path, mirror });
            }
        }
        self.settings = config.registry;
        Ok(())
    }

    pub(crate) fn credential(&self, host: &str) -> Result<Option<Credential>, Cause> {
        self.keychain.find(host).map_err(|error| Cause::Keychain(Box::new(error)))
    }

    pub(crate) fn mirrors(&self, host: &str) -> &[String] {
        self.settings.get(host).map_or(&[], |registry| &registry.mirrors)
    }

    pub(crate) fn is_insecure(&self, host: &str) -> bool {
        self.settings.get(host).is_some_and(|registry| registry.insecure)
    }

    /// Adds what is special about TLS with `host`: docker's `certs.d/HOST/*.crt` are authorities,
    /// `NAME.cert` with `NAME.key` is who we are.
    pub(crate) fn tls(&self, host: &str, tls: &mut Tls) -> Result<(), Cause> {
        if let Some(registry) = self.settings.get(host) {
            tls.unchecked |= registry.insecure;
            if let Some(path) = &registry.ca {
                tls.ca.extend(authorities(path)?);
            }
        }
        for dir in &self.certificates {
            let Ok(entries) = fs_err::read_dir(dir.join(host)) else { continue };
            let mut paths: Vec<_> = entries.filter_map(|it| Some(it.ok()?.path())).collect();
            paths.sort();
            for path in paths {
                match path.extension().and_then(|extension| extension.to_str()) {
                    Some("crt") => tls.ca.extend(authorities(&path)?),
                    Some("cert") if tls.identity.is_none() => tls.identity = Some(identity(&path)?),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Cause> {
    let wrong = |reason: String| Cause::Certificate(format!("{}: {reason}", path.display()));
    let size = fs_err::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
    if size > MAX_FILE {
        return Err(wrong("it is too large".to_owned()));
    }
    fs_err::read(path).map_err(|error| wrong(error.to_string()))
}

fn authorities(path: &Path) -> Result<Vec<Vec<u8>>, Cause> {
    Ok(certificates(path)?.into_iter().map(|certificate| certificate.to_vec()).collect())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Cause> {
    let bytes = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(Cause::Certificate(path.display().to_string())),
    }
}

fn identity(path: &Path) -> Result<Identity, Cause> {
    let chain = certificates(path)?.into_iter().map(|it| it.to_vec()).collect();
    let key_path = path.with_extension("key");
    let key = PrivateKeyDer::from_pem_slice(&read(&key_path)?)
        .map_err(|error| Cause::Certificate(format!("{}: {error}", key_path.display())))?;
    Ok(Identity { chain, key: key.secret_der().to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Hosts, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        fs_err::write(&path, text).unwrap();
        let mut hosts = Hosts::default();
        match hosts.read_config(&path) {
            Ok(()) => Ok(hosts),
            Err(error) => {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                Err(format!("{error}: {}", source.unwrap_or_default()))
            }
        }
    }

    #[test]
    fn settings() {
        let hosts = parse(
            "[registry.\"docker.io\"]\nmirrors = [\"mirror.example.org\", \"10.0.0.1:5000\"]\n\
             [registry.\"r.lan:5000\"]\ninsecure = true\n",
        )
        .unwrap();
        assert_eq!(hosts.mirrors("docker.io"), ["mirror.example.org", "10.0.0.1:5000"]);
        assert!(hosts.is_insecure("r.lan:5000") && !hosts.is_insecure("docker.io"));
        let mut missing = Hosts::default();
        missing.read_config(Path::new("/nonexistent")).unwrap();
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("[registry.x]\nmirror = []", "unknown field `mirror`"),
            ("[other]", "unknown field `other`"),
            ("[registry.x]\nmirrors = [\"http://x/\"]", "mirror `http://x/` is not a host"),
            ("[registry", "is not valid"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
