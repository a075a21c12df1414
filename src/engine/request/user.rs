//! Who a command runs as: `--user`, `--group-add`, and what an image says.
//! Names are looked up where the container's files are known
//! ([`user`](crate::engine::ground::user)).

use crate::error::refuse;
use anyhow::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A user or group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdOrName {
    /// By number.
    Id(u32),
    /// By name.
    Name(String),
}

impl FromStr for IdOrName {
    type Err = Error;

    /// Digits alone are a number.
    fn from_str(text: &str) -> Result<IdOrName> {
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Ok(IdOrName::Name(text.to_owned()));
        }
        match text.parse() {
            // The last number stands for "no id".
            Ok(u32::MAX) | Err(_) => refuse!(Invalid, "id {text} is out of range"),
            Ok(id) => Ok(IdOrName::Id(id)),
        }
    }
}

/// `--user USER[:GROUP]`. Records keep it as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserOption {
    /// The user; root if nobody is named.
    pub user: IdOrName,
    /// The group; the user's own, with all others of his, if none is named.
    pub group: Option<IdOrName>,
    /// As it was written.
    text: String,
}

impl UserOption {
    /// Somebody of whom the numbers are known.
    pub fn of_ids(uid: u32, gid: u32) -> UserOption {
        UserOption {
            user: IdOrName::Id(uid),
            group: Some(IdOrName::Id(gid)),
            text: format!("{uid}:{gid}"),
        }
    }

    /// Whether it is root with his groups.
    pub fn is_root(&self) -> bool {
        let root = match &self.user {
            IdOrName::Id(id) => *id == 0,
            IdOrName::Name(name) => name == "root",
        };
        root && self.group.is_none()
    }
}

impl FromStr for UserOption {
    type Err = Error;

    fn from_str(text: &str) -> Result<UserOption> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let group = group.filter(|group| !group.is_empty());
        Ok(UserOption {
            user: match user {
                "" => IdOrName::Id(0),
                user => user.parse()?,
            },
            group: group.map(str::parse).transpose()?,
            text: text.to_owned(),
        })
    }
}

impl TryFrom<String> for UserOption {
    type Error = Error;

    fn try_from(text: String) -> Result<UserOption> {
        text.parse()
    }
}

impl From<UserOption> for String {
    fn from(user: UserOption) -> String {
        user.text
    }
}

impl fmt::Display for UserOption {
    /// As it was written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// `--group-add`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Groups {
    /// These too.
    Added(Vec<IdOrName>),
    /// `keep-groups`: the caller's supplementary groups stay.
    Kept,
}

impl Default for Groups {
    fn default() -> Groups {
        Groups::Added(Vec::new())
    }
}

impl Groups {
    /// Reads all values of `--group-add`.
    ///
    /// # Errors
    /// `keep-groups` beside others; a number out of range.
    pub fn read(texts: &[String]) -> Result<Groups> {
        match texts {
            [only] if only == "keep-groups" => Ok(Groups::Kept),
            texts if texts.iter().any(|text| text == "keep-groups") => {
                refuse!(
                    Invalid,
                    "--group-add keep-groups goes with no other --group-add"
                )
            }
            texts => {
                let groups = texts.iter().map(|text| text.parse());
                Ok(Groups::Added(groups.collect::<Result<_>>()?))
            }
        }
    }

    /// Those that are added.
    pub fn added(&self) -> &[IdOrName] {
        match self {
            Groups::Added(groups) => groups,
            Groups::Kept => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> IdOrName {
        IdOrName::Name(text.into())
    }

    #[test]
    fn users_are_names_or_numbers() {
        for (text, user, group) in [
            ("", IdOrName::Id(0), None),
            ("web", name("web"), None),
            ("web:", name("web"), None),
            (":34", IdOrName::Id(0), Some(IdOrName::Id(34))),
            ("1234:ssl", IdOrName::Id(1234), Some(name("ssl"))),
            ("-1", name("-1"), None),
            ("a:b:c", name("a"), Some(name("b:c"))),
        ] {
            let read: UserOption = text.parse().unwrap();
            assert_eq!((&read.user, &read.group), (&user, &group), "{text}");
            assert_eq!(read.to_string(), text);
        }
        for text in ["4294967295", "99999999999", "0:4294967295"] {
            let error = text.parse::<UserOption>().unwrap_err().to_string();
            let id = text.strip_prefix("0:").unwrap_or(text);
            assert_eq!(error, format!("id {id} is out of range"));
        }
        assert_eq!(UserOption::of_ids(7, 8), "7:8".parse().unwrap());
        let root = |text: &str| text.parse::<UserOption>().unwrap().is_root();
        assert!(root("") && root("0") && root("root") && root("root:"));
        assert!(!root("0:0") && !root("web") && !root("1"));
    }

    #[test]
    fn groups_are_added_or_kept() {
        let read = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).into()).collect();
            Groups::read(&texts)
        };
        assert_eq!(read(&[]).unwrap(), Groups::default());
        assert_eq!(read(&["keep-groups"]).unwrap(), Groups::Kept);
        let added = Groups::Added(vec![name("ssl"), IdOrName::Id(9)]);
        assert_eq!(read(&["ssl", "9"]).unwrap(), added);
        let said = "--group-add keep-groups goes with no other --group-add";
        assert_eq!(read(&["keep-groups", "9"]).unwrap_err().to_string(), said);
        assert!(read(&["4294967295"]).is_err());
    }
}
