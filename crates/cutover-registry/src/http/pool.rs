//! [`Pool`]: connections that wait for their next request.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::connect::Sender;

/// Which origin a connection leads to.
pub(super) type Key = (bool, String, u16);

#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<HashMap<Key, Vec<Sender>>>);

impl Pool {
    pub(super) fn take(&self, key: &Key) -> Option<Sender> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let senders = idle.get_mut(key)?;
        senders.retain(|sender| !sender.is_closed());
        senders.pop()
    }

    pub(super) fn give(&self, key: Key, sender: Sender) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        idle.entry(key).or_default().push(sender);
    }
}
