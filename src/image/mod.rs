//! Images: references, the store, archives, layers.

pub mod compress;
pub mod digest;
pub mod entry;
pub mod layer;
pub mod layout;
pub mod progress;
pub mod record;
pub mod reference;
pub mod remove;
pub mod session;
pub mod tarball;
pub mod unpack;
pub mod view;
