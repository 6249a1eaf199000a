//! What goes into a build context, what does not, and which rule of which file says so.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::context;
use crate::error::boxed;
use crate::ignore::{self, Ignore, Matched};
use crate::tree::{Kind, Meta, Tree, TreeError};
use crate::{BuildError, BuildOptions};

/// A build context, looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ContextFiles {
    /// By path. A directory that is excluded with all that is in it stands for it.
    pub files: Vec<ContextFile>,
}

/// One path of the context.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ContextFile {
    /// With a slash behind a directory.
    pub path: String,
    /// Bytes; of an excluded directory, of all files in it.
    pub size: u64,
    /// Files that this stands for: 1, or 0 for a directory, or those in an excluded one.
    pub count: u64,
    pub included: bool,
    /// The rule that matched last. None: no rule matches, which includes.
    pub decider: Option<Decider>,
}

/// A line of an ignore file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decider {
    pub file: PathBuf,
    pub line: usize,
    /// As it is written.
    pub rule: String,
}

impl ContextFiles {
    /// Files and bytes that are included, and those that are not.
    pub fn totals(&self) -> [(u64, u64); 2] {
        [true, false].map(|included| {
            let files = self.files.iter().filter(|file| file.included == included);
            files.fold((0, 0), |(count, size), file| (count + file.count, size + file.size))
        })
    }
}

/// Looks at the context of a build, with the ignore file that the build would use.
pub fn context_files(options: &BuildOptions) -> Result<ContextFiles, BuildError> {
    let dockerfile = context::find(&options.context, &options.dockerfile)?.path;
    let root = fs_err::canonicalize(&options.context).map_err(boxed("open the build context"))?;
    let mut deciders = Vec::new();
    let mut patterns = Vec::new();
    if let Some((file, text)) = context::ignore_file(&root, dockerfile.as_deref())? {
        for (index, line) in text.lines().enumerate() {
            for pattern in ignore::lines(line).into_iter().filter(|one| !one.trim().is_empty()) {
                patterns.push(pattern);
                let rule = line.trim_start_matches('\u{feff}').trim().to_owned();
                deciders.push(Decider { file: file.clone(), line: index + 1, rule });
            }
        }
        if let Err(error) = Ignore::new(&patterns) {
            return Err(BuildError::Ignore { path: file, problem: error.to_string() });
        }
    }
    let ignore = Ignore::new(&patterns).unwrap_or_default();
    let tree = Tree::open(&root).map_err(boxed("open the build context"))?;
    let mut look = Look { tree, ignore, deciders, found: ContextFiles::default() };
    look.directory(Path::new(""), &Matched::default()).map_err(boxed("read the build context"))?;
    Ok(look.found)
}

struct Look {
    tree: Tree,
    ignore: Ignore,
    deciders: Vec<Decider>,
    found: ContextFiles,
}

impl Look {
    /// Returns whether anything below `path` is included. Follows the walk of a build.
    fn directory(&mut self, path: &Path, matched: &Matched) -> Result<bool, TreeError> {
        let mut any = false;
        for (path, meta) in self.tree.entries(path)? {
            if meta.kind == Kind::Socket {
                continue;
            }
            let (ignored, matched) = self.ignore.matches(&path.to_string_lossy(), matched);
            let at = self.found.files.len();
            let decider = Ignore::decider(&matched).and_then(|index| self.deciders.get(index));
            self.found.files.push(ContextFile {
                path: shown(&path, &meta),
                size: if meta.kind == Kind::File { meta.size } else { 0 },
                count: u64::from(!meta.is_dir()),
                included: !ignored,
                decider: decider.cloned(),
            });
            let enter = meta.is_dir() && (!ignored || self.ignore.re_includes());
            let below = enter && self.directory(&path, &matched)?;
            if ignored && !below && meta.is_dir() {
                self.found.files.truncate(at + 1);
                let (count, size) = self.all_below(&path)?;
                (self.found.files[at].count, self.found.files[at].size) = (count, size);
            }
            // An ignored directory is there to hold what is brought back.
            self.found.files[at].included |= below;
            any |= self.found.files[at].included;
        }
        Ok(any)
    }

    fn all_below(&self, path: &Path) -> Result<(u64, u64), TreeError> {
        let (mut count, mut size) = (0, 0);
        for (path, meta) in self.tree.entries(path)? {
            if meta.is_dir() {
                let (below, bytes) = self.all_below(&path)?;
                (count, size) = (count + below, size + bytes);
            } else if meta.kind != Kind::Socket {
                count += 1;
                size += if meta.kind == Kind::File { meta.size } else { 0 };
            }
        }
        Ok((count, size))
    }
}

fn shown(path: &Path, meta: &Meta) -> String {
    format!("{}{}", path.display(), if meta.is_dir() { "/" } else { "" })
}

#[cfg(test)]
mod tests {
    use cutover_core::oci::Platform;

    use super::*;
    use crate::DockerfileSource;

    /// `+` or `-`, path, bytes, and the line that decided.
    fn look(files: &[(&str, &str)], dockerfile: DockerfileSource) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = dir.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, content).unwrap();
        }
        let dockerfile = match dockerfile {
            DockerfileSource::Path(path) => DockerfileSource::Path(dir.path().join(path)),
            other => other,
        };
        let platform = Platform::new("linux", "amd64");
        let options = BuildOptions {
            dockerfile,
            ..BuildOptions::new(dir.path().to_owned(), dir.path().to_owned(), platform, 0)
        };
        let found = context_files(&options).unwrap();
        let lines = found.files.into_iter().map(|file| {
            let by = file.decider.map_or_else(String::new, |decider| {
                let name = decider.file.file_name().unwrap().to_string_lossy().into_owned();
                format!(" {name}:{} {}", decider.line, decider.rule)
            });
            let mark = if file.included { '+' } else { '-' };
            format!("{mark} {} {}{by}", file.path, file.size)
        });
        lines.collect()
    }

    #[test]
    fn each_path_has_its_rule() {
        let ignore = "\u{feff}# comment\n\n*.log\nnode_modules/\n!keep.log\n!vendor/a\nvendor";
        let files = [
            (".dockerignore", ignore),
            ("Dockerfile", "FROM scratch"),
            ("a.log", "12"),
            ("keep.log", "1"),
            ("node_modules/x/y", "123"),
            ("node_modules/z", "1"),
            ("vendor/a", "1"),
        ];
        let expected = [
            "+ .dockerignore 60",
            "+ Dockerfile 12",
            "- a.log 2 .dockerignore:3 *.log",
            "+ keep.log 1 .dockerignore:5 !keep.log",
            "- node_modules/ 4 .dockerignore:4 node_modules/",
            "- vendor/ 1 .dockerignore:7 vendor",
        ];
        let found = look(&files, DockerfileSource::Default);
        let found: Vec<&str> = found.iter().map(String::as_str).collect();
        assert_eq!(found[1..], expected[1..]);
    }

    #[test]
    fn brought_back_below_an_excluded_directory() {
        let files = [
            ("x.Dockerfile", "FROM scratch"),
            ("x.Dockerfile.dockerignore", "*\n!a/b"),
            (".dockerignore", "a"),
            ("a/b", "1"),
            ("a/c", "12"),
        ];
        let expected = [
            "- .dockerignore 1 x.Dockerfile.dockerignore:1 *",
            "+ a/ 0 x.Dockerfile.dockerignore:1 *",
            "+ a/b 1 x.Dockerfile.dockerignore:2 !a/b",
            "- a/c 2 x.Dockerfile.dockerignore:1 *",
            "- x.Dockerfile 12 x.Dockerfile.dockerignore:1 *",
            "- x.Dockerfile.dockerignore 6 x.Dockerfile.dockerignore:1 *",
        ];
        let found = look(&files, DockerfileSource::Path("x.Dockerfile".into()));
        assert_eq!(found, expected);
    }
}
