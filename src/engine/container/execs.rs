//! Commands that `exec` runs in a container, each with an id of its own and a
//! directory `execs/<id>` in the container's: `exec.json`, what was asked for;
//! `state.json`, once it was started; the socket of who looks after it.

use crate::engine::container::containers::{Container, Containers, is_old};
use crate::engine::container::control::{self, Reply, Request};
use crate::engine::ground::json::{read_json, replace_json, write_json};
use crate::engine::ground::names::{self, short};
use crate::engine::request::exec::ExecRequest;
use crate::error::{refusal, refuse};
use crate::process::ProcessId;
use crate::sys::channel::Channel;
use crate::sys::fs::make_private;
use crate::sys::socket;
use anyhow::{Context, Error, Result};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Name of the directory in a container's.
const DIRECTORY: &str = "execs";
const RECORD: &str = "exec.json";
const STATE: &str = "state.json";

/// How long it is known what became of a command that has ended, as with docker.
const KEPT: SignedDuration = SignedDuration::from_mins(5);

/// What a command that was killed with whoever looked after it exits with.
const KILLED: i32 = 128 + libc::SIGKILL;

/// A command that was or is to be run.
#[derive(Debug, Clone)]
pub struct Exec {
    /// Its id: 64 hexadecimal digits.
    pub id: String,
    /// What was asked for.
    pub request: ExecRequest,
    /// How far it has come.
    pub state: ExecState,
    /// Its directory.
    dir: PathBuf,
}

/// How far a command has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "status")]
pub enum ExecState {
    /// It was not started yet.
    Created,
    /// It runs.
    Running {
        /// As the host sees it.
        process: ProcessId,
        /// Since when.
        since: Timestamp,
    },
    /// It has ended, or could not be started.
    Exited {
        /// Docker's exit code.
        code: i32,
        /// When.
        at: Timestamp,
    },
}

/// No command has this id.
fn not_found(id: &str) -> Error {
    refusal!(NotFound, "No such exec instance: {id}")
}

impl Exec {
    /// Records a command that is to be run in `container`. Of those that have
    /// ended, the oldest are forgotten.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn create(container: &Container, request: ExecRequest) -> Result<Exec> {
        let all = container.dir.join(DIRECTORY);
        forget(&all);
        let id = names::new_id()?;
        let dir = all.join(&id);
        let what = || format!("create {}", dir.display());
        make_private(&dir).with_context(what)?;
        write_json(&dir.join(RECORD), &request)?;
        Ok(Exec {
            id,
            request,
            state: ExecState::Created,
            dir,
        })
    }

    /// Finds one of any container by its id.
    ///
    /// # Errors
    /// There is none, or its container is gone.
    pub fn find(containers: &Containers, id: &str) -> Result<(Container, Exec)> {
        if !names::is_id(id) {
            return Err(not_found(id));
        }
        for container in containers.list()? {
            let dir = container.dir.join(DIRECTORY).join(id);
            if let Some(exec) = read(&dir)? {
                return Ok((container, exec));
            }
        }
        Err(not_found(id))
    }

    /// Those of a container that run.
    pub fn running(container: &Container) -> Vec<Exec> {
        let all = directories(&container.dir.join(DIRECTORY));
        let all = all.filter_map(|dir| read(&dir).ok().flatten());
        all.filter(|exec| matches!(exec.state, ExecState::Running { .. }))
            .collect()
    }

    /// One that is nowhere on disk.
    #[cfg(test)]
    pub fn in_memory(id: String, request: ExecRequest, state: ExecState) -> Exec {
        Exec {
            id,
            request,
            state,
            dir: PathBuf::new(),
        }
    }

    /// Its directory, in which who looks after it listens.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Records how far it has come.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn note(&mut self, state: ExecState) -> Result<()> {
        self.state = state;
        replace_json(&self.dir.join(STATE), &self.state)
    }

    /// A connection to who looks after it.
    ///
    /// # Errors
    /// It does not run.
    pub fn connect(&self) -> Result<OwnedFd> {
        let connected = socket::connect(&self.dir, control::SOCKET);
        let id = short(&self.id);
        connected.map_err(|_| refusal!(Conflict, "exec instance {id} is not running"))
    }

    /// Asks who looks after it for something that has no answer.
    ///
    /// # Errors
    /// It does not run.
    pub fn ask(&self, request: Request) -> Result<()> {
        let channel = Channel::from(self.connect()?);
        Ok(channel.send(&request.encode(), None)?)
    }

    /// Waits until it has ended; returns docker's exit code.
    ///
    /// # Errors
    /// It was not started.
    pub fn wait(&mut self) -> Result<i32> {
        if let Ok(connection) = self.connect() {
            let channel = Channel::from(connection);
            channel.send(&Request::Wait.encode(), None)?;
            while let Some(message) = channel.receive()? {
                if let Some(Reply::Exited(code)) = Reply::decode(&message.data) {
                    return Ok(code);
                }
            }
        }
        match read(&self.dir)?.map(|exec| exec.state) {
            Some(ExecState::Exited { code, .. }) => Ok(code),
            // Its container was removed, or nobody can say any more.
            None | Some(ExecState::Running { .. }) => Ok(KILLED),
            Some(ExecState::Created) => {
                let id = short(&self.id);
                refuse!(Conflict, "exec instance {id} was not started")
            }
        }
    }
}

/// What is in a directory; None if it is no command's.
fn read(dir: &Path) -> Result<Option<Exec>> {
    let Some(request) = read_json(&dir.join(RECORD))? else {
        return Ok(None);
    };
    let id = dir.file_name().context("no name")?;
    let mut exec = Exec {
        id: id.to_string_lossy().into_owned(),
        request,
        state: read_json(&dir.join(STATE))?.unwrap_or(ExecState::Created),
        dir: dir.to_owned(),
    };
    if let ExecState::Running { process, .. } = &exec.state
        && !matches!(process.open(), Ok(Some(_)))
        && exec.connect().is_err()
    {
        // Who looked after it has recorded the end meanwhile, or never will.
        exec.state = match read_json(&dir.join(STATE))? {
            Some(ended @ ExecState::Exited { .. }) => ended,
            _ => ExecState::Exited {
                code: KILLED,
                at: Timestamp::now(),
            },
        };
    }
    Ok(Some(exec))
}

fn directories(all: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = all.read_dir().into_iter().flatten().flatten();
    entries.map(|entry| entry.path())
}

/// Forgets commands that have ended some time ago, and what a killed process
/// left of one.
fn forget(all: &Path) {
    for dir in directories(all) {
        let old = match read(&dir) {
            Ok(Some(exec)) => match exec.state {
                ExecState::Exited { at, .. } => Timestamp::now().duration_since(at) > KEPT,
                ExecState::Created | ExecState::Running { .. } => false,
            },
            Ok(None) => is_old(dir.metadata()),
            Err(_) => false,
        };
        if old {
            let _ = std::fs::remove_dir_all(&dir);
        }
    }
}
