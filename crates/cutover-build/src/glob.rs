//! Wildcards in the three dialects that a build meets, over one matcher.
//!
//! - [`Glob::path`]: Go's `filepath.Match`, for COPY and ADD sources;
//! - [`Glob::ignore`]: the same plus `**`, for `.dockerignore` and `--exclude`;
//! - [`Glob::shell`]: `*` and `?` over anything, for `${v#p}`, `${v%p}` and `${v/p/r}`.
//!
//! The matcher follows all alternatives at once, so its time is bounded by pattern × text: a
//! hostile pattern cannot make it backtrack.

mod parse;

pub(crate) use parse::BadPattern;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(crate) struct Glob(Vec<Token>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Char(char),
    /// `?`: one character; `slash` says whether `/` counts.
    One {
        slash: bool,
    },
    /// `*`: any number of characters.
    Many {
        slash: bool,
    },
    /// `**/`, first half: go on to the second half or skip it.
    DirsOrNothing,
    /// `**/`, second half: anything that ends with `/`.
    Dirs,
    /// `[a-z]`.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Glob {
    /// Whether the whole of `text` matches.
    pub(crate) fn matches(&self, text: &str) -> bool {
        self.longest_prefix(text) == Some(text.len())
    }

    /// Byte length of the shortest prefix of `text` that matches.
    pub(crate) fn shortest_prefix(&self, text: &str) -> Option<usize> {
        let mut first = None;
        self.run(text, |at| first = first.or(Some(at)));
        first
    }

    /// Byte length of the longest prefix of `text` that matches.
    pub(crate) fn longest_prefix(&self, text: &str) -> Option<usize> {
        let mut last = None;
        self.run(text, |at| last = Some(at));
        last
    }

    /// Feeds `text` to the pattern and reports, in order, every offset where it is complete.
    fn run(&self, text: &str, mut complete: impl FnMut(usize)) {
        let mut now = States::new(self.0.len());
        let mut next = States::new(self.0.len());
        now.enter(0, &self.0);
        for (at, ch) in text.char_indices() {
            if now.complete() {
                complete(at);
            }
            next.clear();
            for (index, token) in self.0.iter().enumerate() {
                if now.0[index] {
                    token.read(ch, index, &mut next, &self.0);
                }
            }
            std::mem::swap(&mut now, &mut next);
            if now.none() {
                return;
            }
        }
        if now.complete() {
            complete(text.len());
        }
    }
}

impl Token {
    /// Where reading `ch` leads from this token, which stands at `index`.
    fn read(&self, ch: char, index: usize, next: &mut States, tokens: &[Self]) {
        match self {
            Self::Char(own) if *own == ch => next.enter(index + 1, tokens),
            Self::One { slash } if *slash || ch != '/' => next.enter(index + 1, tokens),
            Self::Many { slash } if *slash || ch != '/' => next.enter(index, tokens),
            Self::Dirs => {
                next.enter(index, tokens);
                if ch == '/' {
                    next.enter(index + 1, tokens);
                }
            }
            Self::Class { negated, ranges } => {
                let inside = ranges.iter().any(|(low, high)| (*low..=*high).contains(&ch));
                if inside != *negated && ch != '/' {
                    next.enter(index + 1, tokens);
                }
            }
            _ => {}
        }
    }
}

/// The tokens that may read the next character; the last state means "complete".
struct States(Vec<bool>);

impl States {
    fn new(tokens: usize) -> Self {
        Self(vec![false; tokens + 1])
    }

    /// Marks `index` and all that is reachable from it without reading.
    fn enter(&mut self, index: usize, tokens: &[Token]) {
        if self.0[index] {
            return;
        }
        self.0[index] = true;
        match tokens.get(index) {
            Some(Token::Many { .. }) => self.enter(index + 1, tokens),
            Some(Token::DirsOrNothing) => {
                self.enter(index + 1, tokens);
                self.enter(index + 2, tokens);
            }
            _ => {}
        }
    }

    fn complete(&self) -> bool {
        self.0.last() == Some(&true)
    }

    fn none(&self) -> bool {
        !self.0.contains(&true)
    }

    fn clear(&mut self) {
        self.0.fill(false);
    }
}

#[cfg(test)]
mod tests;
