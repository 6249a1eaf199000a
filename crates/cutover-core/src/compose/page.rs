//! `docs/compose.md`, written from the table that the parser works from.

use std::fmt::Write as _;

use super::keys::{SECTIONS, Support};

const HEAD: &str = include_str!("page/head.md");

/// The support page: every key of every section, with what becomes of it.
pub fn support_page() -> String {
    let mut page = HEAD.to_owned();
    for section in SECTIONS {
        let title = section.name.trim_start_matches('(').trim_end_matches(')');
        let _infallible = write!(page, "\n### `{title}`\n\n| key | | what |\n|---|---|---|\n");
        for key in section.keys {
            let word = match key.support {
                Support::Supported => "yes",
                Support::Ignored => "ignored",
                Support::Refused => "refused",
            };
            let _infallible = writeln!(page, "| `{}` | {word} | {} |", key.name, key.note);
        }
    }
    page
}
