//! Named networks: containers of one user that reach each other by name.
//!
//! A [`Definition`] is a file. A network that is in use is a network
//! namespace with a bridge, owned by a user namespace below which its
//! containers' are, so that a pair of links can have one end in each
//! ([`namespace`], [`plumb`]). One process per network, the
//! [`holder`], keeps it and gives addresses out; who looks after a container
//! holds a connection to it, which is the container's claim to its addresses
//! ([`lease`], [`join`]). The containers' names are answered by a process
//! beside it (`crate::net::names`).

pub mod change;
pub mod definition;
pub mod holder;
pub mod join;
pub mod lease;
pub mod members;
mod nameserver;
pub mod namespace;
pub mod plumb;
pub mod publish;
pub mod subnet;
pub mod trace;
pub mod usernet;

pub use super::request::attachment::Attachment;
pub use definition::{Definition, Networks};
pub use join::Joined;
pub use lease::Lease;
