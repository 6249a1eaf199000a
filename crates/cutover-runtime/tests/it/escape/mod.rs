//! The attack list: each probe builds a hostile image or container and looks for a canary on the host.

mod executable;
mod files;
mod layout;
mod race;
mod walls;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A host directory that no attack may change: names, contents and modes before and after.
struct Canary {
    dir: tempfile::TempDir,
    before: BTreeMap<PathBuf, String>,
}

impl Canary {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        for name in ["null", "zero", "fd", "console", "pts/ptmx", "sys/x", "self/attr", "kcore"] {
            let path = dir.path().join(name);
            fs_err::create_dir_all(path.parent().expect("parent")).expect("directory");
            fs_err::write(path, "canary").expect("file");
        }
        let before = snapshot(dir.path());
        Self { dir, before }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    #[track_caller]
    fn is_alive(&self) {
        assert_eq!(snapshot(self.dir.path()), self.before);
        let table = fs_err::read_to_string("/proc/self/mountinfo").expect("mount table");
        assert!(!table.contains(&self.dir.path().display().to_string()), "mounted upon");
    }
}

fn snapshot(dir: &Path) -> BTreeMap<PathBuf, String> {
    use std::os::unix::fs::MetadataExt;
    let mut found = BTreeMap::new();
    for entry in fs_err::read_dir(dir).expect("listing").map(|entry| entry.expect("entry")) {
        let (path, meta) = (entry.path(), entry.metadata().expect("metadata"));
        if meta.is_dir() {
            found.extend(snapshot(&path));
        }
        let content = if meta.is_file() {
            fs_err::read_to_string(&path).expect("text")
        } else {
            String::new()
        };
        let text = format!("{:o} {} {} {content}", meta.mode(), meta.uid(), meta.gid());
        found.insert(path, text);
    }
    found
}
