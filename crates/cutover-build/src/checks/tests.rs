use std::collections::BTreeMap;

use super::*;

/// A Dockerfile with what else a check goes by.
struct Case {
    text: &'static str,
    args: &'static [(&'static str, &'static str)],
    ignore: &'static [&'static str],
    target: Option<&'static str>,
    scope: Scope,
}

const NOTHING: Case =
    Case { text: "", args: &[], ignore: &[], target: None, scope: Scope::Everything };

/// `alpine` is here; it sets HOME.
struct Alpine;

impl Bases for Alpine {
    fn config(&self, name: &str, _platform: &Platform) -> Option<ImageConfig> {
        let mut config = ImageConfig { os: "linux".into(), ..ImageConfig::default() };
        config.architecture = if name == "foreign" { "s390x" } else { "amd64" }.to_owned();
        config.config.env = vec!["HOME=/root".to_owned()];
        ["alpine", "foreign"].contains(&name).then_some(config)
    }
}

fn report(case: &Case) -> Report {
    let amd64 = Platform::new("linux", "amd64");
    let mut options = BuildOptions::new("/".into(), "/".into(), amd64, 0);
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    options.build_args = case.args.iter().map(owned).collect::<BTreeMap<_, _>>();
    options.target = case.target.map(str::to_owned);
    let ignore = Ignore::new(case.ignore).unwrap();
    check("Dockerfile", case.text.as_bytes(), &options, &ignore, &Alpine, case.scope)
}

/// `line rule: detail` of each finding, then the error.
#[track_caller]
fn table(case: &Case, expected: &[&str]) {
    let report = report(case);
    let mut shown: Vec<String> = report
        .findings
        .iter()
        .map(|found| format!("{} {}: {}", found.lines.start, found.rule, found.detail))
        .collect();
    if let Some((lines, problem)) = &report.error {
        shown.push(format!("{} error: {problem}", lines.map_or(0, |lines| lines.start)));
    }
    assert_eq!(shown, expected, "of {}", case.text);
}

/// Only rules and lines.
#[track_caller]
fn rules(text: &'static str, expected: &[&str]) {
    let report = report(&Case { text, ..NOTHING });
    let line = |found: &Finding| format!("{} {}", found.lines.start, found.rule);
    let shown: Vec<String> = report.findings.iter().map(line).collect();
    assert_eq!(shown, expected, "of {text}");
    assert_eq!(report.error, None, "of {text}");
}

#[test]
fn casing() {
    rules("from scratch as Base\n", &["1 StageNameCasing"]);
    rules("FROM scratch as base\n", &["1 FromAsCasing"]);
    rules("from scratch AS base\n", &["1 FromAsCasing"]);
    rules("From scratch as base\nFROM scratch AS b\n", &["1 ConsistentInstructionCasing"]);
    rules("FROM scratch\ncopy x y\nCOPY x z\n", &["2 ConsistentInstructionCasing"]);
    rules("from scratch\nCOPY x y\ncopy x z\n", &["2 ConsistentInstructionCasing"]);
    rules("FROM scratch\ncopy x y\ncopy x z\n", &["1 ConsistentInstructionCasing"]);
    rules("from scratch\nCOPY x y\n", &["1 ConsistentInstructionCasing"]);
    rules("FROM --platform=$BUILDPLATFORM scratch as b\n", &["1 FromAsCasing"]);
}

#[test]
fn lines_and_names() {
    rules("FROM scratch\nCOPY a \\\n\nb\n", &["4 NoEmptyContinuation"]);
    rules(
        "FROM scratch AS scratch\nFROM scratch AS context\n",
        &["1 ReservedStageName", "2 ReservedStageName"],
    );
    rules("FROM scratch AS b\nFROM scratch AS B\n", &["2 StageNameCasing", "2 DuplicateStageName"]);
    rules("FROM scratch\nMAINTAINER me\n", &["2 MaintainerDeprecated"]);
    rules(
        "FROM scratch\nENV a b\nLABEL a b\n",
        &["2 LegacyKeyValueFormat", "3 LegacyKeyValueFormat"],
    );
}

#[test]
fn commands() {
    rules("FROM scratch\nCMD x\n", &["2 JSONArgsRecommended"]);
    rules("FROM scratch\nCMD [\"x\"]\nENTRYPOINT x\n", &["3 JSONArgsRecommended"]);
    rules("FROM scratch\nSHELL [\"/s\"]\nCMD x\n", &[]);
    rules("FROM scratch AS a\nSHELL [\"/s\"]\nFROM a\nCMD x\n", &[]);
    rules(
        "FROM scratch\nCMD [\"a\"]\nHEALTHCHECK CMD a\nCMD [\"b\"]\nHEALTHCHECK NONE\n",
        &["2 MultipleInstructionsDisallowed", "3 MultipleInstructionsDisallowed"],
    );
    rules("FROM scratch AS a\nCMD [\"a\"]\nFROM a\nCMD [\"b\"]\n", &[]);
}

#[test]
fn working_directories() {
    rules("FROM scratch\nWORKDIR a\nWORKDIR b\n", &["2 WorkdirRelativePath"]);
    rules("FROM scratch AS a\nWORKDIR /a\nFROM a\nWORKDIR b\n", &[]);
    rules("FROM scratch\nARG d=/a\nWORKDIR $d\n", &[]);
}

#[test]
fn variables() {
    let text = "FROM alpine\nARG DIRS=a\nCOPY $DIR .\nENV PATH=$PAHT:$HOME\nRUN $nope\n";
    table(
        &Case { text, ..NOTHING },
        &[
            "3 UndefinedVar: `$DIR` is not defined here (did you mean `$DIRS`?)",
            "4 UndefinedVar: `$PAHT` is not defined here (did you mean `$PATH`?)",
        ],
    );
    rules("FROM scratch\nARG foo\nCOPY x$foo .\n", &[]);
    rules("FROM alpine AS base\nARG foo=x\nFROM base\nCOPY $foo .\n", &[]);
    rules("FROM alpine\nCOPY $foo .\nARG foo=bar\n", &["2 UndefinedVar"]);
    rules("FROM alpine\nARG a=1 b=$a c=$d\n", &["2 UndefinedVar"]);
    rules("FROM alpine\nENV a=1 b=$a\n", &["2 UndefinedVar"]);
    rules("FROM alpine\nCOPY <<E /x\n$a\nE\n", &["2 UndefinedVar"]);
    rules("FROM alpine\nCOPY <<'E' /x\n$a\nE\nEXPOSE $p\n", &[]);
    rules("FROM alpine\nRUN --mount=type=cache,target=/c$x true\n", &["2 UndefinedVar"]);
    rules("FROM alpine\nARG s=$BUILDKIT_SBOM_SCAN_STAGE\n", &[]);
    let case = Case { text: "FROM alpine\nARG a=$b\n", args: &[("a", "1")], ..NOTHING };
    table(&case, &[]);
    let case = Case { text: "FROM other\nCOPY $x .\n", ..NOTHING };
    table(&case, &["2 UndefinedVar: `$x` is not defined here, unless `other` sets it"]);
    assert!(report(&case).findings[0].uncertain);
}

#[test]
fn a_named_context_in_place_of_an_image_is_unknown() {
    let amd64 = Platform::new("linux", "amd64");
    let mut options = BuildOptions::new("/".into(), "/".into(), amd64, 0);
    let text = b"FROM alpine\nCOPY $HOME .\n";
    let found = |options: &BuildOptions| {
        let ignore = Ignore::default();
        check("Dockerfile", text, options, &ignore, &Alpine, Scope::Everything).findings
    };
    assert_eq!(found(&options), []);
    let context = crate::NamedContext::parse("/elsewhere").unwrap();
    options.contexts.add("alpine", context).unwrap();
    assert!(found(&options)[0].uncertain);
}

#[test]
fn arguments_of_from() {
    let text = "ARG MY_ARCH=amd64\nFROM --platform=linux/${MYARCH} alpine\n";
    table(
        &Case { text, ..NOTHING },
        &[
            "2 UndefinedArgInFrom: FROM uses the argument `MYARCH`, which no ARG above declares (did you mean `MY_ARCH`?)",
            "2 error: failed to parse platform `linux/`",
        ],
    );
    rules("ARG DEBUG\nFROM scra${DEBUG:-tch}\n", &[]);
    rules("FROM --platform=$BUILDPLATFORM scratch\n", &[]);
    rules("ARG tag=latest\nFROM alpine:${tag}${version}\n", &["2 UndefinedArgInFrom"]);
    rules("FROM --platform=${TARGETPLATFORM} scratch\n", &["1 RedundantTargetPlatform"]);
    rules("FROM --platform=linux/amd64 scratch\n", &["1 FromPlatformFlagConstDisallowed"]);
    rules("FROM --platform=linux/amd64 scratch AS for-amd64\n", &[]);
    rules("FROM foreign\n", &["1 InvalidBaseImagePlatform"]);
    let text = "ARG IMAGE\nFROM $IMAGE\n";
    let case = Case { text, args: &[("IMAGE", "alpine")], ..NOTHING };
    table(
        &case,
        &["2 InvalidDefaultArgInFrom: with the defaults of its ARGs, `$IMAGE` names no image"],
    );
}

#[test]
fn secrets() {
    rules(
        "FROM scratch\nARG MY_TOKEN\nENV password=x user=y\n# check=skip=all // known\nENV auth=z\n",
        &["2 SecretsUsedInArgOrEnv", "3 SecretsUsedInArgOrEnv"],
    );
}

#[test]
fn ports() {
    rules(
        "FROM scratch\nEXPOSE 80/TcP 8080/udp 127.0.0.1:80:81 82:83\n",
        &["2 ExposeInvalidFormat", "2 ExposeProtoCasing", "2 ExposeInvalidFormat"],
    );
}

#[test]
fn ignored_files() {
    let text = "FROM scratch AS a\nCOPY Dockerfile x\nADD ./Dockerfile y\nFROM a\nCOPY --from=a Dockerfile x\n";
    let expected = [
        "2 CopyIgnoredFile: `Dockerfile` of COPY is excluded by .dockerignore",
        "3 CopyIgnoredFile: `Dockerfile` of ADD is excluded by .dockerignore",
    ];
    table(&Case { text, ignore: &["Dockerfile"], ..NOTHING }, &expected);
    table(&Case { text, ignore: &["*"], ..NOTHING }, &expected);
    table(&Case { text, ignore: &["**", "!Dockerfile"], ..NOTHING }, &[]);
    table(&Case { text, ..NOTHING }, &[]);
    let text = "FROM scratch\nCOPY . .\n";
    table(&Case { text, ignore: &[".*"], ..NOTHING }, &[]);
    let all = ["2 CopyIgnoredFile: `.` of COPY is excluded by .dockerignore"];
    table(&Case { text, ignore: &["*"], ..NOTHING }, &all);
}

#[test]
fn descriptions() {
    let text = "# check=experimental=InvalidDefinitionDescription\n# bar is it\nARG foo=1\n# base is it\nFROM scratch AS base\n# no\n#\nARG x\n# no\nARG a b\n";
    table(
        &Case { text, ..NOTHING },
        &[
            "3 InvalidDefinitionDescription: the comment above ARG should be `# foo DESCRIPTION`",
            "10 InvalidDefinitionDescription: the comment above ARG should be `# NAME DESCRIPTION`",
        ],
    );
    rules("# no\nARG foo=1\nFROM scratch\n", &[]);
}

#[test]
fn settings() {
    rules("#check=skip=all\nFROM scratch as b\n", &[]);
    rules("# check=skip=FromAsCasing\nFROM scratch as b\n", &[]);
    rules(" # check=skip=all\nFROM scratch as b\n", &["2 FromAsCasing"]);
    let text = "# check=skip=all;error=true\nFROM scratch as b\n";
    let args = &[("BUILDKIT_DOCKERFILE_CHECK", "error=true")];
    let refused = report(&Case { text, args, ..NOTHING }).refusal();
    assert_eq!(refused.as_deref(), Some("checks failed, and `error=true` is set: FromAsCasing"));
    assert_eq!(report(&Case { text, ..NOTHING }).refusal(), None);
    let text = "# check=error=true\nFROM other\nCOPY $x .\n";
    assert_eq!(report(&Case { text, ..NOTHING }).refusal(), None, "nobody knows");
    table(
        &Case { text: "# check=skip\nFROM scratch\n", ..NOTHING },
        &["0 error: `skip` is not an option of `check`: write skip=, error= or experimental="],
    );
    table(
        &Case { text: "# check=skip=all\n# check=skip=all\nFROM scratch\n", ..NOTHING },
        &["2 error: only one `check` parser directive can be used"],
    );
}

#[test]
fn what_was_found_before_an_error_is_reported() {
    let text = "FROM scratch AS Bad\nMAINTAINER me\nBADCMD\n";
    table(
        &Case { text, ..NOTHING },
        &[
            "1 StageNameCasing: the name of stage `Bad` is not in lower case",
            "2 MaintainerDeprecated: MAINTAINER is deprecated: use a label",
            "3 error: unknown instruction `BADCMD`",
        ],
    );
}

#[test]
fn a_build_checks_what_it_needs() {
    let text = "FROM scratch AS a\nCOPY $x .\nFROM scratch\nCOPY $y .\n";
    let expected =
        ["2 UndefinedVar: `$x` is not defined here", "4 UndefinedVar: `$y` is not defined here"];
    table(&Case { text, ..NOTHING }, &expected);
    table(&Case { text, target: Some("a"), ..NOTHING }, &expected[..1]);
    table(&Case { text, scope: Scope::Build, ..NOTHING }, &expected[1..]);
}

#[test]
fn triggers_of_bases_are_checked() {
    rules("FROM scratch AS a\nONBUILD COPY $x .\nFROM a\n", &["3 UndefinedVar"]);
}

#[test]
fn reports_read_well() {
    let found = report(&Case { text: "FROM scratch as b\n", ..NOTHING });
    assert_eq!(
        found.text(),
        "Check complete, 1 warning has been found!\n\nWARNING: FromAsCasing - https://docs.docker.com/go/dockerfile/rule/from-as-casing/\n`as` is not in the case of its `FROM`\nDockerfile:1\n--------------------\n   1 | >>> FROM scratch as b\n     |                  ^^\n--------------------\n"
    );
    let json = found.json();
    assert_eq!(json["warnings"][0]["ruleName"], "FromAsCasing");
    assert_eq!(json["warnings"][0]["location"]["ranges"][0]["start"]["line"], 1);
    assert_eq!(json["sources"][0]["data"], "RlJPTSBzY3JhdGNoIGFzIGIK");
    assert!(json.get("buildError").is_none());
    let clean = report(&Case { text: "FROM scratch\n", ..NOTHING });
    assert!(clean.is_clean() && clean.text() == "Check complete, no warnings found.\n");
    let broken = report(&Case { text: "FROM\n", ..NOTHING });
    assert!(broken.text().starts_with("\nERROR: FROM requires"), "{}", broken.text());
    assert_eq!(broken.json()["buildError"]["location"]["ranges"][0]["end"]["line"], 1);
}
