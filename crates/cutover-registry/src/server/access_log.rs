//! [`AccessLog`]: a line for each request. Nothing of it is secret: no header but the client's
//! name, and no query, which may carry a token.

use super::gate::Event;
use super::guard::Observer;

/// Writes lines to the program's log.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccessLog;

impl Observer for AccessLog {
    fn observe(&self, event: &Event) {
        let Event::Served { method, path, agent, peer, who, status, bytes, took } = event else {
            return;
        };
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(
            target: "registry_access",
            %peer,
            who = &*who.0,
            %method,
            // a path may hold anything
            path = %path.escape_debug(),
            status = status.as_u16(),
            bytes,
            millis,
            agent = agent.as_deref().unwrap_or_default(),
            "request"
        );
    }
}
