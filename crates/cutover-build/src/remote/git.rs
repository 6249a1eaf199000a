//! Repositories: a reference looked up, its commit fetched into a mirror, and laid out as files.
//!
//! The mirror is bare and shared by builds; its lock is held while it is used. Files are laid out
//! by commit, so what is built is what was looked up. Their times are the commit's and their modes
//! are git's two: the same commit is the same files on every machine.

mod command;

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use self::command::Git;
use super::url::GitUrl;
use super::{RemoteError, Remotes, kept, url};
use crate::tree::{Kind, Tree, TreeError};

/// What a reference is today.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) hash: String,
    /// Full name, if there is one: servers give names more readily than commits.
    reference: Option<String>,
}

/// Files of a commit, gone when dropped.
#[derive(Debug)]
pub(crate) struct Checkout {
    /// Its part that was asked for.
    pub(crate) path: PathBuf,
    /// Of the commit, in seconds since 1970.
    pub(crate) time: i64,
    _dir: TempDir,
}

impl Remotes<'_> {
    /// The commit that `source` means now; a full hash is believed.
    pub(crate) fn commit(&self, source: &GitUrl) -> Result<Commit, RemoteError> {
        let commit = match &source.reference {
            Some(hash) if is_hash(hash) => Commit { hash: hash.clone(), reference: None },
            reference => self.look_up(source, reference.as_deref())?,
        };
        Ok(commit)
    }

    fn look_up(&self, source: &GitUrl, wanted: Option<&str>) -> Result<Commit, RemoteError> {
        let git = self.git(source);
        let remote = source.remote.as_str();
        let reference = wanted.unwrap_or("HEAD");
        let peeled = format!("{reference}^{{}}");
        let listed =
            git.run(&["ls-remote", "--symref", "--", remote, reference, &peeled], &source.remote)?;
        let listing = Listing::read(&listed, reference);
        let missing = || RemoteError::NoReference {
            url: url::shown(remote),
            reference: reference.to_owned(),
        };
        let found = listing.choose().ok_or_else(missing)?;
        if let Some(expected) = &source.checksum
            && !found.all.iter().any(|hash| hash.starts_with(expected.as_str()))
        {
            let actual = found.all.join(" or ");
            return Err(RemoteError::Commit { expected: expected.clone(), actual });
        }
        Ok(Commit { hash: found.commit, reference: Some(found.name) })
    }

    /// Lays out the files of `commit`.
    pub(crate) fn checkout(
        &self,
        source: &GitUrl,
        commit: &Commit,
        keep_git_dir: bool,
    ) -> Result<Checkout, RemoteError> {
        if let (Some(expected), None) = (&source.checksum, &commit.reference)
            && !commit.hash.starts_with(expected.as_str())
        {
            let (expected, actual) = (expected.clone(), commit.hash.clone());
            return Err(RemoteError::Commit { expected, actual });
        }
        let (mirror, _lock) = self.mirror(source)?;
        let git = self.git(source).in_repository(&mirror);
        fetch(&git, source, commit)?;
        let time = git.run(&["show", "-s", "--format=%ct", &commit.hash], &source.remote)?;
        let time = time.trim().parse().unwrap_or(0);
        let dir = self.scratch()?;
        let files = dir.path().join("files");
        fs_err::create_dir(&files)?;
        let keep = keep_git_dir && source.subdir.is_empty();
        let repository = if keep { files.join(".git") } else { mirror.clone() };
        if keep {
            clone(&git, source, commit, &mirror, &files)?;
        }
        let index = dir.path().join("index");
        let mut laying = self.git(source).in_repository(&repository).with_files(&files);
        if !keep {
            laying = laying.with_index(&index);
            laying.run(&["read-tree", &commit.hash], &source.remote)?;
            laying.run(&["checkout-index", "--all", "--force"], &source.remote)?;
        }
        if source.submodules != Some(false) && files.join(".gitmodules").exists() {
            let update = ["submodule", "update", "--init", "--recursive", "--depth=1"];
            laying.without_files_of_this_machine().run(&update, &source.remote)?;
        }
        let tree = Tree::open(&files).map_err(to_io)?;
        settle(&tree, Path::new(""), time, keep).map_err(to_io)?;
        let below = tree.resolve(Path::new(&source.subdir)).map_err(to_io)?;
        match tree.meta(&below).map_err(to_io)? {
            Some(meta) if meta.is_dir() => {}
            _ => {
                let (url, subdir) = (url::shown(&source.remote), source.subdir.clone());
                return Err(RemoteError::NoSubdir { url, subdir });
            }
        }
        Ok(Checkout { path: files.join(below), time, _dir: dir })
    }

    /// The bare repository that is kept of a remote one, for us alone until the lock is dropped.
    fn mirror(&self, source: &GitUrl) -> Result<(PathBuf, kept::Locked), RemoteError> {
        let name = kept::name(&source.remote);
        let directory = kept::directory(self.root, "git")?;
        let lock = kept::lock(&directory.join(format!("{name}.lock")))?;
        let path = directory.join(format!("{name}.git"));
        if !path.join("cutover").exists() {
            if path.exists() {
                fs_err::remove_dir_all(&path)?;
            }
            let text = path.to_string_lossy();
            let template = ["init", "--quiet", "--bare", "--template=", "--", &text];
            self.git(source).run(&template, &source.remote)?;
            let git = self.git(source).in_repository(&path);
            // Relative addresses of submodules are relative to this one.
            git.run(&["config", "remote.origin.url", &source.remote], &source.remote)?;
            fs_err::write(path.join("cutover"), "")?;
        }
        // A killed git leaves it.
        drop(fs_err::remove_file(path.join("shallow.lock")));
        Ok((path, lock))
    }

    fn git(&self, source: &GitUrl) -> Git<'_> {
        let host = url::host(&source.remote);
        let secret =
            |name: &str| self.secret(&format!("{name}.{host}")).or_else(|| self.secret(name));
        let token = |token: &str| {
            let user = format!("x-access-token:{token}");
            format!("basic {}", data_encoding::BASE64.encode(user.as_bytes()))
        };
        let header = secret("GIT_AUTH_HEADER").map(str::to_owned);
        let header = header.or_else(|| secret("GIT_AUTH_TOKEN").map(token));
        Git::new(self.environment, self.cancel)
            .with_files_of_this_machine(source.is_file)
            .with_agent(self.sockets.get("default").map(PathBuf::as_path))
            .with_known_hosts(&self.root.join("build/git/known_hosts"))
            .with_header(&source.remote, header)
    }
}

/// Gets the commit into the mirror, as little else as the server allows.
fn fetch(git: &Git<'_>, source: &GitUrl, commit: &Commit) -> Result<(), RemoteError> {
    let exists = format!("{}^{{commit}}", commit.hash);
    let there = || git.run(&["cat-file", "-e", &exists], &source.remote).is_ok();
    if there() {
        return Ok(());
    }
    let kept = format!("refs/cutover/{}", commit.hash);
    let mut tried = Vec::new();
    if let Some(name) = &commit.reference {
        tried.push(vec!["--depth=1".to_owned(), "--no-tags".to_owned(), format!("+{name}:{kept}")]);
        tried.push(vec!["--no-tags".to_owned(), format!("+{name}:{kept}")]);
    }
    let by_hash = format!("+{}:{kept}", commit.hash);
    tried.push(vec!["--depth=1".to_owned(), "--no-tags".to_owned(), by_hash]);
    tried.push(vec!["--tags".to_owned(), "+refs/heads/*:refs/cutover/heads/*".to_owned()]);
    let mut last = None;
    for mut refspec in tried {
        let reference = refspec.pop().unwrap_or_default();
        let mut words = vec!["fetch", "--quiet", "--force", "--no-write-fetch-head"];
        words.extend(refspec.iter().map(String::as_str));
        words.extend(["--", "origin", reference.as_str()]);
        match git.run(&words, &source.remote) {
            Ok(_) if there() => return Ok(()),
            Ok(_) => {}
            Err(RemoteError::Interrupted) => return Err(RemoteError::Interrupted),
            // The first error says most: the others are of ways that not every server allows.
            Err(error) => drop(last.get_or_insert(error)),
        }
    }
    let (url, reference) = (url::shown(&source.remote), commit.hash.clone());
    Err(last.unwrap_or(RemoteError::NoReference { url, reference }))
}

/// A repository of its own in `files`, with the one commit.
fn clone(
    git: &Git<'_>,
    source: &GitUrl,
    commit: &Commit,
    mirror: &Path,
    files: &Path,
) -> Result<(), RemoteError> {
    let remote = source.remote.as_str();
    let text = files.to_string_lossy();
    let own = git.clone().without_repository();
    own.run(
        &["-c", "init.defaultBranch=master", "init", "--quiet", "--template=", "--", &text],
        remote,
    )?;
    let own = own.in_repository(&files.join(".git")).with_files(files);
    let mirror = format!("file://{}", mirror.display());
    let name = commit.reference.as_deref().filter(|name| name.starts_with("refs/"));
    let kept = format!("refs/cutover/{}", commit.hash);
    git.run(&["update-ref", &kept, &commit.hash], remote)?;
    let reference = match name {
        Some(name) => format!("{kept}:{name}"),
        None => kept,
    };
    let fetch = ["fetch", "--quiet", "-u", "--depth=1", "--no-tags", "--", &mirror, &reference];
    own.clone().with_files_of_this_machine(true).run(&fetch, remote)?;
    own.run(&["checkout", "--quiet", "--detach", &commit.hash], remote)?;
    own.run(&["remote", "add", "origin", &url::shown(remote)], remote)?;
    own.run(&["reflog", "expire", "--all", "--expire=now"], remote)?;
    drop(fs_err::remove_file(files.join(".git/FETCH_HEAD")));
    Ok(())
}

/// Gives everything below `path` the commit's time and plain modes. Without its repository, a
/// submodule's `.git` is a path of this machine: it goes.
fn settle(tree: &Tree, path: &Path, time: i64, keep: bool) -> Result<(), TreeError> {
    for (path, meta) in tree.entries(path)? {
        let is_link_file = path.file_name().is_some_and(|name| name == ".git") && !meta.is_dir();
        if is_link_file && !keep {
            tree.remove(&path)?;
            continue;
        }
        match meta.kind {
            Kind::Dir => settle(tree, &path, time, keep)?,
            Kind::File => {
                let mode = if meta.mode & 0o111 == 0 { 0o644 } else { 0o755 };
                tree.permit(&path, mode)?;
            }
            _ => {}
        }
        if meta.is_dir() {
            tree.permit(&path, 0o755)?;
        }
        tree.touch(&path, (time, 0))?;
    }
    if path.as_os_str().is_empty() {
        tree.permit(path, 0o755)?;
        tree.touch(path, (time, 0))?;
    }
    Ok(())
}

fn to_io(error: TreeError) -> RemoteError {
    RemoteError::Io(std::io::Error::other(error))
}

fn is_hash(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.chars().all(|ch| ch.is_ascii_hexdigit())
}

/// What `ls-remote` said of one name.
#[derive(Debug, Default)]
struct Listing {
    exact: Option<(String, String)>,
    head: Option<(String, String)>,
    tag: Option<(String, String)>,
    peeled: Option<String>,
}

/// What was chosen of it.
#[derive(Debug, PartialEq, Eq)]
struct Chosen {
    commit: String,
    name: String,
    /// What a checksum may be of.
    all: Vec<String>,
}

impl Listing {
    fn read(text: &str, reference: &str) -> Self {
        let bare = |prefix: &str| reference.strip_prefix(prefix).unwrap_or(reference);
        let (exact, head, tag) = (
            format!("refs/{}", bare("refs/")),
            format!("refs/heads/{}", bare("refs/heads/")),
            format!("refs/tags/{}", bare("refs/tags/")),
        );
        let mut listing = Self::default();
        for line in text.lines() {
            let Some((hash, name)) = line.split_once('\t') else { continue };
            if !is_hash(hash) {
                continue;
            }
            let found = Some((hash.to_owned(), name.to_owned()));
            match name {
                "HEAD" if reference == "HEAD" => listing.exact = found,
                name if name == exact => listing.exact = found,
                name if name == head => listing.head = found,
                name if name == tag => listing.tag = found,
                name if name
                    .strip_suffix("^{}")
                    .is_some_and(|name| name == tag || name == exact) =>
                {
                    listing.peeled = Some(hash.to_owned());
                }
                _ => {}
            }
        }
        listing
    }

    /// As git does: a full name, then a branch, then a tag.
    fn choose(self) -> Option<Chosen> {
        let is_branch = self.exact.is_none() && self.head.is_some();
        let (hash, name) = self.exact.or(self.head).or(self.tag)?;
        let peeled = self.peeled.filter(|_| !is_branch);
        let mut all = vec![hash.clone()];
        all.extend(peeled.clone());
        Some(Chosen { commit: peeled.unwrap_or(hash), name, all })
    }
}

#[cfg(test)]
mod tests;
