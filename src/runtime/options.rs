//! Mount options as mount(8) and the OCI runtime spec write them.

use crate::error::refuse;
use crate::sys::mount::attr;
use anyhow::{Context, Result};
use std::ffi::CString;
use std::path::PathBuf;

/// What a list of mount options asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// `bind` or `rbind`: the mount shows another place.
    pub bind: Option<Bind>,
    /// Attributes of the mount itself.
    pub own: Attributes,
    /// Attributes of the mount and of every mount below it (`rro`, …).
    pub all: Attributes,
    /// Propagation type (`MS_PRIVATE`, …) and whether it goes for the mounts
    /// below too.
    pub propagation: Option<(u64, bool)>,
    /// Copy what the image has at the destination into the new tmpfs.
    pub tmpcopyup: bool,
    /// What it shows may be gone by now: it is left out then, as in fstab(5).
    pub nofail: bool,
    /// `hides`: it is there to hide its place, and is not needed where nobody
    /// in the container gets.
    pub hides: bool,
    /// Of what a bind mount shows, this part, looked up with it as the root.
    pub subpath: Option<PathBuf>,
    /// Parameters left for the file system: name, and value unless a flag.
    pub parameters: Vec<(CString, Option<CString>)>,
}

/// How deep a bind mount reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bind {
    /// The one mount.
    Single,
    /// The mount and those below it.
    Recursive,
}

/// Attributes to set and to clear ([`attr`]).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Bits to set.
    pub set: u64,
    /// Bits to clear.
    pub clear: u64,
}

impl Attributes {
    /// Nothing to change.
    pub fn is_empty(&self) -> bool {
        self.set == 0 && self.clear == 0
    }

    fn apply(&mut self, set: u64, clear: u64) {
        self.set = (self.set & !clear) | set;
        self.clear = (self.clear & !set) | clear;
    }
}

/// The attribute bits that a word sets and clears; `None` for other words.
fn attributes(word: &str) -> Option<(u64, u64)> {
    Some(match word {
        "ro" => (attr::RDONLY, 0),
        "rw" => (0, attr::RDONLY),
        "nosuid" => (attr::NOSUID, 0),
        "suid" => (0, attr::NOSUID),
        "nodev" => (attr::NODEV, 0),
        "dev" => (0, attr::NODEV),
        "noexec" => (attr::NOEXEC, 0),
        "exec" => (0, attr::NOEXEC),
        "noatime" => (attr::NOATIME, attr::ATIME),
        "strictatime" => (attr::STRICTATIME, attr::ATIME),
        "relatime" | "atime" | "norelatime" | "nostrictatime" => (attr::RELATIME, attr::ATIME),
        "nodiratime" => (attr::NODIRATIME, 0),
        "diratime" => (0, attr::NODIRATIME),
        "nosymfollow" => (attr::NOSYMFOLLOW, 0),
        "symfollow" => (0, attr::NOSYMFOLLOW),
        _ => return None,
    })
}

fn propagation(word: &str) -> Option<(u64, bool)> {
    let (name, recursive) = match word.strip_prefix('r') {
        Some(rest) if rest != "o" && rest != "w" => (rest, true),
        _ => (word, false),
    };
    let kind = match name {
        "private" => libc::MS_PRIVATE,
        "shared" => libc::MS_SHARED,
        "slave" => libc::MS_SLAVE,
        "unbindable" => libc::MS_UNBINDABLE,
        _ => return None,
    };
    Some((kind, recursive))
}

impl MountOptions {
    /// Reads the options of one mount, left to right: a later word wins.
    ///
    /// # Errors
    /// `idmap` and `ridmap`, which need privileges that bryo never has, and
    /// words with a NUL byte.
    pub fn parse<S: AsRef<str>>(words: &[S]) -> Result<Self> {
        let mut options = MountOptions::default();
        for word in words {
            options.word(word.as_ref())?;
        }
        Ok(options)
    }

    /// Whether what is mounted below is to be seen wherever else its mount is.
    pub fn tells_others(&self) -> bool {
        matches!(self.propagation, Some((kind, _)) if kind == libc::MS_SHARED)
    }

    fn word(&mut self, word: &str) -> Result<()> {
        if let Some((set, clear)) = attributes(word) {
            self.own.apply(set, clear);
            return Ok(());
        }
        if let Some(setting) = propagation(word) {
            self.propagation = Some(setting);
            return Ok(());
        }
        if let Some((set, clear)) = word.strip_prefix('r').and_then(attributes) {
            self.all.apply(set, clear);
            return Ok(());
        }
        match word {
            "bind" => self.bind = Some(Bind::Single),
            "rbind" => self.bind = Some(Bind::Recursive),
            "tmpcopyup" => self.tmpcopyup = true,
            "nofail" => self.nofail = true,
            "hides" => self.hides = true,
            "notmpcopyup" => self.tmpcopyup = false,
            // Words that say nothing here: mount(8)'s own, and labels that
            // podman and docker accept on machines without SELinux.
            "" | "defaults" | "z" | "Z" | "async" | "loud" | "nomand" | "cached" | "delegated"
            | "consistent" | "noiversion" | "nolazytime" => {}
            "idmap" | "ridmap" => {
                refuse!(
                    Unsupported,
                    "mount option '{word}': an id-mapped mount of a host file system needs root"
                )
            }
            _ => {
                let (name, value) = match word.split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None => (word, None),
                };
                if let ("subpath", Some(path)) = (name, value) {
                    self.subpath = Some(path.into());
                    return Ok(());
                }
                let text = |s: &str| {
                    CString::new(s).with_context(|| format!("mount option '{word}' has a NUL byte"))
                };
                self.parameters
                    .push((text(name)?, value.map(text).transpose()?));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_word_wins() {
        let options = MountOptions::parse(&["rbind", "ro", "rw", "nosuid", "suid"]).unwrap();
        assert_eq!(options.bind, Some(Bind::Recursive));
        assert_eq!(options.own.set, 0);
        assert_eq!(options.own.clear, attr::RDONLY | attr::NOSUID);
    }

    #[test]
    fn recursive_words_are_not_confused_with_plain_ones() {
        let options = MountOptions::parse(&["rro", "rprivate", "relatime", "rw"]).unwrap();
        assert_eq!(options.all.set, attr::RDONLY);
        assert_eq!(options.propagation, Some((libc::MS_PRIVATE, true)));
        assert_eq!(options.own.clear, attr::RDONLY | attr::ATIME);
        assert!(options.parameters.is_empty());
    }

    #[test]
    fn the_rest_goes_to_the_file_system() {
        let options = MountOptions::parse(&["size=64k", "mode=755", "userxattr"]).unwrap();
        assert_eq!(options.parameters.len(), 3);
        assert_eq!(options.parameters[2], (c"userxattr".into(), None));
    }
}
