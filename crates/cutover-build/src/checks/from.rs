//! Rules on FROM: the arguments in its image and its platform.

use std::collections::{BTreeMap, BTreeSet};

use cutover_core::Reference;
use cutover_core::oci::Platform;

use super::near::{nearest, question};
use super::{Findings, Rule};
use crate::BuildOptions;
use crate::dockerfile::expand::{Expanded, Expander, Variables as _};
use crate::dockerfile::{Dockerfile, Kind, Stage};
use crate::stage::Shared;
use crate::{platform, vars};

/// Every base image must have a valid name when no --build-arg is given.
pub(super) fn check_defaults(
    file: &Dockerfile,
    options: &BuildOptions,
    target: &Platform,
    findings: &mut Findings,
) {
    let named = options.target.as_deref();
    let automatic = vars::automatic(&options.host_platform, target, named, &options.build_args);
    // An ARG that cannot be evaluated is reported as an error elsewhere.
    let none = BTreeMap::new();
    let Ok(globals) = vars::global(automatic, &file.global_args, file.escape, &none) else {
        return;
    };
    for stage in &file.stages {
        let Ok(base) = Expander::new(file.escape).word(&stage.base, &globals) else { return };
        if base.text.parse::<Reference>().is_err() {
            let detail = format!("with the defaults of its ARGs, `{}` names no image", stage.base);
            findings.add(Rule::InvalidDefaultArgInFrom, stage.lines, detail);
        }
    }
}

/// What the arguments of each FROM lead to.
pub(super) fn check(file: &Dockerfile, shared: &Shared, findings: &mut Findings) {
    let declared = file.global_args.iter().flat_map(|instruction| match &instruction.kind {
        Kind::Arg(args) => args.as_slice(),
        _ => &[],
    });
    let known: BTreeSet<&str> =
        shared.globals.names().chain(declared.map(|arg| arg.name.as_str())).collect();
    let expander = Expander::new(file.escape);
    for stage in &file.stages {
        let Ok(base) = expander.word(&stage.base, &shared.globals) else { continue };
        undeclared(stage, &base, &known, findings);
        let Some(text) = &stage.platform else { continue };
        let Ok(platform) = expander.word(text, &shared.globals) else { continue };
        undeclared(stage, &platform, &known, findings);
        redundant(stage, text, &platform, shared, findings);
        constant(stage, &platform, findings);
    }
}

fn undeclared(stage: &Stage, text: &Expanded, known: &BTreeSet<&str>, findings: &mut Findings) {
    for name in text.unset.iter().filter(|name| !known.contains(name.as_str())) {
        let near = question(nearest(name, known.iter().copied()), "");
        let detail = format!("FROM uses the argument `{name}`, which no ARG above declares{near}");
        findings.add_below(&stage.comments, Rule::UndefinedArgInFrom, stage.lines, detail);
    }
}

fn redundant(
    stage: &Stage,
    written: &str,
    platform: &Expanded,
    shared: &Shared,
    findings: &mut Findings,
) {
    const TARGET: &str = "TARGETPLATFORM";
    let alone = platform.unset.is_empty() && platform.used.iter().eq([TARGET]);
    if alone && shared.globals.get(TARGET) == Some(platform.text.as_str()) {
        let detail = format!("`--platform={written}` is what FROM does anyway");
        findings.add_below(&stage.comments, Rule::RedundantTargetPlatform, stage.lines, detail);
    }
}

/// A fixed platform is fine for a stage that says so in its name.
fn constant(stage: &Stage, platform: &Expanded, findings: &mut Findings) {
    if !platform.used.is_empty() || !platform.unset.is_empty() {
        return;
    }
    let text = &platform.text;
    let Some(parsed) = platform::parse(text, &Platform::new("linux", "amd64")) else { return };
    let name = stage.name.as_deref().unwrap_or_default();
    if !name.contains(&parsed.os) && !name.contains(&parsed.architecture) {
        let detail = format!("`--platform={text}` of FROM is a constant");
        let rule = Rule::FromPlatformFlagConstDisallowed;
        findings.add_below(&stage.comments, rule, stage.lines, detail);
    }
}
