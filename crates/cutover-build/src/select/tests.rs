use std::os::unix::fs::symlink;

use super::*;
use crate::op::Source;

/// A tree with directories `a/b` and `c`, a few files and links.
fn tree() -> (tempfile::TempDir, Tree) {
    let dir = tempfile::tempdir().unwrap();
    for path in ["a/b", "c", "[x]"] {
        fs_err::create_dir_all(dir.path().join(path)).unwrap();
    }
    for path in ["a/1.txt", "a/2.md", "a/b/3.txt", "c/1.txt", "[x]/4"] {
        fs_err::write(dir.path().join(path), path).unwrap();
    }
    symlink("a", dir.path().join("dirlink")).unwrap();
    symlink("/a/1.txt", dir.path().join("filelink")).unwrap();
    let tree = Tree::open(dir.path()).unwrap();
    (dir, tree)
}

/// `name: below below …` for each selected source; implied directories in parentheses.
fn show(path: &str, include: Option<&str>, exclude: &[&str]) -> Vec<String> {
    let (_dir, tree) = tree();
    let from = From { tree: &tree, visible: None };
    let source = Source::local(path.to_owned(), include.map(str::to_owned));
    let exclude: Vec<String> = exclude.iter().map(|&text| text.to_owned()).collect();
    let selected = match from.select(&source, &exclude) {
        Ok(selected) => selected,
        Err(error) => return vec![error.to_string()],
    };
    let item = |item: &Item| match item.implied {
        true => format!(" ({})", item.below.display()),
        false => format!(" {}", item.below.display()),
    };
    let line = |one: &Selected| {
        let items: String = one.items[1..].iter().map(item).collect();
        format!("{}={}:{items}", one.name.display(), one.items[0].path.display())
    };
    selected.iter().map(line).collect()
}

#[test]
fn plain_paths_and_links() {
    let check =
        |path: &str, expected: &[&str]| assert_eq!(show(path, None, &[]), expected, "{path}");
    check("/a", &["a=a: 1.txt 2.md b b/3.txt"]);
    check("/a/1.txt", &["1.txt=a/1.txt:"]);
    check("/dirlink", &["dirlink=a: 1.txt 2.md b b/3.txt"]);
    check("/dirlink/b", &["b=a/b: 3.txt"]);
    check("/filelink", &["filelink=a/1.txt:"]);
    check("/nope", &["`/nope` not found"]);
}

#[test]
fn wildcards() {
    let check =
        |path: &str, expected: &[&str]| assert_eq!(show(path, None, &[]), expected, "{path}");
    check("/a/*.txt", &["1.txt=a/1.txt:"]);
    check("/*/1.txt", &["1.txt=a/1.txt:", "1.txt=c/1.txt:"]);
    check("/[ac]", &["a=a: 1.txt 2.md b b/3.txt", "c=c: 1.txt"]);
    check("/[[]x]", &["[x]=[x]: 4"]);
    check("/file*", &["filelink=a/1.txt:"]);
    check("/*.nope", &[]);
    check("/a/[", &[]);
    check("/nope/*", &["`/nope` not found"]);
    check("/a/1.tx", &["`/a/1.tx` not found: did you mean `/a/1.txt`?"]);
    check("/dirlink/2.MD", &["`/dirlink/2.MD` not found: did you mean `/dirlink/2.md`?"]);
}

#[test]
fn excludes_and_includes() {
    assert_eq!(show("/a", None, &["*.md", "b"]), ["a=a: 1.txt"]);
    assert_eq!(show("/a", None, &["*", "!b/3.txt"]), ["a=a: (b) b/3.txt"]);
    assert_eq!(show("/", Some("a/b"), &[]), ["=: (a) a/b a/b/3.txt"]);
    assert_eq!(show("/a", Some("*/*.txt"), &[]), ["a=a: (b) b/3.txt"]);
    assert_eq!(show("/", Some("a/nope"), &[]), ["`/a/nope` not found"]);
    assert_eq!(show("/a", None, &["["]), ["`--exclude` is not valid: syntax error in pattern `[`"]);
}
