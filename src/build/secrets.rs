//! What the caller hands to single commands of a build: secrets and sockets of ssh agents.

use crate::engine::request::csv;
use crate::error::{refusal, refuse};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Most bytes of a secret; BuildKit's.
const MAX_SECRET: u64 = 500 * 1024;

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// A file.
    File(PathBuf),
    /// A variable of the caller's.
    Variable(String),
}

/// Secrets by their ids, and sockets of ssh agents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    secrets: BTreeMap<String, Place>,
    agents: BTreeMap<String, PathBuf>,
}

impl Secrets {
    /// Reads the values of `--secret` (`id=ID[,src=FILE|,env=NAME]`) and `--ssh`
    /// (`default` or `ID[=SOCKET]`).
    ///
    /// # Errors
    /// One that cannot be read; an agent that is not there.
    pub fn parse(secrets: &[String], agents: &[String]) -> Result<Secrets> {
        let mut all = Secrets::default();
        for text in secrets {
            let (id, place) = secret(text)?;
            all.secrets.insert(id, place);
        }
        for text in agents {
            let (id, socket) = match text.split_once('=') {
                Some((id, socket)) => (id, PathBuf::from(socket)),
                None => match std::env::var_os("SSH_AUTH_SOCK") {
                    Some(socket) => (text.as_str(), PathBuf::from(socket)),
                    None => refuse!(
                        NotFound,
                        "--ssh {text}: there is no agent (SSH_AUTH_SOCK is not set): --ssh {text}=SOCKET \
                         names one"
                    ),
                },
            };
            let socket = socket
                .canonicalize()
                .with_context(|| format!("--ssh {text}"))?;
            all.agents.insert(id.to_owned(), socket);
        }
        Ok(all)
    }

    /// What a secret says; None if nobody handed it over.
    ///
    /// # Errors
    /// It cannot be read, or is longer than a secret may be.
    pub fn read(&self, id: &str) -> Result<Option<Vec<u8>>> {
        let bytes = match self.secrets.get(id) {
            None => return Ok(None),
            Some(Place::Variable(name)) => match std::env::var_os(name) {
                Some(value) => value.into_encoded_bytes(),
                None => refuse!(NotFound, "--secret id={id},env={name}: {name} is not set"),
            },
            Some(Place::File(path)) => {
                let what = || format!("--secret id={id},src={}", path.display());
                let mut bytes = Vec::new();
                let file = File::open(path).with_context(what)?;
                file.take(MAX_SECRET + 1)
                    .read_to_end(&mut bytes)
                    .with_context(what)?;
                bytes
            }
        };
        if bytes.len() as u64 > MAX_SECRET {
            refuse!(Invalid, "secret {id} has more than {MAX_SECRET} bytes");
        }
        Ok(Some(bytes))
    }

    /// The socket of an agent; None if nobody handed it over.
    pub fn agent(&self, id: &str) -> Option<&Path> {
        self.agents.get(id).map(PathBuf::as_path)
    }
}

fn secret(text: &str) -> Result<(String, Place)> {
    let wrong = |says: &str| refusal!(Invalid, "--secret {text}: {says}");
    let fields = csv::fields(text).map_err(|error| wrong(&error.to_string()))?;
    let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
    for field in &fields {
        let Some((key, value)) = field.split_once('=') else {
            return Err(wrong(&format!("{field:?} has no value, as id=ID,src=FILE")));
        };
        match key.to_ascii_lowercase().as_str() {
            "id" => id = Some(value.to_owned()),
            "src" | "source" => file = Some(value),
            "env" => variable = Some(value),
            "type" if matches!(value, "file" | "env") => kind = Some(value),
            "type" => return Err(wrong("the type is file or env")),
            key => return Err(wrong(&format!("{key} is none of id, src, env, type"))),
        }
    }
    // In the old form the source of a variable is its name.
    let (file, variable) = match kind {
        Some("env") => (None, variable.or(file)),
        _ => (file, variable),
    };
    let id = id.ok_or_else(|| wrong("it has no id"))?;
    let place = match (file, variable) {
        (Some(_), Some(_)) => return Err(wrong("it is a file or a variable, and not both")),
        (Some(file), None) => Place::File(file.into()),
        (None, Some(name)) => Place::Variable(name.to_owned()),
        // Bare, it is a variable if there is one of that name, else a file.
        (None, None) if std::env::var_os(&id).is_some() => Place::Variable(id.clone()),
        (None, None) => Place::File(id.clone().into()),
    };
    Ok((id, place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_files_or_variables() {
        let file = |path: &str| Place::File(path.into());
        for (text, id, place) in [
            ("id=a,src=/f", "a", file("/f")),
            ("ID=a,source=/f,type=file", "a", file("/f")),
            ("id=a,env=B", "a", Place::Variable("B".into())),
            ("type=env,id=a,src=B", "a", Place::Variable("B".into())),
            (
                "id=no-such-variable",
                "no-such-variable",
                file("no-such-variable"),
            ),
            ("\"id=a,b\",src=/f", "a,b", file("/f")),
        ] {
            assert_eq!(secret(text).unwrap(), (id.to_owned(), place), "{text}");
        }
        for text in [
            "src=/f",
            "id=a,src=/f,env=B",
            "id",
            "id=a,x=y",
            "id=a,type=x",
        ] {
            assert!(secret(text).is_err(), "{text}");
        }
    }
}
