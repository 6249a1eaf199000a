//! Several platforms: a build for each, and an index of what they made.
//!
//! A name points at the image for this machine, as after a pull; the index is kept under the name
//! with its digest, and `push` sends it with all that it names.

use cutover_build::travel::Records;
use cutover_build::{BuildOptions, Built};
use cutover_core::oci::{Descriptor, Index, Platform, media_type};
use cutover_core::{Digest, Reference};
use cutover_store::{MAX_DOCUMENT, Store};

use super::super::Ctx;
use super::outputs::Annotations;
use super::progress::Style;
use crate::failure::{Context, Kind, Outcome};

/// `--platform a,b`, also repeated; each once.
pub(super) fn parse(lines: &[String]) -> Outcome<Vec<Platform>> {
    let mut platforms = Vec::new();
    for text in lines.iter().flat_map(|line| line.split(',')).filter(|text| !text.is_empty()) {
        let platform = super::platform(text)?;
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    Ok(platforms)
}

/// Builds for each of `platforms` and names the index.
pub(super) fn build(
    ctx: &Ctx,
    store: &Store,
    options: &BuildOptions,
    (platforms, annotations): (&[Platform], &Annotations),
    style: Style,
) -> Outcome<Built> {
    let mut one = BuildOptions { tags: Vec::new(), ..options.clone() };
    let (mut manifests, mut all) = (Vec::new(), None);
    for platform in platforms {
        let shown = shown(platform);
        if matches!(style, Style::Auto | Style::Plain | Style::Tty) {
            ctx.ui.say(format!("building for {shown}"));
        }
        one.platform = Some(platform.clone());
        one.annotations = annotations.of_manifest(platform);
        let built = super::execute(ctx, store, &one, style)?;
        let size = store.blobs().size(&built.image).or_fail(Kind::Internal, "read the image")?;
        let descriptor = Descriptor {
            platform: Some(platform.clone()),
            annotations: annotations.of_descriptor(platform),
            ..Descriptor::new(media_type::OCI_MANIFEST, built.image.clone(), size)
        };
        manifests.push(descriptor);
        add(&mut all, built);
    }
    let host = cutover_store::host_platform();
    let index = Index {
        schema_version: 2,
        media_type: Some(media_type::OCI_INDEX.to_owned()),
        manifests,
        annotations: annotations.of_index(),
    };
    let chosen = index.choose(&host).or(index.manifests.first()).map(|entry| entry.digest.clone());
    let bytes = serde_json::to_vec(&index).or_fail(Kind::Internal, "write the index")?;
    let index = store.blobs().put(&bytes).or_fail(Kind::Internal, "store the index")?;
    if let Some(chosen) = chosen {
        for tag in &options.tags {
            store.images().tag(tag, &chosen)?;
            store.images().tag(&tag.at(index.clone()), &chosen)?;
        }
    }
    let mut built = all.unwrap_or_else(|| Built {
        image: index.clone(),
        config: index.clone(),
        cached: 0,
        executed: 0,
        warnings: Vec::new(),
        records: Records::default(),
        materials: Vec::new(),
    });
    built.image = index;
    Ok(built)
}

fn add(all: &mut Option<Built>, built: Built) {
    match all {
        None => *all = Some(built),
        Some(all) => {
            all.cached += built.cached;
            all.executed += built.executed;
            all.records.add(built.records);
            all.materials.extend(built.materials);
        }
    }
}

fn shown(platform: &Platform) -> String {
    let variant = platform.variant.as_deref().map(|it| format!("/{it}")).unwrap_or_default();
    format!("{}/{}{variant}", platform.os, platform.architecture)
}

/// The index that `name` was built with, when the image is one of it and all others are here.
pub(crate) fn index_of(store: &Store, name: &Reference, image: &Digest) -> Option<Digest> {
    let names = store.images().names().ok()?;
    let digests = names.iter().filter(|(own, to)| own.name() == name.name() && to == image);
    digests
        .filter_map(|(own, _)| own.digest())
        .find(|digest| is_whole(store, digest, image))
        .cloned()
}

fn is_whole(store: &Store, digest: &Digest, image: &Digest) -> bool {
    let bytes = store.blobs().read_bounded(digest, MAX_DOCUMENT);
    let Some(index) = bytes.ok().and_then(|bytes| serde_json::from_slice::<Index>(&bytes).ok())
    else {
        return false;
    };
    index.manifests.iter().any(|entry| entry.digest == *image)
        && index.manifests.iter().all(|entry| store.blobs().contains(&entry.digest))
}
