//! A small HTTP/1.1 client: connections kept and reused, redirects, authentication, proxies.
//!
//! One [`Client`] serves one operation with one repository. It knows how to prove who we are and where
//! not to: a header with credentials is sent to the registry's own origin only.

mod address;
mod ask;
mod body;
mod cache;
mod client;
mod connect;
mod download;
mod pool;
mod proxy;
pub(crate) mod range;
mod response;
mod tokens;
mod unchecked;

pub(crate) use address::Address;
pub(crate) use ask::{Ask, Payload, Target};
pub(crate) use body::{Sent, Source};
pub use cache::TokenCache;
pub(crate) use client::Client;
pub(crate) use download::Download;
pub(crate) use response::Response;
