//! Compose files: from what the user wrote, over several files, to one project in a form without
//! short cuts, as docker compose reads it. Pure but for the reading of files, which is behind
//! [`load::Files`].

pub mod amounts;
mod canonical;
mod check;
mod decode;
pub mod dotenv;
pub mod load;
pub mod merge;
mod mounts;
pub mod node;
mod normal;
mod paths;
mod ports;
pub mod print;
pub mod project;
pub mod scalar;
mod shape;
pub mod template;
mod verify;
pub mod yaml;

pub use node::{Fault, Node};
pub use project::{Options, Project};
