//! ADD of addresses: what is elsewhere is fetched into files first.

use super::dockerfile::instruction::{Source, Transfer};
use crate::error::{demand, refuse};
use crate::image::registry::web::{Fetched, fetch};
use crate::image::session::Session;
use crate::sys::fs::private;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs::File;

/// A file that was elsewhere.
#[derive(Debug)]
pub struct Remote {
    /// It.
    pub file: File,
    /// What the server said of it.
    pub about: Fetched,
}

/// Files by the addresses that ADD has for them.
pub type Remotes = BTreeMap<String, Remote>;

/// Whether a source of ADD is somewhere else.
pub fn is_address(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    ["http://", "https://", "git://", "ssh://", "git@"]
        .iter()
        .any(|scheme| word.starts_with(scheme))
}

/// Whether an address is that of a repository, as BuildKit tells them apart: by the scheme,
/// or a path that ends in `.git`.
fn is_repository(address: &str) -> bool {
    let path = address.split(['#', '?']).next().unwrap_or_default();
    !address.to_ascii_lowercase().starts_with("http") || path.ends_with(".git")
}

/// Fetches what an ADD takes from elsewhere.
///
/// # Errors
/// It cannot be had, or is not what `--checksum` says.
pub fn fetch_all(transfer: &Transfer, session: &Session) -> Result<Remotes> {
    let mut remotes = Remotes::new();
    for (number, source) in transfer.sources.iter().enumerate() {
        let Source::Path(address) = source else {
            continue;
        };
        if !is_address(address) || remotes.contains_key(address) {
            continue;
        }
        if is_repository(address) {
            refuse!(
                Unsupported,
                "ADD {address}: bryo build fetches files and no repositories: RUN git clone, or \
                 clone it into the context"
            );
        }
        let path = session.path(&format!("add-{number}"))?;
        let what = || format!("ADD {address}");
        let mut options = private();
        let options = options.read(true).write(true).create_new(true);
        let mut file = options.open(path).with_context(what)?;
        let about = fetch(address, &mut file).with_context(what)?;
        if let Some(wanted) = &transfer.checksum {
            demand!(
                Invalid,
                *wanted == about.digest,
                "ADD {address}: digest mismatch: it should be {wanted} and is {}",
                about.digest
            );
        }
        remotes.insert(address.clone(), Remote { file, about });
    }
    Ok(remotes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_files_and_of_repositories() {
        for (word, is_elsewhere, is_git) in [
            ("https://a/b", true, false),
            ("HTTP://a/b.tar", true, false),
            ("https://a/b.git", true, true),
            ("https://a/b.git#main:sub", true, true),
            ("git@a:b", true, true),
            ("git://a/b", true, true),
            ("a/b", false, true),
            ("httpd.conf", false, false),
        ] {
            assert_eq!(is_address(word), is_elsewhere, "{word}");
            assert_eq!(is_repository(word), is_git, "{word}");
        }
    }
}
