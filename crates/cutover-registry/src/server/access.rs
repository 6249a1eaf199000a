//! [`Access`]: who someone is and what they may do.
//!
//! People are in a file of `htpasswd`, with all rights; machines have tokens with rights on
//! repositories. Both prove themselves by Basic, or get a token that is good for minutes at
//! `/token` (distribution's token specification), which is what docker, podman and skopeo do.
//!
//! Invariants: no secret is logged, and none is kept but as a hash or keyed mark; whoever guesses
//! is slowed down by address before any hashing; a token ends with the rights that it was made from.

mod login;
pub mod rights;
pub mod robots;
mod signed;
mod users;
pub mod watched;

pub(in crate::server) use login::MAX_FORM;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use tokio::sync::Semaphore;

use self::rights::{Rights, Verb, granted};
use self::robots::Robots;
use self::signed::{Claims, Signer, Subject};
use self::users::Users;
use self::watched::{WatchError, Watched};
use super::gate::{Action, Ask, Who};
use super::limits::Buckets;
use super::refusal::{Code, Refusal};

/// Failed logins that one address may have at once, and how many more per second.
const FAILURES: (f64, f64) = (10.0, 0.2);
/// Passwords that are hashed at a time: each takes a processor for a good part of a second.
const HASHING: usize = 2;
/// People whose passwords were found right lately.
const MAX_KNOWN: usize = 1000;
/// How long a token of `/token` is good.
const LIFETIME: Duration = Duration::from_secs(300);

/// How a registry is guarded.
#[derive(Clone)]
pub struct AccessOptions {
    /// People, as `htpasswd -B` writes them.
    pub htpasswd: Option<PathBuf>,
    /// Tokens, as `cutover registry token` writes them.
    pub tokens: Option<PathBuf>,
    /// Let everybody pull.
    pub anonymous_pull: bool,
    /// Where clients reach this server, e.g. `https://registry.example.org`. Without it, clients
    /// are sent where they say that they came to.
    pub public_url: Option<String>,
    /// Whether clients come by TLS.
    pub tls: bool,
    /// Random; tokens of another key are not taken.
    pub key: [u8; 32],
    /// Time since 1970.
    pub clock: fn() -> Duration,
}

/// Whom a registry lets do what.
#[derive(Debug)]
pub struct Access {
    options: AccessOptions,
    users: Option<Watched<Users>>,
    robots: Option<Watched<Robots>>,
    signer: Signer,
    failures: Buckets,
    hashing: Semaphore,
    /// Marks of names with their right passwords and hashes: bcrypt once is enough.
    known: Mutex<HashMap<String, ring::hmac::Tag>>,
}

/// Someone who has proved who they are, or nobody in particular.
#[derive(Clone, Debug)]
struct Identity {
    subject: Subject,
    rights: Rights,
}

/// What a request has to show.
enum Shown {
    Nothing,
    Basic { name: String, password: String },
    Bearer(String),
    Nonsense,
}

impl Access {
    pub fn open(options: AccessOptions) -> Result<Self, WatchError> {
        let now = Instant::now();
        let users = options.htpasswd.clone();
        let users = users.map(|it| Watched::open(vec![it], |files| Users::parse(&files[0]), now));
        let robots = options.tokens.clone();
        let robots =
            robots.map(|it| Watched::open(vec![it], |files| Robots::parse(&files[0]), now));
        Ok(Self {
            users: users.transpose()?,
            robots: robots.transpose()?,
            signer: Signer::new(&options.key),
            failures: Buckets::new(FAILURES.1, FAILURES.0),
            hashing: Semaphore::new(HASHING),
            known: Mutex::default(),
            options,
        })
    }

    /// Who asks, if they may have what they ask for.
    pub async fn authorize(&self, ask: &Ask<'_>) -> Result<Who, Refusal> {
        let headers = &ask.head.headers;
        match shown(headers) {
            Shown::Nothing if self.options.anonymous_pull && ask.action == Action::Pull => {
                Ok(Who::anonymous())
            }
            // also where all may pull: a client that is let in here without a name would never
            // give one, not even to push
            Shown::Nothing => Err(self.challenge(ask, "authentication required", None)),
            Shown::Nonsense => Err(self.challenge(ask, "not a known kind of credentials", None)),
            Shown::Bearer(token) if robots::is_token(&token) => {
                let identity = self.robot(&token, ask.peer)?;
                self.allow(&identity, ask)
            }
            Shown::Bearer(token) => self.bearer(&token, ask),
            Shown::Basic { name, password } => {
                let identity = match self.identify(&name, &password, ask.peer).await {
                    Err(refusal) if refusal.status == StatusCode::UNAUTHORIZED => {
                        return Err(self.challenge(ask, &refusal.message, None));
                    }
                    other => other?,
                };
                self.allow(&identity, ask)
            }
        }
    }

    fn bearer(&self, token: &str, ask: &Ask<'_>) -> Result<Who, Refusal> {
        let claims = self.signer.check(token, self.now());
        let Some(claims) = claims.filter(|claims| self.still_there(&claims.sub)) else {
            return Err(self.challenge(
                ask,
                "the token is not good any more",
                Some("invalid_token"),
            ));
        };
        let anyone = self.options.anonymous_pull && ask.action == Action::Pull;
        if anyone || granted(&claims.access, ask.action, ask.repository) {
            return Ok(who(&claims.sub));
        }
        // a client may get another token with this scope; if not, it learns that at `/token`
        Err(self.challenge(ask, "the token does not allow this", Some("insufficient_scope")))
    }

    fn still_there(&self, subject: &Subject) -> bool {
        let now = Instant::now();
        match subject {
            Subject::Anonymous => true,
            Subject::User(name) => {
                self.users.as_ref().is_some_and(|users| users.get(now).contains(name))
            }
            Subject::Robot(name) => self
                .robots
                .as_ref()
                .is_some_and(|robots| robots.get(now).named(name, self.now()).is_some()),
        }
    }

    fn allow(&self, identity: &Identity, ask: &Ask<'_>) -> Result<Who, Refusal> {
        let allowed = match (Verb::of(ask.action), ask.repository) {
            (Some(verb), Some(repository)) => {
                identity.rights.allow(verb, repository)
                    || (verb == Verb::Pull && self.options.anonymous_pull)
            }
            _ => ask.action == Action::Ping || identity.rights == Rights::All,
        };
        if allowed {
            return Ok(who(&identity.subject));
        }
        let what = Verb::of(ask.action).map_or("list repositories", Verb::as_str);
        Err(Refusal::denied(match ask.repository {
            Some(repository) => format!("these credentials may not {what} `{repository}`"),
            None => format!("these credentials may not {what}"),
        }))
    }

    /// Finds out whose credentials these are.
    async fn identify(
        &self,
        name: &str,
        password: &str,
        peer: IpAddr,
    ) -> Result<Identity, Refusal> {
        if robots::is_token(password) {
            return self.robot(password, peer);
        }
        let wrong = || {
            let message = "wrong name or password";
            Refusal::new(StatusCode::UNAUTHORIZED, Code::Unauthorized, message)
        };
        let Some(users) = &self.users else { return Err(wrong()) };
        let hash = users.get(Instant::now()).hash(name);
        let identity = Identity { subject: Subject::User(name.to_owned()), rights: Rights::All };
        let mark = self.signer.mark(&[name, password, &hash.text]);
        if self.is_known(name, &mark) {
            return Ok(identity);
        }
        self.may_try(peer)?;
        let Ok(_turn) = self.hashing.acquire().await else { return Err(wrong()) };
        // whoever waited in line may have used up their attempts meanwhile
        self.may_try(peer)?;
        let (text, password) = (hash.text.clone(), password.to_owned());
        let right = tokio::task::spawn_blocking(move || hash.is_of(&password)).await;
        if !right.unwrap_or(false) {
            self.failed(peer, name);
            return Err(wrong());
        }
        tracing::debug!(name, hash = text.get(..7), "password found right");
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(name.to_owned(), mark);
        Ok(identity)
    }

    fn is_known(&self, name: &str, mark: &ring::hmac::Tag) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // marks are keyed: comparing two of them tells nothing of what was marked
        known.get(name).is_some_and(|it| it.as_ref() == mark.as_ref())
    }

    fn robot(&self, token: &str, peer: IpAddr) -> Result<Identity, Refusal> {
        let robots = self.robots.as_ref().map(|robots| robots.get(Instant::now()));
        if let Some(robot) = robots.as_ref().and_then(|it| it.holder(token, self.now())) {
            let subject = Subject::Robot(robot.name.clone());
            return Ok(Identity { subject, rights: robot.rights() });
        }
        self.may_try(peer)?;
        self.failed(peer, "a token");
        let message = "the token is not known, or not good any more";
        Err(Refusal::new(StatusCode::UNAUTHORIZED, Code::Unauthorized, message))
    }

    fn may_try(&self, peer: IpAddr) -> Result<(), Refusal> {
        self.failures
            .look(peer, Instant::now())
            .map_err(|wait| too_many("too many failed logins from this address", wait))
    }

    fn failed(&self, peer: IpAddr, name: &str) {
        tracing::warn!(%peer, name, "failed login");
        // an empty bucket is what `may_try` looks for
        self.failures.take(peer, Instant::now()).ok();
    }

    fn now(&self) -> u64 {
        (self.options.clock)().as_secs()
    }

    fn claims(&self, identity: &Identity, scopes: &[String]) -> Claims {
        Claims {
            sub: identity.subject.clone(),
            exp: self.now() + LIFETIME.as_secs(),
            access: rights::grant(&identity.rights, scopes.iter().map(String::as_str)),
        }
    }

    /// 401, and where to get a token for it.
    fn challenge(&self, ask: &Ask<'_>, message: &str, error: Option<&str>) -> Refusal {
        let refusal = Refusal::new(StatusCode::UNAUTHORIZED, Code::Unauthorized, message);
        let Some((realm, service)) = self.realm(&ask.head.headers) else {
            return refusal.with(WWW_AUTHENTICATE, HeaderValue::from_static(BASIC));
        };
        let mut text = format!(r#"Bearer realm="{realm}",service="{service}""#);
        if let Some(scope) = scope(ask) {
            text += &format!(r#",scope="{scope}""#);
        }
        if let Some(error) = error {
            text += &format!(r#",error="{error}""#);
        }
        match HeaderValue::from_str(&text) {
            Ok(value) => refusal.with(WWW_AUTHENTICATE, value),
            Err(_odd) => refusal,
        }
    }

    /// The address of `/token`, and what this registry is called there.
    fn realm(&self, headers: &HeaderMap) -> Option<(String, String)> {
        if let Some(url) = &self.options.public_url {
            let url = url.trim_end_matches('/');
            let host = url.split_once("://").map_or(url, |(_, host)| host);
            return Some((format!("{url}/token"), host.to_owned()));
        }
        let host = headers.get(HOST)?.to_str().ok()?;
        let word = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
        if host.is_empty() || !host.chars().all(word) {
            return None;
        }
        let scheme = if self.options.tls { "https" } else { "http" };
        Some((format!("{scheme}://{host}/token"), host.to_owned()))
    }
}

const BASIC: &str = r#"Basic realm="registry", charset="UTF-8""#;

/// 429, and when to come back.
pub(super) fn too_many(message: &str, wait: Duration) -> Refusal {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, Code::TooManyRequests, message);
    refusal.with(RETRY_AFTER, HeaderValue::from(seconds))
}

/// What a client must have a token for.
fn scope(ask: &Ask<'_>) -> Option<String> {
    let actions = match ask.action {
        Action::Ping => return None,
        Action::Catalog => return Some("registry:catalog:*".to_owned()),
        Action::Pull => "pull",
        Action::Push => "pull,push",
        Action::Delete => "pull,delete",
    };
    Some(format!("repository:{}:{actions}", ask.repository?))
}

fn who(subject: &Subject) -> Who {
    match subject {
        Subject::Anonymous => Who::anonymous(),
        Subject::User(name) => Who(Arc::from(name.as_str())),
        Subject::Robot(name) => Who(Arc::from(format!("token:{name}"))),
    }
}

fn shown(headers: &HeaderMap) -> Shown {
    let Some(value) = headers.get(AUTHORIZATION) else { return Shown::Nothing };
    let read = || {
        let (scheme, value) = value.to_str().ok()?.split_once(' ')?;
        let value = value.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(Shown::Bearer(value.to_owned()));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let plain = crate::auth::base64_decode(value)?;
        let (name, password) = std::str::from_utf8(&plain).ok()?.split_once(':')?;
        Some(Shown::Basic { name: name.to_owned(), password: password.to_owned() })
    };
    read().unwrap_or(Shown::Nonsense)
}

impl std::fmt::Debug for AccessOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessOptions")
            .field("htpasswd", &self.htpasswd)
            .field("tokens", &self.tokens)
            .field("anonymous_pull", &self.anonymous_pull)
            .finish_non_exhaustive()
    }
}
