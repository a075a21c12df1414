//! Which variables an instruction sees, and with what values.

use super::dockerfile::expand::{Expanded, Expander, Keeping};
use super::dockerfile::instruction::{Argument, Pairs};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Arguments that every FROM and, once declared, every stage knows.
pub const PLATFORM_ARGUMENTS: [&str; 11] = [
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDOSVERSION",
    "BUILDARCH",
    "BUILDVARIANT",
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETOSVERSION",
    "TARGETARCH",
    "TARGETVARIANT",
    "TARGETSTAGE",
];

/// Arguments that need no ARG.
pub const PROXY_ARGUMENTS: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Variables at some place of a Dockerfile: of ARG and ENV the later counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    values: BTreeMap<String, String>,
    /// Declared by ARG, without a value.
    declared: BTreeSet<String>,
    /// There may be others: the base's are not known.
    pub is_open: bool,
}

impl Scope {
    /// One with these variables.
    pub fn of<K: Into<String>>(values: impl IntoIterator<Item = (K, String)>) -> Scope {
        let values = values.into_iter().map(|(name, value)| (name.into(), value));
        Scope {
            values: values.collect(),
            ..Scope::default()
        }
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&String> {
        self.values.get(name)
    }

    /// Whether a variable is known, be it without a value.
    pub fn knows(&self, name: &str) -> bool {
        self.is_open || self.values.contains_key(name) || self.declared.contains(name)
    }

    /// The names of all that are known.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().chain(&self.declared).map(String::as_str)
    }

    /// Expands a text.
    ///
    /// # Errors
    /// Its syntax; a variable that must have a value and has none.
    pub fn expand(&self, text: &str, escape: char) -> Result<Expanded, String> {
        self.expand_keeping(text, escape, Keeping::default())
    }

    /// The same, with quotes and the like kept.
    ///
    /// # Errors
    /// As [`Scope::expand`].
    pub fn expand_keeping(
        &self,
        text: &str,
        escape: char,
        keeping: Keeping,
    ) -> Result<Expanded, String> {
        let value = |name: &str| self.values.get(name).cloned();
        let expander = Expander {
            escape,
            value: &value,
            keeping,
        };
        expander.expand(text)
    }

    /// ARG: what the caller gives counts, then the default, then what `outer` has, which
    /// are the arguments before the first FROM.
    ///
    /// # Errors
    /// The default cannot be expanded.
    pub fn declare(
        &mut self,
        argument: &Argument,
        given: &BTreeMap<String, String>,
        outer: Option<&Scope>,
        escape: char,
    ) -> Result<(), String> {
        let default = argument.default.as_ref();
        let default = default.map(|text| self.expand(text, escape)).transpose()?;
        let name = &argument.name;
        let value = given.get(name).cloned().or(default.map(|d| d.text));
        let value = value.or_else(|| outer?.get(name).cloned());
        match value {
            Some(value) => {
                self.values.insert(name.clone(), value);
            }
            None => {
                self.declared.insert(name.clone());
            }
        }
        Ok(())
    }

    /// Sets variables.
    pub fn extend(&mut self, pairs: impl IntoIterator<Item = (String, String)>) {
        self.values.extend(pairs);
    }

    /// ENV: all values are expanded as it was before.
    ///
    /// # Errors
    /// A value cannot be expanded.
    pub fn set(&mut self, pairs: &Pairs, escape: char) -> Result<(), String> {
        let expand = |(name, value): &(String, String)| {
            let name = self.expand(name, escape)?.text;
            Ok((name, self.expand(value, escape)?.text))
        };
        let all: Result<Vec<_>, String> = pairs.pairs.iter().map(expand).collect();
        self.values.extend(all?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argument(name: &str, default: Option<&str>) -> Argument {
        Argument {
            name: name.into(),
            default: default.map(str::to_owned),
        }
    }

    #[test]
    fn the_later_of_arg_and_env_counts() {
        let none = BTreeMap::new();
        let pairs = |text: &str| Pairs {
            pairs: vec![("X".into(), text.into())],
            legacy: false,
        };
        let mut scope = Scope::default();
        scope.set(&pairs("env"), '\\').unwrap();
        scope
            .declare(&argument("X", None), &none, None, '\\')
            .unwrap();
        assert_eq!(scope.get("X").unwrap(), "env");
        scope
            .declare(&argument("X", Some("$X-arg")), &none, None, '\\')
            .unwrap();
        assert_eq!(scope.get("X").unwrap(), "env-arg");
        scope.set(&pairs("later"), '\\').unwrap();
        assert_eq!(scope.get("X").unwrap(), "later");
        let given = BTreeMap::from([("X".to_owned(), "cli".to_owned())]);
        scope
            .declare(&argument("X", Some("a")), &given, None, '\\')
            .unwrap();
        assert_eq!(scope.get("X").unwrap(), "cli");
    }

    #[test]
    fn outer_arguments_count_where_they_are_declared() {
        let outer = Scope::of([("A", "1".to_owned())]);
        let mut scope = Scope::default();
        let none = BTreeMap::new();
        assert!(!scope.knows("A"));
        scope
            .declare(&argument("A", None), &none, Some(&outer), '\\')
            .unwrap();
        scope
            .declare(&argument("B", None), &none, Some(&outer), '\\')
            .unwrap();
        assert_eq!(scope.get("A").unwrap(), "1");
        assert!(scope.knows("B") && scope.get("B").is_none());
    }
}
