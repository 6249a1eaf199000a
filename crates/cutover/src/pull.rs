//! Getting images from registries, with progress.

use clap::ValueEnum;
use cutover_core::Reference;
use cutover_core::oci::Platform;
use cutover_core::suggest::nearest;
use cutover_store::{Image, Store};

use crate::cli::Ctx;
use crate::failure::{Context, Failure, Kind, Outcome};
use crate::transfer;

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
    let options = transfer::options(platform)?;
    let pulled = transfer::watched(ctx.ui, |progress| {
        cutover_registry::pull(store, reference, &options, progress)
    });
    pulled.map_err(|error| {
        let hint = match (near(store, reference), error.hint()) {
            (Some(near), Some(hint)) => {
                Some(format!("did you mean `{near}`, which is here? Or {hint}"))
            }
            (Some(near), None) => Some(format!("did you mean `{near}`, which is here?")),
            (None, hint) => hint,
        };
        Failure { hint, ..Failure::new(Kind::Remote, error) }
    })
}

/// An image of the store whose name is nearly `wanted`, or that has another tag.
fn near(store: &Store, wanted: &Reference) -> Option<String> {
    let names = store.images().names().ok()?;
    let tagged = || names.iter().map(|(name, _)| name).filter(|name| name.tag().is_some());
    let repositories: Vec<String> = tagged().map(Reference::familiar_name).collect();
    let repository =
        nearest(&wanted.familiar_name(), repositories.iter().map(String::as_str))?.to_owned();
    let own: Vec<&str> = tagged()
        .filter(|name| name.familiar_name() == repository)
        .filter_map(Reference::tag)
        .collect();
    let tag =
        nearest(wanted.tag().unwrap_or("latest"), own.iter().copied()).or(own.first().copied())?;
    Some(format!("{repository}:{tag}"))
}

#[cfg(test)]
mod tests {
    use cutover_core::Digest;
    use cutover_core::oci::{Descriptor, media_type};

    use super::*;

    #[test]
    fn names_that_are_nearly_right_are_found() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let config =
            br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
        let (media_type, digest) = (media_type::OCI_CONFIG, Digest::sha256(config));
        let described = Descriptor::new(media_type, digest, config.len() as u64);
        let manifest = cutover_store::manifest_bytes(described, Vec::new());
        let image = store.images().put(&manifest, config, None);
        let digest = image.map(|image| image.digest).unwrap_or_else(|error| panic!("{error:?}"));
        for name in ["debian:bookworm", "debian:bullseye", "team/web:1"] {
            store.images().tag(&name.parse().unwrap(), &digest).unwrap();
        }
        let check = |wanted: &str, expected: Option<&str>| {
            assert_eq!(near(&store, &wanted.parse().unwrap()).as_deref(), expected, "{wanted}");
        };
        check("debain:bookworm", Some("debian:bookworm"));
        check("debian:bulseye", Some("debian:bullseye"));
        check("debian", Some("debian:bookworm"));
        check("tem/web", Some("team/web:1"));
        check("postgres", None);
    }
}
