//! Compose files: from what the user wrote, over several files, to one project in a form without
//! short cuts, as docker compose reads it. Pure but for the reading of files, which is behind
//! [`load::Files`]. And from a project to what runs: services as requests to the engine
//! (`service`), what has to be done about what there is (`plan`, pure), and the doing of it.

pub mod amounts;
mod canonical;
mod check;
mod decode;
pub mod dotenv;
pub mod down;
pub mod found;
mod keys;
pub mod labels;
pub mod load;
pub mod merge;
mod mounted;
mod mounts;
mod networking;
pub mod node;
mod normal;
pub mod oneoff;
mod parts;
mod paths;
pub mod plan;
mod ports;
pub mod print;
pub mod project;
mod resources;
pub mod scalar;
pub mod service;
mod shape;
mod starting;
pub mod template;
pub mod up;
mod verify;
pub mod waiting;
pub mod yaml;

pub use node::{Fault, Node};
pub use project::{Options, Project};
