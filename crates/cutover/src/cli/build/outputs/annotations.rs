//! Annotations: of manifests, of the index of several platforms, and of the index's entries.

use std::collections::BTreeMap;

use cutover_core::oci::Platform;

use super::usage;
use crate::failure::Outcome;

/// What an annotation is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Manifest,
    ManifestDescriptor,
    Index,
}

#[derive(Clone, Debug)]
struct Annotation {
    of: Of,
    /// `None`: all.
    platform: Option<Platform>,
    key: String,
    value: String,
}

/// All annotations of one build.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Annotations(Vec<Annotation>);

impl Annotations {
    /// `[TYPE[PLATFORM],…:]KEY=VALUE`, as buildx reads it.
    pub(super) fn add(&mut self, text: &str) -> Outcome {
        let Some((name, value)) = text.split_once('=') else {
            return Err(usage(format!("`--annotation {text}` is not `KEY=VALUE`")));
        };
        let (kinds, key) = match name.split_once(':') {
            Some((kinds, key)) => (kinds, key),
            None => ("manifest", name),
        };
        if key.is_empty() {
            return Err(usage(format!("`--annotation {text}` has no key")));
        }
        kinds.split(',').try_for_each(|kind| self.one(kind, key, value))
    }

    /// A field `annotation[-TYPE][[PLATFORM]].KEY` of an output.
    pub(super) fn add_field(&mut self, field: &str, value: &str) -> Outcome {
        let (kind, key) = field.split_once('.').unwrap_or((field, ""));
        let kind = kind.strip_prefix("annotation").unwrap_or(kind);
        let kind = match kind.strip_prefix('-') {
            Some(kind) => kind.to_owned(),
            None => format!("manifest{kind}"),
        };
        self.one(&kind, key, value)
    }

    fn one(&mut self, kind: &str, key: &str, value: &str) -> Outcome {
        let (name, platform) = match kind.split_once('[') {
            Some((name, rest)) => {
                let text = rest.strip_suffix(']').unwrap_or(rest);
                (name, Some(super::super::platform(text)?))
            }
            None => (kind, None),
        };
        let of = match name {
            "manifest" => Of::Manifest,
            "manifest-descriptor" => Of::ManifestDescriptor,
            "index" => Of::Index,
            "index-descriptor" => {
                return Err(usage("annotations of `index-descriptor` are not supported")
                    .hint("annotate the `index` itself"));
            }
            other => {
                return Err(usage(format!("annotations of `{other}` are not known"))
                    .hint("they are of `manifest`, `manifest-descriptor` or `index`"));
            }
        };
        if of == Of::Index && platform.is_some() {
            return Err(usage("an index is of all platforms: an annotation of it has none"));
        }
        let (key, value) = (key.to_owned(), value.to_owned());
        self.0.push(Annotation { of, platform, key, value });
        Ok(())
    }

    pub(super) fn check(&self, platforms: usize) -> Outcome {
        match platforms < 2 && self.0.iter().any(|one| one.of == Of::Index) {
            true => Err(usage("an image for one platform has no index to annotate")
                .hint("annotate the `manifest`, or build for several platforms")),
            false => Ok(()),
        }
    }

    fn select(&self, of: Of, platform: Option<&Platform>) -> BTreeMap<String, String> {
        let fits = |one: &&Annotation| {
            one.of == of && (one.platform.is_none() || one.platform.as_ref() == platform)
        };
        let chosen = self.0.iter().filter(fits);
        chosen.map(|one| (one.key.clone(), one.value.clone())).collect()
    }

    pub(in super::super) fn of_manifest(&self, platform: &Platform) -> BTreeMap<String, String> {
        self.select(Of::Manifest, Some(platform))
    }

    pub(in super::super) fn of_descriptor(&self, platform: &Platform) -> BTreeMap<String, String> {
        self.select(Of::ManifestDescriptor, Some(platform))
    }

    pub(in super::super) fn of_index(&self) -> BTreeMap<String, String> {
        self.select(Of::Index, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_platforms() {
        let mut all = Annotations::default();
        for text in [
            "org.opencontainers.image.url=https://x.org/?a=b",
            "index,manifest-descriptor:k=v",
            "manifest[linux/arm64]:only=arm",
        ] {
            all.add(text).unwrap();
        }
        all.add_field("annotation-manifest.field", "1").unwrap();
        all.add_field("annotation[linux/arm64].short", "2").unwrap();
        let keys = |map: BTreeMap<String, String>| map.into_keys().collect::<Vec<_>>();
        let (amd, arm) = (Platform::new("linux", "amd64"), Platform::new("linux", "arm64"));
        assert_eq!(keys(all.of_manifest(&amd)), ["field", "org.opencontainers.image.url"]);
        assert_eq!(
            keys(all.of_manifest(&arm)),
            ["field", "only", "org.opencontainers.image.url", "short"]
        );
        assert_eq!(
            (keys(all.of_index()), keys(all.of_descriptor(&amd))),
            (vec!["k".into()], vec!["k".into()])
        );
        assert!(all.check(1).is_err() && all.check(2).is_ok());
        for bad in ["x", "=v", "layer:a=b", "index-descriptor:a=b", "index[linux/amd64]:a=b"] {
            assert!(Annotations::default().add(bad).is_err(), "{bad}");
        }
    }
}
