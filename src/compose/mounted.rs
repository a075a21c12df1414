//! What a service has mounted: volumes, secrets, configurations.

use super::node::{Node, Result, Value};
use super::service::{Content, Draft, GivenFile, only, shown, texts, truth, wrong};
use crate::engine::request::mounts::{self, MountOption};
use std::path::{Path, PathBuf};

/// `volumes`.
pub fn volumes(draft: &mut Draft, node: &Node) -> Result<()> {
    for item in node.items() {
        let mount = volume(draft, item)?;
        draft.options.mounts.push(mount);
    }
    Ok(())
}

fn volume(draft: &mut Draft, item: &Node) -> Result<MountOption> {
    only(
        item,
        &[
            "type",
            "source",
            "target",
            "read_only",
            "consistency",
            "bind",
            "volume",
            "tmpfs",
            "image",
        ],
    )?;
    let target = item.text_of("target").unwrap_or_default();
    if !target.starts_with('/') {
        return Err(item.fault(format!(
            "target {target:?} is no absolute path: it is a place in the container"
        )));
    }
    let destination = crate::sys::fs::clean(Path::new(target));
    let source = item.text_of("source").filter(|source| !source.is_empty());
    let mut words: Vec<String> = Vec::new();
    if item.get("read_only").is_some_and(truth) {
        // Written through to every mount below, where the kernel can.
        words.push("rro".into());
    }
    let needed = || source.ok_or_else(|| item.fault("source is missing"));
    match item.text_of("type").unwrap_or("volume") {
        "bind" => {
            let source = PathBuf::from(needed()?);
            let options = item.given("bind");
            if let Some(options) = options {
                only(
                    options,
                    &["selinux", "propagation", "create_host_path", "recursive"],
                )?;
                if let Some(word) = options
                    .text_of("propagation")
                    .filter(|word| !word.is_empty())
                {
                    words.push(word.to_owned());
                }
                match options.text_of("recursive") {
                    Some("disabled") => words.push("bind".into()),
                    Some("writable") => words.retain(|word| word != "rro"),
                    _ => {}
                }
            }
            if !source.exists() {
                // Who writes the short form gets a directory.
                let makes = options.and_then(|options| options.get("create_host_path"));
                if !makes.is_some_and(truth) {
                    let text = format!(
                        "{} is not there: make it first, or say bind.create_host_path",
                        source.display()
                    );
                    return Err(item.fault(text));
                }
                draft.directories.push(source.clone());
            }
            Ok(MountOption::Bind {
                source,
                destination,
                options: mounts::bind_words(words),
                chown: false,
            })
        }
        "volume" => {
            let options = item.given("volume");
            let mut subpath = None;
            let mut fill = true;
            if let Some(options) = options {
                only(options, &["nocopy", "subpath"])?;
                fill = !options.get("nocopy").is_some_and(truth);
                subpath = options.text_of("subpath").filter(|path| !path.is_empty());
            }
            let name = match source {
                Some(key) => Some(named(draft, item, "volumes", key)?),
                None => None,
            };
            Ok(MountOption::Volume {
                name,
                destination,
                options: mounts::bind_words(words),
                subpath: subpath.map(|path| inner(item, path)).transpose()?,
                fill,
                chown: false,
            })
        }
        "tmpfs" => {
            let options = item.given("tmpfs");
            let part = |key: &str| options.and_then(|options| options.given(key));
            if let Some(size) = part("size") {
                words.push(format!("size={}", shown(size)));
            }
            if let Some(Value::Int(mode)) = part("mode").map(|node| &node.value) {
                words.push(format!("mode={mode:o}"));
            }
            words
                .iter_mut()
                .filter(|word| *word == "rro")
                .for_each(|word| *word = "ro".into());
            Ok(MountOption::Tmpfs {
                destination,
                options: mounts::tmpfs_words(words),
            })
        }
        "image" => {
            let subpath = item
                .given("image")
                .and_then(|image| image.text_of("subpath"));
            Ok(MountOption::Image {
                image: needed()?.to_owned(),
                destination,
                subpath: subpath
                    .filter(|path| !path.is_empty())
                    .map(|path| inner(item, path))
                    .transpose()?,
            })
        }
        other => Err(item.fault(format!(
            "there are no mounts of type {other:?} here: there are bind, volume, tmpfs and image"
        ))),
    }
}

fn inner(item: &Node, path: &str) -> Result<String> {
    mounts::inner(path).map_err(|error| wrong(item, &error))
}

/// What a part of the project is called for the engine.
fn named(draft: &Draft, item: &Node, section: &str, key: &str) -> Result<String> {
    let part = draft
        .project
        .root
        .get(section)
        .and_then(|section| section.get(key));
    let name = part.and_then(|part| part.text_of("name"));
    name.map(str::to_owned)
        .ok_or_else(|| item.fault(format!("{section}.{key} is not there")))
}

/// `tmpfs`.
pub fn tmpfs(draft: &mut Draft, node: &Node) -> Result<()> {
    for text in texts(node) {
        let read = mounts::parse_tmpfs(&text).map_err(|error| wrong(node, &error))?;
        draft.options.mounts.push(read);
    }
    Ok(())
}

/// `volumes_from`: a service, or `container:NAME`, with `:ro` behind it.
pub fn volumes_from(draft: &mut Draft, node: &Node) -> Result<()> {
    for text in texts(node) {
        let (text, is_foreign) = match text.strip_prefix("container:") {
            Some(rest) => (rest.to_owned(), true),
            None => (text, false),
        };
        let (name, options) = text.split_once(':').unwrap_or((&text, "rw"));
        let container = match is_foreign {
            true => name.to_owned(),
            false => {
                draft.shares_with.push(name.to_owned());
                super::networking::first_container(draft.project, name)
            }
        };
        let read = mounts::parse_volumes_from(&format!("{container}:{options}"));
        let read = read.map_err(|error| wrong(node, &error))?;
        draft.options.volumes_from.push(read);
    }
    Ok(())
}

/// `secrets`.
pub fn secrets(draft: &mut Draft, node: &Node) -> Result<()> {
    files(draft, node, "secrets", "/run/secrets/")
}

/// `configs`.
pub fn configs(draft: &mut Draft, node: &Node) -> Result<()> {
    files(draft, node, "configs", "/")
}

fn files(draft: &mut Draft, node: &Node, section: &str, place: &str) -> Result<()> {
    for item in node.items() {
        only(item, &["source", "target", "uid", "gid", "mode"])?;
        for key in ["uid", "gid"] {
            if item.text_of(key).is_some_and(|id| id != "0") {
                let text = format!(
                    "{key}: the file is root's in the container: leave it out, it can be read by all unless mode says otherwise"
                );
                return Err(item.fault(text));
            }
        }
        let key = item.text_of("source").unwrap_or_default();
        let part = draft
            .project
            .root
            .get(section)
            .and_then(|section| section.get(key));
        let Some(part) = part else {
            return Err(item.fault(format!("{section}.{key} is not there")));
        };
        let target = match item.text_of("target") {
            Some(target) if target.starts_with('/') => target.to_owned(),
            Some(target) if !target.is_empty() => format!("{place}{target}"),
            _ => format!("{place}{key}"),
        };
        let mode = match item.given("mode").map(shown) {
            Some(text) => u32::from_str_radix(text.trim_start_matches("0o"), 8).map_err(|_| {
                item.fault(format!("mode {text:?}: an octal number is wanted, as 0440"))
            })?,
            None => 0o444,
        };
        let file = GivenFile {
            key: format!("{section}.{key}"),
            content: content(draft, part, section, key, item.given("mode").is_some())?,
            target: crate::sys::fs::clean(Path::new(&target)),
            mode,
        };
        draft.files.push(file);
    }
    Ok(())
}

fn content(
    draft: &Draft,
    part: &Node,
    section: &str,
    key: &str,
    has_mode: bool,
) -> Result<Content> {
    for word in ["driver", "template_driver", "driver_opts"] {
        if part.given(word).is_some() {
            return Err(part.fault(format!(
                "{section}.{key}.{word}: there are no drivers for it here"
            )));
        }
    }
    if part
        .given("external")
        .is_some_and(|node| node.value != Value::Bool(false))
    {
        let text = format!(
            "{section}.{key} is external, and nothing keeps such here: name a file or a variable"
        );
        return Err(part.fault(text));
    }
    if let Some(file) = part.text_of("file").filter(|file| !file.is_empty()) {
        let unreadable = |error| {
            let text =
                format!("{section}.{key}: {file}: {error}: it has to be a file that you can read");
            part.fault(text)
        };
        // With permissions of its own it is a copy.
        if has_mode {
            return std::fs::read(file).map(Content::Bytes).map_err(unreadable);
        }
        std::fs::File::open(file).map_err(unreadable)?;
        return Ok(Content::File(file.into()));
    }
    if let Some(name) = part.text_of("environment").filter(|name| !name.is_empty()) {
        let value = draft.project.environment.get(name).cloned();
        let missing = || {
            part.fault(format!(
                "{section}.{key}: the variable {name} is not set: set it, or name a file"
            ))
        };
        return value
            .map(|value| Content::Bytes(value.into()))
            .ok_or_else(missing);
    }
    match part.text_of("content") {
        Some(text) => Ok(Content::Bytes(text.into())),
        None => Err(part.fault(format!(
            "{section}.{key} says nothing: file, environment or content does"
        ))),
    }
}
