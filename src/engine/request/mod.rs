//! What is asked for: docker's and podman's words, each read in one place and
//! once. What the rest of the engine gets are values; only here is text taken
//! apart, and only here is a value written as the text that records have.
//!
//! [`flags`] is the table of them all.
//!
//! The ground of the engine: nothing here imports from the engine's other
//! modules, and nothing asks the machine whether it can be had, but for looks at
//! whether files of the host exist that are to be in the container.

pub mod amount;
pub mod attachment;
pub mod capabilities;
pub mod csv;
pub mod detach_keys;
pub mod device;
pub mod dns;
pub mod emulation;
pub mod environment;
pub mod exec;
pub mod filter;
pub mod flags;
pub mod group;
pub mod health;
pub mod hosts;
pub mod limits;
pub mod log;
pub mod mounts;
pub mod names;
pub mod namespaces;
pub mod nearest;
pub mod network;
pub mod pairs;
pub mod process;
pub mod publish;
pub mod pull;
pub mod restart;
pub mod secret;
pub mod security;
pub mod signal;
pub mod size;
pub mod systemd;
pub mod time;
pub mod time_zone;
pub mod ulimit;
pub mod user;
pub mod user_network;
pub mod userns;
