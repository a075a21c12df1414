//! What is shown of containers, images, volumes, networks and the machine:
//! values in docker's shapes, with docker's names of their fields and a few of
//! bryo's own beside them.
//!
//! What is here reads and tells; it prints nothing and asks for nothing of the
//! terminal. Texts for people, as `3 hours ago`, are made for a moment and a
//! length that the caller names.

pub mod container;
pub mod df;
pub mod event;
pub mod exec;
pub mod failure;
pub mod history;
pub mod host_config;
pub mod image;
pub mod info;
pub mod network;
pub mod port;
pub mod ps;
pub mod secret;
pub mod stats;
pub mod top;
pub mod tree;
pub mod volume;
pub mod words;
