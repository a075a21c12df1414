//! Images: references, the store, archives, layers.
//!
//! ```text
//! reference digest platform index change record   pure: text in, values out
//! entry                                        pure: tar headers in, members out
//! tarball compress tarwrite holes              reading and writing archives
//! unpack remove view copy export owners        trees of layers
//! layer settle alone assemble                  from a blob to a stack of trees
//! layout session store                         what lies on the disk
//! check compare                                whether it is what it should be
//! archive load import source registry          how images come in
//! parcel save output                                  how they go elsewhere
//! ```
//!
//! Nothing here prints: who wants to show how far it is hands in a
//! [`progress::Progress`].

pub mod alone;
mod archive;
mod assemble;
pub mod budget;
pub mod change;
pub mod check;
pub mod commit;
mod compare;
pub mod compress;
pub mod copy;
pub mod digest;
pub mod duration;
pub mod entry;
mod expand;
pub mod export;
pub mod flavour;
mod holes;
pub mod import;
pub mod index;
pub mod layer;
mod layout;
pub mod load;
pub mod output;
pub mod owners;
pub mod pack;
pub mod parcel;
pub mod place;
pub mod platform;
pub mod progress;
pub mod record;
pub mod reference;
pub mod registry;
pub mod remove;
pub mod save;
pub mod session;
mod settle;
pub mod source;
pub mod store;
pub mod tarball;
pub mod tarwrite;
#[cfg(test)]
mod testing;
pub mod unpack;
pub mod view;
