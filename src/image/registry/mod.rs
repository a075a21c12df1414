//! Registries: the OCI distribution specification, version 1.1, and docker's
//! API that it grew from.
//!
//! ```text
//! challenge url manifest failure               pure
//! files conf credentials certs names           what this machine knows
//! http                                         requests, redirects, trust
//! client repository                            registries and what they hold
//! parts download pull mend                     into the store
//! push transfer lists                          out of it, and from one to the other
//! ```
//!
//! Whatever a registry sends is hostile: sizes are bounded, digests verified,
//! its words cleaned before they are shown.

mod certs;
pub mod challenge;
pub mod client;
pub mod conf;
pub mod credentials;
mod download;
pub mod failure;
mod files;
mod http;
pub mod lists;
pub mod manifest;
pub mod mend;
mod names;
mod parts;
pub mod pull;
pub mod push;
mod repository;
pub mod transfer;
pub mod url;
pub mod web;

/// Removes the parts of blobs in the store `root` that nobody is fetching.
pub(super) fn remove_parts(root: &std::path::Path) -> anyhow::Result<()> {
    parts::Parts::new(root).clear()
}
