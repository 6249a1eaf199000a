//! Packages of languages, where they say so in files of their own.

use std::path::{Path, PathBuf};

use super::{Files, Kind, MAX_FILE, MAX_PACKAGES, Package};
use crate::tree::Kind as FileKind;

/// Files and directories that are looked at: an image may have any number of them.
const MAX_ENTRIES: usize = 3_000_000;
/// Deepest directory.
const MAX_DEPTH: usize = 64;

pub(super) fn packages(files: &Files<'_>) -> Vec<Package> {
    let mut found = Vec::new();
    let mut todo = vec![(PathBuf::new(), 0)];
    let mut entries = 0;
    while let Some((directory, depth)) = todo.pop() {
        // what cannot be listed has nothing to say
        for (path, meta) in files.tree.entries(&directory).unwrap_or_default() {
            entries += 1;
            if entries > MAX_ENTRIES || found.len() > MAX_PACKAGES {
                return found;
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            match meta.kind {
                FileKind::Dir if depth < MAX_DEPTH && !is_of_the_kernel(&path) => {
                    todo.push((path, depth + 1));
                }
                FileKind::File => found.extend(package(files, &path, &name)),
                _ => {}
            }
        }
    }
    found
}

fn is_of_the_kernel(path: &Path) -> bool {
    ["proc", "sys", "dev"].iter().any(|name| path == Path::new(name))
}

fn package(files: &Files<'_>, path: &Path, name: &str) -> Vec<Package> {
    let parent = |up: usize| {
        let ancestor = path.ancestors().nth(up).and_then(Path::file_name);
        ancestor.unwrap_or_default().to_string_lossy().into_owned()
    };
    let is_python = name == "METADATA" && parent(1).ends_with(".dist-info")
        || name == "PKG-INFO" && parent(1).ends_with(".egg-info")
        || name.ends_with(".egg-info");
    // `node_modules/name/package.json`, or `node_modules/@scope/name/package.json`
    let is_npm = name == "package.json"
        && (parent(2) == "node_modules"
            || parent(2).starts_with('@') && parent(3) == "node_modules");
    let is_composer = name == "installed.json" && parent(1) == "composer";
    if !is_python && !is_npm && !is_composer {
        return Vec::new();
    }
    let Some(text) = files.text(path, if is_composer { super::MAX_DATABASE } else { MAX_FILE })
    else {
        return Vec::new();
    };
    let found = path.to_string_lossy().into_owned();
    match () {
        () if is_python => python(&text, found).into_iter().collect(),
        () if is_npm => npm(&text, found).into_iter().collect(),
        () => composer(&text, &found),
    }
}

fn plain(kind: Kind, name: &str, version: &str, found: String) -> Package {
    let (name, version) = (name.to_owned(), version.to_owned());
    Package { kind, name, version, architecture: None, license: None, found }
}

fn python(text: &str, found: String) -> Option<Package> {
    let head = text.split("\n\n").next().unwrap_or_default();
    let value = |key: &str| head.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    Some(plain(Kind::Python, value("Name: ")?, value("Version: ")?, found))
}

fn npm(text: &str, found: String) -> Option<Package> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    Some(plain(Kind::Npm, value["name"].as_str()?, value["version"].as_str()?, found))
}

fn composer(text: &str, found: &str) -> Vec<Package> {
    let Ok(value) = serde_json::from_str::<serde_json::Value>(text) else { return Vec::new() };
    let list = value.get("packages").unwrap_or(&value).as_array().cloned().unwrap_or_default();
    let one = |package: &serde_json::Value| {
        let (name, version) = (package["name"].as_str()?, package["version"].as_str()?);
        Some(plain(Kind::Composer, name, version, found.to_owned()))
    };
    list.iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn each_where_it_is_installed() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        };
        write(
            "usr/lib/python3/dist-packages/x_y-1.dist-info/METADATA",
            "Name: X_y\nVersion: 1\n\nName: no\n",
        );
        write("app/node_modules/@s/p/package.json", r#"{"name":"@s/p","version":"2.0"}"#);
        write("app/package.json", r#"{"name":"app","version":"1"}"#);
        write(
            "app/vendor/composer/installed.json",
            r#"{"packages":[{"name":"a/b","version":"v3"}]}"#,
        );
        write("app/node_modules/bad/package.json", "{");
        let tree = Tree::open(dir.path()).unwrap();
        let mut found = packages(&Files { tree: &tree });
        found.sort();
        let purls: Vec<_> =
            found.iter().map(|it| it.purl(&super::super::Distro::default())).collect();
        assert_eq!(purls, ["pkg:pypi/x-y@1", "pkg:npm/%40s/p@2.0", "pkg:composer/a/b@v3"]);
    }
}
