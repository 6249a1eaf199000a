//! What the command line and the agent say to each other: one JSON line with a [`Request`] on the
//! agent's socket, then lines with an [`Event`] each, the last of them `Done`, `Failed` or
//! `Refused`. A client that goes away stops nothing.

use std::collections::BTreeMap;

use cutover_core::release::SealedService;
use serde::{Deserialize, Serialize};

/// Version of this protocol; an agent refuses a request of a newer one.
pub(crate) const VERSION: u32 = 1;

/// Bytes that one line may have.
pub(crate) const LINE_LIMIT: usize = 8 << 20;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Envelope {
    pub(crate) version: u32,
    pub(crate) request: Request,
}

/// What can be asked of the agent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub(crate) enum Request {
    Ping,
    Deploy {
        app: String,
        services: Services,
        who: String,
        wait: bool,
    },
    Plan {
        app: String,
        services: Services,
    },
    Rollback {
        app: String,
        to: Option<u64>,
        who: String,
        plan_only: bool,
    },
    Down {
        app: String,
        volumes: bool,
        who: String,
    },
    /// Throw away instances of the serving release and start fresh ones.
    Replace {
        app: String,
        services: Vec<String>,
        who: String,
    },
    /// Undo the deployment of `app` that is under way.
    Cancel {
        app: String,
    },
    /// Follow the deployment of `app` that is under way, if any.
    Attach {
        app: String,
    },
    /// Record, before it happens, that someone runs a command in an instance.
    Taint {
        app: String,
        instance: String,
        who: String,
        command: String,
    },
    /// End the agent; containers and proxy go on. With `all`, end the proxy too.
    Stop {
        all: bool,
    },
}

pub(crate) type Services = BTreeMap<String, SealedService>;

/// What the agent answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Event {
    Pong {
        version: String,
        pid: u32,
    },
    /// A line for the reader.
    Say {
        line: String,
    },
    /// The deployment has this number.
    Started {
        deployment: u64,
        release: Option<u64>,
    },
    /// What a deployment would do.
    Plan {
        lines: Vec<String>,
    },
    Done {
        summary: Summary,
    },
    /// The deployment did not succeed; `report` is complete and names the release that serves.
    Failed {
        report: String,
        hint: Option<String>,
        summary: Summary,
    },
    /// Nothing was begun.
    Refused {
        report: String,
        hint: Option<String>,
    },
}

/// How a deployment ended.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) app: String,
    pub(crate) deployment: Option<u64>,
    /// The release that serves now.
    pub(crate) serving: Option<u64>,
    pub(crate) outcome: String,
    /// Milliseconds from the request to the acknowledged switch.
    pub(crate) switched_ms: Option<u64>,
    /// Milliseconds in all.
    pub(crate) total_ms: u64,
}
