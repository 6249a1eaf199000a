//! Who listens on a port of this host, for the message that says it is taken.

use std::net::Ipv4Addr;
use std::path::Path;

use super::error::Holder;
use super::types::Protocol;

const TCP_LISTEN: &str = "0A";

/// The process that listens there; `None` if it cannot be known.
pub(crate) fn of(address: Ipv4Addr, port: u16, protocol: Protocol) -> Option<Holder> {
    let name = protocol.as_str();
    // the calling thread's network namespace, which /proc/net is not in every thread
    let tables = [name.to_owned(), format!("{name}6")]
        .map(|table| fs_err::read_to_string(format!("/proc/thread-self/net/{table}")));
    let inode = tables
        .iter()
        .flatten()
        .find_map(|table| inode(table, address, port, protocol == Protocol::Tcp))?;
    process(Path::new("/proc"), inode)
}

/// The socket in a table of `/proc/net` that stands in the way of `address:port`.
fn inode(table: &str, address: Ipv4Addr, port: u16, listening: bool) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        let (local, local_port) = local.split_once(':')?;
        let local = parse_address(local)?;
        let fits = u16::from_str_radix(local_port, 16).ok()? == port
            && (local.is_unspecified() || address.is_unspecified() || local == address)
            && (!listening || *state == TCP_LISTEN);
        inode.parse().ok().filter(|_| fits)
    })
}

/// As the kernel prints it: words in hex, each in the machine's byte order. `::` counts as
/// `0.0.0.0`; other IPv6 addresses are not in the way.
fn parse_address(text: &str) -> Option<Ipv4Addr> {
    const MAPPED: &str = "0000000000000000FFFF0000";
    match text.len() {
        32 if text.bytes().all(|byte| byte == b'0') => Some(Ipv4Addr::UNSPECIFIED),
        32 => parse_address(text.strip_prefix(MAPPED)?),
        8 => u32::from_str_radix(text, 16).ok().map(|word| Ipv4Addr::from(word.to_ne_bytes())),
        _ => None,
    }
}

/// The process that has the socket open; needs root to see those of others.
fn process(proc: &Path, inode: u64) -> Option<Holder> {
    let socket = format!("socket:[{inode}]");
    let has_socket = |pid: u32| {
        let folder = fs_err::read_dir(proc.join(pid.to_string()).join("fd")).ok()?;
        let mut links = folder.flatten().filter_map(|entry| fs_err::read_link(entry.path()).ok());
        links.any(|target| target.as_os_str() == socket.as_str()).then_some(pid)
    };
    let pids = fs_err::read_dir(proc).ok()?.flatten();
    let pid =
        pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find_map(has_socket)?;
    let name = fs_err::read_to_string(proc.join(pid.to_string()).join("comm")).ok()?;
    Some(Holder::Process { pid, name: name.trim_end().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0 100 0 0 10 0
   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12 1 0 100 0 0 10 0
   2: 0100007F:0051 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 13 1 0 100 0 0 10 0
";
    const TCP6: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 21 1 0 100 0 0 10 0
   1: 00000000000000000000000001000000:0017 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 22 1 0 100 0 0 10 0
   2: 0000000000000000FFFF00000100007F:0018 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 23 1 0 100 0 0 10 0
";

    #[test]
    fn finds_the_socket() {
        let check = |table: &str, address: [u8; 4], port: u16, expected: Option<u64>| {
            assert_eq!(inode(table, address.into(), port, true), expected, "{address:?}:{port}");
        };
        let (any, local, other) = ([0; 4], [127, 0, 0, 1], [10, 0, 0, 1]);
        check(TCP, any, 8080, Some(11));
        check(TCP, local, 8080, Some(11));
        check(TCP, other, 8080, None);
        check(TCP, other, 80, Some(12));
        check(TCP, local, 81, None); // connected, not listening
        check(TCP6, any, 22, Some(21));
        check(TCP6, any, 23, None); // ::1 alone
        check(TCP6, any, 24, Some(23)); // mapped
        check("", any, 80, None);
        check("header\ngarbage 1 2\n", any, 80, None);
    }
}
