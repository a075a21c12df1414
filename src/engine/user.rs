//! Users and groups by the image's own `/etc/passwd` and `/etc/group`
//! (passwd(5), group(5)). Pure.

use crate::error;
use anyhow::{Result, bail};

/// Who the command runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: String,
    /// Name, if it has one.
    pub name: Option<String>,
}

/// A line of passwd(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passwd {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Home directory.
    pub home: String,
}

/// A line of group(5).
struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

fn lines(file: &[u8]) -> impl Iterator<Item = Vec<String>> + '_ {
    file.split(|b| *b == b'\n').map(|line| {
        let line = String::from_utf8_lossy(line);
        line.split(':')
            .map(|field| field.trim().to_owned())
            .collect()
    })
}

fn passwd(file: &[u8]) -> impl Iterator<Item = Passwd> + '_ {
    lines(file).filter_map(|fields| {
        Some(Passwd {
            name: fields.first()?.clone(),
            uid: fields.get(2)?.parse().ok()?,
            gid: fields.get(3)?.parse().ok()?,
            home: fields.get(5)?.clone(),
        })
    })
}

fn group(file: &[u8]) -> impl Iterator<Item = Group> + '_ {
    lines(file).filter_map(|fields| {
        let members = fields.get(3).map(String::as_str).unwrap_or_default();
        let members = members.split(',').filter(|m| !m.is_empty());
        Some(Group {
            name: fields.first()?.clone(),
            gid: fields.get(2)?.parse().ok()?,
            members: members.map(str::to_owned).collect(),
        })
    })
}

/// The first line for user id `uid`.
pub fn find_by_uid(passwd_file: &[u8], uid: u32) -> Option<Passwd> {
    passwd(passwd_file).find(|p| p.uid == uid)
}

/// Resolves `--user` or an image's `User`: `user`, `user:group`, names or
/// numbers; empty for root. As docker does, a number without a line in the
/// files is taken as it is, and supplementary groups come with a user that
/// has no group given.
///
/// # Errors
/// A name without a line in the file, a number out of range.
pub fn resolve(text: &str, passwd_file: &[u8], group_file: &[u8]) -> Result<User> {
    let (user, group_text) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let number = id(user)?;
    let line = passwd(passwd_file).find(|p| p.name == user || Some(p.uid) == number);
    let (uid, gid, home, name) = match (line, number) {
        (Some(p), _) => (p.uid, p.gid, p.home, Some(p.name)),
        (None, Some(uid)) => (uid, 0, "/".to_owned(), None),
        (None, None) => bail!(
            error::Kind::NotFound.says(format!("user '{user}': not in the image's /etc/passwd"))
        ),
    };
    let mut resolved = User {
        uid,
        gid,
        groups: Vec::new(),
        home: if home.is_empty() {
            "/".to_owned()
        } else {
            home
        },
        name,
    };
    match group_text {
        Some(text) if !text.is_empty() => resolved.gid = group_id(text, group_file)?,
        _ => {
            if let Some(name) = &resolved.name {
                let mine = group(group_file).filter(|g| g.members.contains(name));
                resolved.groups = mine.map(|g| g.gid).filter(|g| *g != resolved.gid).collect();
                resolved.groups.sort_unstable();
                resolved.groups.dedup();
            }
        }
    }
    Ok(resolved)
}

/// Resolves a group given by name or number.
///
/// # Errors
/// As [`resolve`].
pub fn group_id(text: &str, group_file: &[u8]) -> Result<u32> {
    let number = id(text)?;
    let line = group(group_file).find(|g| g.name == text);
    match (line, number) {
        (Some(group), _) => Ok(group.gid),
        (None, Some(gid)) => Ok(gid),
        (None, None) => bail!(
            error::Kind::NotFound.says(format!("group '{text}': not in the image's /etc/group"))
        ),
    }
}

fn id(text: &str) -> Result<Option<u32>> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse() {
        // The last number stands for "no id".
        Ok(u32::MAX) | Err(_) => bail!("id {text} is out of range"),
        Ok(id) => Ok(Some(id)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\nbroken\nweb:x:33:34::/var/www:\n";
    const GROUP: &[u8] = b"root:x:0:\nweb:x:34:\nlog:x:4:web,root\nssl:x:9:web\n";

    #[test]
    fn names_numbers_and_groups() {
        let web = resolve("web", PASSWD, GROUP).unwrap();
        assert_eq!((web.uid, web.gid, web.groups), (33, 34, vec![4, 9]));
        assert_eq!(web.home, "/var/www");
        let root = resolve("", PASSWD, GROUP).unwrap();
        assert_eq!((root.uid, root.gid, root.home.as_str()), (0, 0, "/root"));
        let other = resolve("1234:ssl", PASSWD, GROUP).unwrap();
        assert_eq!((other.uid, other.gid, other.home.as_str()), (1234, 9, "/"));
        assert_eq!(resolve("33", PASSWD, GROUP).unwrap().gid, 34);
        assert!(resolve("web:4", PASSWD, GROUP).unwrap().groups.is_empty());
    }

    #[test]
    fn what_is_not_there_is_named() {
        let error = |text| resolve(text, PASSWD, GROUP).unwrap_err().to_string();
        assert!(error("nobody").contains("nobody"));
        assert!(error("web:nogroup").contains("nogroup"));
        assert!(error("4294967295").contains("out of range"));
        assert!(error("99999999999").contains("out of range"));
    }
}
