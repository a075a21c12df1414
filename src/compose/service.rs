//! A service as a request to the engine. Pure, but for looks at the machine that the engine's own
//! readers of requests take: at disks, and at files.

use super::keys::Take::{By, Elsewhere, Refused, Told};
use super::labels::{self, Labels};
use super::node::{Fault, Node, Result, Value};
use super::project::Project;
use super::{amounts, keys, networking, resources};
use crate::engine::create::options::RunOptions;
use crate::engine::request::dns::Dns;
use crate::image::digest::hex;
use crate::image::platform::Platform;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// When something that a service depends on is as it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It was started.
    Started,
    /// Its check was passed.
    Healthy,
    /// It has ended well.
    Completed,
}

/// What a service depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// The other service.
    pub service: String,
    /// How that has to be.
    pub condition: Condition,
    /// It is started again when that one is made anew.
    pub restart: bool,
    /// It cannot do without.
    pub required: bool,
}

/// When a service's image is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pull {
    /// If it is not there; built where that is said.
    Missing,
    /// Always.
    Always,
    /// Never.
    Never,
    /// It is built, always.
    Build,
}

/// Where the content of a file comes from that a service is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A file of the host.
    File(PathBuf),
    /// This.
    Bytes(Vec<u8>),
}

/// A secret or a configuration, as a file in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenFile {
    /// Its key in the project.
    pub key: String,
    /// What it says.
    pub content: Content,
    /// Where.
    pub target: PathBuf,
    /// Its permissions.
    pub mode: u32,
}

/// A service, ready to be asked of the engine.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// The image that its containers are of.
    pub image: String,
    /// Whether the image is built here.
    pub is_built: bool,
    /// What its containers are made with, but for names, numbers and files.
    pub options: RunOptions,
    /// Of which platform the image is to be.
    pub platform: Option<Platform>,
    /// How many containers there are to be.
    pub scale: usize,
    /// The name of its one container.
    pub container_name: Option<String>,
    /// What it is made of.
    pub hash: String,
    /// What it depends on.
    pub dependencies: Vec<Dependency>,
    /// Services in whose namespaces its containers are, or whose volumes they have.
    pub shares_with: Vec<String>,
    /// When its image is fetched.
    pub pull: Pull,
    /// Directories of the host that are made if they are missing.
    pub directories: Vec<PathBuf>,
    /// Secrets and configurations.
    pub files: Vec<GivenFile>,
    /// Whether `up` shows what it prints.
    pub attach: bool,
}

/// A service while it is read.
pub(super) struct Draft<'a> {
    /// The project.
    pub project: &'a Project,
    /// See [`Service`].
    pub options: RunOptions,
    pub platform: Option<Platform>,
    /// See [`Service`].
    pub shares_with: Vec<String>,
    /// See [`Service`].
    pub directories: Vec<PathBuf>,
    /// See [`Service`].
    pub files: Vec<GivenFile>,
    /// See [`Service`].
    pub attach: bool,
    /// What is worth saying.
    pub warnings: Vec<String>,
}

/// Reads all services of a project: nothing is begun that could not be finished for a word that
/// is wrong. What changes nothing is told.
///
/// # Errors
/// What cannot be done, with its place.
pub fn services(project: &Project, warn: &mut Vec<String>) -> Result<BTreeMap<String, Service>> {
    let mut all = BTreeMap::new();
    for (name, node) in project.services() {
        let path = super::node::Path::from(["services", name].as_slice());
        all.insert(name.to_owned(), service(project, name, node, &path, warn)?);
    }
    networking::link(project, &mut all)?;
    Ok(all)
}

fn service(
    project: &Project,
    name: &str,
    node: &Node,
    path: &super::node::Path,
    warn: &mut Vec<String>,
) -> Result<Service> {
    let mut draft = Draft {
        project,
        options: RunOptions::default(),
        platform: None,
        shares_with: Vec::new(),
        directories: Vec::new(),
        files: Vec::new(),
        attach: true,
        warnings: Vec::new(),
    };
    for (key, value) in node.entries() {
        if key.name.starts_with("x-") || value.value == Value::Null {
            continue;
        }
        let known = keys::KEYS.iter().find(|(own, _)| *own == key.name);
        let done = match known.map(|(_, take)| take) {
            Some(By(read)) => read(&mut draft, value),
            Some(Elsewhere) => Ok(()),
            Some(Told(why)) => {
                warn.push(format!("{}: {path}.{}: {why}", value.mark, key.name));
                Ok(())
            }
            Some(Refused(why)) if says_something(value) => {
                Err(value.fault(format!("bryo does not do that: {why}")))
            }
            Some(Refused(_)) => Ok(()),
            None => Err(value.fault("bryo does not know what to do with it")),
        };
        done.map_err(|fault| fault.at(&value.mark).of(&path.to(&key.name)))?;
    }
    warn.extend(draft.warnings.iter().map(|text| format!("{path}.{text}")));
    let list = |key: &str| node.get(key).map(texts).unwrap_or_default();
    let dns = Dns::read(&list("dns"), &list("dns_search"), &list("dns_opt"));
    networking::attach(&mut draft, name, node, &dns).map_err(|fault| fault.of(path))?;
    draft.options.dns = dns;
    let is_built = node
        .get("build")
        .is_some_and(|build| build.value != Value::Null);
    let image = node.text_of("image").map(str::to_owned);
    let pull = pull(node, is_built).map_err(|fault| fault.of(&path.to("pull_policy")))?;
    resources::read(&mut draft, node).map_err(|fault| fault.of(path))?;
    let hash = hash(node, &draft.files);
    draft.options.labels = labels::of_service(project, name, node, &hash);
    Ok(Service {
        name: name.to_owned(),
        image: image.unwrap_or_else(|| format!("{}-{name}", project.name)),
        is_built,
        platform: draft.platform,
        scale: scale(node),
        container_name: node.text_of("container_name").map(str::to_owned),
        hash,
        dependencies: dependencies(node),
        shares_with: draft.shares_with,
        pull,
        directories: draft.directories,
        files: draft.files,
        attach: draft.attach,
        options: draft.options,
    })
}

/// What tells whether its containers have to be made anew: what they are made of, and the texts
/// that are put into them.
fn hash(node: &Node, files: &[GivenFile]) -> String {
    use sha2::{Digest, Sha256};
    let own = Project::hash(node);
    let mut all = Sha256::new();
    let mut any = false;
    for file in files {
        if let Content::Bytes(bytes) = &file.content {
            all.update([file.key.as_bytes(), b"\0", bytes, b"\0"].concat());
            any = true;
        }
    }
    if !any {
        return own;
    }
    all.update(own);
    hex(&all.finalize())
}

fn scale(node: &Node) -> usize {
    let number = |node: Option<&Node>| match node.map(|node| &node.value) {
        Some(Value::Int(number)) => usize::try_from(*number).ok(),
        _ => None,
    };
    let replicas = node.get("deploy").and_then(|deploy| deploy.get("replicas"));
    number(node.get("scale"))
        .or_else(|| number(replicas))
        .unwrap_or(1)
}

fn pull(node: &Node, is_built: bool) -> Result<Pull> {
    let policy = node.text_of("pull_policy").unwrap_or_default();
    Ok(match policy {
        "" | "missing" | "if_not_present" => Pull::Missing,
        "always" => Pull::Always,
        "never" => Pull::Never,
        "build" if is_built => Pull::Build,
        other => {
            let text = format!(
                "{other:?} is not done here: there are always, missing, never, and build where there is one"
            );
            let node = node.get("pull_policy").unwrap_or(node);
            return Err(node.fault(text));
        }
    })
}

fn dependencies(node: &Node) -> Vec<Dependency> {
    let entries = node
        .get("depends_on")
        .map(Node::entries)
        .unwrap_or_default();
    let is = |node: &Node, key: &str| node.get(key).map(truth);
    let all = entries.iter().map(|(key, node)| Dependency {
        service: key.name.clone(),
        condition: match node.text_of("condition") {
            Some("service_healthy") => Condition::Healthy,
            Some("service_completed_successfully") => Condition::Completed,
            _ => Condition::Started,
        },
        restart: is(node, "restart").unwrap_or(false),
        required: is(node, "required").unwrap_or(true),
    });
    all.collect()
}

/// An error of the engine's, at the place of what it is about.
pub(super) fn wrong(node: &Node, error: &anyhow::Error) -> Fault {
    node.fault(format!("{error:#}"))
}

/// Reads a scalar with one of the engine's readers.
pub(super) fn said<T>(node: &Node, read: impl Fn(&str) -> anyhow::Result<T>) -> Result<T> {
    read(&shown(node)).map_err(|error| wrong(node, &error))
}

/// Does something for each text of a list.
pub(super) fn each(node: &Node, mut take: impl FnMut(&str) -> anyhow::Result<()>) -> Result<()> {
    for item in node.items() {
        take(&shown(item)).map_err(|error| wrong(item, &error))?;
    }
    Ok(())
}

/// A scalar as a text.
pub(super) fn shown(node: &Node) -> String {
    node.value.shown().unwrap_or_default()
}

/// The texts of a list.
pub(super) fn texts(node: &Node) -> Vec<String> {
    match &node.value {
        Value::Text(text) => vec![text.clone()],
        _ => node.items().iter().map(shown).collect(),
    }
}

/// Whether it says yes.
pub(super) fn truth(node: &Node) -> bool {
    match &node.value {
        Value::Bool(is) => *is,
        Value::Text(text) => text == "true",
        _ => false,
    }
}

/// Whether it asks for anything.
fn says_something(node: &Node) -> bool {
    match &node.value {
        Value::Null | Value::Bool(false) | Value::Int(0) => false,
        Value::Text(text) => !text.is_empty(),
        Value::List(items) => !items.is_empty(),
        Value::Map(entries) => !entries.is_empty(),
        _ => true,
    }
}

/// Refuses keys of a part that are not done here.
pub(super) fn only(node: &Node, known: &[&str]) -> Result<()> {
    for (key, value) in node.entries() {
        let is_known = known.contains(&key.name.as_str()) || key.name.starts_with("x-");
        if !is_known && says_something(value) {
            return Err(value.fault(format!("bryo does not do {:?} here", key.name)));
        }
    }
    Ok(())
}

/// A duration.
pub(super) fn duration(node: &Node) -> Result<Duration> {
    let nanoseconds = amounts::duration(&shown(node)).map_err(|text| node.fault(text))?;
    match u64::try_from(nanoseconds) {
        Ok(nanoseconds) => Ok(Duration::from_nanos(nanoseconds)),
        Err(_) => Err(node.fault("it cannot be negative")),
    }
}

/// The labels of one of a service's containers.
pub fn labels_of(service: &Service, number: usize, image: &str) -> Labels {
    let mut labels = service.options.labels.clone();
    labels.insert(labels::NUMBER.to_owned(), number.to_string());
    labels.insert(labels::IMAGE.to_owned(), image.to_owned());
    labels
}

/// The name of one of a service's containers.
pub fn container_name(project: &str, service: &Service, number: usize) -> String {
    let own = service.container_name.clone();
    own.unwrap_or_else(|| format!("{project}-{}-{number}", service.name))
}
