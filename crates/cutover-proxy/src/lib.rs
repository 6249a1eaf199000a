//! The data plane: routes, targets, health, switch, drain.
//!
//! One process, `cutover proxy`: an HTTP/1.1 reverse proxy for the services of a machine, and the
//! DNS server for their names. Routes are pushed to it over a unix socket ([`control`]), are on
//! disk before they are acknowledged, and stay in force when the agent dies.
//!
//! A thread per core, each with its own single-threaded runtime and its own connection pool, accepts
//! from the same listening sockets (`worker`); one more thread does the rest: control, probes,
//! DNS. The only thing that workers share on the path of a request is the read side of one lock
//! (`table`), and that lock is what makes a switch exact.
//!
//! | module | one word each |
//! |---|---|
//! | [`control`] | the protocol as types, [`control::Client`], the server |
//! | `route`, `table` | which service; which target, counted under the lock |
//! | `target`, `health`, `prober` | one target; its states; who feeds them |
//! | `registry`, `persist` | changes: fence, write, swap; the file |
//! | `worker`, `handler`, `head`, `upstream`, `body`, `tunnel`, `pages` | the path of a request |
//! | `warm` | connections opened before a switch |
//! | `gate` | requests held while a service is replaced |
//! | `listen`, `run` | sockets; start, hand-over, end |
//! | `dns` | names of services |
//! | [`loadgen`] | the strict load generator of tests and demo |

mod body;
pub mod control;
mod dns;
mod gate;
mod handler;
mod head;
mod health;
mod listen;
pub mod loadgen;
mod pages;
mod persist;
mod probe;
mod prober;
mod registry;
mod route;
mod run;
mod stats;
mod table;
mod target;
mod tunnel;
mod upstream;
mod warm;
mod worker;

pub use listen::{BindError, HeldListener, inherited};
pub use run::{LameDuck, ProxyOptions, Running, StartError, run, start};
pub use stats::StatsSnapshot;
