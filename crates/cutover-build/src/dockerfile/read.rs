//! Logical lines → typed instructions.

mod copy;
mod health;

use super::directive::Directives;
use super::flags::{Flags, Type, suggest};
use super::lines::LogicalLine;
use super::words::{self, Json};
use super::{
    Arg, CommandLine, Dockerfile, Instruction, Kind, MountFlag, Pair, ParseError, Run, RunNetwork,
    Stage, Warning,
};

const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// What could be read, and why it ends there if it does.
pub(super) fn dockerfile(
    directives: Directives,
    lines: &[LogicalLine],
) -> (Dockerfile, Option<ParseError>) {
    let empty = lines.iter().filter_map(|line| line.empty_continuation);
    let warning = |at: usize| Warning {
        rule: "NoEmptyContinuation",
        lines: super::Lines::one(at),
        text: "empty continuation line".to_owned(),
    };
    let mut file = Dockerfile {
        escape: directives.escape,
        syntax: directives.syntax,
        check: directives.check,
        global_args: Vec::new(),
        stages: Vec::new(),
        warnings: empty.map(warning).collect(),
    };
    let error = fill(&mut file, lines).err();
    (file, error)
}

fn fill(file: &mut Dockerfile, lines: &[LogicalLine]) -> Result<(), ParseError> {
    for line in lines {
        if line.split.is("FROM") {
            file.stages.push(from(line)?);
            continue;
        }
        let instruction = instruction(line)?;
        match file.stages.last_mut() {
            Some(stage) => stage.instructions.push(instruction),
            None if matches!(instruction.kind, Kind::Arg(_)) => file.global_args.push(instruction),
            None => {
                let problem = "no build stage in current context: only ARG may come before FROM";
                return Err(ParseError::new(line.lines, problem));
            }
        }
    }
    if file.stages.is_empty() {
        let last = lines.last().map_or(super::Lines::one(1), |line| line.lines);
        return Err(ParseError::new(last, "no build stage: the Dockerfile has no FROM"));
    }
    Ok(())
}

/// Reads an ONBUILD trigger.
pub(super) fn trigger(line: &LogicalLine) -> Result<Instruction, ParseError> {
    let keyword = line.split.keyword.to_ascii_uppercase();
    check_trigger(&keyword, line)?;
    instruction(line)
}

fn instruction(line: &LogicalLine) -> Result<Instruction, ParseError> {
    Ok(Instruction {
        kind: kind(line)?,
        code: line.text.trim().to_owned(),
        lines: line.lines,
        comments: line.comments.clone(),
    })
}

fn kind(line: &LogicalLine) -> Result<Kind, ParseError> {
    let keyword = line.split.keyword.to_ascii_uppercase();
    let rest = &line.split.rest;
    // HEALTHCHECK, COPY, ADD and RUN have flags; STOPSIGNAL and ARG never looked at theirs.
    let no_flags = || Flags::read(&line.split.flags, &[], line.lines).map(|_| ());
    match keyword.as_str() {
        "ADD" => copy::add(line).map(Kind::Add),
        "ARG" => arg(line).map(Kind::Arg),
        "CMD" => no_flags().and_then(|()| Ok(Kind::Cmd(command(line, rest)?))),
        "COPY" => copy::copy(line).map(Kind::Copy),
        "ENTRYPOINT" => no_flags().and_then(|()| Ok(Kind::Entrypoint(command(line, rest)?))),
        "ENV" => no_flags().and_then(|()| Ok(Kind::Env(pairs(line, "ENV")?))),
        "EXPOSE" => no_flags().and_then(|()| expose(line)),
        "HEALTHCHECK" => health::read(line).map(Kind::Healthcheck),
        "LABEL" => no_flags().and_then(|()| Ok(Kind::Label(pairs(line, "LABEL")?))),
        "MAINTAINER" => no_flags().and_then(|()| Ok(Kind::Maintainer(one(line, "MAINTAINER")?))),
        "ONBUILD" => no_flags().and_then(|()| onbuild(line)),
        "RUN" => run(line).map(Kind::Run),
        "SHELL" => no_flags().and_then(|()| shell(line)),
        "STOPSIGNAL" => Ok(Kind::Stopsignal(one(line, "STOPSIGNAL")?)),
        "USER" => no_flags().and_then(|()| Ok(Kind::User(one(line, "USER")?))),
        "VOLUME" => no_flags().and_then(|()| volume(line)),
        "WORKDIR" => no_flags().and_then(|()| Ok(Kind::Workdir(one(line, "WORKDIR")?))),
        _ => Err(ParseError {
            hint: suggest(&keyword, KEYWORDS.into_iter())
                .map(|near| format!("did you mean `{near}`?")),
            ..ParseError::new(line.lines, format!("unknown instruction `{keyword}`"))
        }),
    }
}

fn from(line: &LogicalLine) -> Result<Stage, ParseError> {
    let words = words::at_blanks(&line.split.rest);
    let (base, name) = match words.as_slice() {
        [base] => (base, None),
        [base, keyword, name] if keyword.eq_ignore_ascii_case("as") => {
            (base, Some(stage_name(name, line)?))
        }
        _ => {
            let problem = "FROM requires either one or three arguments";
            return Err(ParseError::new(line.lines, problem));
        }
    };
    let flags = Flags::read(&line.split.flags, &[("platform", Type::Text)], line.lines)?;
    Ok(Stage {
        base: base.clone(),
        name,
        platform: flags.given("platform").filter(|text| !text.is_empty()).map(str::to_owned),
        code: line.text.trim().to_owned(),
        lines: line.lines,
        comments: line.comments.clone(),
        instructions: Vec::new(),
    })
}

/// `^[a-z][a-z0-9-_.]*$` after lowering.
fn stage_name(text: &str, line: &LogicalLine) -> Result<String, ParseError> {
    let name = text.to_lowercase();
    let valid = name.starts_with(|ch: char| ch.is_ascii_lowercase())
        && name.chars().all(|ch| {
            ch.is_ascii_lowercase() || ch.is_ascii_digit() || matches!(ch, '-' | '_' | '.')
        });
    if valid {
        return Ok(name);
    }
    let problem = format!(
        "invalid name for build stage: `{text}`: a name starts with a letter and has only letters, digits, `-`, `_` and `.`"
    );
    Err(ParseError::new(line.lines, problem))
}

fn command(line: &LogicalLine, rest: &str) -> Result<CommandLine, ParseError> {
    match words::json(rest) {
        Json::Strings(words) => Ok(CommandLine { words, shell: false }),
        Json::Not => Ok(CommandLine { words: vec![rest.to_owned()], shell: true }),
        Json::NotStrings => Err(not_strings(line)),
    }
}

fn not_strings(line: &LogicalLine) -> ParseError {
    let problem = "when using JSON array syntax, arrays must be comprised of strings only";
    ParseError::new(line.lines, problem)
}

/// Words in JSON form or split at blanks.
fn list(line: &LogicalLine) -> Result<Vec<String>, ParseError> {
    match words::json(&line.split.rest) {
        Json::Strings(words) => Ok(words),
        Json::Not => Ok(words::at_blanks(&line.split.rest)),
        Json::NotStrings => Err(not_strings(line)),
    }
}

fn one(line: &LogicalLine, keyword: &str) -> Result<String, ParseError> {
    if line.split.rest.is_empty() {
        let problem = format!("{keyword} requires exactly one argument");
        return Err(ParseError::new(line.lines, problem));
    }
    Ok(line.split.rest.clone())
}

fn at_least_one(line: &LogicalLine, keyword: &str) -> ParseError {
    ParseError::new(line.lines, format!("{keyword} requires at least one argument"))
}

fn blank_name(line: &LogicalLine, keyword: &str) -> ParseError {
    ParseError::new(line.lines, format!("{keyword} names can not be blank"))
}

/// ENV and LABEL: `k=v …`, or the deprecated `k v`.
fn pairs(line: &LogicalLine, keyword: &str) -> Result<Vec<Pair>, ParseError> {
    let rest = &line.split.rest;
    let words = words::quoted(rest, line.escape);
    let Some(first) = words.first() else { return Err(at_least_one(line, keyword)) };
    if !first.contains('=') {
        let Some((key, value)) = words::cut_at_blanks(rest) else {
            let problem = format!("{keyword} must have two arguments");
            return Err(ParseError::new(line.lines, problem));
        };
        return Ok(vec![Pair { key: key.to_owned(), value: value.to_owned(), legacy: true }]);
    }
    let pair = |word: &String| match word.split_once('=') {
        Some(("", _)) => Err(blank_name(line, keyword)),
        Some((key, value)) => {
            Ok(Pair { key: key.to_owned(), value: value.to_owned(), legacy: false })
        }
        None => {
            let problem = format!("no `=` in `{word}`: it must be of the form name=value");
            Err(ParseError::new(line.lines, problem))
        }
    };
    words.iter().map(pair).collect()
}

fn arg(line: &LogicalLine) -> Result<Vec<Arg>, ParseError> {
    let words = words::quoted(&line.split.rest, line.escape);
    if words.is_empty() {
        return Err(at_least_one(line, "ARG"));
    }
    let arg = |word: &String| match word.split_once('=') {
        Some(("", _)) => Err(blank_name(line, "ARG")),
        Some((name, default)) => {
            Ok(Arg { name: name.to_owned(), default: Some(default.to_owned()) })
        }
        None => Ok(Arg { name: word.clone(), default: None }),
    };
    words.iter().map(arg).collect()
}

fn expose(line: &LogicalLine) -> Result<Kind, ParseError> {
    let mut ports = words::at_blanks(&line.split.rest);
    if ports.is_empty() {
        return Err(at_least_one(line, "EXPOSE"));
    }
    ports.sort();
    Ok(Kind::Expose(ports))
}

fn volume(line: &LogicalLine) -> Result<Kind, ParseError> {
    let volumes: Vec<String> = list(line)?.iter().map(|word| word.trim().to_owned()).collect();
    if volumes.is_empty() {
        return Err(at_least_one(line, "VOLUME"));
    }
    if volumes.iter().any(String::is_empty) {
        let problem = "VOLUME can not be an empty string";
        return Err(ParseError::new(line.lines, problem));
    }
    Ok(Kind::Volume(volumes))
}

fn shell(line: &LogicalLine) -> Result<Kind, ParseError> {
    match words::json(&line.split.rest) {
        Json::Strings(words) if words.is_empty() => Err(at_least_one(line, "SHELL")),
        Json::Strings(words) => Ok(Kind::Shell(words)),
        Json::NotStrings => Err(not_strings(line)),
        Json::Not if line.split.rest.is_empty() => Err(at_least_one(line, "SHELL")),
        Json::Not => {
            let problem = "SHELL requires the arguments to be in JSON form";
            Err(ParseError::new(line.lines, problem))
        }
    }
}

fn check_trigger(keyword: &str, line: &LogicalLine) -> Result<(), ParseError> {
    let problem = match keyword {
        "ONBUILD" => "chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".to_owned(),
        "MAINTAINER" | "FROM" => format!("{keyword} isn't allowed as an ONBUILD trigger"),
        _ => return Ok(()),
    };
    Err(ParseError::new(line.lines, problem))
}

fn onbuild(line: &LogicalLine) -> Result<Kind, ParseError> {
    // The text behind the keyword as it stands, flags of the trigger included.
    let text = line.text.trim();
    let mut trigger = text[line.split.keyword.len()..].trim_start().to_owned();
    if trigger.is_empty() {
        return Err(at_least_one(line, "ONBUILD"));
    }
    let inner = words::Split::of(&trigger, line.escape);
    check_trigger(&inner.keyword.to_ascii_uppercase(), line)?;
    if let Json::NotStrings = words::json(&inner.rest) {
        return Err(not_strings(line));
    }
    for heredoc in &line.heredocs {
        trigger.push('\n');
        trigger.push_str(&heredoc.content);
        trigger.push_str(&heredoc.name);
    }
    Ok(Kind::Onbuild(trigger))
}

const RUN_FLAGS: [(&str, Type); 4] = [
    ("mount", Type::List),
    ("network", Type::Text),
    ("security", Type::Text),
    ("device", Type::List),
];

fn run(line: &LogicalLine) -> Result<Run, ParseError> {
    let flags = Flags::read(&line.split.flags, &RUN_FLAGS, line.lines)?;
    let error = |problem: String| Err(ParseError::new(line.lines, problem));
    if flags.given("device").is_some() {
        return error("`RUN --device` is not supported".to_owned());
    }
    let insecure = match flags.given("security").unwrap_or("sandbox") {
        "sandbox" => false,
        "insecure" => true,
        other => return error(format!("security mode `{other}` is not valid")),
    };
    let mounts = flags.list("mount");
    let mounts = mounts.iter().map(|text| MountFlag::read(text, line.lines));
    let mounts = mounts.collect::<Result<_, _>>()?;
    let network = match flags.given("network").unwrap_or("default") {
        "default" => RunNetwork::Default,
        "none" => RunNetwork::None,
        "host" => RunNetwork::Host,
        other => return error(format!("invalid network mode `{other}`")),
    };
    let command = command(line, &line.split.rest)?;
    Ok(Run { command, heredocs: line.heredocs.clone(), network, mounts, insecure })
}
