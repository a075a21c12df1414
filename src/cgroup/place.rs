//! Where a container's control group can be: a scope of the user's systemd, a
//! subtree that was handed to the user, or nowhere.

use super::limits::Setting;
use super::systemd::{self, Scope};
use super::v2::{Group, Refused};
use crate::error::{refusal, refuse};
use crate::sys::xattr;
use anyhow::{Context, Result};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use nix::unistd::{AccessFlags, access, geteuid};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a scope may take to go away.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who makes control groups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Manager {
    /// Whoever can.
    #[default]
    Auto,
    /// The user's systemd.
    Systemd,
    /// bryo itself.
    Cgroupfs,
    /// Nobody.
    Disabled,
}

impl Manager {
    /// The words for them.
    pub const WORDS: [&str; 4] = ["auto", "systemd", "cgroupfs", "disabled"];

    /// Which one a word stands for.
    pub fn of(word: &str) -> Manager {
        match word {
            "systemd" => Manager::Systemd,
            "cgroupfs" => Manager::Cgroupfs,
            "disabled" => Manager::Disabled,
            _ => Manager::Auto,
        }
    }

    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Manager::Auto => "auto",
            Manager::Systemd => "systemd",
            Manager::Cgroupfs => "cgroupfs",
            Manager::Disabled => "disabled",
        }
    }
}

/// The groups of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// Who made them.
    pub manager: Manager,
    /// The scope that they are in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The group that has the limits.
    pub limits: PathBuf,
    /// The group that the container's processes are in, which is what they
    /// see as the root.
    pub payload: PathBuf,
}

/// What a container wants.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Who is to make it.
    pub manager: Manager,
    /// The spec's `cgroupsPath`: `SLICE:PREFIX:NAME`, or a path of the
    /// hierarchy.
    pub path: &'a str,
    /// For people.
    pub description: &'a str,
    /// Controllers that there must be.
    pub controllers: &'a [String],
    /// A group of its own below that with the limits.
    pub nested: bool,
}

/// Why there is no place.
#[derive(Debug)]
pub enum Obstacle {
    /// No hierarchy of version 2 is mounted.
    NoHierarchy,
    /// The user may make no groups, and nobody does it for him.
    NotDelegated(String),
    /// There are groups, but without these controllers.
    Controllers(Vec<String>, PathBuf),
    /// What could be done failed.
    Failed(anyhow::Error),
}

impl std::fmt::Display for Obstacle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = match self {
            Obstacle::NoHierarchy => "this machine has no control groups of version 2".to_owned(),
            Obstacle::NotDelegated(why) => why.clone(),
            Obstacle::Controllers(names, dir) => format!(
                "the controller{} {} {} not delegated to you in {}",
                if names.len() == 1 { "" } else { "s" },
                names.join(", "),
                if names.len() == 1 { "is" } else { "are" },
                dir.display()
            ),
            Obstacle::Failed(error) => format!("{error:#}"),
        };
        f.write_str(&text)
    }
}

/// Controllers that it takes to show what a container uses.
const USEFUL: [&str; 4] = ["cpu", "io", "memory", "pids"];

/// Files that say what a group gets beside others.
const WEIGHTS: [&str; 7] = [
    "cpu.weight",
    "cpu.weight.nice",
    "cpu.idle",
    "io.weight",
    "io.bfq.weight",
    "memory.low",
    "memory.min",
];

/// Where the processes go that were in a group which is to be divided.
const CALLERS: &str = "bryo-callers";

/// The hierarchy of version 2, and this process's place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub top: PathBuf,
    /// The directory of this process's group.
    pub own: PathBuf,
}

/// Where version 2 is mounted: by itself, or beside version 1 (systemd's
/// "hybrid" layout).
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// The path in `/proc/self/cgroup` of the hierarchy of version 2.
fn own_path(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::/"))
}

impl Hierarchy {
    /// Looks for it.
    pub fn find() -> Option<Hierarchy> {
        let is_v2 = |path: &&&str| {
            statfs(**path).is_ok_and(|fs| fs.filesystem_type() == CGROUP2_SUPER_MAGIC)
        };
        let top = MOUNTS.iter().find(is_v2)?;
        let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let top = PathBuf::from(top);
        let own = top.join(own_path(&text)?);
        // Another part of it may be mounted here, or none that we are in.
        let own = match own.join("cgroup.procs").exists() {
            true => own,
            false => top.clone(),
        };
        Some(Hierarchy { top, own })
    }

    /// The topmost group around this process that the user may divide, up to
    /// the first that was marked as handed over.
    fn delegated(&self) -> Option<Delegated> {
        let mut found = None;
        for dir in self.own.ancestors() {
            if !dir.starts_with(&self.top) || !is_mine(dir) || is_manager(dir) {
                break;
            }
            let marked = is_marked(dir) || self.is_delegated_unit(dir);
            found = Some(Delegated {
                dir: dir.to_owned(),
                marked,
            });
            if marked {
                break;
            }
        }
        found
    }

    /// Whether a group is a unit of the user's systemd that was handed over:
    /// that one marks none.
    fn is_delegated_unit(&self, dir: &Path) -> bool {
        let name = dir.file_name().and_then(|name| name.to_str());
        let unit = name.filter(|name| name.ends_with(".scope") || name.ends_with(".service"));
        unit.is_some_and(|unit| {
            self.below_manager()
                && systemd::Manager::connect().is_ok_and(|mut m| m.delegates(unit).unwrap_or(false))
        })
    }

    /// Whether it is the user's systemd that has this process in hand.
    fn below_manager(&self) -> bool {
        self.own.ancestors().any(is_manager)
    }

    /// Whether this process may clone into a group: it has to be allowed to
    /// move processes anywhere below the group that both are in.
    pub fn reaches(&self, group: &Path) -> bool {
        let common = group.ancestors().find(|dir| self.own.starts_with(dir));
        common.is_some_and(|dir| access(&dir.join("cgroup.procs"), AccessFlags::W_OK).is_ok())
    }
}

struct Delegated {
    dir: PathBuf,
    marked: bool,
}

/// Whether groups can be made in the directory and processes moved there.
fn is_mine(dir: &Path) -> bool {
    let files = ["", "cgroup.procs", "cgroup.subtree_control"];
    let mut files = files.iter().map(|file| dir.join(file));
    files.all(|file| access(&file, AccessFlags::W_OK).is_ok())
}

/// The group of the user's systemd itself, `user@1000.service`.
fn is_manager(dir: &Path) -> bool {
    let name = dir.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with("user@") && name.ends_with(".service"))
}

/// Whether systemd marked a group as handed over (`user.delegate`, since 251).
fn is_marked(dir: &Path) -> bool {
    let file = std::fs::File::open(dir);
    file.is_ok_and(|file| {
        xattr::get(&file, c"user.delegate").is_ok_and(|value| value.as_deref() == Some(b"1"))
    })
}

/// A spec's `cgroupsPath`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GroupPath<'a> {
    /// In systemd's words: slice, prefix, name.
    Unit(&'a str, &'a str, &'a str),
    /// A path of the hierarchy.
    Plain(&'a str),
}

/// Whether a part of a path or of a unit's name is one.
pub fn is_word(part: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || "-_.@\\".contains(c);
    !part.is_empty() && part.len() < 200 && part.chars().all(word) && !part.starts_with('.')
}

fn parse(path: &str) -> Result<GroupPath<'_>> {
    let parts: Vec<&str> = path.split(':').collect();
    match parts.as_slice() {
        [slice, prefix, name]
            if is_word(slice) && slice.ends_with(".slice") && is_word(prefix) && is_word(name) =>
        {
            Ok(GroupPath::Unit(slice, prefix, name))
        }
        [path]
            if path.split('/').all(|part| part.is_empty() || is_word(part)) && !path.is_empty() =>
        {
            Ok(GroupPath::Plain(path))
        }
        _ => refuse!(Invalid, "'{path}' is no path of a control group"),
    }
}

/// Makes the groups of a container and moves the calling process beside
/// them, where it has to be to clone into them.
pub fn place(wanted: &Wanted<'_>) -> std::result::Result<Placed, Obstacle> {
    let hierarchy = Hierarchy::find().ok_or(Obstacle::NoHierarchy)?;
    let path = parse(wanted.path).map_err(Obstacle::Failed)?;
    let delegated = match wanted.manager {
        // Not looked for in vain: systemd may have to be asked.
        Manager::Disabled | Manager::Systemd => None,
        Manager::Auto | Manager::Cgroupfs => hierarchy.delegated(),
    };
    let by_systemd = |error: Option<anyhow::Error>| {
        if let Some(error) = error {
            return Err(Obstacle::NotDelegated(format!("{error:#}")));
        }
        let GroupPath::Unit(slice, prefix, name) = path else {
            let error = refusal!(
                Invalid,
                "--cgroup-parent of systemd's is a slice, as bryo.slice; a path goes with \
                 --cgroup-manager cgroupfs"
            );
            return Err(Obstacle::Failed(error));
        };
        scope(slice, prefix, name, wanted)
    };
    match (wanted.manager, delegated) {
        (Manager::Disabled, _) => Err(Obstacle::NotDelegated("--cgroups disabled".into())),
        (Manager::Systemd, _) => by_systemd(None),
        (Manager::Cgroupfs, Some(d)) => in_subtree(&hierarchy, &d.dir, path, wanted),
        (Manager::Auto, Some(d)) if matches!(path, GroupPath::Plain(_)) => {
            in_subtree(&hierarchy, &d.dir, path, wanted)
        }
        // Handed to us for this: there is nobody to be asked.
        (Manager::Auto, Some(d)) if d.marked || !hierarchy.below_manager() => {
            in_subtree(&hierarchy, &d.dir, path, wanted)
        }
        (Manager::Auto, d) => match (systemd::is_there(), d) {
            (true, _) => by_systemd(None),
            (false, Some(d)) => in_subtree(&hierarchy, &d.dir, path, wanted),
            (false, None) => by_systemd(Some(refusal!(
                Unsupported,
                "{} is not yours to divide, and no manager of your services runs",
                hierarchy.own.display()
            ))),
        },
        (Manager::Cgroupfs, None) => Err(Obstacle::NotDelegated(format!(
            "{} is not yours to divide",
            hierarchy.own.display()
        ))),
    }
}

/// Removes the group that [`place`] made for `path`, which names a unit, in a
/// subtree that is the user's and that nobody recorded, because its maker was
/// killed. A scope needs no such care: systemd removes what has no processes.
pub fn remove_unrecorded(path: &str) -> Result<()> {
    match (foreseen(path)?, parse(path)?) {
        (Some(group), GroupPath::Unit(..)) => group.remove(),
        _ => Ok(()),
    }
}

/// The group that [`place`] makes for `path` where bryo makes it itself; it may
/// be there already.
///
/// # Errors
/// `path` is none.
pub fn foreseen(path: &str) -> Result<Option<Group>> {
    let path = parse(path)?;
    let hierarchy = Hierarchy::find();
    let found = hierarchy.and_then(|h| {
        let first = h.delegated()?.dir;
        let (base, name) = within(&h, &first, path)?;
        Some(Group::at(base).child(&name))
    });
    Ok(found)
}

/// A scope of the user's systemd: this process in one group, the container in
/// another beside it.
fn scope(
    slice: &str,
    prefix: &str,
    name: &str,
    wanted: &Wanted<'_>,
) -> std::result::Result<Placed, Obstacle> {
    let not = |e: anyhow::Error| Obstacle::NotDelegated(format!("{e:#}"));
    let mut manager = systemd::Manager::connect().map_err(not)?;
    let unit = format!("{prefix}-{name}.scope");
    let scope = Scope {
        unit: &unit,
        slice,
        description: wanted.description,
        pids: &[std::process::id()],
    };
    let end = Instant::now() + PATIENCE;
    loop {
        let job = manager.begin_scope(&scope).map_err(not)?;
        match manager.await_job(job) {
            Ok(()) => break,
            // That of an earlier run is not gone yet.
            Err(e) if e.is::<systemd::Exists>() && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(e) => return Err(not(e.context(format!("start {unit}")))),
        }
    }
    let failed = |e: anyhow::Error| Obstacle::Failed(e.context(unit.clone()));
    let hierarchy = Hierarchy::find().ok_or(Obstacle::NoHierarchy)?;
    let top = Group::at(&hierarchy.own);
    if top.dir().file_name().is_none_or(|own| own != unit.as_str()) {
        let error = refusal!(
            Unsupported,
            "this process was put into {}",
            top.dir().display()
        );
        return Err(failed(error));
    }
    // A group that has others below it has no processes itself.
    let beside = top.child("supervisor");
    beside.make().map_err(failed)?;
    beside.take(0).context("enter it").map_err(failed)?;
    let limits = top.child("container");
    divide(&top, wanted.controllers, None)?;
    let mut placed = make(limits, wanted)?;
    placed.manager = Manager::Systemd;
    placed.unit = Some(unit);
    Ok(placed)
}

/// A group in the subtree `first` that is the user's; this process stays where
/// it is.
fn in_subtree(
    hierarchy: &Hierarchy,
    first: &Path,
    path: GroupPath<'_>,
    wanted: &Wanted<'_>,
) -> std::result::Result<Placed, Obstacle> {
    let (base, name) = within(hierarchy, first, path)
        .ok_or_else(|| Obstacle::Failed(refusal!(Unsupported, "no name for a group")))?;
    let around = Path::new(&base);
    // Groups on the way to it, each dividing what it has.
    let mut group = Group::at(first);
    let below = around.strip_prefix(first).unwrap_or(Path::new(""));
    divide(&group, wanted.controllers, Some(CALLERS))?;
    for part in below {
        group = group.child(&part.to_string_lossy());
        group.make().map_err(Obstacle::Failed)?;
        divide(&group, wanted.controllers, None)?;
    }
    let mut placed = make(group.child(&name), wanted)?;
    placed.manager = Manager::Cgroupfs;
    Ok(placed)
}

/// Where a group of this path is in the subtree `first`: the group around it, and
/// its name.
fn within(hierarchy: &Hierarchy, first: &Path, path: GroupPath<'_>) -> Option<(PathBuf, String)> {
    let path = match path {
        GroupPath::Unit(_, prefix, name) => {
            return Some((first.to_owned(), format!("{prefix}-{name}")));
        }
        GroupPath::Plain(path) => path,
    };
    // From the top if that is ours, else from where we are.
    let full = match path.strip_prefix('/') {
        Some(path) if hierarchy.top.join(path).starts_with(first) => hierarchy.top.join(path),
        Some(path) => first.join(path),
        None => first.join(path),
    };
    let name = full.file_name()?.to_string_lossy().into_owned();
    Some((full.parent().unwrap_or(first).to_owned(), name))
}

fn make(limits: Group, wanted: &Wanted<'_>) -> std::result::Result<Placed, Obstacle> {
    limits.make().map_err(Obstacle::Failed)?;
    let payload = match wanted.nested {
        true => limits.child("payload"),
        false => limits.clone(),
    };
    if wanted.nested {
        payload.make().map_err(Obstacle::Failed)?;
    }
    Ok(Placed {
        manager: Manager::Auto,
        unit: None,
        limits: limits.dir().to_owned(),
        payload: payload.dir().to_owned(),
    })
}

/// Gives groups below `group` the controllers in `needed`, and those that are
/// of use where that costs nothing. Processes that are in the way go to the
/// group `callers`, if there may be one.
fn divide(
    group: &Group,
    needed: &[String],
    callers: Option<&str>,
) -> std::result::Result<(), Obstacle> {
    let (has, enabled) = (group.controllers(), group.enabled());
    let lacks: Vec<String> = needed
        .iter()
        .filter(|c| !has.contains(c))
        .cloned()
        .collect();
    if !lacks.is_empty() {
        return Err(Obstacle::Controllers(lacks, group.dir().to_owned()));
    }
    let missing = |names: Vec<&str>| -> Vec<String> {
        let missing = names.into_iter().map(str::to_owned);
        missing
            .filter(|c| has.contains(c) && !enabled.contains(c))
            .collect()
    };
    let needed = missing(needed.iter().map(String::as_str).collect());
    let mut all = missing(USEFUL.to_vec());
    all.extend(
        needed
            .iter()
            .filter(|c| !USEFUL.contains(&c.as_str()))
            .cloned(),
    );
    let Err(error) = group.enable(&all) else {
        return Ok(());
    };
    if needed.is_empty() {
        return Ok(());
    }
    let failed = |e: anyhow::Error| {
        let what = format!("divide the control group {}", group.dir().display());
        Obstacle::Failed(e.context(what))
    };
    let busy = error.raw_os_error() == Some(libc::EBUSY);
    let (Some(callers), true) = (callers, busy) else {
        return group.enable(&needed).map_err(|e| failed(e.into()));
    };
    let aside = group.child(callers);
    aside.make().map_err(failed)?;
    group.vacate(&aside).map_err(failed)?;
    group
        .enable(&all)
        .or_else(|_| group.enable(&needed))
        .map_err(|e| failed(e.into()))
}

impl Placed {
    /// The group that has the limits.
    pub fn limits(&self) -> Group {
        Group::at(&self.limits)
    }

    /// The group that the container's processes are in.
    pub fn payload(&self) -> Group {
        Group::at(&self.payload)
    }

    /// Writes limits; returns those that were refused.
    ///
    /// A weight counts among the groups beside one. Beside that of a container in
    /// a scope there is only the supervisor's, so the scope has the weight too.
    pub fn apply(&self, settings: &[Setting]) -> Vec<Refused> {
        let mut refused = self.limits().apply(settings);
        let (Some(unit), Some(scope)) = (&self.unit, self.limits.parent()) else {
            return refused;
        };
        let is_weight = |s: &&Setting| WEIGHTS.contains(&s.file.as_str());
        let weights: Vec<Setting> = settings.iter().filter(is_weight).cloned().collect();
        let bfq = scope.join("io.bfq.weight").exists();
        for setting in &weights {
            // So that systemd does not write its own number at the next turn;
            // if it does not answer, that one is in force until then.
            if let Some((property, value)) = systemd::weight(setting, bfq) {
                let manager = systemd::Manager::connect();
                let _ = manager.and_then(|mut m| m.set(unit, property, value));
            }
        }
        let above = Group::at(scope).apply(&weights);
        let news = |r: &Refused| refused.iter().all(|known| known.setting != r.setting);
        let above: Vec<Refused> = above.into_iter().filter(news).collect();
        refused.extend(above);
        refused
    }

    /// The group in which a further process of the container starts: that of
    /// its process `pid`. An init such as systemd leaves the payload's own group
    /// and divides it, so that no process may be there (runc, `exec`).
    pub fn entry(&self, pid: i32) -> Group {
        let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let hierarchy = Hierarchy::find();
        let theirs = hierarchy.and_then(|h| Some(h.top.join(own_path(&text)?)));
        let theirs = theirs.filter(|dir| dir.starts_with(&self.payload));
        theirs.map_or_else(|| self.payload(), Group::at)
    }

    /// Sees to it that the group with the limits has these controllers.
    pub fn divide(&self, controllers: &[String]) -> std::result::Result<(), Obstacle> {
        let above = self.limits.parent().unwrap_or(Path::new("/"));
        divide(&Group::at(above), controllers, None)
    }

    /// Makes the groups anew, in which nothing has happened yet.
    pub fn renew(&self, wanted: &Wanted<'_>) -> std::result::Result<Placed, Obstacle> {
        self.remove().map_err(Obstacle::Failed)?;
        self.divide(wanted.controllers)?;
        self.limits().make().map_err(Obstacle::Failed)?;
        self.payload().make().map_err(Obstacle::Failed)?;
        Ok(self.clone())
    }

    /// Sees to it that this process may clone into the container's group: if
    /// it is elsewhere, systemd puts it beside the supervisor.
    pub fn approach(&self) -> Result<()> {
        let hierarchy = Hierarchy::find().context("no hierarchy of control groups is mounted")?;
        if hierarchy.reaches(&self.payload) {
            return Ok(());
        }
        let unit = self.unit.as_deref();
        let unit = unit.with_context(|| {
            format!(
                "{} cannot be entered from {}",
                self.payload.display(),
                hierarchy.own.display()
            )
        })?;
        let mut manager = systemd::Manager::connect()?;
        manager
            .attach(unit, "/supervisor", std::process::id())
            .with_context(|| format!("enter {unit}"))
    }

    /// Removes the groups; those of a scope go with it.
    pub fn remove(&self) -> Result<()> {
        self.limits().remove()
    }
}

/// Whether namespaces of control groups are borders: the owner of a group
/// that is the root of one cannot change its limits from inside (mount option
/// `nsdelegate`, which systemd sets).
pub fn namespaces_are_borders() -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut mounts = mounts.lines().map(|line| line.split(' '));
    mounts.any(|mut fields| {
        let (kind, options) = (fields.nth(2), fields.next());
        let has = |options: &str| options.split(',').any(|o| o == "nsdelegate");
        kind == Some("cgroup2") && options.is_some_and(has)
    })
}

/// Whether a directory is somebody else's than the caller's.
pub fn is_foreign(dir: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(dir).is_ok_and(|meta| meta.uid() != geteuid().as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_specs() {
        let unit = GroupPath::Unit("bryo.slice", "bryo", "0f");
        assert_eq!(parse("bryo.slice:bryo:0f").unwrap(), unit);
        assert_eq!(parse("/a/b-1").unwrap(), GroupPath::Plain("/a/b-1"));
        for bad in [
            "",
            "a:b",
            "a:b:c",
            "/a/../b",
            "a.slice:b:c/d",
            "a\n",
            "a.slice::c",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn own_places() {
        assert_eq!(
            own_path("4:memory:/x\n0::/user.slice/a\n"),
            Some("user.slice/a")
        );
        assert_eq!(own_path("0::/\n"), Some(""));
        assert_eq!(own_path("4:memory:/x\n"), None);
        assert!(is_manager(Path::new(
            "/sys/fs/cgroup/user.slice/user@1000.service"
        )));
        assert!(!is_manager(Path::new(
            "/sys/fs/cgroup/user.slice/session-1.scope"
        )));
    }
}
