//! Control groups of containers of this command line: made where that is asked for
//! or costs nothing, and done without where there can be none, unless something is
//! to be limited by it.

use super::bundle;
use super::state::{Container, Status};
use crate::cgroup::devices;
use crate::cgroup::limits::{self, Setting};
use crate::cgroup::place::{self, Manager, Obstacle, Placed, Wanted};
use crate::cgroup::v2::Group;
use crate::error::refuse;
use crate::sys::bpf::attach_device_program;
use crate::sys::ns;
use anyhow::{Context, Result};
use nix::unistd::geteuid;
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources, Spec};
use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What a limit that is none says.
fn is_unlimited(setting: &Setting) -> bool {
    let value = setting.value.as_str();
    // What every group has that nothing was said about; containerd always says it.
    let usual = setting.file == "cpu.weight" && value == "100";
    usual || value == "max" || value.starts_with("max ")
}

fn resources(spec: &Spec) -> Option<&LinuxResources> {
    spec.linux().as_ref()?.resources().as_ref()
}

/// What is to be limited.
fn asked(spec: &Spec) -> Result<Vec<Setting>> {
    let all = resources(spec).map_or_else(|| Ok(Vec::new()), limits::settings);
    let all = all.context("linux.resources")?.into_iter();
    Ok(all.filter(|setting| !is_unlimited(setting)).collect())
}

/// The path of a container's group: its own word for it, or one of its id.
fn path(spec: &Spec, id: &str) -> (String, bool) {
    let linux = spec.linux().as_ref();
    let path = linux.and_then(|linux| linux.cgroups_path().as_ref());
    let path = path.map(|path| path.to_string_lossy());
    match path.filter(|path| !path.is_empty()) {
        // Where nothing is said of the slice it is the usual one.
        Some(path) if path.starts_with(':') => {
            let system = geteuid().is_root() && ns::is_in_initial_user();
            let slice = if system { "system" } else { "user" };
            (format!("{slice}.slice{path}"), true)
        }
        Some(path) => (path.into_owned(), true),
        None => {
            let name = id.replace('+', "\\x2b");
            (format!("bryo.slice:bryo-oci:{name}"), false)
        }
    }
}

/// Makes the groups of a container and sets its limits. `manager` is who shall;
/// nobody named means who can. Where this process makes them it `intends` that
/// first: whoever is in there later is this container's.
///
/// # Errors
/// Something is to be limited and cannot be; systemd is to make it and cannot be
/// asked; somebody else is in that group.
pub fn make(
    spec: &Spec,
    id: &str,
    manager: Option<Manager>,
    intends: impl FnOnce() -> Result<()>,
) -> Result<Option<Placed>> {
    let asked = asked(spec)?;
    let devices = resources(spec).and_then(|all| all.devices().as_deref());
    let devices = devices.unwrap_or_default();
    // Root of the machine could open any; nobody else can make a node of one.
    let guarded = bundle::is_of_machine(spec) && !devices::allow_everything(devices);
    let needed = guarded || !asked.is_empty();
    let controllers = limits::controllers(&asked);
    let cannot = |why: &dyn std::fmt::Display| -> Result<Option<Placed>> {
        refuse!(
            Unsupported,
            "linux.resources: {} cannot be limited: {why}; without limits it runs",
            limits::names(&controllers)
        )
    };
    let (path, named) = path(spec, id);
    let manager = match manager {
        // So it was wished.
        Some(Manager::Disabled) if asked.is_empty() => return Ok(None),
        Some(Manager::Disabled) => return cannot(&"--cgroup-manager disabled"),
        Some(manager) => manager,
        None if named || !needed => Manager::Cgroupfs,
        None => Manager::Auto,
    };
    let foreseen = match manager {
        Manager::Systemd => None,
        // What is wrong with the path is said when it matters.
        _ => place::foreseen(&path).unwrap_or_default(),
    };
    if let Some(group) = foreseen {
        if group.is_populated() {
            refuse!(
                Conflict,
                "linux.cgroupsPath: there are processes in {} already, which would end with this \
                 container",
                group.dir().display()
            );
        }
        intends()?;
    }
    let wanted = Wanted {
        manager,
        path: &path,
        description: &format!("container {id}"),
        controllers: &controllers,
        nested: limits::are_writable(spec) && !place::namespaces_are_borders(),
    };
    let placed = match place::place(&wanted) {
        Ok(placed) => placed,
        Err(Obstacle::Failed(error)) if manager == Manager::Systemd => {
            return Err(error.context("--systemd-cgroup"));
        }
        Err(obstacle) if manager == Manager::Systemd => {
            refuse!(Unsupported, "--systemd-cgroup: {obstacle}")
        }
        Err(_) if !needed => return Ok(None),
        Err(obstacle) if asked.is_empty() => refuse!(
            Unsupported,
            "linux.resources.devices: root of the machine is kept from devices by a control group of \
             version 2 alone: {obstacle}; --cgroup-manager disabled runs it without that, and a user \
             namespace needs none"
        ),
        Err(obstacle) => return cannot(&obstacle),
    };
    if let Some(refused) = placed.apply(&asked).first() {
        let _ = placed.remove();
        refuse!(
            Unsupported,
            "linux.resources: {}: {refused}",
            refused.setting.file
        );
    }
    if guarded && let Err(error) = guard(&placed, devices) {
        let _ = placed.remove();
        return Err(error);
    }
    Ok(Some(placed))
}

/// Keeps a container from devices that its rules do not allow.
fn guard(placed: &Placed, rules: &[LinuxDeviceCgroup]) -> Result<()> {
    let group = placed.limits().open()?;
    let program = devices::program(rules);
    attach_device_program(group, &program).context("linux.resources.devices")
}

/// Removes the group of a container, with who is in it, of which nothing but its
/// specification and that it was intended was recorded before its maker was
/// killed. A scope goes by itself.
///
/// # Errors
/// It cannot be removed.
pub fn remove_leftover(spec: &Spec, id: &str) -> Result<()> {
    let (path, _) = path(spec, id);
    match place::foreseen(&path)? {
        Some(group) => group.remove(),
        None => Ok(()),
    }
}

impl Container {
    /// The group that has its limits, if it has one and that is there.
    pub fn group(&self) -> Option<Group> {
        let placed = self.record.placed.as_ref()?;
        Some(placed.limits()).filter(Group::exists)
    }

    /// As [`group`](Self::group).
    ///
    /// # Errors
    /// It has ended, or has none: then `what` cannot be done.
    pub fn own_group(&self, what: &str) -> Result<Group> {
        let id = &self.record.id;
        if self.status()? == Status::Stopped {
            refuse!(Conflict, "container not running: {id}");
        }
        match self.group() {
            Some(group) => Ok(group),
            None => refuse!(
                Unsupported,
                "container {id} has no control group, by which it could be {what}: who wants one \
                 names it in linux.cgroupsPath, in a part of the hierarchy of version 2 that is his"
            ),
        }
    }

    /// The ids of its processes, as they are seen from here.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn processes(&self) -> Result<Vec<i32>> {
        if self.process()?.is_none() {
            return Ok(Vec::new());
        }
        let mut all = match self.group().map(|group| group.processes()) {
            Some(Ok(all)) => all,
            _ => related(self.record.process.pid)?,
        };
        all.sort_unstable();
        Ok(all)
    }
}

/// A process, those that it and they have started, and whoever is in its PID
/// namespace, if that is not ours.
fn related(first: i32) -> Result<Vec<i32>> {
    let namespace = |pid: &str| {
        let file = std::fs::metadata(format!("/proc/{pid}/ns/pid"));
        file.ok().map(|file| file.ino())
    };
    let its = namespace(&first.to_string()).filter(|its| Some(*its) != namespace("self"));
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    let mut found = vec![first];
    for entry in std::fs::read_dir("/proc").context("/proc")?.flatten() {
        let name = entry.file_name();
        let Some((name, pid)) = name.to_str().and_then(|n| Some((n, n.parse().ok()?))) else {
            continue;
        };
        if its.is_some() && namespace(name) == its {
            found.push(pid);
        }
        if let Some(parent) = parent(&entry.path().join("stat")) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut all = HashSet::new();
    while let Some(pid) = found.pop() {
        if all.insert(pid) {
            found.extend(children.get(&pid).into_iter().flatten());
        }
    }
    Ok(all.into_iter().collect())
}

/// The parent of a process (proc_pid_stat(5)); its name may have brackets.
fn parent(stat: &Path) -> Option<i32> {
    let text = std::fs::read_to_string(stat).ok()?;
    let (_, behind) = text.rsplit_once(')')?;
    behind.split_whitespace().nth(1)?.parse().ok()
}

/// Stops a container's processes where they are.
///
/// # Errors
/// It does not run; it has no group.
pub fn pause(container: &Container) -> Result<()> {
    let group = container.own_group("paused")?;
    match container.status()? {
        Status::Created | Status::Running => group.freeze(true),
        Status::Paused => refuse!(AlreadySo, "container is paused: {}", container.record.id),
        _ => refuse!(Conflict, "container not running: {}", container.record.id),
    }
}

/// Lets a paused container go on.
///
/// # Errors
/// It is not paused.
pub fn resume(container: &Container) -> Result<()> {
    match (container.status()?, container.group()) {
        (Status::Paused, Some(group)) => group.freeze(false),
        _ => refuse!(Conflict, "container not paused: {}", container.record.id),
    }
}

/// Changes a container's limits.
///
/// # Errors
/// It does not run, or has no group; a limit cannot be set.
pub fn update(container: &Container, change: &LinuxResources) -> Result<()> {
    let settings = limits::settings(change)?;
    if settings.is_empty() {
        return Ok(());
    }
    container.own_group("limited")?;
    let placed = container.record.placed.as_ref();
    let placed = placed.context("no control group")?;
    let controllers = limits::controllers(&settings);
    if let Err(obstacle) = placed.divide(&controllers) {
        refuse!(
            Unsupported,
            "{} cannot be limited: {obstacle}",
            limits::names(&controllers)
        );
    }
    if let Some(refused) = placed.apply(&settings).first() {
        refuse!(Unsupported, "{}: {refused}", refused.setting.file);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use serde_json::{Value, json};

    fn spec(linux: Value) -> Spec {
        let spec = json!({"ociVersion": "1.3.0", "root": {"path": "r"}, "linux": linux});
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn what_is_no_limit_needs_no_group() {
        let files = |resources: Value| -> Vec<String> {
            let asked = asked(&spec(json!({"resources": resources}))).unwrap();
            asked.into_iter().map(|setting| setting.file).collect()
        };
        let none = json!({"cpu": {"shares": 1024, "quota": -1}, "pids": {"limit": -1},
            "memory": {"limit": -1}, "devices": [{"allow": false, "access": "rwm"}]});
        assert_eq!(files(none), [""; 0]);
        let some = json!({"cpu": {"shares": 512}, "pids": {"limit": 5}});
        assert_eq!(files(some), ["cpu.weight", "pids.max"]);
        let disabled = Some(Manager::Disabled);
        assert!(
            make(&spec(json!({})), "c", disabled, || Ok(()))
                .unwrap()
                .is_none()
        );
        let some = spec(json!({"resources": {"pids": {"limit": 5}}}));
        let refused = make(&some, "c", disabled, || Ok(())).unwrap_err();
        assert_eq!(Kind::of(&refused), Some(Kind::Unsupported));
    }

    #[test]
    fn a_group_has_a_path_whatever_the_id() {
        let own = path(&spec(json!({"cgroupsPath": "/a/b"})), "c");
        assert_eq!(own, ("/a/b".to_owned(), true));
        let made = path(&spec(json!({})), "a+b").0;
        assert_eq!(made, "bryo.slice:bryo-oci:a\\x2bb");
        let sliceless = path(&spec(json!({"cgroupsPath": ":libpod:x"})), "c").0;
        assert!(sliceless.ends_with(".slice:libpod:x"), "{sliceless}");
    }

    #[test]
    fn the_processes_of_this_one_are_found() {
        let own = std::process::id() as i32;
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .unwrap();
        let all = related(own).unwrap();
        assert!(
            all.contains(&own) && all.contains(&(child.id() as i32)),
            "{all:?}"
        );
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
