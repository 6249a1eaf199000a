//! [`Response`]: what came back, its body read within bounds.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::http::response::Parts;
use tokio::time::timeout;

use super::Address;
use super::connect::Sender;
use super::pool::{Key, Pool};
use crate::error::Cause;

/// Longest token or error document that is read.
const MAX_SMALL: u64 = 1 << 20;

/// A response whose head has come.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) head: Parts,
    /// Who sent it: after redirects not always the registry.
    pub(crate) host: String,
    /// The address that answered.
    pub(crate) address: Address,
    pub(super) body: Incoming,
    pub(super) idle: Duration,
    /// Where the connection goes back to once the body is read.
    pub(super) home: Option<(Arc<Pool>, Key, Sender)>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// How long the server asks to wait.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        let seconds = self.header("retry-after")?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds))
    }

    /// The next piece of the body; `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Cause> {
        loop {
            let frame = match timeout(self.idle, self.body.frame()).await {
                Ok(frame) => frame,
                Err(_elapsed) => {
                    let (host, after) = (self.host.clone(), self.idle);
                    return Err(Cause::Timeout { host, what: "send more", after });
                }
            };
            match frame {
                None => {
                    if let Some((pool, key, sender)) = self.home.take() {
                        pool.give(key, sender);
                    }
                    return Ok(None);
                }
                Some(Err(source)) => {
                    return Err(Cause::Broken { host: self.host.clone(), source });
                }
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// The whole body, refused when it is longer than `max`.
    pub(crate) async fn body(mut self, max: u64, what: &str) -> Result<Vec<u8>, Cause> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() as u64 > max {
                let size = self.header("content-length").and_then(|it| it.parse().ok());
                let size = size.unwrap_or(body.len() as u64);
                return Err(Cause::TooLarge { what: what.to_owned(), size, max });
            }
        }
        Ok(body)
    }

    pub(crate) async fn small_body(self) -> Result<Vec<u8>, Cause> {
        self.body(MAX_SMALL, "the answer").await
    }

    /// Reads what is left, so that the connection can be used again.
    pub(crate) async fn finish(self) -> Result<(), Cause> {
        self.small_body().await.map(drop)
    }
}

/// The messages of a registry's error document, or nothing.
pub(super) fn error_message(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Errors {
        #[serde(default)]
        errors: Vec<One>,
        #[serde(default)]
        details: Option<String>,
    }
    #[derive(serde::Deserialize)]
    struct One {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let Ok(Errors { errors, details }) = serde_json::from_slice(body) else {
        return String::new();
    };
    let one = |One { code, message }: One| if message.is_empty() { code } else { message };
    let texts: Vec<String> = errors.into_iter().map(one).chain(details).collect();
    let text: String = texts.join(", ");
    // it comes from outside and is shown on a terminal
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::error_message;

    #[test]
    fn error_documents() {
        let check =
            |body: &str, expected: &str| assert_eq!(error_message(body.as_bytes()), expected);
        check(r#"{"errors":[{"code":"DENIED","message":"no"},{"code":"X"}]}"#, "no, X");
        check(r#"{"details":"incorrect username or password"}"#, "incorrect username or password");
        check("<html>", "");
        check("{\"errors\":[{\"message\":\"a\\u001b[31mb\"}]}", "a[31mb");
    }
}
