//! Containers: records, supervision, and the making of OCI specs. Its folders are
//! floors; `ARCHITECTURE.md` says which stands on which.

pub mod container;
pub mod create;
pub mod emulation;
pub mod ground;
pub mod host;
pub mod ids;
pub mod log;
pub mod machine;
pub mod network;
pub mod operate;
pub mod request;
pub mod supervise;
pub mod view;
