//! System calls. Every `unsafe` block of the program is below this module,
//! each with its SAFETY line; what leaves here owns its descriptors.

pub mod bpf;
pub mod channel;
pub mod clone;
pub mod cred;
pub mod error;
pub mod fd;
pub mod fs;
pub mod inet;
pub mod landlock;
pub mod machine;
pub mod memory;
pub mod mount;
pub mod mountinfo;
pub mod net;
pub mod netlink;
pub mod ns;
pub mod packet;
pub mod pidfd;
pub mod random;
pub mod replace;
pub mod rewrite;
pub mod scheduling;
pub mod seccomp;
pub mod signal;
pub mod signals;
pub mod socket;
pub mod tap;
pub mod title;
pub mod trampoline;
pub mod tty;
pub mod wait;
pub mod xattr;

pub use error::{Context, Error, Result};
