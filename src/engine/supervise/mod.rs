//! The process beside a container, commands in it, and who is attached.

pub mod attach;
pub mod cleaner;
pub mod exec;
mod hub;
mod streams;
pub mod supervisor;
