//! `--sbom`, `--provenance` and `--attest`: documents that go along with an image, on request.

use std::path::Path;

use clap::Args;
use cutover_build::attest::{self, Attestation, Described, Material, ProvenanceMode, Request};
use cutover_build::{BuildOptions, Built};
use cutover_core::Reference;
use cutover_core::oci::{Descriptor, Platform};
use cutover_store::{Image, Store};

use super::fields::Fields;
use super::parse::{Kind as What, Output};
use super::usage;
use crate::clock;
use crate::failure::{Context as _, Kind, Outcome};

#[derive(Debug, Args)]
pub(super) struct AttestFlags {
    /// List the packages of the image (SPDX); goes along with what is pushed or written
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    sbom: Option<String>,
    /// Say what the image was made of (SLSA provenance); `mode=max` also with which arguments
    #[arg(long, value_name = "true|false|mode=MODE", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    provenance: Option<String>,
    /// The same as fields: `type=sbom`, `type=provenance,mode=max,builder-id=…`
    #[arg(long, value_name = "ATTESTATION")]
    attest: Vec<String>,
}

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    sbom: bool,
    provenance: Option<ProvenanceMode>,
    builder: String,
}

impl AttestFlags {
    pub(super) fn plan(&self) -> Outcome<Wanted> {
        let mut wanted = Wanted::default();
        let word = |text: &str| match text {
            "true" | "1" | "" => Some("disabled=false".to_owned()),
            "false" | "0" => Some("disabled=true".to_owned()),
            _ => None,
        };
        for text in &self.attest {
            let mut fields = Fields::read("--attest", text)?;
            match fields.take("type").as_deref() {
                Some("sbom") => wanted.sbom(fields)?,
                Some("provenance") => wanted.provenance(fields)?,
                Some(other) => {
                    return Err(fields
                        .bad(format!("type `{other}` is not known"))
                        .hint("types are `sbom` and `provenance`"));
                }
                None => return Err(fields.bad("`type` is missing")),
            }
        }
        if let Some(text) = &self.sbom {
            let text = word(text).unwrap_or_else(|| text.clone());
            wanted.sbom(Fields::read("--sbom", &text)?)?;
        }
        if let Some(text) = &self.provenance {
            let text = word(text).unwrap_or_else(|| text.clone());
            wanted.provenance(Fields::read("--provenance", &text)?)?;
        }
        Ok(wanted)
    }
}

impl Wanted {
    fn sbom(&mut self, mut fields: Fields) -> Outcome {
        if fields.take("generator").is_some() {
            return Err(fields.bad("there are no generators: packages are read by cutover itself"));
        }
        self.sbom = !fields.truth("disabled")?.unwrap_or(false);
        fields.end()
    }

    fn provenance(&mut self, mut fields: Fields) -> Outcome {
        let mode = match fields.take("mode").as_deref() {
            None | Some("min") => ProvenanceMode::Min,
            Some("max") => ProvenanceMode::Max,
            Some(other) => {
                return Err(fields.bad(format!("`mode` is `min` or `max`, not `{other}`")));
            }
        };
        if fields.take("version").is_some_and(|version| version != "v1") {
            return Err(fields.bad("provenance has version `v1`"));
        }
        if fields.truth("inline-only")? == Some(true) {
            return Err(fields.bad("`inline-only` is not supported: it is pushed beside the image"));
        }
        // a word of trust, not an option: builds are reproducible or not by what they do
        fields.truth("reproducible")?;
        self.builder = fields.take("builder-id").unwrap_or_default();
        self.provenance = (!fields.truth("disabled")?.unwrap_or(false)).then_some(mode);
        fields.end()
    }

    pub(super) fn is_any(&self) -> bool {
        self.sbom || self.provenance.is_some()
    }

    /// Refuses what would go nowhere.
    pub(super) fn check(&self, outputs: &[Output]) -> Outcome {
        let carries = |output: &Output| matches!(output.kind, What::Push | What::Oci | What::Local);
        match self.is_any() && !outputs.iter().any(carries) {
            true => Err(usage("attestations go along with an image, and none leaves").hint(
                "add `--push`, `--output type=oci,dest=FILE` or `--output type=local,dest=DIR`",
            )),
            false => Ok(()),
        }
    }
}

/// What the documents of one build have in common.
#[derive(Debug)]
pub(super) struct Attestations {
    wanted: Wanted,
    request: Request,
    materials: Vec<Material>,
}

impl Attestations {
    pub(super) fn new(
        wanted: &Wanted,
        options: &BuildOptions,
        built: &Built,
        context: &str,
    ) -> Outcome<Self> {
        if !wanted.is_any() {
            let (wanted, request) = (wanted.clone(), Request::default());
            return Ok(Self { wanted, request, materials: Vec::new() });
        }
        let (dockerfile, source) = attest::dockerfile(options).unwrap_or_default();
        let started = jiff::Timestamp::from_second(options.now)?.to_string();
        let finished = jiff::Timestamp::from_second(clock::now().as_second())?.to_string();
        let request = Request {
            context: options.fetched.is_some().then(|| context.to_owned()),
            dockerfile,
            source: Some(source),
            target: options.target.clone(),
            build_args: options.build_args.clone(),
            labels: options.labels.clone(),
            no_cache: options.no_cache,
            platform: String::new(),
            builder_platform: shown(&options.host_platform),
            started,
            finished,
            builder: wanted.builder.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        Ok(Self { wanted: wanted.clone(), request, materials: built.materials.clone() })
    }

    pub(super) fn is_any(&self) -> bool {
        self.wanted.is_any()
    }

    /// The documents about `image`, which leaves as `subject`.
    pub(super) fn of(
        &self,
        store: &Store,
        image: &Image,
        subject: &Descriptor,
        names: &[Reference],
    ) -> Outcome<Vec<Attestation>> {
        let mut all = Vec::new();
        let platform = shown(&super::deliver::platform_of(image));
        let purl = |name: &Reference| {
            let version = name.tag().unwrap_or("latest");
            attest::image_purl(&name.familiar_name(), version, &platform)
        };
        let purls: Vec<_> = names.iter().map(purl).collect();
        if self.wanted.sbom {
            let packages = attest::packages(store, image)
                .or_fail(Kind::Internal, "list the packages of the image")?;
            let name =
                names.first().map_or_else(|| subject.digest.to_string(), ToString::to_string);
            let unnamed = format!("pkg:oci/image@{}", subject.digest.as_str().replace(':', "%3A"));
            let described = Described {
                name: &name,
                purl: purls.first().unwrap_or(&unnamed),
                digest: &subject.digest,
                created: image.config.created.as_deref().unwrap_or("1970-01-01T00:00:00Z"),
                version: env!("CARGO_PKG_VERSION"),
            };
            all.push(attest::sbom(described, &packages));
        }
        if let Some(mode) = self.wanted.provenance {
            let request = Request { platform, ..self.request.clone() };
            let about = (purls.as_slice(), &subject.digest);
            all.push(attest::provenance(mode, &request, &self.materials, about));
        }
        Ok(all)
    }

    /// The same as one more manifest of the index that has `subject` as an entry.
    pub(super) fn inline(
        &self,
        store: &Store,
        image: &Image,
        subject: &Descriptor,
        names: &[Reference],
    ) -> Outcome<attest::Inline> {
        Ok(attest::inline(&self.of(store, image, subject, names)?, subject))
    }

    /// The statement's part that `--metadata-file` has.
    pub(super) fn provenance(
        &self,
        store: &Store,
        image: &Image,
        subject: &Descriptor,
    ) -> Outcome<Option<serde_json::Value>> {
        let only = Self {
            wanted: Wanted { sbom: false, ..self.wanted.clone() },
            request: self.request.clone(),
            materials: self.materials.clone(),
        };
        let made = only.of(store, image, subject, &[])?;
        let Some(statement) = made.first() else { return Ok(None) };
        let mut statement: serde_json::Value = serde_json::from_slice(&statement.document)?;
        Ok(Some(statement["predicate"].take()))
    }
}

/// BuildKit's names of the files beside the image's own.
pub(super) fn write_files(folder: &Path, attestations: &[Attestation]) -> Outcome {
    for one in attestations {
        let name = match one.media_type {
            attest::SPDX_TYPE => "sbom.spdx.json",
            _ => "provenance.json",
        };
        let path = folder.join(name);
        fs_err::write(&path, &one.document)?;
    }
    Ok(())
}

fn shown(platform: &Platform) -> String {
    let variant = platform.variant.as_deref().map(|it| format!("/{it}")).unwrap_or_default();
    format!("{}/{}{variant}", platform.os, platform.architecture)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(sbom: Option<&str>, provenance: Option<&str>, attest: &[&str]) -> Outcome<Wanted> {
        AttestFlags {
            sbom: sbom.map(str::to_owned),
            provenance: provenance.map(str::to_owned),
            attest: attest.iter().map(|text| (*text).to_owned()).collect(),
        }
        .plan()
    }

    #[test]
    fn words_and_fields() {
        assert!(!plan(None, None, &[]).unwrap().is_any());
        assert!(!plan(Some("false"), Some("false"), &[]).unwrap().is_any());
        let both = plan(Some("true"), Some("mode=max,builder-id=ci"), &[]).unwrap();
        assert_eq!((both.sbom, both.provenance), (true, Some(ProvenanceMode::Max)));
        assert_eq!(both.builder, "ci");
        let fields = plan(None, None, &["type=sbom", "type=provenance,version=v1"]).unwrap();
        assert_eq!((fields.sbom, fields.provenance), (true, Some(ProvenanceMode::Min)));
        // the short form wins
        assert!(!plan(Some("false"), None, &["type=sbom"]).unwrap().is_any());
        for bad in ["type=vex", "type=sbom,generator=x", "type=provenance,mode=all", "sbom"] {
            assert!(plan(None, None, &[bad]).is_err(), "{bad}");
        }
        assert!(plan(None, Some("inline-only=true"), &[]).is_err());
    }
}
