//! A small netlink: messages with attributes, acknowledged batches, single questions and dumps.
//!
//! It is shared by rtnetlink (links, addresses, routes), nf_tables and conntrack. Nothing here
//! knows what a message means. A [`Socket`] belongs to the network namespace in which it was
//! opened, also when another thread or a thread that has moved on uses it.

mod message;
mod reply;
mod socket;

pub(crate) use message::Message;
pub(crate) use reply::{Attributes, Reply};
pub(crate) use socket::Socket;

/// Flags of a request (linux/netlink.h).
pub(crate) mod flags {
    pub(crate) const REQUEST: u16 = 0x1;
    pub(crate) const ACK: u16 = 0x4;
    pub(crate) const DUMP: u16 = 0x300;
    pub(crate) const EXCL: u16 = 0x200;
    pub(crate) const CREATE: u16 = 0x400;
    pub(crate) const APPEND: u16 = 0x800;
}

/// Why the kernel did not do what a message asks.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The kernel's own words, if it had any, are in `text`.
    #[error("{}{}", errno_text(*.errno), explanation(.text))]
    Refused {
        /// Which message of the batch, counted from 0.
        index: usize,
        errno: i32,
        text: String,
    },
    #[error("talk to the kernel over netlink")]
    Io(#[from] std::io::Error),
    #[error("the kernel's netlink answer makes no sense: {0}")]
    Malformed(&'static str),
}

impl NetlinkError {
    pub(crate) fn is(&self, wanted: i32) -> bool {
        matches!(self, Self::Refused { errno, .. } if *errno == wanted)
    }
}

fn errno_text(errno: i32) -> String {
    if errno == libc::EPERM {
        return "operation not permitted (it takes root, or CAP_NET_ADMIN)".to_owned();
    }
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    // the standard library appends ` (os error N)`
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

fn explanation(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}
