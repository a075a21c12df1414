//! From a request and an image to a spec, a root file system and limits.

pub mod etc;
pub mod filter;
pub mod images;
pub mod limits;
pub mod mounting;
pub mod mountpoints;
pub mod options;
pub mod root;
pub mod secrets;
pub mod sharing;
pub mod spec;
pub mod systemd;
