//! [`Entry`]: one line of output, and its form in the file.

use jiff::Timestamp;

/// Which of the container's streams it came from. With a terminal all is stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// A line of output, or a 16 KiB piece of a longer one (then without the newline).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub time: Timestamp,
    pub stream: Stream,
    /// With its newline, if it had one.
    pub text: String,
}
