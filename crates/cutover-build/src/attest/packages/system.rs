//! Packages of the distribution.

use std::path::{Path, PathBuf};

use super::{Distro, Files, Kind, MAX_DATABASE, MAX_FILE, Package};

pub(super) fn packages(files: &Files<'_>) -> Vec<Package> {
    let mut all = Vec::new();
    let status = "var/lib/dpkg/status";
    if let Some(text) = files.text(Path::new(status), MAX_DATABASE) {
        all.extend(dpkg(&text, status));
    }
    // images without a package manager keep one file for each package
    let parts = Path::new("var/lib/dpkg/status.d");
    for name in files.tree.names(parts).unwrap_or_default() {
        let path: PathBuf = parts.join(&name);
        if name.to_string_lossy().ends_with(".md5sums") {
            continue;
        }
        if let Some(text) = files.text(&path, MAX_FILE) {
            all.extend(dpkg(&text, &path.to_string_lossy()));
        }
    }
    for path in ["lib/apk/db/installed", "usr/lib/apk/db/installed"] {
        if let Some(text) = files.text(Path::new(path), MAX_DATABASE) {
            all.extend(apk(&text, path));
            break;
        }
    }
    all
}

/// Paragraphs of `Key: value`.
fn dpkg(text: &str, found: &str) -> Vec<Package> {
    let mut all = Vec::new();
    for paragraph in text.split("\n\n") {
        let value = |key: &str| {
            let lines = paragraph.lines();
            let mut values = lines.filter_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
            values.next().map(|value| value.trim().to_owned())
        };
        // what was removed and left its configuration is not installed
        let installed = value("Status").is_none_or(|status| status.ends_with(" installed"));
        if let (Some(name), Some(version), true) = (value("Package"), value("Version"), installed) {
            all.push(Package {
                kind: Kind::Deb,
                name,
                version,
                architecture: value("Architecture"),
                license: None,
                found: found.to_owned(),
            });
        }
    }
    all
}

/// Paragraphs of `K:value`.
fn apk(text: &str, found: &str) -> Vec<Package> {
    let mut all = Vec::new();
    for paragraph in text.split("\n\n") {
        let value = |key: &str| {
            let mut values = paragraph.lines().filter_map(|line| line.strip_prefix(key));
            values.next().map(|value| value.trim().to_owned())
        };
        if let (Some(name), Some(version)) = (value("P:"), value("V:")) {
            all.push(Package {
                kind: Kind::Apk,
                name,
                version,
                architecture: value("A:"),
                license: value("L:").filter(|text| is_expression(text)),
                found: found.to_owned(),
            });
        }
    }
    all
}

/// Whether a text may be an SPDX expression: others would make the document wrong.
fn is_expression(text: &str) -> bool {
    let word = |word: &str| {
        matches!(word, "AND" | "OR" | "WITH")
            || word.contains('-')
                && word.chars().all(|ch| ch.is_ascii_alphanumeric() || ".-+".contains(ch))
            || matches!(word, "MIT" | "ISC" | "Zlib" | "OpenSSL" | "curl" | "Unlicense")
    };
    let words: Vec<_> = text.split_whitespace().collect();
    // every second word joins two licences
    let joined = words.iter().skip(1).step_by(2).all(|it| matches!(*it, "AND" | "OR" | "WITH"));
    !words.is_empty() && words.len() % 2 == 1 && joined && words.iter().all(|it| word(it))
}

pub(super) fn distro(files: &Files<'_>) -> Distro {
    let text = ["etc/os-release", "usr/lib/os-release"]
        .iter()
        .find_map(|path| files.text(Path::new(path), MAX_FILE));
    let text = text.unwrap_or_default();
    let value = |key: &str| {
        let mut values = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let value = values.next().unwrap_or_default();
        value.trim_matches(['"', '\'']).to_owned()
    };
    Distro { id: value("ID"), version: value("VERSION_ID") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dpkg_and_apk() {
        let status = "Package: a\nStatus: install ok installed\nArchitecture: all\nVersion: 1:2-3\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n";
        let found = dpkg(status, "s");
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name.as_str(), found[0].version.as_str()), ("a", "1:2-3"));
        let found =
            apk("C:Q1\nP:musl\nV:1.2.4-r2\nA:x86_64\nL:MIT\n\nP:x\nV:1\nL:custom stuff\n", "i");
        assert_eq!(found[0].license.as_deref(), Some("MIT"));
        assert_eq!((found[1].name.as_str(), &found[1].license), ("x", &None));
    }

    #[test]
    fn licences() {
        for good in [
            "MIT",
            "GPL-2.0-only",
            "Apache-2.0 OR MIT",
            "GPL-2.0-or-later WITH Bison-exception-2.2",
        ] {
            assert!(is_expression(good), "{good}");
        }
        for bad in ["", "custom", "GPL2 with exceptions", "MIT Apache-2.0", "see LICENSE-file"] {
            assert!(!is_expression(bad), "{bad}");
        }
    }
}
