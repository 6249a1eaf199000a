use super::*;

/// Visible paths of a context with these files.
#[track_caller]
fn check(files: &[(&str, &str)], expected: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = dir.path().join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, content).unwrap();
    }
    let context = Context::open(dir.path(), Some(&dir.path().join("Dockerfile"))).unwrap();
    let paths: Vec<_> =
        context.visible.paths().map(|(path, _)| path.display().to_string()).collect();
    assert_eq!(paths, expected);
}

#[test]
fn ignored_files_are_invisible() {
    check(
        &[
            (".dockerignore", "*\n!a/keep\n!b\nb/not"),
            ("a/keep", ""),
            ("a/x", ""),
            ("b/not/y", ""),
            ("b/z", ""),
            ("c", ""),
        ],
        &["a", "a/keep", "b", "b/z"],
    );
    check(
        &[("Dockerfile.dockerignore", "x"), (".dockerignore", "y"), ("x", ""), ("y", "")],
        &[".dockerignore", "Dockerfile.dockerignore", "y"],
    );
    check(&[("a/b", "")], &["a", "a/b"]);
}

#[test]
fn hidden_files_are_known_to_be_hidden() {
    let dir = tempfile::tempdir().unwrap();
    fs_err::create_dir_all(dir.path().join("a/b")).unwrap();
    fs_err::write(dir.path().join(".dockerignore"), "a").unwrap();
    let context = Context::open(dir.path(), None).unwrap();
    assert!(context.visible.hides(Path::new("a/b/c")) && !context.visible.hides(Path::new("x")));
}

#[test]
fn bad_ignore_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    fs_err::write(dir.path().join(".dockerignore"), "[").unwrap();
    let error = Context::open(dir.path(), None).unwrap_err().to_string();
    assert!(error.contains(".dockerignore") && error.contains('['), "{error}");
}

#[test]
fn the_dockerfile_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let find = |source: &DockerfileSource| find(dir.path(), source).map(|found| found.name);
    use crate::DockerfileSource;
    assert!(matches!(find(&DockerfileSource::Default), Err(BuildError::NoDockerfile { .. })));
    fs_err::write(dir.path().join("dockerfile"), "x").unwrap();
    assert_eq!(find(&DockerfileSource::Default).unwrap(), "dockerfile");
    fs_err::write(dir.path().join("Dockerfile"), "x").unwrap();
    assert_eq!(find(&DockerfileSource::Default).unwrap(), "Dockerfile");
    let missing = DockerfileSource::Path(dir.path().join("nope"));
    assert!(matches!(find(&missing), Err(BuildError::ReadDockerfile { .. })));
}
