//! From the events of a YAML parser to trees: anchors, merge keys, tags.
//!
//! What an alias stands for is copied, so that it has to be paid for: a file may make so many
//! values and no more.

use super::node::{Fault, Key, Mark, Node, Path, Result, Rule, Value};
use super::scalar::resolve;
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};
use std::collections::HashMap;
use std::sync::Arc;

/// How large a file may be, in bytes.
pub const MAX_FILE: usize = 4 << 20;

/// How many values a file may make, those that aliases stand for included.
const MAX_NODES: usize = 200_000;

/// How deep values may be in one another.
const MAX_DEPTH: usize = 64;

/// A document, and which keys of earlier files it takes away.
#[derive(Debug)]
pub struct Document {
    /// What it says.
    pub root: Node,
    /// What `!reset` and `!override` are about.
    pub resets: Vec<Path>,
}

/// The documents of a file.
pub fn parse(file: &Arc<str>, text: &str) -> Result<Vec<Document>> {
    let whole = |text: String| {
        let file = Arc::clone(file);
        let (line, column) = (0, 0);
        Fault::new(text).at(&Mark { file, line, column })
    };
    if text.len() > MAX_FILE {
        return Err(whole(format!("the file has more than {MAX_FILE} bytes")));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader {
        events: Parser::new_from_str(text),
        file: Arc::clone(file),
        anchors: HashMap::new(),
        nodes: 0,
    };
    let mut documents = Vec::new();
    loop {
        match reader.next()?.0 {
            Event::StreamEnd => return Ok(documents),
            Event::DocumentStart(_) => {
                let (event, span) = reader.next()?;
                let mut root = reader.node(event, span, 0)?;
                let mut resets = Vec::new();
                take_resets(&mut root, &Path::default(), &mut resets);
                if root.value != Value::Null || !resets.is_empty() {
                    documents.push(Document { root, resets });
                }
                reader.anchors.clear();
            }
            _ => {}
        }
    }
}

/// Notes what is tagged, and takes away what is nothing but a tag.
fn take_resets(node: &mut Node, path: &Path, resets: &mut Vec<Path>) {
    if node.rule == Rule::Override {
        return resets.push(path.clone());
    }
    match &mut node.value {
        Value::Map(entries) => entries.retain_mut(|(key, node)| {
            let path = path.to(&key.name);
            if node.rule == Rule::Reset {
                resets.push(path);
                return false;
            }
            take_resets(node, &path, resets);
            true
        }),
        Value::List(items) => {
            items.retain(|item| item.rule != Rule::Reset);
            for item in items {
                take_resets(item, &path.to("[]"), resets);
            }
        }
        _ => {}
    }
}

/// What reads events.
struct Reader<'a> {
    events: Parser<'a, saphyr_parser::StrInput<'a>>,
    file: Arc<str>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
}

impl<'a> Reader<'a> {
    /// The next event.
    fn next(&mut self) -> Result<(Event<'a>, Span)> {
        match self.events.next_event() {
            None => Ok((Event::StreamEnd, Span::default())),
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(self.scan(&error)),
        }
    }

    /// What the parser says is wrong.
    fn scan(&self, error: &ScanError) -> Fault {
        let marker = error.marker();
        let mark = Mark {
            file: Arc::clone(&self.file),
            line: marker.line(),
            column: marker.col() + 1,
        };
        let hint = match error.info().contains("tab") {
            true => ": YAML indents with blanks",
            false => "",
        };
        Fault::new(format!("this is not YAML: {}{hint}", error.info())).at(&mark)
    }

    /// Where a value begins.
    fn mark(&self, span: Span) -> Mark {
        Mark {
            file: Arc::clone(&self.file),
            line: span.start.line(),
            column: span.start.col() + 1,
        }
    }

    /// Counts values.
    fn count(&mut self, nodes: usize, mark: &Mark) -> Result<()> {
        self.nodes += nodes;
        match self.nodes > MAX_NODES {
            true => Err(Fault::new(format!(
                "the file makes more than {MAX_NODES} values; aliases multiply them"
            ))
            .at(mark)),
            false => Ok(()),
        }
    }

    /// The value that begins with this event.
    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node> {
        let mark = self.mark(span);
        let before = self.nodes;
        self.count(1, &mark)?;
        if depth > MAX_DEPTH {
            let text = format!("values are more than {MAX_DEPTH} deep in one another");
            return Err(Fault::new(text).at(&mark));
        }
        let (anchor, node) = match event {
            Event::Alias(anchor) => {
                let Some((node, nodes)) = self.anchors.get(&anchor).cloned() else {
                    return Err(Fault::new("the alias stands for what it is part of").at(&mark));
                };
                self.count(nodes, &mark)?;
                return Ok(node);
            }
            Event::Scalar(text, style, anchor, tag) => {
                (anchor, scalar(&text, style, tag.as_deref(), &mark)?)
            }
            Event::SequenceStart(anchor, tag) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break,
                        (event, span) => items.push(self.node(event, span, depth + 1)?),
                    }
                }
                (anchor, tagged(Value::List(items), tag.as_deref(), &mark))
            }
            Event::MappingStart(anchor, tag) => {
                let entries = self.entries(depth)?;
                (anchor, tagged(Value::Map(entries), tag.as_deref(), &mark))
            }
            _ => return Err(Fault::new("a value is missing").at(&mark)),
        };
        if anchor > 0 {
            let nodes = self.nodes - before;
            self.anchors.insert(anchor, (node.clone(), nodes));
        }
        Ok(node)
    }

    /// The keys and values up to the mapping's end, those to be merged included.
    fn entries(&mut self, depth: usize) -> Result<Vec<(Key, Node)>> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut merged: Vec<(Key, Node)> = Vec::new();
        let mut lines: HashMap<String, usize> = HashMap::new();
        loop {
            let (event, span) = self.next()?;
            let key = match event {
                Event::MappingEnd => break,
                event => self.node(event, span, depth + 1)?,
            };
            let Value::Text(name) = key.value else {
                let kind = key.value.kind();
                return Err(key.fault(format!("a key has to be a string; this is {kind}")));
            };
            if let Some(line) = lines.insert(name.clone(), key.mark.line) {
                let text = format!("the key {name:?} is given twice: in line {line} too");
                return Err(Fault::new(text).at(&key.mark));
            }
            let (event, span) = self.next()?;
            let node = self.node(event, span, depth + 1)?;
            if name == "<<" {
                merged = sources(node)?;
                continue;
            }
            let mark = key.mark;
            entries.push((Key { name, mark }, node));
        }
        let mut known: std::collections::HashSet<String> =
            entries.iter().map(|(key, _)| key.name.clone()).collect();
        merged.retain(|(key, _)| known.insert(key.name.clone()));
        entries.extend(merged);
        Ok(entries)
    }
}

/// What a merge key brings.
fn sources(node: Node) -> Result<Vec<(Key, Node)>> {
    let wrong = |node: &Node| {
        node.fault(format!(
            "<< takes a mapping or a list of mappings; this is {}",
            node.value.kind()
        ))
    };
    match node.value {
        Value::Map(entries) => Ok(entries),
        Value::List(items) => {
            let mut all = Vec::new();
            for item in items {
                match item.value {
                    Value::Map(entries) => all.extend(entries),
                    _ => return Err(wrong(&item)),
                }
            }
            Ok(all)
        }
        _ => Err(wrong(&node)),
    }
}

/// A value with its tag.
fn tagged(value: Value, tag: Option<&Tag>, mark: &Mark) -> Node {
    let mut node = Node::new(value, mark);
    node.rule = rule(tag);
    node
}

/// What a tag says of merging.
fn rule(tag: Option<&Tag>) -> Rule {
    match tag.map(|tag| (tag.handle.as_str(), tag.suffix.as_str())) {
        Some(("!", "reset")) => Rule::Reset,
        Some(("!", "override")) => Rule::Override,
        _ => Rule::Merge,
    }
}

/// A scalar with its tag.
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>, mark: &Mark) -> Result<Node> {
    let plain = match style {
        ScalarStyle::Plain => resolve(text),
        _ => Value::Text(text.to_owned()),
    };
    let Some(tag) = tag else {
        return Ok(Node::new(plain, mark));
    };
    let wrong = || Fault::new(format!("{text:?} is no {}", tag.suffix)).at(mark);
    let is_core = tag.is_yaml_core_schema() || tag.handle == "!!";
    let value = match tag.suffix.as_str() {
        "str" if is_core => Value::Text(text.to_owned()),
        "null" if is_core => Value::Null,
        "bool" if is_core => match resolve(text) {
            Value::Bool(is) => Value::Bool(is),
            _ => return Err(wrong()),
        },
        "int" if is_core => match resolve(text) {
            Value::Int(number) => Value::Int(number),
            _ => return Err(wrong()),
        },
        "float" if is_core => match resolve(text) {
            Value::Int(number) => Value::Float(number as f64),
            Value::Float(number) => Value::Float(number),
            _ => return Err(wrong()),
        },
        _ if is_core => return Err(Fault::new("this tag is not supported").at(mark)),
        _ => plain,
    };
    Ok(tagged(value, Some(tag), mark))
}
