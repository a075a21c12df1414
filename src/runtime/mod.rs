//! The OCI runtime: turns a runtime spec into a running process.

pub mod seccomp;
