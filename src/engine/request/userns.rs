//! What was asked for: `--userns`, `--uidmap` and `--gidmap`.

use crate::error::refuse;
use crate::idmap::{self, IdMap};
use anyhow::Result;

/// `--userns`, `--uidmap` and `--gidmap`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum UserNs {
    /// A range where there is one, else one id.
    #[default]
    Auto,
    /// One id: the user's.
    Single,
    /// The user as root, and a range.
    Range,
    /// The user as himself, or as the ids given.
    KeepId {
        /// His user id inside.
        uid: Option<u32>,
        /// His group id inside.
        gid: Option<u32>,
    },
    /// A range without the user.
    NoMap,
    /// Lines of container id, id of the base, count; the groups' are the
    /// users' where only one of them is given.
    Custom {
        /// Users.
        uids: Vec<IdMap>,
        /// Groups.
        gids: Vec<IdMap>,
    },
}

impl UserNs {
    /// What `inspect` says of it; nothing where nothing was asked for.
    pub fn mode(&self) -> String {
        match self {
            UserNs::Auto => String::new(),
            UserNs::Single => "single".into(),
            UserNs::Range => "range".into(),
            UserNs::KeepId { uid, gid } => {
                let ids = [("uid", uid), ("gid", gid)];
                let ids = ids
                    .iter()
                    .filter_map(|(key, id)| id.map(|id| format!("{key}={id}")));
                match ids.collect::<Vec<_>>().join(",").as_str() {
                    "" => "keep-id".into(),
                    ids => format!("keep-id:{ids}"),
                }
            }
            UserNs::NoMap => "nomap".into(),
            UserNs::Custom { .. } => "private".into(),
        }
    }

    /// Reads for which ids images are unpacked when they come in: `auto`,
    /// `single` or `range`.
    pub fn of_images(mode: &str) -> Result<UserNs> {
        match mode {
            "auto" | "single" | "range" => UserNs::parse(mode, &[], &[]),
            _ => refuse!(Invalid, "there are auto, single and range"),
        }
    }

    /// Reads `--userns` and the lines of `--uidmap` and `--gidmap`.
    ///
    /// # Errors
    /// A mode or key that is unknown, ids that are none, lines that overlap.
    pub fn parse(mode: &str, uidmap: &[String], gidmap: &[String]) -> Result<UserNs> {
        if !uidmap.is_empty() || !gidmap.is_empty() {
            let (uids, gids) = (custom("uidmap", uidmap)?, custom("gidmap", gidmap)?);
            return Ok(match (uids.is_empty(), gids.is_empty()) {
                (true, _) => UserNs::Custom {
                    uids: gids.clone(),
                    gids,
                },
                (_, true) => UserNs::Custom {
                    gids: uids.clone(),
                    uids,
                },
                _ => UserNs::Custom { uids, gids },
            });
        }
        let (name, options) = mode.split_once(':').unwrap_or((mode, ""));
        let (mut uid, mut gid) = (None, None);
        for option in options.split(',').filter(|o| !o.is_empty()) {
            let parsed = option
                .split_once('=')
                .and_then(|(k, v)| Some((k, v.parse().ok()?)));
            match parsed.filter(|(_, id)| name == "keep-id" && *id < u32::MAX) {
                Some(("uid", id)) => uid = Some(id),
                Some(("gid", id)) => gid = Some(id),
                _ => refuse!(
                    Invalid,
                    "--userns {mode}: '{option}' is none of keep-id's uid=N, gid=N"
                ),
            }
        }
        Ok(match name {
            "" | "auto" | "host" => UserNs::Auto,
            "single" => UserNs::Single,
            "range" => UserNs::Range,
            "keep-id" => UserNs::KeepId { uid, gid },
            "nomap" => UserNs::NoMap,
            _ => refuse!(
                Invalid,
                "--userns {mode}: there are auto, host, single, range, keep-id and nomap"
            ),
        })
    }
}

/// Lines of `--uidmap` or `--gidmap`.
fn custom(flag: &str, texts: &[String]) -> Result<Vec<IdMap>> {
    let line = |text: &String| {
        let numbers: Option<Vec<u32>> = text.split(':').map(|n| n.parse().ok()).collect();
        match numbers.as_deref() {
            Some([inside, outside]) => Ok(IdMap::new(*inside, *outside, 1)),
            Some([inside, outside, count]) => Ok(IdMap::new(*inside, *outside, *count)),
            _ => refuse!(
                Invalid,
                "--{flag} {text}: CONTAINER:RANGE[:COUNT] is wanted, as 0:1:1000"
            ),
        }
    };
    let map = texts.iter().map(line).collect::<Result<Vec<_>>>()?;
    if !idmap::is_sound(&map) {
        refuse!(
            Invalid,
            "--{flag}: a line is empty, goes beyond the last id, or has an id of another line"
        );
    }
    Ok(map)
}
