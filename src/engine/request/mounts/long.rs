//! `--mount`, read: comma-separated fields as CSV has them (RFC 4180), with
//! docker's and podman's keys.

use super::MountOption;
use super::absolute;
use super::absolute_source;
use super::bind_words;
use super::tmpfs_words;
use crate::engine::request::{csv, names, size};
use crate::error::{demand, refuse};
use anyhow::{Context, Result};
use std::path::{Component, Path};

/// Types of mounts, and how the keys begin that are for one of them alone.
const TYPES: [&str; 4] = ["bind", "volume", "tmpfs", "image"];

/// What the fields said, of whatever type.
#[derive(Default)]
struct Fields {
    kind: Option<String>,
    source: Option<String>,
    target: Option<String>,
    subpath: Option<String>,
    keep_empty: bool,
    chown: bool,
    /// Words of mount(8).
    words: Vec<String>,
    /// Keys that are for one type alone.
    special: Vec<String>,
}

/// Parses `--mount type=bind,source=…,target=…,…`.
///
/// # Errors
/// An unknown type or key, a missing target.
pub fn parse_mount(text: &str) -> Result<MountOption> {
    read(text).with_context(|| format!("mount '{text}'"))
}

fn read(text: &str) -> Result<MountOption> {
    let mut fields = Fields::default();
    for field in csv::fields(text)? {
        fields.take(&field)?;
    }
    let kind = fields.kind.as_deref().unwrap_or("volume").to_lowercase();
    demand!(
        Invalid,
        TYPES.contains(&kind.as_str()),
        "type '{kind}' is none of {}",
        TYPES.join(", ")
    );
    let foreign = |key: &&String| !key.starts_with(&kind);
    if let Some(key) = fields.special.iter().find(foreign) {
        refuse!(Invalid, "{key} is not for a mount of type {kind}");
    }
    let target = fields
        .target
        .context("target: missing; target=PATH is the place in the container")?;
    let destination = absolute(&target).context("target")?;
    let source = fields.source.as_deref().filter(|source| !source.is_empty());
    let (chown, words) = (fields.chown, fields.words);
    let subpath = fields.subpath.as_deref().map(inner).transpose()?;
    if subpath.is_some() && !matches!(kind.as_str(), "volume" | "image") {
        refuse!(
            Invalid,
            "subpath is for volumes and images; a bind mount's source can be any path"
        );
    }
    match kind.as_str() {
        "bind" => Ok(MountOption::Bind {
            source: absolute_source(source.context("source: missing")?).context("source")?,
            destination,
            options: bind_words(words),
            chown,
        }),
        "volume" => {
            source.map(names::volume).transpose().context("source")?;
            demand!(
                Invalid,
                subpath.is_none() || source.is_some(),
                "subpath is a part of a volume that is there: source=NAME is missing"
            );
            Ok(MountOption::Volume {
                name: source.map(str::to_owned),
                destination,
                options: bind_words(words),
                subpath,
                fill: !fields.keep_empty,
                chown,
            })
        }
        "tmpfs" if source.is_some() => refuse!(Invalid, "a tmpfs has no source"),
        "tmpfs" => Ok(MountOption::Tmpfs {
            destination,
            options: tmpfs_words(words),
        }),
        _ => {
            if words.iter().any(|word| word != "rro") {
                refuse!(Invalid, "an image is mounted read-only");
            }
            Ok(MountOption::Image {
                image: source.context("source: an image is missing")?.to_owned(),
                destination,
                subpath,
            })
        }
    }
}

impl Fields {
    fn take(&mut self, field: &str) -> Result<()> {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (field, None),
        };
        // Those of one type alone are named after it; podman's are not all.
        let lower = key.to_lowercase();
        if TYPES
            .iter()
            .any(|kind| lower.strip_prefix(kind).is_some_and(|k| k.starts_with('-')))
        {
            self.special.push(lower.clone());
        }
        let needed = || {
            let value = value.filter(|value| !value.is_empty());
            value.with_context(|| format!("{key} needs a value, as {key}=…"))
        };
        let flag = || truth(key, value);
        match lower.as_str() {
            "type" => self.kind = Some(needed()?.to_owned()),
            "source" | "src" => self.source = Some(value.unwrap_or_default().to_owned()),
            "target" | "destination" | "dst" | "dest" => self.target = Some(needed()?.to_owned()),
            "readonly" | "ro" => self.words.extend(flag()?.then(|| "rro".into())),
            "rw" | "readwrite" => match flag()? {
                true => self.words.push("rw".into()),
                false => self.words.push("rro".into()),
            },
            "subpath" | "volume-subpath" | "image-subpath" => {
                self.subpath = Some(needed()?.to_owned());
            }
            "bind-propagation" => match needed()? {
                word @ ("private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave") => {
                    self.words.push(word.into());
                }
                other => refuse!(
                    Invalid,
                    "bind-propagation={other}: there are private, rprivate, shared, rshared, \
                     slave and rslave"
                ),
            },
            "bind-nonrecursive" => self.words.extend(flag()?.then(|| "bind".into())),
            "bind-recursive" => match needed()? {
                "enabled" | "readonly" => {}
                "writable" => self.words.retain(|w| w != "rro"),
                "disabled" => self.words.push("bind".into()),
                other => refuse!(
                    Invalid,
                    "bind-recursive={other}: there are enabled, disabled, writable and readonly"
                ),
            },
            "volume-nocopy" | "nocopy" => self.keep_empty = flag()?,
            "u" | "chown" => self.chown = flag()?,
            "volume-driver" if value == Some("local") => {}
            "tmpfs-size" => {
                let size = size::bytes(needed()?).with_context(|| key.to_owned())?;
                self.words.push(format!("size={size}"));
            }
            "tmpfs-mode" => {
                let mode = u32::from_str_radix(needed()?, 8).ok();
                let mode = mode.filter(|mode| *mode <= 0o7777);
                let mode =
                    mode.with_context(|| format!("{field}: an octal mode is wanted, as 1777"))?;
                self.words.push(format!("mode={mode:o}"));
            }
            "consistency" | "relabel" | "z" => {}
            "nosuid" | "nodev" | "noexec" | "exec" | "suid" | "dev" | "notmpcopyup"
            | "tmpcopyup"
                if value.is_none() =>
            {
                self.words.push(lower);
            }
            "" => refuse!(Invalid, "a field is empty; KEY=VALUE,… is wanted"),
            _ => refuse!(Invalid, "'{key}' is unknown or not supported yet"),
        }
        Ok(())
    }
}

/// A yes or no, as Go reads them.
fn truth(key: &str, value: Option<&str>) -> Result<bool> {
    match value {
        None | Some("true" | "1" | "t" | "T" | "TRUE" | "True") => Ok(true),
        Some("false" | "0" | "f" | "F" | "FALSE" | "False") => Ok(false),
        Some(other) => refuse!(Invalid, "{key}={other} is neither true nor false"),
    }
}

/// A path below the root of a volume or an image.
pub fn inner(path: &str) -> Result<String> {
    let parts = Path::new(path).components();
    let mut names = Vec::new();
    for part in parts {
        match part {
            Component::Normal(name) => names.push(name.to_string_lossy()),
            Component::CurDir => {}
            _ => refuse!(
                Invalid,
                "subpath={path}: a relative path without '..' is wanted"
            ),
        }
    }
    demand!(
        Invalid,
        !names.is_empty(),
        "subpath={path}: it names nothing"
    );
    Ok(names.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_of_keys_are_known() {
        let plain = parse_mount("type=volume,source=v,target=/x,readonly").unwrap();
        for text in [
            "src=v,dst=/x,ro",
            "TYPE=Volume,Source=v,destination=/x,ro=true",
            "src=v,dest=/x,readonly=1",
            "src=v,target=/x/../x,rw=false",
        ] {
            assert_eq!(parse_mount(text).unwrap(), plain, "{text}");
        }
        let sub = parse_mount("src=v,dst=/x,volume-subpath=a/./b").unwrap();
        assert_eq!(parse_mount("src=v,dst=/x,subpath=a/b").unwrap(), sub);
        let MountOption::Volume { subpath, .. } = sub else {
            panic!("no volume")
        };
        assert_eq!(subpath.as_deref(), Some("a/b"));
        for text in ["image-subpath=usr/share", "subpath=usr/share/"] {
            let image = parse_mount(&format!("type=image,src=i,dst=/x,{text}")).unwrap();
            let MountOption::Image { subpath, .. } = image else {
                panic!("no image")
            };
            assert_eq!(subpath.as_deref(), Some("usr/share"));
        }
        let quoted = parse_mount(r#""type=bind","source=/etc","target=/a,b""#).unwrap();
        assert_eq!(quoted.destination(), Path::new("/a,b"));
        let tmpfs = parse_mount("type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=0700").unwrap();
        let MountOption::Tmpfs { options, .. } = tmpfs else {
            panic!("no tmpfs")
        };
        for word in ["size=1048576", "mode=700"] {
            assert!(options.contains(&word.to_owned()), "{options:?}");
        }
    }

    #[test]
    fn errors_name_the_field() {
        for (text, word) in [
            ("type=bind,src=/etc", "target: missing"),
            ("type=bind,dst=/x", "source: missing"),
            ("src=v,dst=x", "x is not an absolute path"),
            ("src=v,dst=/x,bogus=1", "'bogus' is unknown"),
            ("src=v,dst=/x,", "a field is empty"),
            ("src=v,dst=/x,ro=maybe", "ro=maybe"),
            ("src=v,dst=/x,subpath=../y", "without '..'"),
            ("src=v,dst=/x,subpath=/y", "a relative path"),
            ("src=v,dst=/x,subpath=.", "names nothing"),
            ("dst=/x,subpath=y", "source=NAME is missing"),
            (
                "type=bind,src=/etc,dst=/x,subpath=y",
                "for volumes and images",
            ),
            (
                "src=v,dst=/x,tmpfs-size=1m",
                "tmpfs-size is not for a mount of type volume",
            ),
            (
                "type=tmpfs,dst=/x,tmpfs-size=big",
                "tmpfs-size: 'big' is no amount",
            ),
            ("type=tmpfs,dst=/x,tmpfs-mode=9", "octal"),
            ("type=bind,src=/etc,dst=/x,bind-propagation=odd", "rslave"),
            (
                r#"type=bind,source="/a,b",dst=/x"#,
                "the whole field is quoted",
            ),
        ] {
            let error = format!("{:#}", parse_mount(text).unwrap_err());
            assert!(error.contains(word) && error.contains(text), "{error}");
        }
    }
}
