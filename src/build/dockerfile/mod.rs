//! Dockerfiles: from text to typed instructions by stage, with their lines.

pub mod directive;
pub mod expand;
pub mod fault;
pub mod flags;
pub mod heredoc;
pub mod instruction;
pub mod mount;
pub mod pattern;
pub mod stage;
pub mod statement;
pub mod words;

pub use fault::Fault;
pub use instruction::Instruction;
pub use stage::{Dockerfile, Stage};
