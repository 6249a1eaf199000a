//! Tokens that live for minutes: a JSON Web Token (RFC 7519) signed with HMAC-SHA256 by a key that
//! only this server has. Clients treat it as so many letters.

use data_encoding::BASE64URL_NOPAD;
use ring::hmac;
use serde::{Deserialize, Serialize};

use super::rights::Grant;

/// `{"alg":"HS256","typ":"JWT"}`: the only one that is made or taken.
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";
/// Longest token that is looked at.
const MAX: usize = 16 << 10;

/// Who may do what until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) sub: Subject,
    /// Seconds since 1970.
    pub(super) exp: u64,
    pub(super) access: Vec<Grant>,
}

/// Whose rights a token has. It is good only as long as they have them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Subject {
    Anonymous,
    User(String),
    Robot(String),
}

/// Makes and checks tokens.
pub(super) struct Signer(hmac::Key);

impl Signer {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    pub(super) fn sign(&self, claims: &Claims) -> String {
        let claims = serde_json::to_vec(claims).expect("names and numbers are JSON");
        let text = format!("{HEADER}.{}", BASE64URL_NOPAD.encode(&claims));
        let signature = hmac::sign(&self.0, text.as_bytes());
        format!("{text}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
    }

    /// What a token says, if it is ours and still good.
    pub(super) fn check(&self, token: &str, now: u64) -> Option<Claims> {
        let (text, signature) = token.rsplit_once('.').filter(|_| token.len() <= MAX)?;
        let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).ok()?;
        // in constant time
        hmac::verify(&self.0, text.as_bytes(), &signature).ok()?;
        let claims = text.strip_prefix(HEADER)?.strip_prefix('.')?;
        let claims = BASE64URL_NOPAD.decode(claims.as_bytes()).ok()?;
        let claims: Claims = serde_json::from_slice(&claims).ok()?;
        (now < claims.exp).then_some(claims)
    }

    /// A mark of a secret that says nothing about it to whoever lacks the key.
    pub(super) fn mark(&self, parts: &[&str]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        context.sign()
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_and_only_in_time() {
        let signer = Signer::new(&[7; 32]);
        let access = vec![Grant {
            kind: "repository".into(),
            name: "a".into(),
            actions: vec!["pull".into()],
        }];
        let claims = Claims { sub: Subject::User("me".into()), exp: 100, access };
        let token = signer.sign(&claims);
        assert_eq!(signer.check(&token, 99), Some(claims.clone()));
        assert_eq!(signer.check(&token, 100), None);
        assert_eq!(Signer::new(&[8; 32]).check(&token, 99), None);
        let forged = Claims { sub: Subject::User("root".into()), ..claims };
        let forged = serde_json::to_vec(&forged).unwrap();
        let signature = token.rsplit_once('.').unwrap().1;
        let forged = format!("{HEADER}.{}.{signature}", BASE64URL_NOPAD.encode(&forged));
        let none = format!("{}.e30.", BASE64URL_NOPAD.encode(br#"{"alg":"none"}"#));
        for bad in [forged.as_str(), none.as_str(), "", ".", "..", "a.b.c", &token[1..]] {
            assert_eq!(signer.check(bad, 99), None, "{bad}");
        }
        assert_ne!(signer.mark(&["a", "bc"]).as_ref(), signer.mark(&["ab", "c"]).as_ref());
    }
}
