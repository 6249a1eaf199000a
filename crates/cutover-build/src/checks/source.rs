//! Rules on what is written, instruction by instruction and as a whole.

use super::{Findings, Rule};
use crate::dockerfile::{self, Dockerfile, Instruction, Kind, Lines, Stage};

/// The rules that see one instruction at a time, up to where the file could be read.
pub(super) fn check(file: &Dockerfile, findings: &mut Findings) {
    for warning in &file.warnings {
        if warning.rule == Rule::NoEmptyContinuation.name() {
            let detail = "an empty line within an instruction".to_owned();
            findings.add(Rule::NoEmptyContinuation, warning.lines, detail);
        }
    }
    file.global_args.iter().for_each(|arg| instruction(arg, findings));
    for stage in &file.stages {
        from_line(stage, file.escape, findings);
        stage.instructions.iter().for_each(|written| instruction(written, findings));
    }
}

fn instruction(written: &Instruction, findings: &mut Findings) {
    let (comments, lines) = (&written.comments, written.lines);
    match &written.kind {
        Kind::Maintainer(_) => {
            let detail = "MAINTAINER is deprecated: use a label".to_owned();
            findings.add_below(comments, Rule::MaintainerDeprecated, lines, detail);
        }
        Kind::Arg(args) => {
            let names: Vec<&str> = args.iter().map(|arg| arg.name.as_str()).collect();
            description("ARG", &names, comments, lines, findings);
        }
        _ => {}
    }
}

fn from_line(stage: &Stage, escape: char, findings: &mut Findings) {
    let (keyword, words) = dockerfile::words_of(&stage.code, escape);
    let comments = &stage.comments;
    if let [_, as_word, name] = words.as_slice() {
        if *name != name.to_lowercase() {
            let detail = format!("the name of stage `{name}` is not in lower case");
            findings.add_below(comments, Rule::StageNameCasing, stage.lines, detail);
        }
        // A `From` of its own kind is another rule's business.
        let differs = match Case::of(&keyword) {
            Case::Lower => *as_word != as_word.to_lowercase(),
            Case::Upper => *as_word != as_word.to_uppercase(),
            Case::Mixed => false,
        };
        if differs {
            let detail = format!("`{as_word}` is not in the case of its `{keyword}`");
            findings.add_below(comments, Rule::FromAsCasing, stage.lines, detail);
        }
    }
    if let Some(name) = &stage.name {
        description("FROM", &[name], comments, stage.lines, findings);
    }
}

/// The comment right above an ARG or FROM describes it and begins with its name.
fn description(
    keyword: &str,
    names: &[&str],
    comments: &[String],
    lines: Lines,
    findings: &mut Findings,
) {
    let Some(comment) = comments.last() else { return };
    let first = comment.split(' ').next().unwrap_or_default();
    if names.contains(&first) {
        return;
    }
    let name = match names {
        [name] => name,
        _ => "NAME",
    };
    let detail = format!("the comment above {keyword} should be `# {name} DESCRIPTION`");
    findings.add_below(comments, Rule::InvalidDefinitionDescription, lines, detail);
}

/// The rules that need the whole file.
pub(super) fn check_whole(file: &Dockerfile, findings: &mut Findings) {
    stage_names(file, findings);
    casing(file, findings);
}

fn stage_names(file: &Dockerfile, findings: &mut Findings) {
    let mut seen = Vec::new();
    for stage in &file.stages {
        let Some(name) = stage.name.as_deref() else { continue };
        if ["scratch", "context"].contains(&name) {
            let detail = format!("`{name}` is a reserved name");
            findings.add(Rule::ReservedStageName, stage.lines, detail);
        }
        if seen.contains(&name) {
            let detail = format!("an earlier stage is called `{name}`, too");
            findings.add(Rule::DuplicateStageName, stage.lines, detail);
        }
        seen.push(name);
    }
}

/// Keywords are to be written as most of them are; as many of each mean upper case.
fn casing(file: &Dockerfile, findings: &mut Findings) {
    let of_stage = |stage: &Stage| {
        let own = (keyword(&stage.code), stage.lines);
        let rest = stage.instructions.iter().map(|written| (keyword(&written.code), written.lines));
        std::iter::once(own).chain(rest).collect::<Vec<_>>()
    };
    let keywords: Vec<(String, Lines)> = file.stages.iter().flat_map(of_stage).collect();
    let count = |case| keywords.iter().filter(|(keyword, _)| Case::of(keyword) == case).count();
    let lower = count(Case::Lower) > count(Case::Upper);
    for (keyword, lines) in keywords {
        let (wanted, words) = match lower {
            true => (keyword.to_lowercase(), "lower"),
            false => (keyword.to_uppercase(), "upper"),
        };
        if keyword != wanted {
            let detail =
                format!("`{keyword}` is not in {words} case, as most keywords of the file are");
            findings.add(Rule::ConsistentInstructionCasing, lines, detail);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    Lower,
    Upper,
    Mixed,
}

impl Case {
    fn of(word: &str) -> Self {
        if word == word.to_lowercase() {
            Self::Lower
        } else if word == word.to_uppercase() {
            Self::Upper
        } else {
            Self::Mixed
        }
    }
}

/// The first word of an instruction, as written.
pub(super) fn keyword(code: &str) -> String {
    code.split_whitespace().next().unwrap_or_default().to_owned()
}
