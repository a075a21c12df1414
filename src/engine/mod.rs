//! Containers: records, supervision, and the making of OCI specs.

pub mod attach;
pub mod cleaner;
pub mod containers;
pub mod emulation;
pub mod etc;
pub mod exec;
pub mod export;
pub mod host;
pub mod machine;
pub mod mountinfo;
pub mod names;
pub mod options;
pub mod paths;
pub mod record;
pub mod root;
pub mod run;
pub mod spec;
pub mod subid;
pub mod supervisor;
pub mod user;
