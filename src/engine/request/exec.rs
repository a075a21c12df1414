//! `exec`: a further command in a container that runs.

use crate::engine::request::user::UserOption;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What `exec` asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecRequest {
    /// Command and arguments.
    pub command: Vec<String>,
    /// Variables, after those of the container; one without a value takes that
    /// of the container away.
    pub env: Vec<(String, Option<String>)>,
    /// Working directory.
    pub workdir: Option<PathBuf>,
    /// `user[:group]`.
    pub user: Option<UserOption>,
    /// `-i`.
    pub interactive: bool,
    /// `-t`.
    pub tty: bool,
    /// `--privileged`.
    pub privileged: bool,
    /// Rows and columns of its terminal at first.
    pub window_size: Option<(u16, u16)>,
}
