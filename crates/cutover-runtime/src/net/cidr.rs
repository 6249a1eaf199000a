//! [`Cidr`]: an IPv4 network, `10.1.0.0/20`.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An IPv4 network; no bits are set beyond the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    address: Ipv4Addr,
    prefix: u8,
}

/// Why a text is not a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseCidrError {
    #[error("`{0}` is not an IPv4 network: write it as `10.1.0.0/20`")]
    Malformed(String),
    #[error("`{text}` has bits beyond its prefix: did you mean `{network}`?")]
    HostBits { text: String, network: Cidr },
}

impl Cidr {
    /// The network of `prefix` bits that holds `address`.
    pub fn around(address: Ipv4Addr, prefix: u8) -> Self {
        let prefix = prefix.min(32);
        Self { address: Ipv4Addr::from_bits(address.to_bits() & mask(prefix)), prefix }
    }

    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    pub fn mask(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(mask(self.prefix))
    }

    /// The last address.
    pub fn broadcast(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits() | !mask(self.prefix))
    }

    /// How many addresses hosts can have: all but the first (the network) and last (broadcast).
    pub fn hosts(&self) -> u32 {
        (self.broadcast().to_bits() - self.address.to_bits()).saturating_sub(1)
    }

    /// The `index`th host's address, counted from 0.
    pub fn host(&self, index: u32) -> Option<Ipv4Addr> {
        (index < self.hosts()).then(|| Ipv4Addr::from_bits(self.address.to_bits() + 1 + index))
    }

    /// Which host `address` is; `None` outside and for the network and broadcast addresses.
    pub fn index(&self, address: Ipv4Addr) -> Option<u32> {
        let index = address.to_bits().checked_sub(self.address.to_bits())?.checked_sub(1)?;
        (index < self.hosts()).then_some(index)
    }

    pub fn contains(&self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask(self.prefix) == self.address.to_bits()
    }

    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl FromStr for Cidr {
    type Err = ParseCidrError;

    fn from_str(text: &str) -> Result<Self, ParseCidrError> {
        let parsed = text.split_once('/').and_then(|(address, prefix)| {
            let prefix: u8 = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
            Some((address.parse::<Ipv4Addr>().ok()?, prefix))
        });
        let (address, prefix) = parsed.ok_or_else(|| ParseCidrError::Malformed(text.to_owned()))?;
        let network = Self::around(address, prefix);
        if network.address != address {
            return Err(ParseCidrError::HostBits { text: text.to_owned(), network });
        }
        Ok(network)
    }
}

impl TryFrom<String> for Cidr {
    type Error = ParseCidrError;

    fn try_from(text: String) -> Result<Self, ParseCidrError> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> Self {
        cidr.to_string()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses() {
        let check = |text: &str, expected: &str| {
            let got = text.parse::<Cidr>().map_or_else(|error| error.to_string(), String::from);
            assert_eq!(got, expected, "{text}");
        };
        check("10.1.0.0/20", "10.1.0.0/20");
        check("0.0.0.0/0", "0.0.0.0/0");
        check("10.1.2.3/32", "10.1.2.3/32");
        check(
            "10.1.2.3/20",
            "`10.1.2.3/20` has bits beyond its prefix: did you mean `10.1.0.0/20`?",
        );
        for bad in ["10.1.0.0", "10.1.0.0/33", "10.1.0/24", "fd00::/64", ""] {
            check(bad, &format!("`{bad}` is not an IPv4 network: write it as `10.1.0.0/20`"));
        }
    }

    #[test]
    fn counts_hosts() {
        let net: Cidr = "10.1.0.0/29".parse().unwrap();
        assert_eq!(net.hosts(), 6);
        assert_eq!(net.host(0), Some(Ipv4Addr::new(10, 1, 0, 1)));
        assert_eq!(net.host(5), Some(Ipv4Addr::new(10, 1, 0, 6)));
        assert_eq!(net.host(6), None);
        assert_eq!(net.index(Ipv4Addr::new(10, 1, 0, 6)), Some(5));
        assert_eq!(net.index(Ipv4Addr::new(10, 1, 0, 7)), None);
        assert_eq!(net.index(Ipv4Addr::new(10, 1, 0, 0)), None);
        assert_eq!(net.broadcast(), Ipv4Addr::new(10, 1, 0, 7));
        let single: Cidr = "10.1.0.1/32".parse().unwrap();
        assert_eq!(single.hosts(), 0);
    }

    #[test]
    fn overlaps_both_ways() {
        let check = |a: &str, b: &str, expected: bool| {
            let (a, b): (Cidr, Cidr) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!((a.overlaps(&b), b.overlaps(&a)), (expected, expected), "{a} {b}");
        };
        check("10.0.0.0/8", "10.1.0.0/20", true);
        check("10.1.0.0/20", "10.1.16.0/20", false);
        check("0.0.0.0/0", "10.1.16.0/20", true);
    }
}
