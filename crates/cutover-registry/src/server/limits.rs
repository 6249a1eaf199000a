//! [`Buckets`]: how often each client may do something. Pure: the time is an argument.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Clients that are remembered. More than this within one refill is an attack from everywhere, for
/// which nothing that counts per client helps.
const MAX_CLIENTS: usize = 20_000;

/// A bucket for each client that holds `burst` and gets `per_second` back.
#[derive(Debug)]
pub struct Buckets {
    per_second: f64,
    burst: f64,
    clients: Mutex<HashMap<IpAddr, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Buckets {
    pub fn new(per_second: f64, burst: f64) -> Self {
        Self { per_second, burst, clients: Mutex::default() }
    }

    /// Takes one, or says how long to wait for it.
    pub fn take(&self, client: IpAddr, now: Instant) -> Result<(), Duration> {
        self.spend(client, now, 1.0)
    }

    /// Whether one could be taken.
    pub fn look(&self, client: IpAddr, now: Instant) -> Result<(), Duration> {
        self.spend(client, now, 0.0)
    }

    fn spend(&self, client: IpAddr, now: Instant, cost: f64) -> Result<(), Duration> {
        let client = network(client);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.len() >= MAX_CLIENTS && !clients.contains_key(&client) {
            clients.retain(|_, bucket| self.level(*bucket, now) < self.burst);
            if clients.len() >= MAX_CLIENTS {
                clients.clear();
            }
        }
        let level = clients.get(&client).map_or(self.burst, |it| self.level(*it, now));
        if level < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - level) / self.per_second));
        }
        if cost > 0.0 {
            clients.insert(client, Bucket { left: level - cost, at: now });
        }
        Ok(())
    }

    fn level(&self, bucket: Bucket, now: Instant) -> f64 {
        let since = now.saturating_duration_since(bucket.at).as_secs_f64();
        (bucket.left + since * self.per_second).min(self.burst)
    }
}

/// Whoever has one address of an IPv6 network has all of them.
fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => IpAddr::V4(address),
            None => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_at_once_and_then_as_they_come_back() {
        let (buckets, now) = (Buckets::new(2.0, 3.0), Instant::now());
        let client: IpAddr = "192.0.2.1".parse().unwrap();
        for _ in 0..3 {
            buckets.take(client, now).unwrap();
        }
        assert_eq!(buckets.look(client, now), Err(Duration::from_millis(500)));
        assert_eq!(buckets.take(client, now), Err(Duration::from_millis(500)));
        buckets.take("192.0.2.2".parse().unwrap(), now).unwrap();
        let later = now + Duration::from_millis(500);
        buckets.take(client, later).unwrap();
        assert!(buckets.take(client, later).is_err());
    }

    #[test]
    fn one_network_is_one_client() {
        let (buckets, now) = (Buckets::new(1.0, 1.0), Instant::now());
        let check = |address: &str, expected: bool| {
            assert_eq!(buckets.take(address.parse().unwrap(), now).is_ok(), expected, "{address}");
        };
        check("2001:db8::1", true);
        check("2001:db8::ffff", false);
        check("2001:db8:0:1::1", true);
        check("192.0.2.1", true);
        check("::ffff:192.0.2.1", false);
    }
}
