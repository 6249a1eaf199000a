//! [`TokenCache`]: what registries gave us to prove who we are, for as long as it is good.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::credential::Credential;

/// A token is renewed so long before it runs out: a request takes its time, and clocks differ.
const MARGIN: Duration = Duration::from_secs(15);

/// Tokens of this process, shared by the calls that have a clone of it in their [`crate::Options`].
/// It never holds a password's owner's rights longer than the registry said.
#[derive(Clone, Debug, Default)]
pub struct TokenCache(Arc<Mutex<HashMap<Whom, Arc<Mutex<Tokens>>>>>);

/// Who asks whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Whom {
    /// Scheme, host and port.
    pub(super) origin: String,
    /// Given by the caller; credentials that are found are the same for the same name.
    pub(super) auth: Option<Credential>,
    pub(super) name: String,
}

impl TokenCache {
    pub(super) fn tokens(&self, key: Whom) -> Arc<Mutex<Tokens>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(key).or_default())
    }
}

/// What one registry wants to see.
#[derive(Default)]
pub(super) struct Tokens {
    /// Where tokens are had, once known.
    pub(super) server: Option<(String, Option<String>)>,
    by_scope: HashMap<String, Token>,
}

/// An `Authorization` header.
struct Token {
    header: String,
    renew: Instant,
}

impl Tokens {
    pub(super) fn get(&self, scope: &str, now: Instant) -> Option<String> {
        let token = self.by_scope.get(scope).filter(|token| now < token.renew);
        token.map(|token| token.header.clone())
    }

    pub(super) fn put(&mut self, scope: &str, header: String, lifetime: Duration, now: Instant) {
        self.by_scope.retain(|_, token| now < token.renew);
        let renew = now + lifetime.saturating_sub(MARGIN.min(lifetime / 4));
        self.by_scope.insert(scope.to_owned(), Token { header, renew });
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("server", &self.server).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_until_shortly_before_its_end() {
        let check = |lifetime: u64, after: u64, good: bool| {
            let (mut tokens, now) = (Tokens::default(), Instant::now());
            tokens.put("scope", "Bearer x".to_owned(), Duration::from_secs(lifetime), now);
            let found = tokens.get("scope", now + Duration::from_secs(after));
            assert_eq!(found.is_some(), good, "{lifetime} s, after {after} s");
        };
        check(300, 284, true);
        check(300, 285, false);
        check(4, 2, true);
        check(4, 3, false);
        check(0, 0, false);
    }
}
