//! Users and groups by the image's own `/etc/passwd` and `/etc/group`
//! (passwd(5), group(5)). Pure.

use crate::engine::request::user::{IdOrName, UserOption};
use crate::error::refuse;
use anyhow::Result;

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

/// Looks up who a command runs as. As docker does, a number without a line in
/// the files is taken as it is, and supplementary groups come with a user that
/// has no group given.
///
/// # Errors
/// A name without a line in the file.
pub fn resolve(asked: &UserOption, passwd_file: &[u8], group_file: &[u8]) -> Result<User> {
    let user = &asked.user;
    // Somebody may have digits for a name.
    let line = passwd(passwd_file).find(|p| match user {
        IdOrName::Id(id) => p.uid == *id || p.name == id.to_string(),
        IdOrName::Name(name) => p.name == *name,
    });
    let (uid, gid, home, name) = match (line, user) {
        (Some(p), _) => (p.uid, p.gid, p.home, Some(p.name)),
        (None, IdOrName::Id(uid)) => (*uid, 0, "/".to_owned(), None),
        (None, IdOrName::Name(name)) => {
            refuse!(NotFound, "user '{name}': not in the image's /etc/passwd")
        }
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
    match &asked.group {
        Some(asked) => resolved.gid = group_id(asked, group_file)?,
        None => {
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

/// Looks a group up.
///
/// # Errors
/// As [`resolve`].
pub fn group_id(asked: &IdOrName, group_file: &[u8]) -> Result<u32> {
    let line = group(group_file).find(|g| match asked {
        IdOrName::Id(id) => g.name == id.to_string(),
        IdOrName::Name(name) => g.name == *name,
    });
    match (line, asked) {
        (Some(group), _) => Ok(group.gid),
        (None, IdOrName::Id(gid)) => Ok(*gid),
        (None, IdOrName::Name(name)) => {
            refuse!(NotFound, "group '{name}': not in the image's /etc/group")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\nbroken\nweb:x:33:34::/var/www:\n";
    const GROUP: &[u8] = b"root:x:0:\nweb:x:34:\nlog:x:4:web,root\nssl:x:9:web\n";

    fn resolve(text: &str, passwd_file: &[u8], group_file: &[u8]) -> Result<User> {
        super::resolve(&text.parse()?, passwd_file, group_file)
    }

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
    }
}
