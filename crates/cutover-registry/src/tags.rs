//! [`tags`]: what a repository has; [`log_in`]: whether credentials are good.

use cutover_core::Reference;
use serde::Deserialize;

use crate::credential::Credential;
use crate::error::{Cause, ListError, LoginError};
use crate::http::{Ask, Target, TokenCache};
use crate::options::Options;
use crate::progress::Silent;
use crate::session;

/// Names asked for at a time.
const PAGE: usize = 1000;
/// The longest page that is read.
const MAX_PAGE: u64 = 4 << 20;
/// Names that are listed at most: a server must not keep us for ever.
const MAX_TAGS: usize = 1_000_000;

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

/// Every tag of the repository of `reference`, in the registry's order. Blocks.
pub fn tags(reference: &Reference, options: &Options) -> Result<Vec<String>, ListError> {
    session::run(&Silent, async |events| {
        let client = session::reach(reference, "pull", options, &events).await?;
        let what = "the list of tags";
        let mut all: Vec<String> = Vec::new();
        let mut ask = Ask::get(format!("/v2/{}/tags/list?n={PAGE}", client.repository), what);
        loop {
            let response = session::ask(&client, &events, &ask).await?;
            let next = next(response.header("link").unwrap_or_default());
            let next = next.and_then(|next| response.address.join(next));
            let host = response.host.clone();
            let body = response.body(MAX_PAGE, what).await?;
            let page: Page = serde_json::from_slice(&body).map_err(|error| Cause::Protocol {
                host,
                message: format!("{what} is not valid: {error}"),
            })?;
            let before = all.len();
            all.extend(page.tags.unwrap_or_default());
            match next.filter(|next| next.same_origin(&client.base)) {
                // a page without anything must not lead to the next one, and so on
                Some(next) if all.len() > before && all.len() < MAX_TAGS => {
                    ask = Ask::new(hyper::Method::GET, Target::At(next), what);
                }
                _ => return Ok(all),
            }
        }
    })
    .map_err(|cause| ListError { reference: reference.clone(), cause: Box::new(cause) })
}

/// The target of `Link: <…>; rel="next"` (RFC 8288).
fn next(header: &str) -> Option<&str> {
    header.split(',').find_map(|link| {
        let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = parameters.split(';').any(|parameter| {
            let value = parameter.trim().strip_prefix("rel=");
            value.is_some_and(|value| value.trim_matches('"').eq_ignore_ascii_case("next"))
        });
        is_next.then_some(target)
    })
}

/// Asks `registry` whether it accepts `credential`. Blocks.
pub fn log_in(
    registry: &str,
    credential: &Credential,
    options: &Options,
) -> Result<(), LoginError> {
    // they are to be tried, whatever was good before
    let (auth, tokens) = (Some(credential.clone()), TokenCache::default());
    let options = Options { auth, tokens, ..options.clone() };
    session::run(&Silent, async |events| {
        let client = session::reach_host(registry, "", "", &options, &events).await?;
        session::ask(&client, &events, &Ask::get("/v2/", "`/v2/`")).await?.finish().await
    })
    .map_err(|cause| match cause {
        Cause::Denied { message, .. } => {
            LoginError::Refused { registry: registry.to_owned(), message }
        }
        cause => LoginError::Cause { registry: registry.to_owned(), cause: Box::new(cause) },
    })
}

#[cfg(test)]
mod tests {
    use super::next;

    #[test]
    fn links() {
        assert_eq!(
            next(r#"</v2/a/tags/list?n=2&last=b>; rel="next""#),
            Some("/v2/a/tags/list?n=2&last=b")
        );
        assert_eq!(next(r#"</a>; rel=prev, </b>; rel=next"#), Some("/b"));
        for none in ["", "x", "<x", r#"</a>; rel="prev""#] {
            assert_eq!(next(none), None, "{none}");
        }
    }
}
