//! A tar that is unpacked for a while, as a layer that stands on nothing and that no store
//! keeps.

use super::budget::Budget;
use super::layer::{About, Expected, bring};
use super::progress::Quiet;
use super::settle::settle;
use anyhow::Result;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Unpacks a tar, compressed or not, into `directory`, which is made; its files are the
/// user's, and what they should be is recorded beside them. Returns where they are.
///
/// # Errors
/// It is damaged, or asks for more than there may be.
pub fn unpack_alone(tar: impl Read, directory: &Path) -> Result<PathBuf> {
    let expected = Expected {
        need_end: true,
        budget: Budget::default(),
        is_literal: true,
        ..Expected::default()
    };
    let mut layer = bring(tar, &expected, directory, Path::new(""), &Quiet)?;
    let tree = directory.join("fs");
    if !layer.unpacked.stands_alone() {
        settle(&tree, &mut layer.unpacked, &[])?;
    }
    let about = About {
        size: layer.unpacked.size,
        entries: layer.unpacked.entries,
        records: std::mem::take(&mut layer.unpacked.records),
    };
    about.write(directory)?;
    Ok(tree)
}
