//! What a compose file says, as a tree whose every value knows where it stands.

use std::fmt;
use std::sync::Arc;

/// Where something stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The file, as it is shown.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.file),
            line => write!(f, "{}:{line}:{}", self.file, self.column),
        }
    }
}

/// What is wrong with a compose file, or with what it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where, if it is at one place.
    pub mark: Option<Mark>,
    /// The keys that lead to it, as `services.web.ports`; empty if they say nothing.
    pub path: String,
    /// What is wrong.
    pub text: String,
}

impl Fault {
    /// A fault that says this, of no place yet.
    pub fn new(text: impl Into<String>) -> Fault {
        Fault {
            mark: None,
            path: String::new(),
            text: text.into(),
        }
    }

    /// It is here, unless it is known to be at a more certain place.
    pub fn at(mut self, mark: &Mark) -> Fault {
        self.mark.get_or_insert_with(|| mark.clone());
        self
    }

    /// It is about what these keys lead to, unless that is known.
    pub fn of(mut self, path: &Path) -> Fault {
        if self.path.is_empty() {
            self.path = path.to_string();
        }
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if let Some(mark) = &self.mark {
            write!(f, "{mark}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.text)
    }
}

impl std::error::Error for Fault {}

/// What can go wrong here.
pub type Result<T> = std::result::Result<T, Fault>;

/// The keys that lead to a value; entries of lists are `[]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Path(Vec<String>);

impl Path {
    /// To what has this key, or `[]`.
    pub fn to(&self, key: &str) -> Path {
        let mut keys = self.0.clone();
        keys.push(key.to_owned());
        Path(keys)
    }

    /// These keys.
    pub fn keys(&self) -> &[String] {
        &self.0
    }

    /// Whether the keys are those of a pattern, in which `*` stands for any.
    pub fn is(&self, pattern: &str) -> bool {
        let mut parts = pattern.split('.');
        self.0
            .iter()
            .all(|key| parts.next().is_some_and(|part| part == "*" || part == key))
            && parts.next().is_none()
    }
}

impl From<&[&str]> for Path {
    fn from(keys: &[&str]) -> Path {
        Path(keys.iter().map(|key| (*key).to_owned()).collect())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

/// A value, and where it stands.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// Where it begins.
    pub mark: Mark,
    /// What a tag says of how it is merged.
    pub rule: Rule,
}

/// How a value goes with that of an earlier file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// As is usual for its key.
    Merge,
    /// It takes the earlier one away, and is none: `!reset`.
    Reset,
    /// It takes the earlier one's place: `!override`.
    Override,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing: `null`, `~`, or no word at all.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A text.
    Text(String),
    /// A date, or one with a time, that is in no quotes: nothing takes it.
    Time(String),
    /// A list.
    List(Vec<Node>),
    /// Keys with their values, in order.
    Map(Vec<(Key, Node)>),
}

/// A key, and where it stands.
#[derive(Debug, Clone)]
pub struct Key {
    /// The word.
    pub name: String,
    /// Where.
    pub mark: Mark,
}

impl PartialEq for Key {
    /// Where it stands makes no difference.
    fn eq(&self, other: &Key) -> bool {
        self.name == other.name
    }
}

impl Value {
    /// What it is called in an error.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Int(_) | Value::Float(_) => "a number",
            Value::Text(_) => "a string",
            Value::Time(_) => "a date, which has to be in quotes",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// The text that it is where a text is made of any scalar; none for what has parts.
    pub fn shown(&self) -> Option<String> {
        Some(match self {
            Value::Null => String::new(),
            Value::Bool(is) => is.to_string(),
            Value::Int(number) => number.to_string(),
            Value::Float(number) => super::scalar::float(*number),
            Value::Text(text) | Value::Time(text) => text.clone(),
            Value::List(_) | Value::Map(_) => return None,
        })
    }
}

impl PartialEq for Node {
    /// Where it stands makes no difference, nor does the order of keys.
    fn eq(&self, other: &Node) -> bool {
        match (&self.value, &other.value) {
            (Value::Map(own), Value::Map(others)) => {
                own.len() == others.len()
                    && own
                        .iter()
                        .all(|(key, node)| other.get(&key.name) == Some(node))
            }
            (own, others) => own == others,
        }
    }
}

impl Node {
    /// A value that stands where another does.
    pub fn new(value: Value, mark: &Mark) -> Node {
        Node {
            value,
            mark: mark.clone(),
            rule: Rule::Merge,
        }
    }

    /// A text that stands there.
    pub fn text(text: impl Into<String>, mark: &Mark) -> Node {
        Node::new(Value::Text(text.into()), mark)
    }

    /// A mapping of these that stands there.
    pub fn map(entries: Vec<(&str, Value)>, mark: &Mark) -> Node {
        let entries = entries.into_iter();
        let entries = entries.map(|(key, value)| (Key::new(key, mark), Node::new(value, mark)));
        Node::new(Value::Map(entries.collect()), mark)
    }

    /// The entries, if it is a mapping.
    pub fn entries(&self) -> &[(Key, Node)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The entries to be changed, if it is a mapping.
    pub fn entries_mut(&mut self) -> &mut [(Key, Node)] {
        match &mut self.value {
            Value::Map(entries) => entries,
            _ => &mut [],
        }
    }

    /// The items, if it is a list.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The items to be changed, if it is a list.
    pub fn items_mut(&mut self) -> &mut [Node] {
        match &mut self.value {
            Value::List(items) => items,
            _ => &mut [],
        }
    }

    /// What a key has.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let found = self.entries().iter().find(|(own, _)| own.name == key);
        found.map(|(_, node)| node)
    }

    /// What a key has, if it is not null.
    pub fn given(&self, key: &str) -> Option<&Node> {
        self.get(key).filter(|node| node.value != Value::Null)
    }

    /// What a key has, to be changed.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        let found = self.entries_mut().iter_mut();
        found
            .filter(|(own, _)| own.name == key)
            .map(|(_, node)| node)
            .next()
    }

    /// The text that it is.
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The text that a key has.
    pub fn text_of(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Node::as_text)
    }

    /// Gives a key a value, in the place of what it had.
    pub fn set(&mut self, key: &str, node: Node) {
        if let Some(own) = self.get_mut(key) {
            *own = node;
            return;
        }
        let mark = node.mark.clone();
        if let Value::Map(entries) = &mut self.value {
            entries.push((Key::new(key, &mark), node));
        }
    }

    /// Takes a key and what it has away.
    pub fn remove(&mut self, key: &str) -> Option<Node> {
        let Value::Map(entries) = &mut self.value else {
            return None;
        };
        let at = entries.iter().position(|(own, _)| own.name == key)?;
        Some(entries.remove(at).1)
    }

    /// A fault that is here.
    pub fn fault(&self, text: impl Into<String>) -> Fault {
        Fault::new(text).at(&self.mark)
    }
}

impl Key {
    /// A word that stands there.
    pub fn new(name: &str, mark: &Mark) -> Key {
        Key {
            name: name.to_owned(),
            mark: mark.clone(),
        }
    }
}
