//! The side that gets the images. Everything that it reads may be hostile.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::time::Duration;

use cutover_core::Digest;
use cutover_core::digest::Hasher;
use cutover_core::oci::{Descriptor, Index, Platform, media_type};
use cutover_store::{Image, LoadError, MAX_DOCUMENT, PartialBlob, Store};

use super::frame::{Frame, Incoming, Outgoing};
use super::{
    Encoding, ExchangeError, MAX_BLOBS, MAX_DOCUMENT_BYTES, MAX_DOCUMENTS, MAX_IMAGES, Message,
    Named, ReceiveError, Wanted,
};
use crate::arrival::{Arrival, Arriving};
use crate::push::{document, is_foreign};

/// Indexes within indexes are allowed; this many are enough for anyone.
const MAX_NESTING: usize = 4;
/// How often to look whether another program has the blob by now.
const LOOK: Duration = Duration::from_millis(50);
/// Between two notes to whoever unpacks what comes.
const REPORT: u64 = 256 << 10;
/// zstd's largest window that is accepted (8 MiB): it is memory.
const WINDOW_LOG: u32 = 23;

/// Takes images from `from` into the store; answers on `to`. An image of an index that is for
/// `platform` gets the index's name. Returns what was named.
///
/// The other side is told of a failure, if it still listens.
pub fn receive(
    store: &Store,
    platform: &Platform,
    from: impl Read,
    to: impl Write,
) -> Result<Vec<Named>, ReceiveError> {
    let mut outgoing = Outgoing::new(to);
    let received = exchange(store, platform, &mut Incoming::new(from), &mut outgoing);
    let last = match &received {
        Ok(_) => Message::Kept,
        Err(error) => Message::Failed { message: super::chain(error) },
    };
    let told = outgoing.message(&last).and_then(|()| outgoing.send());
    match (received, told) {
        (Ok(named), Ok(())) => Ok(named),
        // who is not understood does not understand us either
        (Err(cause @ ExchangeError::NotCutover(_)), _) => Err(ReceiveError { cause, told: false }),
        (Err(cause), told) => Err(ReceiveError { cause, told: told.is_ok() }),
        (Ok(_), Err(cause)) => Err(ReceiveError { cause, told: false }),
    }
}

fn exchange<R: Read, W: Write>(
    store: &Store,
    platform: &Platform,
    incoming: &mut Incoming<R>,
    outgoing: &mut Outgoing<W>,
) -> Result<Vec<Named>, ExchangeError> {
    outgoing.greet()?;
    outgoing.send()?;
    incoming.greeting()?;
    // the collector must not take what nothing names yet
    let _lease = store.lease()?;
    let names = offer(store, incoming)?;
    let mut wanted = Need { store, platform, images: Vec::new(), names: Vec::new() };
    for named in &names {
        wanted.tree(named, &named.digest, 0)?;
    }
    let missing = wanted.missing()?;
    let blobs = missing.iter().map(Missing::wanted).collect();
    outgoing.message(&Message::Wanted { blobs })?;
    outgoing.send()?;
    wanted.take(missing, incoming)?;
    wanted.keep()?;
    Ok(names)
}

/// Reads documents, which go into the store, and names.
fn offer<R: Read>(store: &Store, incoming: &mut Incoming<R>) -> Result<Vec<Named>, ExchangeError> {
    let (mut names, mut documents, mut left) = (Vec::new(), 0, MAX_DOCUMENT_BYTES);
    loop {
        match incoming.message()? {
            Message::Document { digest, size } => {
                documents += 1;
                if documents > MAX_DOCUMENTS || size > left || size > MAX_DOCUMENT {
                    return Err(ExchangeError::Protocol("too many or too large documents".into()));
                }
                left -= size;
                let bytes = whole(incoming, size)?;
                let mut hasher = Hasher::new(digest.algorithm());
                hasher.update(&bytes);
                let actual = hasher.finish();
                if actual != digest {
                    return Err(ExchangeError::WrongDigest { expected: digest, actual });
                }
                if !store.blobs().contains(&digest) {
                    store.blobs().put_with(digest.algorithm(), &bytes)?;
                }
            }
            Message::Image(named) if names.len() < MAX_IMAGES => names.push(named),
            Message::Offered if !names.is_empty() => return Ok(names),
            _ => return Err(ExchangeError::Protocol("not an offer of images".to_owned())),
        }
    }
}

/// Exactly `size` bytes, and the end.
fn whole<R: Read>(incoming: &mut Incoming<R>, size: u64) -> Result<Vec<u8>, ExchangeError> {
    let mut bytes = Vec::new();
    loop {
        match incoming.next()? {
            Frame::Data(piece) if (bytes.len() + piece.len()) as u64 <= size => {
                bytes.extend_from_slice(piece);
            }
            Frame::End if bytes.len() as u64 == size => return Ok(bytes),
            _ => return Err(ExchangeError::Protocol("a document of another size".to_owned())),
        }
    }
}

/// What the offered images need.
struct Need<'a> {
    store: &'a Store,
    platform: &'a Platform,
    /// Artifacts are images without a file system here.
    images: Vec<Wants>,
    /// A name, the manifest or index that it is of, and the image that it points at.
    names: Vec<(Named, Digest)>,
}

/// One manifest.
struct Wants {
    digest: Digest,
    layers: Vec<Descriptor>,
    image: Option<Image>,
    /// Whether it can run here.
    unpack: bool,
}

/// A blob that is not here.
struct Missing {
    descriptor: Descriptor,
    partial: PartialBlob,
}

impl Missing {
    fn wanted(&self) -> Wanted {
        Wanted { digest: self.descriptor.digest.clone(), have: self.partial.size() }
    }
}

impl Need<'_> {
    fn document(&self, digest: &Digest) -> Result<Vec<u8>, ExchangeError> {
        if !self.store.blobs().contains(digest) {
            return Err(ExchangeError::Protocol(format!("{digest} is named but was not sent")));
        }
        Ok(self.store.blobs().read_bounded(digest, MAX_DOCUMENT)?)
    }

    /// Adds what is below `digest`; returns the image that a name of it means here.
    fn tree(&mut self, named: &Named, digest: &Digest, depth: usize) -> Result<(), ExchangeError> {
        let chosen = self.below(digest, depth, true)?;
        self.names.push((named.clone(), chosen.unwrap_or_else(|| digest.clone())));
        Ok(())
    }

    fn below(
        &mut self,
        digest: &Digest,
        depth: usize,
        unpack: bool,
    ) -> Result<Option<Digest>, ExchangeError> {
        let bytes = self.document(digest)?;
        let kind = document::kind(digest, &bytes)
            .map_err(|cause| ExchangeError::Protocol(super::chain(&cause)))?;
        if !media_type::is_index(&kind) {
            self.manifest(digest, bytes, unpack)?;
            return Ok(Some(digest.clone()));
        }
        if depth >= MAX_NESTING {
            return Err(ExchangeError::Nested(MAX_NESTING));
        }
        let index: Index = serde_json::from_slice(&bytes).map_err(|source| {
            LoadError::Document { what: "image index", digest: digest.clone(), source }
        })?;
        let chosen = index.choose(self.platform).map(|entry| entry.digest.clone());
        let mut first = None;
        for child in &index.manifests {
            let is_chosen = chosen.as_ref() == Some(&child.digest);
            let image = self.below(&child.digest, depth + 1, unpack && is_chosen)?;
            if is_chosen || (first.is_none() && chosen.is_none()) {
                first = image;
            }
        }
        Ok(first)
    }

    fn manifest(
        &mut self,
        digest: &Digest,
        bytes: Vec<u8>,
        unpack: bool,
    ) -> Result<(), ExchangeError> {
        if self.images.iter().any(|it| it.digest == *digest) {
            return Ok(());
        }
        let manifest: cutover_core::oci::Manifest =
            serde_json::from_slice(&bytes).map_err(|source| LoadError::Document {
                what: "manifest",
                digest: digest.clone(),
                source,
            })?;
        let config = self.document(&manifest.config.digest)?;
        let kind = manifest.config.media_type.as_str();
        let image = match kind {
            media_type::OCI_CONFIG | media_type::DOCKER_CONFIG => {
                Some(Image::parse(bytes, &config)?)
            }
            _artifact => None,
        };
        let unpack = unpack && image.is_some();
        let named: usize = self.images.iter().map(|it| it.layers.len()).sum();
        if named + manifest.layers.len() > MAX_BLOBS {
            return Err(ExchangeError::Protocol(format!("more than {MAX_BLOBS} layers")));
        }
        let layers = manifest.layers;
        self.images.push(Wants { digest: digest.clone(), layers, image, unpack });
        Ok(())
    }

    /// The layers that are not here, in the order in which they are unpacked.
    fn missing(&self) -> Result<Vec<Missing>, ExchangeError> {
        let (mut missing, mut seen) = (Vec::new(), BTreeSet::new());
        for wants in &self.images {
            let chains = wants.image.as_ref().map(|image| image.chain_ids.as_slice());
            for (index, layer) in wants.layers.iter().enumerate() {
                let chain_id = chains.unwrap_or_default().get(index);
                let is_unpacked = self.can_be_made_anew(&wants.digest, layer, chain_id)?;
                if is_unpacked || is_foreign(&layer.media_type) || !seen.insert(&layer.digest) {
                    continue;
                }
                if let Some(partial) = self.own(layer)? {
                    missing.push(Missing { descriptor: layer.clone(), partial });
                }
            }
        }
        Ok(missing)
    }

    /// Whether the layer's snapshot is here and gives the layer's very bytes. One that was unpacked
    /// from another's tar, or from a compressed one, need not; an image that is here was looked at.
    fn can_be_made_anew(
        &self,
        image: &Digest,
        layer: &Descriptor,
        chain_id: Option<&Digest>,
    ) -> Result<bool, ExchangeError> {
        let Some(chain_id) = chain_id.filter(|it| {
            layer.media_type == media_type::OCI_LAYER
                && !self.store.blobs().contains(&layer.digest)
                && self.store.snapshots().contains(it)
        }) else {
            return Ok(false);
        };
        if self.store.images().resolve_digest(image.as_str())?.as_ref() == Some(image) {
            return Ok(true);
        }
        let mut tar = self.store.layer_reader(layer, chain_id)?;
        Ok(io::copy(&mut tar, &mut io::sink()).is_ok())
    }

    /// The place to write the blob to; `None` when it is in the store, by whoever fetched it.
    fn own(&self, layer: &Descriptor) -> Result<Option<PartialBlob>, ExchangeError> {
        let blobs = self.store.blobs();
        loop {
            if blobs.contains(&layer.digest) {
                return Ok(None);
            }
            let partial = blobs.partial(&layer.digest)?;
            // it may have been finished before we got the lock
            if blobs.contains(&layer.digest) {
                if let Some(partial) = partial {
                    partial.discard()?;
                }
                return Ok(None);
            }
            if let Some(mut partial) = partial {
                if partial.size() > layer.size {
                    partial.restart()?;
                }
                return Ok(Some(partial));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Reads the missing blobs; another thread unpacks each as it comes.
    fn take<R: Read>(
        &self,
        missing: Vec<Missing>,
        incoming: &mut Incoming<R>,
    ) -> Result<(), ExchangeError> {
        let mut arrivals: BTreeMap<Digest, Arrival> = BTreeMap::new();
        for layer in self.images.iter().flat_map(|wants| &wants.layers) {
            arrivals.entry(layer.digest.clone()).or_default();
        }
        // made here: one that never comes must let the reader go, too
        let mut arriving: BTreeMap<Digest, Arriving> = arrivals
            .iter()
            .map(|(it, arrival)| (it.clone(), Arriving::new(arrival.clone())))
            .collect();
        let waited: BTreeSet<Digest> =
            missing.iter().map(|it| it.descriptor.digest.clone()).collect();
        for (digest, arriving) in arriving.iter().filter(|(digest, _)| !waited.contains(digest)) {
            if let Ok(file) = self.store.blobs().open(digest) {
                arriving.begin(file, self.store.blobs().size(digest)?);
                arriving.complete();
            }
        }
        arriving.retain(|digest, _| waited.contains(digest));
        std::thread::scope(|scope| {
            let unpacking = scope.spawn(|| self.unpack(&arrivals));
            let taken = missing.into_iter().try_for_each(|missing| {
                let arriving = arriving.remove(&missing.descriptor.digest);
                blob(missing, &arriving.expect("one for each"), incoming)
            });
            arriving.clear();
            if let Err(error) = unpacking.join().expect("unpacking does not panic") {
                tracing::debug!(%error, "cannot unpack while it comes");
            }
            taken
        })?;
        match incoming.message()? {
            Message::Sent => Ok(()),
            _ => Err(ExchangeError::Protocol("more than what was wanted".to_owned())),
        }
    }

    fn unpack(&self, arrivals: &BTreeMap<Digest, Arrival>) -> Result<(), ExchangeError> {
        for (image, layers) in self.runnable() {
            let source = &mut |index: usize| arrivals[&layers[index].digest].reader();
            self.store.snapshots().ensure_from(image, source, &mut |_| ())?;
        }
        Ok(())
    }

    fn runnable(&self) -> impl Iterator<Item = (&Image, &[Descriptor])> {
        let runnable = self.images.iter().filter(|wants| wants.unpack);
        runnable.filter_map(|wants| Some((wants.image.as_ref()?, wants.layers.as_slice())))
    }

    /// Records the images and names them.
    fn keep(&self) -> Result<(), ExchangeError> {
        for (image, _) in self.runnable() {
            // from the blobs, which are whole now, if it could not be done while they came
            self.store.snapshots().ensure(image, &mut |_| ())?;
        }
        for wants in &self.images {
            if let Some(image) = &wants.image {
                let config = self.store.blobs().read_bounded(&image.config_digest, MAX_DOCUMENT)?;
                let manifest = self.document(&wants.digest)?;
                self.store.images().put(&manifest, &config, None)?;
            }
        }
        for (named, image) in &self.names {
            self.store.images().tag(&named.name, image)?;
            if *image != named.digest {
                self.store.images().tag(&named.name.at(named.digest.clone()), image)?;
            }
        }
        Ok(())
    }
}

/// One blob, verified and published.
fn blob<R: Read>(
    missing: Missing,
    arriving: &Arriving,
    incoming: &mut Incoming<R>,
) -> Result<(), ExchangeError> {
    let Missing { descriptor: Descriptor { digest, size, .. }, partial } = missing;
    let have = partial.size();
    let encoding = match incoming.message()? {
        Message::Blob { digest: next, from, encoding } if next == digest && from == have => {
            encoding
        }
        _ => return Err(ExchangeError::Protocol(format!("not blob {digest}, which is due"))),
    };
    arriving.begin(partial.reader()?, have);
    let mut sink = Sink { partial, arriving, size, said: have, too_long: false };
    let written = match encoding {
        Encoding::Plain => pieces(incoming, &mut sink),
        Encoding::Zstd => inflated(incoming, &mut sink),
    };
    let Sink { partial, too_long, .. } = sink;
    if too_long {
        partial.discard()?;
        return Err(ExchangeError::TooLong { digest, size });
    }
    // what came before a stream broke is what the next exchange goes on with
    written?;
    if !partial.is_right() {
        let actual = partial.digest();
        partial.discard()?;
        return Err(ExchangeError::WrongDigest { expected: digest, actual });
    }
    arriving.written(partial.size());
    arriving.complete();
    partial.commit()?;
    Ok(())
}

fn inflated<R: Read>(incoming: &mut Incoming<R>, sink: &mut Sink<'_>) -> Result<(), ExchangeError> {
    let mut decoder = zstd::stream::write::Decoder::new(sink).map_err(ExchangeError::Broken)?;
    decoder.window_log_max(WINDOW_LOG).map_err(ExchangeError::Broken)?;
    let read = pieces(incoming, &mut decoder);
    // also of a stream that broke: what it has is good
    let flushed = decoder.flush().map_err(ExchangeError::Broken);
    read.and(flushed)
}

/// Writes the pieces up to their end.
fn pieces<R: Read>(incoming: &mut Incoming<R>, to: &mut dyn Write) -> Result<(), ExchangeError> {
    loop {
        match incoming.next()? {
            Frame::Data(piece) => to.write_all(piece).map_err(ExchangeError::Broken)?,
            Frame::End => return Ok(()),
            Frame::Message(_) => {
                return Err(ExchangeError::Protocol("a message among bytes".to_owned()));
            }
        }
    }
}

/// The partial blob, which does not grow beyond its size.
struct Sink<'a> {
    partial: PartialBlob,
    arriving: &'a Arriving,
    size: u64,
    said: u64,
    too_long: bool,
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.partial.size() + bytes.len() as u64 > self.size {
            self.too_long = true;
            return Err(io::Error::other("more bytes than announced"));
        }
        let count = self.partial.write(bytes)?;
        if self.partial.size() - self.said >= REPORT {
            self.said = self.partial.size();
            self.arriving.written(self.said);
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
