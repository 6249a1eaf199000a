//! What a container wrote: entries, the rotated files that keep them, and reading them back.
//!
//! Owns a container's `log/` directory: `container.log` and the older `container.log.1`, `.2`… in
//! docker's JSON-lines form. Memory and disk are bounded whatever the container does: a line
//! longer than 16 KiB is split, a file that is full is rotated, the oldest one goes.

mod entry;

pub use entry::{Entry, Stream};

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
