//! The control protocol: what the agent may ask of the proxy, as plain data.
//!
//! One JSON object per line over a unix socket (mode 0600): one [`Request`], one [`Reply`]. A line
//! is at most [`MAX_LINE`] bytes. Writers are fenced: everything that changes routes carries a
//! `generation` per service, and a generation older than the newest one seen is refused, also after
//! the service was removed ([`Request::SetApp`] asks this of all services of the app). A change is on disk and in force before its reply is written.
//!
//! [`Client`] is the synchronous side for the agent; the serving side is private.

mod client;
pub(crate) mod server;
pub(crate) mod wire;

pub use client::{CallError, Client};
pub use wire::{recv_listeners, send_listeners};

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use cutover_core::service::{HttpCheck, HttpHealth, Route};
use serde::{Deserialize, Serialize};

use crate::stats::StatsSnapshot;

/// The longest line either side reads; a longer one ends the connection.
pub const MAX_LINE: usize = 4 << 20;

/// The version of this protocol; a peer of another version is refused at [`Request::Hello`].
pub const PROTOCOL: u32 = 1;

/// One question or order to the proxy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    /// Who are you? Also proves that the proxy is alive.
    Hello { protocol: u32 },
    /// Replaces all that the proxy knows about one service: the switch. [`Reply::Switched`].
    SetService(ServiceSpec),
    /// Makes exactly these the services of an app: the switch of all of them at once. Whatever else
    /// the app had is removed, and its fence stays at this generation. All or nothing: one that is
    /// late or whose route is taken refuses the whole, no request is routed by a mix, and no
    /// restart finds one. Every spec carries this generation; holds stay. [`Reply::Switched`] with
    /// the former targets of all.
    SetApp { app: String, generation: u64, services: Vec<ServiceSpec> },
    /// Forgets a service and its routes. Its targets drain as after a switch. [`Reply::Switched`].
    Remove { service: String, generation: u64 },
    /// Waits until none of the given targets has a request in flight (tunnels count), or cuts what
    /// is left when `timeout` has passed. Only targets that get no new requests can be drained.
    /// An empty list means all former targets of the service. [`Reply::Drained`].
    Drain {
        service: String,
        targets: Vec<String>,
        #[serde(with = "millis")]
        timeout: Duration,
    },
    /// Requests for the service wait until [`Request::Release`], each at most `timeout`, at most
    /// `limit` at once; those over it get 503 with `Retry-After`. [`Reply::Ok`].
    Hold {
        service: String,
        generation: u64,
        #[serde(with = "millis")]
        timeout: Duration,
        limit: usize,
    },
    /// Ends [`Request::Hold`]: waiting requests go to the targets there are now. [`Reply::Ok`].
    Release { service: String, generation: u64 },
    /// Sends requests to an address that has no route, through the code that all requests take.
    /// [`Reply::Probed`].
    Probe(ProbeSpec),
    /// Counters of one service or of all. [`Reply::Stats`].
    Stats { service: Option<String> },
    /// Everything the proxy knows. [`Reply::List`].
    List,
    /// Replaces the names of one network. [`Reply::Ok`].
    SetNames(NetworkNames),
    /// Forgets the names of one network and closes its DNS sockets. [`Reply::Ok`].
    RemoveNames { network: String, generation: u64 },
    /// Binds a further address and serves HTTP on it. [`Reply::Ok`].
    Listen { addr: SocketAddr },
    /// The sockets the proxy listens on. [`Reply::Listeners`], without the sockets themselves.
    Listeners,
    /// The HTTP ones with duplicates of the sockets, for the agent to hold in case the proxy dies.
    /// (Not those for DNS: whoever held one would keep its address taken when its network goes, and
    /// a lost question is asked again.) [`Reply::Listeners`].
    TakeListeners,
    /// Serve on the sockets that come with this request. [`Reply::Ok`].
    GiveListeners { listeners: Vec<ListenerInfo> },
    /// A newer proxy asks for everything: sockets and the state with its health. From here on the
    /// old one changes nothing, until this connection ends or [`Request::LameDuck`] comes.
    /// [`Reply::HandOver`].
    TakeOver,
    /// Stop accepting, answer with `Connection: close`, finish what is in flight, exit. Over the
    /// connection of a [`Request::TakeOver`] the reply is [`Reply::Quiet`] and comes when no new
    /// request can start here; the connection ends when the process does. Otherwise [`Reply::Ok`].
    LameDuck {
        /// How long an idle kept-alive connection may stay to be answered once more.
        #[serde(with = "millis")]
        idle_grace: Duration,
        /// When whatever is still in flight is cut.
        #[serde(with = "millis")]
        deadline: Duration,
    },
}

/// The answer to one [`Request`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    Ok,
    Hello {
        protocol: u32,
        version: String,
        pid: u32,
    },
    /// The switch has happened; `previous` are the targets that get no new requests any more.
    Switched {
        generation: u64,
        previous: Vec<InFlight>,
    },
    Drained {
        drained: Vec<String>,
        cut: Vec<Cut>,
    },
    Probed {
        results: Vec<ProbeResult>,
    },
    Stats {
        services: Vec<ServiceStats>,
    },
    List(Box<Listing>),
    Listeners {
        listeners: Vec<ListenerInfo>,
    },
    HandOver(Box<HandOver>),
    Quiet,
    /// The writer is late: `current` is the generation in force, and nothing was changed.
    Stale {
        service: String,
        current: u64,
    },
    /// Nothing was changed; `message` names the thing and the reason.
    Error {
        message: String,
    },
}

/// One service as the proxy sees it: routes, targets, health.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// `app/service`.
    pub service: String,
    /// Grows with every change; an equal one is accepted only for an equal spec.
    pub generation: u64,
    pub routes: Vec<Route>,
    pub targets: Vec<TargetSpec>,
    /// `None`: a TCP connection must succeed.
    #[serde(default)]
    pub health: Option<HttpHealth>,
    #[serde(default)]
    pub options: ServiceOptions,
}

/// An address the proxy may send to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetSpec {
    /// The instance's id. A target with the same id, address and release as before keeps its
    /// health, its connections and its counters over a switch.
    pub id: String,
    pub addr: SocketAddr,
    /// The number of the release the instance belongs to.
    pub release: u64,
    /// The caller has proved the target healthy: it gets requests at once, before the first probe.
    #[serde(default)]
    pub proven: bool,
}

/// How requests of one service are treated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceOptions {
    #[serde(with = "millis")]
    pub connect_timeout: Duration,
    /// From the request being sent to the response's head.
    #[serde(with = "millis")]
    pub response_timeout: Duration,
    /// The longest silence within a body. Tunnels (WebSocket) may be silent for ever.
    #[serde(with = "millis")]
    pub idle_timeout: Duration,
    /// Keep and extend the client's `X-Forwarded-*` instead of replacing them: only behind
    /// another proxy.
    pub trust_forwarded: bool,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(300),
            trust_forwarded: false,
        }
    }
}

/// A former target and its requests in flight at the moment of the switch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlight {
    pub target: String,
    pub in_flight: u64,
}

/// A target whose requests were cut at the drain deadline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    pub target: String,
    /// How many requests and tunnels were still in flight. 0: some may be in a process that this
    /// one took over from, which is still ending and cuts them by its own deadline.
    pub requests: u64,
}

/// Requests to an address without a route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeSpec {
    pub addr: SocketAddr,
    /// The name the target has in errors and logs.
    pub id: String,
    /// Used as a service's options would be; the path the request takes is the same.
    #[serde(default)]
    pub options: ServiceOptions,
    /// Sent one after the other. `retries` is ignored: trying again is the caller's decision.
    pub checks: Vec<HttpCheck>,
}

/// What came back from one check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeResult {
    /// Whether status and body are what the check asked for.
    pub passed: bool,
    /// In words, when it did not pass: `GET /up answered 500`, `… did not answer within 5s`.
    pub reason: Option<String>,
    /// 0: there was no response.
    pub status: u16,
    pub headers: Vec<(String, String)>,
    /// The first KiB of the body, as text.
    pub body: String,
    /// The whole body's length, as far as it was read.
    pub body_bytes: u64,
    #[serde(with = "micros")]
    pub to_head: Duration,
    #[serde(with = "micros")]
    pub total: Duration,
}

/// Counters of a service's targets, present and former.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceStats {
    pub service: String,
    pub generation: u64,
    /// Requests waiting because of [`Request::Hold`].
    pub held: u64,
    pub targets: Vec<TargetStats>,
}

/// One target: its state and what happened to its requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetStats {
    pub id: String,
    pub addr: SocketAddr,
    pub release: u64,
    pub state: TargetState,
    /// Why the last probe failed, while the target is not healthy.
    pub last_failure: Option<String>,
    pub in_flight: u64,
    pub stats: StatsSnapshot,
}

/// Whether a target gets requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetState {
    /// Not probed yet; gets requests only when no target is healthy.
    Adding,
    Healthy,
    /// Gets requests only when there is nothing better: a wrong probe must not stop all traffic.
    Unhealthy,
    /// Not a target any more; finishes what it has.
    Draining,
}

/// Everything the proxy knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listing {
    pub services: Vec<ServiceSpec>,
    pub stats: Vec<ServiceStats>,
    pub networks: Vec<NetworkNames>,
    pub listeners: Vec<ListenerInfo>,
    /// What is wrong with the state on disk, if something is: the agent should push all services.
    pub state_error: Option<String>,
    pub proxy: ProxyStats,
}

/// Figures about the proxy itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyStats {
    pub workers: usize,
    /// Open client connections, tunnels included.
    pub connections: u64,
    pub accepted: u64,
    /// Requests that reached no target: unknown host, bad request, nothing to send to.
    pub rejected: u64,
    /// Whether the process is finishing what it has, see [`Request::LameDuck`].
    pub lame_duck: bool,
}

/// The names that one app has on one network, answered on its gateway. Of several apps on one
/// network each has its own; who asks there finds the names of all of them, and addresses of all
/// under a name that several have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkNames {
    /// `app/network`.
    pub network: String,
    pub generation: u64,
    /// Where to answer, normally the gateway's port 53, UDP and TCP. It need not exist yet.
    pub listen: Vec<SocketAddr>,
    /// Who may ask: `10.89.1.0/24`. Others are refused. Empty: everyone.
    #[serde(default)]
    pub subnets: Vec<String>,
    pub names: BTreeMap<String, Vec<IpAddr>>,
    /// Where (see `listen`) the names of the other networks are answered that instances on this one
    /// are on, too: they ask only here. A name of this network wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<SocketAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<Preview>,
}

/// Names that mean something else to whoever is new on the network: instances of a release that
/// does not serve yet find each other and not those that serve.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    pub names: BTreeMap<String, Vec<IpAddr>>,
    /// Those who were there before: to them nothing changes.
    pub not_for: BTreeSet<IpAddr>,
}

/// What a socket serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListenerKind {
    Http,
    DnsUdp,
    DnsTcp,
}

/// A listening socket without the socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerInfo {
    pub kind: ListenerKind,
    pub addr: SocketAddr,
}

/// All that a newer proxy needs; the sockets come beside it, in the order of `listeners`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HandOver {
    pub listeners: Vec<ListenerInfo>,
    /// Health by service and target id, so that the new proxy starts with what is known.
    pub health: Vec<(String, String, TargetState)>,
}

/// Durations as whole milliseconds.
pub(crate) mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(value: &Duration, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
        u64::deserialize(input).map(Duration::from_millis)
    }
}

/// Durations as whole microseconds.
pub(crate) mod micros {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(value: &Duration, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_u64(u64::try_from(value.as_micros()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
        u64::deserialize(input).map(Duration::from_micros)
    }
}
