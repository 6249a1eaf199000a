//! Heredocs: `<<EOF`, `<<-EOF`, `3<<'EOF'`.

use super::expand::Expander;

/// A heredoc and its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The word without quotes: terminator, and file name for COPY.
    pub name: String,
    /// Whether the body's variables are expanded: no part of the word was quoted.
    pub expand: bool,
    /// `<<-`: leading tabs do not count.
    pub chomp: bool,
    pub content: String,
}

impl Heredoc {
    /// Whether `line` (with its line end) is the terminator.
    pub(super) fn ends_at(&self, line: &str) -> bool {
        let line = line.trim_end_matches(['\n', '\r']);
        let line = if self.chomp { line.trim_start_matches('\t') } else { line };
        line == self.name
    }

    /// The body as a file: without leading tabs if the heredoc says so.
    pub fn file_content(&self) -> String {
        if !self.chomp {
            return self.content.clone();
        }
        self.content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }
}

/// Reads one word as a heredoc's announcement.
pub(super) fn parse(word: &str) -> Result<Option<Heredoc>, String> {
    let rest = word.trim_start_matches(|ch: char| ch.is_ascii_digit());
    let Some(rest) = rest.strip_prefix("<<") else { return Ok(None) };
    let (chomp, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let rest = rest.trim_start();
    if rest.is_empty() || rest.contains('<') {
        return Ok(None);
    }
    let unquote = Expander { keep_unset: true, ..Expander::new('\\') };
    let words = unquote.words(rest, &()).map_err(|error| error.to_string())?;
    let [name] = words.as_slice() else { return Ok(None) };
    let keep = Expander { raw_quotes: true, ..unquote };
    let raw = keep.words(rest, &()).map_err(|error| error.to_string())?;
    let quotes = |text: &str| text.chars().filter(|ch| matches!(ch, '\'' | '"')).count();
    let expand = raw.iter().map(|word| quotes(word)).sum::<usize>() == quotes(name);
    Ok(Some(Heredoc { name: name.clone(), expand, chomp, content: String::new() }))
}

/// All heredocs that a line announces, in order.
pub(super) fn in_line(line: &str) -> Result<Vec<Heredoc>, String> {
    let split =
        Expander { raw_quotes: true, raw_escapes: true, keep_unset: true, ..Expander::new('\\') };
    // A line that is no shell word, such as one with a lone quote, announces none.
    let words = split.words(line, &()).unwrap_or_default();
    words.iter().filter_map(|word| parse(word).transpose()).collect()
}
