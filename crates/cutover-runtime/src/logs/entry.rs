//! [`Entry`]: one line of output, and its form in the file.

use jiff::Timestamp;
use serde::Deserialize;

/// Which of the container's streams it came from. With a terminal all is stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// A line of output, or a 16 KiB piece of a longer one (then without the newline).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Entry {
    pub time: Timestamp,
    pub stream: Stream,
    /// With its newline, if it had one. Bytes that are not UTF-8 are replaced, as docker does.
    #[serde(rename = "log")]
    pub text: String,
}

impl Entry {
    /// Reads a line of the file; `None` when a crash or a full disk cut it short.
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }
}

/// Appends the file's form of an entry: `{"log":"…","stream":"stdout","time":"…"}` and a newline.
/// Written by hand: it runs for every line of output, and needs no allocation of its own.
pub(crate) fn encode(out: &mut Vec<u8>, stream: Stream, time: &str, text: &[u8]) {
    out.extend_from_slice(b"{\"log\":\"");
    for chunk in text.utf8_chunks() {
        escape(out, chunk.valid());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.extend_from_slice(b"\",\"stream\":\"");
    out.extend_from_slice(stream.as_str().as_bytes());
    out.extend_from_slice(b"\",\"time\":\"");
    out.extend_from_slice(time.as_bytes());
    out.extend_from_slice(b"\"}\n");
}

fn escape(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for &byte in text.as_bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 | 0x7f => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
            _ => out.push(byte),
        }
    }
}
