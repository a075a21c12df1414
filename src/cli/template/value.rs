//! What templates compute with: JSON, with what docker's Go knows of its types
//! and JSON does not tell.

use serde_json::{Map, Value};
use std::rc::Rc;

/// A value.
#[derive(Debug, Clone)]
pub enum Item<'a> {
    /// What a map has no entry for: `<no value>`.
    Missing,
    /// `nil`.
    Nil,
    /// There is nothing in a field: `null` in JSON.
    Empty(Empty),
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(Text<'a>),
    List(&'a [Value], Shape<'a>),
    /// A list that a function made.
    Words(Rc<[String]>),
    Object(&'a Map<String, Value>, Shape<'a>),
}

/// What there is nothing of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Empty {
    List,
    Map,
    Pointer,
    Text,
}

/// Text of the data or of the template, or made of such.
#[derive(Debug, Clone)]
pub enum Text<'a> {
    Of(&'a str),
    Made(Rc<str>),
}

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Text::Of(text) => text,
            Text::Made(text) => text,
        }
    }
}

impl<'a> From<&'a str> for Item<'a> {
    fn from(text: &'a str) -> Item<'a> {
        Item::Text(Text::Of(text))
    }
}

impl From<String> for Item<'_> {
    fn from(text: String) -> Self {
        Item::Text(Text::Made(text.into()))
    }
}

/// Where a value comes from, which tells what it is in docker's Go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shape<'a> {
    /// The field in which it is.
    name: &'a str,
    /// The field in which that one's object is.
    parent: &'a str,
    /// It is an element of what is in that field.
    inner: bool,
}

/// The fields that are maps, whose keys are somebody's choice, and what Go has
/// for a key that there is not.
const MAPS: &[(&str, Absent)] = &[
    ("Annotations", Absent::Text),
    ("Attributes", Absent::Text),
    ("AuxiliaryAddresses", Absent::Text),
    ("CgroupConf", Absent::Text),
    ("Containers", Absent::Struct),
    ("Data", Absent::Text),
    ("Details", Absent::Text),
    ("DriverOpts", Absent::Text),
    ("ExposedPorts", Absent::Struct),
    ("Labels", Absent::Text),
    ("Networks", Absent::Pointer),
    ("Options", Absent::Text),
    ("PortBindings", Absent::List),
    ("Ports", Absent::List),
    ("Runtimes", Absent::Struct),
    ("StorageOpt", Absent::Text),
    ("Sysctls", Absent::Text),
    ("Tmpfs", Absent::Text),
    ("Volumes", Absent::Struct),
];

/// Pointers, which print as `<nil>` where they lead nowhere.
const POINTERS: &[&str] = &[
    "GraphDriver",
    "Health",
    "Healthcheck",
    "IPAMConfig",
    "Init",
    "MemorySwappiness",
    "OomKillDisable",
    "PidsLimit",
    "Platform",
    "SizeRootFs",
    "SizeRw",
    "Status",
    "StopTimeout",
    "UsageData",
];

/// Lists that docker has `null` for where there are none.
const LISTS: &[&str] = &[
    "Aliases",
    "Args",
    "Binds",
    "BlkioDeviceReadBps",
    "BlkioDeviceReadIOps",
    "BlkioDeviceWriteBps",
    "BlkioDeviceWriteIOps",
    "BlkioWeightDevice",
    "BoundingCaps",
    "CapAdd",
    "CapDrop",
    "Cmd",
    "CreateCommand",
    "DNSNames",
    "DeviceCgroupRules",
    "DeviceRequests",
    "Devices",
    "Dns",
    "DnsOptions",
    "DnsSearch",
    "EffectiveCaps",
    "Entrypoint",
    "Env",
    "ExecIDs",
    "ExtraHosts",
    "GroupAdd",
    "Links",
    "MaskedPaths",
    "Mounts",
    "OnBuild",
    "ReadonlyPaths",
    "RepoDigests",
    "RepoTags",
    "SecondaryIPAddresses",
    "SecondaryIPv6Addresses",
    "SecurityOpt",
    "Shell",
    "Tags",
    "Ulimits",
    "VolumesFrom",
    "Warnings",
];

/// What an image's configuration may leave out.
const CONFIG: &[&str] = &[
    "Cmd",
    "Domainname",
    "Entrypoint",
    "Env",
    "ExposedPorts",
    "Hostname",
    "Labels",
    "OnBuild",
    "Shell",
    "StopSignal",
    "User",
    "Volumes",
    "WorkingDir",
];

/// The order in which Go prints fields, where it is not that of their names.
const ORDERS: &[(&str, &[&str])] = &[
    ("RestartPolicy", &["Name", "MaximumRetryCount"]),
    ("LogConfig", &["Type", "Config"]),
    ("RootFS", &["Type", "Layers"]),
    ("GraphDriver", &["Data", "Name"]),
    (
        "Mounts",
        &[
            "Type",
            "Name",
            "Source",
            "Destination",
            "Driver",
            "Mode",
            "RW",
            "Propagation",
        ],
    ),
];

#[derive(Debug, Clone, Copy)]
enum Absent {
    Text,
    List,
    Pointer,
    Struct,
}

impl<'a> Shape<'a> {
    /// Of a field of an object.
    fn field(self, name: &'a str) -> Shape<'a> {
        Shape {
            name,
            parent: self.name,
            inner: false,
        }
    }

    /// Of an element.
    fn element(self) -> Shape<'a> {
        Shape {
            inner: true,
            ..self
        }
    }

    fn map(self) -> Option<Absent> {
        match self.inner {
            true => None,
            false => self.of_elements(),
        }
    }

    /// What a map of this name has elements of.
    fn of_elements(self) -> Option<Absent> {
        // The options of a log's driver have a container's word for all it is.
        if (self.parent, self.name) == ("LogConfig", "Config") {
            return Some(Absent::Text);
        }
        let found = MAPS.iter().find(|(name, _)| *name == self.name);
        found.map(|(_, absent)| *absent)
    }

    fn is_map(self) -> bool {
        self.map().is_some()
    }

    fn order(self) -> Option<&'static [&'static str]> {
        let found = ORDERS.iter().find(|(name, _)| *name == self.name);
        found.map(|(_, order)| *order)
    }

    fn empty(self) -> Empty {
        match self {
            _ if self.inner => match self.of_elements() {
                Some(Absent::List) => Empty::List,
                _ => Empty::Pointer,
            },
            _ if self.is_map() => Empty::Map,
            _ if POINTERS.contains(&self.name) => Empty::Pointer,
            _ if LISTS.contains(&self.name) => Empty::List,
            _ => Empty::Text,
        }
    }
}

impl<'a> Item<'a> {
    /// A whole value.
    pub fn root(value: &'a Value) -> Item<'a> {
        Item::of(value, Shape::default())
    }

    fn of(value: &'a Value, shape: Shape<'a>) -> Item<'a> {
        match value {
            Value::Null => Item::Empty(shape.empty()),
            Value::Bool(value) => Item::Bool(*value),
            Value::Number(number) => match number.as_i128() {
                Some(number) => Item::Int(number),
                None => Item::Float(number.as_f64().unwrap_or(0.0)),
            },
            Value::String(text) => text.as_str().into(),
            Value::Array(list) => Item::List(list, shape),
            Value::Object(map) => Item::Object(map, shape),
        }
    }

    /// The field of that name.
    ///
    /// # Errors
    /// There is none, and it is no map either.
    pub fn field(&self, name: &'a str) -> Result<Item<'a>, String> {
        match self {
            Item::Object(map, shape) if shape.is_map() => Ok(match map.get(name) {
                Some(value) => Item::of(value, shape.element()),
                None => Item::Missing,
            }),
            Item::Object(map, shape) => {
                // Where JSON has it in other letters than Go, as `Id` for `ID`.
                let found = map.get_key_value(name).or_else(|| {
                    let mut all = map.iter();
                    let capital = name.starts_with(char::is_uppercase);
                    all.find(|(key, _)| capital && key.eq_ignore_ascii_case(name))
                });
                match found {
                    Some((key, value)) => Ok(Item::of(value, shape.field(key))),
                    // Docker's JSON has some only where there is something.
                    None if POINTERS.contains(&name) => Ok(Item::Empty(Empty::Pointer)),
                    None if shape.name == "Config" && CONFIG.contains(&name) => {
                        Ok(Item::Empty(shape.field(name).empty()))
                    }
                    None => {
                        let known: Vec<&str> = map.keys().map(String::as_str).collect();
                        Err(format!(
                            "there is no field {name}, only {}",
                            known.join(", ")
                        ))
                    }
                }
            }
            Item::Missing => Ok(Item::Missing),
            Item::Nil => Err("nil has no fields".to_owned()),
            // What is not there has nothing in it.
            Item::Empty(_) => Ok(Item::Empty(Empty::Text)),
            other => Err(format!("{} has no field {name}", other.kind())),
        }
    }

    /// What an element of a list or a map is.
    ///
    /// # Errors
    /// It has no such elements.
    pub fn index(&self, key: &Item<'a>) -> Result<Item<'a>, String> {
        match (self, key) {
            (Item::Object(map, shape), Item::Text(key)) => {
                Ok(match (map.get(&**key), shape.map()) {
                    (Some(value), Some(_)) => Item::of(value, shape.element()),
                    (Some(value), None) => Item::of(value, shape.field("")),
                    (None, Some(Absent::Text)) => "".into(),
                    (None, Some(Absent::List)) => Item::Empty(Empty::List),
                    (None, Some(Absent::Struct)) => Item::Empty(Empty::Map),
                    (None, Some(Absent::Pointer)) => Item::Empty(Empty::Pointer),
                    (None, None) => Item::Missing,
                })
            }
            (Item::Empty(Empty::Map | Empty::Text), Item::Text(_)) => Ok("".into()),
            (Item::Empty(Empty::Pointer), _) => Ok(Item::Empty(Empty::Text)),
            (
                Item::List(..) | Item::Words(_) | Item::Text(_) | Item::Empty(Empty::List),
                Item::Int(at),
            ) => {
                let length = self.len()?;
                let found = usize::try_from(*at).ok().filter(|at| *at < length);
                let at = found.ok_or_else(|| {
                    format!("there is no element {at}: it has {length}, counted from 0")
                })?;
                Ok(match self {
                    Item::List(list, shape) => Item::of(&list[at], shape.element()),
                    Item::Words(words) => words[at].clone().into(),
                    Item::Text(text) => Item::Int(text.as_bytes()[at].into()),
                    _ => Item::Missing,
                })
            }
            (Item::Missing | Item::Nil, _) => Err("there is nothing to index".to_owned()),
            (of, key) => Err(format!("{} is not indexed by {}", of.kind(), key.kind())),
        }
    }

    /// How much is in it: bytes of text, or elements.
    ///
    /// # Errors
    /// There is no such thing of it.
    pub fn len(&self) -> Result<usize, String> {
        match self {
            Item::Text(text) => Ok(text.len()),
            Item::List(list, _) => Ok(list.len()),
            Item::Words(words) => Ok(words.len()),
            Item::Object(map, _) => Ok(map.len()),
            Item::Empty(Empty::List | Empty::Map | Empty::Text) => Ok(0),
            other => Err(format!("{} has no length", other.kind())),
        }
    }

    /// The elements of a list or a map, with their keys.
    ///
    /// # Errors
    /// It has none.
    pub fn elements(&self) -> Result<Vec<(Item<'a>, Item<'a>)>, String> {
        let number = |(index, value)| (Item::Int(index as i128), value);
        match self {
            Item::List(list, shape) => {
                let values = list.iter().map(|value| Item::of(value, shape.element()));
                Ok(values.enumerate().map(number).collect())
            }
            Item::Words(words) => {
                let values = words.iter().map(|word| word.clone().into());
                Ok(values.enumerate().map(number).collect())
            }
            Item::Object(map, shape) => {
                let values = map.iter();
                let pair = |(key, value): (&'a String, &'a Value)| {
                    let shape = match shape.is_map() {
                        true => shape.element(),
                        false => shape.field(key),
                    };
                    (key.as_str().into(), Item::of(value, shape))
                };
                Ok(values.map(pair).collect())
            }
            Item::Missing | Item::Empty(_) => Ok(Vec::new()),
            other => Err(format!("{} has no elements", other.kind())),
        }
    }

    /// Whether it counts as true.
    pub fn truth(&self) -> bool {
        match self {
            Item::Missing | Item::Nil | Item::Empty(_) => false,
            Item::Bool(value) => *value,
            Item::Int(number) => *number != 0,
            Item::Float(number) => *number != 0.0,
            Item::Text(text) => !text.is_empty(),
            Item::List(list, _) => !list.is_empty(),
            Item::Words(words) => !words.is_empty(),
            Item::Object(map, shape) => !shape.is_map() || !map.is_empty(),
        }
    }

    /// What it is, for errors.
    pub fn kind(&self) -> &'static str {
        match self {
            Item::Missing => "what is missing",
            Item::Nil | Item::Empty(Empty::Pointer) => "nil",
            Item::Empty(Empty::Text) => "what is empty",
            Item::Bool(_) => "a truth value",
            Item::Int(_) => "a number",
            Item::Float(_) => "a fraction",
            Item::Text(_) => "text",
            Item::List(..) | Item::Words(_) | Item::Empty(Empty::List) => "a list",
            Item::Object(_, shape) if !shape.is_map() => "an object",
            Item::Object(..) | Item::Empty(Empty::Map) => "a map",
        }
    }

    /// As JSON.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        match self {
            Item::Missing | Item::Nil | Item::Empty(_) => Ok("null".to_owned()),
            Item::Bool(value) => serde_json::to_string(value),
            Item::Int(number) => Ok(number.to_string()),
            Item::Float(number) => serde_json::to_string(number),
            Item::Text(text) => serde_json::to_string(&**text),
            Item::List(list, _) => serde_json::to_string(list),
            Item::Words(words) => serde_json::to_string(&**words),
            Item::Object(map, _) => serde_json::to_string(map),
        }
    }

    /// Appends it as Go prints it by itself.
    pub fn show(&self, out: &mut String) {
        match self {
            Item::Missing | Item::Nil => out.push_str("<no value>"),
            other => other.print(out, &|text, out| out.push_str(text)),
        }
    }

    /// Appends it as Go prints what is in something else; `text` says how text is.
    pub fn print(&self, out: &mut String, text: &dyn Fn(&str, &mut String)) {
        match self {
            Item::Missing | Item::Nil | Item::Empty(Empty::Pointer) => out.push_str("<nil>"),
            Item::Empty(Empty::List) => out.push_str("[]"),
            Item::Empty(Empty::Map) => out.push_str("map[]"),
            Item::Empty(Empty::Text) => text("", out),
            Item::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Item::Int(number) => out.push_str(&number.to_string()),
            Item::Float(number) => out.push_str(&super::printf::shortest(*number)),
            Item::Text(word) => text(word, out),
            Item::List(..) | Item::Words(_) => {
                let elements = self.elements().unwrap_or_default();
                let values = elements.into_iter().map(|(_, value)| value);
                series(out, ("[", "]"), values, |value, out| value.print(out, text));
            }
            Item::Object(map, shape) if shape.is_map() => {
                let entries = map.iter();
                series(out, ("map[", "]"), entries, |(key, value), out| {
                    text(key, out);
                    out.push(':');
                    Item::of(value, shape.element()).print(out, text);
                });
            }
            Item::Object(map, shape) => {
                let known = shape.order().unwrap_or_default();
                let ordered = known.iter().map(|key| (*key, map.get(*key)));
                let others = map.iter().map(|(key, value)| (key.as_str(), Some(value)));
                let others = others.filter(|(key, _)| !known.contains(key));
                let all = ordered.chain(others);
                series(out, ("{", "}"), all, |(key, value), out| match value {
                    Some(value) => Item::of(value, shape.field(key)).print(out, text),
                    None => text("", out),
                });
            }
        }
    }
}

fn series<T>(
    out: &mut String,
    (open, close): (&str, &str),
    all: impl Iterator<Item = T>,
    mut print: impl FnMut(T, &mut String),
) {
    out.push_str(open);
    for (index, one) in all.enumerate() {
        if index > 0 {
            out.push(' ');
        }
        print(one, out);
    }
    out.push_str(close);
}
