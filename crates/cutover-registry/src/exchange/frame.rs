//! Frames: a kind, a length, so many bytes. Bounded before they are read.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};

use super::{ExchangeError, Message};

/// The first line of both sides. Another version of the protocol has another line.
const GREETING: &[u8] = b"cutover exchange 1\n";
/// Of a first line that is not a greeting, for the message.
const MAX_GREETING: u64 = 200;
/// Longest message.
const MAX_MESSAGE: u32 = 1 << 20;
/// Longest piece of bytes.
pub(super) const MAX_DATA: usize = 256 << 10;

const MESSAGE: u8 = b'M';
const DATA: u8 = b'D';
const END: u8 = b'E';

/// One frame.
#[derive(Debug)]
pub(super) enum Frame<'a> {
    Message(Message),
    Data(&'a [u8]),
    /// The last piece of bytes has come.
    End,
}

/// What comes.
#[derive(Debug)]
pub(super) struct Incoming<R> {
    reader: BufReader<R>,
    payload: Vec<u8>,
    greeted: bool,
}

/// What goes.
#[derive(Debug)]
pub(super) struct Outgoing<W: Write> {
    writer: BufWriter<W>,
}

impl<R: Read> Incoming<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader: BufReader::with_capacity(64 << 10, reader),
            payload: Vec::new(),
            greeted: false,
        }
    }

    /// The other side's first line, if it was not read yet.
    pub(super) fn greeting(&mut self) -> Result<(), ExchangeError> {
        if self.greeted {
            return Ok(());
        }
        let mut line = Vec::new();
        let mut bounded = (&mut self.reader).take(MAX_GREETING);
        bounded.read_until(b'\n', &mut line).map_err(ExchangeError::Broken)?;
        if line == GREETING {
            self.greeted = true;
            return Ok(());
        }
        let said: String =
            String::from_utf8_lossy(&line).chars().filter(|c| !c.is_control()).collect();
        Err(ExchangeError::NotCutover(match said.is_empty() {
            true => "it said nothing".to_owned(),
            false => format!("it said `{said}`"),
        }))
    }

    pub(super) fn next(&mut self) -> Result<Frame<'_>, ExchangeError> {
        let mut head = [0; 5];
        self.reader.read_exact(&mut head).map_err(ExchangeError::Broken)?;
        let [kind, length @ ..] = head;
        let length = u32::from_be_bytes(length);
        let max = match kind {
            MESSAGE => MAX_MESSAGE,
            DATA => u32::try_from(MAX_DATA).unwrap_or(u32::MAX),
            END => 0,
            other => {
                return Err(ExchangeError::Protocol(format!("a frame of unknown kind {other:#x}")));
            }
        };
        if length > max {
            return Err(ExchangeError::Protocol(format!("a frame of {length} bytes")));
        }
        self.payload.resize(usize::try_from(length).unwrap_or(0), 0);
        self.reader.read_exact(&mut self.payload).map_err(ExchangeError::Broken)?;
        Ok(match kind {
            MESSAGE => Frame::Message(
                serde_json::from_slice(&self.payload)
                    .map_err(|error| ExchangeError::Protocol(error.to_string()))?,
            ),
            DATA => Frame::Data(&self.payload),
            _ => Frame::End,
        })
    }

    /// The next frame, which must be a message. A failure of the other side is one of ours.
    pub(super) fn message(&mut self) -> Result<Message, ExchangeError> {
        match self.next()? {
            Frame::Message(Message::Failed { message }) => {
                let message = message.chars().filter(|c| !c.is_control()).take(1000).collect();
                Err(ExchangeError::Theirs { message })
            }
            Frame::Message(message) => Ok(message),
            Frame::Data(_) | Frame::End => {
                Err(ExchangeError::Protocol("bytes where a message belongs".to_owned()))
            }
        }
    }
}

impl<W: Write> Outgoing<W> {
    pub(super) fn new(writer: W) -> Self {
        Self { writer: BufWriter::with_capacity(64 << 10, writer) }
    }

    pub(super) fn greet(&mut self) -> Result<(), ExchangeError> {
        self.writer.write_all(GREETING).map_err(ExchangeError::Broken)
    }

    pub(super) fn message(&mut self, message: &Message) -> Result<(), ExchangeError> {
        let bytes = serde_json::to_vec(message).expect("digests, names and numbers are JSON");
        self.frame(MESSAGE, &bytes).map_err(ExchangeError::Broken)
    }

    /// All of `bytes`, in pieces, and the end.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), ExchangeError> {
        self.write_all(bytes).and_then(|()| self.end()).map_err(ExchangeError::Broken)
    }

    pub(super) fn end(&mut self) -> io::Result<()> {
        self.frame(END, &[])
    }

    pub(super) fn send(&mut self) -> Result<(), ExchangeError> {
        self.writer.flush().map_err(ExchangeError::Broken)
    }

    fn frame(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
        self.writer.write_all(&[kind])?;
        self.writer.write_all(&length.to_be_bytes())?;
        self.writer.write_all(payload)
    }
}

/// Bytes become pieces.
impl<W: Write> Write for Outgoing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = &bytes[..bytes.len().min(MAX_DATA)];
        if !piece.is_empty() {
            self.frame(DATA, piece)?;
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
