//! An output that is pushed: the image, or the index with all of its images, and the documents about
//! them.

use cutover_build::attest::EMPTY;
use cutover_build::output::{self, Form};
use cutover_core::oci::{Descriptor, media_type};
use cutover_core::{Digest, Reference};
use cutover_registry::Options;
use cutover_store::{Image, Store};

use super::attest::Attestations;
use super::deliver::{Result, described, doing, index_of};
use super::parse::Output;
use crate::failure::{Failure, Kind, Outcome};
use crate::transfer;
use crate::ui::Ui;

impl Result {
    pub(super) fn push(
        &self,
        ui: Ui,
        store: &Store,
        output: &Output,
        attest: &Attestations,
    ) -> Outcome<Descriptor> {
        let plain = self.to_push(store, output.form)?;
        let inline = output.inline && attest.is_any();
        let mut options = transfer::options(cutover_store::host_platform())?;
        options.form = output.form.layers;
        options.tls.unchecked |= output.insecure;
        let mut last = None;
        for name in &output.names {
            let digest = match inline {
                true => self.with_statements(ui, store, (output, name), &options, attest)?,
                false => plain.clone(),
            };
            let to = if output.by_digest { name.at(digest.clone()) } else { name.clone() };
            ui.say(format!("pushing `{name}`"));
            let pushed = transfer::push(ui, store, &[(digest.clone(), to)], &options)?;
            for pushed in pushed {
                let descriptor = pushed.descriptor;
                ui.say(format!(
                    "pushed `{name}`: digest: {} size: {}",
                    descriptor.digest, descriptor.size
                ));
                if self.index.is_none() && !inline {
                    // what a registry calls it is a name of the image here, too, as after a pull
                    let local = &self.images[0].0.digest;
                    store.images().tag(&name.at(descriptor.digest.clone()), local)?;
                }
                last = Some(descriptor);
            }
            if attest.is_any() && !inline {
                self.push_referrers(ui, store, (output, name), &options, attest)?;
            }
        }
        last.ok_or_else(|| Failure::msg(Kind::Usage, "there is no name to push to"))
    }

    /// Pushes the documents about each image beside it, without a tag: a registry, or the index
    /// that stands for what it does not know, leads to them.
    fn push_referrers(
        &self,
        ui: Ui,
        store: &Store,
        (output, name): (&Output, &Reference),
        options: &Options,
        attest: &Attestations,
    ) -> Outcome {
        let quiet = ui.quiet();
        for (image, digest) in self.children(store, output.form)? {
            // what the image became in the registry: it is there, so this only asks
            let at = name.at(digest.clone());
            let pushed = transfer::push(quiet, store, &[(digest, at)], options)?;
            let Some(subject) = pushed.first().map(|pushed| &pushed.descriptor) else { continue };
            for one in attest.of(store, image, subject, &output.names)? {
                store.blobs().put(EMPTY)?;
                store.blobs().put(&one.document)?;
                let digest = store.blobs().put(&one.manifest(subject))?;
                let at = name.at(digest.clone());
                transfer::push(quiet, store, &[(digest.clone(), at)], options)?;
                ui.say(format!("pushed {} of {}: {digest}", one.predicate_type, subject.digest));
            }
        }
        Ok(())
    }

    /// The index to push: the images, and the statements about what they became in the registry,
    /// to which they are pushed first.
    fn with_statements(
        &self,
        ui: Ui,
        store: &Store,
        (output, name): (&Output, &Reference),
        options: &Options,
        attest: &Attestations,
    ) -> Outcome<Digest> {
        let (mut entries, mut statements) = (Vec::new(), Vec::new());
        for ((image, digest), (_, entry)) in
            self.children(store, output.form)?.into_iter().zip(&self.images)
        {
            let own = Image::load(store, &digest)?;
            let kind = own.manifest.media_type.as_deref().unwrap_or(media_type::OCI_MANIFEST);
            // the push writes into the index what the image becomes
            entries.push(Descriptor {
                platform: entry.platform.clone(),
                annotations: entry.annotations.clone(),
                ..described(kind, &own.manifest_bytes)
            });
            let at = name.at(digest.clone());
            let pushed = transfer::push(ui.quiet(), store, &[(digest, at)], options)?;
            let Some(subject) = pushed.first().map(|pushed| &pushed.descriptor) else { continue };
            let one = attest.inline(store, image, subject, &output.names)?;
            for document in one.documents.iter().chain([&one.manifest]) {
                store.blobs().put(document)?;
            }
            statements.push(one.entry);
        }
        entries.append(&mut statements);
        Ok(store.blobs().put(&index_of(self.index.as_ref(), entries))?)
    }

    /// Each image with the manifest that is pushed for it.
    fn children(&self, store: &Store, form: Form) -> Outcome<Vec<(&Image, Digest)>> {
        let mut all = Vec::new();
        for (image, _) in &self.images {
            let digest = match form.docker || form.force {
                true => output::for_push(store, image, form).map_err(doing("convert the image"))?,
                false => image.digest.clone(),
            };
            all.push((image, digest));
        }
        Ok(all)
    }

    /// The document to push: what was built, unless the form asks for another one.
    fn to_push(&self, store: &Store, form: Form) -> Outcome<Digest> {
        if !form.docker && !form.force {
            return Ok(self.descriptor.digest.clone());
        }
        let mut entries = Vec::new();
        for (image, entry) in &self.images {
            let digest =
                output::for_push(store, image, form).map_err(doing("convert the image"))?;
            let image = Image::load(store, &digest)?;
            let kind = image.manifest.media_type.as_deref().unwrap_or(media_type::OCI_MANIFEST);
            entries.push(Descriptor {
                platform: entry.platform.clone(),
                annotations: entry.annotations.clone(),
                ..described(kind, &image.manifest_bytes)
            });
        }
        match &self.index {
            None => Ok(entries.remove(0).digest),
            Some(index) => Ok(store.blobs().put(&index_of(Some(index), entries))?),
        }
    }
}
