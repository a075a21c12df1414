//! All integration tests, in one program.

mod image;
mod tidy;
