//! The map is tested: crates know only whom they may, and ARCHITECTURE.md and the docs have a place
//! for each.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Which of our crates each may know.
fn allowed() -> BTreeMap<&'static str, &'static [&'static str]> {
    BTreeMap::from([
        ("cutover-core", &[][..]),
        ("cutover-store", &["cutover-core"]),
        ("cutover-runtime", &["cutover-core"]),
        ("cutover-registry", &["cutover-core", "cutover-store"]),
        ("cutover-build", &["cutover-core", "cutover-store", "cutover-runtime"]),
        ("cutover-proxy", &["cutover-core"]),
        ("cutover-release", &["cutover-core"]),
        (
            "cutover",
            &[
                "cutover-core",
                "cutover-store",
                "cutover-runtime",
                "cutover-registry",
                "cutover-build",
                "cutover-proxy",
                "cutover-release",
            ],
        ),
    ])
}

#[test]
fn crates_know_only_whom_they_may() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(top())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let allowed = allowed();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let may = allowed.get(name).unwrap_or_else(|| panic!("crate `{name}` is not on the map"));
        for dependency in package["dependencies"].as_array().unwrap() {
            let other = dependency["name"].as_str().unwrap();
            let is_dev = dependency["kind"] == "dev";
            if other.starts_with("cutover") && !is_dev {
                assert!(may.contains(&other), "`{name}` must not know `{other}`");
            }
        }
    }
}

#[test]
fn the_architecture_page_has_a_heading_for_each_crate_and_names_files_that_exist() {
    let page = std::fs::read_to_string(top().join("ARCHITECTURE.md")).unwrap();
    for name in allowed().keys() {
        let heading = format!("### `{name}`");
        assert!(page.contains(&heading), "ARCHITECTURE.md has no `{heading}`");
    }
    let mut checked = 0;
    for word in page.split('`').skip(1).step_by(2) {
        if word.starts_with("crates/") || word.starts_with("docs/") || word.starts_with("scripts/")
        {
            assert!(
                top().join(word).exists(),
                "ARCHITECTURE.md names `{word}`, which is not there"
            );
            checked += 1;
        }
    }
    assert!(checked > 10, "the page names files");
}

#[test]
fn the_lockfile_stays_within_its_budget() {
    let lock = std::fs::read_to_string(top().join("Cargo.lock")).unwrap();
    let packages = lock.matches("[[package]]").count();
    assert!(
        packages <= 260,
        "{packages} packages: a dependency is a decision; raise this on purpose"
    );
}
