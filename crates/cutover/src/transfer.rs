//! Moving images to and from registries: what the environment says about it, and what is shown.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use cutover_core::oci::Platform;
use cutover_core::{Digest, Reference};
use cutover_registry::{
    Event, Hosts, Keychain, Options, Progress, Proxies, Pushed, Silent, TokenCache,
};
use cutover_store::Store;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::failure::{Context, Failure, Kind, Outcome};
use crate::ui::Ui;

/// Mirrors and insecure registries of this machine.
const CONFIG: &str = "/etc/cutover/config.toml";
/// Where docker and podman keep certificates of registries.
const CERTIFICATES: [&str; 2] = ["/etc/docker/certs.d", "/etc/containers/certs.d"];

/// A build that pulls several images asks for one token.
static TOKENS: LazyLock<TokenCache> = LazyLock::new(TokenCache::default);

/// How this machine and this user speak to registries.
pub(crate) fn options(platform: Platform) -> Outcome<Options> {
    let certificates = CERTIFICATES.iter().map(PathBuf::from).collect();
    let mut hosts = Hosts::new(keychain(), certificates);
    let config = env("CUTOVER_CONFIG").map_or_else(|| PathBuf::from(CONFIG), PathBuf::from);
    hosts.read_config(&config).kind(Kind::Config)?;
    let tokens = TOKENS.clone();
    Ok(Options { proxies: proxies(), hosts: Arc::new(hosts), tokens, ..Options::new(platform) })
}

/// Where credentials are: `REGISTRY_AUTH_FILE` alone, or docker's file and then podman's.
pub(crate) fn keychain() -> Keychain {
    if let Some(file) = env("REGISTRY_AUTH_FILE") {
        return Keychain { files: vec![file.into()] };
    }
    let home = env("HOME").map(PathBuf::from);
    let docker = env("DOCKER_CONFIG").map(PathBuf::from);
    let docker = docker.or_else(|| home.as_ref().map(|home| home.join(".docker")));
    let files = [
        docker.map(|dir| dir.join("config.json")),
        env("XDG_RUNTIME_DIR").map(|dir| PathBuf::from(dir).join("containers/auth.json")),
        home.map(|home| home.join(".config/containers/auth.json")),
    ];
    Keychain { files: files.into_iter().flatten().collect() }
}

/// The proxies that the environment names, as curl reads them.
pub(crate) fn proxies() -> Proxies {
    let get = |names: [&str; 2]| names.iter().find_map(|name| env(name));
    Proxies {
        http: get(["http_proxy", "HTTP_PROXY"]),
        https: get(["https_proxy", "HTTPS_PROXY"]),
        no_proxy: get(["no_proxy", "NO_PROXY"]).unwrap_or_default(),
    }
}

#[expect(clippy::disallowed_methods, reason = "the binary's edge reads the environment")]
fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Pushes manifests or indexes of the store, each under its name, and shows it.
pub(crate) fn push(
    ui: Ui,
    store: &Store,
    images: &[(Digest, Reference)],
    options: &Options,
) -> Outcome<Vec<Pushed>> {
    let pushed = told(ui, |progress| cutover_registry::push_all(store, images, options, progress));
    pushed.map_err(|error| {
        let hint = error.hint();
        Failure { hint, ..Failure::new(Kind::Remote, error) }
    })
}

/// Runs `work` with bars on a terminal, and with a line for each layer elsewhere.
pub(crate) fn told<T>(ui: Ui, work: impl FnOnce(&dyn Progress) -> T) -> T {
    match ui.stderr_is_terminal || ui.is_quiet() {
        true => watched(ui, work),
        false => work(&Lines { ui, config: Mutex::default() }),
    }
}

/// Runs `work` with bars on a terminal.
pub(crate) fn watched<T>(ui: Ui, work: impl FnOnce(&dyn Progress) -> T) -> T {
    if !ui.stderr_is_terminal || ui.is_quiet() {
        return work(&Silent);
    }
    let bars = Bars::default();
    let result = work(&bars);
    // an error of the bars must not hide the result
    drop(bars.all.clear());
    result
}

/// docker's words for what became of a layer.
fn outcome(event: &Event) -> Option<(&Digest, String)> {
    match event {
        Event::Present { digest } => Some((digest, "Layer already exists".to_owned())),
        Event::Uploaded { digest, .. } => Some((digest, "Pushed".to_owned())),
        Event::Mounted { digest, from } => Some((digest, format!("Mounted from {from}"))),
        _ => None,
    }
}

/// A line for each layer that is done.
struct Lines {
    ui: Ui,
    /// Of the image under way: docker does not show it.
    config: Mutex<Option<Digest>>,
}

impl Progress for Lines {
    fn on(&self, event: &Event) {
        let mut config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        if let Event::Resolved { config: new, .. } = event {
            *config = Some(new.clone());
        }
        if let Some((digest, text)) = outcome(event).filter(|(it, _)| config.as_ref() != Some(it)) {
            self.ui.say(format!("{}: {text}", digest.short()));
        }
        if let Event::Retrying { .. } = event {
            self.ui.say(retrying(event));
        }
    }
}

fn retrying(event: &Event) -> String {
    let Event::Retrying { what, reason, pause } = event else { return String::new() };
    format!("{what}: {reason}; trying again in {:.1}s", pause.as_secs_f32())
}

/// A bar for each layer.
#[derive(Debug, Default)]
struct Bars {
    all: MultiProgress,
    /// A hidden one for the config: docker does not show it.
    by_digest: Mutex<HashMap<Digest, ProgressBar>>,
}

impl Bars {
    fn bar(&self, digest: &Digest) -> ProgressBar {
        let mut bars = self.by_digest.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let bar = self.all.add(ProgressBar::new(0));
            bar.set_prefix(digest.short().to_owned());
            bar
        };
        bars.entry(digest.clone()).or_insert_with(make).clone()
    }

    fn moved(&self, digest: &Digest, done: u64, size: u64) {
        let bar = self.bar(digest);
        if bar.length() != Some(size) || bar.position() == 0 {
            bar.set_length(size);
            bar.set_style(style("{prefix} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}"));
        }
        bar.set_position(done);
    }

    fn said(&self, digest: &Digest, text: impl Into<String>, ended: bool) {
        let bar = self.bar(digest);
        bar.set_style(style("{prefix} {msg}"));
        let text = text.into();
        match ended {
            true => bar.finish_with_message(text),
            false => bar.set_message(text),
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template);
    style.unwrap_or_else(|_fixed_text| ProgressStyle::default_bar())
}

impl Progress for Bars {
    fn on(&self, event: &Event) {
        // a line that cannot be shown must not end the transfer
        match event {
            Event::Resolved { config, .. } => {
                let mut bars = self.by_digest.lock().unwrap_or_else(PoisonError::into_inner);
                bars.insert(config.clone(), ProgressBar::hidden());
            }
            Event::Pushed { .. } => {}
            Event::Downloading { digest, done, size } | Event::Uploading { digest, done, size } => {
                self.moved(digest, *done, *size);
            }
            Event::Downloaded { digest, size } => {
                self.moved(digest, *size, *size);
                self.said(digest, "Download complete", true);
            }
            Event::Compressing { digest } => self.said(digest, "Compressing", false),
            Event::Unpacking { digest } => self.said(digest, "Extracting", false),
            Event::Present { .. } | Event::Uploaded { .. } | Event::Mounted { .. } => {
                if let Some((digest, text)) = outcome(event) {
                    self.said(digest, text, true);
                }
            }
            Event::Retrying { .. } => drop(self.all.println(retrying(event))),
        }
    }
}
