//! The texts of `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`. Pure.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use super::{ContainerConfig, Dns, State};

/// docker's head, the extra hosts, then the container's own addresses.
pub(crate) fn hosts(config: &ContainerConfig, host_name: &str, state: &State) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::\tip6-localnet\n\
         ff00::\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\n\
         ff02::2\tip6-allrouters\n",
    );
    let gateway = state.addresses.first().and_then(|address| address.gateway);
    for (name, address) in &config.extra_hosts {
        let address = address.or(gateway.map(IpAddr::V4));
        let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        writeln!(text, "{address}\t{name}").expect("a string takes all");
    }
    let name = config.hostname.as_deref().unwrap_or(host_name);
    let names = match &config.domainname {
        Some(domain) if !domain.is_empty() => format!("{name}.{domain} {name}"),
        _ => name.to_owned(),
    };
    for address in &state.addresses {
        writeln!(text, "{}\t{names}", address.ip).expect("a string takes all");
    }
    text
}

/// The host's `resolv.conf` with what the user gave in place of it. A name server on the host's
/// loopback cannot be reached from another network namespace: left out, and when none is left, two public
/// ones take its place, as in docker.
pub(crate) fn resolv_conf(host: &str, dns: &Dns, own_network: bool) -> String {
    let mut servers: Vec<String> = dns.servers.iter().map(ToString::to_string).collect();
    let mut search = dns.search.clone();
    let mut options = dns.options.clone();
    let (keep_servers, keep_search, keep_options) =
        (servers.is_empty(), search.is_empty(), options.is_empty());
    for line in host.lines() {
        let mut words = line.split_whitespace();
        let (key, values) = (words.next().unwrap_or_default(), words.map(str::to_owned));
        match key {
            "nameserver" if keep_servers => {
                servers.extend(values.take(1).filter(|server| !own_network || !is_local(server)));
            }
            // As resolv.conf(5): the last line of these counts.
            "search" | "domain" if keep_search => search = values.collect(),
            "options" if keep_options => options.extend(values),
            _ => {}
        }
    }
    if servers.is_empty() && own_network {
        servers = vec!["8.8.8.8".to_owned(), "8.8.4.4".to_owned()];
    }
    let mut text = String::new();
    for server in servers {
        writeln!(text, "nameserver {server}").expect("a string takes all");
    }
    // docker: a lone dot means an empty search list
    if !search.is_empty() && search != ["."] {
        writeln!(text, "search {}", search.join(" ")).expect("a string takes all");
    }
    if !options.is_empty() {
        writeln!(text, "options {}", options.join(" ")).expect("a string takes all");
    }
    text
}

/// systemd-resolved's stub listens on the host's loopback only; the real servers are in another file.
pub(crate) fn is_stub(resolv_conf: &str) -> bool {
    let mut servers = resolv_conf
        .lines()
        .filter_map(|line| line.split_whitespace().collect::<Vec<_>>().get(..2).map(<[_]>::to_vec))
        .filter(|words| words[0] == "nameserver")
        .peekable();
    servers.peek().is_some() && servers.all(|words| words[1] == "127.0.0.53")
}

fn is_local(server: &str) -> bool {
    let address = server.split('%').next().unwrap_or_default();
    address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: &str, dns: &Dns, own_network: bool, expected: &str) {
        assert_eq!(resolv_conf(host, dns, own_network), expected, "{host}");
    }

    #[test]
    fn resolv_conf_follows_the_host() {
        let none = Dns::default();
        let host = "# c\nnameserver 10.0.0.1\nnameserver 127.0.0.1\nsearch a b\noptions ndots:2\n";
        check(host, &none, true, "nameserver 10.0.0.1\nsearch a b\noptions ndots:2\n");
        check(
            host,
            &none,
            false,
            "nameserver 10.0.0.1\nnameserver 127.0.0.1\nsearch a b\noptions ndots:2\n",
        );
        let public = "nameserver 8.8.8.8\nnameserver 8.8.4.4\n";
        check("nameserver 127.0.0.53\n", &none, true, public);
        check("", &none, true, public);
    }

    #[test]
    fn what_the_user_gives_takes_the_hosts_place() {
        let own = Dns {
            servers: vec!["10.9.0.1".parse().unwrap()],
            search: vec![".".to_owned()],
            options: vec!["ndots:0".to_owned()],
        };
        let host = "nameserver 10.0.0.1\nsearch a\noptions x\n";
        check(host, &own, true, "nameserver 10.9.0.1\noptions ndots:0\n");
    }

    #[test]
    fn stubs() {
        assert!(is_stub("nameserver 127.0.0.53\nsearch x\n"));
        assert!(!is_stub("nameserver 127.0.0.53\nnameserver 10.0.0.1\n"));
        assert!(!is_stub("search x\n"));
    }
}
