//! The suite drives the real binary as an ordinary user; see `common`.

mod common;
mod image;
mod info;
mod tidy;
