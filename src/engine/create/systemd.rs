//! Containers whose first process is systemd: what it wants to find there
//! (systemd's "Container Interface"; as podman's `--systemd`).

use crate::engine::create::options::RunOptions;
use crate::engine::request::systemd::SystemdMode;
use std::path::Path;

/// Annotation `true`: the first process is systemd.
pub const ANNOTATION: &str = "bryo.systemd";

/// The signal that makes systemd shut down (systemd(1), "Signals").
pub const STOP_SIGNAL: &str = "SIGRTMIN+3";

/// The places that it wants to be empty and in memory, and their options.
pub const TMPFS: [(&str, &[&str]); 4] = [
    ("/run", &["nosuid", "nodev", "mode=755"]),
    ("/run/lock", &["nosuid", "nodev", "noexec", "mode=1777"]),
    ("/tmp", &["nosuid", "nodev", "mode=1777"]),
    (
        "/var/log/journal",
        &["nosuid", "nodev", "noexec", "mode=755"],
    ),
];

/// Whether a container with these options and this command is for systemd.
pub fn applies(options: &RunOptions, command: &[String]) -> bool {
    match options.systemd {
        SystemdMode::Always => true,
        SystemdMode::Never => false,
        SystemdMode::Auto => {
            let Some(program) = command.first() else {
                return false;
            };
            let inits = ["/sbin/init", "/usr/sbin/init", "/usr/local/sbin/init"];
            let name = Path::new(program).file_name();
            inits.contains(&program.as_str()) || name.is_some_and(|name| name == "systemd")
        }
    }
}

/// The variables by which it knows where it is.
pub fn environment(id: &str) -> [(&'static str, String); 2] {
    [
        ("container", "bryo".to_owned()),
        ("container_uuid", id.chars().take(32).collect()),
    ]
}
