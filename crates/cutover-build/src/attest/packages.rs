//! [`packages`]: what package managers say is in an image: dpkg, apk, and of Python, npm and
//! Composer what was installed as such. RPM's database is not read.
//!
//! The files are an image's: every one is bounded, and paths are resolved inside the image.

mod languages;
mod system;

use std::io::Read as _;
use std::path::Path;

use cutover_store::{Image, Store};

use crate::output::{OutputError, mounted};
use crate::tree::Tree;

/// The longest database that is read.
const MAX_DATABASE: u64 = 128 << 20;
/// The longest file about one package.
const MAX_FILE: u64 = 2 << 20;
/// Packages that are listed at most.
const MAX_PACKAGES: usize = 200_000;

/// Which package manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Deb,
    Apk,
    Python,
    Npm,
    Composer,
}

/// One installed package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    pub kind: Kind,
    pub name: String,
    pub version: String,
    pub architecture: Option<String>,
    /// An SPDX expression, where the package manager has one.
    pub license: Option<String>,
    /// The file that says so.
    pub found: String,
}

/// Whose packages they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distro {
    pub id: String,
    pub version: String,
}

/// Everything that is found in the image, sorted.
pub fn packages(store: &Store, image: &Image) -> Result<(Distro, Vec<Package>), OutputError> {
    let tree = mounted(store, image)?;
    let files = Files { tree: &tree };
    let mut packages = system::packages(&files);
    packages.extend(languages::packages(&files));
    packages.sort();
    packages.dedup_by(|a, b| {
        (a.kind, &a.name, &a.version, &a.found) == (b.kind, &b.name, &b.version, &b.found)
    });
    packages.truncate(MAX_PACKAGES);
    Ok((system::distro(&files), packages))
}

/// Files of the image. What is not there or cannot be read says nothing.
#[derive(Clone, Copy)]
struct Files<'a> {
    tree: &'a Tree,
}

impl Files<'_> {
    fn text(&self, path: &Path, max: u64) -> Option<String> {
        let path = self.tree.resolve(path).ok()?;
        let file = self.tree.file(&path).ok()?;
        let mut bytes = Vec::new();
        file.take(max).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Package {
    /// The package's address (purl).
    pub(super) fn purl(&self, distro: &Distro) -> String {
        let (name, version) = (escaped(&self.name), escaped(&self.version));
        let id = if distro.id.is_empty() { "linux" } else { &distro.id };
        match self.kind {
            Kind::Deb | Kind::Apk => {
                let kind = if self.kind == Kind::Deb { "deb" } else { "apk" };
                let mut purl = format!("pkg:{kind}/{}/{name}@{version}", escaped(id));
                let arch = self.architecture.iter().map(|arch| format!("arch={}", escaped(arch)));
                let distro = (!distro.version.is_empty())
                    .then(|| format!("distro={}-{}", escaped(id), escaped(&distro.version)));
                let qualifiers: Vec<_> = arch.chain(distro).collect();
                if !qualifiers.is_empty() {
                    purl.push('?');
                    purl.push_str(&qualifiers.join("&"));
                }
                purl
            }
            Kind::Python => format!("pkg:pypi/{}@{version}", name.to_lowercase().replace('_', "-")),
            Kind::Npm => format!("pkg:npm/{}@{version}", path(&self.name)),
            Kind::Composer => format!("pkg:composer/{}@{version}", path(&self.name)),
        }
    }
}

/// A name with a namespace.
fn path(name: &str) -> String {
    name.split('/').map(escaped).collect::<Vec<_>>().join("/")
}

/// Percent-encoding as purls have it.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
