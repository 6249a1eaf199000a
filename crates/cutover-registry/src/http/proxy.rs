//! Which proxy, if any, a request goes through.

use super::Address;
use super::address::is_loopback;
use crate::auth::{base64, percent_encode};
use crate::error::Cause;
use crate::options::Proxies;

/// A proxy to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proxy {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The `Proxy-Authorization` header, from user info in the proxy's address.
    pub(crate) authorization: Option<String>,
}

impl Proxy {
    /// Host and port, for messages.
    pub(crate) fn name(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// The proxy for `address`.
pub(crate) fn choose(proxies: &Proxies, address: &Address) -> Result<Option<Proxy>, Cause> {
    let proxy = if address.tls { &proxies.https } else { &proxies.http };
    let Some(proxy) = proxy.as_deref().map(str::trim).filter(|proxy| !proxy.is_empty()) else {
        return Ok(None);
    };
    if is_loopback(&address.host) || is_excluded(&proxies.no_proxy, &address.host) {
        return Ok(None);
    }
    parse(proxy).map(Some)
}

/// curl's reading of `no_proxy`: exact hosts, and domains with everything below them.
fn is_excluded(no_proxy: &str, host: &str) -> bool {
    no_proxy.split(',').map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        let entry = entry.to_ascii_lowercase();
        let domain = entry.trim_start_matches("*.").trim_start_matches('.');
        entry == "*"
            || host == domain
            || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
    })
}

/// `[http://][user:password@]host[:port]`
fn parse(text: &str) -> Result<Proxy, Cause> {
    let without_user = text.rsplit_once('@').map_or(text, |(_, rest)| rest);
    let bad = |message: &str| Cause::Proxy {
        // never the user info: it is a password
        proxy: percent_encode(without_user.trim_start_matches("http://")),
        message: message.to_owned(),
    };
    let rest = match text.split_once("://") {
        Some(("http", rest)) => rest,
        Some((scheme, _)) => return Err(bad(&format!("`{scheme}` proxies are not supported"))),
        None => text,
    };
    let (user, host) = match rest.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, rest),
    };
    let address = Address::parse(&format!("http://{host}")).ok_or_else(|| bad("not an address"))?;
    let authorization = user.map(|user| format!("Basic {}", base64(&percent_decode(user))));
    Ok(Proxy { host: address.host, port: address.port, authorization })
}

pub(super) fn percent_decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |index: usize| char::from(*bytes.get(index)?).to_digit(16);
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.extend(u8::try_from(high * 16 + low));
                at += 3;
            }
            (byte, _, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chooses() {
        let proxies = Proxies {
            http: Some("plain:3128".to_owned()),
            https: Some("http://me:p%40ss@secure.example.org:8080/".to_owned()),
            no_proxy: "internal.example.org, .corp,10.0.0.1".to_owned(),
        };
        let check = |url: &str, expected: Option<&str>| {
            let proxy = choose(&proxies, &Address::parse(url).unwrap()).unwrap();
            assert_eq!(proxy.map(|proxy| proxy.name()).as_deref(), expected, "{url}");
        };
        check("https://docker.io/", Some("secure.example.org:8080"));
        check("http://docker.io/", Some("plain:3128"));
        check("https://localhost:5000/", None);
        check("https://internal.example.org/", None);
        check("https://a.internal.example.org/", None);
        check("https://xinternal.example.org/", Some("secure.example.org:8080"));
        check("https://a.corp/", None);
        check("https://10.0.0.1/", None);
        let proxy = choose(&proxies, &Address::parse("https://docker.io/").unwrap()).unwrap();
        assert_eq!(proxy.unwrap().authorization.as_deref(), Some("Basic bWU6cEBzcw=="));
    }

    #[test]
    fn refuses_without_showing_passwords() {
        for text in ["socks5://me:secret@h:1", "https://me:secret@h:1", "me:secret@h:x"] {
            let error = parse(text).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
