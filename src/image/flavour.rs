//! For which id map a layer's tree is unpacked. A tree shows the right owners
//! under that map alone, so trees of different maps stand beside each other.

use super::digest::sha256;
use crate::idmap::{IdMap, inverted, lines, outside, push};
use nix::sys::stat::FileStat;

/// For which id map a tree is unpacked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Flavour {
    /// Container root is the user; other owners are only recorded.
    #[default]
    Single,
    /// Files have true owners.
    Mapped(Owners),
}

/// Which ids stand for those of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owners {
    /// Users: in the image, and in the user namespace of the process that
    /// unpacks, which must be root there.
    pub uids: Vec<IdMap>,
    /// Groups, as `uids`.
    pub gids: Vec<IdMap>,
    /// Tells these ids from all others on this machine.
    pub key: String,
}

impl Owners {
    /// Owners whose ids are those of `uids` and `gids` here; `true_uids` and
    /// `true_gids` say what the image's ids are for the whole machine.
    pub fn new(
        uids: Vec<IdMap>,
        gids: Vec<IdMap>,
        true_uids: &[IdMap],
        true_gids: &[IdMap],
    ) -> Owners {
        let text = format!("{}/{}", lines(true_uids), lines(true_gids));
        let key = sha256(text.as_bytes()).digest()[..12].to_owned();
        Owners { uids, gids, key }
    }

    /// What an image's owner and group are here; `Err` has the id that is
    /// nobody, and whether it is a group.
    pub fn here(&self, uid: u32, gid: u32) -> Result<(u32, u32), (u32, bool)> {
        let user = outside(&self.uids, uid).ok_or((uid, false))?;
        let group = outside(&self.gids, gid).ok_or((gid, true))?;
        Ok((user, group))
    }

    /// What a file's owner and group are in the image; what the image cannot
    /// have is the kernel's nobody already.
    pub fn in_image(&self, stat: &FileStat) -> (u32, u32) {
        let look = |map: &[IdMap], id| outside(&inverted(map), id).unwrap_or(id);
        (look(&self.uids, stat.st_uid), look(&self.gids, stat.st_gid))
    }

    /// Whether only root of a container may write to a file that has this status,
    /// and so to the attributes that say what it should be: another of the
    /// container's users must not make a device, or root's file, of what he has.
    pub fn are_roots_alone(&self, stat: &FileStat) -> bool {
        self.in_image(stat).0 == 0 && stat.st_mode & 0o022 == 0
    }
}

impl Flavour {
    /// Name of the directory below `layers` that has its trees.
    pub fn directory(&self) -> String {
        match self {
            Flavour::Single => "single".to_owned(),
            Flavour::Mapped(owners) => format!("range-{}", owners.key),
        }
    }

    /// The owners of files, if they are true ones.
    pub fn owners(&self) -> Option<&Owners> {
        match self {
            Flavour::Single => None,
            Flavour::Mapped(owners) => Some(owners),
        }
    }
}

/// The ids of an image that a map makes somebody, in words.
pub fn ranges(map: &[IdMap]) -> String {
    let text = |line: &IdMap| format!("{} to {}", line.inside, line.inside + (line.count - 1));
    let ids = map.iter().map(|l| IdMap::new(l.inside, l.inside, l.count));
    let joined = ids.fold(Vec::new(), |mut all, line| {
        push(&mut all, line);
        all
    });
    joined.iter().map(text).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_have_directories_of_their_own() {
        let map = |first: u32| vec![IdMap::new(0, 1000, 1), IdMap::new(1, first, 65536)];
        let here = || vec![IdMap::new(0, 0, 65537)];
        let owners = |first| {
            let truth = map(first);
            Flavour::Mapped(Owners::new(here(), here(), &truth, &truth))
        };
        assert_eq!(owners(100_000).directory(), owners(100_000).directory());
        assert_ne!(owners(100_000).directory(), owners(165_536).directory());
        assert_ne!(owners(100_000).directory(), Flavour::Single.directory());
        let a = map(5);
        let b = Flavour::Mapped(Owners::new(here(), here(), &a, &here()));
        assert_ne!(b, owners(5));
        assert_eq!(
            owners(5).owners().unwrap().here(7, 70_000),
            Err((70_000, true))
        );
        assert_eq!(owners(5).owners().unwrap().here(7, 65536), Ok((7, 65536)));
    }
}
