//! What a container wrote: entries, the rotated files that keep them, and reading them back.
//!
//! Owns a container's `log/` directory: `container.log` and the older `container.log.1`, `.2`… in
//! docker's JSON-lines form. Memory and disk are bounded whatever the container does: a line
//! longer than 16 KiB is split, a file that is full is rotated, the oldest one goes. A full disk
//! costs log lines, which are counted, and never stops the container.

mod entry;
mod files;
mod read;
mod split;
mod tail;
#[cfg(test)]
mod tests;
mod write;

pub use entry::{Entry, Stream};
pub use read::Reader;
pub(crate) use split::Splitter;
pub(crate) use write::{Writer, stamp};

use jiff::Timestamp;

/// docker's `logs` flags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on until the container stops.
    pub follow: bool,
    /// Only the last so many entries of those that are already there.
    pub tail: Option<usize>,
    /// Not older than this.
    pub since: Option<Timestamp>,
    /// Not newer than this.
    pub until: Option<Timestamp>,
}

impl LogOptions {
    /// Whether nothing that is written from now on is wanted.
    pub(crate) fn is_past(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| now > until)
    }

    pub(crate) fn wants(&self, entry: &Entry) -> bool {
        self.since.is_none_or(|since| entry.time >= since)
            && self.until.is_none_or(|until| entry.time <= until)
    }
}
