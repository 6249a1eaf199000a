//! `cutover login`.

use std::io::{BufRead, IsTerminal, Read, Write};

use clap::Args;
use cutover_registry::{Basic, LoginError, Saved};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use super::Ctx;
use super::logout::registry;
use crate::failure::{Context, Failure, Kind, Outcome};
use crate::transfer;

/// The longest password that is read.
const MAX_PASSWORD: u64 = 64 << 10;

/// Keep credentials for a registry
#[derive(Debug, Args)]
#[command(after_help = "\
They go where docker keeps them: into the credential helper that `~/.docker/config.json` names, or into that file. \
`DOCKER_CONFIG` and `REGISTRY_AUTH_FILE` name other places.")]
pub(super) struct Login {
    /// Host, with a port where it has one; docker.io without
    registry: Option<String>,
    /// User name
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// Password or access token; every user of this machine can read it while the command runs
    #[arg(short, long, value_name = "TEXT", conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Read the password from stdin
    #[arg(long)]
    password_stdin: bool,
}

impl Login {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let registry = registry(self.registry.as_deref())?;
        if self.password.is_some() {
            ctx.ui.warn("`--password` shows the password to every user of this machine: use `--password-stdin`");
        }
        if self.password_stdin && self.username.is_none() {
            return Err(Failure::msg(Kind::Usage, "`--password-stdin` needs `--username`"));
        }
        let username = match self.username {
            Some(name) => name,
            None => prompt("Username: ", true)?,
        };
        let password = match self.password {
            Some(text) => text,
            None if self.password_stdin => from_stdin()?,
            None => prompt("Password: ", false)?,
        };
        if username.is_empty() || password.is_empty() {
            return Err(Failure::msg(Kind::Usage, "user name and password must not be empty"));
        }
        if username.contains(':') {
            return Err(Failure::msg(Kind::Usage, "a user name has no `:`"));
        }
        let credential = Basic { username, password }.into();
        let options = transfer::options(cutover_store::host_platform())?;
        cutover_registry::log_in(&registry, &credential, &options).map_err(|error| {
            let refused = matches!(error, LoginError::Refused { .. });
            let failure = Failure::new(Kind::Remote, error);
            match refused {
                true => {
                    failure.hint("some registries want an access token instead of the password")
                }
                false => failure,
            }
        })?;
        let saved = transfer::keychain()
            .save(&registry, &credential)
            .or_fail(Kind::Config, "keep the credentials")?;
        if let Saved::Plain(path) = saved {
            ctx.ui.warn(format!("the password is not encrypted in `{}`", path.display()));
        }
        ctx.ui.data("Login Succeeded")
    }
}

fn from_stdin() -> Outcome<String> {
    let mut text = String::new();
    std::io::stdin().lock().take(MAX_PASSWORD).read_to_string(&mut text)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// A line from the terminal; what is typed is shown only with `echo`.
fn prompt(text: &str, echo: bool) -> Outcome<String> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::msg(Kind::Usage, "there is no terminal to ask on")
            .hint("give `--username NAME --password-stdin`"));
    }
    let mut err = std::io::stderr();
    err.write_all(text.as_bytes())?;
    err.flush()?;
    let before = tcgetattr(&stdin)?;
    if !echo {
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Flush, &silent)?;
    }
    let mut line = String::new();
    let read = stdin.lock().take(MAX_PASSWORD).read_line(&mut line);
    if !echo {
        tcsetattr(&stdin, OptionalActions::Flush, &before)?;
        err.write_all(b"\n")?;
    }
    read?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
