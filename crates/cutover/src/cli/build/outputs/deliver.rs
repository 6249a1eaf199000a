//! Carrying out one output of what was built.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use cutover_build::attest::EMPTY;
use cutover_build::output::{self, Layout, Named, OutputError, Packed};
use cutover_build::{BuildOptions, Built};
use cutover_core::oci::{Descriptor, Index, Platform, media_type};
use cutover_core::{Digest, Reference};
use cutover_store::{Image, MAX_DOCUMENT, Store};
use tempfile::NamedTempFile;

use super::Annotations;
use super::attest::Attestations;
use super::parse::{Dest, Kind as What, Output};
use crate::failure::{Context as _, Failure, Kind, Outcome};
use crate::ui::Ui;

/// What was built, read from the store.
pub(super) struct Result {
    /// Of the image, or of the index.
    pub(super) descriptor: Descriptor,
    /// The index of several platforms.
    pub(super) index: Option<Index>,
    /// With the annotations that its entry in an index has.
    pub(super) images: Vec<(Image, Descriptor)>,
}

pub(super) fn doing(what: &str) -> impl FnOnce(OutputError) -> Failure {
    let what = what.to_owned();
    move |error| {
        Failure::new(Kind::Internal, anyhow::Error::new(error).context(format!("failed to {what}")))
    }
}

impl Result {
    pub(super) fn read(
        store: &Store,
        built: &Built,
        options: &BuildOptions,
        annotations: &Annotations,
    ) -> Outcome<Self> {
        let bytes = store.blobs().read_bounded(&built.image, MAX_DOCUMENT)?;
        let index = serde_json::from_slice::<Index>(&bytes).ok();
        let index = index.filter(|index| !index.manifests.is_empty());
        let mut images = Vec::new();
        match &index {
            Some(index) => {
                for entry in &index.manifests {
                    images.push((Image::load(store, &entry.digest)?, entry.clone()));
                }
            }
            None => {
                let image = Image::load(store, &built.image)?;
                let platform = options.platform.as_ref().unwrap_or(&options.host_platform);
                let entry = Descriptor {
                    annotations: annotations.of_descriptor(platform),
                    platform: Some(platform_of(&image)),
                    ..described(media_type::OCI_MANIFEST, &bytes)
                };
                images.push((image, entry));
            }
        }
        let kind = if index.is_some() { media_type::OCI_INDEX } else { media_type::OCI_MANIFEST };
        Ok(Self { descriptor: described(kind, &bytes), index, images })
    }

    /// The config's digest, of an image for one platform.
    pub(super) fn config(&self) -> Option<&Digest> {
        match (&self.index, self.images.as_slice()) {
            (None, [(image, _)]) => Some(&image.config_digest),
            _ => None,
        }
    }

    /// Does what `output` says; what was written or pushed, if it is an image.
    pub(super) fn deliver(
        &self,
        ui: Ui,
        store: &Store,
        output: &Output,
        attest: &Attestations,
    ) -> Outcome<Option<Descriptor>> {
        match (output.kind, &output.dest) {
            (What::Stay, _) | (What::Docker, Dest::Nowhere) => Ok(None),
            (What::Push, _) => self.push(ui, store, output, attest).map(Some),
            (What::Oci | What::Docker, Dest::Path(path)) if output.folder => {
                let layout = Layout::folder(path).map_err(doing("write an OCI layout"))?;
                let written = self.layout(store, output, layout, attest)?;
                ui.say(format!("OCI layout written to `{}`", path.display()));
                Ok(Some(written))
            }
            (What::Oci | What::Docker, dest) => {
                let mut written = None;
                write_to(dest, &mut |out| {
                    written = Some(self.layout(store, output, Layout::tar(out), attest)?);
                    Ok(())
                })?;
                say_written(ui, dest);
                Ok(written)
            }
            (What::Tar, dest) => {
                let (image, _) = &self.images[0];
                write_to(dest, &mut |out| {
                    output::write_tar(store, image, out).map_err(doing("write the files as a tar"))
                })?;
                say_written(ui, dest);
                Ok(None)
            }
            (What::Local, Dest::Path(path)) => {
                self.files(ui, store, (path, output), attest).map(|()| None)
            }
            (What::Local, _) => Ok(None),
        }
    }

    fn files(
        &self,
        ui: Ui,
        store: &Store,
        (path, output): (&Path, &Output),
        attest: &Attestations,
    ) -> Outcome {
        let split = output.split.unwrap_or(self.index.is_some());
        for (image, _) in &self.images {
            let path = match split {
                true => path.join(folder_of(&platform_of(image))),
                false => path.to_owned(),
            };
            let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
            let out = output::write_files(store, image, &path, owner)
                .map_err(doing(&format!("write the files to `{}`", path.display())))?;
            let subject = described(media_type::OCI_MANIFEST, &image.manifest_bytes);
            let documents = attest.of(store, image, &subject, &output.names)?;
            super::attest::write_files(&path, &documents)?;
            ui.say(format!("{} files written to `{}`", out.files, path.display()));
            if out.left_out > 0 {
                ui.warn(format!("{} devices and FIFOs were left out", out.left_out));
            }
        }
        Ok(())
    }

    fn layout(
        &self,
        store: &Store,
        output: &Output,
        mut layout: Layout<'_>,
        attest: &Attestations,
    ) -> Outcome<Descriptor> {
        let failed = || doing("write the image");
        let names: Vec<_> = output.names.iter().map(named).collect();
        let (mut entries, mut referrers, mut statements) = (Vec::new(), Vec::new(), Vec::new());
        for (image, entry) in &self.images {
            let packed = output::pack(store, image, output.form).map_err(failed())?;
            layout.image(store, &packed).map_err(failed())?;
            if output.kind == What::Docker {
                layout.docker(&packed, &names);
            }
            // docker's archive has no place for them
            let inline = output.inline && attest.is_any();
            if inline {
                let subject = of_entry(&packed, entry);
                let one = attest.inline(store, image, &subject, &output.names)?;
                for document in one.documents.iter().chain([&one.manifest]) {
                    layout.document(document).map_err(failed())?;
                }
                entries.push(subject);
                statements.push(one.entry);
                continue;
            }
            if output.kind == What::Oci {
                for one in attest.of(store, image, &packed.descriptor, &output.names)? {
                    let manifest = one.manifest(&packed.descriptor);
                    for document in [EMPTY, &one.document, &manifest] {
                        layout.document(document).map_err(failed())?;
                    }
                    let artifact_type = Some(one.media_type.to_owned());
                    let plain = described(media_type::OCI_MANIFEST, &manifest);
                    referrers.push(Descriptor { artifact_type, ..plain });
                }
            }
            entries.push(of_entry(&packed, entry));
        }
        let top = match &self.index {
            None if statements.is_empty() => entries.remove(0),
            index => {
                entries.append(&mut statements);
                let bytes = index_of(index.as_ref(), entries);
                layout.document(&bytes).map_err(failed())?;
                described(media_type::OCI_INDEX, &bytes)
            }
        };
        layout.entry(&top, &names);
        referrers.iter().for_each(|one| layout.entry(one, &[]));
        layout.finish().map_err(failed())?;
        Ok(top)
    }

    /// The images with their platforms.
    pub(super) fn images(&self) -> impl Iterator<Item = (&Image, String)> {
        self.images.iter().map(|(image, _)| {
            let platform = platform_of(image);
            let variant = platform.variant.as_deref().map(|it| format!("/{it}"));
            let variant = variant.unwrap_or_default();
            (image, format!("{}/{}{variant}", platform.os, platform.architecture))
        })
    }
}

/// The index with these entries; a new one for an image that had none.
pub(super) fn index_of(index: Option<&Index>, manifests: Vec<Descriptor>) -> Vec<u8> {
    let new = || Index {
        schema_version: 2,
        media_type: Some(media_type::OCI_INDEX.to_owned()),
        manifests: Vec::new(),
        annotations: Default::default(),
    };
    let index = Index { manifests, ..index.cloned().unwrap_or_else(new) };
    serde_json::to_vec(&index).expect("only string keys")
}

/// The entry of a packed image, with the platform and annotations of the one that it replaces.
fn of_entry(packed: &Packed, entry: &Descriptor) -> Descriptor {
    Descriptor {
        platform: entry.platform.clone(),
        annotations: entry.annotations.clone(),
        ..packed.descriptor.clone()
    }
}

pub(super) fn described(kind: &str, bytes: &[u8]) -> Descriptor {
    Descriptor::new(kind, Digest::sha256(bytes), bytes.len() as u64)
}

pub(super) fn platform_of(image: &Image) -> Platform {
    Platform {
        variant: image.config.variant.clone(),
        ..Platform::new(&image.config.os, &image.config.architecture)
    }
}

/// BuildKit's name of a platform's directory.
fn folder_of(platform: &Platform) -> String {
    let variant = platform.variant.as_deref().map(|it| format!("_{it}")).unwrap_or_default();
    format!("{}_{}{variant}", platform.os, platform.architecture).replace(['/', '.'], "_")
}

fn named(name: &Reference) -> Named {
    Named {
        canonical: name.canonical(),
        familiar: name.to_string(),
        tag: name.tag().map(str::to_owned),
    }
}

fn say_written(ui: Ui, dest: &Dest) {
    if let Dest::Path(path) = dest {
        ui.say(format!("written to `{}`", path.display()));
    }
}

/// Runs `write` on stdout, or on a file that appears whole or not at all.
fn write_to(dest: &Dest, write: &mut dyn FnMut(&mut dyn Write) -> Outcome) -> Outcome {
    let Dest::Path(path) = dest else {
        let mut out = BufWriter::with_capacity(128 << 10, io::stdout().lock());
        write(&mut out)?;
        return Ok(out.flush()?);
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let file = tempfile::Builder::new().prefix(".cutover-").tempfile_in(folder);
    let file = file.or_fail(Kind::Config, format!("create a file in `{}`", folder.display()))?;
    let mut out = BufWriter::with_capacity(128 << 10, file);
    write(&mut out)?;
    let file = out.into_inner().map_err(|error| error.into_error())?;
    publish(file, path)
}

/// Gives a finished file its name.
pub(super) fn publish(file: NamedTempFile, path: &Path) -> Outcome {
    use std::os::unix::fs::PermissionsExt as _;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    file.persist(path)
        .map(drop)
        .map_err(|error| error.error)
        .or_fail(Kind::Config, format!("write `{}`", path.display()))
}
