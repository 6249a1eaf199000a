//! Flags of `registry serve` about who may do what, and who is told.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use cutover_registry::server::access::{Access, AccessOptions};
use cutover_registry::server::{
    AccessLog, Buckets, Guard, Metrics, Observer, Options, Tls, WebhookOptions, Webhooks,
};

use super::super::Ctx;
use crate::clock;
use crate::failure::{Context, Failure, Kind, Outcome};
use crate::transfer;

/// The pause after a webhook's first failure.
const BACKOFF: Duration = Duration::from_millis(500);
/// Seconds of requests that a client may make at once.
const BURST: f64 = 10.0;

#[derive(Debug, Args)]
pub(super) struct GuardFlags {
    /// Ask for credentials; people and bcrypt hashes of their passwords, as `htpasswd -B` writes
    /// them; they may do everything
    #[arg(long, value_name = "FILE", help_heading = "Access")]
    htpasswd: Option<PathBuf>,
    /// Ask for credentials; tokens with rights on repositories, as `cutover registry token` writes
    /// them
    #[arg(long, value_name = "FILE", help_heading = "Access")]
    tokens: Option<PathBuf>,
    /// Let everybody pull
    #[arg(long, help_heading = "Access")]
    anonymous_pull: bool,
    /// Where clients reach the registry, if another server is before it
    #[arg(long, value_name = "URL", help_heading = "Access")]
    public_url: Option<String>,
    /// Requests that each client may make in a second, over ten seconds
    #[arg(long, value_name = "NUMBER", help_heading = "Access")]
    rate_limit: Option<u32>,
    /// Speak TLS with this certificate (PEM, with those that signed it); read again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key", help_heading = "Access")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert", help_heading = "Access")]
    tls_key: Option<PathBuf>,
    /// Log each request
    #[arg(long, help_heading = "Observation")]
    access_log: bool,
    /// Log to stderr as lines of JSON
    #[arg(long, help_heading = "Observation")]
    log_json: bool,
    /// Serve metrics for Prometheus at `http://IP:PORT/metrics`
    #[arg(long, value_name = "IP:PORT", help_heading = "Observation")]
    metrics_listen: Option<SocketAddr>,
    /// Tell this address of pushes and deletions (CloudEvents by POST); can be given several times
    #[arg(long, value_name = "URL", help_heading = "Observation")]
    webhook: Vec<String>,
    /// Sign what webhooks get with the secret in this file
    #[arg(long, value_name = "FILE", requires = "webhook", help_heading = "Observation")]
    webhook_secret: Option<PathBuf>,
}

impl GuardFlags {
    pub(super) fn log_json(&self) -> bool {
        self.log_json
    }

    /// Sets what the flags say.
    pub(super) fn apply(self, ctx: &Ctx, options: &mut Options) -> Outcome {
        if let (Some(chain), Some(key)) = (self.tls_cert.clone(), self.tls_key.clone()) {
            options.tls = Some(Tls::open(chain, key).kind(Kind::Config)?);
        }
        let mut observers: Vec<Arc<dyn Observer>> = Vec::new();
        if self.access_log {
            observers.push(Arc::new(AccessLog));
        }
        if let Some(listen) = self.metrics_listen {
            let metrics = Arc::new(Metrics::default());
            let at = metrics.serve(listen);
            let at = at.or_fail(Kind::Internal, format!("listen on {listen} for metrics"))?;
            ctx.ui.say(format!("metrics are at http://{at}/metrics"));
            observers.push(metrics);
        }
        if !self.webhook.is_empty() {
            observers.push(Arc::new(self.webhooks(options)?));
        }
        let rate = self.rate_limit.map(f64::from).map(|rate| Buckets::new(rate, rate * BURST));
        let access = self.access(options.tls.is_some())?;
        options.gate = Arc::new(Guard { access, rate, observers });
        Ok(())
    }

    fn access(self, tls: bool) -> Outcome<Option<Access>> {
        if self.htpasswd.is_none() && self.tokens.is_none() {
            if self.anonymous_pull {
                let text = "`--anonymous-pull` needs `--htpasswd` or `--tokens`";
                return Err(
                    Failure::msg(Kind::Usage, text).hint("without them everybody may push, too")
                );
            }
            return Ok(None);
        }
        let (one, other) = (clock::random_bytes(), clock::random_bytes());
        let mut key = [0; 32];
        key[..16].copy_from_slice(&one);
        key[16..].copy_from_slice(&other);
        let options = AccessOptions {
            htpasswd: self.htpasswd,
            tokens: self.tokens,
            anonymous_pull: self.anonymous_pull,
            public_url: self.public_url,
            tls,
            key,
            clock: clock::since_epoch,
        };
        Ok(Some(Access::open(options).kind(Kind::Config)?))
    }

    fn webhooks(&self, options: &Options) -> Outcome<Webhooks> {
        let secret = self.webhook_secret.as_ref().map(fs_err::read_to_string).transpose();
        let secret = secret.kind(Kind::Config)?.map(|secret| secret.trim_end().to_owned());
        let listen = options.listen.first().map(ToString::to_string).unwrap_or_default();
        let scheme = if options.tls.is_some() { "https" } else { "http" };
        let source = self.public_url.clone();
        let hooks = WebhookOptions {
            urls: self.webhook.clone(),
            secret,
            source: source.unwrap_or_else(|| format!("{scheme}://{listen}")),
            backoff: BACKOFF,
            tls: cutover_registry::Tls::default(),
            proxies: transfer::proxies(),
            clock: clock::since_epoch,
            random: clock::random_bytes,
        };
        Webhooks::start(&hooks).kind(Kind::Usage)
    }
}
