//! `build --call`: what is asked of a Dockerfile without building it, and the warnings of a build.

use crate::harness::Root;

fn context(root: &Root, dockerfile: &str) -> String {
    root.write("ctx/Dockerfile", dockerfile);
    root.write("ctx/.dockerignore", "hidden\n");
    root.work().join("ctx").to_str().unwrap().to_owned()
}

#[test]
fn checks_exit_with_dockers_codes() {
    let root = Root::new();
    let ctx = context(&root, "FROM scratch as base\nCOPY hidden /\n");
    let said = root.run(["build", "--check", &ctx]);
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.out.starts_with("Check complete, 2 warnings have been found!"), "{}", said.out);
    assert!(said.out.contains("WARNING: CopyIgnoredFile - https://"), "{}", said.out);
    assert!(said.out.contains("Dockerfile:2\n"), "{}", said.out);
    assert_eq!(said.err, "", "what was asked for is on stdout");
    let said = root.run(["build", "--call=check,format=json", &ctx]);
    assert_eq!(said.code, 1, "{}", said.err);
    let report: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(report["warnings"][0]["ruleName"], "FromAsCasing");
    assert_eq!(report["warnings"][1]["location"]["ranges"][0]["start"]["line"], 2);
    let quiet = "--build-arg=BUILDKIT_DOCKERFILE_CHECK=skip=all";
    let said = root.run(["build", "--check", quiet, &ctx]);
    assert_eq!((said.code, said.out.trim()), (0, "Check complete, no warnings found."));
    let broken = context(&root, "FROM scratch\nRUNN x\n");
    let said = root.run(["build", "--call=check", &broken]);
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.out.contains("ERROR: unknown instruction `RUNN`"), "{}", said.out);
}

#[test]
fn a_build_warns_at_its_end_or_is_refused() {
    let root = Root::new();
    let ctx = context(&root, "FROM scratch\nENV a b\n");
    let said = root.run(["build", "-t", "warned", &ctx]);
    assert_eq!(said.code, 0, "{}", said.err);
    let (before, warning) = said.err.split_once("1 warning found:").expect("a warning");
    assert!(before.contains("image sha256:"), "{}", said.err);
    assert!(warning.contains("WARNING: LegacyKeyValueFormat") && warning.contains("ENV a b"));
    let said = root.run(["build", "-q", &ctx]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let strict = context(&root, "# check=error=true\nFROM scratch\nENV a b\n");
    let said = root.run(["build", "-t", "refused", &strict]);
    assert_eq!(said.code, 3, "{}", said.err);
    assert!(said.err.contains("`error=true` is set: LegacyKeyValueFormat"), "{}", said.err);
    assert!(!root.ok(["images"]).contains("refused"));
}

#[test]
fn outlines_and_targets_are_listed() {
    let root = Root::new();
    let text = "# v is what to install\nARG v=1\n# app is the whole\nFROM scratch AS app\nARG v\nFROM app\n";
    let ctx = context(&root, text);
    let targets = root.ok(["build", "--call=targets", &ctx]);
    assert_eq!(targets, "TARGET      DESCRIPTION\napp         is the whole\n(default)");
    let outline = root.ok(["build", "--call=outline", "--target=app", &ctx]);
    let expected = "TARGET:      app\nDESCRIPTION: is the whole\n\nBUILD ARG   VALUE   DESCRIPTION\nv           1       is what to install";
    assert_eq!(outline, expected);
    let json = root.json(&["build", "--call=targets,format=json", &ctx]);
    assert_eq!(json["targets"][1]["default"], true);
    let said = root.run(["build", "--call=list", &ctx]);
    assert_eq!(said.code, 2, "{}", said.err);
}
