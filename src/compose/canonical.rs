//! Short forms made long, so that there is one form of everything.

use super::node::{Key, Node, Path, Result, Value};
use super::{merge, mounts, ports};

/// Makes the forms of all that a file says long. What has variables that were not replaced
/// (`is_raw`) may stay as it is.
pub fn canonical(root: &mut Node, is_raw: bool) -> Result<()> {
    let path = Path::default();
    for (key, section) in root.entries_mut() {
        let path = path.to(&key.name);
        match key.name.as_str() {
            "services" => {
                for (name, node) in section.entries_mut() {
                    service(node, &path.to(&name.name), is_raw)?;
                }
            }
            "volumes" | "networks" | "secrets" | "configs" => {
                for (name, node) in section.entries_mut() {
                    external(node, &path.to(&name.name))?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn service(node: &mut Node, path: &Path, is_raw: bool) -> Result<()> {
    for (key, node) in node.entries_mut() {
        let path = &path.to(&key.name);
        match key.name.as_str() {
            "build" => {
                if node.as_text().is_some() {
                    let mark = node.mark.clone();
                    let context = std::mem::replace(node, Node::new(Value::Map(Vec::new()), &mark));
                    node.set("context", context);
                }
                for (key, node) in node.entries_mut() {
                    match key.name.as_str() {
                        "secrets" => files(node),
                        "additional_contexts" => contexts(node, &path.to(&key.name), is_raw)?,
                        "ssh" => keys(node, &path.to(&key.name))?,
                        _ => {}
                    }
                }
            }
            "depends_on" => {
                names(node, merge::dependency);
                for (_, node) in node.entries_mut() {
                    default(node, "condition", Value::Text("service_started".into()));
                    default(node, "required", Value::Bool(true));
                }
            }
            "networks" | "models" => names(node, |name| Node::new(Value::Null, &name.mark)),
            "env_file" => {
                listed(node);
                for item in node.items_mut() {
                    if item.as_text().is_some() {
                        let mark = item.mark.clone();
                        let file = std::mem::replace(item, Node::new(Value::Map(vec![]), &mark));
                        item.set("path", file);
                    }
                    default(item, "required", Value::Bool(true));
                }
            }
            "label_file" | "dns" => listed(node),
            "extends" if node.as_text().is_some() => {
                let mark = node.mark.clone();
                let name = std::mem::replace(node, Node::new(Value::Map(Vec::new()), &mark));
                node.set("service", name);
            }
            "gpus" if node.as_text().is_some() => {
                let all = Node::map(vec![("count", Value::Text("all".into()))], &node.mark);
                node.value = Value::List(vec![all]);
            }
            "volumes" => {
                for item in node.items_mut() {
                    if let Some(text) = item.as_text() {
                        match mounts::parse(text, &item.mark) {
                            Ok(long) => *item = long,
                            Err(_) if is_raw => {}
                            Err(text) => return Err(item.fault(text).of(path)),
                        }
                    }
                }
            }
            "devices" => {
                for item in node.items_mut() {
                    if let Some(text) = item.as_text().map(str::to_owned) {
                        device(item, &text, path, is_raw)?;
                    }
                }
            }
            "secrets" | "configs" => files(node),
            "ports" => published(node, path, is_raw)?,
            "develop" => {
                if let Some(watch) = node.get_mut("watch") {
                    for item in watch.items_mut() {
                        for key in ["ignore", "include"] {
                            item.get_mut(key).into_iter().for_each(listed);
                        }
                    }
                }
            }
            _ => {}
        }
        if key.name == "dns"
            && let Value::List(items) = &mut node.value
        {
            items.retain(|item| item.as_text() != Some(""));
        }
    }
    Ok(())
}

/// Gives a key a value if it has none.
fn default(node: &mut Node, key: &str, value: Value) {
    if node.get(key).is_none() {
        let value = Node::new(value, &node.mark);
        node.set(key, value);
    }
}

/// A string becomes a list of it.
fn listed(node: &mut Node) {
    if node.as_text().is_some() {
        let item = node.clone();
        node.value = Value::List(vec![item]);
    }
}

/// A list of names becomes a mapping of them.
fn names(node: &mut Node, value: impl Fn(&Node) -> Node) {
    let Value::List(items) = &node.value else {
        return;
    };
    let entries = items.iter().filter_map(|item| {
        let key = Key::new(item.as_text()?, &item.mark);
        Some((key, value(item)))
    });
    node.value = Value::Map(entries.collect());
}

/// Names of secrets and configs become mappings.
fn files(node: &mut Node) {
    for item in node.items_mut() {
        if item.as_text().is_some() {
            let mark = item.mark.clone();
            let source = std::mem::replace(item, Node::new(Value::Map(Vec::new()), &mark));
            item.set("source", source);
        }
    }
}

/// `NAME=PLACE` become a mapping.
fn contexts(node: &mut Node, path: &Path, is_raw: bool) -> Result<()> {
    let mut entries = Vec::new();
    for item in node.items() {
        let pair = item.as_text().and_then(|text| text.split_once('='));
        let Some((name, place)) = pair else {
            if is_raw {
                return Ok(());
            }
            return Err(item.fault("it has to be NAME=PLACE").of(path));
        };
        entries.push((Key::new(name, &item.mark), Node::text(place, &item.mark)));
    }
    if matches!(node.value, Value::List(_)) {
        node.value = Value::Map(entries);
    }
    Ok(())
}

/// Keys for ssh become a mapping.
fn keys(node: &mut Node, path: &Path) -> Result<()> {
    let mut entries = Vec::new();
    for item in node.items() {
        let text = item.as_text().unwrap_or_default();
        let value = match text.split_once('=') {
            Some((name, place)) => (name, Node::text(place, &item.mark)),
            None if text == "default" => (text, Node::new(Value::Null, &item.mark)),
            None => return Err(item.fault("it has to be default or NAME=PATH").of(path)),
        };
        entries.push((Key::new(value.0, &item.mark), value.1));
    }
    if matches!(node.value, Value::List(_)) {
        node.value = Value::Map(entries);
    }
    Ok(())
}

/// `SOURCE[:TARGET[:PERMISSIONS]]` becomes a mapping.
fn device(node: &mut Node, text: &str, path: &Path, is_raw: bool) -> Result<()> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, permissions) = match parts[..] {
        [source] => (source, source, "rwm"),
        [source, target] => (source, target, "rwm"),
        [source, target, permissions] => (source, target, permissions),
        _ if is_raw => return Ok(()),
        _ => {
            let text = "it has too many colons: SOURCE:TARGET:PERMISSIONS is the form";
            return Err(node.fault(text).of(path));
        }
    };
    let target = if target.is_empty() { source } else { target };
    let texts = [
        ("source", source),
        ("target", target),
        ("permissions", permissions),
    ];
    let entries = texts.map(|(key, text)| (key, Value::Text(text.to_owned())));
    *node = Node::map(entries.to_vec(), &node.mark);
    Ok(())
}

/// Ports become mappings, one for each of a range.
fn published(node: &mut Node, path: &Path, is_raw: bool) -> Result<()> {
    let Value::List(items) = &mut node.value else {
        return Ok(());
    };
    let mut all = Vec::new();
    for item in items.drain(..) {
        let text = match &item.value {
            Value::Text(text) => text.clone(),
            Value::Int(number) => number.to_string(),
            _ => {
                all.push(item);
                continue;
            }
        };
        match ports::parse(&text, &item.mark) {
            Ok(long) => all.extend(long),
            Err(_) if is_raw => all.push(item),
            Err(text) => return Err(item.fault(text).of(path)),
        }
    }
    *items = all;
    Ok(())
}

/// `external: {name: x}` becomes `external: true` and `name: x`.
fn external(node: &mut Node, path: &Path) -> Result<()> {
    let Some(external) = node.get_mut("external") else {
        return Ok(());
    };
    if !matches!(external.value, Value::Map(_)) {
        return Ok(());
    }
    let mark = external.mark.clone();
    let inner = std::mem::replace(external, Node::new(Value::Bool(true), &mark));
    let Some(name) = inner.get("name").cloned() else {
        return Ok(());
    };
    match node.get("name") {
        Some(own) if *own != name => {
            let text = "name and external.name differ: name alone is enough";
            Err(name.fault(text).of(path))
        }
        _ => {
            node.set("name", name);
            Ok(())
        }
    }
}

/// What is meant where nothing is said.
pub fn defaults(root: &mut Node) {
    let Some(services) = root.get_mut("services") else {
        return;
    };
    for (_, service) in services.entries_mut() {
        if let Some(build) = service.get_mut("build") {
            default(build, "context", Value::Text(".".into()));
        }
        for secret in service
            .get_mut("secrets")
            .into_iter()
            .flat_map(Node::items_mut)
        {
            let source = secret.text_of("source").unwrap_or_default();
            let target = format!("/run/secrets/{source}");
            default(secret, "target", Value::Text(target));
        }
        for port in service
            .get_mut("ports")
            .into_iter()
            .flat_map(Node::items_mut)
        {
            default(port, "protocol", Value::Text("tcp".into()));
            default(port, "mode", Value::Text("ingress".into()));
        }
        for device in service
            .get_mut("gpus")
            .into_iter()
            .flat_map(Node::items_mut)
        {
            count(device);
        }
        let reserved = ["resources", "reservations", "devices"];
        let devices = reserved
            .iter()
            .fold(service.get_mut("deploy"), |node, key| node?.get_mut(key));
        devices
            .into_iter()
            .flat_map(Node::items_mut)
            .for_each(count);
    }
}

/// All devices, if it is not said how many or which.
fn count(device: &mut Node) {
    if device.get("device_ids").is_none() {
        default(device, "count", Value::Text("all".into()));
    }
}
