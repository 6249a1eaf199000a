//! `/etc/hosts` and `/etc/resolv.conf` of a RUN step.

use crate::ExtraHost;

pub(super) fn hosts(hostname: &str, extra: &[ExtraHost]) -> String {
    let mut text =
        format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for ExtraHost { name, address } in extra {
        text.push_str(&format!("{address}\t{name}\n"));
    }
    text
}

/// The host's name servers. Those on its loopback cannot be reached from another network namespace;
/// systemd-resolved keeps the real ones elsewhere, and failing all there are public ones, as in docker.
pub(super) fn resolv_conf(host_network: bool) -> String {
    let read = |path| fs_err::read_to_string(path).unwrap_or_default();
    let host = read("/etc/resolv.conf");
    if host_network {
        return host;
    }
    let usable = reachable(&host);
    if has_server(&usable) {
        return usable;
    }
    let behind = reachable(&read("/run/systemd/resolve/resolv.conf"));
    if has_server(&behind) {
        behind
    } else {
        format!("{usable}nameserver 8.8.8.8\nnameserver 8.8.4.4\n")
    }
}

fn has_server(text: &str) -> bool {
    text.lines().any(|line| line.starts_with("nameserver"))
}

/// The lines that matter, without servers on a loopback address.
fn reachable(text: &str) -> String {
    let keep = |line: &&str| {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => {
                let address = words.next().and_then(|word| word.split('%').next()?.parse().ok());
                address.is_none_or(|address: std::net::IpAddr| !address.is_loopback())
            }
            Some("search" | "domain" | "options") => true,
            _ => false,
        }
    };
    text.lines().filter(keep).map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_servers_are_left_out() {
        let text = "# x\nnameserver 127.0.0.53\nnameserver 10.0.0.1\nnameserver ::1\nsearch a b\n";
        assert_eq!(reachable(text), "nameserver 10.0.0.1\nsearch a b\n");
    }
}
