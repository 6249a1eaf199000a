//! What a registry asks for in `WWW-Authenticate`, and what we answer.
//!
//! Pure parsing and composing; the requests themselves are in `http`.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Deserialize;

use crate::credential::Basic;

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

/// The address to ask for a token at. `scope` may be several, with spaces between.
pub(crate) fn token_address(realm: &str, service: Option<&str>, scope: &str) -> String {
    let mut address = realm.to_owned();
    let mut separator = if realm.contains('?') { '&' } else { '?' };
    let scopes = scope.split(' ').filter(|scope| !scope.is_empty()).map(|scope| ("scope", scope));
    for (key, value) in service.map(|service| ("service", service)).into_iter().chain(scopes) {
        let _infallible = write!(address, "{separator}{key}={}", percent_encode(value));
        separator = '&';
    }
    address
}

/// The form by which an identity token becomes an access token (OAuth2, RFC 6749, 6).
pub(crate) fn refresh_form(service: Option<&str>, scope: &str, token: &str) -> String {
    let fields = [
        ("grant_type", "refresh_token"),
        ("client_id", "cutover"),
        ("service", service.unwrap_or_default()),
        ("scope", scope),
        ("refresh_token", token),
    ];
    let fields: Vec<_> = fields.iter().map(|(k, v)| format!("{k}={}", percent_encode(v))).collect();
    fields.join("&")
}

/// A token server's answer; `access_token` is OAuth2's name for the same thing.
#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    /// Seconds.
    #[serde(default)]
    expires_in: Option<u64>,
}

/// Of a token whose server says nothing about it, and of any at least (distribution's token.md).
const LIFETIME: Duration = Duration::from_secs(60);
/// More is not believed.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// The token in a token server's answer, and how long it is good.
pub(crate) fn parse_token(body: &[u8]) -> Option<(String, Duration)> {
    let answer: TokenAnswer = serde_json::from_slice(body).ok()?;
    let token = answer.token.or(answer.access_token)?;
    // it becomes a header: anything but visible ASCII would be an attack or a mistake
    let lifetime = answer.expires_in.map_or(LIFETIME, Duration::from_secs);
    let lifetime = lifetime.clamp(LIFETIME, MAX_LIFETIME);
    let is_header = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    is_header.then_some((token, lifetime))
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

/// The reverse of [`base64`]; padding may be missing.
pub(crate) fn base64_decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0);
    for byte in text.trim().trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count).to_be_bytes()[3]);
        }
    }
    Some(out)
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
        assert_eq!(token_address("https://a/t", None, "a b"), "https://a/t?scope=a&scope=b");
        assert_eq!(token_address("https://a/t", None, ""), "https://a/t");
    }

    #[test]
    fn tokens() {
        let good = |seconds| Some(("abc".to_owned(), Duration::from_secs(seconds)));
        assert_eq!(parse_token(br#"{"token":"abc","expires_in":300}"#), good(300));
        assert_eq!(parse_token(br#"{"access_token":"abc"}"#), good(60));
        assert_eq!(parse_token(br#"{"token":"abc","expires_in":99999999999}"#), good(24 * 3600));
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
            assert_eq!(base64_decode(coded).unwrap(), plain.as_bytes());
            assert_eq!(base64_decode(coded.trim_end_matches('=')).unwrap(), plain.as_bytes());
        }
    }
}
