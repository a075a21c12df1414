//! The small one instead; its names are the same.

pub use regex_lite::*;
