//! Tunnels: after an upgrade (WebSocket) bytes go both ways until either side ends.
//!
//! A tunnel is in flight on its target as long as it lives, so a drain waits for it and cuts it at
//! the deadline like everything else.

use std::rc::Rc;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::target::Flight;
use crate::worker::{Slot, Worker};

/// Connects both sides once HTTP has ended on them.
pub(crate) fn start(worker: &Rc<Worker>, client: OnUpgrade, target: OnUpgrade, flight: Flight) {
    let slot = Slot::tunnel(worker, flight.target().serial);
    tokio::task::spawn_local(async move {
        let copying = async {
            let (client, target) = tokio::try_join!(client, target)?;
            let (mut client, mut target) = (TokioIo::new(client), TokioIo::new(target));
            let copied = tokio::io::copy_bidirectional(&mut client, &mut target).await;
            Ok::<_, hyper::Error>(copied)
        };
        let mut copying = std::pin::pin!(copying);
        match slot.conn.drive(|cx, _| copying.as_mut().poll(cx)).await {
            Some(Ok(Ok(_))) => {}
            Some(Ok(Err(error))) => tracing::debug!(%error, "tunnel ended"),
            Some(Err(error)) => tracing::debug!(%error, "upgrade did not happen"),
            None => tracing::debug!("tunnel cut"),
        }
        drop(flight);
    });
}
