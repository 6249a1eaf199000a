//! Published ports: `[host-ip:][host-port[-last]:]container-port[-last][/protocol]`.

use std::net::IpAddr;

use super::ParseUnitError;
use crate::service::{Port, PortRange, Protocol};

const WHAT: &str = "port";
const HINT: &str = "write `[host-ip:][host-port:]container-port[/udp]`, e.g. `127.0.0.1:8080:80`";

/// Parses one short-form port; a range of container ports becomes one [`Port`] each.
pub fn parse_ports(text: &str) -> Result<Vec<Port>, ParseUnitError> {
    let bad = |why: &str| ParseUnitError::new(text, WHAT, why);
    let (rest, protocol) = match text.rsplit_once('/') {
        Some((rest, protocol)) => (rest, parse_protocol(text, protocol)?),
        None => (text, Protocol::Tcp),
    };
    let (head, target) = rest.rsplit_once(':').unwrap_or(("", rest));
    let target = range(text, target)?;
    let (host_ip, published) = match head.rsplit_once(':') {
        _ if head.is_empty() => (None, ""),
        Some((ip, port)) => (Some(ip), port),
        // `127.0.0.1::80` and `127.0.0.1:80`: docker takes an address alone for "any port"
        None if head.contains('.') => (Some(head), ""),
        None => (None, head),
    };
    let host_ip = host_ip.map(|ip| parse_ip(ip).ok_or_else(|| bad(HINT))).transpose()?;
    let published = if published.is_empty() { None } else { Some(range(text, published)?) };
    expand(target, published, |target, published| Port { target, published, protocol, host_ip })
        .ok_or_else(|| bad("the two ranges have different lengths"))
}

/// Parses an `expose` entry: a container port or range, with an optional protocol.
pub fn parse_expose(text: &str) -> Result<(PortRange, Protocol), ParseUnitError> {
    match text.split_once('/') {
        Some((ports, protocol)) => Ok((range(text, ports)?, parse_protocol(text, protocol)?)),
        None => Ok((range(text, text)?, Protocol::Tcp)),
    }
}

/// One container port per number of `target`, paired with the published ones: none, one range for
/// a single target (a free one is chosen), or as many as targets.
fn expand(
    target: PortRange,
    published: Option<PortRange>,
    port: impl Fn(u16, Option<PortRange>) -> Port,
) -> Option<Vec<Port>> {
    let Some(published) = published else {
        return Some((target.first..=target.last).map(|target| port(target, None)).collect());
    };
    if target.first == target.last {
        return Some(vec![port(target.first, Some(published))]);
    }
    if target.last - target.first != published.last - published.first {
        return None;
    }
    let pairs = (target.first..=target.last).zip(published.first..=published.last);
    Some(pairs.map(|(target, host)| port(target, Some(PortRange::one(host)))).collect())
}

fn range(whole: &str, text: &str) -> Result<PortRange, ParseUnitError> {
    let bad = |why: &str| ParseUnitError::new(whole, WHAT, why);
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| text.parse::<u16>().ok()).flatten();
        match number {
            None | Some(0) if digits => Err(bad("a port is a number from 1 to 65535")),
            Some(number) => Ok(number),
            None => Err(bad(HINT)),
        }
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = PortRange { first: number(first)?, last: number(last)? };
    if range.first > range.last {
        return Err(bad("the range ends before it starts"));
    }
    Ok(range)
}

fn parse_ip(text: &str) -> Option<IpAddr> {
    let text = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    text.parse().ok()
}

fn parse_protocol(whole: &str, text: &str) -> Result<Protocol, ParseUnitError> {
    match text.to_ascii_lowercase().as_str() {
        "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        "sctp" => Ok(Protocol::Sctp),
        _ => Err(ParseUnitError::new(whole, WHAT, "the protocol is `tcp`, `udp` or `sctp`")),
    }
}
