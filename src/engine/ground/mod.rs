//! What everything in the engine stands on.

pub mod activation;
pub mod caller;
pub mod config;
pub mod confine;
pub mod detach;
pub mod json;
pub mod names;
pub mod paths;
pub mod pipes;
pub mod policy;
pub mod pump;
pub mod user;
pub mod watch;
