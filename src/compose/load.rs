//! From files to one tree: variables, `extends`, `include`, merging.

use super::canonical::{canonical, defaults};
use super::dotenv::{self, Form};
use super::merge::{merge, unify};
use super::node::{Fault, Mark, Node, Path, Result, Value};
use super::paths::Base;
use super::template::{Variables, substitute};
use super::{check, shape, verify, yaml};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path as File, PathBuf};
use std::sync::Arc;

/// How many files may be read for one project.
const MAX_FILES: usize = 1000;

/// Where files come from.
pub trait Files {
    /// What is in a file; `-` is standard input.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    fn read(&self, path: &File) -> io::Result<Vec<u8>>;

    /// Whether there is a file, which is no directory.
    fn is_file(&self, path: &File) -> bool;
}

/// Names and their values.
pub type Environment = BTreeMap<String, String>;

/// What reads a project's files.
pub struct Loader<'a> {
    /// Where they come from.
    pub files: &'a dyn Files,
    /// Whether variables are replaced.
    pub interpolates: bool,
    /// What is worth saying, without repetitions.
    pub warnings: RefCell<Vec<String>>,
    /// How many files were read.
    pub count: RefCell<usize>,
    /// The user's home.
    pub home: Option<String>,
}

/// The services that are being extended: a file's name and that of a service.
type Chain = Vec<(PathBuf, String)>;

impl<'a> Loader<'a> {
    /// One that has read nothing yet.
    pub fn new(files: &'a dyn Files, home: Option<String>) -> Loader<'a> {
        Loader {
            files,
            interpolates: true,
            warnings: RefCell::default(),
            count: RefCell::default(),
            home,
        }
    }

    /// Something worth saying.
    pub fn warn(&self, text: String) {
        let mut warnings = self.warnings.borrow_mut();
        if !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    /// Paths relative to a directory.
    pub fn base<'b>(&'b self, directory: &'b File) -> Base<'b> {
        let home = self.home.as_deref();
        Base { directory, home }
    }

    /// What a file says.
    ///
    /// # Errors
    /// It cannot be read, is too large, or is not UTF-8.
    pub fn text(&self, path: &File) -> Result<String> {
        let name = path.display();
        let mut count = self.count.borrow_mut();
        *count += 1;
        if *count > MAX_FILES {
            let text = format!("{name}: the project is of more than {MAX_FILES} files");
            return Err(Fault::new(text));
        }
        let bytes = self.files.read(path).map_err(|error| {
            Fault::new(match error.kind() {
                io::ErrorKind::NotFound => format!("there is no file {name}"),
                _ => format!("read {name}: {error}"),
            })
        })?;
        if bytes.len() > yaml::MAX_FILE {
            let most = yaml::MAX_FILE;
            return Err(Fault::new(format!("{name} has more than {most} bytes")));
        }
        String::from_utf8(bytes).map_err(|error| {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
            Fault::new(format!("{name}:{line}: it is not UTF-8"))
        })
    }

    /// Adds what a file of variables says to what was found; `lookup` goes before that.
    ///
    /// # Errors
    /// The file is missing, or not what such files are.
    pub fn variables(
        &self,
        path: &File,
        form: Form,
        lookup: &dyn Fn(&str) -> Option<String>,
        found: &mut Environment,
    ) -> Result<()> {
        let text = self.text(path)?;
        let missing = |name: &str| self.missing(name);
        let variables = Variables {
            lookup,
            missing: &missing,
        };
        dotenv::parse(&text, form, &variables, found)
            .map_err(|(line, text)| Fault::new(format!("{}:{line}: {text}", path.display())))
    }

    fn missing(&self, name: &str) {
        self.warn(format!(
            "the variable {name} is not set and stands for nothing"
        ));
    }

    /// The tree that files make, one over the other, in a form without short cuts, checked and
    /// with absolute paths.
    ///
    /// # Errors
    /// Whatever is wrong with them.
    pub fn model(
        &self,
        files: &[PathBuf],
        directory: &File,
        environment: &Environment,
        included: &[PathBuf],
    ) -> Result<Node> {
        let start = Mark {
            file: Arc::from(files.first().map_or(".".into(), |f| f.to_string_lossy())),
            line: 0,
            column: 0,
        };
        let mut root = Node::new(Value::Map(Vec::new()), &start);
        for file in files {
            let mut included = included.to_vec();
            included.push(file.clone());
            for document in self.documents(file)? {
                let yaml::Document {
                    root: mut later,
                    resets,
                } = document;
                self.interpolate(&mut later, environment)?;
                self.extend(&mut later, file, directory, environment, &resets)?;
                take_away(&mut root, &Path::default(), &resets);
                self.include(&mut later, directory, environment, &included)?;
                root = merge(root, later, &Path::default())?;
                unify(&mut root, &Path::default())?;
                check::record(&root, &shape::PROJECT, &Path::default())?;
                if root.remove("version").is_some() {
                    self.warn(format!(
                        "{}: the key version means nothing any more",
                        file.display()
                    ));
                }
                canonical(&mut root, !self.interpolates)?;
                // Ranges of ports may have become what is there already.
                unify(&mut root, &Path::default())?;
            }
        }
        defaults(&mut root);
        verify::objects(&root)?;
        self.base(directory).resolve(&mut root);
        Ok(root)
    }

    /// The documents of a file, each a mapping.
    fn documents(&self, file: &File) -> Result<Vec<yaml::Document>> {
        let name: Arc<str> = Arc::from(file.to_string_lossy());
        let documents = yaml::parse(&name, &self.text(file)?)?;
        for document in &documents {
            if !matches!(document.root.value, Value::Map(_)) {
                let kind = document.root.value.kind();
                let text = format!("a compose file is a mapping; this is {kind}");
                return Err(document.root.fault(text));
            }
        }
        Ok(documents)
    }

    /// Replaces the variables of a tree.
    fn interpolate(&self, root: &mut Node, environment: &Environment) -> Result<()> {
        if !self.interpolates {
            return Ok(());
        }
        let lookup = |name: &str| environment.get(name).cloned();
        let missing = |name: &str| self.missing(name);
        let variables = Variables {
            lookup: &lookup,
            missing: &missing,
        };
        replace(root, &variables, &Path::default())
    }

    /// Lets services be what they extend, and what they say themselves over that.
    fn extend(
        &self,
        root: &mut Node,
        file: &File,
        directory: &File,
        environment: &Environment,
        resets: &[Path],
    ) -> Result<()> {
        let Some(mut services) = root.remove("services") else {
            return Ok(());
        };
        let names: Vec<String> = services
            .entries()
            .iter()
            .map(|(key, _)| key.name.clone())
            .collect();
        for name in names {
            let around = Around {
                file,
                directory,
                environment,
                resets,
            };
            let service = self.extended(&name, &services, &around, &mut Vec::new())?;
            services.set(&name, service);
        }
        root.set("services", services);
        Ok(())
    }

    /// A service over what it extends.
    fn extended(
        &self,
        name: &str,
        services: &Node,
        around: &Around,
        chain: &mut Chain,
    ) -> Result<Node> {
        let path = Path::from(["services", name].as_slice());
        let Some(service) = services.get(name) else {
            return Ok(Node::new(Value::Null, &services.mark));
        };
        let Some(extends) = service.get("extends") else {
            return Ok(service.clone());
        };
        let path_of = path.to("extends");
        let wanted = match &extends.value {
            Value::Text(name) => Some(name.as_str()),
            _ => extends.text_of("service"),
        };
        let Some(wanted) = wanted else {
            let text = "it has to say which service: the key service is missing";
            return Err(extends.fault(text).of(&path_of));
        };
        let link = (around.file.to_owned(), name.to_owned());
        if chain.contains(&link) {
            chain.push(link);
            let names: Vec<&str> = chain.iter().map(|(_, name)| name.as_str()).collect();
            let text = format!(
                "services extend each other in a circle: {}",
                names.join(", ")
            );
            return Err(extends.fault(text).of(&path_of));
        }
        chain.push(link);
        let missing = |place: &str| {
            let text = format!("there is no service {wanted:?} in {place}");
            extends.fault(text).of(&path_of)
        };
        let base = match extends.text_of("file") {
            None => {
                if services.get(wanted).is_none() {
                    return Err(missing("this file"));
                }
                self.extended(wanted, services, around, chain)?
            }
            Some(file) => {
                let file = self.base(around.directory).file(file);
                let directory = file.parent().unwrap_or(File::new("/")).to_owned();
                let (other, resets) = self
                    .other(&file, &directory, around.environment)
                    .map_err(|fault| fault.at(&extends.mark).of(&path_of))?;
                let there = other.get("services");
                let Some(there) = there.filter(|there| there.get(wanted).is_some()) else {
                    return Err(missing(&file.to_string_lossy()));
                };
                let inner = Around {
                    file: &file,
                    directory: &directory,
                    environment: around.environment,
                    resets: &resets,
                };
                self.extended(wanted, there, &inner, chain)?
            }
        };
        if base.value == Value::Null {
            return Ok(service.clone());
        }
        let mut base = base;
        take_away(&mut base, &path, around.resets);
        let mut merged = merge(base, service.clone(), &path)?;
        merged.remove("extends");
        Ok(merged)
    }

    /// A file of which a service is extended: no more than read, in its long form.
    fn other(
        &self,
        file: &File,
        directory: &File,
        environment: &Environment,
    ) -> Result<(Node, Vec<Path>)> {
        let mut whole: Option<Node> = None;
        let mut all = Vec::new();
        for yaml::Document { mut root, resets } in self.documents(file)? {
            self.interpolate(&mut root, environment)?;
            root = match whole {
                None => root,
                Some(earlier) => merge(earlier, root, &Path::default())?,
            };
            unify(&mut root, &Path::default())?;
            // A list of what has to be a mapping has no long form.
            check::record(&root, &shape::PROJECT, &Path::default())?;
            canonical(&mut root, !self.interpolates)?;
            unify(&mut root, &Path::default())?;
            all.extend(resets);
            whole = Some(root);
        }
        let mut root =
            whole.ok_or_else(|| Fault::new(format!("{} has nothing in it", file.display())))?;
        self.base(directory).resolve(&mut root);
        Ok((root, all))
    }

    /// Adds what other files have, each with an environment of its own.
    fn include(
        &self,
        root: &mut Node,
        directory: &File,
        environment: &Environment,
        included: &[PathBuf],
    ) -> Result<()> {
        let Some(list) = root.remove("include") else {
            return Ok(());
        };
        let path = Path::from(["include"].as_slice());
        check::check(
            &Node::map(vec![("include", list.value.clone())], &list.mark),
            &shape::Shape::Record(&shape::PROJECT),
            &Path::default(),
        )?;
        for item in list.items() {
            let texts = |key: &str| match item.get(key) {
                Some(node) if node.as_text().is_some() => vec![node.as_text().unwrap_or_default()],
                Some(node) => node.items().iter().filter_map(Node::as_text).collect(),
                None => Vec::new(),
            };
            let names = match item.as_text() {
                Some(text) => vec![text],
                None => texts("path"),
            };
            let base = self.base(directory);
            let files: Vec<PathBuf> = names.iter().map(|name| base.file(name)).collect();
            let Some(first) = files.first() else {
                return Err(item.fault("the key path is missing").of(&path));
            };
            if included.contains(first) {
                let mut names: Vec<String> =
                    included.iter().map(|f| f.display().to_string()).collect();
                names.push(first.display().to_string());
                let text = format!("files include each other in a circle: {}", names.join(", "));
                return Err(item.fault(text).of(&path));
            }
            let inner = match item.text_of("project_directory") {
                Some(place) => base.file(place),
                None => first.parent().unwrap_or(File::new("/")).to_owned(),
            };
            let mut env_files: Vec<PathBuf> = texts("env_file")
                .iter()
                .map(|name| base.file(name))
                .collect();
            if env_files.is_empty() && self.files.is_file(&inner.join(".env")) {
                env_files.push(inner.join(".env"));
            }
            let mut found = Environment::new();
            for file in env_files {
                let lookup = |name: &str| environment.get(name).cloned();
                self.variables(&file, Form::Shell, &lookup, &mut found)
                    .map_err(|fault| fault.at(&item.mark).of(&path))?;
            }
            found.extend(environment.clone());
            let model = self
                .model(&files, &inner, &found, included)
                .map_err(|fault| fault.at(&item.mark))?;
            import(root, model)?;
        }
        Ok(())
    }
}

/// What a service that extends another stands in.
struct Around<'a> {
    file: &'a File,
    directory: &'a File,
    environment: &'a Environment,
    resets: &'a [Path],
}

/// Adds what an included file has to a tree.
fn import(root: &mut Node, model: Node) -> Result<()> {
    let sections = [
        "services", "volumes", "networks", "secrets", "configs", "models",
    ];
    let Value::Map(found) = model.value else {
        return Ok(());
    };
    for (section, node) in found {
        if !sections.contains(&section.name.as_str()) {
            continue;
        }
        let mut own = match root.remove(&section.name) {
            Some(own) if own.value != Value::Null => own,
            _ => Node::new(Value::Map(Vec::new()), &node.mark),
        };
        let Value::Map(entries) = node.value else {
            continue;
        };
        for (key, node) in entries {
            match own.get(&key.name) {
                None => own.set(&key.name, node),
                Some(same) if *same == node => {}
                Some(other) => {
                    let path = Path::from([section.name.as_str(), &key.name].as_slice());
                    let text = format!("an included file, {}, has another of this name", key.mark);
                    return Err(other.fault(text).of(&path));
                }
            }
        }
        root.set(&section.name, own);
    }
    Ok(())
}

/// Replaces variables in all strings.
fn replace(node: &mut Node, variables: &Variables, path: &Path) -> Result<()> {
    match &mut node.value {
        Value::Text(text) if text.contains('$') => {
            let new = substitute(text, variables);
            *text = new.map_err(|wrong| {
                Fault::new(format!("{wrong}: {text:?}"))
                    .at(&node.mark)
                    .of(path)
            })?;
        }
        Value::Map(entries) => {
            for (key, node) in entries {
                replace(node, variables, &path.to(&key.name))?;
            }
        }
        Value::List(items) => {
            for (item, at) in items.iter_mut().zip(0..) {
                replace(item, variables, &path.to(&format!("[{at}]")))?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Takes what `!reset` and `!override` are about out of what earlier files have said.
fn take_away(node: &mut Node, path: &Path, resets: &[Path]) {
    if resets.is_empty() {
        return;
    }
    if let Value::Map(entries) = &mut node.value {
        entries.retain_mut(|(key, node)| {
            let path = path.to(&key.name);
            if resets.contains(&path) {
                return false;
            }
            take_away(node, &path, resets);
            true
        });
    }
}

/// The names of all that a tree has in a section.
pub fn names(root: &Node, section: &str) -> BTreeSet<String> {
    let section = root.get(section);
    let entries = section.map(Node::entries).unwrap_or_default();
    entries.iter().map(|(key, _)| key.name.clone()).collect()
}
