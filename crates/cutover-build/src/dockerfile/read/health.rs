//! HEALTHCHECK.

use super::super::flags::{Flags, Type};
use super::super::lines::LogicalLine;
use super::super::words::{self, Json};
use super::super::{Health, ParseError, duration};

const FLAGS: [(&str, Type); 5] = [
    ("interval", Type::Text),
    ("timeout", Type::Text),
    ("start-period", Type::Text),
    ("start-interval", Type::Text),
    ("retries", Type::Text),
];

pub(super) fn read(line: &LogicalLine) -> Result<Health, ParseError> {
    let error = |problem: String| ParseError::new(line.lines, problem);
    let rest = &line.split.rest;
    if rest.is_empty() {
        return Err(super::at_least_one(line, "HEALTHCHECK"));
    }
    let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
    let (kind, command) = (rest[..end].to_ascii_uppercase(), rest[end..].trim_start());
    if kind == "NONE" {
        if !command.is_empty() {
            return Err(error("HEALTHCHECK NONE takes no arguments".to_owned()));
        }
        return Ok(Health { test: vec![kind], ..Health::default() });
    }
    let flags = Flags::read(&line.split.flags, &FLAGS, line.lines)?;
    if kind != "CMD" {
        return Err(error(format!("unknown type `{kind}` in HEALTHCHECK: try CMD")));
    }
    let test = match words::json(command) {
        Json::NotStrings => return Err(super::not_strings(line)),
        Json::Strings(words) if words.is_empty() => Vec::new(),
        Json::Strings(words) => [vec![kind], words].concat(),
        Json::Not if command.is_empty() => Vec::new(),
        Json::Not => vec!["CMD-SHELL".to_owned(), command.to_owned()],
    };
    if test.is_empty() {
        return Err(error("missing command after HEALTHCHECK CMD".to_owned()));
    }
    let interval = |flag| match flags.given(flag).filter(|text| !text.is_empty()) {
        None => Ok(0),
        Some(text) => duration::interval(flag, text).map_err(error),
    };
    let retries = match flags.given("retries").filter(|text| !text.is_empty()) {
        None => 0,
        Some(text) => retries(text).map_err(error)?,
    };
    Ok(Health {
        test,
        interval: interval("interval")?,
        timeout: interval("timeout")?,
        start_period: interval("start-period")?,
        start_interval: interval("start-interval")?,
        retries,
    })
}

fn retries(text: &str) -> Result<u64, String> {
    match text.parse::<i32>() {
        Ok(count) => u64::try_from(count)
            .map_err(|_negative| format!("`--retries` cannot be negative ({count})")),
        Err(_) => Err(format!("`--retries={text}` is not a number")),
    }
}
