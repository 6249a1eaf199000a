//! One entry of `services`: tree → [`Service`].

mod build;
mod commands;
mod deploy;
mod environment;
mod limits;
mod mounts;
mod networks;
mod provision;
mod routing;

use super::ReadFile;
use super::context::{At, Context, Fields};
use super::source::Variables;
use super::top::Shared;
use crate::reference::Reference;
use crate::service::{DEFAULT_STOP_GRACE_PERIOD, NetworkMode, PullPolicy, Service};

/// What the parts of a service are read with.
pub(crate) struct Reader<'a, 'n> {
    pub(crate) fields: Fields<'n>,
    pub(crate) shared: &'a Shared,
    pub(crate) variables: &'a Variables<'a>,
    pub(crate) read: ReadFile<'a>,
}

/// The service and its profiles.
pub(crate) fn service(
    cx: &mut Context,
    name: &str,
    at: &At<'_>,
    shared: &Shared,
    variables: &Variables<'_>,
    read: ReadFile<'_>,
) -> (Service, Vec<String>) {
    let errors = cx.error_count();
    let fields = cx.fields(at, "services.*");
    let misspelt = cx.error_count() > errors;
    let reader = Reader { fields, shared, variables, read };
    let mut service = Service { name: name.to_owned(), ..Service::default() };
    reader.image(cx, &mut service);
    // a misspelt `image` was already told, as was an `extends` that could not be resolved
    let unresolved = reader.fields.get("extends").is_some();
    if service.build.is_none() && reader.fields.get("image").is_none() && !misspelt && !unresolved {
        cx.error_hint(at, "needs an `image` or a `build`", "e.g. `image: nginx` or `build: .`");
    }
    reader.process(cx, &mut service);
    reader.environment(cx, &mut service);
    reader.mounts(cx, &mut service);
    reader.networking(cx, &mut service);
    reader.commands(cx, &mut service);
    reader.limits(cx, &mut service);
    reader.deploy(cx, &mut service);
    reader.routing(cx, &mut service);
    let profiles = reader.texts(cx, "profiles");
    (service, profiles)
}

// === small readers, by key ===

impl Reader<'_, '_> {
    fn text(&self, cx: &mut Context, key: &str) -> Option<String> {
        self.fields.get(key).and_then(|at| cx.text(&at))
    }

    fn texts(&self, cx: &mut Context, key: &str) -> Vec<String> {
        self.fields.get(key).map(|at| cx.texts(&at)).unwrap_or_default()
    }

    fn bool(&self, cx: &mut Context, key: &str) -> bool {
        self.fields.get(key).and_then(|at| cx.bool(&at)).unwrap_or_default()
    }

    // === groups of keys ===

    fn image(&self, cx: &mut Context, service: &mut Service) {
        service.image =
            self.fields.get("image").and_then(|at| cx.parse(&at, str::parse::<Reference>));
        service.build = self
            .fields
            .get("build")
            .map(|at| build::build(cx, &at, self.variables, &self.shared.secrets));
        service.platform = self.fields.get("platform").and_then(|at| cx.parse(&at, platform));
        let policies = [
            ("missing", PullPolicy::Missing),
            ("if_not_present", PullPolicy::Missing),
            ("always", PullPolicy::Always),
            ("never", PullPolicy::Never),
            ("build", PullPolicy::Build),
        ];
        if let Some(at) = self.fields.get("pull_policy") {
            service.pull_policy = cx.choice(&at, &policies).unwrap_or_default();
        }
    }

    fn process(&self, cx: &mut Context, service: &mut Service) {
        service.command = self.fields.get("command").and_then(|at| cx.words(&at));
        service.entrypoint = self.fields.get("entrypoint").and_then(|at| cx.words(&at));
        service.user = self.text(cx, "user");
        service.working_dir = self.text(cx, "working_dir");
        service.hostname = self.text(cx, "hostname");
        service.domainname = self.text(cx, "domainname");
        service.tty = self.bool(cx, "tty");
        service.stdin_open = self.bool(cx, "stdin_open");
        service.init = self.bool(cx, "init");
        service.read_only = self.bool(cx, "read_only");
        service.privileged = self.bool(cx, "privileged");
        service.labels = self.fields.get("labels").map(|at| cx.text_map(&at)).unwrap_or_default();
        service.stop_signal = self.fields.get("stop_signal").and_then(|at| cx.parse(&at, signal));
        if let Some(at) = self.fields.get("stop_grace_period") {
            service.stop_grace_period = cx.duration(&at).unwrap_or(DEFAULT_STOP_GRACE_PERIOD);
        }
        if let Some(at) = self.fields.get("pid") {
            service.pid_host = cx.choice(&at, &[("host", true)]).unwrap_or_default();
        }
        if let Some(at) = self.fields.get("ipc") {
            let words = [("host", true), ("private", false), ("shareable", false)];
            service.ipc_host = cx.choice(&at, &words).unwrap_or_default();
        }
    }

    fn networking(&self, cx: &mut Context, service: &mut Service) {
        let modes = [("host", NetworkMode::Host), ("none", NetworkMode::None)];
        if let Some(at) = self.fields.get("network_mode") {
            service.network_mode = cx.choice(&at, &modes).unwrap_or_default();
            if let Some(both) = self.fields.get("networks") {
                cx.error(&both, "`networks` and `network_mode` exclude each other");
            }
        }
        if service.network_mode == NetworkMode::Networks {
            service.networks = networks::networks(cx, self);
        }
        service.ports = networks::ports(cx, self);
        if let Some(at) = self.fields.get("ports")
            && service.network_mode == NetworkMode::Host
        {
            cx.error(&at, "ports cannot be published with `network_mode: host`: they already are");
        }
        service.extra_hosts =
            self.fields.get("extra_hosts").map(|at| networks::hosts(cx, &at)).unwrap_or_default();
        service.dns = self.texts(cx, "dns");
        service.dns_search = self.texts(cx, "dns_search");
        service.dns_opt = self.texts(cx, "dns_opt");
    }
}

/// `linux/arm64/v8`
fn platform(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.split('/').collect();
    let is_word = |part: &&str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    if !(2..=3).contains(&parts.len()) || !parts.iter().all(is_word) {
        return Err(format!("`{text}` is not a platform such as `linux/arm64`"));
    }
    Ok(text.to_owned())
}

/// A signal's name, with or without `SIG`, or its number; kept as written.
fn signal(text: &str) -> Result<String, String> {
    let is_number = text.parse::<u8>().is_ok_and(|number| (1..=64).contains(&number));
    let name = text.strip_prefix("SIG").unwrap_or(text);
    let is_name = name.len() > 1
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b"+-".contains(&b));
    if is_number || is_name {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is not a signal such as `SIGTERM`"))
    }
}
