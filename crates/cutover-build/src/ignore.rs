//! `.dockerignore`: which paths of a context do not exist for the build.
//!
//! Not gitignore: patterns are anchored at the root, the last match wins, `!` re-includes even
//! under an excluded directory, and a match on a parent covers its children. The same lists serve
//! `COPY --exclude`. Pure: text and paths in, verdicts out.

use crate::glob::{BadPattern, Glob};
use crate::path;

/// A compiled list of patterns.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug)]
struct Pattern {
    /// `!`.
    includes: bool,
    /// As written, without `!`.
    text: String,
    form: Form,
}

/// How a pattern matches; the first three are both faster and, in corners, different from the
/// general form: `**x` matches by suffix, `x/**` by prefix.
#[derive(Clone, Debug)]
enum Form {
    Exact,
    Prefix(String),
    Suffix(String),
    Glob(Glob),
}

/// Which patterns matched a directory: its children inherit them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Matched(Vec<bool>);

/// Why a pattern list is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IgnoreError {
    #[error("`!` without a pattern")]
    LoneBang,
    #[error(transparent)]
    Pattern(#[from] BadPattern),
}

/// The patterns of a `.dockerignore` file: comments and blanks removed, paths cleaned.
pub(crate) fn lines(text: &str) -> Vec<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().filter(|line| !line.starts_with('#')).map(str::trim);
    let relative = |pattern: &str| match pattern.trim() {
        "" => String::new(),
        pattern => match path::clean(pattern) {
            root if root == "/" => root,
            cleaned => cleaned.strip_prefix('/').unwrap_or(&cleaned).to_owned(),
        },
    };
    let pattern = |line: &str| match line.strip_prefix('!') {
        Some(rest) => format!("!{}", relative(rest)),
        None => relative(line),
    };
    lines.filter(|line| !line.is_empty()).map(pattern).collect()
}

impl Ignore {
    pub(crate) fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, IgnoreError> {
        let trimmed = patterns.iter().map(|pattern| pattern.as_ref().trim());
        let compiled = trimmed.filter(|pattern| !pattern.is_empty()).map(Pattern::new);
        Ok(Self { patterns: compiled.collect::<Result<_, _>>()? })
    }

    /// The pattern that decided, by its place among those that are not empty.
    pub(crate) fn decider(matched: &Matched) -> Option<usize> {
        matched.0.iter().rposition(|hit| *hit)
    }

    /// Whether anything below an ignored directory may be re-included.
    pub(crate) fn re_includes(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.includes)
    }

    /// Whether a pattern stands for everything in the context's root.
    pub(crate) fn hides_all(&self) -> bool {
        let all = |text: &str| matches!(text, "*" | "**" | "**/*");
        self.patterns.iter().any(|pattern| !pattern.includes && all(&pattern.text))
    }

    /// Whether `path` is ignored, given what matched its parent, and what to hand to its children.
    /// `path` is relative, without `.` and `..`.
    pub(crate) fn matches(&self, path: &str, parent: &Matched) -> (bool, Matched) {
        let mut ignored = false;
        let mut matched = vec![false; self.patterns.len()];
        for (index, pattern) in self.patterns.iter().enumerate() {
            let mut hit = parent.0.get(index).copied().unwrap_or(false);
            if !hit {
                // A pattern that could not change the verdict is not tried, and so not inherited.
                if pattern.includes != ignored {
                    continue;
                }
                hit = pattern.matches(path) || (parent.0.is_empty() && pattern.covers(path));
            }
            matched[index] = hit;
            if hit {
                ignored = !pattern.includes;
            }
        }
        (ignored, Matched(matched))
    }

    /// Whether `path` is ignored, looked at alone.
    #[cfg(test)]
    fn ignores(&self, path: &str) -> bool {
        self.matches(path, &Matched::default()).0
    }
}

impl Pattern {
    fn new(text: &str) -> Result<Self, IgnoreError> {
        let cleaned = path::clean(text);
        let (includes, text) = match cleaned.strip_prefix('!') {
            Some("") => return Err(IgnoreError::LoneBang),
            Some(rest) => (true, rest.to_owned()),
            None => (false, cleaned),
        };
        // Go's syntax is the one that is checked: it is stricter than what is matched with.
        Glob::path(&text)?;
        let special = |text: &str| text.contains(['*', '?', '[', ']', '\\']);
        let form = if !special(&text) {
            Form::Exact
        } else if let Some(suffix) = text.strip_prefix("**").filter(|rest| !special(rest)) {
            Form::Suffix(suffix.to_owned())
        } else if let Some(prefix) = text.strip_suffix("**").filter(|rest| !special(rest)) {
            Form::Prefix(prefix.to_owned())
        } else {
            Form::Glob(Glob::ignore(&text)?)
        };
        Ok(Self { includes, text, form })
    }

    fn matches(&self, path: &str) -> bool {
        match &self.form {
            Form::Exact => path == self.text,
            Form::Prefix(prefix) => path.starts_with(prefix.as_str()),
            Form::Suffix(suffix) => {
                path.ends_with(suffix.as_str()) || suffix.strip_prefix('/') == Some(path)
            }
            Form::Glob(glob) => glob.matches(path),
        }
    }

    /// Whether a parent of `path` matches.
    fn covers(&self, path: &str) -> bool {
        path.match_indices('/').any(|(at, _)| self.matches(&path[..at]))
    }
}

#[cfg(test)]
mod tests;
