//! Which subnet a new network gets. Pure.
//!
//! Networks of `/20` from 172.24.0.0–172.30.255.255, then from 10.128.0.0/10: away from docker's
//! first choices (172.17…), podman's (10.88…), Kubernetes' (10.96, 10.244), home routers'
//! (192.168…) and the default network of AWS (172.31). Each is 4,093 containers.

use super::cidr::Cidr;

const PREFIX: u8 = 20;
/// First address and number of networks.
const POOLS: [([u8; 4], u32); 2] = [([172, 24, 0, 0], 7 * 16), ([10, 128, 0, 0], 1 << 10)];

/// The first candidate that overlaps nothing `taken`. Where the search in a pool starts depends on
/// `seed`, so that two roots that choose at the same moment hardly ever choose the same.
pub(crate) fn choose(seed: u64, taken: &[Cidr]) -> Option<Cidr> {
    let free = |candidate: &Cidr| !taken.iter().any(|route| route.overlaps(candidate));
    POOLS.iter().find_map(|(first, count)| candidates(*first, *count, seed).find(free))
}

fn candidates(first: [u8; 4], count: u32, seed: u64) -> impl Iterator<Item = Cidr> {
    let first = u32::from_be_bytes(first);
    let start = u32::try_from(seed % u64::from(count)).unwrap_or_default();
    (0..count).map(move |step| {
        let index = (start + step) % count;
        Cidr::around((first + (index << (32 - PREFIX))).into(), PREFIX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn avoids_what_is_taken() {
        let check = |seed: u64, taken: &[&str], expected: Option<&str>| {
            let taken: Vec<Cidr> = taken.iter().map(|cidr| cidr.parse().unwrap()).collect();
            let got = choose(seed, &taken).map(|cidr| cidr.to_string());
            assert_eq!(got.as_deref(), expected, "{seed} {taken:?}");
        };
        check(0, &[], Some("172.24.0.0/20"));
        check(111, &[], Some("172.30.240.0/20"));
        check(111, &["172.30.255.1/32"], Some("172.24.0.0/20"));
        check(5, &["172.24.80.0/24", "172.24.96.0/20"], Some("172.24.112.0/20"));
        check(0, &["172.16.0.0/12"], Some("10.128.0.0/20"));
        check(1023, &["172.16.0.0/12"], Some("10.191.240.0/20"));
        check(7, &["172.16.0.0/12", "10.0.0.0/8"], None);
    }
}
