//! Handing secrets to a container: its own copies, mounts of them, and variables,
//! which are kept apart from its specification and told to nobody.

use super::spec;
use crate::engine::container::asked::HandedSecret;
use crate::engine::container::containers::Container;
use crate::engine::container::secrets::{Secret, Secrets};
use crate::engine::container::volumes::give_tree;
use crate::engine::ground::json::{read_json, write_json};
use crate::engine::ids::userns::Mapping;
use crate::engine::request::secret::{DIRECTORY, Form, SecretOption};
use crate::error::refuse;
use crate::sys::fs::{make_public, private};
use anyhow::{Context, Result};
use oci_spec::runtime::{Mount, Spec};
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Secrets that were found.
#[derive(Debug, Default)]
pub struct Found(Vec<(Secret, Vec<u8>, Form)>);

/// Where the copies are in a container's directory.
const COPIES: &str = "secrets";
/// The variables among them.
const VARIABLES: &str = "secrets.json";

impl Found {
    /// Looks secrets up.
    ///
    /// # Errors
    /// There is none of that name; one cannot be a variable.
    pub fn look_up(secrets: &Secrets, options: &[SecretOption]) -> Result<Found> {
        let one = |option: &SecretOption| {
            let what = || format!("--secret {}", option.secret);
            let secret = secrets.find(&option.secret).with_context(what)?;
            let data = secrets.read(&secret)?;
            if matches!(option.form, Form::Variable(_))
                && (str::from_utf8(&data).is_err() || data.contains(&0))
            {
                refuse!(
                    Invalid,
                    "{}: it is no text, and so cannot be a variable: leave out type=env",
                    what()
                );
            }
            Ok((secret, data, option.form.clone()))
        };
        options.iter().map(one).collect::<Result<_>>().map(Found)
    }

    /// What is said of them where a container is shown.
    pub fn told(&self) -> Vec<HandedSecret> {
        let told = self.0.iter().map(|(secret, _, form)| {
            let (owner, mode) = match form {
                Form::Mount { owner, mode, .. } => (*owner, *mode),
                Form::Variable(_) => ((0, 0), 0),
            };
            HandedSecret {
                name: secret.name.clone(),
                id: secret.id.clone(),
                uid: owner.0,
                gid: owner.1,
                mode,
                variable: matches!(form, Form::Variable(_)),
            }
        });
        told.collect()
    }

    /// The mounts of those that are files; `directory` is the container's.
    pub fn mounts(&self, directory: &Path) -> Result<Vec<Mount>> {
        let files = self.0.iter().enumerate();
        let files = files.filter_map(|(at, (secret, _, form))| match form {
            Form::Mount { target, .. } => Some((at, secret, target)),
            Form::Variable(_) => None,
        });
        let words = ["bind", "rprivate", "ro", "nosuid", "nodev", "noexec"];
        let words = words.map(str::to_owned);
        files
            .map(|(at, secret, target)| {
                let target = target.clone();
                let target = target.unwrap_or_else(|| Path::new(DIRECTORY).join(&secret.name));
                spec::bind(&target, &copy(directory, at), &words)
            })
            .collect()
    }

    /// Writes the container's copies into its directory, which is still called
    /// `staging`.
    pub fn write(&self, staging: &Path, mapping: &Mapping) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        make_public(&staging.join(COPIES)).context("create secrets")?;
        let mut variables = Vec::new();
        for (at, (secret, data, form)) in self.0.iter().enumerate() {
            let what = || format!("hand over secret {}", secret.name);
            match form {
                Form::Mount { owner, mode, .. } => {
                    let path = copy(staging, at);
                    let mut file = private().write(true).create_new(true).open(&path)?;
                    file.write_all(data).with_context(what)?;
                    file.set_permissions(Permissions::from_mode(*mode))
                        .with_context(what)?;
                    give_tree(mapping, &path, *owner).with_context(what)?;
                }
                Form::Variable(name) => {
                    let name = name.as_ref().unwrap_or(&secret.name);
                    variables.push((name, String::from_utf8_lossy(data).into_owned()));
                }
            }
        }
        write_json(&staging.join(VARIABLES), &variables)
    }
}

fn copy(directory: &Path, at: usize) -> PathBuf {
    directory.join(COPIES).join(at.to_string())
}

/// Adds the variables that are secrets to the specification that a container's
/// processes are started by; `None` if it has none.
///
/// # Errors
/// They cannot be read.
pub fn with_variables(spec: &Spec, container: &Container) -> Result<Option<Spec>> {
    let handed = &container.record.asked.secrets;
    if !handed.iter().any(|secret| secret.variable) {
        return Ok(None);
    }
    let path = container.dir.join(VARIABLES);
    let variables: Option<Vec<(String, String)>> = read_json(&path)?;
    let mut spec = spec.clone();
    if let Some(process) = spec.process_mut() {
        let mut env = process.env().clone().unwrap_or_default();
        for (name, value) in variables.unwrap_or_default() {
            env.retain(|entry| entry.split('=').next() != Some(name.as_str()));
            env.push(format!("{name}={value}"));
        }
        process.set_env(Some(env));
    }
    Ok(Some(spec))
}
