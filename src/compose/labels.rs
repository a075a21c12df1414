//! The labels by which a project is found again: docker compose's, so that other tools see it.

use super::node::{Node, Value};
use super::project::Project;
use std::collections::BTreeMap;

/// The project.
pub const PROJECT: &str = "com.docker.compose.project";
/// The service.
pub const SERVICE: &str = "com.docker.compose.service";
/// Which of the service's containers it is, from 1.
pub const NUMBER: &str = "com.docker.compose.container-number";
/// What it was made of.
pub const HASH: &str = "com.docker.compose.config-hash";
/// Whether it is one for a single command: `True` or `False`.
pub const ONE_OFF: &str = "com.docker.compose.oneoff";
/// The random word in the name of one for a single command, whole.
pub const SLUG: &str = "com.docker.compose.slug";
/// What it depends on.
pub const DEPENDS_ON: &str = "com.docker.compose.depends_on";
/// The image's id.
pub const IMAGE: &str = "com.docker.compose.image";
/// The project's directory.
pub const DIRECTORY: &str = "com.docker.compose.project.working_dir";
/// The project's files, with commas between.
pub const FILES: &str = "com.docker.compose.project.config_files";
/// The key of a network.
pub const NETWORK: &str = "com.docker.compose.network";
/// The key of a volume.
pub const VOLUME: &str = "com.docker.compose.volume";
/// Who made it.
pub const VERSION: &str = "com.docker.compose.version";

/// Labels.
pub type Labels = BTreeMap<String, String>;

/// What all that belongs to a project has.
fn common(project: &str) -> Labels {
    [(PROJECT, project), (VERSION, env!("CARGO_PKG_VERSION"))]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// Those that a file gives.
pub fn given(node: Option<&Node>) -> Labels {
    let entries = node.map(Node::entries).unwrap_or_default().iter();
    let text = |node: &Node| node.value.shown().unwrap_or_default();
    entries
        .map(|(key, node)| (key.name.clone(), text(node)))
        .collect()
}

/// Those of a network or a volume: `kind` is the label that has its key.
pub fn of_part(project: &str, kind: &str, key: &str, node: &Node) -> Labels {
    let mut labels = given(node.get("labels"));
    labels.extend(common(project));
    labels.insert(kind.to_owned(), key.to_owned());
    labels.insert(HASH.to_owned(), Project::hash(node));
    labels
}

/// Those of a service's containers, but for number and image.
pub fn of_service(project: &Project, name: &str, node: &Node, hash: &str) -> Labels {
    let mut labels = given(node.get("labels"));
    labels.extend(common(&project.name));
    let files = project.files.iter().map(|file| file.display().to_string());
    for (key, value) in [
        (SERVICE, name.to_owned()),
        (HASH, hash.to_owned()),
        (ONE_OFF, "False".to_owned()),
        (DEPENDS_ON, dependencies(node)),
        (DIRECTORY, project.directory.display().to_string()),
        (FILES, files.collect::<Vec<_>>().join(",")),
    ] {
        labels.insert(key.to_owned(), value);
    }
    labels
}

/// `db:service_healthy:false`, with commas between: service, condition, whether it is started
/// again with that one.
fn dependencies(node: &Node) -> String {
    let entries = node
        .get("depends_on")
        .map(Node::entries)
        .unwrap_or_default();
    let word = |(key, node): &(super::node::Key, Node)| {
        let condition = node.text_of("condition").unwrap_or("service_started");
        let restart = node
            .get("restart")
            .is_some_and(|node| node.value == Value::Bool(true));
        format!("{}:{condition}:{restart}", key.name)
    };
    entries.iter().map(word).collect::<Vec<_>>().join(",")
}
