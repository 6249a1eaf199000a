//! `--progress`: how a build is shown.

use std::io::{IsTerminal as _, Stderr};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use cutover_build::checks::Report;
use cutover_build::{Event, OnError, Plain, Progress, Quiet, RawJson};

use crate::cli::Ctx;
use crate::clock;
use crate::failure::{Failure, Kind, Outcome};
use crate::ui::live::Live;

/// What the user asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Style {
    /// A tree on a terminal, lines elsewhere
    #[default]
    Auto,
    /// A line for each event
    Plain,
    /// A tree that changes while the build runs
    Tty,
    /// BuildKit's documents, one a line
    Rawjson,
    /// Print the image's digest only
    Quiet,
    /// Nothing
    None,
}

impl Style {
    /// Whether only what failed is worth a word.
    pub(crate) fn is_silent(self) -> bool {
        matches!(self, Self::Quiet | Self::None)
    }

    /// What `CUTOVER_PROGRESS` says, for commands without the flag.
    #[expect(clippy::disallowed_methods, reason = "the binary's edge reads the environment")]
    pub(crate) fn of_environment() -> Self {
        let text = std::env::var(VARIABLE).unwrap_or_default();
        <Self as ValueEnum>::from_str(&text, true).unwrap_or_default()
    }
}

/// `--on-error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnErrorChoice {
    /// The build fails
    Fail,
    /// A shell opens in its container, then the build fails
    Shell,
}

impl OnErrorChoice {
    /// A shell needs somebody who types.
    pub(super) fn checked(self) -> Outcome<OnError> {
        match self {
            Self::Fail => Ok(OnError::Fail),
            Self::Shell if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() => {
                Ok(OnError::Shell)
            }
            Self::Shell => {
                let problem = "`--on-error=shell` needs a terminal on stdin and stdout";
                Err(Failure::msg(Kind::Usage, problem).hint("leave it out where nobody types"))
            }
        }
    }
}

/// buildx has `BUILDKIT_PROGRESS`.
pub(super) const VARIABLE: &str = "CUTOVER_PROGRESS";

/// A build on its way to the user.
pub(super) enum Shown {
    Silent,
    Plain(Plain<Stderr>),
    Live(Live),
    Raw(Box<RawJson<Stderr, Clock>>),
}

/// Says the time of an event.
type Clock = Box<dyn Fn(Duration) -> String + Send + Sync>;

impl Shown {
    /// `start` is when the build began.
    pub(super) fn open(ctx: &Ctx, style: Style, start: Instant) -> Outcome<Self> {
        let terminal = ctx.ui.stderr_is_terminal;
        Ok(match style {
            Style::Quiet | Style::None => Self::Silent,
            Style::Rawjson => {
                let began =
                    clock::now().checked_sub(jiff::SignedDuration::try_from(start.elapsed())?)?;
                let time: Clock = Box::new(move |at| time(began, at));
                Self::Raw(Box::new(RawJson::new(std::io::stderr(), time)))
            }
            Style::Tty if !terminal => {
                return Err(Failure::msg(
                    Kind::Usage,
                    "`--progress=tty` needs a terminal on stderr",
                )
                .hint("leave it out, or use `--progress=plain`"));
            }
            Style::Tty => Self::Live(Live::start(ctx.ui, start)),
            Style::Auto if terminal && !is_dumb() => Self::Live(Live::start(ctx.ui, start)),
            Style::Auto | Style::Plain => Self::Plain(Plain::new(std::io::stderr())),
        })
    }

    /// Whether something else on the terminal would be in its way.
    pub(super) fn is_alone(&self) -> bool {
        matches!(self, Self::Live(_) | Self::Raw(_))
    }

    /// The build is over: what stays is left where it is. Warnings are documents too.
    pub(super) fn finish(self, found: Option<&Report>, at: Duration) {
        match self {
            Self::Live(live) => live.finish(),
            Self::Raw(raw) => {
                for finding in found.iter().flat_map(|report| &report.findings) {
                    raw.warn(&format!("{}: {}", finding.rule, finding.detail), at);
                }
            }
            Self::Silent | Self::Plain(_) => {}
        }
    }
}

impl Progress for Shown {
    fn on(&self, event: Event<'_>) {
        match self {
            Self::Silent => Quiet.on(event),
            Self::Plain(plain) => plain.on(event),
            Self::Live(live) => live.on(event),
            Self::Raw(raw) => raw.on(event),
        }
    }
}

/// A terminal that cannot move its cursor.
#[expect(clippy::disallowed_methods, reason = "the binary's edge reads the environment")]
fn is_dumb() -> bool {
    std::env::var("TERM").is_ok_and(|term| term == "dumb")
}

fn time(began: jiff::Timestamp, at: Duration) -> String {
    began.checked_add(at).unwrap_or(began).to_string()
}
