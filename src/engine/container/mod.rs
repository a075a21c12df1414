//! Containers as they are recorded, and how commands and supervisors talk.

pub mod asked;
pub mod asking;
pub mod containers;
pub mod control;
pub mod events;
pub mod execs;
pub mod health;
pub mod keeping;
pub mod record;
pub mod secrets;
pub mod volumes;
