//! Programs of another root that run in a container: the host's Ruby for Puppet, and a Python for
//! Ansible's modules.
//!
//! The other root's files are mounted below [`PLACE`] and the program is started through its own
//! dynamic loader with its own libraries, which its children do not inherit: they are the image's
//! programs with the image's libraries. So a tool of Debian's works in an image of another
//! distribution, and nothing of it has to be installed there or removed again.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::PLACE;
use crate::tree::{Kind, Tree, TreeError};
use crate::{StepMount, StepSource};

/// Why a tool cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolError {
    #[error(
        "`{program}` is not installed on this machine: install Debian's package `{package}`, or put it in PATH"
    )]
    Missing { program: &'static str, package: &'static str },
    #[error("`{}` cannot be run in the container: {reason}", path.display())]
    Program { path: PathBuf, reason: &'static str },
    #[error("failed to ask `{program}` where its libraries are: {reason}")]
    Ask { program: String, reason: String },
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Where `program` is, by the caller's PATH.
pub(crate) fn find(environment: &[(String, String)], program: &str) -> Option<PathBuf> {
    let path = environment.iter().find(|(name, _)| name == "PATH");
    let path = path.map_or("/usr/local/bin:/usr/bin:/bin", |(_, value)| value.as_str());
    std::env::split_paths(path).map(|dir| dir.join(program)).find(|path| {
        let meta = fs_err::metadata(path);
        meta.is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    })
}

/// A program of another root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interpreter {
    /// The words that start it in the container.
    pub(crate) words: Vec<String>,
    /// Where its root is there.
    pub(crate) root: String,
}

impl Interpreter {
    /// `program` of `tree`, which is mounted at `root` in the container.
    pub(crate) fn of(tree: &Tree, root: &str, program: &str) -> Result<Self, ToolError> {
        let inside = |path: &Path| format!("{root}/{}", path.display());
        let path = tree.resolve(Path::new(program.trim_start_matches('/')))?;
        let wrong = |reason| ToolError::Program { path: path.clone(), reason };
        let mut head = Vec::new();
        tree.file(&path)?.take(HEAD).read_to_end(&mut head)?;
        let loader = match loader(&head) {
            Loader::Named(loader) => loader,
            Loader::None => {
                return Ok(Self { words: vec![inside(&path)], root: root.to_owned() });
            }
            Loader::Unreadable => return Err(wrong("it is not a program for this machine")),
        };
        let loader = tree.resolve(Path::new(loader.trim_start_matches('/')))?;
        if tree.meta(&loader)?.is_none() {
            return Err(wrong("its dynamic loader is not there"));
        }
        let libraries: Vec<String> = libraries(tree)?.iter().map(|path| inside(path)).collect();
        let path_flag = "--library-path".to_owned();
        let words = vec![inside(&loader), path_flag, libraries.join(":"), inside(&path)];
        Ok(Self { words, root: root.to_owned() })
    }
}

/// Directories of libraries, without symlinks, each once.
fn libraries(tree: &Tree) -> Result<Vec<PathBuf>, TreeError> {
    let mut found: Vec<PathBuf> = Vec::new();
    let mut add = |path: PathBuf| {
        if !found.contains(&path) {
            found.push(path);
        }
    };
    for place in ["usr/local/lib", "usr/lib", "lib"] {
        let place = tree.resolve(Path::new(place))?;
        if !tree.meta(&place)?.is_some_and(|meta| meta.is_dir()) {
            continue;
        }
        for (path, meta) in tree.entries(&place)? {
            let multiarch = path.to_string_lossy().contains("-linux-");
            if meta.kind == Kind::Dir && multiarch {
                add(path);
            }
        }
    }
    for place in ["usr/lib64", "lib64", "usr/local/lib", "usr/lib", "lib"] {
        let place = tree.resolve(Path::new(place))?;
        if tree.meta(&place)?.is_some_and(|meta| meta.is_dir()) {
            add(place);
        }
    }
    Ok(found)
}

/// The host's programs, libraries and data, to be seen at `PLACE/host`.
pub(crate) fn host_mounts(tree: &Tree, root: &str) -> Result<Vec<StepMount>, TreeError> {
    let mut mounts = Vec::new();
    for name in ["usr", "lib", "lib64"] {
        // A link into /usr is not needed: what is named here has no links in it.
        if tree.meta(Path::new(name))?.is_some_and(|meta| meta.is_dir()) {
            mounts.push(StepMount {
                target: format!("{root}/{name}"),
                source: StepSource::Directory {
                    root: "/".into(),
                    path: format!("/{name}"),
                    read_only: true,
                },
            });
        }
    }
    Ok(mounts)
}

/// Where the host's files are.
pub(crate) fn host_root() -> String {
    format!("{PLACE}/host")
}

/// As much of a program as is read to find its loader.
const HEAD: u64 = 64 * 1024;

#[derive(Debug, PartialEq, Eq)]
enum Loader {
    Named(String),
    /// A static program.
    None,
    Unreadable,
}

/// The dynamic loader that a 64-bit program asks for: its `PT_INTERP`.
fn loader(head: &[u8]) -> Loader {
    const INTERP: u32 = 3;
    let number = |at: usize, size: usize| {
        let bytes = head.get(at..at.checked_add(size)?)?;
        let value = bytes.iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        usize::try_from(value).ok()
    };
    // 64 bits, little endian: what we run on.
    if head.get(..6) != Some(b"\x7fELF\x02\x01") {
        return Loader::Unreadable;
    }
    let read = || {
        let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
        for index in 0..count {
            let entry = table.checked_add(index.checked_mul(size)?)?;
            if number(entry, 4)? == INTERP as usize {
                let (at, length) = (number(entry + 8, 8)?, number(entry + 32, 8)?);
                let text = head.get(at..at.checked_add(length)?)?;
                let text = std::str::from_utf8(text).ok()?.trim_end_matches('\0');
                return Some(Loader::Named(text.to_owned()));
            }
        }
        Some(Loader::None)
    };
    read().unwrap_or(Loader::Unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loaders() {
        assert_eq!(loader(b"#!/bin/sh\n"), Loader::Unreadable);
        assert_eq!(loader(b"\x7fELF\x02\x01"), Loader::Unreadable);
        let mut head = vec![0; 200];
        head[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (head[32], head[54], head[56]) = (64, 56, 1);
        assert_eq!(loader(&head), Loader::None);
        (head[64], head[64 + 8], head[64 + 32]) = (3, 150, 6);
        head[150..156].copy_from_slice(b"/ld.so");
        assert_eq!(loader(&head), Loader::Named("/ld.so".to_owned()));
        head[64 + 8] = 199;
        assert_eq!(loader(&head), Loader::Unreadable);
    }

    #[test]
    fn a_program_of_this_machine_runs_from_elsewhere() {
        let tree = Tree::open(Path::new("/")).unwrap();
        let own = std::env::current_exe().unwrap();
        let of = Interpreter::of(&tree, "", &own.to_string_lossy()).unwrap();
        let mut command = std::process::Command::new(&of.words[0]);
        let listed = command.args(&of.words[1..]).arg("--list").output().unwrap();
        assert!(listed.status.success(), "{of:?} {listed:?}");
    }

    #[test]
    fn found_by_path() {
        let dir = tempfile::tempdir().unwrap();
        fs_err::write(dir.path().join("tool"), "").unwrap();
        let environment = [("PATH".to_owned(), dir.path().display().to_string())];
        assert_eq!(find(&environment, "tool"), None, "not executable");
        let mode = std::fs::Permissions::from_mode(0o755);
        fs_err::set_permissions(dir.path().join("tool"), mode).unwrap();
        assert_eq!(find(&environment, "tool"), Some(dir.path().join("tool")));
        assert_eq!(find(&environment, "other"), None);
    }
}
