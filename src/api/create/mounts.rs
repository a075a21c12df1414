//! A container's mounts: `Binds`, `Mounts` and `Tmpfs`.

use super::Draft;
use super::values::{amount, flag, list, member, number, pairs, says_something, some_text, text};
use crate::engine::request::mounts::{
    MountOption, absolute, bind_words, inner, parse_volume, tmpfs_words,
};
use crate::engine::request::names;
use crate::error::{demand, refuse};
use anyhow::{Context, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Words about how stale a mount may be, which only docker's virtual machines know.
const CONSISTENCIES: [&str; 4] = ["consistent", "cached", "delegated", "default"];

/// A `SOURCE:DESTINATION[:OPTIONS]`. A directory of the host that is not there is made,
/// as docker makes it.
///
/// # Errors
/// It is none, or cannot be made.
pub(super) fn bind(text: &str) -> Result<MountOption> {
    let mut parts = text.splitn(3, ':');
    let (source, destination) = (parts.next().unwrap_or_default(), parts.next());
    let Some(destination) = destination else {
        refuse!(Invalid, "invalid volume specification: '{text}'");
    };
    let options = parts.next().unwrap_or_default().split(',');
    let options = options.filter(|word| !word.is_empty() && !CONSISTENCIES.contains(word));
    let options = options.collect::<Vec<_>>().join(",");
    if source.starts_with(['.', '~']) {
        refuse!(
            Invalid,
            "invalid volume specification: '{text}': a path of the host is absolute"
        );
    }
    if source.starts_with('/') && Path::new(source).symlink_metadata().is_err() {
        std::fs::create_dir_all(source).with_context(|| format!("make directory {source}"))?;
    }
    parse_volume(&format!("{source}:{destination}:{options}"))
}

/// `Tmpfs`
pub(super) fn tmpfs(draft: &mut Draft, value: &Value) -> Result<()> {
    for (path, options) in pairs(value)? {
        let words = options.split(',').filter(|word| !word.is_empty());
        draft.options.mounts.push(MountOption::Tmpfs {
            destination: absolute(&path)?,
            options: tmpfs_words(words.map(str::to_owned).collect()),
        });
    }
    Ok(())
}

/// `Mounts`
pub(super) fn mounts(draft: &mut Draft, value: &Value) -> Result<()> {
    for mount in list(value)? {
        let one = one(draft, mount)?;
        draft.options.mounts.push(one);
    }
    Ok(())
}

fn one(draft: &mut Draft, mount: &Value) -> Result<MountOption> {
    let string = |key: &str| -> Result<Option<&str>> {
        let value = member(mount, key).map(some_text).transpose();
        Ok(value.with_context(|| key.to_owned())?.flatten())
    };
    let kind = string("Type")?.unwrap_or_default();
    let (source, target) = (string("Source")?, string("Target")?);
    let Some(target) = target else {
        refuse!(Invalid, "Target: the place in the container is missing");
    };
    let wrong = || format!("invalid mount config for type \"{kind}\"");
    let destination = absolute(target).with_context(wrong)?;
    let read_only = member(mount, "ReadOnly")
        .map(flag)
        .transpose()?
        .unwrap_or(false);
    let mut words: Vec<String> = Vec::new();
    words.extend(read_only.then(|| "rro".to_owned()));
    let option = |part: &str, key: &str| member(mount.get(part)?, key);
    let is = |part: &str, key: &str| -> Result<bool> {
        let value = option(part, key).map(flag).transpose();
        Ok(value
            .with_context(|| format!("{part}.{key}"))?
            .unwrap_or(false))
    };
    match kind {
        "bind" => {
            let Some(source) = source.filter(|source| source.starts_with('/')) else {
                refuse!(Invalid, "{}: Source: an absolute path is wanted", wrong());
            };
            if Path::new(source).symlink_metadata().is_err() {
                if !is("BindOptions", "CreateMountpoint")? {
                    refuse!(
                        Invalid,
                        "{}: bind source path does not exist: {source}",
                        wrong()
                    );
                }
                std::fs::create_dir_all(source)
                    .with_context(|| format!("make directory {source}"))?;
            }
            if let Some(word) = option("BindOptions", "Propagation") {
                match text(word)? {
                    "" => {}
                    word @ ("private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave") => {
                        words.push(word.to_owned());
                    }
                    other => refuse!(Invalid, "BindOptions.Propagation: '{other}' is unknown"),
                }
            }
            if is("BindOptions", "NonRecursive")? {
                words.push("bind".to_owned());
            }
            if is("BindOptions", "ReadOnlyNonRecursive")? {
                words.retain(|word| word != "rro");
                words.extend(read_only.then(|| "ro".to_owned()));
            }
            Ok(MountOption::Bind {
                source: PathBuf::from(source),
                destination,
                options: bind_words(words),
                chown: false,
            })
        }
        "volume" => {
            if let Some(name) = source {
                names::volume(name).with_context(wrong)?;
            }
            if let Some(driver) = option("VolumeOptions", "DriverConfig") {
                let name = member(driver, "Name")
                    .map(text)
                    .transpose()?
                    .unwrap_or_default();
                let plain = matches!(name, "" | "local");
                demand!(
                    Unsupported,
                    plain && !member(driver, "Options").is_some_and(says_something),
                    "VolumeOptions.DriverConfig: there is the driver local, without options"
                );
            }
            let labels = option("VolumeOptions", "Labels").map(pairs).transpose()?;
            if let (Some(name), Some(labels)) = (source, labels.filter(|l| !l.is_empty())) {
                draft.labels.push((name.to_owned(), labels));
            }
            let subpath = option("VolumeOptions", "Subpath")
                .map(some_text)
                .transpose()?;
            Ok(MountOption::Volume {
                name: source.map(str::to_owned),
                destination,
                options: bind_words(words),
                subpath: subpath.flatten().map(inner).transpose()?,
                fill: !is("VolumeOptions", "NoCopy")?,
                chown: false,
            })
        }
        "tmpfs" => {
            demand!(
                Invalid,
                source.is_none(),
                "{}: a tmpfs has no source",
                wrong()
            );
            if let Some(size) = option("TmpfsOptions", "SizeBytes") {
                let size = amount(size).context("TmpfsOptions.SizeBytes")?;
                words.extend(size.map(|size| format!("size={size}")));
            }
            if let Some(mode) = option("TmpfsOptions", "Mode") {
                let mode = number(mode).context("TmpfsOptions.Mode")?;
                words.extend((mode != 0).then(|| format!("mode={:o}", mode & 0o7777)));
            }
            Ok(MountOption::Tmpfs {
                destination,
                options: tmpfs_words(words),
            })
        }
        "image" => {
            let Some(image) = source else {
                refuse!(Invalid, "{}: Source: an image is wanted", wrong());
            };
            let subpath = option("ImageOptions", "Subpath")
                .map(some_text)
                .transpose()?;
            Ok(MountOption::Image {
                image: image.to_owned(),
                destination,
                subpath: subpath.flatten().map(inner).transpose()?,
            })
        }
        other => refuse!(Invalid, "mount type unknown: \"{other}\""),
    }
}
