//! `completion` and the hidden `docs`: everything that is generated from the one definition of
//! each flag.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;
use fs_err as fs;

use super::{Ctx, definition};
use crate::failure::Outcome;

/// Print a shell's completion script
#[derive(Debug, Args)]
pub(super) struct Completion {
    /// Shell to write it for
    shell: Shell,
}

impl Completion {
    pub(super) fn run(self, _ctx: &Ctx) -> Outcome {
        clap_complete::generate(self.shell, &mut definition(), "cutover", &mut io::stdout());
        Ok(())
    }
}

/// Write the CLI reference, man pages and completions
#[derive(Debug, Args)]
pub(super) struct Docs {
    /// Where the reference page goes
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
    /// Where man pages go
    #[arg(long, value_name = "DIR")]
    man: Option<PathBuf>,
    /// Where completions go
    #[arg(long, value_name = "DIR")]
    completions: Option<PathBuf>,
}

impl Docs {
    pub(super) fn run(self, _ctx: &Ctx) -> Outcome {
        if let Some(file) = self.reference {
            fs::write(file, reference())?;
        }
        if let Some(dir) = self.man {
            fs::create_dir_all(&dir)?;
            clap_mangen::generate_to(definition(), dir)?;
        }
        if let Some(dir) = self.completions {
            fs::create_dir_all(&dir)?;
            for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
                clap_complete::generate_to(shell, &mut definition(), "cutover", &dir)?;
            }
        }
        Ok(())
    }
}

/// `docs/cli.md`.
pub(super) fn reference() -> String {
    let mut page = String::from(
        "# Command line\n\nGenerated from the program's own definition by `make docs`; do not edit.\n\n\
         Data goes to stdout, everything else to stderr. Exit codes: [exit-codes.md](exit-codes.md).\n",
    );
    let mut root = definition().term_width(100);
    root.build();
    for command in root.get_subcommands().filter(|command| !command.is_hide_set()) {
        section(&mut page, command);
    }
    page
}

fn section(page: &mut String, command: &Command) {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).replace('-', " ");
    let help = command.clone().render_long_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    // writing to a String cannot fail
    let _infallible = write!(page, "\n## {name}\n\n```text\n{}\n```\n", help.join("\n").trim_end());
    for child in command.get_subcommands().filter(|child| child.get_name() != "help") {
        section(page, child);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        definition().debug_assert();
    }

    #[test]
    fn the_reference_page_is_up_to_date() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli.md");
        let written = fs::read_to_string(page).unwrap_or_default();
        assert!(written == reference(), "docs/cli.md is stale: run `make docs`");
    }
}
