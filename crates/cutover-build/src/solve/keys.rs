//! Cache keys: everything that a step can observe, and nothing else.

use cutover_core::Digest;

use super::Solver;
use crate::dockerfile::RunNetwork;
use crate::fingerprint::Fingerprint;
use crate::op::{CopyOp, Op, RunOp};
use crate::{ExtraHost, Network};

/// The key of `op` on top of the layers `top`; `content` is what is copied or mounted.
pub(super) fn of(top: &str, op: &Op, content: Option<&Digest>, solver: &Solver<'_>) -> Digest {
    let mut key = match op {
        Op::Run(run) => of_run(top, run, content, solver),
        Op::Copy(copy) => of_copy(top, copy, content),
        Op::Mkdir { path, owner } => {
            let mut key = Fingerprint::new("mkdir 1");
            key.field("on", top);
            key.field("path", path);
            key.field("owner", owner);
            key
        }
    };
    // It clamps the times in the layer.
    if let Some(epoch) = solver.epoch {
        key.field("epoch", epoch.to_string());
    }
    key.finish()
}

/// A process sees its files, words, variables, user, directory and network; proxies are only a way
/// to the same place.
fn of_run(top: &str, run: &RunOp, mounted: Option<&Digest>, solver: &Solver<'_>) -> Fingerprint {
    let mut key = Fingerprint::new("run 1");
    key.field("on", top);
    key.fields("args", &run.args);
    key.fields("env", &run.env);
    key.field("cwd", &run.cwd);
    key.field("user", &run.user);
    key.field("network", format!("{:?}", solver.network(run.network)));
    key.field("hostname", solver.hostname());
    if let Some((path, content)) = &run.script {
        key.field("script", path);
        key.field("content", content);
    }
    let hosts = solver.options.extra_hosts.iter();
    let hosts: Vec<String> =
        hosts.map(|ExtraHost { name, address }| format!("{name} {address}")).collect();
    key.fields("hosts", &hosts);
    key.field("shm", format!("{:?}", solver.options.shm_size));
    // What is in a cache, a secret or an agent is no part of it; that they are there is.
    for mount in &run.mounts {
        key.field("mount", format!("{mount:?}"));
    }
    if let Some(mounted) = mounted {
        key.field("mounted", mounted.as_str());
    }
    for limit in &solver.options.limits.ulimits {
        key.field("ulimit", format!("{limit:?}"));
    }
    if run.insecure {
        key.field("insecure", "");
    }
    key
}

fn of_copy(top: &str, copy: &CopyOp, content: Option<&Digest>) -> Fingerprint {
    let mut key = Fingerprint::new("copy 1");
    // A linked layer is the same on top of anything.
    key.field("on", if copy.link { "anything" } else { top });
    key.field("content", content.map_or("", Digest::as_str));
    for (name, content) in &copy.inline {
        key.field("inline", name);
        key.field("content", content);
    }
    key.field("to", &copy.destination);
    key.field("chown", &copy.chown);
    key.field("chmod", format!("{:?}", copy.chmod));
    key.field("unpack", format!("{}", copy.unpack));
    key
}

impl Solver<'_> {
    pub(super) fn network(&self, network: RunNetwork) -> Network {
        match network {
            RunNetwork::Default => self.options.network,
            RunNetwork::None => Network::None,
            RunNetwork::Host => Network::Host,
        }
    }
}
