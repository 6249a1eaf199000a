//! What links and tables are called. Pure.
//!
//! All names follow from the root and the network, so that several roots on one machine never meet,
//! and everything left behind can be told whose it is.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use cutover_core::Digest;

use super::error::NetError;
use super::types::DEFAULT_NETWORK;

const DEFAULT_ROOT: &str = "/var/lib/cutover";
const LONGEST: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    default_root: bool,
    /// Hex of a hash of the root.
    hash: String,
}

impl Names {
    /// `root` without symlinks and `..`.
    pub(crate) fn of(root: &Path) -> Self {
        let digest = Digest::sha256(root.as_os_str().as_bytes());
        Self { default_root: root == Path::new(DEFAULT_ROOT), hash: digest.hex().to_owned() }
    }

    pub(crate) fn table(&self) -> String {
        if self.default_root { "cutover".to_owned() } else { format!("cutover-{}", self.tag(8)) }
    }

    /// The bridge of a network; the kernel's limit is 15 characters.
    pub(crate) fn bridge(&self, network: &str) -> String {
        if self.default_root && network == DEFAULT_NETWORK {
            return "cutover0".to_owned();
        }
        let digest = Digest::sha256(format!("{} {network}", self.hash).as_bytes());
        format!("co{}", digest.hex().get(..8).unwrap_or_default())
    }

    /// Marks the bridge as ours. A link's name alone could be anybody's.
    pub(crate) fn alias(&self, network: &str) -> String {
        format!("{}{network}", self.alias_prefix())
    }

    pub(crate) fn alias_prefix(&self) -> String {
        format!("cutover {} ", self.tag(16))
    }

    /// Part of the names of containers' links.
    pub(crate) fn link_tag(&self) -> &str {
        self.tag(6)
    }

    /// Where the search for a network's subnet starts.
    pub(crate) fn seed(&self, network: &str) -> u64 {
        let digest = Digest::sha256(format!("{} {network}", self.hash).as_bytes());
        u64::from_str_radix(digest.hex().get(..15).unwrap_or_default(), 16).unwrap_or_default()
    }

    fn tag(&self, length: usize) -> &str {
        self.hash.get(..length).unwrap_or_default()
    }
}

/// Names become file names, so they are checked before anything else.
pub(crate) fn check_network(name: &str) -> Result<(), NetError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let starts_well = name.starts_with(|first: char| first.is_ascii_alphanumeric());
    if starts_well && name.len() <= LONGEST && name.bytes().all(fits) {
        Ok(())
    } else {
        Err(NetError::Name(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_from_the_root() {
        let default = Names::of(Path::new(DEFAULT_ROOT));
        assert_eq!(
            (default.table(), default.bridge("bridge")),
            ("cutover".into(), "cutover0".into())
        );
        let other = Names::of(Path::new("/srv/cutover"));
        assert_eq!(other.table(), "cutover-73c026a8");
        assert_eq!(other.bridge("bridge"), "co085acdd0");
        assert_ne!(default.bridge("app"), other.bridge("app"));
        assert!(other.link_tag().len() == 6 && other.bridge("bridge").len() <= 15);
    }

    #[test]
    fn network_names_are_checked() {
        for good in ["bridge", "app_default", "a", "1.2-3"] {
            assert!(check_network(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "-a", "a b", "ä", &"a".repeat(65)] {
            assert!(check_network(bad).is_err(), "{bad}");
        }
    }
}
