//! Where the files of a build are, as people write it. Pure.

use super::repository::Repository;
use crate::error::refuse;
use anyhow::Result;
use std::path::{Path, PathBuf};

/// Where the files of a build are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In a directory of this machine.
    Directory(PathBuf),
    /// They come from standard input: a tar, or a Dockerfile and no files.
    Input,
    /// In a repository.
    Repository(Repository),
    /// At an address (http or https): a tar, or a Dockerfile and no files.
    Address(String),
}

impl Origin {
    /// Reads it. What is a directory here is one, whatever else it may look like, as with
    /// docker; what looks like nothing else is the path of one that is not there.
    ///
    /// # Errors
    /// The address of a repository that makes no sense.
    pub fn parse(word: &str, is_directory: impl Fn(&Path) -> bool) -> Result<Origin> {
        if word == "-" {
            return Ok(Origin::Input);
        }
        let path = Path::new(word);
        if !is_directory(path) {
            if let Some(repository) = Repository::parse(word)? {
                return Ok(Origin::Repository(repository));
            }
            let (scheme, rest) = word.split_once("://").unwrap_or_default();
            match scheme.to_ascii_lowercase().as_str() {
                "http" | "https" => return Ok(Origin::Address(word.to_owned())),
                _ if rest.is_empty() => {}
                scheme => refuse!(
                    Unsupported,
                    "{word}: nothing is fetched by {scheme} (there are http, https, git and ssh)"
                ),
            }
        }
        Ok(Origin::Directory(path.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_places() {
        let of = |word: &str| match Origin::parse(word, |path| path.ends_with("there.git")) {
            Ok(Origin::Directory(path)) => format!("directory {}", path.display()),
            Ok(Origin::Input) => "input".to_owned(),
            Ok(Origin::Repository(repository)) => format!("repository {}", repository.remote),
            Ok(Origin::Address(address)) => format!("address {address}"),
            Err(error) => error.to_string(),
        };
        for (word, is) in [
            ("-", "input"),
            (".", "directory ."),
            ("./-", "directory ./-"),
            ("a/b:c", "directory a/b:c"),
            ("https://h/there.git", "directory https://h/there.git"),
            ("https://h/a.git#main", "repository https://h/a.git"),
            ("https://h/a.tar.gz", "address https://h/a.tar.gz"),
            ("HTTP://h/Dockerfile", "address HTTP://h/Dockerfile"),
            (
                "ftp://h/x",
                "ftp://h/x: nothing is fetched by ftp (there are http, https, git and ssh)",
            ),
        ] {
            assert_eq!(of(word), is, "{word}");
        }
    }
}
