//! What is meant without being said: networks, names, dependencies.

use super::load::Environment;
use super::merge::dependency;
use super::mounts::clean;
use super::node::{Key, Node, Value};

/// Adds to a tree what follows from what it says.
pub fn normalize(root: &mut Node, name: &str, environment: &Environment) {
    let mark = root.mark.clone();
    let mut uses_default = false;
    for (_, node) in root
        .get_mut("services")
        .into_iter()
        .flat_map(Node::entries_mut)
    {
        uses_default |= service(node, environment);
    }
    if uses_default {
        if root.given("networks").is_none() {
            root.set("networks", Node::new(Value::Map(Vec::new()), &mark));
        }
        let networks = root.get_mut("networks");
        if let Some(networks) = networks.filter(|networks| networks.get("default").is_none()) {
            networks.set("default", Node::new(Value::Null, &mark));
        }
    }
    for section in ["networks", "volumes", "configs", "secrets"] {
        let objects = root
            .get_mut(section)
            .into_iter()
            .flat_map(Node::entries_mut);
        for (key, object) in objects {
            if object.value == Value::Null {
                object.value = Value::Map(Vec::new());
            }
            if object.given("name").is_none() {
                let is_external = object.get("external").is_some_and(|external| {
                    external.value == Value::Bool(true) || external.as_text() == Some("true")
                });
                let full = match is_external {
                    true => key.name.clone(),
                    false => format!("{name}_{}", key.name),
                };
                object.set("name", Node::text(full, &key.mark));
            }
        }
    }
}

/// The same for a service; whether it is on the network `default`.
fn service(service: &mut Node, environment: &Environment) -> bool {
    let mark = service.mark.clone();
    if service.text_of("pull_policy") == Some("if_not_present") {
        service.set("pull_policy", Node::text("missing", &mark));
    }
    if let Some(build) = service.get_mut("build") {
        if build.get("dockerfile").is_none() && build.get("dockerfile_inline").is_none() {
            build.set("dockerfile", Node::text("Dockerfile", &mark));
        }
        if let Some(arguments) = build.get_mut("args") {
            resolve(arguments, environment, false);
        }
    }
    if let Some(variables) = service.get_mut("environment") {
        resolve(variables, environment, true);
    }
    for mount in service
        .get_mut("volumes")
        .into_iter()
        .flat_map(Node::items_mut)
    {
        if let Some(Value::Text(target)) = mount.get_mut("target").map(|node| &mut node.value) {
            *target = clean(target);
        }
    }
    depend(service);
    if service.get("provider").is_some() || service.get("network_mode").is_some() {
        return false;
    }
    let own = service
        .get("networks")
        .map(Node::entries)
        .unwrap_or_default();
    if own.is_empty() {
        let entry = (Key::new("default", &mark), Node::new(Value::Null, &mark));
        service.set("networks", Node::new(Value::Map(vec![entry]), &mark));
        return true;
    }
    own.iter().any(|(key, _)| key.name == "default")
}

/// Adds the dependencies that follow from other keys.
fn depend(service: &mut Node) {
    let mut wanted: Vec<(String, bool)> = Vec::new();
    let texts = |key: &str| {
        let items = service.get(key).map(Node::items).unwrap_or_default();
        items.iter().filter_map(Node::as_text)
    };
    let before = |text: &str| text.split(':').next().unwrap_or_default().to_owned();
    wanted.extend(texts("links").map(|link| (before(link), true)));
    for key in ["network_mode", "ipc", "pid", "uts", "cgroup"] {
        let shared = service
            .text_of(key)
            .and_then(|text| text.strip_prefix("service:"));
        wanted.extend(shared.map(|name| (name.to_owned(), true)));
    }
    let others = texts("volumes_from").filter(|text| !text.starts_with("container:"));
    wanted.extend(others.map(|other| (before(other), false)));
    if wanted.is_empty() {
        return;
    }
    let mark = service.mark.clone();
    if service.get("depends_on").is_none() {
        service.set("depends_on", Node::new(Value::Map(Vec::new()), &mark));
    }
    let Some(all) = service.get_mut("depends_on") else {
        return;
    };
    for (name, restarts) in wanted {
        if all.get(&name).is_none() {
            let mut new = dependency(&Node::new(Value::Null, &mark));
            new.set("restart", Node::new(Value::Bool(restarts), &mark));
            all.set(&name, new);
        }
    }
}

/// Gives names without a value the environment's; what has none there either stays if it is to.
fn resolve(node: &mut Node, environment: &Environment, stays: bool) {
    match &mut node.value {
        Value::Map(entries) => entries.retain_mut(|(key, node)| {
            if node.value != Value::Null {
                return true;
            }
            match environment.get(&key.name) {
                Some(value) => node.value = Value::Text(value.clone()),
                None => return stays,
            }
            true
        }),
        Value::List(items) => items.retain_mut(|item| {
            let Value::Text(text) = &mut item.value else {
                return true;
            };
            if text.contains('=') {
                return true;
            }
            match environment.get(text) {
                Some(value) => *text = format!("{text}={value}"),
                None => return stays,
            }
            true
        }),
        _ => {}
    }
}
