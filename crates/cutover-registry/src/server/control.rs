//! `control.sock`: how a command reaches the server that has the data open. One line of JSON each way.
//!
//! Whoever may write to the data directory may use it: the socket is the owner's alone.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};

use super::care::{Order, Report, carry_out};
use super::store::Store;

/// The longest line: a history, or a list of damage, can be long.
const LINE_MAX: u64 = 64 << 20;

#[derive(Serialize, Deserialize)]
struct Asked {
    who: String,
    #[serde(flatten)]
    order: Order,
}

fn path(dir: &Path) -> PathBuf {
    dir.join("control.sock")
}

/// The thread that takes orders. Ends when dropped, after the order that it is at.
#[derive(Debug)]
pub(super) struct Control {
    path: PathBuf,
    listener: UnixListener,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Starts to listen. The store's lock is held, so a socket that is there is nobody's.
    pub(super) fn start(store: Arc<Store>) -> io::Result<Self> {
        let path = path(&store.dir);
        drop(fs_err::remove_file(&path));
        let listener = UnixListener::bind(&path)?;
        fs_err::set_permissions(&path, PermissionsExt::from_mode(0o600))?;
        let ending = Arc::new(AtomicBool::new(false));
        let (told, accepting) = (Arc::clone(&ending), listener.try_clone()?);
        let thread =
            std::thread::Builder::new().name("registry-control".into()).spawn(move || {
                while let Ok((stream, _)) = accepting.accept() {
                    if told.load(Ordering::SeqCst) {
                        return;
                    }
                    if let Err(error) = serve(&store, stream) {
                        tracing::warn!(%error, "an order was not carried out");
                    }
                }
            })?;
        Ok(Self { path, listener, ending, thread: Some(thread) })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        // wakes the thread, even when the socket's file is gone
        rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both).ok();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
        drop(fs_err::remove_file(&self.path));
    }
}

fn serve(store: &Arc<Store>, stream: UnixStream) -> io::Result<()> {
    stream.set_read_timeout(Some(std::time::Duration::from_secs(10)))?;
    let Asked { who, order } = read(&stream)?;
    tracing::info!(?order, who, "an order");
    write(&stream, &carry_out(store, &order, &who))
}

/// Has the server of a data directory carry out an order.
pub(super) fn ask(dir: &Path, order: &Order, who: &str) -> io::Result<Report> {
    let stream = UnixStream::connect(path(dir))?;
    write(&stream, &Asked { who: who.to_owned(), order: order.clone() })?;
    read(&stream)
}

fn write(mut stream: &UnixStream, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    stream.write_all(&line)
}

fn read<T: for<'de> Deserialize<'de>>(stream: &UnixStream) -> io::Result<T> {
    let mut line = String::new();
    BufReader::new(stream.take(LINE_MAX)).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}
