//! `RUN --mount`.

use crate::engine::request::nearest::nearest;
use crate::engine::request::{csv, size};

/// What is mounted for one RUN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What, with what only that has.
    pub kind: Kind,
    /// Where; relative to the working directory. A secret may be in none.
    pub target: Option<String>,
    /// What is shown there: a stage, an image or a named context; the context if None.
    pub from: Option<String>,
    /// Which part of that.
    pub source: Option<String>,
    /// Whether it cannot be written to; None for the kind's own way.
    pub readonly: Option<bool>,
}

/// Kinds of mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Files of a stage, an image or a context; what is written to them is lost.
    Bind,
    /// A directory that later builds find as it was left.
    Cache {
        /// Which; the target if None.
        id: Option<String>,
        /// Who else may use it at the same time.
        sharing: Sharing,
        /// Of the directory, when it is made.
        owner: Owner,
    },
    /// Memory, of as many bytes at most.
    Tmpfs(Option<u64>),
    /// A secret of the caller's, as a file or a variable.
    Secret {
        /// Which.
        id: String,
        /// The variable that has it.
        env: Option<String>,
        /// The build fails without it.
        required: bool,
        /// Of the file.
        owner: Owner,
    },
    /// The caller's ssh agent.
    Ssh {
        /// Which; `default` if None.
        id: Option<String>,
        /// The build fails without it.
        required: bool,
        /// Of the socket.
        owner: Owner,
    },
}

/// Who else may use a cache at the same time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Everybody.
    #[default]
    Shared,
    /// Nobody: each has one of his own.
    Private,
    /// Nobody: they wait.
    Locked,
}

/// Owner and mode of what is made for a mount; None for the kind's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Owner {
    /// User.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Permissions.
    pub mode: Option<u32>,
}

const TYPES: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];

/// The keys, and what else they are called.
const KEYS: [(&str, &[&str]); 13] = [
    ("type", &[]),
    ("from", &[]),
    ("source", &["src"]),
    ("target", &["dst", "destination"]),
    ("readonly", &["ro"]),
    ("readwrite", &["rw"]),
    ("id", &[]),
    ("sharing", &[]),
    ("required", &[]),
    ("size", &[]),
    ("mode", &[]),
    ("uid", &[]),
    ("gid", &[]),
];

/// The key that only secrets have.
const ENV: &str = "env";

impl Mount {
    /// Reads the value of a flag, variables expanded.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(text: &str) -> Result<Mount, String> {
        let fields = csv::fields(text).map_err(|error| error.to_string())?;
        let mut given: Vec<(&str, Option<&str>)> = Vec::new();
        for field in &fields {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (field.as_str(), None),
            };
            given.push((name_of(key, field)?, value));
        }
        let last = |name: &str| given.iter().rev().find(|(key, _)| *key == name);
        let text = |name: &str| match last(name) {
            None => Ok(None),
            Some((_, Some(value))) => Ok(Some((*value).to_owned())),
            Some((key, None)) => Err(format!("invalid field '{key}' must be a key=value pair")),
        };
        let switch = |name: &str| match last(name) {
            None => Ok(None),
            Some((_, None | Some("true" | "1"))) => Ok(Some(true)),
            Some((_, Some("false" | "0"))) => Ok(Some(false)),
            Some((key, Some(value))) => Err(format!("invalid value for {key}: {value}")),
        };
        let number = |name: &str, radix: u32| match text(name)? {
            None => Ok(None),
            Some(value) => match u32::from_str_radix(&value, radix) {
                Ok(number) if radix == 10 || number <= 0o7777 => Ok(Some(number)),
                _ => Err(format!("invalid value {value} for {name}")),
            },
        };
        let kind = text("type")?.map_or("bind".to_owned(), |kind| kind.to_lowercase());
        let only = |allowed: &[&str]| {
            let common = ["type", "target", "readonly", "readwrite"];
            let other = given
                .iter()
                .find(|(key, _)| !common.contains(key) && !allowed.contains(key));
            match other {
                Some((key, _)) => Err(format!("{key} is no option of a mount of type {kind}")),
                None => Ok(()),
            }
        };
        let owner = Owner {
            uid: number("uid", 10)?,
            gid: number("gid", 10)?,
            mode: number("mode", 8)?,
        };
        let target = text("target")?.filter(|target| !target.is_empty());
        let required = switch("required")?.unwrap_or(false);
        let needs_target = || match &target {
            None => Err("target is required".to_owned()),
            Some(target) if target == "/" => Err(format!("invalid mount target {target:?}")),
            Some(_) => Ok(()),
        };
        let kind = match kind.as_str() {
            "bind" => {
                only(&["from", "source"])?;
                needs_target()?;
                Kind::Bind
            }
            "cache" => {
                only(&["from", "source", "id", "sharing", "uid", "gid", "mode"])?;
                needs_target()?;
                Kind::Cache {
                    id: text("id")?,
                    sharing: match text("sharing")?.map(|word| word.to_lowercase()).as_deref() {
                        None | Some("shared") => Sharing::Shared,
                        Some("private") => Sharing::Private,
                        Some("locked") => Sharing::Locked,
                        Some(other) => return Err(format!("unsupported sharing value {other:?}")),
                    },
                    owner,
                }
            }
            "tmpfs" => {
                only(&["size"])?;
                needs_target()?;
                let size = text("size")?;
                let bytes = |text: String| {
                    let bytes = size::bytes(&text);
                    bytes.map_err(|_| format!("invalid value for size: {text}"))
                };
                Kind::Tmpfs(size.map(bytes).transpose()?)
            }
            "secret" => {
                only(&["id", ENV, "required", "source", "uid", "gid", "mode"])?;
                let id = text("id")?.or(text("source")?);
                let base = |path: &String| path.rsplit('/').next().unwrap_or_default().to_owned();
                let id = id.or(target.as_ref().map(base)).filter(|id| !id.is_empty());
                Kind::Secret {
                    id: id.ok_or("one of id or target is required")?,
                    env: text(ENV)?,
                    required,
                    owner,
                }
            }
            "ssh" => {
                only(&["id", "required", "uid", "gid", "mode"])?;
                Kind::Ssh {
                    id: text("id")?,
                    required,
                    owner,
                }
            }
            other => {
                let says = format!("unsupported mount type {other:?}");
                return Err(match nearest(other, TYPES) {
                    Some(meant) => format!("{says} (did you mean {meant}?)"),
                    None => says,
                });
            }
        };
        let readonly = match (switch("readonly")?, switch("readwrite")?) {
            (Some(_), Some(_)) => return Err("readonly and readwrite contradict each other".into()),
            (readonly, readwrite) => readonly.or(readwrite.map(|on| !on)),
        };
        let source = match kind {
            Kind::Secret { .. } => None,
            _ => text("source")?,
        };
        Ok(Mount {
            kind,
            target,
            from: text("from")?,
            source,
            readonly,
        })
    }
}

/// The name of a key, whatever its case and whichever of its names was used.
fn name_of(key: &str, field: &str) -> Result<&'static str, String> {
    let lower = key.to_lowercase();
    if lower == ENV {
        return Ok(ENV);
    }
    let known = KEYS
        .iter()
        .find(|(name, others)| *name == lower || others.contains(&lower.as_str()));
    known.map(|(name, _)| *name).ok_or_else(|| {
        let names = KEYS
            .iter()
            .flat_map(|(name, others)| others.iter().chain([name]));
        let says = format!("unexpected key '{key}' in '{field}'");
        match nearest(&lower, names.copied().chain([ENV])) {
            Some(meant) => format!("{says} (did you mean {meant}?)"),
            None => says,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds() {
        let bind = Mount::parse("from=a,SRC=/b,dst=/c,rw").unwrap();
        assert_eq!(bind.kind, Kind::Bind);
        assert_eq!(bind.from.as_deref(), Some("a"));
        assert_eq!(bind.source.as_deref(), Some("/b"));
        assert_eq!(bind.target.as_deref(), Some("/c"));
        assert_eq!(bind.readonly, Some(false));
        let cache = Mount::parse("type=cache,target=/c,id=x,sharing=locked,uid=1,mode=0700");
        let owner = Owner {
            uid: Some(1),
            gid: None,
            mode: Some(0o700),
        };
        assert_eq!(
            cache.unwrap().kind,
            Kind::Cache {
                id: Some("x".into()),
                sharing: Sharing::Locked,
                owner
            }
        );
        assert_eq!(
            Mount::parse("type=tmpfs,target=/t,size=1m").unwrap().kind,
            Kind::Tmpfs(Some(1 << 20))
        );
        let secret = Mount::parse("\"type=secret\",target=/run/a/key,required").unwrap();
        assert_eq!(
            secret.kind,
            Kind::Secret {
                id: "key".into(),
                env: None,
                required: true,
                owner: Owner::default()
            }
        );
        let ssh = Mount::parse("type=ssh").unwrap();
        assert!(matches!(ssh.kind, Kind::Ssh { id: None, .. }));
    }

    #[test]
    fn faults() {
        for (text, says) in [
            (
                "type=bnid,target=/a",
                "unsupported mount type \"bnid\" (did you mean bind?)",
            ),
            ("type=bind", "target is required"),
            ("target=/", "invalid mount target \"/\""),
            (
                "targte=/a",
                "unexpected key 'targte' in 'targte=/a' (did you mean target?)",
            ),
            (
                "type=tmpfs,target=/a,uid=5",
                "uid is no option of a mount of type tmpfs",
            ),
            (
                "target=/a,mode=755",
                "mode is no option of a mount of type bind",
            ),
            (
                "type=cache,target=/a,mode=999",
                "invalid value 999 for mode",
            ),
            (
                "type=cache,target=/a,sharing=x",
                "unsupported sharing value \"x\"",
            ),
            ("type=secret", "one of id or target is required"),
            ("target", "invalid field 'target' must be a key=value pair"),
            ("target=/a,ro=maybe", "invalid value for readonly: maybe"),
            ("\"target=/a", "a quote is not closed"),
        ] {
            assert_eq!(Mount::parse(text).unwrap_err(), says, "{text}");
        }
    }
}
