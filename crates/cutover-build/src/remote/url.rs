//! What a source that is not a path means: a git repository or an HTTP resource. Pure.
//!
//! An HTTP address is a repository only when its path ends with `.git`. What to take of a
//! repository is said behind `#` (`#ref:subdir`) or as a query (`?ref=&subdir=&…`).

use crate::path;

/// A repository and what to take of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GitUrl {
    /// What git is given.
    pub(crate) remote: String,
    /// Branch, tag or commit; the repository's own choice when absent.
    pub(crate) reference: Option<String>,
    /// Clean and relative; empty for all of it.
    pub(crate) subdir: String,
    /// How the commit must begin.
    pub(crate) checksum: Option<String>,
    pub(crate) keep_git_dir: Option<bool>,
    pub(crate) submodules: Option<bool>,
    /// `file://`: only for those who may name any directory of this machine anyway.
    pub(crate) is_file: bool,
}

/// What a source is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Path,
    Http,
    Git(GitUrl),
}

/// Tells what `text` is. `Err` is a repository whose query is wrong.
pub(crate) fn kind(text: &str) -> Result<Kind, String> {
    let Some(git) = git(text)? else {
        return Ok(if is_http(text) { Kind::Http } else { Kind::Path });
    };
    // In a Dockerfile, which may be anybody's, it would be a way to read this machine.
    Ok(if git.is_file { Kind::Path } else { Kind::Git(git) })
}

pub(crate) fn is_http(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// Reads `text` as a repository; `None` when it is none.
pub(crate) fn git(text: &str) -> Result<Option<GitUrl>, String> {
    let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (remote, query) = rest.split_once('?').unwrap_or((rest, ""));
    let is_repository = match remote.split_once("://") {
        Some((scheme, address)) => match scheme.to_ascii_lowercase().as_str() {
            "git" | "ssh" | "file" => !address.is_empty(),
            "http" | "https" => remote.ends_with(".git"),
            _ => false,
        },
        None => is_scp(remote),
    };
    if !is_repository || remote.chars().any(char::is_control) {
        return Ok(None);
    }
    let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
    let mut url = GitUrl {
        remote: remote.to_owned(),
        reference: Some(decode(reference)).filter(|text| !text.is_empty()),
        subdir: relative(&decode(subdir)),
        is_file: remote.to_ascii_lowercase().starts_with("file://"),
        ..GitUrl::default()
    };
    url.query(query)?;
    if url.reference.as_ref().is_some_and(|it| it.starts_with('-') || it.contains([' ', ':', '^']))
    {
        return Err(format!("`{}` is not a git reference", url.reference.unwrap_or_default()));
    }
    if url.checksum.as_ref().is_some_and(|it| !it.chars().all(|ch| ch.is_ascii_hexdigit())) {
        let checksum = url.checksum.unwrap_or_default();
        return Err(format!(
            "invalid checksum {checksum} for a git source, expected a commit hash"
        ));
    }
    Ok(Some(url))
}

/// `user@host:path`.
fn is_scp(text: &str) -> bool {
    let word = |text: &str, more: &[char]| {
        !text.is_empty() && text.chars().all(|ch| ch.is_ascii_alphanumeric() || more.contains(&ch))
    };
    let parts = text.split_once('@').and_then(|(user, rest)| Some((user, rest.split_once(':')?)));
    parts.is_some_and(|(user, (host, _))| {
        word(user, &['-', '_']) && word(host, &['-', '.']) && !host.starts_with('-')
    })
}

impl GitUrl {
    fn query(&mut self, query: &str) -> Result<(), String> {
        let mut seen: Vec<String> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (key, value) = (decode(key), decode(&value.replace('+', " ")));
            if seen.contains(&key) {
                return Err(format!("query `{key}` has multiple values"));
            }
            let switch = || match value.as_str() {
                "" => Ok(Some(true)),
                _ => boolean(&value)
                    .map(Some)
                    .ok_or_else(|| format!("invalid {key} value: `{value}`")),
            };
            match key.as_str() {
                "keep-git-dir" => self.keep_git_dir = switch()?,
                "submodules" => self.submodules = switch()?,
                // The commit is asked for by its hash anyway where it is known.
                "fetch-by-commit" => drop(switch()?),
                _ if value.is_empty() => return Err(format!("query `{key}` has no value")),
                "ref" => self.set_reference(value)?,
                "tag" => self.set_reference(qualified("refs/tags/", value))?,
                "branch" if seen.iter().any(|key| key == "tag") => {
                    return Err("branch conflicts with tag".to_owned());
                }
                "branch" => self.set_reference(qualified("refs/heads/", value))?,
                "subdir" => {
                    let subdir = relative(&value);
                    if !self.subdir.is_empty() && self.subdir != subdir {
                        return Err(format!("subdir conflicts: `{}` vs `{subdir}`", self.subdir));
                    }
                    self.subdir = subdir;
                }
                "checksum" | "commit" => self.checksum = Some(value),
                // Times are always the commit's here.
                "mtime" if matches!(value.as_str(), "checkout" | "commit") => {}
                "mtime" => return Err(format!("invalid mtime value: `{value}`")),
                _ => return Err(format!("unexpected query `{key}`")),
            }
            seen.push(key);
        }
        Ok(())
    }

    fn set_reference(&mut self, reference: String) -> Result<(), String> {
        match &self.reference {
            Some(own) if *own != reference => {
                Err(format!("ref conflicts: `{own}` vs `{reference}`"))
            }
            _ => {
                self.reference = Some(reference);
                Ok(())
            }
        }
    }
}

fn qualified(prefix: &str, name: String) -> String {
    if name.starts_with(prefix) { name } else { format!("{prefix}{name}") }
}

/// Go's `strconv.ParseBool`.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A path below the root, without a way out of it.
fn relative(text: &str) -> String {
    path::absolute("/", text).trim_start_matches('/').to_owned()
}

/// `%41` → `A`; what is no escape stays.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let hex = |at: usize| bytes.get(at).and_then(|&byte| char::from(byte).to_digit(16));
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.extend(u8::try_from(high * 16 + low));
                at += 3;
            }
            (byte, _, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Host of an address, with its port, for the names of secrets.
pub(crate) fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// The address without a user's name and password.
pub(crate) fn shown(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            match authority.rsplit_once('@') {
                Some((_, host)) => format!("{scheme}://***@{host}{path}"),
                None => url.to_owned(),
            }
        }
        None => url.to_owned(),
    }
}

/// Last part of the path: the name of a file at a destination directory.
pub(crate) fn file_name(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let path = rest.split_once('/').map_or("", |(_, path)| path);
    let name = decode(path.trim_end_matches('/').rsplit('/').next().unwrap_or_default());
    match name.as_str() {
        "" | "." | ".." => "__unnamed__".to_owned(),
        name => name.replace(['/', '\0'], "_"),
    }
}

#[cfg(test)]
mod tests;
