//! `cutover registry token create|ls|rm`: the file of tokens that `registry serve --tokens` reads.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use cutover_core::units::parse_duration;
use cutover_registry::server::access::rights::Right;
use cutover_registry::server::access::robots::{NewRobot, Robots};
use serde_json::json;

use super::super::Ctx;
use crate::clock;
use crate::failure::{Context, Kind, Outcome};

/// Make and remove tokens for machines
#[derive(Debug, Args)]
#[command(after_help = "\
A running registry that was started with `--tokens FILE` sees each change within a second. A token is shown once: the \
file has its hash only. Docker and others take it as the password of any user name.")]
pub(super) struct Token {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(Create),
    Ls(List),
    Rm(Remove),
}

/// Make a token and print it
#[derive(Debug, Args)]
struct Create {
    /// What the token is called in logs and histories
    name: String,
    /// What it allows: `pull`, `push`, `delete` or `*`, and a pattern of repositories, as in
    /// `pull,push:team/*`; can be given several times
    #[arg(long, value_name = "RIGHT", required = true)]
    allow: Vec<Right>,
    /// How long it is good, as in `720h` [default: until it is removed]
    #[arg(long, value_name = "DURATION")]
    expires: Option<String>,
    #[command(flatten)]
    file: TokenFile,
}

/// List tokens
#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    file: TokenFile,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Remove tokens
#[derive(Debug, Args)]
struct Remove {
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    file: TokenFile,
}

#[derive(Debug, Args)]
struct TokenFile {
    /// File of tokens
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
}

impl Token {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        match self.command {
            Command::Create(command) => command.run(ctx),
            Command::Ls(command) => command.run(ctx),
            Command::Rm(command) => command.run(ctx),
        }
    }
}

impl Create {
    fn run(self, ctx: &Ctx) -> Outcome {
        let created = clock::since_epoch().as_secs();
        let lifetime = self.expires.as_deref().map(parse_duration).transpose().kind(Kind::Usage)?;
        let expires = lifetime.map(|lifetime| created.saturating_add(lifetime.as_secs()));
        let (one, other) = (clock::random_bytes(), clock::random_bytes());
        let mut random = [0; 32];
        random[..16].copy_from_slice(&one);
        random[16..].copy_from_slice(&other);
        let path = &self.file.file;
        let mut robots = Robots::read(path).kind(Kind::Config)?;
        let new = NewRobot { name: &self.name, rights: self.allow, created, expires };
        let token = robots.create(new, &random).kind(Kind::Usage)?;
        robots.write(path)?;
        ctx.ui.data(token)
    }
}

impl List {
    fn run(self, ctx: &Ctx) -> Outcome {
        let robots = Robots::read(&self.file.file).kind(Kind::Config)?;
        let now = clock::since_epoch();
        let rights =
            |rights: &[Right]| -> Vec<String> { rights.iter().map(ToString::to_string).collect() };
        if self.json {
            let tokens: Vec<_> = robots
                .tokens
                .iter()
                .map(|it| {
                    json!({"name": it.name, "rights": rights(&it.rights), "created": it.created,
                        "expires": it.expires})
                })
                .collect();
            return ctx.ui.json(&tokens);
        }
        let rows = robots.tokens.iter().map(|it| {
            let expires = match it.expires {
                None => "never".to_owned(),
                Some(at) if at <= now.as_secs() => "expired".to_owned(),
                Some(at) => format!("in {}", clock::human(at - now.as_secs())),
            };
            let created = clock::ago(std::time::Duration::from_secs(it.created), now);
            vec![it.name.clone(), rights(&it.rights).join(" "), created, expires]
        });
        ctx.ui.table(&["NAME", "RIGHTS", "CREATED", "EXPIRES"], rows.collect())
    }
}

impl Remove {
    fn run(self, ctx: &Ctx) -> Outcome {
        let path = &self.file.file;
        let mut robots = Robots::read(path).kind(Kind::Config)?;
        for name in &self.names {
            robots.remove(name).kind(Kind::NotFound)?;
        }
        robots.write(path)?;
        self.names.iter().try_for_each(|name| ctx.ui.data(name))
    }
}
