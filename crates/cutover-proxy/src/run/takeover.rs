//! The new proxy's side of a hand-over.

use std::io;
use std::path::PathBuf;
use std::thread;

use tokio::sync::watch;

use super::{LameDuck, ProxyOptions, StartError};
use crate::control::server::Predecessor;
use crate::control::wire::pair;
use crate::control::{CallError, Client, HandOver, Reply, Request};
use crate::listen::HeldListener;
use crate::registry::{KnownHealth, chain};

/// Everything the old proxy has given; it changes nothing while this lives.
#[derive(Debug)]
pub(super) struct TakeOver {
    client: Client,
    listeners: Vec<HeldListener>,
    health: KnownHealth,
}

/// Asks the proxy at the control socket for everything. `None`: there is none, or it is not wanted.
pub(super) fn begin(options: &ProxyOptions) -> Result<Option<TakeOver>, StartError> {
    if !options.take_over {
        return Ok(None);
    }
    let failed = |reason: String| {
        let path: PathBuf = options.control_socket.clone();
        StartError::TakeOver { path, reason }
    };
    let mut client = match Client::connect(&options.control_socket) {
        Ok(client) => client,
        Err(CallError::Unreachable { source, .. }) if is_nobody(&source) => return Ok(None),
        Err(error) => return Err(failed(chain(&error))),
    };
    let (reply, sockets) =
        client.call_with(&Request::TakeOver, &[]).map_err(|error| failed(chain(&error)))?;
    let Reply::HandOver(hand_over) = reply else {
        return Err(failed("it answered something else".to_owned()));
    };
    let HandOver { listeners, health } = *hand_over;
    let listeners = pair(listeners, sockets).map_err(|error| failed(error.to_string()))?;
    let health = health.into_iter().map(|(service, id, state)| ((service, id), state)).collect();
    Ok(Some(TakeOver { client, listeners, health }))
}

/// No socket, or one that nobody listens on.
fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

impl TakeOver {
    pub(super) fn take_listeners(&mut self) -> Vec<HeldListener> {
        std::mem::take(&mut self.listeners)
    }

    pub(super) fn health(&self) -> KnownHealth {
        self.health.clone()
    }

    /// Makes the old proxy end, and tells how far it has got.
    pub(super) fn finish(
        mut self,
        LameDuck { idle_grace, deadline }: LameDuck,
        phase: watch::Sender<Predecessor>,
    ) -> io::Result<()> {
        let work = move || {
            let request = Request::LameDuck { idle_grace, deadline };
            match self.client.call(&request) {
                Ok(Reply::Quiet) => {
                    phase.send_replace(Predecessor::Quiet);
                    self.client.wait_for_end();
                }
                Ok(_) => tracing::warn!("the old proxy answered something else"),
                // It is gone, or will be killed: waiting any longer would block every change.
                Err(error) => tracing::warn!(error = chain(&error), "the old proxy did not end"),
            }
            phase.send_replace(Predecessor::Gone);
        };
        thread::Builder::new().name("proxy-takeover".into()).spawn(work).map(drop)
    }
}
