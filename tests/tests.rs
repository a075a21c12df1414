//! The suite drives the real binary as an ordinary user; see `common`.

mod common;
mod crash;
mod emulation;
mod exec;
mod hosts;
mod image;
mod info;
mod mounts;
mod options;
mod run;
mod security;
mod terminal;
mod tidy;
