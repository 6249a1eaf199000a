//! `/token`: credentials in, a token for some minutes out (distribution's `token.md` by GET, OAuth2's
//! password grant by POST, which containerd tries first).

use std::net::IpAddr;

use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use serde::Serialize;

use super::{Access, BASIC, Identity, LIFETIME, Rights, Shown, Subject, shown};
use crate::server::body::Body;
use crate::server::gate::Who;
use crate::server::refusal::{Code, Refusal};
use crate::server::route::query;

/// Longest form that is read.
pub(in crate::server) const MAX_FORM: usize = 16 << 10;

#[derive(Serialize)]
struct Answer<'a> {
    token: &'a str,
    access_token: &'a str,
    token_type: &'a str,
    expires_in: u64,
}

impl Access {
    /// Answers a request for a token; `form` is its body.
    pub async fn token(
        &self,
        head: &Parts,
        form: &[u8],
        peer: IpAddr,
    ) -> Result<(Who, Response<Body>), Refusal> {
        let form = std::str::from_utf8(form).unwrap_or_default().to_owned();
        let asked = match head.method {
            Method::GET => head.uri.query().map(str::to_owned),
            Method::POST => Some(form),
            _ => {
                let message = "tokens are had by GET or POST";
                let status = StatusCode::METHOD_NOT_ALLOWED;
                return Err(Refusal::new(status, Code::Unsupported, message));
            }
        };
        let first = |key: &str| query(asked.as_deref(), key).next().map(|it| it.into_owned());
        let identity = match head.method {
            Method::POST => match first("grant_type").as_deref() {
                Some("password") => {
                    let (name, password) = (first("username"), first("password"));
                    self.login(&name.unwrap_or_default(), &password.unwrap_or_default(), peer).await
                }
                _ => Err(Refusal::bad(Code::Unsupported, "the grant type must be `password`")),
            },
            _ => self.caller(head, peer).await,
        }?;
        let scopes: Vec<String> =
            query(asked.as_deref(), "scope").map(|it| it.into_owned()).collect();
        let token = self.signer.sign(&self.claims(&identity, &scopes));
        let answer = Answer {
            token: &token,
            access_token: &token,
            token_type: "Bearer",
            expires_in: LIFETIME.as_secs(),
        };
        let text = serde_json::to_vec(&answer).unwrap_or_default();
        let mut response = Response::new(Body::full(text.into()));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok((super::who(&identity.subject), response))
    }

    async fn caller(&self, head: &Parts, peer: IpAddr) -> Result<Identity, Refusal> {
        match shown(&head.headers) {
            Shown::Basic { name, password } => self.login(&name, &password, peer).await,
            Shown::Nothing if self.options.anonymous_pull => Ok(Identity {
                subject: Subject::Anonymous,
                rights: Rights::Some("pull:*".parse().into_iter().collect()),
            }),
            _ => Err(refused("authentication required")),
        }
    }

    async fn login(&self, name: &str, password: &str, peer: IpAddr) -> Result<Identity, Refusal> {
        self.identify(name, password, peer).await.map_err(|refusal| match refusal.status {
            StatusCode::UNAUTHORIZED => refused(&refusal.message),
            _ => refusal,
        })
    }
}

fn refused(message: &str) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, Code::Unauthorized, message)
        .with(WWW_AUTHENTICATE, HeaderValue::from_static(BASIC))
}
