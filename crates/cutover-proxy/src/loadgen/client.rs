//! One client: its connection, and what can go wrong with a request.

use std::io::{self, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use super::http::{self, Head, ReadError, Reader};
use super::{Options, VersionFrom};

/// Where in a request something went wrong.
#[derive(Clone, Copy, Debug)]
enum At {
    Connect,
    Write,
    Head,
    Body,
}

pub(super) struct Client<'a> {
    options: &'a Options,
    keep_alive: bool,
    request: Vec<u8>,
    reader: Option<Reader<TcpStream>>,
    /// Whether the last request was sent twice.
    pub(super) repeated: bool,
    /// The last version seen: most responses repeat it.
    version: Option<Arc<str>>,
}

impl<'a> Client<'a> {
    pub(super) fn new(options: &'a Options, keep_alive: bool) -> Self {
        let mut request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n", options.path, options.host);
        for (name, value) in &options.headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if !keep_alive {
            request.push_str("Connection: close\r\n");
        }
        request.push_str("\r\n");
        Self {
            options,
            keep_alive,
            request: request.into_bytes(),
            reader: None,
            repeated: false,
            version: None,
        }
    }

    /// Sends one request and reads all of its response. `Err` names the failure.
    pub(super) fn request(&mut self) -> Result<Option<Arc<str>>, String> {
        self.repeated = false;
        let answered = match self.attempt() {
            Err(broken) if broken.unanswered && self.options.repeat => {
                self.repeated = true;
                self.attempt()
            }
            answered => answered,
        };
        let (head, body, reader) = answered.map_err(|broken| broken.name)?;
        if self.keep_alive && !head.close {
            self.reader = Some(reader);
        }
        if !(200..400).contains(&head.status) {
            return Err(format!("status {}", head.status));
        }
        Ok(self.version_of(&head, &body))
    }

    fn attempt(&mut self) -> Result<Answer, Broken> {
        let reused = self.reader.is_some();
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => self.connect().map_err(|error| Broken::new(At::Connect, &error, false))?,
        };
        self.exchange(reader, reused)
    }

    fn connect(&self) -> Result<Reader<TcpStream>, ReadError> {
        let timeout = self.options.timeout;
        let stream = TcpStream::connect_timeout(&self.options.addr, timeout)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(Reader::new(stream))
    }

    fn exchange(&self, mut reader: Reader<TcpStream>, reused: bool) -> Result<Answer, Broken> {
        let fail = |at| move |error: ReadError| Broken::new(at, &error, reused);
        let written = reader.get_mut().write_all(&self.request).map_err(ReadError::from);
        written.map_err(fail(At::Write))?;
        let wanted = match &self.options.version {
            Some(VersionFrom::Header(name)) => Some(name.as_str()),
            _ => None,
        };
        let mut head = reader.head(wanted).map_err(|error| {
            let broken = Broken::new(At::Head, &error, reused);
            Broken { unanswered: broken.unanswered && reader.is_empty(), ..broken }
        })?;
        let body = reader.body(&head).map_err(fail(At::Body))?;
        head.close |= head.framing == http::Framing::ToTheEnd;
        Ok((head, body, reader))
    }

    fn version_of(&mut self, head: &Head, body: &[u8]) -> Option<Arc<str>> {
        let seen = match self.options.version.as_ref()? {
            VersionFrom::Header(_) => head.wanted.as_deref(),
            VersionFrom::Body(texts) => {
                texts.iter().map(String::as_str).find(|text| http::contains(body, text.as_bytes()))
            }
        };
        let seen = seen.unwrap_or("(none)");
        if self.version.as_deref() != Some(seen) {
            self.version = Some(seen.into());
        }
        self.version.clone()
    }
}

/// A complete response, and the connection it came over.
type Answer = (Head, Vec<u8>, Reader<TcpStream>);

/// A request that was not answered completely.
struct Broken {
    name: String,
    /// Its kept connection ended before anything came back.
    unanswered: bool,
}

impl Broken {
    fn new(at: At, error: &ReadError, reused: bool) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionReset};
        let ended = match error {
            ReadError::Closed => true,
            ReadError::Malformed => false,
            ReadError::Io(error) => matches!(error.kind(), BrokenPipe | ConnectionReset),
        };
        let unanswered = reused && ended && matches!(at, At::Write | At::Head);
        Self { name: name(at, error, reused), unanswered }
    }
}

/// The failure's name: few different ones, so that they can be counted.
fn name(at: At, error: &ReadError, reused: bool) -> String {
    let place = match at {
        At::Connect => "connect",
        At::Write => "write",
        At::Head => "response head",
        At::Body => "response body",
    };
    let what = match error {
        ReadError::Closed => "connection closed",
        ReadError::Malformed => "malformed",
        ReadError::Io(error) => match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "timed out",
            io::ErrorKind::ConnectionRefused => "refused",
            io::ErrorKind::ConnectionReset => "connection reset",
            io::ErrorKind::BrokenPipe => "connection closed",
            io::ErrorKind::AddrNotAvailable => "no free local port",
            _ => "failed",
        },
    };
    let kept = if reused { " on a kept connection" } else { "" };
    format!("{place}: {what}{kept}")
}
