//! What the image `hello` runs: what a container sees of itself.

use crate::engine::create::root::{HOST_MAPS, HOST_NAMESPACES};
use anyhow::{Context, Result};
use std::fs;
use std::io::IsTerminal;

/// Prints ids, namespaces, mounts, capabilities, limits and network.
pub fn run() -> Result<()> {
    print("Hello from a container that bryo made. No root, no daemon, no helper.");
    section("Process");
    row("pid", &std::process::id().to_string());
    let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
    row("uid, gid", &format!("{uid}, {gid}"));
    row("uid map", &id_map(HOST_MAPS[0], "/proc/self/uid_map"));
    row("gid map", &id_map(HOST_MAPS[1], "/proc/self/gid_map"));
    row("host name", &crate::sys::machine::name());
    row(
        "terminal",
        if std::io::stdin().is_terminal() {
            "yes"
        } else {
            "no"
        },
    );
    namespaces()?;
    privileges()?;
    mounts()?;
    network();
    limits();
    Ok(())
}

/// Prints a line; a reader that has seen enough (`| head`) is no error, and
/// there is nobody to tell of another one.
fn print(text: impl std::fmt::Display) {
    let _ = super::output::line(text);
}

fn section(name: &str) {
    print(format_args!("\n{name}"));
}

fn row(name: &str, value: &str) {
    print(format_args!("  {name:<18} {value}"));
}

fn read(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// An id map as bryo says that it is on the host, else as the kernel has it.
fn id_map(variable: &str, path: &str) -> String {
    let text = std::env::var(variable).unwrap_or_else(|_| read(path));
    let lines = text.lines().map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        match fields.as_slice() {
            [inside, outside, "1"] => format!("{inside} here is {outside} on the host"),
            [inside, outside, count] => {
                format!("{count} from {inside} here, {outside} on the host")
            }
            _ => line.to_owned(),
        }
    });
    lines.collect::<Vec<_>>().join("; ")
}

/// Each namespace of this process, beside the host's as bryo saw it.
fn namespaces() -> Result<()> {
    section("Namespaces (here, on the host)");
    let host = std::env::var(HOST_NAMESPACES).unwrap_or_default();
    for name in ["user", "mnt", "pid", "net", "uts", "ipc", "cgroup", "time"] {
        let link = fs::read_link(format!("/proc/self/ns/{name}"));
        let here = link.with_context(|| format!("/proc/self/ns/{name}"))?;
        let here = here.to_string_lossy();
        let here = here
            .trim_start_matches(|c| c != '[')
            .trim_matches(['[', ']']);
        let host = host
            .split(',')
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let verdict = match host {
            Some(host) if host == here => "the host's",
            Some(_) => "its own",
            None => "",
        };
        row(
            name,
            &format!("{here}  {:<12} {verdict}", host.unwrap_or("?")),
        );
    }
    Ok(())
}

fn privileges() -> Result<()> {
    section("Privileges");
    let status = fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let field = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name));
        line.unwrap_or_default()
            .trim_start_matches(':')
            .trim()
            .to_owned()
    };
    let effective = u64::from_str_radix(&field("CapEff"), 16).unwrap_or(0);
    let names = caps::all()
        .into_iter()
        .filter(|c| effective & c.bitmask() != 0);
    let mut names: Vec<String> = names.map(|c| c.to_string().replace("CAP_", "")).collect();
    names.sort();
    row("capabilities", &names.join(" "));
    row(
        "no_new_privs",
        if field("NoNewPrivs") == "1" {
            "yes"
        } else {
            "no"
        },
    );
    let filters = match field("Seccomp").as_str() {
        "2" => "system calls are filtered",
        "0" => "off",
        _ => "strict",
    };
    row("seccomp", filters);
    Ok(())
}

fn mounts() -> Result<()> {
    section("Mounts");
    let text = fs::read_to_string("/proc/self/mountinfo").context("/proc/self/mountinfo")?;
    for line in text.lines() {
        let mut fields = line.split(' ');
        let (Some(point), Some(options)) = (fields.nth(4), fields.next()) else {
            continue;
        };
        let kind = fields.skip_while(|f| *f != "-").nth(1).unwrap_or("?");
        row(point, &format!("{kind:<10} {options}"));
    }
    Ok(())
}

fn network() {
    section("Network");
    let mut names: Vec<String> = fs::read_to_string("/proc/net/dev")
        .unwrap_or_default()
        .lines()
        .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()))
        .collect();
    names.sort();
    row("interfaces", &names.join(" "));
    let resolv = read("/etc/resolv.conf");
    let mut servers = resolv.lines().filter_map(|l| l.strip_prefix("nameserver "));
    row("name servers", servers.next().unwrap_or("none"));
    servers.for_each(|server| row("", server));
}

fn limits() {
    section("Limits");
    let limits = read("/proc/self/limits");
    for name in ["Max open files", "Max processes", "Max address space"] {
        if let Some(rest) = limits.lines().find_map(|l| l.strip_prefix(name)) {
            let values: Vec<&str> = rest.split_ascii_whitespace().take(2).collect();
            row(name.trim_start_matches("Max "), &values.join(", at most "));
        }
    }
    for (file, name) in [
        ("memory.max", "memory"),
        ("cpu.max", "cpu"),
        ("pids.max", "pids"),
    ] {
        let value = read(&format!("/sys/fs/cgroup/{file}"));
        row(
            name,
            if value.is_empty() {
                "not limited here"
            } else {
                &value
            },
        );
    }
}
