//! [`fetch`]: one file over HTTP, from anywhere.

use std::io::Write;
use std::time::Duration;

use crate::error::Cause;
use crate::http::Download;
use crate::options::{Limits, Proxies, Tls};

/// A file to get.
#[derive(Clone, Debug)]
pub struct Fetch<'a> {
    pub url: &'a str,
    /// An `Authorization` header: sent to the URL's own host only, never along a redirect.
    pub authorization: Option<&'a str>,
    /// The mark of what we have; what still bears it is not sent.
    pub etag: Option<&'a str>,
    /// More bytes are refused.
    pub max: u64,
    pub proxies: Proxies,
    pub tls: Tls,
    pub limits: Limits,
}

/// What was said about a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// It is what we have: nothing was written.
    pub unchanged: bool,
    pub etag: Option<String>,
    /// `Last-Modified`, as it came.
    pub last_modified: Option<String>,
}

/// Writes the file to `to`. A server that cannot be reached, or says that it is busy, is asked
/// again; once bytes have come the first failure is the end.
pub fn fetch(ask: &Fetch<'_>, to: &mut (dyn Write + Send)) -> Result<Fetched, Cause> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Cause::Runtime)?;
    runtime.block_on(async {
        let mut pause = ask.limits.backoff;
        let mut attempt = 1;
        loop {
            let mut download = Download::new(ask)?;
            let cause = match download.run(to).await {
                Ok(fetched) => return Ok(fetched),
                Err(cause) => cause,
            };
            if download.has_written() || attempt >= ask.limits.attempts || !may_pass(&cause) {
                return Err(cause);
            }
            tokio::time::sleep(wait(&cause, pause)).await;
            (pause, attempt) = (pause * 2, attempt + 1);
        }
    })
}

/// Whether another attempt may go better.
fn may_pass(cause: &Cause) -> bool {
    match cause {
        Cause::Timeout { .. } | Cause::Broken { .. } | Cause::RateLimited { .. } => true,
        Cause::Connect { source, .. } => source.kind() != std::io::ErrorKind::ConnectionRefused,
        Cause::Status { status, .. } => matches!(status, 500 | 502..=504),
        _ => false,
    }
}

fn wait(cause: &Cause, pause: Duration) -> Duration {
    match cause {
        Cause::RateLimited { retry_after: Some(wait), .. } => (*wait).min(Duration::from_secs(30)),
        _ => pause,
    }
}
