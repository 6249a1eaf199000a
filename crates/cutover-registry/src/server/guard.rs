//! [`Guard`]: everything behind the server's seam, put together.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::http::request::Parts;

use super::access::{Access, MAX_FORM, too_many};
use super::gate::{Ask, Event, Gate, Other, Verdict, Who};
use super::limits::Buckets;
use super::refusal::{Code, Refusal};

/// Is told of everything that happened. Must not block.
pub trait Observer: std::fmt::Debug + Send + Sync {
    fn observe(&self, event: &Event);
}

/// Whom to let in, how often, and who is told.
#[derive(Debug, Default)]
pub struct Guard {
    /// `None`: everybody may do everything.
    pub access: Option<Access>,
    /// Of each client's requests.
    pub rate: Option<Buckets>,
    pub observers: Vec<Arc<dyn Observer>>,
}

impl Gate for Guard {
    fn authorize<'a>(&'a self, ask: &'a Ask<'a>) -> Verdict<'a> {
        Box::pin(async move {
            if let Some(rate) = &self.rate {
                rate.take(ask.peer, Instant::now())
                    .map_err(|wait| too_many("too many requests from this address", wait))?;
            }
            match &self.access {
                Some(access) => access.authorize(ask).await,
                None => Ok(Who::anonymous()),
            }
        })
    }

    fn observe(&self, event: &Event) {
        for observer in &self.observers {
            observer.observe(event);
        }
    }

    fn other<'a>(
        &'a self,
        head: &'a Parts,
        peer: IpAddr,
        body: &'a mut Option<Incoming>,
    ) -> Other<'a> {
        Box::pin(async move {
            let access = self.access.as_ref().filter(|_| head.uri.path() == "/token")?;
            let form = match body.take() {
                Some(body) => Limited::new(body, MAX_FORM).collect().await,
                None => return None,
            };
            Some(match form {
                Ok(form) => access.token(head, &form.to_bytes(), peer).await,
                Err(_) => {
                    Err(Refusal::bad(Code::SizeInvalid, "the form did not come, or is too long"))
                }
            })
        })
    }
}
