//! COPY and ADD: expansion, paths, history line, and what is refused.

use super::{Shared, Stage, StageError};
use crate::chmod::Chmod;
use crate::dockerfile::expand::Expander;
use crate::dockerfile::{Copy, Inline};
use crate::op::{CopyOp, Op, Remote, Source};
use crate::path;
use crate::remote::url::{self, GitUrl, Kind};

impl Stage {
    pub(super) fn copy(
        &mut self,
        copy: &Copy,
        add: bool,
        shared: &Shared,
    ) -> Result<Op, StageError> {
        let keyword = if add { "ADD" } else { "COPY" };
        let chown = self.expand(&copy.chown, shared)?;
        let chmod = self.expand(&copy.chmod, shared)?;
        let sources = self.expand_all(&copy.sources, shared)?;
        let target = self.expand(&copy.destination, shared)?;
        let checksum = self.expand(&copy.checksum, shared)?;
        let given = Given { copy, add, checksum: &checksum };
        let found = sources.iter().map(|source| given.source(source));
        let found = found.collect::<Result<Vec<_>, _>>().map_err(StageError::Invalid)?;
        given.check(&found).map_err(StageError::Invalid)?;
        let inline = copy.inline.iter().map(|inline| self.inline(inline));
        let inline = inline.collect::<Result<Vec<_>, _>>()?;
        let mut line = keyword.to_owned();
        for (given, text) in [
            (copy.parents, " --parents".to_owned()),
            (!chown.is_empty(), format!(" --chown={chown}")),
            (!chmod.is_empty(), format!(" --chmod={chmod}")),
        ] {
            line.push_str(if given { &text } else { "" });
        }
        sources.iter().for_each(|source| line.push_str(&format!(" {source}")));
        inline.iter().for_each(|(name, _)| line.push_str(&format!(" <<{name}")));
        self.commit(format!("{line} {target} # buildkit"), false);
        let parsed = match chmod.as_str() {
            "" => None,
            text => Some(Chmod::parse(text).map_err(|bad| StageError::Invalid(bad.to_string()))?),
        };
        Ok(Op::Copy(CopyOp {
            from: Some(copy.from.clone()).filter(|from| !from.is_empty()),
            sources: found,
            inline,
            destination: path::destination(self.cwd(), &target),
            chown,
            // With --chmod BuildKit does a normal copy.
            link: copy.link && parsed.is_none(),
            chmod: parsed,
            exclude: copy.exclude.clone(),
            unpack: copy.unpack.unwrap_or(add),
        }))
    }

    /// Expands the body of a heredoc; quotes in it are ordinary characters.
    fn inline(&self, inline: &Inline) -> Result<(String, String), StageError> {
        if !inline.expand {
            return Ok((inline.name.clone(), inline.content.clone()));
        }
        let body = Expander { ignore_quotes: true, ..Expander::new('\\') };
        Ok((inline.name.clone(), body.word(&inline.content, &self.vars)?.text))
    }
}

/// What an instruction says of its sources.
struct Given<'a> {
    copy: &'a Copy,
    add: bool,
    checksum: &'a str,
}

impl Given<'_> {
    fn source(&self, text: &str) -> Result<Source, String> {
        let remote = match url::kind(text)? {
            Kind::Path => return Ok(self.local(text)),
            Kind::Git(_) if !self.add => {
                return Err("source can't be a git ref for COPY".to_owned());
            }
            Kind::Http if !self.add => return Err("source can't be a URL for COPY".to_owned()),
            Kind::Git(url) => self.git(url)?,
            Kind::Http => Remote::Http {
                url: text.to_owned(),
                checksum: match self.checksum {
                    "" => None,
                    text => Some(text.parse().map_err(|error| format!("`--checksum`: {error}"))?),
                },
                unpack: self.copy.unpack == Some(true),
            },
        };
        Ok(Source { path: String::new(), include: None, remote: Some(remote) })
    }

    fn git(&self, mut url: GitUrl) -> Result<Remote, String> {
        if let (Some(flag), Some(query)) = (self.copy.keep_git_dir, url.keep_git_dir)
            && flag != query
        {
            return Err("inconsistent keep-git-dir configuration".to_owned());
        }
        if !self.checksum.is_empty() {
            match &url.checksum {
                Some(own) if own != self.checksum => {
                    return Err(format!("checksum mismatch `{}` != `{own}`", self.checksum));
                }
                _ if !self.checksum.chars().all(|ch| ch.is_ascii_hexdigit()) => {
                    let checksum = self.checksum;
                    return Err(format!("checksum `{checksum}` is not the hash of a commit"));
                }
                _ => url.checksum = Some(self.checksum.to_owned()),
            }
        }
        let keep_git_dir = url.keep_git_dir.or(self.copy.keep_git_dir).unwrap_or(false);
        Ok(Remote::Git { url, keep_git_dir })
    }

    /// Splits `--parents` at its pivot `/./`.
    fn local(&self, source: &str) -> Source {
        if !self.copy.parents {
            return Source::local(path::absolute("/", source), None);
        }
        let (parent, pattern) = source.split_once("/./").unwrap_or(("/", source));
        let include = path::absolute("/", pattern).trim_start_matches('/').to_owned();
        Source::local(path::absolute("/", parent), Some(include))
    }

    fn check(&self, sources: &[Source]) -> Result<(), String> {
        let problem = match (self.checksum, self.add, sources) {
            ("", ..) => return Ok(()),
            (_, false, _) => "checksum can't be specified for COPY",
            (_, _, [Source { remote: Some(_), .. }]) => return Ok(()),
            (_, _, [_]) => "checksum requires HTTP(S) or Git sources",
            _ => "checksum can't be specified for multiple sources",
        };
        Err(problem.to_owned())
    }
}
