//! User namespaces and the keeper of subordinate ids.

pub mod keeper;
pub mod userns;
