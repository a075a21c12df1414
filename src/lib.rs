//! bryo runs containers as an ordinary user: one static binary, no daemon, no
//! setuid helper.
//!
//! Imports go down only; `tests/tidy.rs` enforces it:
//!
//! ```text
//! cli        command-line verbs, one file each; output, errors with hints, exit codes
//! api        docker's API over a socket
//! compose    compose files: from what was written to one project without short forms
//! engine     container records and states, supervisor, exec, spec generation
//! oci        bundles, as runc's command line has them
//! runtime    image    net    cgroup   siblings that never import each other
//! process    processes of bryo's own: for one task, through a helper, resident
//! error      kinds of errors, and errors on their way between processes
//! idmap      id maps, granted ranges, the helper that writes maps
//! sys        system calls: the only place with `unsafe`
//! ```

pub mod api;
pub mod build;
pub mod cgroup;
pub mod cli;
pub mod compose;
pub mod engine;
pub mod error;
pub mod idmap;
pub mod image;
pub mod net;
pub mod oci;
pub mod process;
pub mod runtime;
#[allow(unsafe_code)]
pub mod sys;
