//! What errors of bryo's have beside their texts: of what kind they are, what
//! the kernel said, and how they go from one process to another.

mod errno;
mod fault;
mod kind;

pub use errno::errno;
pub use fault::Fault;
pub use kind::{Kind, OrKind, Said};
pub(crate) use kind::{demand, refusal, refuse};
