//! A project: which files it is of, what it is called, what is in it.

use super::dotenv::Form;
use super::load::{Environment, Files, Loader};
use super::node::{Fault, Node, Path, Result, Value};
use super::verify::{self, Parts};
use super::{decode, normal, shape};
use crate::image::digest::hex;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path as File, PathBuf};

/// The names that a project's file is looked for by, best first.
const NAMES: [&str; 4] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
];

/// Those of what goes over it.
const OVERRIDES: [&str; 4] = [
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

/// What the caller says of a project.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The project's files, where they are named.
    pub files: Vec<String>,
    /// Its name.
    pub name: Option<String>,
    /// Its directory.
    pub directory: Option<String>,
    /// Files of variables in place of `.env`.
    pub env_files: Vec<String>,
    /// The profiles that are chosen.
    pub profiles: Vec<String>,
    /// The services that are wanted, with what they depend on; all if there are none.
    pub services: Vec<String>,
    /// Whether variables stay as they are.
    pub keeps_variables: bool,
    /// Where the caller is.
    pub here: PathBuf,
    /// His environment.
    pub environment: Environment,
}

/// A project as its files have it.
#[derive(Debug)]
pub struct Project {
    /// Its name.
    pub name: String,
    /// What it is of, in a form without short cuts.
    pub root: Node,
    /// Its directory.
    pub directory: PathBuf,
    /// Its files.
    pub files: Vec<PathBuf>,
    /// The variables that were there for the files.
    pub environment: Environment,
    /// All profiles that services have.
    pub profiles: BTreeSet<String>,
    /// The services that no chosen profile has.
    pub disabled: BTreeSet<String>,
    /// The names of all services that its files have, chosen or not.
    pub known: BTreeSet<String>,
    /// What is worth saying.
    pub warnings: Vec<String>,
}

/// Where a project is, and the variables for it.
struct Place {
    files: Vec<PathBuf>,
    directory: PathBuf,
    environment: Environment,
}

impl Project {
    /// Reads a project.
    ///
    /// # Errors
    /// There is none, or something is wrong with its files.
    pub fn load(options: &Options, files: &dyn Files) -> Result<Project> {
        let home = options.environment.get("HOME").cloned();
        let mut loader = Loader::new(files, home);
        loader.interpolates = !options.keeps_variables;
        let Place {
            files,
            directory,
            mut environment,
        } = place(options, &loader)?;
        let (name, is_certain) = given_name(options, &environment, &directory)?;
        environment.insert("COMPOSE_PROJECT_NAME".into(), name.clone());
        let texts = Stdin::read(&loader, &files)?;
        let loader = Loader {
            files: &texts,
            ..loader
        };
        let name = match is_certain {
            true => name,
            false => named(&loader, &files, &environment)?.unwrap_or(name),
        };
        if name.is_empty() {
            let text = "the project has no name: the directory's has no letter that one may have";
            return Err(Fault::new(format!("{text}; -p NAME gives it one")));
        }
        environment.insert("COMPOSE_PROJECT_NAME".into(), name.clone());
        let mut root = loader.model(&files, &directory, &environment, &[])?;
        if root.entries().is_empty() {
            let place = files
                .first()
                .map_or("-".into(), |file| file.display().to_string());
            return Err(Fault::new(format!("{place}: there is nothing in it")));
        }
        normal::normalize(&mut root, &name, &environment);
        root.set("name", Node::text(name.clone(), &root.mark));
        let mut project = Project {
            name,
            root,
            directory,
            files,
            environment,
            profiles: BTreeSet::new(),
            disabled: BTreeSet::new(),
            known: BTreeSet::new(),
            warnings: Vec::new(),
        };
        if !options.keeps_variables {
            project.settle(options, &loader)?;
        }
        project.warnings.extend(loader.warnings.into_inner());
        Ok(project)
    }

    /// Reads values as they are meant, and leaves out what was not asked for.
    fn settle(&mut self, options: &Options, loader: &Loader) -> Result<()> {
        let start = Path::default();
        self.root = decode::record(&self.root, &shape::PROJECT, &start, &mut self.warnings)?;
        if self.root.get("services").is_none() {
            let none = Node::new(Value::Map(Vec::new()), &self.root.mark);
            self.root.set("services", none);
        }
        self.known = self
            .services()
            .keys()
            .map(|name| (*name).to_owned())
            .collect();
        self.choose(options)?;
        let parts = Parts {
            root: &self.root,
            disabled: &self.disabled,
        };
        verify::services(&parts)?;
        self.select(&options.services)?;
        self.read_files(loader)?;
        self.leave_out_unused();
        Ok(())
    }

    /// The services, sorted by name.
    pub fn services(&self) -> BTreeMap<&str, &Node> {
        let services = self.root.get("services");
        let entries = services.map(Node::entries).unwrap_or_default();
        entries
            .iter()
            .map(|(key, node)| (key.name.as_str(), node))
            .collect()
    }

    /// What tells whether a service has to be made anew: a digest of all that its containers are
    /// made of.
    pub fn hash(service: &Node) -> String {
        let mut made = service.clone();
        for key in ["build", "pull_policy", "scale", "depends_on", "profiles"] {
            made.remove(key);
        }
        made.get_mut("deploy")
            .and_then(|deploy| deploy.remove("replicas"));
        let text = super::print::object(&made).to_string();
        hex(&Sha256::digest(text))
    }

    /// Takes services away for which no chosen profile is.
    fn choose(&mut self, options: &Options) -> Result<()> {
        let mut chosen: BTreeSet<String> = options.profiles.iter().cloned().collect();
        if chosen.is_empty() {
            let given = self.environment.get("COMPOSE_PROFILES");
            let words = given.map(String::as_str).unwrap_or_default().split(',');
            chosen.extend(words.map(|word| word.trim().to_owned()));
        }
        let profiles_of = |node: &Node| {
            let items = node.get("profiles").map(Node::items).unwrap_or_default();
            let words = items.iter().filter_map(Node::as_text);
            words.map(str::to_owned).collect::<BTreeSet<String>>()
        };
        let services = self.services();
        for name in &options.services {
            let Some(node) = services.get(name.as_str()) else {
                return Err(Fault::new(format!("there is no service {name:?}")));
            };
            chosen.extend(profiles_of(node));
        }
        let mut all = BTreeSet::new();
        let mut disabled = BTreeSet::new();
        for (name, node) in services {
            let own = profiles_of(node);
            let is_chosen = own.is_empty() || chosen.contains("*") || !own.is_disjoint(&chosen);
            if !is_chosen {
                disabled.insert(name.to_owned());
            }
            all.extend(own);
        }
        self.profiles = all;
        self.keep_services(|name| !disabled.contains(name));
        self.disabled = disabled;
        Ok(())
    }

    fn keep_services(&mut self, stays: impl Fn(&str) -> bool) {
        if let Some(Value::Map(entries)) = self.root.get_mut("services").map(|node| &mut node.value)
        {
            entries.retain(|(key, _)| stays(&key.name));
        }
    }

    /// Leaves of the services those that are wanted, and what they depend on.
    fn select(&mut self, names: &[String]) -> Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        let mut wanted: BTreeSet<String> = BTreeSet::new();
        let mut open: Vec<String> = names.to_vec();
        let services = self.services();
        while let Some(name) = open.pop() {
            let Some(node) = services.get(name.as_str()) else {
                continue;
            };
            if wanted.insert(name) {
                let others = node
                    .get("depends_on")
                    .map(Node::entries)
                    .unwrap_or_default();
                open.extend(others.iter().map(|(key, _)| key.name.clone()));
            }
        }
        self.keep_services(|name| wanted.contains(name));
        Ok(())
    }

    /// Reads the services' files of variables and labels, which say no more then.
    fn read_files(&mut self, loader: &Loader) -> Result<()> {
        let environment = &self.environment;
        let services = self.root.get_mut("services");
        for (key, service) in services.into_iter().flat_map(Node::entries_mut) {
            let path = Path::from(["services", key.name.as_str()].as_slice());
            let files = service.remove("env_file");
            let own = texts(service.get("environment"));
            let mut found: Environment = own
                .iter()
                .filter_map(|(name, value)| Some((name.clone(), value.clone()?)))
                .collect();
            let lookup = |name: &str| {
                let own = || own.get(name).cloned().flatten();
                environment.get(name).cloned().or_else(own)
            };
            for item in files.iter().flat_map(Node::items) {
                let file = PathBuf::from(item.text_of("path").unwrap_or_default());
                let required = item.get("required").map(|node| &node.value);
                if required == Some(&Value::Bool(false)) && !loader.files.is_file(&file) {
                    continue;
                }
                let form = match item.text_of("format") {
                    None | Some("") => Form::Shell,
                    Some("raw") => Form::Raw,
                    Some(other) => {
                        let text = format!("{other:?} is no format: raw is one");
                        return Err(item.fault(text).of(&path.to("env_file")));
                    }
                };
                loader
                    .variables(&file, form, &lookup, &mut found)
                    .map_err(|fault| fault.at(&item.mark).of(&path.to("env_file")))?;
            }
            if files.is_some() {
                let mut all: BTreeMap<String, Option<String>> = found
                    .into_iter()
                    .map(|(name, value)| (name, Some(value)))
                    .collect();
                all.extend(own);
                put(service, "environment", all);
            }
            let files = service.remove("label_file");
            if let Some(files) = files {
                let mut found = Environment::new();
                for item in files.items() {
                    let file = PathBuf::from(item.as_text().unwrap_or_default());
                    let lookup = |_: &str| None;
                    loader
                        .variables(&file, Form::Shell, &lookup, &mut found)
                        .map_err(|fault| fault.at(&item.mark).of(&path.to("label_file")))?;
                }
                let mut all: BTreeMap<String, Option<String>> = found
                    .into_iter()
                    .map(|(name, value)| (name, Some(value)))
                    .collect();
                all.extend(texts(service.get("labels")));
                put(service, "labels", all);
            }
            decode::arrange(service, &shape::SERVICE);
        }
        Ok(())
    }

    /// Takes away what no service uses.
    fn leave_out_unused(&mut self) {
        let mut used: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for node in self.services().values() {
            for section in ["networks", "models"] {
                let entries = node.get(section).map(Node::entries).unwrap_or_default();
                let names = entries.iter().map(|(key, _)| key.name.clone());
                used.entry(section).or_default().extend(names);
            }
            let build = node.get("build");
            for (section, place) in [
                ("secrets", node.get("secrets")),
                ("secrets", build.and_then(|build| build.get("secrets"))),
                ("configs", node.get("configs")),
                ("volumes", node.get("volumes")),
            ] {
                let items = place.map(Node::items).unwrap_or_default().iter();
                let items = items
                    .filter(|item| section != "volumes" || item.text_of("type") == Some("volume"));
                let names = items.filter_map(|item| item.text_of("source").map(str::to_owned));
                used.entry(section).or_default().extend(names);
            }
        }
        for section in ["networks", "volumes", "secrets", "configs", "models"] {
            let names = used.remove(section).unwrap_or_default();
            let Some(node) = self.root.get_mut(section) else {
                continue;
            };
            if let Value::Map(entries) = &mut node.value {
                entries.retain(|(key, _)| names.contains(&key.name));
            }
            if node.entries().is_empty() {
                self.root.remove(section);
            }
        }
    }
}

/// Names with their values, of which some have none.
fn texts(node: Option<&Node>) -> BTreeMap<String, Option<String>> {
    let entries = node.map(Node::entries).unwrap_or_default().iter();
    entries
        .map(|(key, node)| (key.name.clone(), node.as_text().map(str::to_owned)))
        .collect()
}

fn put(service: &mut Node, key: &str, all: BTreeMap<String, Option<String>>) {
    if all.is_empty() {
        return;
    }
    let value = |text: Option<String>| text.map_or(Value::Null, Value::Text);
    let entries = all
        .iter()
        .map(|(name, text)| (name.as_str(), value(text.clone())));
    let node = Node::map(entries.collect(), &service.mark);
    service.set(key, node);
}

/// Where the project is: from flags, variables, and what lies in the directories from here up.
fn place(options: &Options, loader: &Loader) -> Result<Place> {
    let absolute = |path: &str| options.here.join(path);
    let clean = |path: PathBuf| PathBuf::from(super::mounts::clean(&path.to_string_lossy()));
    let mut environment = options.environment.clone();
    environment
        .entry("PWD".into())
        .or_insert_with(|| options.here.to_string_lossy().into_owned());
    let named = |files: &[PathBuf]| {
        let first = files.iter().find(|file| file.as_os_str() != "-");
        first.and_then(|file| file.parent().map(File::to_owned))
    };
    let to_file = |path: &String| match path.as_str() {
        "-" => PathBuf::from("-"),
        path => clean(absolute(path)),
    };
    let mut files: Vec<PathBuf> = options.files.iter().map(to_file).collect();
    let given = options.directory.as_deref().map(|dir| clean(absolute(dir)));
    let directory = |files: &[PathBuf]| {
        let found = given.clone().or_else(|| named(files));
        found.unwrap_or_else(|| options.here.clone())
    };
    let mut env_files: Vec<PathBuf> = options.env_files.iter().map(to_file).collect();
    if env_files.is_empty() {
        let listed = environment
            .get("COMPOSE_ENV_FILES")
            .cloned()
            .unwrap_or_default();
        let words = listed.split(',').filter(|word| !word.is_empty());
        env_files.extend(words.map(|word| to_file(&word.to_owned())));
    }
    let is_off = environment.get("COMPOSE_DISABLE_ENV_FILE");
    let is_off = is_off.is_some_and(|word| ["1", "t", "true", "TRUE"].contains(&word.as_str()));
    let read = |directory: &File, environment: &mut Environment| -> Result<()> {
        let own = directory.join(".env");
        let all = match env_files.is_empty() {
            false => env_files.clone(),
            true if !is_off && loader.files.is_file(&own) => vec![own],
            true => Vec::new(),
        };
        let mut found = Environment::new();
        for file in all {
            let lookup = |name: &str| environment.get(name).cloned();
            loader.variables(&file, Form::Shell, &lookup, &mut found)?;
        }
        for (name, value) in found {
            environment.entry(name).or_insert(value);
        }
        Ok(())
    };
    let first = directory(&files);
    read(&first, &mut environment)?;
    if files.is_empty()
        && let Some(listed) = environment
            .get("COMPOSE_FILE")
            .filter(|text| !text.is_empty())
    {
        let separator = environment
            .get("COMPOSE_PATH_SEPARATOR")
            .filter(|text| !text.is_empty());
        let separator = separator.map_or(":", String::as_str);
        files = listed
            .split(separator)
            .map(|path| to_file(&path.to_owned()))
            .collect();
    }
    if files.is_empty() {
        files = discover(&directory(&files), loader)?;
    }
    let directory = directory(&files);
    if directory != first {
        read(&directory, &mut environment)?;
    }
    Ok(Place {
        files,
        directory,
        environment,
    })
}

/// The files of the project that a directory is in.
fn discover(start: &File, loader: &Loader) -> Result<Vec<PathBuf>> {
    for directory in start.ancestors() {
        let all = |names: [&str; 4]| {
            let paths = names.into_iter().map(|name| directory.join(name));
            let found: Vec<PathBuf> = paths.filter(|path| loader.files.is_file(path)).collect();
            if let [first, _, ..] = &found[..] {
                loader.warn(format!(
                    "there are several files for the project: {} is read",
                    first.display()
                ));
            }
            found.into_iter().next()
        };
        if let Some(file) = all(NAMES) {
            return Ok([Some(file), all(OVERRIDES)].into_iter().flatten().collect());
        }
    }
    let text = format!(
        "there is no {} in {} or above it: -f names another file",
        NAMES.join(", "),
        start.display()
    );
    Err(Fault::new(text))
}

/// The name by flag, variable or directory, and whether files have no say in it.
fn given_name(
    options: &Options,
    environment: &Environment,
    directory: &File,
) -> Result<(String, bool)> {
    let variable = environment.get("COMPOSE_PROJECT_NAME");
    let given = options
        .name
        .as_ref()
        .or(variable)
        .filter(|name| !name.is_empty());
    match given {
        Some(name) if normal_name(name) != *name => Err(Fault::new(format!(
            "{name:?} is no name for a project: small letters, digits, - and _ are, of which the \
             first is a letter or a digit"
        ))),
        Some(name) => Ok((name.clone(), true)),
        None => {
            let last = directory.file_name().unwrap_or_default().to_string_lossy();
            Ok((normal_name(&last), false))
        }
    }
}

/// A name with what names of projects may have.
fn normal_name(name: &str) -> String {
    let small = name.to_lowercase();
    let may_be = |letter: &char| {
        letter.is_ascii_lowercase() || letter.is_ascii_digit() || "_-".contains(*letter)
    };
    let name: String = small.chars().filter(may_be).collect();
    name.trim_start_matches(['_', '-']).to_owned()
}

/// The name that the files give, the last one's if several do.
fn named(loader: &Loader, files: &[PathBuf], environment: &Environment) -> Result<Option<String>> {
    let mut name = None;
    for file in files {
        let label = std::sync::Arc::from(file.to_string_lossy());
        for document in super::yaml::parse(&label, &loader.text(file)?)? {
            let own = document
                .root
                .get("name")
                .filter(|own| own.as_text() != Some(""));
            name = own.cloned().or(name);
        }
    }
    let Some(node) = name else { return Ok(None) };
    let path = Path::from(["name"].as_slice());
    let Some(text) = node.as_text() else {
        let text = format!("it has to be a string, and is {}", node.value.kind());
        return Err(node.fault(text).of(&path));
    };
    if !loader.interpolates {
        return Ok(Some(normal_name(text)));
    }
    let lookup = |name: &str| environment.get(name).cloned();
    let variables = super::template::Variables {
        lookup: &lookup,
        missing: &|_| {},
    };
    let text = super::template::substitute(text, &variables)
        .map_err(|wrong| node.fault(wrong.to_string()).of(&path))?;
    Ok(Some(normal_name(&text)))
}

/// Files, of which standard input can be read twice.
struct Stdin<'a> {
    files: &'a dyn Files,
    text: Option<Vec<u8>>,
}

impl<'a> Stdin<'a> {
    fn read(loader: &Loader<'a>, files: &[PathBuf]) -> Result<Stdin<'a>> {
        let dash = files.iter().find(|file| file.as_os_str() == "-");
        let text = dash.map(|dash| loader.text(dash)).transpose()?;
        Ok(Stdin {
            files: loader.files,
            text: text.map(String::into_bytes),
        })
    }
}

impl Files for Stdin<'_> {
    fn read(&self, path: &File) -> std::io::Result<Vec<u8>> {
        match &self.text {
            Some(text) if path.as_os_str() == "-" => Ok(text.clone()),
            _ => self.files.read(path),
        }
    }

    fn is_file(&self, path: &File) -> bool {
        self.files.is_file(path)
    }
}
