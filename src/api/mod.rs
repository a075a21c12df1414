//! Docker's API over a Unix socket, for programs that speak to docker's daemon:
//! HTTP/1.1 without a daemon behind it. What is answered is read from the store, what
//! is asked for is done by the engine, and a process is there for each connection:
//! so nothing is lost when this ends, and a container is never made by a process with
//! other things to do.
//!
//! Pure parts are apart: [`request`] reads a request's head, [`body`] says where its
//! body ends, [`route`] what it asks for, [`answer`] makes the bytes of an answer.

pub mod answer;
pub mod body;
mod containers;
mod create;
mod images;
mod logs;
mod progress;
mod registry;
pub mod request;
pub mod route;
pub mod server;
mod session;
mod system;
mod transfer;
mod wait;
mod worker;
