//! The side that has the images.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};

use cutover_core::Digest;
use cutover_core::oci::{Descriptor, ImageConfig, Index, Manifest, media_type};
use cutover_store::{LoadError, MAX_DOCUMENT, Store, chain_ids};

use super::frame::{Incoming, Outgoing};
use super::{Encoding, ExchangeError, Message, Named, Wanted};
use crate::progress::{Event, Progress};
use crate::push::{document, is_foreign};

/// Indexes within indexes are allowed; this many are enough for anyone.
const MAX_NESTING: usize = 4;
/// A good deal faster than any network that a layer is worth compressing for.
const LEVEL: i32 = 3;
/// Between two reports of progress.
const REPORT: u64 = 256 << 10;

/// Sends the images to whoever reads `to` and answers on `from`: only what is missing there.
pub fn send(
    store: &Store,
    images: &[Named],
    from: impl Read,
    to: impl Write,
    progress: &dyn Progress,
) -> Result<(), ExchangeError> {
    // the collector must not take what is about to be sent
    let _lease = store.lease()?;
    let mut offer = Offer { store, documents: BTreeMap::new(), blobs: BTreeMap::new() };
    for image in images {
        offer.tree(&image.digest, 0)?;
    }
    let (mut incoming, mut outgoing) = (Incoming::new(from), Outgoing::new(to));
    let sent = offer.through(images, &mut incoming, &mut outgoing, progress);
    match sent {
        // it had a reason to hang up, and has most likely said it
        Err(ExchangeError::Broken(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            let said = incoming.greeting().err().unwrap_or_else(|| {
                loop {
                    if let Err(said) = incoming.message() {
                        break said;
                    }
                }
            });
            Err(match said {
                said @ (ExchangeError::Theirs { .. } | ExchangeError::NotCutover(_)) => said,
                _ => ExchangeError::Broken(error),
            })
        }
        other => other,
    }
}

/// A layer, and what is needed to make it anew.
#[derive(Debug)]
struct Blob {
    descriptor: Descriptor,
    chain_id: Option<Digest>,
}

/// All that the images consist of.
#[derive(Debug)]
struct Offer<'a> {
    store: &'a Store,
    documents: BTreeMap<Digest, Vec<u8>>,
    blobs: BTreeMap<Digest, Blob>,
}

impl Offer<'_> {
    /// Adds the manifest or index `digest` and what is below it.
    fn tree(&mut self, digest: &Digest, depth: usize) -> Result<(), ExchangeError> {
        if self.documents.contains_key(digest) {
            return Ok(());
        }
        let bytes = self.store.blobs().read_bounded(digest, MAX_DOCUMENT)?;
        let wrong = |what| {
            let digest = digest.clone();
            move |source| LoadError::Document { what, digest, source }
        };
        let kind = document::kind(digest, &bytes)
            .map_err(|cause| ExchangeError::Protocol(super::chain(&cause)))?;
        if !media_type::is_index(&kind) {
            let manifest: Manifest = serde_json::from_slice(&bytes).map_err(wrong("manifest"))?;
            self.manifest(digest, &manifest)?;
        } else if depth >= MAX_NESTING {
            return Err(ExchangeError::Nested(MAX_NESTING));
        } else {
            let index: Index = serde_json::from_slice(&bytes).map_err(wrong("image index"))?;
            for child in &index.manifests {
                if !self.store.blobs().contains(&child.digest) {
                    return Err(ExchangeError::Incomplete {
                        what: format!("image index {digest}"),
                        missing: format!("manifest {}", child.digest),
                    });
                }
                self.tree(&child.digest, depth + 1)?;
            }
        }
        self.documents.insert(digest.clone(), bytes);
        Ok(())
    }

    fn manifest(&mut self, digest: &Digest, manifest: &Manifest) -> Result<(), ExchangeError> {
        let config = self.store.blobs().read_bounded(&manifest.config.digest, MAX_DOCUMENT)?;
        let chains = match serde_json::from_slice::<ImageConfig>(&config) {
            Ok(config) => chain_ids(&config.rootfs.diff_ids),
            Err(_artifact) => Vec::new(),
        };
        for (index, descriptor) in manifest.layers.iter().enumerate() {
            let chain_id = chains.get(index).cloned();
            let is_blob = self.store.blobs().contains(&descriptor.digest);
            let is_snapshot =
                chain_id.as_ref().is_some_and(|it| self.store.snapshots().contains(it));
            if !is_blob && !is_snapshot {
                if is_foreign(&descriptor.media_type) {
                    continue;
                }
                return Err(ExchangeError::Incomplete {
                    what: format!("image {digest}"),
                    missing: format!("layer {}", descriptor.digest),
                });
            }
            let blob = Blob { descriptor: descriptor.clone(), chain_id };
            self.blobs.insert(descriptor.digest.clone(), blob);
        }
        self.documents.insert(manifest.config.digest.clone(), config);
        Ok(())
    }

    fn through<R: Read, W: Write>(
        &self,
        images: &[Named],
        incoming: &mut Incoming<R>,
        outgoing: &mut Outgoing<W>,
        progress: &dyn Progress,
    ) -> Result<(), ExchangeError> {
        outgoing.greet()?;
        for (digest, bytes) in &self.documents {
            let size = bytes.len() as u64;
            outgoing.message(&Message::Document { digest: digest.clone(), size })?;
            outgoing.bytes(bytes)?;
        }
        for image in images {
            outgoing.message(&Message::Image(image.clone()))?;
        }
        outgoing.message(&Message::Offered)?;
        outgoing.send()?;
        incoming.greeting()?;
        let Message::Wanted { blobs } = incoming.message()? else {
            return Err(ExchangeError::Protocol("it does not say what it wants".to_owned()));
        };
        for digest in
            self.blobs.keys().filter(|it| blobs.iter().all(|wanted| wanted.digest != **it))
        {
            progress.on(&Event::Present { digest: digest.clone() });
        }
        for wanted in &blobs {
            self.blob(wanted, outgoing, progress)?;
        }
        outgoing.message(&Message::Sent)?;
        outgoing.send()?;
        match incoming.message()? {
            Message::Kept => Ok(()),
            _ => Err(ExchangeError::Protocol("it does not say whether it kept all".to_owned())),
        }
    }

    fn blob<W: Write>(
        &self,
        wanted: &Wanted,
        outgoing: &mut Outgoing<W>,
        progress: &dyn Progress,
    ) -> Result<(), ExchangeError> {
        let Wanted { digest, have } = wanted.clone();
        let Some(blob) = self.blobs.get(&digest) else {
            return Err(ExchangeError::Protocol(format!(
                "it wants {digest}, which was not offered"
            )));
        };
        let size = blob.descriptor.size;
        let reader = self.open(blob, have)?;
        let mut reader = Told { reader, digest: &digest, done: have, said: have, size, progress };
        let packed = ["gzip", "zstd"].iter().any(|it| blob.descriptor.media_type.ends_with(it));
        let encoding = if packed { Encoding::Plain } else { Encoding::Zstd };
        outgoing.message(&Message::Blob { digest: digest.clone(), from: have, encoding })?;
        let copied = match encoding {
            Encoding::Plain => io::copy(&mut reader, outgoing).map(drop),
            Encoding::Zstd => compress(&mut reader, outgoing),
        };
        copied.and_then(|()| outgoing.end()).map_err(ExchangeError::Broken)?;
        progress.on(&Event::Uploaded { digest, size });
        Ok(())
    }

    /// The blob's bytes from `at` on.
    fn open(&self, blob: &Blob, at: u64) -> Result<Box<dyn Read + '_>, ExchangeError> {
        let digest = &blob.descriptor.digest;
        if self.store.blobs().contains(digest) {
            let mut file = self.store.blobs().open(digest)?;
            file.seek(SeekFrom::Start(at)).map_err(ExchangeError::Broken)?;
            return Ok(Box::new(file));
        }
        let chain_id = blob.chain_id.as_ref().unwrap_or(digest);
        let mut reader = self.store.layer_reader(&blob.descriptor, chain_id)?;
        // the tar of a snapshot is always the same, but has to be made from its start
        io::copy(&mut (&mut reader).take(at), &mut io::sink()).map_err(ExchangeError::Broken)?;
        Ok(Box::new(reader))
    }
}

fn compress(reader: &mut dyn Read, to: &mut dyn Write) -> io::Result<()> {
    let mut encoder = zstd::stream::write::Encoder::new(to, LEVEL)?;
    io::copy(reader, &mut encoder)?;
    encoder.finish().map(drop)
}

/// Tells how far a blob is.
struct Told<'a, R> {
    reader: R,
    digest: &'a Digest,
    done: u64,
    said: u64,
    size: u64,
    progress: &'a dyn Progress,
}

impl<R: Read> Read for Told<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.done += count as u64;
        if self.done - self.said >= REPORT {
            self.said = self.done;
            let (digest, done, size) = (self.digest.clone(), self.done, self.size);
            self.progress.on(&Event::Uploading { digest, done, size });
        }
        Ok(count)
    }
}
