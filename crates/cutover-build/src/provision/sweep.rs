//! What services that a step started leave in its layer: they ended with it, their pid files would
//! say that they run.

use std::path::Path;

use crate::tree::{Kind, Tree, TreeError};

/// Deeper there is nothing of a service's.
const DEPTH: usize = 4;

/// Removes files `*.pid` below `/run` of a layer that is not finished.
pub(crate) fn sweep(upper: &Path) -> Result<(), TreeError> {
    let tree = Tree::open(upper)?;
    for place in ["run", "var/run"] {
        let place = Path::new(place);
        if tree.meta(place)?.is_some_and(|meta| meta.is_dir()) {
            directory(&tree, place, DEPTH)?;
        }
    }
    Ok(())
}

fn directory(tree: &Tree, path: &Path, depth: usize) -> Result<(), TreeError> {
    for (path, meta) in tree.entries(path)? {
        match meta.kind {
            Kind::Dir if depth > 0 => directory(tree, &path, depth - 1)?,
            Kind::File if path.extension().is_some_and(|ext| ext == "pid") => tree.remove(&path)?,
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pid_files_go_and_directories_stay() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str| {
            let path = dir.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, "7\n").unwrap();
        };
        for path in ["run/nginx.pid", "run/sshd/a.pid", "run/keep.conf", "etc/x.pid"] {
            write(path);
        }
        std::os::unix::fs::symlink("../etc", dir.path().join("run/link")).unwrap();
        sweep(dir.path()).unwrap();
        let there = |path: &str| dir.path().join(path).exists();
        assert!(!there("run/nginx.pid") && !there("run/sshd/a.pid"));
        assert!(there("run/sshd") && there("run/keep.conf") && there("etc/x.pid"));
    }
}
