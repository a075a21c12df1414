//! Paths that are made absolute.

use super::mounts::clean;
use super::node::{Node, Value};
use std::path::{Path as File, PathBuf};

/// What paths are relative to.
pub struct Base<'a> {
    /// The directory.
    pub directory: &'a File,
    /// The user's home, if it is known.
    pub home: Option<&'a str>,
}

impl Base<'_> {
    /// The absolute path.
    pub fn absolute(&self, path: &str) -> String {
        let path = match (path.strip_prefix('~'), self.home) {
            (Some(rest), Some(home)) => clean(&format!("{home}/{rest}")),
            _ => path.to_owned(),
        };
        match path.starts_with('/') || path.is_empty() {
            true => path,
            false => clean(&self.directory.join(path).to_string_lossy()),
        }
    }

    /// The same as a path.
    pub fn file(&self, path: &str) -> PathBuf {
        self.absolute(path).into()
    }

    /// Makes the paths of a file's tree absolute.
    pub fn resolve(&self, root: &mut Node) {
        for (_, service) in root.get_mut("services").into_iter().flat_map(entries) {
            self.service(service);
        }
        for section in ["configs", "secrets"] {
            for (_, object) in root.get_mut(section).into_iter().flat_map(entries) {
                self.key(object, "file", false);
            }
        }
        for (_, volume) in root.get_mut("volumes").into_iter().flat_map(entries) {
            if volume.text_of("driver") == Some("local")
                && let Some(options) = volume.get_mut("driver_opts")
                && options.text_of("o") == Some("bind")
            {
                self.key(options, "device", true);
            }
        }
    }

    fn service(&self, service: &mut Node) {
        if let Some(build) = service.get_mut("build") {
            if let Some(context) = build.get_mut("context") {
                self.context(context);
            }
            for (_, context) in build
                .get_mut("additional_contexts")
                .into_iter()
                .flat_map(entries)
            {
                self.context(context);
            }
            for (_, key) in build.get_mut("ssh").into_iter().flat_map(entries) {
                self.path(key, true);
            }
        }
        for file in service
            .get_mut("env_file")
            .into_iter()
            .flat_map(Node::items_mut)
        {
            self.key(file, "path", false);
        }
        for file in service
            .get_mut("label_file")
            .into_iter()
            .flat_map(Node::items_mut)
        {
            self.path(file, false);
        }
        if let Some(extends) = service.get_mut("extends") {
            self.key(extends, "file", false);
        }
        if let Some(watch) = service.get_mut("develop").and_then(|d| d.get_mut("watch")) {
            for item in watch.items_mut() {
                self.key(item, "path", false);
            }
        }
        for mount in service
            .get_mut("volumes")
            .into_iter()
            .flat_map(Node::items_mut)
        {
            if mount.text_of("type") == Some("bind") {
                self.key(mount, "source", true);
            }
        }
    }

    fn key(&self, node: &mut Node, key: &str, may_be_foreign: bool) {
        if let Some(inner) = node.get_mut(key) {
            self.path(inner, may_be_foreign);
        }
    }

    fn path(&self, node: &mut Node, may_be_foreign: bool) {
        if let Value::Text(path) = &mut node.value {
            let is_foreign = may_be_foreign && is_of_windows(path);
            if !is_foreign {
                *path = self.absolute(path);
            }
        }
    }

    fn context(&self, node: &mut Node) {
        let remote = [
            "https://",
            "http://",
            "git://",
            "ssh://",
            "github.com/",
            "git@",
            "service:",
        ];
        if let Value::Text(path) = &mut node.value
            && !path.contains("://")
            && !remote.iter().any(|start| path.starts_with(start))
        {
            *path = self.absolute(path);
        }
    }
}

fn entries(node: &mut Node) -> &mut [(super::node::Key, Node)] {
    node.entries_mut()
}

/// Whether a path is an absolute one of Windows.
fn is_of_windows(path: &str) -> bool {
    let bytes = path.as_bytes();
    path.starts_with(r"\\")
        || (bytes.len() > 2
            && bytes[0].is_ascii_alphabetic()
            && bytes[1] == b':'
            && matches!(bytes[2], b'/' | b'\\'))
}
