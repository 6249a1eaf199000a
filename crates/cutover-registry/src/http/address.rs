//! [`Address`]: an absolute `http` or `https` URL, taken apart.

use std::fmt;
use std::net::IpAddr;

use hyper::Uri;

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) tls: bool,
    /// Without brackets around IPv6.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Path and query, starting with `/`.
    pub(crate) path: String,
}

impl Address {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let tls = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = uri.authority()?;
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        // user info is not for us to send on
        if host.is_empty() || authority.as_str().contains('@') {
            return None;
        }
        // `port_u16` takes a port that is too large for none at all
        let port = match authority.as_str()[authority.host().len()..].strip_prefix(':') {
            Some(port) => port.parse().ok()?,
            None => default_port(tls),
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Some(Self { tls, host: host.to_ascii_lowercase(), port, path })
    }

    /// Where a `Location` header points, seen from here.
    pub(crate) fn join(&self, location: &str) -> Option<Self> {
        if location.starts_with("http://") || location.starts_with("https://") {
            return Self::parse(location);
        }
        if let Some(rest) = location.strip_prefix("//") {
            let scheme = if self.tls { "https" } else { "http" };
            return Self::parse(&format!("{scheme}://{rest}"));
        }
        let path = if location.starts_with('/') {
            location.to_owned()
        } else {
            let own = self.path.split('?').next().unwrap_or_default();
            let dir = own.rsplit_once('/').map_or("", |(dir, _)| dir);
            format!("{dir}/{location}")
        };
        // through the parser, which refuses what must not be in a request line
        let origin = Self { path, ..self.clone() };
        Self::parse(&origin.to_string())
    }

    /// The same origin with another path.
    pub(crate) fn at(&self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self.clone() }
    }

    pub(crate) fn same_origin(&self, other: &Self) -> bool {
        (self.tls, &self.host, self.port) == (other.tls, &other.host, other.port)
    }

    /// Host, with the port where it is not the scheme's own: for the `Host` header and messages.
    pub(crate) fn authority(&self) -> String {
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == default_port(self.tls) { host } else { format!("{host}:{}", self.port) }
    }

    /// Whether the host is this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }
}

/// `localhost`, `127.0.0.0/8`, `::1`.
pub(crate) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_urls_apart() {
        let check = |text: &str, expected: &str| {
            assert_eq!(Address::parse(text).unwrap().to_string(), expected, "{text}");
        };
        check("https://Example.org", "https://example.org/");
        check("https://example.org:443/a?b=c", "https://example.org/a?b=c");
        check("http://[::1]:5000/v2/", "http://[::1]:5000/v2/");
        check("http://h?q", "http://h/?q");
        for bad in
            ["", "ftp://h/", "https://", "h/x", "https://a:b@h/", "http://h:99999/", "http://h /"]
        {
            assert_eq!(Address::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn follows_locations() {
        let from = Address::parse("https://r.io/v2/a/blobs/x?y=1").unwrap();
        let check = |location: &str, expected: &str| {
            assert_eq!(from.join(location).unwrap().to_string(), expected, "{location}");
        };
        check("https://cdn.io/z?sig=1", "https://cdn.io/z?sig=1");
        check("//cdn.io/z", "https://cdn.io/z");
        check("/other", "https://r.io/other");
        check("z", "https://r.io/v2/a/blobs/z");
        for bad in ["/a b", "/a\r\nX: y", "https://"] {
            assert_eq!(from.join(bad), None, "{bad}");
        }
    }

    #[test]
    fn knows_this_machine() {
        for (host, expected) in [
            ("localhost", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("10.0.0.1", false),
            ("localhost.io", false),
        ] {
            assert_eq!(is_loopback(host), expected, "{host}");
        }
    }
}
