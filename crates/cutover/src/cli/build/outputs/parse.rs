//! One `--output`: what is written, and whether it makes sense.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use cutover_build::output::Form;
use cutover_core::Reference;
use cutover_store::LayerForm;

use super::{Annotations, Fields, usage};
use crate::failure::Outcome;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// In the store, where it is anyway.
    Stay,
    Push,
    Oci,
    Docker,
    Local,
    Tar,
}

/// Where an output's bytes go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Dest {
    Nowhere,
    Stdout,
    /// A file, or a directory for outputs that are one.
    Path(PathBuf),
}

#[derive(Clone, Debug)]
pub(super) struct Output {
    pub(super) kind: Kind,
    pub(super) dest: Dest,
    pub(super) names: Vec<Reference>,
    pub(super) form: Form,
    /// Without a tag.
    pub(super) by_digest: bool,
    /// Whatever the certificate is.
    pub(super) insecure: bool,
    /// A layout's directory in place of a tar of it.
    pub(super) folder: bool,
    /// Attestations are entries of the index.
    pub(super) inline: bool,
    /// A directory for each platform; `None`: if there are several.
    pub(super) split: Option<bool>,
}

/// Reads one `--output`; its annotations are the image's.
pub(super) fn output(text: &str, annotations: &mut Annotations) -> Outcome<Output> {
    let plain = !text.contains([',', '=']);
    let mut fields = match text {
        "" => return Err(usage("`--output` is empty")),
        "-" => Fields::read("--output", "type=tar,dest=-")?,
        dir if plain => {
            let mut fields = Fields::read("--output", "type=local")?;
            let output = of_fields(&mut fields, annotations)?;
            return Ok(Output { dest: Dest::Path(PathBuf::from(dir)), ..output });
        }
        text => Fields::read("--output", text)?,
    };
    let output = of_fields(&mut fields, annotations)?;
    fields.end()?;
    Ok(output)
}

fn of_fields(fields: &mut Fields, annotations: &mut Annotations) -> Outcome<Output> {
    let kind = match fields.take("type").as_deref() {
        Some("image") => Kind::Stay,
        Some("registry") => Kind::Push,
        Some("oci") => Kind::Oci,
        Some("docker") => Kind::Docker,
        Some("local") => Kind::Local,
        Some("tar") => Kind::Tar,
        Some(other) => {
            let why = format!("type `{other}` is not known");
            return Err(fields
                .bad(why)
                .hint("types are image, registry, oci, docker, local and tar"));
        }
        None => return Err(fields.bad("`type` is missing")),
    };
    let mut output = Output {
        kind,
        dest: match fields.take("dest").as_deref() {
            None | Some("") => Dest::Nowhere,
            Some("-") => Dest::Stdout,
            Some(path) => Dest::Path(PathBuf::from(path)),
        },
        names: Vec::new(),
        form: Form::default(),
        by_digest: false,
        insecure: false,
        folder: false,
        inline: false,
        split: None,
    };
    if matches!(kind, Kind::Local | Kind::Tar) {
        output.split = fields.truth("platform-split")?;
        if fields.take("mode").is_some_and(|mode| mode != "copy") {
            return Err(fields.bad("`mode` is `copy`: files that are there are never removed"));
        }
    } else {
        of_image(fields, &mut output, annotations)?;
    }
    // our layers have no time of the build, and those of the base image are never rewritten
    fields.truth("rewrite-timestamp")?;
    output.inline = fields.truth("attestation-inline")?.unwrap_or(false);
    if output.inline && !matches!(output.kind, Kind::Push | Kind::Oci | Kind::Stay) {
        return Err(fields
            .bad("attestations are within an index, which this type has not")
            .hint("use `type=oci`, or push the image"));
    }
    Ok(output)
}

fn of_image(fields: &mut Fields, output: &mut Output, annotations: &mut Annotations) -> Outcome {
    for name in fields.take("name").unwrap_or_default().split(',').filter(|it| !it.is_empty()) {
        let parsed = name.trim().parse::<Reference>();
        output.names.push(parsed.map_err(|error| fields.bad(error.to_string()))?);
    }
    output.form.docker = match fields.truth("oci-mediatypes")? {
        Some(oci) => !oci,
        None => output.kind == Kind::Docker,
    };
    output.form.force = fields.truth("force-compression")?.unwrap_or(false);
    let level = fields.take("compression-level");
    output.form.layers = match fields.take("compression").as_deref() {
        Some("estargz") => {
            return Err(fields
                .bad("compression `estargz` is not supported")
                .hint("use `gzip`, which every client reads, or `zstd`"));
        }
        Some(name) => {
            let form = LayerForm::parse(name, level.as_deref());
            Some(form.map_err(|error| fields.bad(error.to_string()))?)
        }
        None if level.is_some() => {
            return Err(fields.bad("`compression-level` needs a `compression`"));
        }
        // what old dockers load, whatever the media types are
        None if output.kind == Kind::Docker => Some(LayerForm::GZIP),
        None => None,
    };
    match output.kind {
        Kind::Oci | Kind::Docker => {
            output.folder = fields.truth("tar")? == Some(false);
            if output.dest == Dest::Nowhere && (output.kind == Kind::Oci || output.folder) {
                output.dest = Dest::Stdout;
            }
        }
        _ => {
            if fields.truth("push")? == Some(true) {
                output.kind = Kind::Push;
            }
            output.by_digest = fields.truth("push-by-digest")?.unwrap_or(false);
            output.insecure = fields.truth("registry.insecure")?.unwrap_or(false);
            // the store is where the image is made
            fields.truth("unpack")?;
            if fields.truth("store")? == Some(false) {
                return Err(fields.bad("the image is in the store in any case"));
            }
        }
    }
    for (field, value) in fields.take_all("annotation") {
        annotations.add_field(&field, &value)?;
    }
    Ok(())
}

impl Output {
    pub(super) fn is_stdout(&self) -> bool {
        self.dest == Dest::Stdout
    }

    /// What can be said before anything is built.
    pub(super) fn check(&self, platforms: usize) -> Outcome {
        let several = platforms > 1;
        match self.kind {
            Kind::Push if self.names.is_empty() => {
                return Err(usage("there is no name to push to").hint("give it one with `-t NAME`"));
            }
            Kind::Push | Kind::Stay if self.dest != Dest::Nowhere => {
                return Err(usage("`dest` is not for an image: it goes to a registry"));
            }
            Kind::Docker if several && self.dest != Dest::Nowhere => {
                return Err(usage("docker's archive has images for one platform only")
                    .hint("use `type=oci`"));
            }
            Kind::Tar if several => {
                return Err(usage("`type=tar` is for one platform")
                    .hint("use `type=local`, or build for one platform at a time"));
            }
            Kind::Local if !matches!(self.dest, Dest::Path(_)) => {
                return Err(usage("`type=local` needs a directory: `dest=DIR`"));
            }
            Kind::Local if several && self.split == Some(false) => {
                return Err(usage("the files of several platforms do not go into one directory")
                    .hint("leave out `platform-split=false`"));
            }
            Kind::Tar if self.dest == Dest::Nowhere => {
                return Err(usage("`type=tar` needs a file: `dest=FILE`, or `-` for stdout"));
            }
            _ => {}
        }
        if self.folder && self.is_stdout() {
            return Err(usage("`tar=false` needs a directory: `dest=DIR`"));
        }
        if self.is_stdout() && std::io::stdout().is_terminal() {
            return Err(usage("an archive is not for a terminal")
                .hint("redirect stdout, or name a file with `dest=FILE`"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Outcome<Output> {
        output(text, &mut Annotations::default())
    }

    #[test]
    fn outputs() {
        let local = read("out").unwrap();
        assert_eq!((local.kind, local.dest), (Kind::Local, Dest::Path("out".into())));
        let tar = read("-").unwrap();
        assert_eq!((tar.kind, tar.dest), (Kind::Tar, Dest::Stdout));
        let push = read(r#"type=image,"name=a,r.io/b:1",push=true,compression=gzip"#).unwrap();
        assert_eq!((push.kind, push.names.len()), (Kind::Push, 2));
        assert_eq!(push.form.layers, Some(LayerForm::GZIP));
        let docker = read("type=docker,dest=x.tar").unwrap();
        assert!(docker.form.docker && docker.kind == Kind::Docker);
        assert!(!read("type=docker,oci-mediatypes=true").unwrap().form.docker);
        assert_eq!(read("type=oci").unwrap().dest, Dest::Stdout);
        let level = read("type=oci,dest=x,compression=zstd,compression-level=9").unwrap();
        assert_eq!(level.form.layers, Some(LayerForm::Zstd { level: 9 }));
    }

    #[test]
    fn mistakes() {
        let check = |text: &str, expected: &str| {
            let said = read(text).unwrap_err().to_string();
            assert!(said.contains(expected), "{text}: {said}");
        };
        check("type=oci,compression=estargz", "`estargz` is not supported");
        check("type=oci,compression=xz", "is not a compression");
        check("type=oci,compression-level=3", "needs a `compression`");
        check("type=oci,dset=x", "unknown key `dset`");
        check("type=squashfs", "type `squashfs` is not known");
        check("dest=x", "`type` is missing");
        check("type=oci,tar=maybe", "`tar` is `true` or `false`");
        check("type=local,dest=x,mode=delete", "`mode` is `copy`");
        check("type=tar,dest=x,attestation-inline=true", "within an index");
        check("type=image,store=false", "in the store in any case");
    }

    #[test]
    fn what_makes_no_sense() {
        let check = |text: &str, platforms: usize, good: bool| {
            assert_eq!(read(text).unwrap().check(platforms).is_ok(), good, "{text}");
        };
        check("type=registry", 1, false);
        check("type=registry,name=a", 1, true);
        check("type=tar,dest=x", 2, false);
        check("type=docker,dest=x", 2, false);
        check("type=docker", 2, true);
        check("type=local", 1, false);
        check("type=oci,tar=false", 1, false);
        check("type=image,dest=x", 1, false);
    }
}
