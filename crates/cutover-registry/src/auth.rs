//! What a registry asks for in `WWW-Authenticate`, and what we answer.
//!
//! Pure parsing and composing; the requests themselves are in `http`.

use std::fmt::Write as _;

use serde::Deserialize;

use crate::options::Basic;

/// One way of authenticating that a server offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

/// The best challenge among the headers: Bearer before Basic. Unknown schemes are passed over.
pub(crate) fn best_challenge<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let mut basic = None;
    for header in headers {
        for (scheme, parameters) in parse_header(header) {
            let get = |name: &str| {
                parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
            };
            match scheme.as_str() {
                "bearer" => {
                    if let Some(realm) = get("realm") {
                        let (service, scope) = (get("service"), get("scope"));
                        return Some(Challenge::Bearer { realm, service, scope });
                    }
                }
                "basic" => basic = Some(Challenge::Basic),
                _ => {}
            }
        }
    }
    basic
}

type Parameters = Vec<(String, String)>;

/// The challenges of one header (RFC 9110, 11.6.1): `scheme key=value, key="value", scheme …`.
fn parse_header(header: &str) -> Vec<(String, Parameters)> {
    let mut challenges: Vec<(String, Parameters)> = Vec::new();
    let mut rest = header.trim_start_matches([' ', ',', '\t']);
    while !rest.is_empty() {
        let end = rest.find([' ', '=', ',', '\t']).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(end);
        let after = tail.trim_start_matches([' ', '\t']);
        if let Some(value) = after.strip_prefix('=') {
            let (value, tail) = parameter_value(value.trim_start_matches([' ', '\t']));
            if let Some((_, parameters)) = challenges.last_mut() {
                parameters.push((word.to_ascii_lowercase(), value));
            }
            rest = tail;
        } else {
            if !word.is_empty() {
                challenges.push((word.to_ascii_lowercase(), Vec::new()));
            }
            rest = after;
        }
        rest = rest.trim_start_matches([' ', ',', '\t']);
    }
    challenges
}

/// A token or quoted string, and what follows it.
fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', ',', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            other => value.push(other),
        }
    }
    (value, "")
}

/// The address to ask for a token at.
pub(crate) fn token_address(realm: &str, service: Option<&str>, scope: &str) -> String {
    let mut address = realm.to_owned();
    let mut separator = if realm.contains('?') { '&' } else { '?' };
    for (key, value) in [("service", service), ("scope", Some(scope))] {
        if let Some(value) = value {
            let _infallible = write!(address, "{separator}{key}={}", percent_encode(value));
            separator = '&';
        }
    }
    address
}

/// A token server's answer; `access_token` is OAuth2's name for the same thing.
#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
}

/// The token in a token server's answer.
pub(crate) fn parse_token(body: &[u8]) -> Option<String> {
    let answer: TokenAnswer = serde_json::from_slice(body).ok()?;
    let token = answer.token.or(answer.access_token)?;
    // it becomes a header: anything but visible ASCII would be an attack or a mistake
    (!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())).then_some(token)
}

/// The `Authorization` header for a user and password.
pub(crate) fn basic_header(basic: &Basic) -> String {
    format!("Basic {}", base64(format!("{}:{}", basic.username, basic.password).as_bytes()))
}

/// RFC 4648, with padding. Six lines are not worth a dependency.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for position in 0..4 {
            let index = (bits >> (18 - 6 * position)) & 63;
            let padding = position > chunk.len();
            out.push(if padding { '=' } else { char::from(ALPHABET[index as usize]) });
        }
    }
    out
}

pub(crate) fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _infallible = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        })
    }

    #[test]
    fn challenges() {
        let check = |headers: &[&str], expected: Option<Challenge>| {
            assert_eq!(best_challenge(headers.iter().copied()), expected, "{headers:?}");
        };
        check(
            &[
                r#"Bearer realm="https://auth.example.org/token",service="reg",scope="repository:a/b:pull""#,
            ],
            bearer("https://auth.example.org/token", Some("reg"), Some("repository:a/b:pull")),
        );
        check(&["Basic realm=\"x\""], Some(Challenge::Basic));
        check(&["Basic realm=x, Bearer realm=\"y\""], bearer("y", None, None));
        check(&["Negotiate abc==", "bearer Realm=y ,  service=z"], bearer("y", Some("z"), None));
        check(
            &[r#"Bearer realm="a\"b", scope="p:q:pull,push""#],
            bearer("a\"b", None, Some("p:q:pull,push")),
        );
        check(&["Digest realm=x", "Bearer", "", ",,,", "= = =", "\"", "Bearer service=\""], None);
    }

    #[test]
    fn addresses() {
        assert_eq!(
            token_address("https://a/t", Some("the reg"), "repository:a/b:pull"),
            "https://a/t?service=the%20reg&scope=repository:a/b:pull"
        );
        assert_eq!(token_address("https://a/t?x=1", None, "s&c"), "https://a/t?x=1&scope=s%26c");
    }

    #[test]
    fn tokens() {
        assert_eq!(parse_token(br#"{"token":"abc","expires_in":300}"#).as_deref(), Some("abc"));
        assert_eq!(parse_token(br#"{"access_token":"abc"}"#).as_deref(), Some("abc"));
        for bad in [&b"{}"[..], b"", b"[]", br#"{"token":"a\nb"}"#, br#"{"token":""}"#] {
            assert_eq!(parse_token(bad), None);
        }
    }

    #[test]
    fn base64_of_rfc_4648() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
