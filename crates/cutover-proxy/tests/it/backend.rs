//! A small HTTP server in threads, for tests to send requests to.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// One request, and the way to answer it.
pub(crate) struct Exchange<'a> {
    pub(crate) method: String,
    pub(crate) path: String,
    /// All header lines, lowercase names, in order.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) stream: &'a mut BufReader<TcpStream>,
}

impl Exchange<'_> {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The request line and the header lines, as they came.
    pub(crate) fn head(&self) -> String {
        let lines = self.headers.iter().map(|(name, value)| format!("{name}: {value}\n"));
        format!("{} {}\n{}", self.method, self.path, lines.collect::<String>())
    }

    /// The whole body and its trailers.
    pub(crate) fn body(&mut self) -> (Vec<u8>, Vec<String>) {
        let mut body = Vec::new();
        if self.header("transfer-encoding") == Some("chunked") {
            loop {
                let size = line(self.stream).unwrap().unwrap();
                let size = u64::from_str_radix(&size, 16).unwrap();
                if size == 0 {
                    break;
                }
                self.stream.by_ref().take(size).read_to_end(&mut body).unwrap();
                assert_eq!(line(self.stream).unwrap().unwrap(), "");
            }
            let trailers =
                std::iter::from_fn(|| line(self.stream).unwrap().filter(|line| !line.is_empty()));
            return (body, trailers.collect());
        }
        let length = self.header("content-length").map_or(0, |length| length.parse().unwrap());
        self.stream.by_ref().take(length).read_to_end(&mut body).unwrap();
        (body, Vec::new())
    }

    pub(crate) fn write(&mut self, text: &str) -> io::Result<()> {
        self.stream.get_mut().write_all(text.as_bytes())
    }

    pub(crate) fn answer(&mut self, body: &str) -> io::Result<()> {
        self.write(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    }
}

type Handler = dyn Fn(&mut Exchange<'_>) -> io::Result<()> + Send + Sync;

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    connections: AtomicUsize,
    requests: AtomicUsize,
    open: Mutex<Vec<TcpStream>>,
}

/// A server; ends when dropped. A handler that returns an error ends its connection.
pub(crate) struct Backend {
    pub(crate) addr: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Backend {
    pub(crate) fn start(
        handler: impl Fn(&mut Exchange<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let (handler, state): (Arc<Handler>, _) = (Arc::new(handler), Arc::clone(&shared));
        let thread = thread::spawn(move || accept(&listener, &state, &handler));
        Self { addr, shared, thread: Some(thread) }
    }

    /// Answers everything with this text.
    pub(crate) fn saying(text: &str) -> Self {
        let text = text.to_owned();
        Self::start(move |exchange| {
            exchange.body();
            exchange.answer(&text)
        })
    }

    /// Answers with the request it got.
    pub(crate) fn echo() -> Self {
        Self::start(|exchange| {
            let (body, trailers) = exchange.body();
            let body = String::from_utf8_lossy(&body).into_owned();
            let text = format!("{}\n{body}{}", exchange.head(), trailers.join("\n"));
            exchange.answer(&text)
        })
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// How many of its connections are open.
    pub(crate) fn open(&self) -> usize {
        self.shared.open.lock().unwrap().len()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        TcpStream::connect(self.addr).ok();
        for stream in self.shared.open.lock().unwrap().iter() {
            stream.shutdown(Shutdown::Both).ok();
        }
        self.thread.take().map(JoinHandle::join);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, handler: &Arc<Handler>) {
    while let Ok((stream, _)) = listener.accept() {
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        stream.set_nodelay(true).unwrap();
        shared.connections.fetch_add(1, Ordering::SeqCst);
        shared.open.lock().unwrap().push(stream.try_clone().unwrap());
        let (shared, handler) = (Arc::clone(shared), Arc::clone(handler));
        thread::spawn(move || {
            let peer = stream.peer_addr().unwrap();
            serve(stream, &shared, &*handler).ok();
            let mut open = shared.open.lock().unwrap();
            open.retain(|stream| {
                let mine = stream.peer_addr().is_ok_and(|other| other == peer);
                if mine {
                    stream.shutdown(Shutdown::Both).ok();
                }
                !mine && stream.peer_addr().is_ok()
            });
        });
    }
}

fn serve(stream: TcpStream, shared: &Shared, handler: &Handler) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(first) = line(&mut stream)? {
        let mut words = first.split(' ').map(str::to_owned);
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let mut headers = Vec::new();
        while let Some(line) = line(&mut stream)?.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').unwrap();
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        shared.requests.fetch_add(1, Ordering::SeqCst);
        let mut exchange = Exchange { method, path, headers, stream: &mut stream };
        let close = exchange.header("connection").is_some_and(|value| value == "close");
        handler(&mut exchange)?;
        if close {
            return Ok(());
        }
    }
    Ok(())
}

fn line(stream: &mut BufReader<TcpStream>) -> io::Result<Option<String>> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()))
}
