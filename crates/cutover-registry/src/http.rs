//! A small HTTP/1.1 client: connections kept and reused, redirects, authentication, proxies.
//!
//! One [`Client`] serves one pull from one registry. It knows how to prove who we are and where
//! not to: a header with credentials is sent to the registry's own origin only.

mod address;
mod client;
mod connect;
mod proxy;

pub(crate) use address::Address;
pub(crate) use client::{Ask, Client, Response};
