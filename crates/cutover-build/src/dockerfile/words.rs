//! One logical line → keyword, flags and arguments; and the ways to split arguments.

/// Blanks between words; others (such as a no-break space) belong to words.
const BLANKS: [char; 5] = ['\t', '\u{b}', '\u{c}', '\r', ' '];

/// An instruction's line in its three parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Split {
    /// As written.
    pub(super) keyword: String,
    /// `--name=value`, without quotes.
    pub(super) flags: Vec<String>,
    pub(super) rest: String,
}

impl Split {
    pub(super) fn of(line: &str, escape: char) -> Self {
        let line = line.trim();
        let Some((keyword, rest)) = line.split_once(BLANKS) else {
            return Self { keyword: line.to_owned(), flags: Vec::new(), rest: String::new() };
        };
        let (flags, rest) = flags(rest.trim_start_matches(BLANKS), escape);
        Self { keyword: keyword.to_owned(), flags, rest: rest.trim().to_owned() }
    }

    pub(super) fn is(&self, keyword: &str) -> bool {
        self.keyword.eq_ignore_ascii_case(keyword)
    }

    /// Only ADD, COPY and RUN have heredocs, not in their JSON form, and ONBUILD of these.
    pub(super) fn may_have_heredocs(&self) -> bool {
        if self.is("ONBUILD") {
            let inner = Self::of(&self.rest, '\\');
            return !inner.is("ONBUILD") && inner.may_have_heredocs();
        }
        ["ADD", "COPY", "RUN"].iter().any(|keyword| self.is(keyword))
            && !matches!(json(&self.rest), Json::Strings(_))
    }
}

/// Takes the leading words that start with `--` off `line`.
fn flags(line: &str, escape: char) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut rest = line.trim_start();
    while rest.starts_with("--") {
        let (word, after) = flag_word(rest, escape);
        rest = after.trim_start();
        match word.as_str() {
            "--" => break,
            _ => flags.push(word),
        }
    }
    (flags, rest)
}

/// Reads one word; quotes and escapes are processed.
fn flag_word(text: &str, escape: char) -> (String, &str) {
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, ch)) = chars.next() {
        match quote {
            None if ch.is_whitespace() => return (word, &text[at..]),
            None if ch == '\'' || ch == '"' => quote = Some(ch),
            Some(open) if ch == open => quote = None,
            _ if ch == escape => word.extend(chars.next().map(|(_, escaped)| escaped)),
            _ => word.push(ch),
        }
    }
    (word, "")
}

/// Splits at blanks only.
pub(super) fn at_blanks(text: &str) -> Vec<String> {
    text.split(BLANKS).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Cuts `text` at the first run of blanks.
pub(super) fn cut_at_blanks(text: &str) -> Option<(&str, &str)> {
    let (first, rest) = text.split_once(BLANKS)?;
    Some((first, rest.trim_start_matches(BLANKS)))
}

/// Splits at blanks that are neither quoted nor escaped; quotes and escapes stay in the words.
pub(super) fn quoted(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars().peekable();
    while let Some(ch) = chars.next() {
        if quote.is_none() && ch.is_whitespace() {
            words.extend(word.take());
            continue;
        }
        let word = word.get_or_insert_default();
        match quote {
            None if ch == '\'' || ch == '"' => quote = Some(ch),
            Some(open) if ch == open => quote = None,
            _ => {}
        }
        if ch == escape && quote != Some('\'') {
            // An escape at the very end escapes nothing.
            if let Some(escaped) = chars.next() {
                word.extend([ch, escaped]);
            }
        } else {
            word.push(ch);
        }
    }
    // A lone escape at the end makes no word.
    words.extend(word.filter(|word| !word.is_empty()));
    words
}

/// What arguments are when read as JSON.
pub(super) enum Json {
    Strings(Vec<String>),
    /// An array of something else: an error.
    NotStrings,
    /// Not a JSON array: the shell form.
    Not,
}

pub(super) fn json(text: &str) -> Json {
    if !text.trim_start().starts_with('[') {
        return Json::Not;
    }
    match serde_json::from_str::<Vec<serde_json::Value>>(text) {
        Err(_) => Json::Not,
        Ok(values) => {
            let strings = values.into_iter().map(|value| match value {
                serde_json::Value::String(text) => Some(text),
                _ => None,
            });
            strings.collect::<Option<_>>().map_or(Json::NotStrings, Json::Strings)
        }
    }
}
