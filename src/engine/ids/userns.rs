//! Which ids a container has, and what they are outside.
//!
//! The [`Base`] is all that the user has: himself, and the ids that are
//! granted to him or that the namespace has in which bryo is root. The ids of
//! the base are those of images: 0 is the user, whatever else he is called
//! inside. A container's map is made of the base by [`Mapping::decide`].

pub use crate::engine::ground::confine::Reach;
use crate::engine::ground::confine::{confine, go_on_confined};
use crate::engine::ground::paths::Unsafe;
use crate::engine::ground::user::User;
use crate::engine::ids::keeper::{Keeper, Maps};
use crate::engine::machine::ids::login_name;
use crate::engine::request::emulation::EmulationOption;
use crate::engine::request::user::UserOption;
use crate::engine::request::userns::UserNs;
use crate::error::{refusal, refuse};
use crate::idmap::helper::{SUBGID, SUBUID};
use crate::idmap::subid::{self, Range};
use crate::idmap::{self, IdMap, compose, inverted, push, size};
use crate::image::budget::Budget;
use crate::image::flavour::{Flavour, Owners};
use crate::image::store::Store;
use crate::process::{Beside, Told, in_process};
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::statfs::statfs;
use nix::unistd::{getegid, geteuid, setresgid, setresuid};
use oci_spec::runtime::{LinuxIdMapping, Spec};
use std::io::ErrorKind;
use std::path::Path;

/// The ids that the user has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// Himself.
    Single,
    /// Those of the namespace in which bryo is root.
    Here(Maps),
    /// Himself and granted ranges, in the namespace of a [`Keeper`].
    Granted(Maps),
}

/// A container's map.
#[derive(Debug)]
pub enum Mapping {
    /// One id.
    Single {
        /// Who the user is if nobody says so.
        user: Option<UserOption>,
    },
    /// More than that.
    Mapped(Box<Mapped>),
}

/// A map of several ids.
#[derive(Debug)]
pub struct Mapped {
    keeper: Option<Keeper>,
    /// Users: in the container, and as this process knows them.
    pub uids: Vec<IdMap>,
    /// Groups, as `uids`.
    pub gids: Vec<IdMap>,
    owners: Owners,
    /// The container's ids where [`Mapping::inside`] runs: users, groups.
    here: (Vec<IdMap>, Vec<IdMap>),
    /// Layers are unpacked for this very map.
    own_trees: bool,
    /// Who the user is if nobody says so.
    user: Option<UserOption>,
}

impl Base {
    /// Looks for them.
    pub fn find() -> Base {
        let own = |kind| {
            let text = std::fs::read_to_string(format!("/proc/self/{kind}_map"));
            idmap::parse(&text.unwrap_or_default())
        };
        let (uid_map, gid_map) = (own("uid"), own("gid"));
        if geteuid().is_root() {
            let maps = Maps {
                uids: identity(&uid_map),
                gids: identity(&gid_map),
            };
            let enough = size(&maps.uids) > 1 && size(&maps.gids) > 1 && may_map();
            return if enough {
                Base::Here(maps)
            } else {
                Base::Single
            };
        }
        let uid = geteuid().as_raw();
        let mut name = None;
        let mut granted = |file, own: u32, map: &[IdMap]| {
            let content = std::fs::read(file).unwrap_or_default();
            if content.is_empty() {
                return None;
            }
            let name = name.get_or_insert_with(|| login_name(uid).unwrap_or_default());
            with_ranges(own, &subid::ranges(&content, name, uid).0, map)
        };
        let uids = granted(SUBUID, uid, &uid_map);
        let gids = uids
            .is_some()
            .then(|| granted(SUBGID, getegid().as_raw(), &gid_map));
        match (uids, gids.flatten()) {
            (Some(uids), Some(gids)) => Base::Granted(Maps { uids, gids }),
            _ => Base::Single,
        }
    }

    /// The maps of the base: its ids, and as this process knows them.
    pub fn maps(&self) -> Maps {
        match self {
            Base::Here(maps) | Base::Granted(maps) => maps.clone(),
            Base::Single => Maps {
                uids: vec![IdMap::new(0, geteuid().as_raw(), 1)],
                gids: vec![IdMap::new(0, getegid().as_raw(), 1)],
            },
        }
    }
}

/// Whether this process, root of its namespace, may map all of its ids and
/// give files to them.
fn may_map() -> bool {
    use caps::{CapSet, Capability::*};
    let needed = [
        CAP_CHOWN,
        CAP_DAC_OVERRIDE,
        CAP_FOWNER,
        CAP_FSETID,
        CAP_SETFCAP,
        CAP_SETGID,
        CAP_SETUID,
    ];
    let held = caps::read(None, CapSet::Effective).unwrap_or_default();
    needed.iter().all(|capability| held.contains(capability))
}

/// Most lines of a base: bryo-idmap takes 32, and a container's map may need
/// some more.
const MAX_RANGES: usize = 24;

/// The user as 0 and granted ranges behind; None without any. `namespace` has
/// the ids that there are at all.
fn with_ranges(own: u32, ranges: &[Range], namespace: &[IdMap]) -> Option<Vec<IdMap>> {
    let mut map = vec![IdMap::new(0, own, 1)];
    for range in ranges {
        let inside = |line: &IdMap| Range {
            start: line.inside,
            count: line.count,
        };
        let there = namespace.iter().any(|line| inside(line).contains(range));
        let is_own = (range.start..range.end()).contains(&own);
        let next = u32::try_from(size(&map)).ok()?;
        if there && !is_own && map.len() <= MAX_RANGES && next.checked_add(range.count).is_some() {
            push(&mut map, IdMap::new(next, range.start, range.count));
        }
    }
    (map.len() > 1).then_some(map)
}

/// The base's map with the user as `id` and, in its place, whoever was `id`.
/// Where the base has no such id, its last one becomes root.
fn keep(base: &[IdMap], id: u32) -> Result<Vec<IdMap>> {
    let total = u32::try_from(size(base)).context("the ids are not in a row")?;
    let root = if id < total { id } else { total - 1 };
    let mut map = Vec::new();
    let line = |inside, outside, count| IdMap::new(inside, outside, count);
    if id == 0 {
        push(&mut map, line(0, 0, total));
    } else {
        push(&mut map, line(0, root, 1));
        push(&mut map, line(1, 1, root - 1));
        push(&mut map, line(id, 0, 1));
        if root < total - 1 {
            push(&mut map, line(root + 1, root + 1, total - 1 - root));
        }
    }
    Ok(map)
}

/// The ids of the base but the user's, from 0 on.
fn without_user(base: &[IdMap]) -> Vec<IdMap> {
    let others = size(base).saturating_sub(1);
    vec![IdMap::new(0, 1, u32::try_from(others).unwrap_or(u32::MAX))]
}

impl Mapping {
    /// Chooses and prepares a map for containers of `store`. `emulation` is
    /// `--root-emulation`. The caller must have one thread.
    ///
    /// # Errors
    /// What was asked for is more than the user has.
    pub fn decide(
        asked: &UserNs,
        emulation: EmulationOption,
        store: &Store,
        warn: &dyn Fn(&str),
    ) -> Result<Mapping> {
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        let kept = match asked {
            UserNs::KeepId { uid: u, gid: g } => Some((u.unwrap_or(uid), g.unwrap_or(gid))),
            _ => None,
        };
        let user = kept.map(|(uid, gid)| UserOption::of_ids(uid, gid));
        let chosen_here = matches!(asked, UserNs::Auto | UserNs::KeepId { .. });
        let wants_one = *asked == UserNs::Single
            || emulation.is_wanted()
            || chosen_here && is_remote(store.root());
        let (base, keeper) = match wants_one {
            true => (Base::Single, None),
            false => with_keeper(Base::find(), asked, warn)?,
        };
        if emulation.is_wanted()
            && !matches!(asked, UserNs::Auto | UserNs::Single)
            && kept.is_none()
        {
            refuse!(
                Invalid,
                "--root-emulation on is for containers with one id: leave out --userns or --uidmap"
            );
        }
        let of_base = base.maps();
        let (uids, gids) = match (asked, &base) {
            (UserNs::Range, Base::Single) => {
                refuse!(Unsupported, "--userns range: {}", lacking())
            }
            (UserNs::NoMap, Base::Single) => {
                refuse!(Unsupported, "--userns nomap: {}", lacking())
            }
            (UserNs::NoMap, Base::Here(maps) | Base::Granted(maps)) => {
                (without_user(&maps.uids), without_user(&maps.gids))
            }
            (UserNs::Custom { uids, gids }, _) => (uids.clone(), gids.clone()),
            (_, Base::Single) => return Ok(Mapping::Single { user }),
            (_, Base::Here(maps) | Base::Granted(maps)) => match kept {
                Some((uid, gid)) => (keep(&maps.uids, uid)?, keep(&maps.gids, gid)?),
                None => (identity(&maps.uids), identity(&maps.gids)),
            },
        };
        let true_uids = outside(&uids, &of_base.uids, "--uidmap")?;
        let true_gids = outside(&gids, &of_base.gids, "--gidmap")?;
        let alone = |map: &[IdMap], id| matches!(map, [l] if (l.outside, l.count) == (id, 1));
        if alone(&true_uids, uid) && alone(&true_gids, gid) {
            let user = UserOption::of_ids(true_uids[0].inside, true_gids[0].inside);
            return Ok(Mapping::Single { user: Some(user) });
        }
        // Where root is not the user, layers have other owners.
        let has_root = |map: &[IdMap]| idmap::outside(map, 0).is_some();
        let other = kept.is_some() || matches!(asked, UserNs::Custom { .. } | UserNs::NoMap);
        let own_trees = other && has_root(&uids) && has_root(&gids);
        let owners = match own_trees {
            true => owners(&uids, &gids, &true_uids, &true_gids),
            false => {
                let (uids, gids) = (identity(&of_base.uids), identity(&of_base.gids));
                owners(&uids, &gids, &of_base.uids, &of_base.gids)
            }
        };
        Ok(Mapping::Mapped(Box::new(Mapped {
            keeper,
            uids: true_uids,
            gids: true_gids,
            owners,
            here: (uids, gids),
            own_trees,
            user,
        })))
    }

    /// For which map layers must be unpacked.
    pub fn flavour(&self) -> Flavour {
        match self {
            Mapping::Single { .. } => Flavour::Single,
            Mapping::Mapped(mapped) => Flavour::Mapped(mapped.owners.clone()),
        }
    }

    /// Who runs the command if neither the user nor the image says so.
    pub fn user(&self) -> Option<&UserOption> {
        match self {
            Mapping::Single { user } => user.as_ref(),
            Mapping::Mapped(mapped) => mapped.user.as_ref(),
        }
    }

    /// The value of [`ANNOTATION_OWNERS`]; None with one id.
    pub fn owners(&self) -> Option<&'static str> {
        match self {
            Mapping::Single { .. } => None,
            Mapping::Mapped(mapped) if mapped.own_trees => Some("map"),
            Mapping::Mapped(_) => Some("base"),
        }
    }

    /// The lines of the container's maps of users and groups, for `user`.
    ///
    /// # Errors
    /// The user is not among the ids.
    pub fn maps(&self, user: &User) -> Result<(Vec<IdMap>, Vec<IdMap>)> {
        match self {
            Mapping::Single { .. } => Ok((
                vec![IdMap::new(user.uid, geteuid().as_raw(), 1)],
                vec![IdMap::new(user.gid, getegid().as_raw(), 1)],
            )),
            Mapping::Mapped(mapped) => {
                for (id, map, what, file) in [
                    (user.uid, &mapped.uids, "user", SUBUID),
                    (user.gid, &mapped.gids, "group", SUBGID),
                ] {
                    if idmap::outside(map, id).is_none() {
                        refuse!(
                            Invalid,
                            "{what} {id} is not among the {} ids of the container ({file}): \
                             --userns single has any",
                            size(map)
                        );
                    }
                }
                Ok((mapped.uids.clone(), mapped.gids.clone()))
            }
        }
    }

    /// Runs `act` where files have the owners that the container's layers
    /// have: in this process, or in one made for it.
    pub fn inside(&self, act: impl FnOnce() -> Result<()>) -> Result<()> {
        self.run_inside(act)
    }

    /// Reads a file of the container's layers by `act`, where it may be read.
    pub fn read_inside(&self, act: impl Fn() -> Result<Vec<u8>>) -> Result<Vec<u8>> {
        let closed = |error: &anyhow::Error| {
            let io = |e: &std::io::Error| e.kind() == ErrorKind::PermissionDenied;
            error.chain().any(|e| {
                e.downcast_ref().is_some_and(io) || e.downcast_ref() == Some(&Errno::EACCES)
            })
        };
        match act() {
            // It belongs to a subordinate id.
            Err(error) if closed(&error) => self.run_inside(act),
            other => other,
        }
    }

    /// As [`Mapping::inside`], for what reads the words of strangers: in a
    /// process made for it, which is confined.
    pub fn inside_confined(
        &self,
        store: &Store,
        budget: &Budget,
        reach: Reach,
        act: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let act = || {
            self.enter()?;
            confine(store, budget, reach)?;
            act()
        };
        Beside::start(act)?.finish()
    }

    /// As [`Mapping::inside`], for what has something to tell.
    pub fn run_inside<T: Told>(&self, act: impl FnOnce() -> Result<T>) -> Result<T> {
        let keeper = match self {
            Mapping::Mapped(mapped) => mapped.keeper.as_ref(),
            Mapping::Single { .. } => None,
        };
        let Some(keeper) = keeper else {
            return act();
        };
        in_process(|| {
            keeper.join()?;
            nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
            act()
        })
    }

    /// Moves this process there for good; it must have one thread.
    pub fn enter(&self) -> Result<()> {
        match self {
            Mapping::Mapped(mapped) => mapped.keeper.as_ref().map_or(Ok(()), Keeper::join),
            Mapping::Single { .. } => Ok(()),
        }
    }

    /// What ids of the container are where [`Mapping::inside`] runs; None with
    /// one id, where all files are the user's.
    ///
    /// # Errors
    /// The container does not have them.
    pub fn here(&self, (uid, gid): (u32, u32)) -> Result<Option<(u32, u32)>> {
        let Mapping::Mapped(mapped) = self else {
            return Ok(None);
        };
        let look = |map: &[IdMap], id| {
            idmap::outside(map, id).with_context(|| format!("the container has no id {id}"))
        };
        Ok(Some((
            look(&mapped.here.0, uid)?,
            look(&mapped.here.1, gid)?,
        )))
    }

    /// Root of the container, if that is somebody else than the user: his ids
    /// where [`Mapping::inside`] runs.
    pub fn foreign_root(&self) -> Option<(u32, u32)> {
        let Mapping::Mapped(mapped) = self else {
            return None;
        };
        let here = mapped.owners.here(0, 0).ok()?;
        (here != (0, 0)).then_some(here)
    }
}

/// The ids of a map, each as itself.
fn identity(map: &[IdMap]) -> Vec<IdMap> {
    let line = |l: &IdMap| IdMap::new(l.inside, l.inside, l.count);
    map.iter().map(line).collect()
}

/// What the ids of a container's map are as this process knows them.
fn outside(map: &[IdMap], base: &[IdMap], flag: &str) -> Result<Vec<IdMap>> {
    compose(map, base).map_err(|id| {
        let total = size(base);
        refusal!(
            Invalid,
            "{flag}: there is no id {id} to map: you have {total} of them, from 0 on"
        )
    })
}

fn owners(uids: &[IdMap], gids: &[IdMap], true_uids: &[IdMap], true_gids: &[IdMap]) -> Owners {
    // What this process knows may be numbers of a namespace of its own.
    let whole = |kind, map: &[IdMap]| {
        let text = std::fs::read_to_string(format!("/proc/self/{kind}_map")).unwrap_or_default();
        compose(map, &idmap::parse(&text)).unwrap_or_else(|_| map.to_vec())
    };
    let (true_uids, true_gids) = (whole("uid", true_uids), whole("gid", true_gids));
    Owners::new(uids.to_vec(), gids.to_vec(), &true_uids, &true_gids)
}

/// Whether a store is on a file system whose server decides about owners:
/// it knows nothing of subordinate ids and would refuse them.
pub fn is_remote(root: &Path) -> bool {
    const REMOTE: [i64; 9] = [
        0x6969,      // NFS
        0xff53_4d42, // CIFS
        0xfe53_4d42, // SMB 2
        0x517b,      // SMB
        0x6573_5546, // FUSE
        0x0102_1997, // 9P
        0x0bd0_0bd0, // Lustre
        0x4750_4653, // GPFS
        0x5346_414f, // AFS
    ];
    let existing = root.ancestors().find_map(|path| statfs(path).ok());
    existing.is_some_and(|stat| REMOTE.contains(&stat.filesystem_type().0))
}

/// What keeps the user from having ranges.
fn lacking() -> String {
    "you have no subordinate ids, or nobody can map them; bryo doctor tells what to do".to_owned()
}

/// The base with its keeper; the user alone where there can be none and none
/// was asked for.
fn with_keeper(base: Base, asked: &UserNs, warn: &dyn Fn(&str)) -> Result<(Base, Option<Keeper>)> {
    let Base::Granted(maps) = &base else {
        return Ok((base, None));
    };
    match Keeper::get(maps) {
        Ok(keeper) => Ok((base, Some(keeper))),
        // Whoever is in the way there does not choose whom files belong to.
        Err(error) if error.is::<Unsafe>() => Err(error),
        Err(error) if matches!(asked, UserNs::Auto | UserNs::KeepId { .. }) => {
            if !error.is::<crate::engine::ids::keeper::Nobody>() {
                warn(&format!("subordinate ids cannot be used: {error:#}"));
            }
            Ok((Base::Single, None))
        }
        Err(error) => Err(error),
    }
}

/// The store for bringing images in, which are unpacked for the map that
/// containers have by default; moves this process, which must have one
/// thread, to where their files have owners.
pub fn unpacking(store: Store, wanted: &UserNs) -> Result<Store> {
    // Without ranges it is no worse; `run` says what is wrong with them.
    let mapping = Mapping::decide(wanted, EmulationOption::Auto, &store, &|_| ())?;
    mapping.enter()?;
    Ok(store.with_flavour(mapping.flavour()))
}

/// The same for a verb that does nothing else: it goes on in a process made for
/// it, which is confined, and this one ends with that.
pub fn unpacking_confined(
    store: Store,
    wanted: &UserNs,
    budget: &Budget,
    reach: Reach,
) -> Result<Store> {
    let store = unpacking(store, wanted)?;
    go_on_confined(&store, budget, reach)?;
    Ok(store)
}

/// The same for a process that has other things to do where it is: `act` gets
/// the store, in a confined process made for it.
pub fn unpacking_beside(
    store: &Store,
    budget: &Budget,
    act: impl FnOnce(&Store) -> Result<()>,
) -> Result<()> {
    let mapping = Mapping::decide(&UserNs::Auto, EmulationOption::Auto, store, &|_| ())?;
    let store = store.clone().with_flavour(mapping.flavour());
    mapping.inside_confined(&store, budget, Reach::Registries, || act(&store))
}

/// The maps of a spec.
pub fn maps_of(spec: &Spec) -> Maps {
    let linux = spec.linux().as_ref();
    let lines = |maps: Option<&Vec<LinuxIdMapping>>| {
        let line = |m: &LinuxIdMapping| IdMap::new(m.container_id(), m.host_id(), m.size());
        maps.into_iter().flatten().map(line).collect()
    };
    Maps {
        uids: lines(linux.and_then(|l| l.uid_mappings().as_ref())),
        gids: lines(linux.and_then(|l| l.gid_mappings().as_ref())),
    }
}

/// Moves this process, which must have one thread, to where it may write the
/// maps of a container with this spec. Returns what the ids of the spec are
/// called there, if they are called anything else.
///
/// # Errors
/// The ids are not granted any more, or nobody can map them.
pub fn keeper_for(spec: &Spec) -> Result<Option<(Keeper, Maps)>> {
    let wanted = maps_of(spec);
    let own = |map: &[IdMap], id: u32| matches!(map, [l] if l.outside == id && l.count == 1);
    if own(&wanted.uids, geteuid().as_raw()) && own(&wanted.gids, getegid().as_raw()) {
        return Ok(None);
    }
    let Base::Granted(maps) = Base::find() else {
        return Ok(None);
    };
    let renamed = |map: &[IdMap], base: &[IdMap], file| {
        compose(map, &inverted(base)).map_err(|id| {
            refusal!(
                Unsupported,
                "id {id} is not granted to you by {file} any more, and the container needs it"
            )
        })
    };
    let renamed = Maps {
        uids: renamed(&wanted.uids, &maps.uids, SUBUID)?,
        gids: renamed(&wanted.gids, &maps.gids, SUBGID)?,
    };
    Ok(Some((Keeper::get(&maps)?, renamed)))
}

/// What the ids of a container with this spec are called in the user
/// namespace that this process has moved to from the one where bryo was
/// started.
///
/// # Errors
/// It does not have all of them.
pub fn renamed_here(spec: &Spec) -> Result<Maps> {
    let wanted = maps_of(spec);
    let renamed = |map: &[IdMap], kind| {
        let text = std::fs::read_to_string(format!("/proc/self/{kind}_map"));
        let base = idmap::parse(&text.unwrap_or_default());
        compose(map, &inverted(&base)).map_err(|id| {
            refusal!(Unsupported, "{kind} {id}, which the container needs, is not among the ids of its network's namespace")
        })
    };
    Ok(Maps {
        uids: renamed(&wanted.uids, "uid")?,
        gids: renamed(&wanted.gids, "gid")?,
    })
}

/// Moves this process, which must have one thread, to where it may remove and
/// read all files of the user's containers, if there is such a place.
pub fn enter_base() -> Result<()> {
    match Base::find() {
        Base::Granted(maps) => Keeper::get(&maps)?.join(),
        Base::Single | Base::Here(_) => Ok(()),
    }
}

/// Moves this process to where the files of a container with this spec have
/// owners that can be read, if they have true ones. Returns how.
pub fn enter_owners(spec: &Spec) -> Result<Option<Owners>> {
    let wanted = maps_of(spec);
    let annotation = spec.annotations().as_ref();
    let annotation = annotation.and_then(|a| a.get(ANNOTATION_OWNERS));
    let Some(kind) = annotation else {
        return Ok(None);
    };
    let base = Base::find();
    let of_base = base.maps();
    let has = |map: &[IdMap], id| idmap::outside(&inverted(map), id).is_some();
    let has_user = has(&wanted.uids, geteuid().as_raw()) && has(&wanted.gids, getegid().as_raw());
    enter_base()?;
    let here = |map: &[IdMap], base: &[IdMap]| match kind.as_str() {
        "map" => compose(map, &inverted(base)).unwrap_or_default(),
        _ => identity(base),
    };
    let uids = here(&wanted.uids, &of_base.uids);
    let gids = here(&wanted.gids, &of_base.gids);
    let owners = Owners::new(uids, gids, &wanted.uids, &wanted.gids);
    if !has_user {
        let root = owners
            .here(0, 0)
            .ok()
            .context("the container has no root")?;
        become_foreign(root)?;
    }
    Ok(Some(owners))
}

/// Makes this process root of a container that has no id for the user, who
/// can make no files in it. Capabilities stay as they are.
fn become_foreign((uid, gid): (u32, u32)) -> Result<()> {
    let held = caps::read(None, caps::CapSet::Permitted)?;
    let at_end_of_parent = prctl::get_pdeathsig()?;
    prctl::set_keepcaps(true).context("keep capabilities")?;
    setresgid(gid.into(), gid.into(), gid.into()).context("become root's group")?;
    setresuid(uid.into(), uid.into(), uid.into()).context("become the container's root")?;
    prctl::set_keepcaps(false).context("keep capabilities")?;
    caps::set(None, caps::CapSet::Effective, &held).context("keep capabilities")?;
    // The kernel forgets it where ids change (prctl(2)).
    prctl::set_pdeathsig(at_end_of_parent).context("set parent-death signal")
}

/// Annotation of containers whose files have true owners: `base` if the ids of
/// images are those of the base, `map` if they are those of the container.
pub const ANNOTATION_OWNERS: &str = "bryo.owners";
