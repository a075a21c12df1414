//! The OCI runtime: turns a runtime spec into a running process.
//!
//! [`plan`] computes all that can be computed; [`start`](mod@start) clones;
//! `init` runs inside until execve, and waits before it at a [`gate`] where the
//! start is in two halves; [`hooks`] are run in between; [`join`](mod@join) is
//! `exec`.

mod copyup;
pub mod fields;
pub mod gate;
pub mod hooks;
mod init;
pub mod interface;
pub mod join;
mod kernelfs;
pub mod message;
pub mod options;
mod outside;
mod overlay;
mod place;
pub mod plan;
pub mod process;
mod reaper;
mod remount;
mod rootfs;
pub mod seccomp;
pub mod start;
pub mod stdio;
pub mod treatment;
pub mod visit;

pub use message::{StartError, Step};
pub use plan::Plan;
pub use start::{Started, prepare, release, start};
pub use stdio::Stdio;
