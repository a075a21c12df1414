//! Where a container's control group is, who makes it, and what becomes of limits
//! that cannot be had: `--cgroup-manager`, `--cgroups`, `--cgroup-parent`,
//! `--limits`.

use crate::cgroup::place::{Manager, is_word};
use crate::error::refuse;
use anyhow::{Error, Result};
use std::str::FromStr;

/// `--cgroups`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Cgroups {
    /// It has one.
    #[default]
    Enabled,
    /// It has none.
    Disabled,
    /// It has one below its caller's.
    Split,
}

impl Cgroups {
    /// The words that the flag has. What podman has for its monitor is the rule
    /// here.
    pub const WORDS: [&str; 4] = ["enabled", "disabled", "no-conmon", "split"];

    /// What a word of them stands for.
    pub fn of(word: &str) -> Cgroups {
        match word {
            "disabled" => Cgroups::Disabled,
            "split" => Cgroups::Split,
            _ => Cgroups::Enabled,
        }
    }

    /// Who makes the group, where `--cgroup-manager` is this.
    pub fn manager(self, manager: Manager) -> Manager {
        match (self, manager) {
            (Cgroups::Disabled, _) | (_, Manager::Disabled) => Manager::Disabled,
            // Systemd makes none below a caller.
            (Cgroups::Split, _) => Manager::Cgroupfs,
            (Cgroups::Enabled, manager) => manager,
        }
    }
}

/// `--cgroup-parent`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parent {
    /// A slice of systemd's, by its name.
    Slice(String),
    /// A path of the hierarchy, without slashes at its end.
    Path(String),
}

impl FromStr for Parent {
    type Err = Error;

    fn from_str(text: &str) -> Result<Parent> {
        let path = text.trim_end_matches('/');
        let mut parts = path.split('/');
        match parts.all(|part| part.is_empty() || is_word(part)) {
            true if text.ends_with(".slice") && is_word(text) => Ok(Parent::Slice(text.to_owned())),
            true if !path.is_empty() => Ok(Parent::Path(path.to_owned())),
            _ => refuse!(
                Invalid,
                "--cgroup-parent '{text}': a slice, as bryo.slice, or a path of the hierarchy is wanted"
            ),
        }
    }
}

/// `--limits`: what becomes of limits that cannot be had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Strictness {
    /// They are an error.
    #[default]
    Required,
    /// They are told.
    BestEffort,
}

impl Strictness {
    /// The words that the flag has.
    pub const WORDS: [&str; 2] = ["required", "best-effort"];

    /// What a word of them stands for.
    pub fn of(word: &str) -> Strictness {
        match word {
            "best-effort" => Strictness::BestEffort,
            _ => Strictness::Required,
        }
    }

    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Strictness::Required => "required",
            Strictness::BestEffort => "best-effort",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_for_values() {
        for strictness in Strictness::WORDS.map(Strictness::of) {
            assert_eq!(Strictness::of(strictness.word()), strictness);
        }
        let (on, off, split) = (Cgroups::Enabled, Cgroups::Disabled, Cgroups::Split);
        assert_eq!(Cgroups::WORDS.map(Cgroups::of), [on, off, on, split]);
        for manager in Manager::WORDS.map(Manager::of) {
            assert_eq!(on.manager(manager), manager);
            assert_eq!(off.manager(manager), Manager::Disabled);
        }
        assert_eq!(split.manager(Manager::Systemd), Manager::Cgroupfs);
        assert_eq!(split.manager(Manager::Disabled), Manager::Disabled);
    }

    #[test]
    fn parents_are_slices_or_paths() {
        let slice = |name: &str| Parent::Slice(name.to_owned());
        let path = |path: &str| Parent::Path(path.to_owned());
        for (text, wanted) in [
            ("bryo.slice", slice("bryo.slice")),
            ("/a/b", path("/a/b")),
            ("a/b//", path("a/b")),
            ("a", path("a")),
            ("a/b.slice", path("a/b.slice")),
        ] {
            assert_eq!(text.parse::<Parent>().unwrap(), wanted, "{text}");
        }
        for bad in ["", "/", "a:b", "../a", ".slice", "a b"] {
            let error = bad.parse::<Parent>().unwrap_err().to_string();
            assert!(error.contains(&format!("'{bad}'")), "{error}");
        }
    }
}
