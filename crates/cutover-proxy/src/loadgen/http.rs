//! Just enough HTTP/1.1 to read a response strictly.

use std::io::{self, Read};

/// How much of a body is kept to look for a version in it.
const KEPT: usize = 64 << 10;

/// The longest head, and the longest line of a chunked body.
const MAX_HEAD: usize = 64 << 10;

#[derive(Debug)]
pub(super) enum ReadError {
    /// The end came before it was due.
    Closed,
    Malformed,
    Io(io::Error),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
    ToTheEnd,
}

#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) framing: Framing,
    /// The server will close the connection.
    pub(super) close: bool,
    /// The value of the header that was asked for.
    pub(super) wanted: Option<String>,
}

/// Reads responses from a stream, one after the other.
#[derive(Debug)]
pub(super) struct Reader<R> {
    stream: R,
    buffer: Vec<u8>,
    /// What of the buffer has been read already.
    used: usize,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(stream: R) -> Self {
        Self { stream, buffer: Vec::with_capacity(4 << 10), used: 0 }
    }

    pub(super) fn get_mut(&mut self) -> &mut R {
        &mut self.stream
    }

    /// Whether no byte is there that was not read.
    pub(super) fn is_empty(&self) -> bool {
        self.used == self.buffer.len()
    }

    /// The next final head; interim ones (1xx) are skipped.
    pub(super) fn head(&mut self, wanted: Option<&str>) -> Result<Head, ReadError> {
        loop {
            let status = self.line()?;
            let status = parse_status(&status).ok_or(ReadError::Malformed)?;
            let mut head = Head { status, framing: Framing::ToTheEnd, close: false, wanted: None };
            loop {
                let line = self.line()?;
                if line.is_empty() {
                    break;
                }
                head.field(&line, wanted)?;
            }
            if matches!(status, 204 | 304) {
                head.framing = Framing::Length(0);
            }
            if !(100..200).contains(&status) {
                return Ok(head);
            }
        }
    }

    /// All of the body; its first [`KEPT`] bytes are returned.
    pub(super) fn body(&mut self, head: &Head) -> Result<Vec<u8>, ReadError> {
        let mut kept = Vec::new();
        match head.framing {
            Framing::Length(length) => self.take(length, &mut kept)?,
            Framing::ToTheEnd => loop {
                self.take((self.buffer.len() - self.used) as u64, &mut kept)?;
                if !self.fill()? {
                    break;
                }
            },
            Framing::Chunked => loop {
                let size = parse_chunk_size(&self.line()?).ok_or(ReadError::Malformed)?;
                if size == 0 {
                    while !self.line()?.is_empty() {}
                    break;
                }
                self.take(size, &mut kept)?;
                if !self.line()?.is_empty() {
                    return Err(ReadError::Malformed);
                }
            },
        }
        Ok(kept)
    }

    fn take(&mut self, mut length: u64, kept: &mut Vec<u8>) -> Result<(), ReadError> {
        while length > 0 {
            if self.used == self.buffer.len() && !self.fill()? {
                return Err(ReadError::Closed);
            }
            let there = &self.buffer[self.used..];
            let now = there.len().min(usize::try_from(length).unwrap_or(usize::MAX));
            let room = KEPT - kept.len();
            kept.extend_from_slice(&there[..now.min(room)]);
            self.used += now;
            length -= now as u64;
        }
        Ok(())
    }

    fn line(&mut self) -> Result<Vec<u8>, ReadError> {
        let mut searched = self.used;
        loop {
            if let Some(end) = self.buffer[searched..].iter().position(|byte| *byte == b'\n') {
                let line = &self.buffer[self.used..searched + end];
                let line = line.strip_suffix(b"\r").ok_or(ReadError::Malformed)?.to_vec();
                self.used = searched + end + 1;
                return Ok(line);
            }
            let held = self.buffer.len() - self.used;
            if held > MAX_HEAD {
                return Err(ReadError::Malformed);
            }
            if !self.fill()? {
                return Err(ReadError::Closed);
            }
            // Filling has moved what was not used to the front.
            searched = held;
        }
    }

    /// Reads more; false at the end of the stream.
    fn fill(&mut self) -> Result<bool, ReadError> {
        self.buffer.drain(..self.used);
        self.used = 0;
        let mut chunk = [0; 16 << 10];
        let length = self.stream.read(&mut chunk)?;
        self.buffer.extend_from_slice(&chunk[..length]);
        Ok(length > 0)
    }
}

impl Head {
    fn field(&mut self, line: &[u8], wanted: Option<&str>) -> Result<(), ReadError> {
        let text = str::from_utf8(line).map_err(|_not_text| ReadError::Malformed)?;
        let (name, value) = text.split_once(':').ok_or(ReadError::Malformed)?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            let length = value.parse().map_err(|_not_a_number| ReadError::Malformed)?;
            if self.framing == Framing::ToTheEnd {
                self.framing = Framing::Length(length);
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            self.framing = Framing::Chunked;
        } else if name.eq_ignore_ascii_case("connection") {
            let mut tokens = value.split(',').map(str::trim);
            self.close |= tokens.any(|token| token.eq_ignore_ascii_case("close"));
        }
        if wanted.is_some_and(|wanted| name.eq_ignore_ascii_case(wanted)) {
            self.wanted = Some(value.to_owned());
        }
        Ok(())
    }
}

fn parse_status(line: &[u8]) -> Option<u16> {
    let line = str::from_utf8(line).ok()?;
    let rest = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "))?;
    let code = rest.get(..3)?;
    code.parse().ok().filter(|code| (100..1000).contains(code))
}

fn parse_chunk_size(line: &[u8]) -> Option<u64> {
    let text = str::from_utf8(line).ok()?;
    u64::from_str_radix(text.split(';').next()?.trim(), 16).ok()
}

pub(super) fn contains(body: &[u8], text: &[u8]) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text)
}
