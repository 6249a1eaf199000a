//! [`Progress`]: what a transfer tells while it runs.

use std::time::Duration;

use cutover_core::Digest;

/// Receives what happens. Called from the calling thread; must not block.
pub trait Progress {
    fn on(&self, event: &Event);
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The name stands for this image; `layers` is how many it has and `size` their bytes. Its
    /// config travels as a blob, too.
    Resolved { digest: Digest, config: Digest, layers: usize, size: u64 },
    /// The blob is in the store, or in the registry, already.
    Present { digest: Digest },
    /// `done` of `size` bytes have come.
    Downloading { digest: Digest, done: u64, size: u64 },
    /// Complete, and its digest is right.
    Downloaded { digest: Digest, size: u64 },
    /// A layer is being compressed before it is sent.
    Compressing { digest: Digest },
    /// `done` of `size` bytes were sent for the layer.
    Uploading { digest: Digest, done: u64, size: u64 },
    /// The registry has all of it.
    Uploaded { digest: Digest, size: u64 },
    /// The registry took the layer over from another of its repositories.
    Mounted { digest: Digest, from: String },
    /// A layer is being unpacked.
    Unpacking { digest: Digest },
    /// The manifest or index is in the registry.
    Pushed { tag: Option<String>, digest: Digest, size: u64 },
    /// An attempt failed for this reason; the next one starts after the pause.
    Retrying { what: String, reason: String, pause: Duration },
}

/// Says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn on(&self, _event: &Event) {}
}
