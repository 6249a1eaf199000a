//! The scanner behind [`Expander`]: one pass over the characters, one function a construct.

use super::{Expanded, Expander, Problem, Variables};
use crate::glob::Glob;

/// Deepest nesting of `${…${…}…}`; beyond it is no Dockerfile but an attack on the stack.
const MAX_DEPTH: usize = 200;
/// Longest result, in bytes: `${v//?/long}` can multiply.
pub(super) const MAX_RESULT: usize = 1 << 20;
/// Most bytes that all references of a text may come to, those within others included: nested ones
/// could each come to the longest result.
const MAX_TOTAL: usize = 8 * MAX_RESULT;
/// Most steps that the patterns of a text may take over their values.
const MAX_WORK: usize = 1 << 28;

pub(super) struct Scanner<'a> {
    options: Expander,
    chars: Vec<char>,
    at: usize,
    variables: &'a dyn Variables,
    /// Whether escapes are kept just now: always within patterns.
    raw_escapes: bool,
    depth: usize,
    /// Bytes that references came to, and steps of patterns, so far.
    total: usize,
    work: usize,
    found: Expanded,
}

/// Collects words: characters split at blanks, raw text does not.
#[derive(Default)]
struct Words {
    done: Vec<String>,
    word: String,
}

impl Words {
    fn push(&mut self, ch: char) {
        if !ch.is_whitespace() {
            self.word.push(ch);
        } else if !self.word.is_empty() {
            self.done.push(std::mem::take(&mut self.word));
        }
    }

    fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.done.push(self.word);
        }
        self.done
    }
}

impl<'a> Scanner<'a> {
    pub(super) fn new(options: Expander, text: &str, variables: &'a dyn Variables) -> Self {
        Self {
            options,
            chars: text.chars().collect(),
            at: 0,
            variables,
            raw_escapes: options.raw_escapes,
            depth: 0,
            total: 0,
            work: 0,
            found: Expanded::default(),
        }
    }

    pub(super) fn whole(&mut self) -> Result<(Expanded, Vec<String>), Problem> {
        let (text, words) = self.until(None, self.options.raw_escapes)?;
        let found = std::mem::take(&mut self.found);
        Ok((Expanded { text, ..found }, words))
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let ch = self.peek()?;
        self.at += 1;
        Some(ch)
    }

    /// Reads up to `stop` (and past it), or to the end.
    fn until(
        &mut self,
        stop: Option<char>,
        raw_escapes: bool,
    ) -> Result<(String, Vec<String>), Problem> {
        if self.depth == MAX_DEPTH {
            return Err(Problem::Depth);
        }
        self.depth += 1;
        let outer = std::mem::replace(&mut self.raw_escapes, raw_escapes);
        let result = self.pieces(stop);
        self.raw_escapes = outer;
        self.depth -= 1;
        result
    }

    fn pieces(&mut self, stop: Option<char>) -> Result<(String, Vec<String>), Problem> {
        let mut text = String::new();
        let mut words = Words::default();
        while let Some(ch) = self.peek() {
            if Some(ch) == stop {
                self.at += 1;
                return Ok((text, words.finish()));
            }
            let quotes = !self.options.ignore_quotes;
            match ch {
                '$' => {
                    let value = self.dollar()?;
                    value.chars().for_each(|ch| words.push(ch));
                    text.push_str(&value);
                }
                '<' | '\'' | '"' if ch == '<' || quotes => {
                    let raw = match ch {
                        '<' => self.angle(),
                        '\'' => self.single_quoted()?,
                        _ => self.double_quoted()?,
                    };
                    words.word.push_str(&raw);
                    text.push_str(&raw);
                }
                _ => self.plain(&mut text, &mut words),
            }
            if text.len() > MAX_RESULT {
                return Err(Problem::TooLong);
            }
        }
        match stop {
            Some('}') => Err(Problem::Missing('}')),
            Some(_) => Err(Problem::Missing('/')),
            None => Ok((text, words.finish())),
        }
    }

    /// An ordinary character, or an escape and the character after it.
    fn plain(&mut self, text: &mut String, words: &mut Words) {
        let Some(ch) = self.next() else { return };
        if ch != self.options.escape {
            words.push(ch);
            text.push(ch);
            return;
        }
        if self.raw_escapes {
            words.word.push(ch);
            text.push(ch);
        }
        // An escape at the very end escapes nothing and is dropped.
        if let Some(escaped) = self.next() {
            words.word.push(escaped);
            text.push(escaped);
        }
    }

    /// `<`, or `<<` with the blanks after it, which belong to a heredoc's word.
    fn angle(&mut self) -> String {
        self.at += 1;
        let mut out = String::from("<");
        if self.peek() == Some('<') {
            self.at += 1;
            out.push('<');
            while let Some(blank @ ('\t' | '\r' | ' ')) = self.peek() {
                self.at += 1;
                out.push(blank);
            }
        }
        out
    }

    fn quote(&mut self, out: &mut String) {
        if let Some(quote) = self.next()
            && self.options.raw_quotes
        {
            out.push(quote);
        }
    }

    fn single_quoted(&mut self) -> Result<String, Problem> {
        let mut out = String::new();
        self.quote(&mut out);
        while let Some(ch) = self.peek() {
            if ch == '\'' {
                self.quote(&mut out);
                return Ok(out);
            }
            self.at += 1;
            out.push(ch);
        }
        Err(Problem::Unterminated("single-quote"))
    }

    /// Only `\"`, `\$` and an escaped escape lose their escape within double quotes.
    fn double_quoted(&mut self) -> Result<String, Problem> {
        let mut out = String::new();
        self.quote(&mut out);
        while let Some(ch) = self.peek() {
            match ch {
                '"' => {
                    self.quote(&mut out);
                    return Ok(out);
                }
                '$' => out.push_str(&self.dollar()?),
                _ => {
                    self.at += 1;
                    self.in_double_quotes(ch, &mut out);
                }
            }
        }
        Err(Problem::Unterminated("double-quote"))
    }

    fn in_double_quotes(&mut self, ch: char, out: &mut String) {
        if ch != self.options.escape {
            out.push(ch);
            return;
        }
        if self.raw_escapes {
            out.push(ch);
        }
        match self.peek() {
            None => {}
            Some(next) if next == '"' || next == '$' || next == self.options.escape => {
                self.at += 1;
                out.push(next);
            }
            Some(_) => out.push(ch),
        }
    }

    fn lookup(&mut self, name: &str) -> Option<String> {
        let value = self.variables.get(name);
        let names = if value.is_some() { &mut self.found.used } else { &mut self.found.unset };
        if !names.contains(name) {
            names.insert(name.to_owned());
        }
        value.map(str::to_owned)
    }

    fn dollar(&mut self) -> Result<String, Problem> {
        let value = self.reference()?;
        self.total += value.len();
        if self.total > MAX_TOTAL { Err(Problem::TooLong) } else { Ok(value) }
    }

    fn reference(&mut self) -> Result<String, Problem> {
        self.at += 1;
        if self.peek() == Some('{') {
            self.at += 1;
            return self.braces();
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        Ok(match self.lookup(&name) {
            Some(value) => value,
            None if self.options.keep_unset => format!("${name}"),
            None => String::new(),
        })
    }

    /// A run of digits, one special parameter, or letters, digits and `_`.
    fn name(&mut self) -> String {
        let start = self.at;
        match self.peek() {
            Some(ch) if ch.is_numeric() => self.skip_while(char::is_numeric),
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => self.at += 1,
            _ => self.skip_while(|ch| ch.is_alphanumeric() || ch == '_'),
        }
        self.chars[start..self.at].iter().collect()
    }

    fn skip_while(&mut self, wanted: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&wanted) {
            self.at += 1;
        }
    }

    /// What follows `${`.
    fn braces(&mut self) -> Result<String, Problem> {
        match self.peek() {
            None => return Err(Problem::Missing('}')),
            Some('{' | '}' | ':') => return Err(Problem::BadSubstitution),
            Some(_) => {}
        }
        let name = self.name();
        let modifier = self.next();
        match modifier {
            Some('}') => {
                let value = self.lookup(&name);
                Ok(match value {
                    Some(value) => value,
                    None if self.options.keep_unset => format!("${{{name}}}"),
                    None => String::new(),
                })
            }
            Some(':') => match self.next() {
                Some(modifier @ ('-' | '+' | '?')) => self.conditional(&name, modifier, true),
                other => Err(unsupported(":", other)),
            },
            Some(modifier @ ('-' | '+' | '?')) => self.conditional(&name, modifier, false),
            Some(modifier @ ('#' | '%')) => self.trim(&name, modifier),
            Some('/') => self.replace(&name),
            other => Err(unsupported("", other)),
        }
    }

    /// `${v-w}`, `${v+w}`, `${v?m}`; with `empty_is_unset` the forms with a colon.
    fn conditional(
        &mut self,
        name: &str,
        modifier: char,
        empty_is_unset: bool,
    ) -> Result<String, Problem> {
        let (word, _) = self.until(Some('}'), false)?;
        let value = self.lookup(name);
        if value.is_none() && self.options.keep_unset {
            let colon = if empty_is_unset { ":" } else { "" };
            return Ok(format!("${{{name}{colon}{modifier}{word}}}"));
        }
        let unset = value.is_none();
        let value = value.filter(|value| !(empty_is_unset && value.is_empty()));
        match (modifier, value) {
            ('-' | '?', Some(value)) => Ok(value),
            ('-', None) | ('+', Some(_)) => Ok(word),
            ('+', None) => Ok(String::new()),
            (_, _) => {
                let what = if unset { "unset" } else { "empty" };
                let default = || format!("is not allowed to be {what}");
                let message = if word.is_empty() { default() } else { word };
                Err(Problem::Required { name: name.to_owned(), message })
            }
        }
    }

    /// `${v#p}`, `${v##p}`, `${v%p}`, `${v%%p}`.
    fn trim(&mut self, name: &str, modifier: char) -> Result<String, Problem> {
        let (word, _) = self.until(Some('}'), true)?;
        let value = self.lookup(name);
        if value.is_none() && self.options.keep_unset {
            return Ok(format!("${{{name}{modifier}{word}}}"));
        }
        let value = value.unwrap_or_default();
        let (pattern, longest) = match word.strip_prefix(modifier) {
            Some(rest) => (rest, true),
            None => (word.as_str(), false),
        };
        let glob = self.pattern_for(pattern, &value)?;
        if modifier == '#' {
            let end =
                if longest { glob.longest_prefix(&value) } else { glob.shortest_prefix(&value) };
            return Ok(value[end.unwrap_or(0)..].to_owned());
        }
        let starts = value.char_indices().map(|(at, _)| at).chain([value.len()]);
        let mut matching = starts.filter(|&at| glob.matches(&value[at..]));
        let start = if longest { matching.next() } else { matching.next_back() };
        Ok(value[..start.unwrap_or(value.len())].to_owned())
    }

    /// `${v/p/r}` and `${v//p/r}`.
    fn replace(&mut self, name: &str) -> Result<String, Problem> {
        let all = self.peek() == Some('/');
        if all {
            self.at += 1;
        }
        let (pattern, _) = self.until(Some('/'), true)?;
        let (replacement, _) = self.until(Some('}'), true)?;
        let value = self.lookup(name);
        if value.is_none() && self.options.keep_unset {
            return Ok(format!("${{{name}/{pattern}/{replacement}}}"));
        }
        let value = value.unwrap_or_default();
        substitute(&self.pattern_for(&pattern, &value)?, &value, &replacement, all)
    }

    /// Compiles `pattern`, unless trying it at every place of `value` would take too long.
    fn pattern_for(&mut self, pattern: &str, value: &str) -> Result<Glob, Problem> {
        // Only a `*` can read on to the end from every place.
        let each = if pattern.contains('*') { value.len() } else { pattern.len() };
        let work = value.len().saturating_mul(each).saturating_mul(pattern.len() + 1);
        self.work = self.work.saturating_add(work);
        if self.work > MAX_WORK { Err(Problem::TooLong) } else { Ok(Glob::shell(pattern)?) }
    }
}

/// Replaces the first, or every, longest match.
fn substitute(glob: &Glob, value: &str, with: &str, all: bool) -> Result<String, Problem> {
    let mut out = String::new();
    let mut at = 0;
    // Where the last match ended: an empty match right behind it does not count.
    let mut last_end = None;
    let mut replaced = false;
    while at <= value.len() {
        let found = if replaced && !all { None } else { glob.longest_prefix(&value[at..]) };
        match found {
            Some(length) if length > 0 || last_end != Some(at) => {
                out.push_str(with);
                if out.len() > MAX_RESULT {
                    return Err(Problem::TooLong);
                }
                replaced = true;
                at += length;
                last_end = Some(at);
                if length > 0 {
                    continue;
                }
            }
            _ => {}
        }
        let Some(ch) = value[at..].chars().next() else { break };
        out.push(ch);
        at += ch.len_utf8();
        if out.len() > MAX_RESULT {
            return Err(Problem::TooLong);
        }
    }
    Ok(out)
}

fn unsupported(prefix: &str, modifier: Option<char>) -> Problem {
    match modifier {
        Some(ch) => Problem::Modifier(format!("{prefix}{ch}")),
        None => Problem::Missing('}'),
    }
}
