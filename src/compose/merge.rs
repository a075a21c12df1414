//! How what a file says goes over what an earlier one has said.

use super::node::{Node, Path, Result, Value};

/// How two values of a key become one.
#[derive(Clone, Copy)]
enum How {
    /// The later one alone.
    Replace,
    /// As lists, one behind the other; mappings as lists of `KEY=VALUE`.
    Append,
    /// The same without what is there already.
    AppendNew,
    /// As mappings by name, of which lists are short forms.
    Names(Default),
    /// As mappings, if both have the same driver.
    Logging,
    /// As mappings; a string is the context.
    Build,
    /// By subnet.
    Pools,
}

/// What a name of a list has as a mapping.
#[derive(Clone, Copy)]
enum Default {
    Null,
    Dependency,
}

/// The keys that do not go the usual way: mappings merge, lists append, later scalars win.
const SPECIAL: &[(&str, How)] = &[
    ("networks.*.ipam.config", How::Pools),
    ("networks.*.labels", How::Append),
    ("volumes.*.labels", How::Append),
    ("services.*.annotations", How::Append),
    ("services.*.build", How::Build),
    ("services.*.build.args", How::Append),
    ("services.*.build.additional_contexts", How::Append),
    ("services.*.build.extra_hosts", How::AppendNew),
    ("services.*.build.labels", How::Append),
    ("services.*.command", How::Replace),
    ("services.*.depends_on", How::Names(Default::Dependency)),
    ("services.*.deploy.labels", How::Append),
    ("services.*.dns", How::Append),
    ("services.*.dns_opt", How::Append),
    ("services.*.dns_search", How::Append),
    ("services.*.entrypoint", How::Replace),
    ("services.*.env_file", How::Append),
    ("services.*.label_file", How::Append),
    ("services.*.environment", How::Append),
    ("services.*.extra_hosts", How::AppendNew),
    ("services.*.healthcheck.test", How::Replace),
    ("services.*.labels", How::Append),
    ("services.*.volumes.*.volume.labels", How::Append),
    ("services.*.logging", How::Logging),
    ("services.*.models", How::Names(Default::Null)),
    ("services.*.networks", How::Names(Default::Null)),
    ("services.*.sysctls", How::Append),
    ("services.*.tmpfs", How::Append),
    ("services.*.ulimits.*", How::Replace),
];

/// Lists in which an entry takes the place of an earlier one with the same key.
const UNIQUE: &[(&str, By)] = &[
    ("networks.*.labels", By::Name),
    ("networks.*.ipam.options", By::Name),
    ("services.*.annotations", By::Name),
    ("services.*.build.args", By::Name),
    ("services.*.build.additional_contexts", By::Name),
    ("services.*.build.tags", By::Name),
    ("services.*.build.labels", By::Name),
    ("services.*.cap_add", By::Name),
    ("services.*.cap_drop", By::Name),
    ("services.*.devices", By::DeviceTarget),
    ("services.*.configs", By::FileTarget("")),
    ("services.*.deploy.labels", By::Name),
    ("services.*.dns", By::Name),
    ("services.*.dns_opt", By::Name),
    ("services.*.dns_search", By::Name),
    ("services.*.environment", By::Name),
    ("services.*.env_file", By::Path),
    ("services.*.expose", By::Shown),
    ("services.*.labels", By::Name),
    ("services.*.links", By::Name),
    ("services.*.networks.*.aliases", By::Name),
    ("services.*.networks.*.link_local_ips", By::Name),
    ("services.*.ports", By::Port),
    ("services.*.profiles", By::Name),
    ("services.*.secrets", By::FileTarget("/run/secrets")),
    ("services.*.sysctls", By::Name),
    ("services.*.tmpfs", By::Name),
    ("services.*.volumes", By::MountTarget),
];

/// What entries of a list are known by.
#[derive(Clone, Copy)]
enum By {
    /// What is before the `=`.
    Name,
    /// The text that it is.
    Shown,
    /// The path of a file of variables.
    Path,
    /// Where in the container a device is.
    DeviceTarget,
    /// Where in the container a file is, by default below this directory.
    FileTarget(&'static str),
    /// Where in the container something is mounted.
    MountTarget,
    /// Address, ports and protocol.
    Port,
}

/// The tree that is made of two, of which the later one has the last word.
pub fn merge(earlier: Node, later: Node, path: &Path) -> Result<Node> {
    let special = SPECIAL.iter().find(|(pattern, _)| path.is(pattern));
    if let Some((_, how)) = special {
        return specially(earlier, later, path, *how);
    }
    if later.value == Value::Null {
        return Ok(earlier);
    }
    let mark = later.mark.clone();
    match (earlier.value, later.value) {
        (Value::Map(own), Value::Map(others)) => mappings(own, others, path, mark),
        (Value::List(mut own), Value::List(others)) => {
            own.extend(others);
            Ok(Node::new(Value::List(own), &mark))
        }
        (Value::Map(_) | Value::List(_), other) => {
            let text = format!(
                "{} cannot go over what an earlier file has there",
                other.kind()
            );
            Err(Node::new(other, &mark).fault(text).of(path))
        }
        (_, other) => Ok(Node::new(other, &mark)),
    }
}

type Entries = Vec<(super::node::Key, Node)>;

fn mappings(own: Entries, others: Entries, path: &Path, mark: super::node::Mark) -> Result<Node> {
    let mut merged = Node::new(Value::Map(own), &mark);
    for (key, node) in others {
        let earlier = match merged.get_mut(&key.name) {
            Some(earlier) => std::mem::replace(earlier, Node::new(Value::Null, &mark)),
            None => {
                if let Value::Map(entries) = &mut merged.value {
                    entries.push((key, node));
                }
                continue;
            }
        };
        let node = merge(earlier, node, &path.to(&key.name))?;
        merged.set(&key.name, node);
    }
    Ok(merged)
}

fn specially(earlier: Node, later: Node, path: &Path, how: How) -> Result<Node> {
    let mark = later.mark.clone();
    match how {
        How::Replace => Ok(later),
        How::Append => {
            let mut all = sequence(earlier, path)?;
            all.extend(sequence(later, path)?);
            Ok(Node::new(Value::List(all), &mark))
        }
        How::AppendNew => {
            let mut all = sequence(earlier, path)?;
            for node in sequence(later, path)? {
                if !all.contains(&node) {
                    all.push(node);
                }
            }
            Ok(Node::new(Value::List(all), &mark))
        }
        How::Names(default) => {
            let own = by_name(earlier, default, path)?;
            let others = by_name(later, default, path)?;
            mappings(own, others, path, mark)
        }
        How::Logging => {
            let driver = |node: &Node| node.text_of("driver").map(str::to_owned);
            let is_other = match (driver(&earlier), driver(&later)) {
                (Some(own), Some(other)) => own != other,
                _ => false,
            };
            match (earlier.value, later.value) {
                (_, later) if is_other => Ok(Node::new(later, &mark)),
                (Value::Map(own), Value::Map(others)) => mappings(own, others, path, mark),
                (earlier, Value::Null) => Ok(Node::new(earlier, &mark)),
                (_, later) => Ok(Node::new(later, &mark)),
            }
        }
        How::Build => {
            let entries = |node: Node| match node.value {
                Value::Text(_) => {
                    let mark = node.mark.clone();
                    vec![(super::node::Key::new("context", &mark), node)]
                }
                Value::Map(entries) => entries,
                _ => Vec::new(),
            };
            mappings(entries(earlier), entries(later), path, mark)
        }
        How::Pools => {
            let (Value::List(own), Value::List(others)) = (earlier.value, later.value) else {
                let text = "it has to be a list";
                return Err(super::node::Fault::new(text).at(&mark).of(path));
            };
            pools(own, others, path, mark)
        }
    }
}

/// The ranges of a network's addresses, of which each subnet has one entry.
fn pools(own: Vec<Node>, others: Vec<Node>, path: &Path, mark: super::node::Mark) -> Result<Node> {
    let mut all: Vec<Node> = Vec::new();
    let place = |all: &[Node], node: &Node| {
        let subnet = node.get("subnet").cloned();
        all.iter()
            .position(|other| other.get("subnet").cloned() == subnet)
    };
    for pool in own {
        let mut pool = pool;
        for other in &others {
            if other.get("subnet") != pool.get("subnet") && place(&all, other).is_none() {
                all.push(other.clone());
                continue;
            }
            if let (Value::Map(own), Value::Map(others)) = (&pool.value, &other.value) {
                pool = mappings(own.clone(), others.clone(), path, mark.clone())?;
            }
            match place(&all, &pool) {
                Some(at) => all[at] = pool.clone(),
                None => all.push(pool.clone()),
            }
        }
    }
    Ok(Node::new(Value::List(all), &mark))
}

/// A value as a list.
fn sequence(node: Node, path: &Path) -> Result<Vec<Node>> {
    let mut all = Vec::new();
    match node.value {
        Value::List(items) => return Ok(items),
        Value::Text(_) => all.push(node),
        Value::Map(entries) => {
            for (key, value) in entries {
                let name = &key.name;
                let values = match value.value {
                    Value::List(items) => items,
                    _ => vec![value],
                };
                for value in values {
                    let text = match value.value.shown() {
                        _ if value.value == Value::Null => name.clone(),
                        _ if matches!(value.value, Value::Time(_)) => {
                            let text = "a date has to be in quotes";
                            return Err(value.fault(text).of(&path.to(name)));
                        }
                        Some(text) => format!("{name}={text}"),
                        None => {
                            let text = format!("it cannot be {}", value.value.kind());
                            return Err(value.fault(text).of(&path.to(name)));
                        }
                    };
                    all.push(Node::text(text, &value.mark));
                }
            }
            all.sort_by(|a, b| a.as_text().cmp(&b.as_text()));
        }
        _ => {}
    }
    Ok(all)
}

/// A value as a mapping by name.
fn by_name(node: Node, default: Default, path: &Path) -> Result<Entries> {
    let items = match node.value {
        Value::Map(entries) => return Ok(entries),
        Value::List(items) => items,
        _ => return Ok(Vec::new()),
    };
    let named = items.into_iter().map(|item| {
        let Some(name) = item.as_text() else {
            let text = format!("it has to be a string, and is {}", item.value.kind());
            return Err(item.fault(text).of(path));
        };
        let key = super::node::Key::new(name, &item.mark);
        let value = match default {
            Default::Null => Node::new(Value::Null, &item.mark),
            Default::Dependency => dependency(&item),
        };
        Ok((key, value))
    });
    named.collect()
}

/// What a dependency of which only the name is said is.
pub fn dependency(node: &Node) -> Node {
    let entries = vec![
        ("condition", Value::Text("service_started".into())),
        ("required", Value::Bool(true)),
    ];
    Node::map(entries, &node.mark)
}

/// Leaves of entries with the same key the last one, at the first one's place.
pub fn unify(node: &mut Node, path: &Path) -> Result<()> {
    if let Value::Map(entries) = &mut node.value {
        for (key, node) in entries {
            unify(node, &path.to(&key.name))?;
        }
        return Ok(());
    }
    let Some((_, by)) = UNIQUE.iter().find(|(pattern, _)| path.is(pattern)) else {
        return Ok(());
    };
    let Value::List(items) = &mut node.value else {
        return Ok(());
    };
    let mut places = std::collections::HashMap::new();
    let mut unique: Vec<Node> = Vec::new();
    for item in items.drain(..) {
        let name = known_by(&item, *by, path)?;
        match places.get(&name) {
            Some(&at) => unique[at] = item,
            None => {
                places.insert(name, unique.len());
                unique.push(item);
            }
        }
    }
    *items = unique;
    Ok(())
}

/// What an entry is known by.
fn known_by(node: &Node, by: By, path: &Path) -> Result<String> {
    let of = |key: &str| node.get(key).and_then(|node| node.value.shown());
    let missing = |what: &str| node.fault(format!("the key {what} is missing")).of(path);
    let text = match &node.value {
        Value::Map(_) => None,
        Value::List(_) => {
            let text = "it has to be a string, and is a list";
            return Err(node.fault(text).of(path));
        }
        _ => node.value.shown(),
    };
    Ok(match (by, text) {
        (By::Name, Some(text)) => {
            if !matches!(node.value, Value::Text(_)) {
                let text = format!("it has to be a string, and is {}", node.value.kind());
                return Err(node.fault(text).of(path));
            }
            let name = text.split('=').next();
            name.unwrap_or_default().to_owned()
        }
        (By::Name | By::Shown, None) => {
            let text = "it has to be a string, and is a mapping";
            return Err(node.fault(text).of(path));
        }
        (By::Shown | By::Path | By::Port, Some(text)) => text,
        (By::Path, None) => of("path").ok_or_else(|| missing("path"))?,
        (By::DeviceTarget, Some(text)) => {
            let mut parts = text.split(':');
            let source = parts.next().unwrap_or_default().to_owned();
            parts.next().map_or(source, str::to_owned)
        }
        (By::DeviceTarget | By::MountTarget, None) => {
            of("target").ok_or_else(|| missing("target"))?
        }
        (By::FileTarget(below), Some(text)) => format!("{below}/{text}"),
        (By::FileTarget(below), None) => {
            of("target").unwrap_or_else(|| format!("{below}/{}", of("source").unwrap_or_default()))
        }
        (By::MountTarget, Some(text)) => super::mounts::target(&text),
        (By::Port, None) => format!(
            "{}:{}:{}/{}",
            of("host_ip").unwrap_or_else(|| "0.0.0.0".into()),
            of("published").unwrap_or_default(),
            of("target").ok_or_else(|| missing("target"))?,
            of("protocol").unwrap_or_else(|| "tcp".into()),
        ),
    })
}
