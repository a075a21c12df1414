//! Processes of bryo's own: made for one task ([`Beside`]), made by a helper
//! ([`through`]), or there for as long as something lasts ([`Resident`]). What
//! goes wrong in one is told to another as it was ([`Fault`](crate::error::Fault)).
//!
//! Who makes a process must have one thread.

mod beside;
mod end;
mod id;
mod null;
mod resident;
mod spawn;

pub use beside::{Beside, Told, in_process, unless_unread};
pub use end::{Reported, code, exit_code};
pub use id::ProcessId;
pub use null::{open_null, release_stdio};
pub use resident::{Resident, Until};
pub use spawn::{Refused, fork_orphan, orphan, spawn, through};
