//! Proving who we are to one registry: what it asked for, and the tokens it gave.

use std::sync::PoisonError;

use hyper::{Method, StatusCode};

use super::ask::{Ask, Payload, Target};
use super::response::error_message;
use super::{Address, Client, Response};
use crate::auth::{self, Challenge};
use crate::credential::Credential;
use crate::error::Cause;

impl Client {
    /// The scopes that a token for `ask` must have.
    pub(super) fn scope_of(&self, ask: &Ask) -> String {
        match &ask.scope {
            None => self.scope.clone(),
            Some(more) => format!("{} {more}", self.scope),
        }
    }

    pub(super) fn authorization(&self, scope: &str) -> Option<String> {
        let fixed = self.fixed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if fixed.is_some() {
            return fixed;
        }
        let now = tokio::time::Instant::now();
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).get(scope, now)
    }

    /// Gets a token beforehand where tokens are known to be wanted and there is none, or none for
    /// long: a request that cannot be repeated would fail, and a registry does not say 401 to a
    /// mount that it may not do, it just does not mount.
    pub(super) async fn prepare(&self, scope: &str) -> Result<(), Cause> {
        let server = || self.tokens.lock().unwrap_or_else(PoisonError::into_inner).server.clone();
        if self.authorization(scope).is_some() || server().is_none() {
            return Ok(());
        }
        let _renewing = self.renewal.lock().await;
        match server() {
            // another request may have done it meanwhile
            Some((realm, service)) if self.authorization(scope).is_none() => {
                self.fetch(&realm, service.as_deref(), scope).await
            }
            _ => Ok(()),
        }
    }

    /// Does what a 401 asks for; `used` is what it was an answer to.
    pub(super) async fn authenticate(
        &self,
        response: Response,
        used: Option<&str>,
        scope: &str,
    ) -> Result<(), Cause> {
        let headers: Vec<String> = response
            .head
            .headers
            .get_all("www-authenticate")
            .iter()
            .filter_map(|value| value.to_str().ok().map(str::to_owned))
            .collect();
        let message = error_message(&response.small_body().await?);
        let _renewing = self.renewal.lock().await;
        // another request may have done it meanwhile
        if self.authorization(scope).as_deref() != used {
            return Ok(());
        }
        match auth::best_challenge(headers.iter().map(String::as_str)) {
            Some(Challenge::Basic) => match self.credential().await? {
                Some(Credential::Basic(basic)) if used.is_none() => {
                    self.set_fixed(auth::basic_header(basic));
                    Ok(())
                }
                _ => Err(self.denied(message).await),
            },
            Some(Challenge::Bearer { realm, service, .. }) => {
                self.fetch(&realm, service.as_deref(), scope).await
            }
            None => Err(self.denied(message).await),
        }
    }

    fn set_fixed(&self, header: String) {
        *self.fixed.lock().unwrap_or_else(PoisonError::into_inner) = Some(header);
    }

    /// Gets a token with `scope` from the server that the registry names, and keeps it.
    async fn fetch(&self, realm: &str, service: Option<&str>, scope: &str) -> Result<(), Cause> {
        let credential = self.credential().await?;
        if let Some(Credential::RegistryToken(token)) = credential {
            self.set_fixed(format!("Bearer {token}"));
            return Ok(());
        }
        let response = self.token_answer(realm, service, scope, credential).await?;
        let host = response.host.clone();
        let body = response.small_body().await?;
        let message = "the token server's answer has no token".to_owned();
        let (token, lifetime) =
            auth::parse_token(&body).ok_or(Cause::Protocol { host, message })?;
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.server = Some((realm.to_owned(), service.map(str::to_owned)));
        tokens.put(scope, format!("Bearer {token}"), lifetime, tokio::time::Instant::now());
        Ok(())
    }

    async fn token_answer(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: &str,
        credential: Option<&Credential>,
    ) -> Result<Response, Cause> {
        let protocol = |message: &str| Cause::Protocol {
            host: self.base.authority(),
            message: message.to_owned(),
        };
        let parse = |text: &str| {
            let address = Address::parse(text)
                .ok_or_else(|| protocol("its token server has no valid address"))?;
            if self.base.tls && !address.tls {
                return Err(protocol("its token server is not reached over HTTPS"));
            }
            Ok(address)
        };
        let what = "a token";
        let (ask, basic) = match credential {
            // OAuth2, as docker does it: the token in the body, never in the address
            Some(Credential::IdentityToken(token)) => {
                let form = auth::refresh_form(service, scope, token);
                let target = Target::At(parse(realm)?);
                let ask = Ask::new(Method::POST, target, what)
                    .header("content-type", "application/x-www-form-urlencoded")
                    .payload(Payload::Bytes(form.into_bytes().into()));
                (ask, None)
            }
            other => {
                let address = parse(&auth::token_address(realm, service, scope))?;
                let basic = match other {
                    Some(Credential::Basic(basic)) => Some(auth::basic_header(basic)),
                    _ => None,
                };
                (Ask::new(Method::GET, Target::At(address), what), basic)
            }
        };
        let ask = ask.accept("application/json");
        let response = self.send(&ask.address(&self.base), &ask, basic.as_deref()).await?;
        match response.head.status {
            StatusCode::OK => Ok(response),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let message = error_message(&response.small_body().await?);
                Err(self.denied(message).await)
            }
            _ => Err(self.refusal(&ask, response).await),
        }
    }

    pub(super) async fn denied(&self, message: String) -> Cause {
        let message = if message.is_empty() { "unauthorized".to_owned() } else { message };
        let anonymous = matches!(self.credential().await, Ok(None));
        Cause::Denied { repository: self.repository.clone(), message, anonymous }
    }

    /// What the user has for this registry. Looked up at the first refusal: a helper program may
    /// take its time, and most pulls need none.
    async fn credential(&self) -> Result<Option<&Credential>, Cause> {
        if let Some(found) = self.credential.get() {
            return Ok(found.as_ref());
        }
        let found = match &self.options.auth {
            Some(given) => Some(given.clone()),
            None => {
                let (hosts, host) = (self.options.hosts.clone(), self.host.clone());
                let task = tokio::task::spawn_blocking(move || hosts.credential(&host));
                task.await.expect("looking for credentials does not panic")?
            }
        };
        Ok(self.credential.get_or_init(|| found).as_ref())
    }
}
