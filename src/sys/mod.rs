//! System calls. Every `unsafe` block of the program is below this module,
//! each with its SAFETY line; what leaves here owns its descriptors.

pub mod fs;
pub mod xattr;
