//! What the word for a context means: a directory, an archive, or something elsewhere.

use std::path::{Path, PathBuf};

use crate::remote::url;

/// Where a context comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContextSource {
    Directory(PathBuf),
    /// A tar, compressed or not, or a Dockerfile without a context: its content says which.
    File(PathBuf),
    /// A git repository, or a file of the same kinds over HTTP.
    Remote(String),
}

impl ContextSource {
    /// Reads the word of a command line. `Err` is a repository whose query is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let path = Path::new(text);
        if url::git(text)?.is_some() || url::is_http(text) {
            return Ok(Self::Remote(text.to_owned()));
        }
        // The short form of old; a directory of this name wins.
        if text.starts_with("github.com/") && !path.exists() {
            let (address, rest) = text.split_at(text.find(['#', '?']).unwrap_or(text.len()));
            let end = if address.ends_with(".git") { "" } else { ".git" };
            return Ok(Self::Remote(format!("https://{address}{end}{rest}")));
        }
        Ok(match path.is_file() {
            true => Self::File(path.to_owned()),
            false => Self::Directory(path.to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.tar");
        fs_err::write(&file, "").unwrap();
        let remote = |text: &str| Ok(ContextSource::Remote(text.to_owned()));
        let check =
            |text: &str, expected| assert_eq!(ContextSource::parse(text), expected, "{text}");
        check(file.to_str().unwrap(), Ok(ContextSource::File(file.clone())));
        check(".", Ok(ContextSource::Directory(".".into())));
        check("./x.git", Ok(ContextSource::Directory("./x.git".into())));
        check("https://h/x.tar.gz", remote("https://h/x.tar.gz"));
        check("https://h/x.git#a:b", remote("https://h/x.git#a:b"));
        check("git@h:x#a", remote("git@h:x#a"));
        check("file:///x/y", remote("file:///x/y"));
        check("github.com/a/b#c", remote("https://github.com/a/b.git#c"));
        assert!(ContextSource::parse("https://h/x.git?nope=1").is_err());
    }
}
