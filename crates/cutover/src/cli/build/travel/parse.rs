//! What `--cache-from` and `--cache-to` say.

use std::path::PathBuf;

use cutover_build::travel::Mode;
use cutover_core::{Digest, Reference};
use cutover_store::LayerForm;

use super::super::outputs::Fields;
use crate::failure::{Failure, Outcome};

/// A cache to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Local { path: PathBuf, tag: String, digest: Option<Digest> },
    Registry(Reference),
}

/// A cache to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum To {
    Inline,
    Local { path: PathBuf, tag: String, mode: Mode, form: LayerForm, ignore_error: bool },
    Registry { reference: Reference, mode: Mode, form: LayerForm, ignore_error: bool },
}

/// The tag of a cache in a directory that has none.
const TAG: &str = "latest";

fn fields(flag: &'static str, text: &str) -> Outcome<(Fields, String)> {
    if !text.contains('=') {
        let fields = Fields::read(flag, &format!("type=registry,ref={text}"))?;
        return with_kind(fields);
    }
    with_kind(Fields::read(flag, text)?)
}

fn with_kind(mut fields: Fields) -> Outcome<(Fields, String)> {
    match fields.take("type") {
        Some(kind) => Ok((fields, kind)),
        None => Err(fields.bad("`type` is missing")),
    }
}

fn unknown(fields: &Fields, kind: &str) -> Failure {
    let why = match kind {
        "gha" | "s3" | "azblob" => format!("caches of type `{kind}` are not supported"),
        _ => format!("type `{kind}` is not known"),
    };
    fields.bad(why).hint("types are `registry`, `local` and `inline`")
}

fn reference(fields: &mut Fields) -> Outcome<Reference> {
    let text = fields.take("ref").ok_or_else(|| fields.bad("`ref` is missing"))?;
    text.parse().map_err(|error: cutover_core::reference::ParseReferenceError| {
        fields.bad(error.to_string())
    })
}

impl From {
    pub(super) fn read(text: &str) -> Outcome<Self> {
        let (mut fields, kind) = fields("--cache-from", text)?;
        let from = match kind.as_str() {
            // an image has its cache where the image is
            "registry" | "inline" => Self::Registry(reference(&mut fields)?),
            "local" => {
                let path = fields.take("src").ok_or_else(|| fields.bad("`src` is missing"))?;
                let digest = fields.take("digest").map(|text| text.parse()).transpose();
                let digest = digest.map_err(|error: cutover_core::digest::ParseDigestError| {
                    fields.bad(error.to_string())
                })?;
                let tag = fields.take("tag").unwrap_or_else(|| TAG.to_owned());
                Self::Local { path: PathBuf::from(path), tag, digest }
            }
            other => return Err(unknown(&fields, other)),
        };
        fields.end()?;
        Ok(from)
    }

    /// As people would say it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Local { path, .. } => path.display().to_string(),
            Self::Registry(reference) => reference.to_string(),
        }
    }
}

impl To {
    pub(super) fn read(text: &str) -> Outcome<Self> {
        let (mut fields, kind) = fields("--cache-to", text)?;
        let mode = match fields.take("mode").as_deref() {
            None | Some("min") => Mode::Min,
            Some("max") if kind == "inline" => {
                return Err(fields
                    .bad("the image has its own layers only: `mode=max` is not for `inline`")
                    .hint("use `type=registry,mode=max`"));
            }
            Some("max") => Mode::Max,
            Some(other) => {
                return Err(fields.bad(format!("`mode` is `min` or `max`, not `{other}`")));
            }
        };
        let level = fields.take("compression-level");
        let form = match fields.take("compression") {
            Some(name) => LayerForm::parse(&name, level.as_deref())
                .map_err(|error| fields.bad(error.to_string()))?,
            None if level.is_some() => {
                return Err(fields.bad("`compression-level` needs a `compression`"));
            }
            None => LayerForm::ZSTD,
        };
        let ignore_error = fields.truth("ignore-error")?.unwrap_or(false);
        // our layers are compressed once, and it is an OCI manifest in any case
        fields.truth("force-compression")?;
        for key in ["oci-mediatypes", "image-manifest"] {
            if fields.truth(key)? == Some(false) {
                return Err(fields.bad(format!("`{key}=false` is not supported")));
            }
        }
        let to = match kind.as_str() {
            "inline" => Self::Inline,
            "registry" => {
                let reference = reference(&mut fields)?;
                Self::Registry { reference, mode, form, ignore_error }
            }
            "local" => {
                let path = fields.take("dest").ok_or_else(|| fields.bad("`dest` is missing"))?;
                let tag = fields.take("tag").unwrap_or_else(|| TAG.to_owned());
                Self::Local { path: PathBuf::from(path), tag, mode, form, ignore_error }
            }
            other => return Err(unknown(&fields, other)),
        };
        fields.end()?;
        Ok(to)
    }

    pub(super) fn ignores_errors(&self) -> bool {
        match self {
            Self::Inline => false,
            Self::Local { ignore_error, .. } | Self::Registry { ignore_error, .. } => *ignore_error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches() {
        assert_eq!(From::read("r.io/a:c").unwrap().name(), "r.io/a:c");
        assert_eq!(From::read("type=registry,ref=r.io/a:c").unwrap().name(), "r.io/a:c");
        assert!(
            matches!(From::read("type=local,src=d").unwrap(), From::Local { tag, .. } if tag == "latest")
        );
        assert_eq!(To::read("type=inline").unwrap(), To::Inline);
        let max =
            To::read("type=local,dest=d,mode=max,compression=gzip,ignore-error=true").unwrap();
        assert!(matches!(max, To::Local { mode: Mode::Max, form: LayerForm::Gzip { .. }, .. }));
        assert!(max.ignores_errors());
    }

    #[test]
    fn mistakes() {
        let check = |result: Result<(), Failure>, expected: &str| {
            let said = result.unwrap_err().to_string();
            assert!(said.contains(expected), "{said}");
        };
        check(To::read("type=gha").map(drop), "caches of type `gha` are not supported");
        check(From::read("type=s3,bucket=b").map(drop), "caches of type `s3` are not supported");
        check(To::read("type=inline,mode=max").map(drop), "not for `inline`");
        check(To::read("type=local").map(drop), "`dest` is missing");
        check(From::read("type=local,dest=d").map(drop), "`src` is missing");
        check(To::read("type=local,dest=d,mode=all").map(drop), "`min` or `max`");
        check(From::read("type=registry,ref=A").map(drop), "uppercase");
        check(To::read("dest=d").map(drop), "`type` is missing");
    }
}
