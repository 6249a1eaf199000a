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
        Self { options, keep_alive, request: request.into_bytes(), reader: None, version: None }
    }

    /// Sends one request and reads all of its response. `Err` names the failure.
    pub(super) fn request(&mut self) -> Result<Option<Arc<str>>, String> {
        let reused = self.reader.is_some();
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => self.connect().map_err(|error| name(At::Connect, &error, false))?,
        };
        let (head, body, reader) = self.exchange(reader, reused)?;
        if self.keep_alive && !head.close {
            self.reader = Some(reader);
        }
        if !(200..400).contains(&head.status) {
            return Err(format!("status {}", head.status));
        }
        Ok(self.version_of(&head, &body))
    }

    fn connect(&self) -> Result<Reader<TcpStream>, ReadError> {
        let timeout = self.options.timeout;
        let stream = TcpStream::connect_timeout(&self.options.addr, timeout)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(Reader::new(stream))
    }

    fn exchange(
        &self,
        mut reader: Reader<TcpStream>,
        reused: bool,
    ) -> Result<(Head, Vec<u8>, Reader<TcpStream>), String> {
        let fail = |at| move |error: ReadError| name(at, &error, reused);
        let written = reader.get_mut().write_all(&self.request).map_err(ReadError::from);
        written.map_err(fail(At::Write))?;
        let wanted = match &self.options.version {
            Some(VersionFrom::Header(name)) => Some(name.as_str()),
            _ => None,
        };
        let mut head = reader.head(wanted).map_err(fail(At::Head))?;
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
