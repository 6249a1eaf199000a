//! Which service a request belongs to: host first, then the longest path prefix.
//!
//! Pure data. A host matches exactly, by the longest `*.` wildcard (any number of labels below it),
//! or by the route without a host; within a host the longest prefix of whole path segments wins. A
//! host whose prefixes do not match gives way to the next one, so a route for everything stays the
//! fallback of every host. Paths are compared as they were sent: nothing is decoded or normalised,
//! because the target would not see what we had normalised.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use cutover_core::service::Route;

/// Routes of all services; `T` names a service.
#[derive(Clone, Debug)]
pub(crate) struct Routes<T> {
    exact: HashMap<Box<str>, Prefixes<T>>,
    /// By what follows `*`, with its dot: `.example.org`.
    wildcard: HashMap<Box<str>, Prefixes<T>>,
    any: Prefixes<T>,
}

/// Longest prefix first.
type Prefixes<T> = Vec<Entry<T>>;

#[derive(Clone, Debug)]
struct Entry<T> {
    /// Without a trailing slash; empty for `/`.
    prefix: Box<str>,
    strip: bool,
    to: T,
}

/// A route that fits, and how much of the path is cut off for the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found<T> {
    pub(crate) to: T,
    pub(crate) strip: usize,
}

/// Why routes cannot be in force together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RouteError {
    #[error("route `{route}` of `{service}` already belongs to `{other}`")]
    Taken { route: String, service: String, other: String },
    #[error("route `{route}` of `{service}`: {reason}")]
    Invalid { route: String, service: String, reason: &'static str },
}

impl<T: Copy> Routes<T> {
    /// Builds the table from each service's name, value and routes.
    pub(crate) fn build<'a>(
        services: impl IntoIterator<Item = (&'a str, T, &'a [Route])>,
    ) -> Result<Self, RouteError> {
        let mut owners = BTreeMap::<(Option<String>, String), &str>::new();
        let mut routes = Self { exact: HashMap::new(), wildcard: HashMap::new(), any: Vec::new() };
        for (service, to, own) in services {
            for route in own {
                let prefix = checked(service, route)?;
                let host = route.host.as_deref().map(str::to_ascii_lowercase);
                let key = (host.clone(), prefix.to_owned());
                if let Some(other) = owners.insert(key, service) {
                    let (route, other) = (route.to_string(), other.to_owned());
                    return Err(RouteError::Taken { route, service: service.to_owned(), other });
                }
                let entry = Entry { prefix: prefix.into(), strip: route.strip_prefix, to };
                routes.prefixes(host.as_deref()).push(entry);
            }
        }
        for prefixes in routes.all_prefixes() {
            prefixes.sort_by_key(|entry| std::cmp::Reverse(entry.prefix.len()));
        }
        Ok(routes)
    }

    /// The route for a host (lowercase, without port) and a path.
    pub(crate) fn find(&self, host: &str, path: &str) -> Option<Found<T>> {
        if let Some(found) = self.exact.get(host).and_then(|prefixes| longest(prefixes, path)) {
            return Some(found);
        }
        if !self.wildcard.is_empty() {
            let dots = host.bytes().enumerate().filter(|(_, byte)| *byte == b'.');
            for (dot, _) in dots.filter(|(dot, _)| *dot > 0) {
                let prefixes = self.wildcard.get(&host[dot..]);
                if let Some(found) = prefixes.and_then(|prefixes| longest(prefixes, path)) {
                    return Some(found);
                }
            }
        }
        longest(&self.any, path)
    }

    fn prefixes(&mut self, host: Option<&str>) -> &mut Prefixes<T> {
        match host {
            None => &mut self.any,
            Some(host) => match host.strip_prefix('*') {
                Some(suffix) => self.wildcard.entry(suffix.into()).or_default(),
                None => self.exact.entry(host.into()).or_default(),
            },
        }
    }

    fn all_prefixes(&mut self) -> impl Iterator<Item = &mut Prefixes<T>> {
        let named = self.exact.values_mut().chain(self.wildcard.values_mut());
        named.chain(std::iter::once(&mut self.any))
    }
}

impl<T> Default for Routes<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), wildcard: HashMap::new(), any: Vec::new() }
    }
}

/// The prefix in the form it is compared in.
fn checked<'a>(service: &str, route: &'a Route) -> Result<&'a str, RouteError> {
    let invalid = |reason| {
        let (route, service) = (route.to_string(), service.to_owned());
        Err(RouteError::Invalid { route, service, reason })
    };
    if !route.path_prefix.starts_with('/') {
        return invalid("the path prefix must start with `/`");
    }
    if route.path_prefix.contains(['?', '#']) {
        return invalid("the path prefix must be a path only");
    }
    if let Some(host) = &route.host {
        let name = host.strip_prefix("*.").unwrap_or(host);
        let plain = !name.is_empty() && !name.contains(['*', '/', ' ']);
        if !plain || name.starts_with('.') || (name.contains(':') && !name.starts_with('[')) {
            return invalid("the host must be a name or `*.name`, without a port");
        }
    }
    Ok(route.path_prefix.trim_end_matches('/'))
}

fn longest<T: Copy>(prefixes: &[Entry<T>], path: &str) -> Option<Found<T>> {
    let entry = prefixes.iter().find(|entry| {
        let rest = path.strip_prefix(&*entry.prefix);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || entry.prefix.is_empty())
    })?;
    let strip = if entry.strip { entry.prefix.len() } else { 0 };
    Some(Found { to: entry.to, strip })
}

/// The form in which hosts are looked up: lowercase, without port and trailing dot. `None`: the
/// text is not a host.
pub(crate) fn normal_host(authority: &str) -> Option<Cow<'_, str>> {
    let name = if authority.starts_with('[') {
        let end = authority.find(']')?;
        let port = &authority[end + 1..];
        (port.is_empty() || port.starts_with(':')).then(|| &authority[..=end])?
    } else {
        let (name, port) = authority.split_once(':').unwrap_or((authority, ""));
        port.bytes().all(|byte| byte.is_ascii_digit()).then_some(name)?
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=[]:".contains(&byte);
    if !name.bytes().all(is_host) {
        return None;
    }
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some(Cow::Owned(name.to_ascii_lowercase()));
    }
    Some(Cow::Borrowed(name))
}
