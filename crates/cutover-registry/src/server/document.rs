//! What a registry has to know of a manifest: its type, what it names, what it is about. Pure.
//!
//! Any JSON object is taken and kept byte for byte, whatever its media type; only what contradicts
//! itself is refused.

use cutover_core::digest::Digest;
use cutover_core::oci::media_type;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::refusal::{Code, Refusal};

/// The largest manifest that is taken. The specification wants 4 MB at least.
pub const MANIFEST_MAX: usize = 4 << 20;

/// What is read of a manifest.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Document {
    pub(super) media_type: String,
    pub(super) subject: Option<Digest>,
    pub(super) artifact_type: Option<String>,
    /// As they were written.
    pub(super) annotations: Option<String>,
    /// Blobs and manifests that it is made of; not its subject.
    pub(super) uses: Vec<Digest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Read<'a> {
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Named>,
    #[serde(default)]
    layers: Option<Vec<Named>>,
    #[serde(default)]
    manifests: Option<Vec<Named>>,
    #[serde(default)]
    blobs: Option<Vec<Named>>,
    #[serde(default)]
    fs_layers: Option<Vec<OldLayer>>,
    subject: Option<Named>,
    #[serde(borrow)]
    annotations: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    media_type: Option<String>,
    digest: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OldLayer {
    blob_sum: Option<String>,
}

/// Reads a manifest that came with this `Content-Type`.
pub(super) fn read(bytes: &[u8], content_type: Option<&str>) -> Result<Document, Refusal> {
    let invalid = |message: String| Refusal::bad(Code::ManifestInvalid, message);
    let read: Read<'_> = serde_json::from_slice(bytes)
        .map_err(|error| invalid(format!("the manifest cannot be read: {error}")))?;
    let said = content_type.map(|it| it.split(';').next().unwrap_or_default().trim().to_owned());
    let said = said.filter(|it| !it.is_empty());
    let media_type = match (said, read.media_type) {
        (Some(said), Some(inside)) if said != inside => {
            return Err(invalid(format!(
                "Content-Type is `{said}`, but the manifest says that it is `{inside}`"
            )));
        }
        (Some(said), _) => said,
        (None, Some(inside)) => inside,
        (None, None) if read.manifests.is_some() => media_type::OCI_INDEX.to_owned(),
        (None, None) => media_type::OCI_MANIFEST.to_owned(),
    };
    let subject = match read.subject.and_then(|subject| subject.digest) {
        None => None,
        Some(text) => Some(text.parse().map_err(|error| invalid(format!("subject: {error}")))?),
    };
    let config_type = read.config.as_ref().and_then(|config| config.media_type.clone());
    let artifact_type = read.artifact_type.filter(|it| !it.is_empty());
    let lists = [read.layers, read.manifests, read.blobs];
    let named = read.config.into_iter().chain(lists.into_iter().flatten().flatten());
    let old = read.fs_layers.into_iter().flatten().map(|layer| layer.blob_sum);
    // a digest that we cannot have (another algorithm) names nothing of ours
    let mut uses: Vec<Digest> = named
        .map(|it| it.digest)
        .chain(old)
        .flatten()
        .filter_map(|text| text.parse().ok())
        .collect();
    uses.sort();
    uses.dedup();
    Ok(Document {
        // as the specification says for referrers: an image without a type has its config's
        artifact_type: artifact_type.or(config_type),
        annotations: read.annotations.map(|raw| raw.get().to_owned()),
        media_type,
        subject,
        uses,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, content_type: Option<&str>, expected: Result<&str, Code>) {
        let read = read(text.as_bytes(), content_type);
        let shown = read.map(|read| read.media_type).map_err(|refusal| refusal.code);
        assert_eq!(shown.as_deref().map_err(|code| *code), expected, "{text}");
    }

    #[test]
    fn types() {
        check(r"{}", None, Ok(media_type::OCI_MANIFEST));
        check(r#"{"manifests":[]}"#, None, Ok(media_type::OCI_INDEX));
        check(r#"{"mediaType":"a/b"}"#, None, Ok("a/b"));
        check(r#"{"mediaType":"a/b"}"#, Some("a/b; charset=utf-8"), Ok("a/b"));
        check(r#"{"mediaType":"a/b"}"#, Some("c/d"), Err(Code::ManifestInvalid));
        check(r"{}", Some("c/d"), Ok("c/d"));
        check("[]", None, Err(Code::ManifestInvalid));
        check("", None, Err(Code::ManifestInvalid));
        check(r#"{"layers":7}"#, None, Err(Code::ManifestInvalid));
        check(r#"{"subject":{"digest":"x"}}"#, None, Err(Code::ManifestInvalid));
        check(
            &format!("{}1{}", "[".repeat(4000), "]".repeat(4000)),
            None,
            Err(Code::ManifestInvalid),
        );
    }

    #[test]
    fn what_it_names() {
        let (a, b) = (Digest::sha256(b"a"), Digest::sha256(b"b"));
        let text = format!(
            r#"{{"config":{{"mediaType":"c/d","digest":"{a}"}},
                "layers":[{{"digest":"{b}"}},{{"digest":"{b}"}},{{"digest":"blake3:00"}}],
                "subject":{{"digest":"{a}"}}, "annotations":{{ "x": "y" }}}}"#
        );
        let read = read(text.as_bytes(), None).unwrap();
        let mut both = vec![a.clone(), b];
        both.sort();
        assert_eq!(read.uses, both);
        assert_eq!(read.subject, Some(a));
        assert_eq!(read.artifact_type.as_deref(), Some("c/d"));
        assert_eq!(read.annotations.as_deref(), Some(r#"{ "x": "y" }"#));
    }
}
