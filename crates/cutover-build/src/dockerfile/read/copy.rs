//! COPY and ADD.

use super::super::flags::{Flags, Type};
use super::super::heredoc;
use super::super::lines::LogicalLine;
use super::super::{Copy, Inline, ParseError};

const ADD_FLAGS: [(&str, Type); 7] = [
    ("chown", Type::Text),
    ("chmod", Type::Text),
    ("link", Type::Bool),
    ("keep-git-dir", Type::Bool),
    ("checksum", Type::Text),
    ("unpack", Type::Bool),
    ("exclude", Type::List),
];
const COPY_FLAGS: [(&str, Type); 6] = [
    ("chown", Type::Text),
    ("from", Type::Text),
    ("chmod", Type::Text),
    ("link", Type::Bool),
    ("exclude", Type::List),
    ("parents", Type::Bool),
];

pub(super) fn add(line: &LogicalLine) -> Result<Copy, ParseError> {
    read(line, "ADD", &ADD_FLAGS)
}

pub(super) fn copy(line: &LogicalLine) -> Result<Copy, ParseError> {
    read(line, "COPY", &COPY_FLAGS)
}

fn read(
    line: &LogicalLine,
    keyword: &str,
    known: &[(&'static str, Type)],
) -> Result<Copy, ParseError> {
    let mut words = super::list(line)?;
    let (Some(destination), false) = (words.pop(), words.is_empty()) else {
        let problem = format!(
            "{keyword} requires at least two arguments, but only one was provided: the destination could not be determined"
        );
        return Err(ParseError::new(line.lines, problem));
    };
    let flags = Flags::read(&line.split.flags, known, line.lines)?;
    let is_heredoc = |word: &str| heredoc::parse(word).ok().flatten();
    if is_heredoc(&destination).is_some() {
        let problem = format!("{keyword} cannot accept a heredoc as a destination");
        return Err(ParseError::new(line.lines, problem));
    }
    let mut copy = Copy {
        destination,
        from: flags.text("from"),
        chown: flags.text("chown"),
        chmod: flags.text("chmod"),
        link: flags.switch("link").unwrap_or(false),
        parents: flags.switch("parents").unwrap_or(false),
        exclude: flags.list("exclude"),
        unpack: flags.switch("unpack"),
        checksum: flags.text("checksum"),
        keep_git_dir: flags.switch("keep-git-dir"),
        ..Copy::default()
    };
    for word in words {
        match is_heredoc(&word) {
            None => copy.sources.push(word),
            Some(announced) => copy.inline.push(inline(line, &announced.name, announced.expand)),
        }
    }
    Ok(copy)
}

/// The body of the heredoc `name`; the last one if a name is used twice.
fn inline(line: &LogicalLine, name: &str, expand: bool) -> Inline {
    let body = line.heredocs.iter().rfind(|heredoc| heredoc.name == name);
    let content = body.map(heredoc::Heredoc::file_content).unwrap_or_default();
    Inline { name: name.to_owned(), content, expand }
}
