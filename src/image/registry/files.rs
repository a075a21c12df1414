//! Where docker and podman keep what they know of registries.

use std::env;
use std::path::PathBuf;

use anyhow::Result;

use super::conf::drop_ins;

/// A directory that a variable names.
fn variable(name: &str) -> Option<PathBuf> {
    let value = env::var_os(name).filter(|value| !value.is_empty())?;
    Some(PathBuf::from(value))
}

/// `$XDG_CONFIG_HOME`, or what stands for it.
fn config_home() -> Option<PathBuf> {
    variable("XDG_CONFIG_HOME").or_else(|| Some(variable("HOME")?.join(".config")))
}

/// Directories with certificates of single registries, the least important
/// first.
pub fn certs_d() -> Vec<PathBuf> {
    let system = ["/etc/docker/certs.d", "/etc/containers/certs.d"].map(PathBuf::from);
    let own = config_home().into_iter().flat_map(|config| {
        [
            config.join("docker/certs.d"),
            config.join("containers/certs.d"),
        ]
    });
    system.into_iter().chain(own).collect()
}

/// Files with credentials, the most important first: `REGISTRY_AUTH_FILE`
/// alone if it is set, else podman's and docker's (containers-auth.json(5)).
pub fn credentials() -> Vec<PathBuf> {
    if let Some(only) = variable("REGISTRY_AUTH_FILE") {
        return vec![only];
    }
    let runtime = variable("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json"));
    let config = config_home().map(|dir| dir.join("containers/auth.json"));
    [runtime, config, docker_config()]
        .into_iter()
        .flatten()
        .collect()
}

/// The file that logins are written to.
pub fn login() -> Option<PathBuf> {
    variable("REGISTRY_AUTH_FILE").or_else(docker_config)
}

/// Docker's `config.json`.
fn docker_config() -> Option<PathBuf> {
    let directory = variable("DOCKER_CONFIG").or_else(|| Some(variable("HOME")?.join(".docker")));
    Some(directory?.join("config.json"))
}

/// Docker's settings: the daemon's, and that of one without root.
pub fn docker_daemon() -> Vec<PathBuf> {
    let own = config_home().map(|config| config.join("docker/daemon.json"));
    let system = Some(PathBuf::from("/etc/docker/daemon.json"));
    [system, own].into_iter().flatten().collect()
}

/// Files of registries.conf, the least important first: the user's own stands
/// for the system's, and both directories of additions come after.
pub fn registries_conf() -> Result<Vec<PathBuf>> {
    if let Some(only) = variable("CONTAINERS_REGISTRIES_CONF") {
        return Ok(vec![only]);
    }
    let system = PathBuf::from("/etc/containers");
    let own = config_home().map(|config| config.join("containers"));
    let main = own.iter().chain([&system]);
    let mut main = main.map(|directory| directory.join("registries.conf"));
    let mut files: Vec<PathBuf> = main.find(|file| file.exists()).into_iter().collect();
    for directory in [&system].into_iter().chain(&own) {
        files.extend(drop_ins(&directory.join("registries.conf.d"))?);
    }
    Ok(files)
}
