//! `bryo info`: what bryo has, and what this machine offers.

use super::Context;
use super::output::{self, Format};
use crate::engine::machine::{Machine, Tried};
use crate::engine::record::State;
use crate::engine::userns::{Base, is_remote};
use crate::engine::view::words;
use crate::idmap::subid;
use anyhow::Result;
use serde_json::json;
use std::fmt::Write;

/// Show what bryo has and what this machine offers
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Form of the output
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Prints it.
pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    let machine = Machine::look(&ctx.root);
    let counts = Counts::of(ctx);
    match args.format {
        Format::Json => output::line(serde_json::to_string(&as_json(&machine, &counts))?)?,
        Format::Table => output::line(summary(&machine, &counts).trim_end())?,
    }
    Ok(())
}

/// How many of what there are; `None` where the store cannot be read.
struct Counts {
    /// All containers, and those that run.
    containers: Option<(usize, usize)>,
    images: Option<usize>,
}

impl Counts {
    fn of(ctx: &Context) -> Counts {
        let containers = ctx.containers().and_then(|all| all.list()).ok();
        let running = |all: &Vec<crate::engine::containers::Container>| {
            let running = all
                .iter()
                .filter(|c| matches!(c.state, State::Running { .. }));
            running.count()
        };
        let images = ctx.store().and_then(|store| store.list());
        Counts {
            containers: containers.map(|all| (all.len(), running(&all))),
            images: images.ok().map(|images| images.len()),
        }
    }
}

/// What keeps the changes of containers.
fn driver(machine: &Machine) -> &'static str {
    match machine.trial.overlay {
        _ if machine.trial.overlay_works() => "overlay",
        Tried::Unknown => "unknown",
        _ => "copy",
    }
}

/// The map that containers have by default.
fn mapping(machine: &Machine) -> &'static str {
    match Base::find() {
        _ if is_remote(&machine.storage.root) => "single",
        Base::Here(_) => "range",
        Base::Granted(_) if !machine.ids.writers.is_empty() => "range",
        Base::Granted(_) | Base::Single => "single",
    }
}

fn mapping_in_words(machine: &Machine) -> String {
    let user = machine.ids.called();
    match (mapping(machine), machine.ids.writers.first()) {
        ("range", Some(writer)) => {
            format!("range: root in containers is {user}, mapped by {writer}")
        }
        (mapping, _) => format!("{mapping}: root in containers is {user}"),
    }
}

fn security(machine: &Machine) -> Vec<&'static str> {
    let system = &machine.system;
    let mut options = Vec::new();
    if system.seccomp {
        options.push("seccomp");
    }
    if machine.limits.apparmor_restricts == Some(true) {
        options.push("apparmor");
    }
    options.extend(["rootless", "userns"]);
    options
}

fn cgroup_version(machine: &Machine) -> &'static str {
    use crate::engine::machine::text::CgroupLayout;
    match machine.cgroups.layout {
        CgroupLayout::V2 => "2",
        CgroupLayout::Hybrid | CgroupLayout::V1 => "1",
        CgroupLayout::None => "",
    }
}

/// docker's names first, then all that was found.
fn as_json(machine: &Machine, counts: &Counts) -> serde_json::Value {
    let system = &machine.system;
    let running = counts.containers.map(|(_, running)| running);
    json!({
        "ServerVersion": env!("CARGO_PKG_VERSION"),
        "Containers": counts.containers.map(|(all, _)| all),
        "ContainersRunning": running,
        "ContainersStopped": counts.containers.map(|(all, running)| all - running),
        "Images": counts.images,
        "Driver": driver(machine),
        "DockerRootDir": machine.storage.root,
        "CgroupVersion": cgroup_version(machine),
        "SecurityOptions": security(machine).iter().map(|o| format!("name={o}")).collect::<Vec<_>>(),
        "KernelVersion": system.kernel,
        "OperatingSystem": system.operating_system,
        "OSType": "linux",
        "Architecture": system.architecture,
        "NCPU": system.processors,
        "MemTotal": system.memory,
        "Name": system.host_name,
        "IdMapping": mapping(machine),
        "Config": super::config::in_force().ok(),
        "Machine": machine,
    })
}

fn summary(machine: &Machine, counts: &Counts) -> String {
    let mut page = Page::default();
    let system = &machine.system;
    let storage = &machine.storage;
    let unknown = || "unknown".to_owned();
    page.section("bryo");
    page.row("version", env!("CARGO_PKG_VERSION"));
    let containers = counts
        .containers
        .map(|(all, running)| format!("{all} ({running} running, {} stopped)", all - running));
    page.row("containers", containers.unwrap_or_else(unknown));
    page.row(
        "images",
        counts.images.map_or_else(unknown, |n| n.to_string()),
    );
    let on = storage
        .file_system
        .as_deref()
        .unwrap_or("an unknown file system");
    page.row("storage driver", format!("{} on {on}", driver(machine)));
    page.row("store", storage.root.display());
    match (&storage.error, storage.free) {
        (Some(error), _) => page.row("", error),
        (None, Some(free)) => page.row("", format!("{} free", words::size(free))),
        (None, None) => {}
    }
    let runtime = machine.session.runtime_dir.as_ref();
    page.row(
        "runtime directory",
        runtime.map_or_else(|| "refused".to_owned(), |d| d.display().to_string()),
    );
    page.row("id mapping", mapping_in_words(machine));

    page.section("Machine");
    page.row("name", &system.host_name);
    page.row("system", &system.operating_system);
    page.row("kernel", &system.kernel);
    page.row("architecture", system.architecture);
    page.row("processors", system.processors);
    page.row("memory", system.memory.map_or_else(unknown, words::size));
    if let Some(inside) = &system.inside {
        page.row("inside", inside);
    }

    page.section("Isolation");
    page.row("user namespaces", namespaces(machine));
    page.row("security options", security(machine).join(", "));
    page.row(
        "seccomp",
        match (system.seccomp, system.seccomp_notify) {
            (true, true) => "filter, notification",
            (true, false) => "filter",
            (false, _) => "none",
        },
    );
    page.row("subordinate ids", ranges(machine));
    page.row(
        "new proc, sysfs",
        format!(
            "{}, {}",
            machine.trial.proc.describe(),
            machine.trial.sysfs.describe()
        ),
    );
    page.row("control groups", groups(machine));

    page.section("Configuration (docs/config.md)");
    match super::config::in_force() {
        Ok(settings) => {
            for setting in settings {
                let value = setting.value.as_deref().unwrap_or("-");
                page.row(setting.name, format!("{value} ({})", setting.from));
            }
        }
        Err(error) => page.row("error", format!("{error:#}")),
    }

    page.section("Devices and network");
    page.row("/dev/net/tun", machine.tun.describe());
    page.row("/dev/fuse", machine.fuse.describe());
    page.row(
        "ping",
        if machine.network.ping {
            "allowed"
        } else {
            "not allowed"
        },
    );
    page.row(
        "ports",
        machine
            .network
            .first_port
            .map_or_else(unknown, |port| format!("from {port} on")),
    );
    page.text
}

fn namespaces(machine: &Machine) -> String {
    let trial = &machine.trial;
    if !trial.isolates() {
        let errno = trial.obstacle();
        let why = errno.map_or(String::new(), |errno| format!(" ({errno:?})"));
        return format!("refused{why}: bryo doctor says what to do");
    }
    let refused = trial.namespaces.iter().filter(|kind| !kind.tried.works());
    let refused: Vec<&str> = refused.map(|kind| kind.name).collect();
    match refused.is_empty() {
        true => "work".to_owned(),
        false => format!("work, without {}", refused.join(", ")),
    }
}

fn ranges(machine: &Machine) -> String {
    let ids = &machine.ids;
    let (users, groups) = (subid::total(&ids.users), subid::total(&ids.groups));
    match (users, groups, ids.writers.is_empty()) {
        (0, 0, _) => "none".to_owned(),
        (_, _, true) => format!("{users} users, {groups} groups; nobody to map them"),
        (_, _, false) => format!("{users} users, {groups} groups"),
    }
}

fn groups(machine: &Machine) -> String {
    let groups = &machine.cgroups;
    let delegated = match &groups.delegation {
        Some(delegation) if !delegation.controllers.is_empty() => {
            format!("delegated: {}", delegation.controllers.join(" "))
        }
        _ => "nothing delegated".to_owned(),
    };
    format!("{}, {delegated}", groups.layout.name())
}

/// Sections of names and values.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn section(&mut self, name: &str) {
        let gap = if self.text.is_empty() { "" } else { "\n" };
        let _ = writeln!(self.text, "{gap}{name}");
    }

    fn row(&mut self, name: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.text, "  {name:<18} {value}");
    }
}
