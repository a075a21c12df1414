//! The control groups of containers: made before the start as the spec says,
//! asked while they run, removed after the end.

use crate::cgroup::limits::{self, Machine, Setting};
use crate::cgroup::place::{self, Manager, Obstacle, Placed, Wanted};
use crate::cgroup::stat::{self, Detail};
use crate::cgroup::units;
use crate::cgroup::v2::Group;
use crate::engine::container::containers::Container;
use crate::engine::container::record::Confinement;
use crate::engine::machine::groups::{Cgroups, WANTED};
use crate::engine::machine::remedy::{self, Advice};
use crate::engine::machine::text::CgroupLayout;
use crate::engine::request::group::{Parent, Strictness};
use crate::error::refuse;
use crate::sys::mountinfo;
use anyhow::{Context, Result, anyhow};
use oci_spec::runtime::{LinuxResources, Spec};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Annotation: who makes the control group, where that is not left to bryo.
pub const ANNOTATION_MANAGER: &str = "bryo.cgroup-manager";
/// Annotation `best-effort`: limits that cannot be had are no error.
pub const ANNOTATION_LIMITS: &str = "bryo.limits";

/// The slice of containers, as podman's `user.slice` and docker's
/// `system.slice`.
pub const SLICE: &str = "bryo.slice";

/// What `run` asks for.
#[derive(Debug, Clone, Default)]
pub struct LimitOptions {
    /// The limits.
    pub resources: Option<LinuxResources>,
    /// Who makes the control group.
    pub manager: Manager,
    /// `--cgroup-parent`.
    pub parent: Option<Parent>,
    /// `--limits`.
    pub strictness: Strictness,
}

impl LimitOptions {
    /// What the spec says of it, where that is not the rule.
    pub fn annotations(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let manager =
            (self.manager != Manager::Auto).then_some((ANNOTATION_MANAGER, self.manager.word()));
        let strictness = (self.strictness != Strictness::Required)
            .then_some((ANNOTATION_LIMITS, self.strictness.word()));
        manager.into_iter().chain(strictness)
    }

    /// The spec's `cgroupsPath` for container `id`: in systemd's words, which
    /// are understood without it too, unless a path was asked for.
    pub fn path(&self, id: &str) -> Option<String> {
        match (&self.parent, self.manager) {
            (_, Manager::Disabled) => None,
            (None, _) => Some(default_path(id)),
            (Some(Parent::Slice(slice)), _) => Some(format!("{slice}:bryo:{id}")),
            (Some(Parent::Path(path)), _) => Some(format!("{path}/bryo-{id}")),
        }
    }
}

/// A limit as it was asked for and as it is.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Limit {
    /// The file of the control group.
    pub file: String,
    /// What was asked for.
    pub asked: String,
    /// What is in force; nothing where there is no such file.
    pub in_force: Option<String>,
    /// Why that is not what was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Container {
    /// Kills all its processes at once, if it has a control group; false if
    /// that cannot be done.
    pub fn kill_all(&self) -> bool {
        let placed = self.history.confinement.placed.as_ref();
        placed.is_some_and(|placed| placed.limits().kill().is_ok())
    }

    /// Removes its control groups and whatever is in them. Of a scope,
    /// systemd removes what is left.
    pub fn remove_groups(&mut self) {
        if let Some(placed) = self.history.confinement.placed.take() {
            let _ = placed.remove();
        }
    }

    /// Removes its control groups after its supervisor was killed, maybe before
    /// that recorded them.
    pub fn remove_groups_of_the_dead(&mut self) {
        if self.history.confinement.placed.is_none() {
            let _ = place::remove_unrecorded(&default_path(&self.record.id));
        }
        self.remove_groups();
    }
}

/// The path of a control group for which nothing else was asked.
fn default_path(id: &str) -> String {
    format!("{SLICE}:bryo:{id}")
}

/// The limits of a spec.
pub fn resources(spec: &Spec) -> Option<&LinuxResources> {
    spec.linux().as_ref()?.resources().as_ref()
}

fn settings(spec: &Spec) -> Result<Vec<Setting>> {
    resources(spec).map_or_else(|| Ok(Vec::new()), limits::settings)
}

fn annotation<'a>(spec: &'a Spec, key: &str) -> Option<&'a str> {
    let all = spec.annotations().as_ref();
    all.and_then(|all| all.get(key)).map(String::as_str)
}

/// Who makes the control group of a container with this spec.
pub fn manager(spec: &Spec) -> Manager {
    annotation(spec, ANNOTATION_MANAGER).map_or(Manager::Auto, Manager::of)
}

/// Limits could not be set: what is missing, and who can do something.
#[derive(Debug)]
pub struct Unlimited {
    text: String,
}

impl std::fmt::Display for Unlimited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Unlimited {}

/// Makes the control groups of a container, anew if it has them from `before`,
/// and sets its limits. `warn` hears of limits that are asked for and cannot
/// be had, where that is no error.
///
/// # Errors
/// [`Unlimited`]; a group that was asked for by name and cannot be made.
pub fn confine(
    spec: &Spec,
    container: &Container,
    before: Option<Placed>,
    warn: &mut dyn FnMut(String),
) -> Result<Confinement> {
    let manager = manager(spec);
    let settings = settings(spec)?;
    let best_effort =
        annotation(spec, ANNOTATION_LIMITS).map(Strictness::of) == Some(Strictness::BestEffort);
    let without = |why: String| Confinement {
        without: Some(why),
        ..Confinement::default()
    };
    if manager == Manager::Disabled {
        return Ok(without("it was started with --cgroups disabled".into()));
    }
    let path = spec.linux().as_ref().and_then(|l| l.cgroups_path().clone());
    let path = match path {
        Some(path) => path.to_string_lossy().into_owned(),
        None => default_path(&container.record.id),
    };
    let controllers = limits::controllers(&settings);
    let description = format!("bryo container {}", container.record.name);
    let mut wanted = Wanted {
        manager,
        path: &path,
        description: &description,
        controllers: &controllers,
        nested: limits::are_writable(spec) && !place::namespaces_are_borders(),
    };
    let make = |wanted: &Wanted<'_>| match &before {
        Some(placed) => placed.renew(wanted),
        None => place::place(wanted),
    };
    let mut placed = make(&wanted);
    if let (Err(Obstacle::Controllers(..)), true) = (&placed, best_effort) {
        wanted.controllers = &[];
        placed = make(&wanted);
    }
    let placed = match placed {
        Ok(placed) => placed,
        Err(obstacle) => {
            let explicit = manager != Manager::Auto;
            if let Obstacle::Failed(error) = obstacle {
                // Something is there and broken: nothing to be silent about.
                return match settings.is_empty() && !explicit || best_effort {
                    true => {
                        warn(format!("it has no control group: {error:#}"));
                        Ok(without(format!("{error:#}")))
                    }
                    false => Err(error),
                };
            }
            let why = obstacle.to_string();
            return match (settings.is_empty(), best_effort) {
                (true, _) if explicit => Err(anyhow!(Unlimited { text: why })),
                (true, _) => Ok(without(why)),
                (false, true) => {
                    warn(format!("its limits are not in force: {why}"));
                    let lacking = settings.iter().map(|s| (s.file.clone(), why.clone()));
                    Ok(Confinement {
                        lacking: lacking.collect(),
                        ..without(why.clone())
                    })
                }
                (false, false) => Err(anyhow!(Unlimited {
                    text: format!("{} cannot be limited: {why}", limits::names(&controllers)),
                })),
            };
        }
    };
    let refused = placed.apply(&settings);
    let lacking: BTreeMap<String, String> = refused
        .iter()
        .map(|refused| (refused.setting.file.clone(), refused.to_string()))
        .collect();
    if let (Some((file, why)), false) = (lacking.first_key_value(), best_effort) {
        let _ = placed.remove();
        refuse!(Unsupported, "{file}: {why}");
    }
    for (file, why) in &lacking {
        warn(format!("the limit {file} is not in force: {why}"));
    }
    Ok(Confinement {
        placed: Some(placed),
        without: None,
        lacking,
    })
}

/// What to do where limits cannot be set, by looking at the machine.
pub fn advice() -> Advice {
    let mounts = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    let groups = Cgroups::look(&mountinfo::parse(&mounts));
    let missing = groups.missing();
    let systemd = Path::new("/run/systemd/system").is_dir();
    let v2 = groups.layout == CgroupLayout::V2;
    let directory = groups.delegation.as_ref().map(|d| d.directory.as_path());
    let everything = missing.is_empty() || missing.len() == WANTED.len();
    let mut advice = match (directory, systemd && v2) {
        (None, true) => {
            let name = crate::engine::machine::ids::login_name(nix::unistd::geteuid().as_raw());
            remedy::no_user_manager(name.as_deref().unwrap_or("USER"))
        }
        (Some(_), true) if missing.is_empty() => remedy::further_controller(),
        _ => remedy::delegation(systemd, v2, &missing, directory.filter(|_| !everything)),
    };
    let anyway = "--limits best-effort starts it with the limits that can be had";
    advice.user = Some(match advice.user {
        Some(text) => format!("{text}; {anyway}"),
        None => anyway.to_owned(),
    });
    advice
}

/// What this machine has that limits are checked against.
pub fn check(resources: &LinuxResources) -> Result<()> {
    let list = |path: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        units::set(text.trim()).unwrap_or_default()
    };
    let processors = list("/sys/devices/system/cpu/online");
    let nodes = list("/sys/devices/system/node/online");
    let machine = Machine {
        memory: crate::sys::machine::total_memory(),
        processors: &processors,
        nodes: &nodes,
    };
    limits::check(resources, &machine)
}

/// A container's limits as they were asked for and as they are.
pub fn compare(spec: &Spec, confinement: &Confinement, running: bool) -> Result<Vec<Limit>> {
    let group = confinement.placed.as_ref().map(Placed::limits);
    let group = group.filter(|_| running);
    let all = settings(spec)?.into_iter().map(|setting| {
        let shown = group.as_ref().and_then(|group| group.shown(&setting));
        let in_force = shown.as_ref().map(|(_, content)| content.clone());
        let same = in_force
            .as_ref()
            .is_some_and(|content| limits::in_force(&setting, content));
        let said = confinement.lacking.get(&setting.file).cloned();
        let why = match (running, same) {
            (false, _) => Some("it does not run".to_owned()),
            (true, true) => None,
            (true, false) => said.or_else(|| confinement.without.clone()).or_else(|| {
                Some("it was changed in the control group itself, or the kernel rounds it".into())
            }),
        };
        Limit {
            file: shown.map_or(setting.file, |(file, _)| file),
            asked: setting.value,
            in_force,
            why,
        }
    });
    Ok(all.collect())
}

/// Changes the limits of a container, also while it runs. `change` gets those
/// that it has.
///
/// # Errors
/// A limit that is below what the container uses, or cannot be set. Then all
/// stay as they are.
pub fn update(
    container: &mut Container,
    change: &dyn Fn(&mut LinuxResources) -> Result<()>,
) -> Result<()> {
    let name = container.record.name.clone();
    let mut spec = container.spec()?;
    let before = settings(&spec)?;
    let mut linux = spec.linux().clone().unwrap_or_default();
    let mut changed = linux.resources().clone().unwrap_or_default();
    change(&mut changed)?;
    check(&changed)?;
    let after = limits::settings(&changed)?;
    linux.set_resources(Some(changed));
    spec.set_linux(Some(linux));
    let confinement = container.history.confinement.clone();
    if container.state.process().is_some() {
        let Some(placed) = &confinement.placed else {
            let why = confinement.without.unwrap_or_default();
            return Err(anyhow!(Unlimited {
                text: format!("container {name} runs without a control group: {why}"),
            }));
        };
        let group = placed.limits();
        below_use(&group, &after).with_context(|| format!("container {name}"))?;
        let changed = |s: &&Setting| !before.contains(s);
        let changed: Vec<&str> = after
            .iter()
            .filter(changed)
            .map(|s| s.file.as_str())
            .collect();
        // All of a file: the weight for all devices makes the kernel forget
        // those of single ones.
        let of = |all: &[Setting]| -> Vec<Setting> {
            let all = all.iter().filter(|s| changed.contains(&s.file.as_str()));
            all.cloned().collect()
        };
        let (news, old) = (of(&after), of(&before));
        if let Err(obstacle) = placed.divide(&limits::controllers(&news)) {
            return Err(anyhow!(Unlimited {
                text: format!("container {name}: {obstacle}"),
            }));
        }
        if let Some(refused) = placed.apply(&news).first() {
            placed.apply(&old);
            let why = refused.to_string();
            refuse!(
                Unsupported,
                "container {name}: {}: {why}",
                refused.setting.file
            );
        }
    }
    container.save_spec(&spec)
}

/// Whether a limit of memory is below what is used, so that it would kill.
fn below_use(group: &Group, settings: &[Setting]) -> Result<()> {
    let limit = settings.iter().find(|s| s.file == "memory.max");
    let Some(limit) = limit.and_then(|s| s.value.parse::<u64>().ok()) else {
        return Ok(());
    };
    let used = stat::usage(group, Detail::Line).and_then(|usage| usage.memory);
    match used {
        Some(used) if used > limit => refuse!(
            Conflict,
            "it uses {} of memory, more than {}: that limit would kill it",
            units::show(used),
            units::show(limit)
        ),
        _ => Ok(()),
    }
}
