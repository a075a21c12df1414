//! What verbs do.

pub mod changes;
pub mod commit;
pub mod cp;
pub mod export;
pub mod launch;
pub mod lifecycle;
pub mod processes;
pub mod run;
pub mod save;
pub mod visit;
