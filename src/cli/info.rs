//! `bryo info`: what bryo has, and what this machine offers.

use super::format::{self, Form};
use super::{Context, output};
use crate::engine::machine::Machine;
use crate::engine::view::info::{Info, security_options};
use crate::engine::view::words;
use crate::idmap::subid;
use anyhow::Result;
use std::fmt::Write;

/// Show what bryo has and what this machine offers
#[derive(Debug, clap::Args)]
pub struct Args {
    /// json, or a template as '{{.ServerVersion}}'
    #[arg(short, long, default_value = "table")]
    format: Form,
}

/// Prints it.
pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    let (config, unreadable) = match super::config::in_force() {
        Ok(settings) => (Some(settings), None),
        Err(error) => (None, Some(error)),
    };
    let info = Info::look(&ctx.root, config);
    match &args.format {
        Form::Table => Ok(output::line(
            summary(&info, unreadable.as_ref()).trim_end(),
        )?),
        other => format::one(other, info),
    }
}

fn mapping_in_words(info: &Info) -> String {
    let (mapping, ids) = (info.id_mapping, &info.machine.ids);
    let user = ids.called();
    match (mapping, ids.writers.first()) {
        ("range", Some(writer)) => {
            format!("range: root in containers is {user}, mapped by {writer}")
        }
        (mapping, _) => format!("{mapping}: root in containers is {user}"),
    }
}

fn summary(info: &Info, unreadable: Option<&anyhow::Error>) -> String {
    let mut page = Page::default();
    let machine = &info.machine;
    let system = &machine.system;
    let storage = &machine.storage;
    let unknown = || "unknown".to_owned();
    page.section("bryo");
    page.row("version", info.server_version);
    let containers = [
        info.containers,
        info.containers_running,
        info.containers_stopped,
    ];
    let containers = match containers {
        [Some(all), Some(running), Some(stopped)] => {
            format!("{all} ({running} running, {stopped} stopped)")
        }
        _ => unknown(),
    };
    page.row("containers", containers);
    page.row(
        "images",
        info.images.map_or_else(unknown, |n| n.to_string()),
    );
    let on = storage
        .file_system
        .as_deref()
        .unwrap_or("an unknown file system");
    page.row("storage driver", format!("{} on {on}", info.driver));
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
    page.row("id mapping", mapping_in_words(info));

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
    page.row("security options", security_options(machine).join(", "));
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
    for setting in info.config.iter().flatten() {
        let value = setting.value.as_deref().unwrap_or("-");
        page.row(setting.name, format!("{value} ({})", setting.from));
    }
    if let Some(error) = unreadable {
        page.row("error", format!("{error:#}"));
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
