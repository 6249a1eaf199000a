//! Questions that are not ours: asked of the machine's resolvers, each with its own time limit.
//!
//! Every question gets a new socket, connected, so that its source port is unpredictable and only
//! the resolver asked can answer.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, Query};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

/// How long one resolver gets.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often a changed `resolv.conf` is noticed at most.
const REREAD: Duration = Duration::from_secs(5);

/// The machine's resolvers: given ones, or those of a file that may change.
#[derive(Debug)]
pub(crate) struct Resolvers {
    given: Vec<SocketAddr>,
    file: Option<PathBuf>,
    read: RefCell<Option<(Instant, Vec<SocketAddr>)>>,
}

impl Resolvers {
    pub(crate) fn new(given: Vec<SocketAddr>, file: Option<PathBuf>) -> Self {
        Self { given, file, read: RefCell::new(None) }
    }

    /// The first answer that comes, resolver by resolver.
    pub(crate) async fn ask(&self, question: &[u8], query: &Query, udp: bool) -> Option<Vec<u8>> {
        for resolver in self.current(Instant::now()) {
            let attempt = async {
                if udp {
                    ask_udp(resolver, question).await
                } else {
                    ask_tcp(resolver, question).await
                }
            };
            match tokio::time::timeout(PATIENCE, attempt).await {
                Ok(Ok(answer)) if answers(&answer, question, query) => return Some(answer),
                Ok(Ok(_)) => tracing::debug!(%resolver, "answer to another question"),
                Ok(Err(error)) => tracing::debug!(%resolver, %error, "resolver failed"),
                Err(_elapsed) => tracing::debug!(%resolver, "resolver timed out"),
            }
        }
        None
    }

    fn current(&self, now: Instant) -> Vec<SocketAddr> {
        let Some(file) = self.file.as_ref().filter(|_| self.given.is_empty()) else {
            return self.given.clone();
        };
        let mut read = self.read.borrow_mut();
        if let Some((at, resolvers)) = &*read
            && now.saturating_duration_since(*at) < REREAD
        {
            return resolvers.clone();
        }
        let resolvers = fs_err::read_to_string(file).map(|text| parse(&text)).unwrap_or_default();
        *read = Some((now, resolvers.clone()));
        resolvers
    }
}

/// The `nameserver` lines of a `resolv.conf`; at most three, as resolvers do.
fn parse(text: &str) -> Vec<SocketAddr> {
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let is_server = words.next() == Some("nameserver");
        let addr: IpAddr = words.next().filter(|_| is_server)?.parse().ok()?;
        Some(SocketAddr::new(addr, 53))
    });
    servers.take(3).collect()
}

fn answers(answer: &[u8], question: &[u8], query: &Query) -> bool {
    answer.get(..2) == question.get(..2)
        && Message::from_vec(answer).is_ok_and(|answer| {
            answer.queries().first().is_none_or(|asked| {
                asked.query_type() == query.query_type()
                    && asked.name().to_lowercase() == query.name().to_lowercase()
            })
        })
}

async fn ask_udp(resolver: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = match resolver {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(resolver).await?;
    socket.send(question).await?;
    let mut answer = vec![0; 64 << 10];
    let length = socket.recv(&mut answer).await?;
    answer.truncate(length);
    Ok(answer)
}

async fn ask_tcp(resolver: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(resolver).await?;
    write_framed(&mut stream, question).await?;
    read_framed(&mut stream).await
}

/// A message with its length before it (RFC 1035, 4.2.2).
pub(crate) async fn write_framed(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    let framed = [&length.to_be_bytes(), message].concat();
    stream.write_all(&framed).await
}

pub(crate) async fn read_framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; length.into()];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nameserver_lines_are_resolvers() {
        let text = "# nameserver 9.9.9.9\nnameserver 192.0.2.1\n nameserver\tfd00::1 x\n\
                    nameserver fe80::1%eth0\nsearch example.org\nnameserver\nnameserver 192.0.2.3\n\
                    nameserver 192.0.2.4\n";
        let found: Vec<_> = parse(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.1:53", "[fd00::1]:53", "192.0.2.3:53"]);
    }
}
