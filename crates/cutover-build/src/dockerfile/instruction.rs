//! The types of a Dockerfile: what is written, before any variable is expanded.

use super::heredoc::Heredoc;
use super::mount::MountFlag;
use crate::provision::Provision;

/// A range of lines, from 1, both ends inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lines {
    pub start: usize,
    pub end: usize,
}

impl Lines {
    pub fn one(line: usize) -> Self {
        Self { start: line, end: line }
    }
}

/// A parsed Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dockerfile {
    /// `\`, or what `# escape=` says.
    pub escape: char,
    /// `# syntax=`: accepted, not acted upon.
    pub syntax: Option<String>,
    /// `# check=`.
    pub check: Option<String>,
    /// ARGs before the first FROM.
    pub global_args: Vec<Instruction>,
    /// At least one.
    pub stages: Vec<Stage>,
    pub warnings: Vec<Warning>,
}

/// Something that works and should be written otherwise; `rule` is BuildKit's name for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub rule: &'static str,
    pub lines: Lines,
    pub text: String,
}

/// A FROM and what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Image or stage, unexpanded.
    pub base: String,
    /// `AS name`, in lower case.
    pub name: Option<String>,
    /// `--platform`, unexpanded.
    pub platform: Option<String>,
    /// The FROM line as written.
    pub code: String,
    pub lines: Lines,
    pub comments: Vec<String>,
    pub instructions: Vec<Instruction>,
}

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    pub kind: Kind,
    /// As written, continuations joined.
    pub code: String,
    pub lines: Lines,
    pub comments: Vec<String>,
}

/// What an instruction is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Add(Copy),
    Arg(Vec<Arg>),
    Cmd(CommandLine),
    Copy(Copy),
    Entrypoint(CommandLine),
    Env(Vec<Pair>),
    /// Sorted, as BuildKit does.
    Expose(Vec<String>),
    Healthcheck(Health),
    Label(Vec<Pair>),
    Maintainer(String),
    /// The trigger's text, heredocs included.
    Onbuild(String),
    /// Of `--provision`, with what it sees; nobody can write it.
    Provision(Provision, Vec<MountFlag>),
    Run(Run),
    Shell(Vec<String>),
    Stopsignal(String),
    User(String),
    Volume(Vec<String>),
    Workdir(String),
}

impl Kind {
    /// The instruction's keyword.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Add(_) => "ADD",
            Self::Arg(_) => "ARG",
            Self::Cmd(_) => "CMD",
            Self::Copy(_) => "COPY",
            Self::Entrypoint(_) => "ENTRYPOINT",
            Self::Env(_) => "ENV",
            Self::Expose(_) => "EXPOSE",
            Self::Healthcheck(_) => "HEALTHCHECK",
            Self::Label(_) => "LABEL",
            Self::Maintainer(_) => "MAINTAINER",
            Self::Onbuild(_) => "ONBUILD",
            Self::Provision(..) => "PROVISION",
            Self::Run(_) => "RUN",
            Self::Shell(_) => "SHELL",
            Self::Stopsignal(_) => "STOPSIGNAL",
            Self::User(_) => "USER",
            Self::Volume(_) => "VOLUME",
            Self::Workdir(_) => "WORKDIR",
        }
    }
}

/// `key=value`; the deprecated form `key value` is told apart for the checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    pub key: String,
    pub value: String,
    pub legacy: bool,
}

/// `ARG name` or `ARG name=default`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arg {
    pub name: String,
    pub default: Option<String>,
}

/// A command in shell form (one word) or exec form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    pub words: Vec<String>,
    /// Shell form: SHELL goes in front.
    pub shell: bool,
}

/// Network of one RUN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunNetwork {
    /// The build's.
    #[default]
    Default,
    None,
    Host,
}

/// RUN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub command: CommandLine,
    pub heredocs: Vec<Heredoc>,
    pub network: RunNetwork,
    pub mounts: Vec<MountFlag>,
    /// `--security=insecure`: with the rights of the host.
    pub insecure: bool,
}

/// COPY or ADD.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copy {
    /// Paths, patterns, URLs.
    pub sources: Vec<String>,
    /// Heredocs given as sources.
    pub inline: Vec<Inline>,
    pub destination: String,
    /// Stage, index or image; empty when the source is the context.
    pub from: String,
    pub chown: String,
    pub chmod: String,
    pub link: bool,
    pub parents: bool,
    pub exclude: Vec<String>,
    pub unpack: Option<bool>,
    pub checksum: String,
    pub keep_git_dir: Option<bool>,
}

/// A file written in the Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inline {
    pub name: String,
    pub content: String,
    /// Whether variables in the content are expanded.
    pub expand: bool,
}

/// HEALTHCHECK; durations in nanoseconds, 0 when not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", command]`.
    pub test: Vec<String>,
    pub interval: u64,
    pub timeout: u64,
    pub start_period: u64,
    pub start_interval: u64,
    pub retries: u64,
}
