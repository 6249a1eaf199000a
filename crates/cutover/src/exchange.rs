//! Another machine's cutover at the end of a byte stream: where it is, and how it is reached.
//!
//! For now by the system's `ssh`, which knows people's keys, hosts and settings.

use std::process::{Child, Command, Stdio};
use std::str::FromStr;

use cutover_core::{Digest, Reference};
use cutover_registry::exchange::{ExchangeError, Named, send};
use cutover_store::Store;

use crate::failure::{Context, Failure, Kind, Outcome};
use crate::transfer;
use crate::ui::Ui;

/// What the other side runs.
const RECEIVE: &str = "cutover receive";

/// Where images go without a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// `ssh://[USER@]HOST[:PORT]`.
    Ssh { host: String, port: Option<u16> },
    /// `exec:COMMAND`: a shell command that ends up at `cutover receive`.
    Exec(String),
}

#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a destination: it must be `ssh://[USER@]HOST[:PORT]`")]
pub(crate) struct ParseDestinationError(String);

impl FromStr for Destination {
    type Err = ParseDestinationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseDestinationError(text.to_owned());
        if let Some(command) = text.strip_prefix("exec:").filter(|it| !it.trim().is_empty()) {
            return Ok(Self::Exec(command.to_owned()));
        }
        let rest = text.strip_prefix("ssh://").ok_or_else(wrong)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (user, host) = match rest.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, rest),
        };
        let (host, port) = match host.rsplit_once(':') {
            // the last colon of an address in brackets may be its own
            Some((host, port)) if !port.contains(']') => {
                (host, Some(port.parse().ok().ok_or_else(wrong)?))
            }
            _ => (host, None),
        };
        let host = match host.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
            Some(address) => address,
            None => host,
        };
        // ssh takes what begins with `-` for an option
        let is_word = |word: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "._-:%".contains(c);
            !word.is_empty() && !word.starts_with('-') && word.chars().all(allowed)
        };
        if !is_word(host) || user.is_some_and(|user| !is_word(user)) {
            return Err(wrong());
        }
        let user = user.map(|user| format!("{user}@")).unwrap_or_default();
        Ok(Self::Ssh { host: format!("{user}{host}"), port })
    }
}

impl Destination {
    fn command(&self) -> Command {
        match self {
            Self::Exec(command) => {
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", command]);
                shell
            }
            Self::Ssh { host, port } => {
                let mut ssh = Command::new("ssh");
                // a machine that is gone is noticed after a minute, not never
                ssh.args(["-T", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4"]);
                if let Some(port) = port {
                    ssh.arg("-p").arg(port.to_string());
                }
                ssh.args(["--", host, RECEIVE]);
                ssh
            }
        }
    }

    fn program(&self) -> &'static str {
        match self {
            Self::Exec(_) => "/bin/sh",
            Self::Ssh { .. } => "ssh",
        }
    }
}

/// Sends the images, each under its name, and shows it.
pub(crate) fn push(
    ui: Ui,
    store: &Store,
    images: &[(Digest, Reference)],
    to: &Destination,
) -> Outcome {
    let named: Vec<_> = images
        .iter()
        .map(|(digest, name)| Named { name: name.clone(), digest: digest.clone() })
        .collect();
    let mut child = Ended(
        to.command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .or_fail(Kind::Remote, format!("start `{}`", to.program()))?,
    );
    let (input, output) = (child.0.stdin.take(), child.0.stdout.take());
    let (Some(input), Some(output)) = (input, output) else {
        return Err(Failure::msg(Kind::Internal, "the pipes of a program are gone"));
    };
    let sent = transfer::told(ui, |progress| send(store, &named, output, input, progress));
    sent.map_err(|error| {
        let hint = match &error {
            ExchangeError::NotCutover(_) => Some(
                "cutover of the same version must be in the `PATH` of a shell there".to_owned(),
            ),
            ExchangeError::Broken(_) => Some("what was sent stays there: push again".to_owned()),
            _ => None,
        };
        let failure = Failure::new(Kind::Remote, error);
        Failure {
            hint,
            error: failure.error.map(|it| it.context("failed to send images")),
            ..failure
        }
    })
}

/// A child that is waited for: it ends with its pipes.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // an exchange that succeeded has said so; how the program ends adds nothing
        drop(self.0.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations() {
        let check = |text: &str, expected: Option<(&str, Option<u16>)>| {
            let parsed = text.parse::<Destination>().ok();
            let expected =
                expected.map(|(host, port)| Destination::Ssh { host: host.to_owned(), port });
            assert_eq!(parsed, expected, "{text}");
        };
        check("ssh://me@box.example", Some(("me@box.example", None)));
        check("ssh://box:2222/", Some(("box", Some(2222))));
        check("ssh://me@[::1]:22", Some(("me@::1", Some(22))));
        check("ssh://[fe80::1%eth0]", Some(("fe80::1%eth0", None)));
        for wrong in [
            "box",
            "ssh://",
            "ssh://box:x",
            "ssh://-oProxyCommand=x",
            "ssh://-l@box",
            "ssh://box/path",
            "ssh://a b",
            "ssh://a;b",
            "http://box",
        ] {
            check(wrong, None);
        }
    }
}
