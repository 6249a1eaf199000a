//! Getting images from registries, with progress.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use clap::ValueEnum;
use cutover_core::oci::Platform;
use cutover_core::{Digest, Reference};
use cutover_registry::{Event, Options, Progress, Proxies, Silent};
use cutover_store::{Image, Store};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::cli::Ctx;
use crate::failure::{Context, Failure, Kind, Outcome};

/// When an image is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    /// Even when it is in the local store
    Always,
    /// When it is not in the local store
    Missing,
    /// Not at all
    Never,
}

/// The image that `name` means, pulled if `when` says so.
pub(crate) fn image(
    ctx: &Ctx,
    store: &Store,
    name: &str,
    when: When,
    quiet: bool,
) -> Outcome<Image> {
    if when != When::Always
        && let Some(image) = store.images().resolve(name)?
    {
        return Ok(image);
    }
    let reference: Reference = name.parse().kind(Kind::Usage)?;
    if when == When::Never {
        return Err(Failure::msg(Kind::NotFound, format!("no such image: `{reference}`"))
            .hint("it is not in the local store and `--pull never` was given"));
    }
    if quiet {
        let quiet = Ctx { paths: ctx.paths.clone(), ui: ctx.ui.quiet() };
        return pull(&quiet, store, &reference, None);
    }
    ctx.ui.say(format!("`{reference}` is not in the local store: pulling it"));
    pull(ctx, store, &reference, None)
}

/// Downloads `reference`, showing progress on a terminal.
pub(crate) fn pull(
    ctx: &Ctx,
    store: &Store,
    reference: &Reference,
    platform: Option<&Platform>,
) -> Outcome<Image> {
    let platform = platform.cloned().unwrap_or_else(cutover_store::host_platform);
    let options = Options { proxies: proxies(), ..Options::new(platform) };
    let bars = Bars::default();
    let silent = Silent;
    let progress: &dyn Progress = match ctx.ui.stderr_is_terminal && !ctx.ui.is_quiet() {
        true => &bars,
        false => &silent,
    };
    let pulled = cutover_registry::pull(store, reference, &options, progress);
    // an error of the bars must not hide the result
    drop(bars.all.clear());
    pulled.map_err(|error| {
        let hint = error.hint();
        Failure { hint, ..Failure::new(Kind::Remote, error) }
    })
}

/// The proxies that the environment names, as curl reads them.
#[expect(clippy::disallowed_methods, reason = "the binary's edge reads the environment")]
fn proxies() -> Proxies {
    let get = |names: [&str; 2]| names.iter().find_map(|name| std::env::var(name).ok());
    Proxies {
        http: get(["http_proxy", "HTTP_PROXY"]),
        https: get(["https_proxy", "HTTPS_PROXY"]),
        no_proxy: get(["no_proxy", "NO_PROXY"]).unwrap_or_default(),
    }
}

/// A bar for each layer.
#[derive(Debug, Default)]
struct Bars {
    all: MultiProgress,
    by_digest: Mutex<HashMap<Digest, ProgressBar>>,
}

impl Bars {
    fn bar(&self, digest: &Digest, size: u64) -> ProgressBar {
        let mut bars = self.by_digest.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let style = ProgressStyle::with_template(
                "{prefix} {bar:30} {bytes}/{total_bytes} {bytes_per_sec}",
            );
            let bar = ProgressBar::new(size);
            bar.set_style(style.unwrap_or_else(|_fixed_text| ProgressStyle::default_bar()));
            bar.set_prefix(digest.short().to_owned());
            self.all.add(bar)
        };
        bars.entry(digest.clone()).or_insert_with(make).clone()
    }
}

impl Progress for Bars {
    fn on(&self, event: &Event) {
        // a line that cannot be shown must not end the pull
        match event {
            Event::Resolved { .. } | Event::Present { .. } => {}
            Event::Downloading { digest, done, size } => {
                self.bar(digest, *size).set_position(*done);
            }
            Event::Downloaded { digest, size } => {
                let bar = self.bar(digest, *size);
                bar.set_position(*size);
                bar.finish();
            }
            Event::Retrying { what, reason, pause } => {
                let pause = pause.as_secs_f32();
                let line = format!("{what}: {reason}; trying again in {pause:.1}s");
                drop(self.all.println(line));
            }
        }
    }
}
