//! COPY and ADD: expansion, paths, history line, and what is refused.

use super::{Shared, Stage, StageError};
use crate::chmod::Chmod;
use crate::dockerfile::expand::Expander;
use crate::dockerfile::{Copy, Inline};
use crate::op::{CopyOp, Op, Source};
use crate::path;

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
        for source in &sources {
            check_source(source, add, keyword)?;
        }
        if !copy.checksum.is_empty() {
            let problem = "`--checksum` is for URLs: `ADD` of a URL is not supported yet";
            return Err(StageError::Invalid(problem.to_owned()));
        }
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
            sources: sources.iter().map(|source| to_source(source, copy.parents)).collect(),
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

/// Splits `--parents` at its pivot `/./`.
fn to_source(source: &str, parents: bool) -> Source {
    if !parents {
        return Source { path: path::absolute("/", source), include: None };
    }
    let (parent, pattern) = source.split_once("/./").unwrap_or(("/", source));
    let include = path::absolute("/", pattern).trim_start_matches('/').to_owned();
    Source { path: path::absolute("/", parent), include: Some(include) }
}

fn check_source(source: &str, add: bool, keyword: &str) -> Result<(), StageError> {
    let git = is_git(source);
    let url = source.starts_with("http://") || source.starts_with("https://");
    let problem = match (add, git, url) {
        (_, false, false) => return Ok(()),
        (true, true, _) => format!("`{keyword}` of a git repository is not supported yet"),
        (true, false, _) => format!("`{keyword}` of a URL is not supported yet"),
        (false, true, _) => "source can't be a git ref for COPY".to_owned(),
        (false, false, _) => "source can't be a URL for COPY".to_owned(),
    };
    Err(StageError::Invalid(problem))
}

/// Whether a source is a git URL and no file: `https://host/x.git`, `git@host:x`, `git://`, `ssh://`.
fn is_git(source: &str) -> bool {
    let before_ref = source.split(['#', '?']).next().unwrap_or_default();
    let scp = source
        .split_once('@')
        .is_some_and(|(user, rest)| rest.contains(':') && user == "git" && !rest.contains("://"));
    let web = before_ref.starts_with("http://") || before_ref.starts_with("https://");
    scp || source.starts_with("git://")
        || source.starts_with("ssh://")
        || web && before_ref.ends_with(".git")
}
