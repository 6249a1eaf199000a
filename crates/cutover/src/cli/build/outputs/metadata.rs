//! `--metadata-file`: digests and names as buildx writes them.

use std::io::Write as _;
use std::path::Path;

use cutover_core::Reference;
use cutover_core::oci::Descriptor;
use cutover_store::Store;
use serde_json::{Map, json};

use super::attest::Attestations;
use super::deliver::Result;
use crate::failure::{Context as _, Kind, Outcome};

/// Writes the file; `exported` is what left, if something did.
pub(super) fn write(
    path: &Path,
    store: &Store,
    (result, exported): (&Result, Option<Descriptor>),
    names: &[Reference],
    attestations: &Attestations,
) -> Outcome {
    let descriptor = exported.unwrap_or_else(|| result.descriptor.clone());
    let mut document = Map::new();
    document.insert("containerimage.digest".to_owned(), json!(descriptor.digest));
    if let Some(config) = result.config() {
        document.insert("containerimage.config.digest".to_owned(), json!(config));
    }
    document.insert("containerimage.descriptor".to_owned(), json!(descriptor));
    if !names.is_empty() {
        let names: Vec<_> = names.iter().map(Reference::canonical).collect();
        document.insert("image.name".to_owned(), json!(names.join(",")));
    }
    for (image, platform) in result.images() {
        let Some(predicate) = attestations.provenance(store, image, &descriptor)? else { continue };
        let key = match result.config() {
            Some(_) => "buildx.build.provenance".to_owned(),
            None => format!("buildx.build.provenance/{platform}"),
        };
        document.insert(key, predicate);
    }
    let text = serde_json::to_string_pretty(&document)?;
    let doing = || format!("write `{}`", path.display());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut file = tempfile::Builder::new()
        .prefix(".metadata-")
        .tempfile_in(folder.unwrap_or(Path::new(".")))
        .or_fail(Kind::Internal, doing())?;
    writeln!(file, "{text}").or_fail(Kind::Internal, doing())?;
    super::deliver::publish(file, path)
}
