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

// What a program needs to run containers; the rest has its places.
pub use container::containers::Containers;
pub use container::control::WantedStreams;
pub use create::options::RunOptions;
pub use ground::caller::Caller;
pub use ground::paths::data_root;
pub use operate::launch::Launch;
pub use operate::lifecycle::start_new;
pub use operate::run::{Subject, create};
