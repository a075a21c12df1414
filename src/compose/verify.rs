//! Whether the parts of a project fit together.

use super::node::{Node, Path, Result, Value};
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

/// Checks what can be checked before names are known: single objects.
pub fn objects(root: &Node) -> Result<()> {
    let objects = [
        ("configs", ["file", "environment", "content"].as_slice()),
        ("secrets", ["file", "environment"].as_slice()),
    ];
    for (section, keys) in objects {
        for (key, object) in root.get(section).map(Node::entries).unwrap_or_default() {
            let path = Path::from([section, key.name.as_str()].as_slice());
            let count = keys.iter().filter(|key| object.get(key).is_some()).count();
            let words = keys.join(", ");
            if count > 1 {
                let text = format!("only one of {words} can be given");
                return Err(object.fault(text).of(&path));
            }
            let is_elsewhere = object.get("driver").is_some() || object.get("external").is_some();
            if count == 0 && !is_elsewhere {
                let text = format!("one of {words} has to be given, or external: true");
                return Err(object.fault(text).of(&path));
            }
        }
    }
    for (key, volume) in root.get("volumes").map(Node::entries).unwrap_or_default() {
        let is_external = volume.get("external").map(|node| &node.value);
        if is_external != Some(&Value::Bool(true)) {
            continue;
        }
        for (other, node) in volume.entries() {
            if !["name", "external"].contains(&other.name.as_str()) && !other.name.starts_with("x-")
            {
                let text = format!("what is external takes no {}", other.name);
                let path = Path::from(["volumes", key.name.as_str()].as_slice());
                return Err(node.fault(text).of(&path));
            }
        }
    }
    for (key, service) in root.get("services").map(Node::entries).unwrap_or_default() {
        let path = Path::from(["services", key.name.as_str()].as_slice());
        for port in service.get("ports").map(Node::items).unwrap_or_default() {
            if let Some(address) = port.text_of("host_ip")
                && address.parse::<IpAddr>().is_err()
                && !address.contains('$')
            {
                let text = format!("{address:?} is no address");
                return Err(port.fault(text).of(&path.to("ports")));
            }
        }
        for device in service.get("gpus").map(Node::items).unwrap_or_default() {
            if device.get("count").is_some() && device.get("device_ids").is_some() {
                let text = "only one of count and device_ids can be given";
                return Err(device.fault(text).of(&path.to("gpus")));
            }
        }
    }
    Ok(())
}

/// What a project has, for what is checked of its services.
pub struct Parts<'a> {
    /// The tree.
    pub root: &'a Node,
    /// Services that no chosen profile has.
    pub disabled: &'a BTreeSet<String>,
}

/// Checks services against each other and against the rest.
pub fn services(parts: &Parts) -> Result<()> {
    let all = parts
        .root
        .get("services")
        .map(Node::entries)
        .unwrap_or_default();
    let mut names: HashMap<&str, &str> = HashMap::new();
    for (key, node) in all {
        let path = Path::from(["services", key.name.as_str()].as_slice());
        service(node, &path, parts).map_err(|fault| fault.at(&key.mark).of(&path))?;
        if let Some(name) = node.text_of("container_name")
            && let Some(other) = names.insert(name, &key.name)
        {
            let text = format!("the service {other} has the container name {name} too");
            return Err(node.fault(text).of(&path));
        }
    }
    circle(all)
}

fn service(node: &Node, path: &Path, parts: &Parts) -> Result<()> {
    let wrong = |key: &str, text: String| {
        let place = node.get(key).unwrap_or(node);
        Err(place.fault(text).of(&path.to(key)))
    };
    let has = |key: &str| node.get(key).is_some();
    if !has("image") && !has("build") && !has("provider") {
        return Err(node.fault("it has neither image nor build").of(path));
    }
    if let Some(build) = node.get("build") {
        if build.get("dockerfile").is_some() && build.get("dockerfile_inline").is_some() {
            let text = "only one of dockerfile and dockerfile_inline can be given";
            return wrong("build", text.into());
        }
        let platforms = build.get("platforms").map(Node::items).unwrap_or_default();
        if let Some(own) = node.text_of("platform")
            && !platforms.is_empty()
            && !platforms
                .iter()
                .any(|platform| platform.as_text() == Some(own))
        {
            return wrong("build", format!("platforms lacks the service's own, {own}"));
        }
    }
    if has("network_mode") && has("networks") {
        let text = "only one of network_mode and networks can be given";
        return wrong("network_mode", text.into());
    }
    let known = |section: &str, name: &str| {
        let section = parts.root.get(section);
        section.is_some_and(|section| section.get(name).is_some())
    };
    for (key, _) in node.get("networks").map(Node::entries).unwrap_or_default() {
        if !known("networks", &key.name) {
            let text = format!("there is no network {:?} in the file's networks", key.name);
            return wrong("networks", text);
        }
    }
    for (key, _) in node.get("models").map(Node::entries).unwrap_or_default() {
        if !known("models", &key.name) {
            return wrong("models", format!("there is no model {:?}", key.name));
        }
    }
    for (section, place) in [
        ("secrets", node.get("secrets")),
        ("configs", node.get("configs")),
        (
            "secrets",
            node.get("build").and_then(|build| build.get("secrets")),
        ),
    ] {
        for item in place.map(Node::items).unwrap_or_default() {
            let source = item.text_of("source").unwrap_or_default();
            if !known(section, source) {
                let text = format!("there is no {source:?} in the file's {section}");
                return wrong(section, text);
            }
        }
    }
    for mount in node.get("volumes").map(Node::items).unwrap_or_default() {
        let source = mount.text_of("source").unwrap_or_default();
        if mount.text_of("type") == Some("volume")
            && !source.is_empty()
            && !known("volumes", source)
        {
            let text = format!(
                "there is no volume {source:?} in the file's volumes; a path begins with . or /"
            );
            return Err(mount.fault(text).of(&path.to("volumes")));
        }
        if mount.text_of("type") == Some("bind") && source.is_empty() {
            let text = "a mount of a path has to have a source";
            return Err(mount.fault(text).of(&path.to("volumes")));
        }
    }
    let test = node.get("healthcheck").and_then(|check| check.get("test"));
    if let Some(first) = test.and_then(|test| test.items().first()?.as_text())
        && !["CMD", "CMD-SHELL", "NONE"].contains(&first)
    {
        let text = format!("test begins with {first:?}, not with CMD, CMD-SHELL or NONE");
        return wrong("healthcheck", text);
    }
    for (key, dependency) in node
        .get("depends_on")
        .map(Node::entries)
        .unwrap_or_default()
    {
        if known("services", &key.name) {
            continue;
        }
        let is_disabled = parts.disabled.contains(&key.name);
        let required = dependency.get("required").map(|node| &node.value);
        if is_disabled && required == Some(&Value::Bool(false)) {
            continue;
        }
        let hint = match is_disabled {
            true => ": its profiles are not among the chosen ones",
            false => "",
        };
        let text = format!("there is no service {:?}{hint}", key.name);
        return wrong("depends_on", text);
    }
    for key in ["network_mode", "ipc", "pid"] {
        let other = node
            .text_of(key)
            .and_then(|mode| mode.strip_prefix("service:"));
        if let Some(other) = other.filter(|other| !known("services", other)) {
            return wrong(key, format!("there is no service {other:?}"));
        }
    }
    numbers(node, path)?;
    let mut targets = BTreeSet::new();
    let temporary = node.get("tmpfs").map(Node::items).unwrap_or_default();
    let temporary = temporary.iter().filter_map(|item| {
        let target = item.as_text()?.split(':').next()?;
        Some((target, item))
    });
    let mounts = node.get("volumes").map(Node::items).unwrap_or_default();
    let mounts = mounts
        .iter()
        .filter_map(|item| Some((item.text_of("target")?, item)));
    for (target, item) in temporary.chain(mounts) {
        if !targets.insert(target) {
            let text = format!("something else is mounted on {target} too");
            return Err(item.fault(text).of(path));
        }
    }
    let watch = node.get("develop").and_then(|develop| develop.get("watch"));
    for item in watch.map(Node::items).unwrap_or_default() {
        let action = item.text_of("action").unwrap_or_default();
        if item.get("target").is_none() && !["rebuild", "restart"].contains(&action) {
            let text = format!("{action} takes a target");
            return Err(item.fault(text).of(&path.to("develop")));
        }
    }
    Ok(())
}

/// Checks what may be said in two places, and what has to be one.
fn numbers(node: &Node, path: &Path) -> Result<()> {
    let deep = |keys: &[&str]| keys.iter().try_fold(node, |node, key| node.get(key));
    for (key, other) in [
        ("cpus", ["deploy", "resources", "limits", "cpus"].as_slice()),
        ("mem_limit", &["deploy", "resources", "limits", "memory"]),
        (
            "mem_reservation",
            &["deploy", "resources", "reservations", "memory"],
        ),
        ("pids_limit", &["deploy", "resources", "limits", "pids"]),
        ("scale", &["deploy", "replicas"]),
    ] {
        let Some(own) = node.get(key) else { continue };
        // Limits that are there have an amount, be it none.
        let is_other = match deep(other) {
            Some(other) => other != own,
            None => key != "scale" && deep(&other[..3]).is_some(),
        };
        if is_other {
            let text = format!("{key} and {} differ", other.join("."));
            return Err(own.fault(text).of(path));
        }
    }
    let scale = node.get("scale").or_else(|| deep(&["deploy", "replicas"]));
    let Some((scale, Value::Int(count))) = scale.map(|scale| (scale, &scale.value)) else {
        return Ok(());
    };
    if *count < 0 {
        return Err(scale
            .fault(format!("{count} containers cannot be"))
            .of(path));
    }
    if *count > 1 && node.get("container_name").is_some() {
        let text = format!("{count} containers cannot have one container_name");
        return Err(scale.fault(text).of(path));
    }
    Ok(())
}

/// Whether services depend on each other in a circle.
fn circle(all: &[(super::node::Key, Node)]) -> Result<()> {
    let services: HashMap<&str, &Node> = all
        .iter()
        .map(|(key, node)| (key.name.as_str(), node))
        .collect();
    let mut done = BTreeSet::new();
    for (key, _) in all {
        // A path, and of each of its services which dependency is next.
        let mut path: Vec<(&str, usize)> = vec![(key.name.as_str(), 0)];
        while let Some((name, next)) = path.last_mut() {
            let name = *name;
            let wanted = services.get(name).and_then(|node| node.get("depends_on"));
            let wanted = wanted.map(Node::entries).unwrap_or_default();
            let Some((other, _)) = wanted.get(*next).filter(|_| !done.contains(name)) else {
                done.insert(name);
                path.pop();
                continue;
            };
            *next += 1;
            if let Some(at) = path.iter().position(|(name, _)| *name == other.name) {
                let names = path[at..].iter().map(|(name, _)| *name);
                let names: Vec<&str> = names.chain([other.name.as_str()]).collect();
                let text = format!("services wait for each other: {}", names.join(" → "));
                let keys = Path::from(["services", name, "depends_on"].as_slice());
                return Err(super::node::Fault::new(text).at(&other.mark).of(&keys));
            }
            if services.contains_key(other.name.as_str()) && !done.contains(other.name.as_str()) {
                path.push((other.name.as_str(), 0));
            }
        }
    }
    Ok(())
}
