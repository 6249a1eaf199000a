//! A YAML document as a tree in which every node knows its place.
//!
//! Anchors, aliases and merge keys (`<<`) are resolved here; duplicate keys and keys that are not
//! text are refused. Everything is bounded: the size of the text, the depth of nesting, and the
//! size of the tree after aliases have been expanded, so that no document can eat the memory.

use std::borrow::Cow;
use std::collections::HashMap;

use indexmap::IndexMap;
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

/// Longest document, in bytes.
pub(crate) const MAX_TEXT: usize = 1 << 20;
/// Deepest nesting of lists and maps.
const MAX_DEPTH: usize = 64;
/// Heaviest tree: bytes of text plus [`NODE_WEIGHT`] per node.
const MAX_WEIGHT: usize = 8 << 20;
const NODE_WEIGHT: usize = 32;

/// A place in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    /// Index of the file among those of the project.
    pub(crate) file: usize,
    /// Counted from 1.
    pub(crate) line: usize,
    /// Counted from 1.
    pub(crate) column: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) mark: Mark,
    pub(crate) value: Value,
    pub(crate) tag: Option<MergeTag>,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// `~`, `null`, or nothing at all.
    Null,
    Text(String),
    List(Vec<Node>),
    Map(IndexMap<String, Entry>),
    /// A problem with it was already told: readers leave it out in silence.
    Wrong,
}

/// The value of a key, and where the key is.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Mark,
    pub(crate) node: Node,
}

/// Compose's own tags, which steer the merging of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MergeTag {
    /// `!reset`: as if the key had never been written.
    Reset,
    /// `!override`: replaces instead of merging.
    Override,
}

/// Why a text is not a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoadError {
    pub(crate) mark: Mark,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Node {
    pub(crate) fn new(mark: Mark, value: Value) -> Self {
        Self { mark, value, tag: None }
    }

    /// How many nodes it is made of.
    pub(crate) fn count(&self) -> usize {
        match &self.value {
            Value::Null | Value::Text(_) | Value::Wrong => 1,
            Value::List(items) => 1 + items.iter().map(Self::count).sum::<usize>(),
            Value::Map(map) => 1 + map.values().map(|entry| entry.node.count()).sum::<usize>(),
        }
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Text(_) => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
            Value::Wrong => "wrong",
        }
    }
}

/// Reads every document of `text`.
pub(crate) fn load(text: &str, file: usize) -> Result<Vec<Node>, LoadError> {
    let start = Mark { file, line: 1, column: 1 };
    if text.len() > MAX_TEXT {
        let message = format!("the file is larger than {} KiB", MAX_TEXT >> 10);
        return Err(LoadError { mark: start, message, hint: None });
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut loader = Loader::new(file);
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => loader.on(event, span.start)?,
            Err(error) => {
                let mark = loader.mark(*error.marker());
                return Err(syntax_error(text, mark, error.info()));
            }
        }
    }
    Ok(loader.documents)
}

/// YAML's most common trap gets a message of its own.
fn syntax_error(text: &str, mark: Mark, info: &str) -> LoadError {
    let line = text.lines().nth(mark.line.saturating_sub(1)).unwrap_or_default();
    let indent = line.len() - line.trim_start().len();
    let hint = line[..indent]
        .contains('\t')
        .then(|| "YAML is indented with spaces; this line has a tab".to_owned());
    LoadError { mark, message: format!("not valid YAML: {info}"), hint }
}

/// A list or map that is not yet complete.
struct Open {
    mark: Mark,
    anchor: usize,
    tag: Option<MergeTag>,
    weight: usize,
    body: Body,
}

enum Body {
    List(Vec<Node>),
    Map { entries: IndexMap<String, Entry>, merged: Vec<Node>, key: Option<(String, Mark, bool)> },
}

struct Loader {
    file: usize,
    documents: Vec<Node>,
    open: Vec<Open>,
    /// Complete anchored nodes with their weight.
    anchors: HashMap<usize, (Node, usize)>,
    /// Of the whole tree so far, aliases expanded.
    weight: usize,
}

impl Loader {
    fn new(file: usize) -> Self {
        let (documents, open) = (Vec::new(), Vec::new());
        Self { file, documents, open, anchors: HashMap::new(), weight: 0 }
    }

    fn mark(&self, marker: Marker) -> Mark {
        // the parser counts columns from 0
        Mark { file: self.file, line: marker.line().max(1), column: marker.col() + 1 }
    }

    fn fail<T>(mark: Mark, message: impl Into<String>) -> Result<T, LoadError> {
        Err(LoadError { mark, message: message.into(), hint: None })
    }

    fn on(&mut self, event: Event<'_>, marker: Marker) -> Result<(), LoadError> {
        let mark = self.mark(marker);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.scalar(mark, text, style, anchor, tag.as_deref())
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some((node, weight)) => {
                    let (node, weight) = (node.clone_bounded(self.weight + weight, mark)?, *weight);
                    self.add(node, weight, 0)
                }
                None => Self::fail(mark, "an alias stands inside the node that it names"),
            },
            Event::SequenceStart(anchor, tag) => {
                self.start(mark, anchor, tag.as_deref(), Body::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                let body = Body::Map { entries: IndexMap::new(), merged: Vec::new(), key: None };
                self.start(mark, anchor, tag.as_deref(), body)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn scalar(
        &mut self,
        mark: Mark,
        text: Cow<'_, str>,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
    ) -> Result<(), LoadError> {
        let plain = style == ScalarStyle::Plain;
        if let Some(Open { body: Body::Map { key, .. }, weight, .. }) = self.open.last_mut()
            && key.is_none()
        {
            *key = Some((text.clone().into_owned(), mark, plain && text == "<<"));
            *weight += text.len() + NODE_WEIGHT;
            self.weight += text.len() + NODE_WEIGHT;
            if anchor > 0 {
                let text_weight = text.len() + NODE_WEIGHT;
                let node = Node::new(mark, Value::Text(text.into_owned()));
                self.anchors.insert(anchor, (node, text_weight));
            }
            return Ok(());
        }
        let null = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
        let weight = text.len() + NODE_WEIGHT;
        let value = if null { Value::Null } else { Value::Text(text.into_owned()) };
        let node = Node { mark, value, tag: merge_tag(tag) };
        self.add(node, weight, anchor)
    }

    fn start(
        &mut self,
        mark: Mark,
        anchor: usize,
        tag: Option<&Tag>,
        body: Body,
    ) -> Result<(), LoadError> {
        if let Some(Open { body: Body::Map { key: None, .. }, .. }) = self.open.last() {
            return Self::fail(mark, "a key must be a text");
        }
        if self.open.len() >= MAX_DEPTH {
            return Self::fail(mark, format!("nested more than {MAX_DEPTH} deep"));
        }
        self.open.push(Open { mark, anchor, tag: merge_tag(tag), weight: NODE_WEIGHT, body });
        Ok(())
    }

    fn end(&mut self) -> Result<(), LoadError> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        // children are already counted in the total
        self.weight = self.weight.saturating_sub(open.weight - NODE_WEIGHT);
        let value = match open.body {
            Body::List(items) => Value::List(items),
            Body::Map { mut entries, merged, .. } => {
                merge_into(&mut entries, merged)?;
                Value::Map(entries)
            }
        };
        let node = Node { mark: open.mark, value, tag: open.tag };
        self.add(node, open.weight, open.anchor)
    }

    /// Puts a complete node where it belongs.
    fn add(&mut self, node: Node, weight: usize, anchor: usize) -> Result<(), LoadError> {
        self.weight += weight;
        if self.weight > MAX_WEIGHT {
            return Self::fail(node.mark, "the document is too large with its aliases expanded");
        }
        if anchor > 0 {
            self.weight += weight;
            self.anchors.insert(anchor, (node.clone_bounded(self.weight, node.mark)?, weight));
        }
        let Some(open) = self.open.last_mut() else {
            self.documents.push(node);
            return Ok(());
        };
        open.weight += weight;
        match &mut open.body {
            Body::List(items) => items.push(node),
            Body::Map { entries, merged, key } => {
                let Some((text, mark, merge)) = key.take() else {
                    // an alias in the place of a key
                    let Value::Text(text) = node.value else {
                        return Self::fail(node.mark, "a key must be a text");
                    };
                    *key = Some((text, node.mark, false));
                    return Ok(());
                };
                if merge {
                    merged.push(node);
                } else if let Some(first) = entries.get(&text) {
                    let line = first.key.line;
                    let message = format!("`{text}` is written twice, first on line {line}");
                    return Self::fail(mark, message);
                } else {
                    entries.insert(text, Entry { key: mark, node });
                }
            }
        }
        Ok(())
    }
}

impl Node {
    /// A copy, unless the tree would weigh `weight` and that is too much.
    fn clone_bounded(&self, weight: usize, mark: Mark) -> Result<Self, LoadError> {
        if weight > MAX_WEIGHT {
            return Loader::fail(mark, "the document is too large with its aliases expanded");
        }
        Ok(self.clone())
    }
}

/// Merge keys: what is written wins over what is merged, an earlier merged map over a later one.
fn merge_into(entries: &mut IndexMap<String, Entry>, merged: Vec<Node>) -> Result<(), LoadError> {
    let mut sources = Vec::new();
    for node in merged {
        match node.value {
            Value::List(items) => sources.extend(items),
            _ => sources.push(node),
        }
    }
    for source in sources {
        let Value::Map(map) = source.value else {
            return Loader::fail(source.mark, "`<<` merges maps only");
        };
        for (key, entry) in map {
            entries.entry(key).or_insert(entry);
        }
    }
    Ok(())
}

fn merge_tag(tag: Option<&Tag>) -> Option<MergeTag> {
    match tag {
        Some(tag) if tag.handle == "!" && tag.suffix == "reset" => Some(MergeTag::Reset),
        Some(tag) if tag.handle == "!" && tag.suffix == "override" => Some(MergeTag::Override),
        _ => None,
    }
}
