//! [`CacheImport`]: a cache that was found elsewhere, as records and the layers that are there.

use std::collections::BTreeMap;
use std::sync::Arc;

use cutover_core::Digest;
use cutover_core::oci::{Descriptor, ImageConfig, Manifest};

use super::records::{CONFIG_KEY, RECORDS_TYPE, Records, StepRecord};
use super::source::LayerSource;

/// Why documents are no cache.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("its {what} is not valid")]
    Document { what: &'static str, source: serde_json::Error },
    #[error("{0}")]
    Records(String),
    #[error("it has {layers} layers and names {named}")]
    Count { layers: usize, named: usize },
    #[error("it is neither a build cache nor an image with one in it")]
    NoCache,
}

/// What is known from elsewhere.
#[derive(Clone, Debug)]
pub struct CacheImport {
    /// As the user wrote it.
    pub name: String,
    steps: BTreeMap<Digest, StepRecord>,
    contents: BTreeMap<Digest, Digest>,
    /// Blobs by what they unpack to.
    layers: BTreeMap<Digest, Descriptor>,
    pub(crate) source: Arc<dyn LayerSource>,
}

impl CacheImport {
    /// Reads the manifest of a cache, or of an image with records in its config. The documents'
    /// digests were checked by who got them.
    pub fn read(
        name: &str,
        manifest: &[u8],
        config: &[u8],
        source: Arc<dyn LayerSource>,
    ) -> Result<Self, ImportError> {
        let document = |what| move |source| ImportError::Document { what, source };
        let manifest: Manifest = serde_json::from_slice(manifest).map_err(document("manifest"))?;
        let (records, diff_ids) = match manifest.config.media_type.as_str() {
            RECORDS_TYPE => {
                let records: Records =
                    serde_json::from_slice(config).map_err(document("list of records"))?;
                let diff_ids = records.diff_ids.clone();
                (records, diff_ids)
            }
            _ => of_image(config)?,
        };
        records.check().map_err(ImportError::Records)?;
        let (layers, named) = (manifest.layers.len(), diff_ids.len());
        if layers != named {
            return Err(ImportError::Count { layers, named });
        }
        Ok(Self {
            name: name.to_owned(),
            steps: records.steps.into_iter().map(|step| (step.key.clone(), step)).collect(),
            contents: records.contents.into_iter().map(|it| (it.selection, it.digest)).collect(),
            layers: diff_ids.into_iter().zip(manifest.layers).collect(),
            source,
        })
    }

    pub(crate) fn step(&self, key: &Digest) -> Option<&StepRecord> {
        self.steps.get(key)
    }

    pub(crate) fn content(&self, selection: &Digest) -> Option<&Digest> {
        self.contents.get(selection)
    }

    /// The blob of a layer, if the cache has it and not only its record.
    pub(crate) fn layer(&self, diff_id: &Digest) -> Option<&Descriptor> {
        self.layers.get(diff_id)
    }

    /// How many steps it knows.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

fn of_image(config: &[u8]) -> Result<(Records, Vec<Digest>), ImportError> {
    let document = |what| move |source| ImportError::Document { what, source };
    let mut all: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(config).map_err(document("config"))?;
    let Some(records) = all.remove(CONFIG_KEY) else { return Err(ImportError::NoCache) };
    let image: ImageConfig = serde_json::from_slice(config).map_err(document("image config"))?;
    let records = serde_json::from_value(records).map_err(document("list of records"))?;
    Ok((records, image.rootfs.diff_ids))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::travel::{FolderSource, inline};

    fn read(manifest: &str, config: &str) -> Result<CacheImport, ImportError> {
        let source = Arc::new(FolderSource { path: "nowhere".into() });
        CacheImport::read("test", manifest.as_bytes(), config.as_bytes(), source)
    }

    fn manifest(kind: &str, layers: usize) -> String {
        let digest = Digest::sha256(b"layer");
        let layer = format!(r#"{{"mediaType":"x","digest":"{digest}","size":1}}"#);
        let layers = vec![layer; layers].join(",");
        format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"{kind}","digest":"{digest}","size":1}},"layers":[{layers}]}}"#
        )
    }

    #[test]
    fn documents_of_strangers() {
        let (key, layer) = (Digest::sha256(b"key"), Digest::sha256(b"tar"));
        let steps = format!(r#"[{{"key":"{key}","diffId":"{layer}","size":9}}]"#);
        let records = format!(r#"{{"version":1,"steps":{steps},"diffIds":["{layer}"]}}"#);
        let good = read(&manifest(RECORDS_TYPE, 1), &records).unwrap();
        assert_eq!(good.step(&key).unwrap().size, 9);
        assert!(good.layer(&layer).is_some() && good.layer(&key).is_none());
        let check = |manifest: &str, config: &str, expected: &str| {
            let error = read(manifest, config).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("{", "{}", "its manifest is not valid");
        check(&manifest(RECORDS_TYPE, 2), &records, "it has 2 layers and names 1");
        check(&manifest(RECORDS_TYPE, 0), r#"{"version":9}"#, "version 9");
        let path = r#"{"version":1,"diffIds":["../../etc/passwd"]}"#;
        check(&manifest(RECORDS_TYPE, 1), path, "is not valid");
        check(&manifest("application/vnd.oci.image.config.v1+json", 0), "{}", "neither");
    }

    #[test]
    fn an_image_has_its_own() {
        let layer = Digest::sha256(b"tar");
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{layer}"]}}}}"#
        );
        let config = inline(config.as_bytes(), &Records::default().normalized());
        let kind = "application/vnd.oci.image.config.v1+json";
        let import = read(&manifest(kind, 1), std::str::from_utf8(&config).unwrap()).unwrap();
        assert!(import.is_empty() && import.layer(&layer).is_some());
    }
}
