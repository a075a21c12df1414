//! `--secret` of `run` and `create`: which of the store's secrets a container
//! has, and as what.

use super::csv;
use crate::error::{refusal, refuse};
use anyhow::{Error, Result};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A secret that a container is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretOption {
    /// Its name or id.
    pub secret: String,
    /// What it is in the container.
    pub form: Form,
}

/// What a secret is in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// A file.
    Mount {
        /// Where, absolute; none for its name in [`DIRECTORY`].
        target: Option<PathBuf>,
        /// Whose it is.
        owner: (u32, u32),
        /// Its permissions.
        mode: u32,
    },
    /// A variable of its processes, by this name; none for its own.
    Variable(Option<String>),
}

/// Where secrets are that nothing else is said of.
pub const DIRECTORY: &str = "/run/secrets";

/// What everybody may read, as with docker and podman.
const MODE: u32 = 0o444;

impl FromStr for SecretOption {
    type Err = Error;

    /// Reads `NAME[,type=mount|env][,target=TARGET][,uid=N][,gid=N][,mode=OCTAL]`;
    /// docker's `source=NAME` is the name too.
    fn from_str(text: &str) -> Result<SecretOption> {
        let wrong = |says: &str| refusal!(Invalid, "--secret {text}: {says}");
        let fields = csv::fields(text).map_err(|error| wrong(&error.to_string()))?;
        let (mut name, mut target, mut kind) = (None, None, "mount");
        let (mut uid, mut gid, mut mode) = (None, None, None);
        let number = |value: &str| {
            let id = value.parse().ok().filter(|id| *id != u32::MAX);
            id.ok_or_else(|| wrong(&format!("'{value}' is no id: a number is wanted")))
        };
        for (at, field) in fields.iter().enumerate() {
            let Some((key, value)) = field.split_once('=') else {
                if at > 0 {
                    return Err(wrong(&format!("'{field}' has no value")));
                }
                name = Some(field.to_owned());
                continue;
            };
            match key {
                "source" | "src" => name = Some(value.to_owned()),
                "type" => kind = value,
                "target" | "dst" | "destination" => target = Some(value),
                "uid" => uid = Some(number(value)?),
                "gid" => gid = Some(number(value)?),
                "mode" => {
                    let read = u32::from_str_radix(value, 8).ok();
                    let read = read.filter(|mode| *mode <= 0o777);
                    let says = format!("mode '{value}': an octal number up to 777 is wanted");
                    mode = Some(read.ok_or_else(|| wrong(&says))?);
                }
                other => {
                    let says = format!("{other} is none of type, target, uid, gid, mode");
                    return Err(wrong(&says));
                }
            }
        }
        let secret = name.filter(|name| !name.is_empty());
        let secret = secret.ok_or_else(|| wrong("it names no secret; NAME comes first"))?;
        let form = match kind {
            "mount" => Form::Mount {
                target: target.map(|target| Path::new(DIRECTORY).join(target)),
                owner: (uid.unwrap_or(0), gid.unwrap_or(0)),
                mode: mode.unwrap_or(MODE),
            },
            "env" if uid.or(gid).or(mode).is_some() => {
                return Err(wrong("a variable has no uid, gid or mode"));
            }
            "env" => {
                if target.is_some_and(|name| name.is_empty() || name.contains(['=', '\0'])) {
                    return Err(wrong("the target is a variable's name"));
                }
                Form::Variable(target.map(str::to_owned))
            }
            _ => refuse!(Invalid, "--secret {text}: the type is mount or env"),
        };
        Ok(SecretOption { secret, form })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_files_or_variables() {
        let file = |target: Option<&str>, owner, mode| Form::Mount {
            target: target.map(PathBuf::from),
            owner,
            mode,
        };
        for (text, form) in [
            ("s", file(None, (0, 0), 0o444)),
            ("source=s", file(None, (0, 0), 0o444)),
            (
                "s,target=key",
                file(Some("/run/secrets/key"), (0, 0), 0o444),
            ),
            (
                "s,type=mount,target=/etc/key,uid=1,gid=2,mode=0400",
                file(Some("/etc/key"), (1, 2), 0o400),
            ),
            ("s,type=env", Form::Variable(None)),
            ("s,type=env,target=KEY", Form::Variable(Some("KEY".into()))),
        ] {
            let read: SecretOption = text.parse().unwrap();
            assert_eq!((read.secret.as_str(), read.form), ("s", form), "{text}");
        }
        for (text, says) in [
            ("", "names no secret"),
            ("type=env", "names no secret"),
            ("s,x", "'x' has no value"),
            ("s,type=file", "mount or env"),
            ("s,type=env,uid=1", "no uid"),
            ("s,type=env,target=A=B", "variable's name"),
            ("s,mode=9", "octal"),
            ("s,uid=root", "no id"),
            ("s,size=1", "none of"),
        ] {
            let error = text.parse::<SecretOption>().unwrap_err().to_string();
            assert!(
                error.starts_with("--secret ") && error.contains(says),
                "{text}: {error}"
            );
        }
    }
}
