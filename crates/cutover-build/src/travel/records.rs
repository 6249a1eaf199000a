//! [`Records`]: the documents of a travelling cache.

use std::collections::BTreeSet;

use cutover_core::Digest;
use serde::{Deserialize, Serialize};

/// Media type of the records, and the type of the artifact that has them.
pub const RECORDS_TYPE: &str = "application/vnd.cutover.buildcache.v1+json";
/// The member of an image's config that has its records.
pub const CONFIG_KEY: &str = "dev.cutover.buildcache.v1";
/// The version of the records that is written, and the newest that is read.
pub(super) const VERSION: u32 = 1;
/// Records of each kind that are read; documents are bounded anyway.
const MAX_RECORDS: usize = 50_000;

/// What was built: the part of the cache that one build used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Records {
    pub version: u32,
    #[serde(default)]
    pub steps: Vec<StepRecord>,
    #[serde(default)]
    pub contents: Vec<ContentRecord>,
    /// What each layer of the document unpacks to, in the manifest's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diff_ids: Vec<Digest>,
}

/// A step and the layer that it made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepRecord {
    /// The digest of everything that the step could observe.
    pub key: Digest,
    pub diff_id: Digest,
    /// Bytes of the layer's tar.
    pub size: u64,
    /// Where the layer is on this machine.
    #[serde(skip)]
    pub chain_id: Option<Digest>,
}

/// Files that were selected in layers that never change, and the digest of what they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentRecord {
    pub selection: Digest,
    pub digest: Digest,
}

impl Records {
    /// Each record once, in an order that says nothing: the same build gives the same document.
    #[must_use]
    pub fn normalized(mut self) -> Self {
        self.version = VERSION;
        self.steps.sort_by(|a, b| (&a.key, &a.chain_id).cmp(&(&b.key, &b.chain_id)));
        self.steps.dedup_by(|a, b| a.key == b.key);
        self.contents.sort_by(|a, b| a.selection.cmp(&b.selection));
        self.contents.dedup_by(|a, b| a.selection == b.selection);
        self
    }

    /// Adds those of another platform's build.
    pub fn add(&mut self, other: Self) {
        self.steps.extend(other.steps);
        self.contents.extend(other.contents);
    }

    /// Whether they can be read and are not too many.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.version > VERSION {
            return Err(format!("it has version {}, this program knows {VERSION}", self.version));
        }
        let most = self.steps.len().max(self.contents.len()).max(self.diff_ids.len());
        match most > MAX_RECORDS {
            true => {
                Err(format!("it has {most} records, more than the {MAX_RECORDS} that are read"))
            }
            false => Ok(()),
        }
    }

    /// The layers that steps made, each once.
    pub(super) fn layers(&self) -> Vec<&StepRecord> {
        let mut seen = BTreeSet::new();
        self.steps.iter().filter(|step| seen.insert(&step.diff_id)).collect()
    }
}

/// The image config `config` with the records in it. The bytes before them stay as they are.
pub fn inline(config: &[u8], records: &Records) -> Vec<u8> {
    let Some(body) = config.strip_suffix(b"}") else { return config.to_vec() };
    let records = serde_json::to_vec(records).expect("only string keys");
    let key = format!(",\"{CONFIG_KEY}\":");
    [body, key.as_bytes(), &records, b"}"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(key: &[u8], layer: &[u8]) -> StepRecord {
        let (key, diff_id) = (Digest::sha256(key), Digest::sha256(layer));
        StepRecord { key, diff_id, size: 7, chain_id: None }
    }

    #[test]
    fn the_order_of_the_build_is_not_told() {
        let (a, b) = (step(b"a", b"1"), step(b"b", b"1"));
        let of = |steps: Vec<StepRecord>| Records { steps, ..Records::default() }.normalized();
        assert_eq!(of(vec![a.clone(), b.clone(), a.clone()]), of(vec![b.clone(), a.clone()]));
        assert_eq!(of(vec![a, b]).layers().len(), 1);
    }

    #[test]
    fn a_config_keeps_its_bytes() {
        let records = Records { steps: vec![step(b"a", b"1")], ..Records::default() }.normalized();
        let config = inline(br#"{"os":"linux","z":1}"#, &records);
        assert!(config.starts_with(br#"{"os":"linux","z":1,"dev.cutover.buildcache.v1":{"#));
        let read: serde_json::Value = serde_json::from_slice(&config).unwrap();
        let back: Records = serde_json::from_value(read[CONFIG_KEY].clone()).unwrap();
        assert_eq!(back, records);
    }

    #[test]
    fn too_new_or_too_many() {
        let newer = Records { version: 2, ..Records::default() };
        assert!(newer.check().unwrap_err().contains("version 2"));
        let many = Records { diff_ids: vec![Digest::sha256(b""); 50_001], ..Records::default() };
        assert!(many.check().unwrap_err().contains("50001 records"));
    }
}
