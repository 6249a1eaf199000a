//! `cutover --help`: the commands under headings, in the order of the enum that defines them.

use std::fmt::Write as _;

use clap::Command;

/// The command that begins each group. A new command belongs to the group that it is defined in.
const GROUPS: [(&str, &str); 4] =
    [("build", "Images"), ("run", "Containers"), ("deploy", "Releases"), ("agent", "This machine")];

const TEMPLATE: &str =
    "{about}\n\n{usage-heading} {usage}\n{before-help}Options:\n{options}{after-help}";

/// `command` with its list of subcommands under headings.
pub(super) fn grouped(command: Command) -> Command {
    let list = list(&command);
    command.help_template(TEMPLATE).before_help(list).after_help(
        "`cutover COMMAND --help` tells more about a command.\n\
         Exit codes: 0 done, 2 wrong usage, 3 wrong configuration; all of them in docs/exit-codes.md.",
    )
}

fn list(command: &Command) -> String {
    let visible = || command.get_subcommands().filter(|sub| !sub.is_hide_set());
    let width = visible().map(|sub| sub.get_name().len()).max().unwrap_or_default();
    let mut text = String::new();
    for sub in visible() {
        let name = sub.get_name();
        if let Some((_, heading)) = GROUPS.iter().find(|(first, _)| *first == name) {
            let _ = write!(text, "\n{heading}:\n");
        }
        let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(text, "  {name:width$}  {about}");
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_has_its_first_command() {
        let command = super::super::definition();
        for (first, _) in GROUPS {
            assert!(command.find_subcommand(first).is_some(), "`{first}` begins a group");
        }
    }

    #[test]
    fn no_command_is_outside_of_a_group() {
        let first = super::super::definition()
            .get_subcommands()
            .next()
            .map(|sub| sub.get_name().to_owned());
        assert_eq!(first.as_deref(), Some(GROUPS[0].0));
    }
}
