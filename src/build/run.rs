//! RUN: a command in a container that stands on the stage's layers; what it changed is
//! the next layer.

use super::caches::{self, Cache};
use super::dockerfile::instruction::RunNetwork;
use super::dockerfile::mount::Kind;
use super::report::Report;
use super::secrets::Secrets;
use super::state::Command;
use crate::engine::container::containers::{Container, Containers, Lock};
use crate::engine::container::record::State;
use crate::engine::container::volumes::give_tree;
use crate::engine::ids::userns::Mapping;
use crate::engine::operate::commit::layer_of;
use crate::engine::operate::lifecycle::{finish_remove, start_new};
use crate::engine::operate::run::{Subject, create};
use crate::engine::request::mounts::MountOption;
use crate::engine::request::network::Network;
use crate::engine::supervise::attach::End;
use crate::engine::{Caller, Launch, RunOptions, WantedStreams};
use crate::error::refuse;
use crate::image::progress::Quiet;
use crate::image::store::{LayerInfo, LockGuard, Store};
use crate::process::open_null;
use crate::sys::fs::{clean, write_private, write_public};
use anyhow::{Context, Result};
use oci_spec::runtime::Spec;
use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The label of containers that are a build's.
pub const LABEL: &str = "io.bryo.build";

/// Where RUN is done.
pub struct Running<'a> {
    /// The store, for files with the owners of `mapping`.
    pub store: &'a Store,
    /// Whose ids the files have.
    pub mapping: &'a Mapping,
    /// What the caller hands to commands.
    pub secrets: &'a Secrets,
    /// Who listens.
    pub report: &'a dyn Report,
    /// What is told to people.
    pub warn: &'a dyn Fn(&str),
    /// The process that began the build.
    pub build: u32,
    /// What all commands have.
    pub options: &'a RunOptions,
}

/// What a mount of the type bind shows.
pub struct Bind {
    /// The layers.
    pub layers: Vec<LayerInfo>,
    /// The part of them, relative; all without.
    pub part: Option<String>,
    /// Names what it is.
    pub key: String,
}

/// Removes containers of builds that were killed. Nothing else builds in the store.
///
/// # Errors
/// A container cannot be removed.
pub fn sweep(containers: &Containers) -> Result<()> {
    for container in containers.list()? {
        let is_over = !matches!(
            container.state,
            State::Running { .. } | State::Paused { .. }
        );
        if is_over && container.record.labels.contains_key(LABEL) {
            finish_remove(containers, &container, false, true)?;
        }
    }
    Ok(())
}

/// Removes the containers of a build whose processes were ended.
///
/// # Errors
/// A container cannot be removed.
pub fn sweep_of(containers: &Containers, build: u32) -> Result<()> {
    let build = build.to_string();
    for container in containers.list()? {
        if container.record.labels.get(LABEL) == Some(&build) {
            finish_remove(containers, &container, true, true)?;
        }
    }
    Ok(())
}

impl Running<'_> {
    /// Runs a command on the layers `below`. Returns the new one, and the store's lock, which
    /// is held from when that was made: others may wait for the lock, and the command takes
    /// as long as it takes.
    ///
    /// # Errors
    /// It fails; it cannot be started.
    pub fn run(
        &self,
        number: usize,
        command: &Command,
        (below, binds): (&[LayerInfo], &[Bind]),
        scratch: &Path,
    ) -> Result<(LayerInfo, LockGuard)> {
        if below.is_empty() {
            let first = command.words.first().map_or("", String::as_str);
            refuse!(
                NotFound,
                "exec: {first:?}: no such file or directory: the stage has no files yet"
            );
        }
        if command.insecure {
            refuse!(
                Forbidden,
                "RUN --security=insecure: a build grants nothing beyond what every container has: \
                 leave it out"
            );
        }
        let containers = Containers::open(self.store);
        let mut options = self.options(command, scratch)?;
        // They are in use until the command has ended.
        let _caches = self.mount(command, binds, scratch, &mut options)?;
        let subject = Subject::Layers(below.to_vec());
        let created = create(self.store, &subject, &options, None, &Quiet, self.warn)?;
        let container = created.0.clone();
        let made = self
            .follow(number, &containers, created)
            .and_then(|code| match code {
                0 => {
                    let lock = self.store.lock_shared()?;
                    let layer = layer_of(self.store, self.mapping, &container, below)?;
                    Ok((layer, lock))
                }
                code => refuse!(
                    Invalid,
                    "process {:?} did not complete successfully: exit code: {code}",
                    command.words.join(" ")
                ),
            });
        let removed = finish_remove(&containers, &container, true, true);
        let made = made?;
        removed?;
        Ok(made)
    }

    fn options(&self, command: &Command, scratch: &Path) -> Result<RunOptions> {
        let mut mounts = Vec::new();
        if let Some((name, text)) = &command.script {
            let path = scratch.join("script");
            write_public(&path, text).context("write the script")?;
            std::fs::set_permissions(&path, Permissions::from_mode(0o755))
                .context("write the script")?;
            mounts.push(MountOption::Bind {
                source: path,
                destination: Path::new("/dev/pipes").join(name),
                options: vec!["bind".into(), "ro".into()],
                chown: false,
            });
        }
        let env = command.env.iter().cloned();
        Ok(RunOptions {
            command: command.words.clone(),
            entrypoint: Some(Vec::new()),
            env: env.map(|(name, value)| (name, Some(value))).collect(),
            workdir: Some(command.workdir.clone()),
            user: match command.user.as_str() {
                "" => None,
                user => Some(user.parse()?),
            },
            hostname: Some("buildkitsandbox".into()),
            mounts,
            network: match command.network {
                RunNetwork::Default => self.options.network.clone(),
                RunNetwork::None => Network::None,
                RunNetwork::Host => Network::Host,
            },
            labels: BTreeMap::from([(LABEL.to_owned(), self.build.to_string())]),
            ..self.options.clone()
        })
    }

    /// Adds what is mounted; `binds` are for the mounts of that type, in order.
    fn mount(
        &self,
        command: &Command,
        binds: &[Bind],
        scratch: &Path,
        options: &mut RunOptions,
    ) -> Result<Vec<Cache>> {
        let mut caches = Vec::new();
        let (mounts, env) = (&mut options.mounts, &mut options.env);
        let mut binds = binds.iter();
        let mut agents = 0;
        for mount in &command.mounts {
            let target = mount.target.clone().unwrap_or_default();
            let destination = clean(&Path::new(&command.workdir).join(&target));
            match &mount.kind {
                Kind::Bind if mount.readonly == Some(false) => refuse!(
                    Unsupported,
                    "RUN --mount target={target},rw: bryo build binds read-only: write elsewhere, \
                     or COPY it"
                ),
                Kind::Bind => {
                    let bind = binds.next().context("a mount has no source")?;
                    mounts.push(MountOption::Layers {
                        layers: bind.layers.clone(),
                        destination,
                        subpath: bind.part.clone(),
                    });
                }
                Kind::Tmpfs(size) => {
                    let size = size.map(|size| format!("size={size}"));
                    mounts.push(MountOption::Tmpfs {
                        destination,
                        options: ["nosuid".into(), "nodev".into()]
                            .into_iter()
                            .chain(size)
                            .collect(),
                    });
                }
                Kind::Cache { id, sharing, owner } => {
                    if mount.from.is_some() || mount.source.is_some() {
                        refuse!(
                            Unsupported,
                            "RUN --mount type=cache,target={target}: bryo build fills no cache from \
                             an image: leave out from and source"
                        );
                    }
                    let place = destination.display().to_string();
                    let id = id.as_ref().unwrap_or(&place);
                    let whose = (owner.uid.unwrap_or(0), owner.gid.unwrap_or(0));
                    let mode = owner.mode.unwrap_or(0o755);
                    let cache =
                        caches::open(self.store, self.mapping, id, *sharing, (whose, mode))?;
                    let access = match mount.readonly {
                        Some(true) => "ro",
                        _ => "rw",
                    };
                    mounts.push(MountOption::Bind {
                        source: cache.directory.clone(),
                        destination,
                        options: vec!["bind".into(), access.into(), "nodev".into()],
                        chown: false,
                    });
                    caches.push(cache);
                }
                Kind::Secret {
                    id,
                    env: variable,
                    required,
                    owner,
                } => {
                    let Some(secret) = self.secrets.read(id)? else {
                        if *required {
                            refuse!(
                                NotFound,
                                "secret {id}: it is needed: --secret id={id},src=FILE"
                            );
                        }
                        continue;
                    };
                    if let Some(name) = variable {
                        let value = String::from_utf8(secret.clone());
                        let value = value.with_context(|| format!("secret {id} in {name}"))?;
                        env.push((name.clone(), Some(value)));
                        if mount.target.is_none() {
                            continue;
                        }
                    }
                    let destination = match &mount.target {
                        Some(_) => destination,
                        None => Path::new("/run/secrets")
                            .join(Path::new(id).file_name().unwrap_or_default()),
                    };
                    let source = scratch.join(format!("secret-{}", mounts.len()));
                    let what = || format!("secret {id}");
                    write_private(&source, &secret).with_context(what)?;
                    let mode = Permissions::from_mode(owner.mode.unwrap_or(0o400));
                    std::fs::set_permissions(&source, mode).with_context(what)?;
                    let whose = (owner.uid.unwrap_or(0), owner.gid.unwrap_or(0));
                    give_tree(self.mapping, &source, whose).with_context(what)?;
                    mounts.push(MountOption::Bind {
                        source,
                        destination,
                        options: vec!["bind".into(), "ro".into()],
                        chown: false,
                    });
                }
                Kind::Ssh { id, required, .. } => {
                    let id = id.as_deref().unwrap_or("default");
                    let Some(socket) = self.secrets.agent(id) else {
                        if *required {
                            refuse!(NotFound, "ssh agent {id}: it is needed: --ssh {id}");
                        }
                        continue;
                    };
                    let destination = match &mount.target {
                        Some(_) => destination,
                        None => {
                            let number = agents;
                            agents += 1;
                            PathBuf::from(format!("/run/buildkit/ssh_agent.{number}"))
                        }
                    };
                    let told = destination.display().to_string();
                    env.push(("SSH_AUTH_SOCK".into(), Some(told)));
                    mounts.push(MountOption::Bind {
                        source: socket.to_owned(),
                        destination,
                        options: vec!["bind".into()],
                        chown: false,
                    });
                }
            }
        }
        Ok(caches)
    }

    /// Starts a container and passes on what it prints. Returns its exit code.
    fn follow(
        &self,
        number: usize,
        containers: &Containers,
        created: (Container, Lock, Spec),
    ) -> Result<i32> {
        let nothing = open_null()?;
        let (mut output, printed) = std::io::pipe().context("pipe")?;
        std::thread::scope(|scope| {
            let report = self.report;
            scope.spawn(move || {
                let mut buffer = [0; 8192];
                while let Ok(length @ 1..) = output.read(&mut buffer) {
                    report.output(number, &buffer[..length]);
                }
            });
            let caller = Caller::with([nothing.as_fd(), printed.as_fd(), printed.as_fd()]);
            let how = Launch {
                attach: Some(WantedStreams::OUTPUTS),
                foreground: true,
                ..Launch::default()
            };
            let end = start_new(containers, created, &how, caller, self.warn);
            drop(printed);
            match end? {
                End::Exited(code) => Ok(code),
                End::Left => Ok(1),
            }
        })
    }
}
