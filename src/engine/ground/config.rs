//! Settings: the administrator's and the user's `config.toml`, and what
//! docker's and podman's files say of the same (`docs/config.md`).
//!
//! A setting is the default of a flag. What the command line says goes before
//! the user's file, that before the administrator's, both before the files of
//! others, and all before what is built in.

use crate::engine::request::flags;
use crate::error::refuse;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A setting that there is.
#[derive(Debug)]
pub struct Key {
    /// `section.name`, or a name outside of all sections.
    pub name: &'static str,
    /// The flag that it is the default of, by the name that clap has for it.
    pub argument: &'static str,
    /// Verbs that have the flag; none for one of all verbs.
    pub verbs: &'static [&'static str],
    /// What others call it.
    foreign: &'static [Foreign],
}

impl Key {
    /// Fails unless the flag would take the value.
    ///
    /// # Errors
    /// As what reads the flag.
    pub fn check(&self, value: &str) -> Result<()> {
        flags::of_key(self.name).map_or(Ok(()), |flag| (flag.read)(value))
    }
}

/// A setting of another program.
#[derive(Debug, Clone, Copy)]
enum Foreign {
    /// containers.conf(5): section and name.
    Containers(&'static str, &'static str),
    /// Docker's `config.json`.
    DockerConfig(&'static str),
    /// Docker's `daemon.json`.
    DockerDaemon(&'static str),
}

/// Verbs that ask registries.
const ASKING: &[&str] = &[
    "pull", "push", "run", "create", "copy", "manifest", "check", "login",
];

const fn key(
    name: &'static str,
    argument: &'static str,
    verbs: &'static [&'static str],
    foreign: &'static [Foreign],
) -> Key {
    Key {
        name,
        argument,
        verbs,
        foreign,
    }
}

/// All settings.
pub const KEYS: &[Key] = &[
    key("root", "root", &[], &[]),
    key("run.network", "network", &["run", "create"], &[]),
    key("run.userns", "userns", &["run", "create"], &[]),
    key(
        "run.root-emulation",
        "root_emulation",
        &["run", "create"],
        &[],
    ),
    key(
        "run.log-driver",
        "log_driver",
        &["run", "create"],
        &[
            Foreign::Containers("containers", "log_driver"),
            Foreign::DockerDaemon("log-driver"),
        ],
    ),
    key(
        "run.pull",
        "pull",
        &["run", "create"],
        &[Foreign::Containers("engine", "pull_policy")],
    ),
    key(
        "run.shm-size",
        "shm_size",
        &["run", "create"],
        &[
            Foreign::Containers("containers", "shm_size"),
            Foreign::DockerDaemon("default-shm-size"),
        ],
    ),
    key(
        "run.detach-keys",
        "detach_keys",
        &["run", "start", "attach"],
        &[
            Foreign::Containers("engine", "detach_keys"),
            Foreign::DockerConfig("detachKeys"),
        ],
    ),
    key(
        "registry.retries",
        "retry",
        ASKING,
        &[
            Foreign::Containers("engine", "retry"),
            Foreign::DockerDaemon("max-download-attempts"),
        ],
    ),
    key("registry.retry-delay", "retry_delay", ASKING, &[]),
    key("registry.stall-timeout", "stall_timeout", ASKING, &[]),
    key("registry.tls-verify", "tls_verify", ASKING, &[]),
    key("registry.authfile", "authfile", ASKING, &[]),
    key("registry.cert-dir", "cert_dir", ASKING, &[]),
    key(
        "registry.parallel",
        "parallel",
        ASKING,
        &[
            Foreign::Containers("engine", "image_parallel_copies"),
            Foreign::DockerDaemon("max-concurrent-downloads"),
        ],
    ),
    key(
        "images.max-layer-size",
        "max_layer_size",
        &["pull", "load", "import", "copy"],
        &[],
    ),
    key(
        "images.unlimited",
        "unlimited",
        &["pull", "load", "import", "copy", "cp"],
        &[],
    ),
    key(
        "images.platform",
        "platform",
        &["pull", "load", "copy"],
        &[],
    ),
    key(
        "format.ps",
        "format",
        &["ps"],
        &[Foreign::DockerConfig("psFormat")],
    ),
    key(
        "format.images",
        "format",
        &["images"],
        &[Foreign::DockerConfig("imagesFormat")],
    ),
    key(
        "format.stats",
        "format",
        &["stats"],
        &[Foreign::DockerConfig("statsFormat")],
    ),
];

/// The value of a setting, and where it is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// As the flag would have it.
    pub value: String,
    /// The file.
    pub file: PathBuf,
}

/// What the files say, by the name of the key.
pub type Settings = BTreeMap<&'static str, Setting>;

/// The file that is the user's.
pub fn own_file() -> Option<PathBuf> {
    Some(config_home()?.join("bryo/config.toml"))
}

/// The file that is the administrator's.
pub const SYSTEM_FILE: &str = "/etc/bryo/config.toml";

fn variable(name: &str) -> Option<PathBuf> {
    let value = std::env::var_os(name).filter(|value| !value.is_empty())?;
    Some(PathBuf::from(value))
}

fn config_home() -> Option<PathBuf> {
    let own = variable("XDG_CONFIG_HOME").filter(|path| path.is_absolute());
    own.or_else(|| Some(variable("HOME")?.join(".config")))
}

/// Reads the files as far as they concern keys that `wanted` says.
///
/// # Errors
/// One of bryo's own files cannot be understood. Those of others are only
/// looked at.
pub fn load(wanted: impl Fn(&Key) -> bool) -> Result<Settings> {
    let mut settings = Settings::new();
    let keys: Vec<&'static Key> = KEYS.iter().filter(|key| wanted(key)).collect();
    if keys.iter().any(|key| !key.foreign.is_empty()) {
        others(&keys, &mut settings);
    }
    for file in [Some(PathBuf::from(SYSTEM_FILE)), own_file()] {
        let Some(file) = file else { continue };
        if let Some(text) = read(&file) {
            let found = parse(&text).with_context(|| file.display().to_string())?;
            for (key, value) in found {
                if keys.iter().any(|known| known.name == key) {
                    let file = file.clone();
                    settings.insert(key, Setting { value, file });
                }
            }
        }
    }
    Ok(settings)
}

/// A file's text; None if there is none, or it is not for us.
fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// Reads a `config.toml`: the keys that it has, with their values as text.
///
/// # Errors
/// It is no TOML, or has a key that there is not.
pub fn parse(text: &str) -> Result<Vec<(&'static str, String)>> {
    let table: toml::Table = toml::from_str(text)?;
    let mut found = Vec::new();
    for (name, value) in &table {
        match value {
            toml::Value::Table(section) => {
                for (inner, value) in section {
                    found.push(known(&format!("{name}.{inner}"), value)?);
                }
            }
            value => found.push(known(name, value)?),
        }
    }
    Ok(found)
}

fn known(name: &str, value: &toml::Value) -> Result<(&'static str, String)> {
    let Some(key) = KEYS.iter().find(|key| key.name == name) else {
        let (section, _) = name.rsplit_once('.').unwrap_or(("", name));
        let near = KEYS.iter().map(|key| key.name);
        let near = near.filter(|key| key.starts_with(section));
        let near: Vec<&str> = near.collect();
        let all = KEYS.iter().map(|key| key.name).collect();
        let list: Vec<&str> = if near.is_empty() { all } else { near };
        refuse!(
            Invalid,
            "there is no setting {name}; there are {}",
            list.join(", ")
        );
    };
    let value = plain(value).with_context(|| format!("{name}: a single value is wanted"))?;
    Ok((key.name, value))
}

fn plain(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(value) => Some(value.to_string()),
        _ => None,
    }
}

/// Looks into the files of docker and podman, the least important first. What
/// they mean otherwise than we do is left out.
fn others(keys: &[&'static Key], settings: &mut Settings) {
    let own = config_home();
    let at = |path: &str| own.as_ref().map(|own| own.join(path));
    let docker = variable("DOCKER_CONFIG").or_else(|| Some(variable("HOME")?.join(".docker")));
    let daemon = [
        Some(PathBuf::from("/etc/docker/daemon.json")),
        at("docker/daemon.json"),
    ];
    for file in daemon.into_iter().flatten() {
        json(&file, keys, settings, |foreign| match foreign {
            Foreign::DockerDaemon(name) => Some(name),
            _ => None,
        });
    }
    if let Some(file) = docker.map(|directory| directory.join("config.json")) {
        json(&file, keys, settings, |foreign| match foreign {
            Foreign::DockerConfig(name) => Some(name),
            _ => None,
        });
    }
    let podman = match variable("CONTAINERS_CONF") {
        Some(only) => [Some(only), None],
        None => [
            Some(PathBuf::from("/etc/containers/containers.conf")),
            at("containers/containers.conf"),
        ],
    };
    for file in podman.into_iter().flatten() {
        let Some(table) = read(&file).and_then(|text| text.parse::<toml::Table>().ok()) else {
            continue;
        };
        for key in keys {
            for foreign in key.foreign {
                let &Foreign::Containers(section, name) = foreign else {
                    continue;
                };
                let value = table.get(section).and_then(|section| section.get(name));
                take(key, value.and_then(plain), &file, settings);
            }
        }
    }
}

fn json(
    file: &Path,
    keys: &[&'static Key],
    settings: &mut Settings,
    name: impl Fn(Foreign) -> Option<&'static str>,
) {
    let Some(text) = read(file) else { return };
    let Ok(table) = serde_json::from_str::<serde_json::Value>(&text) else {
        return;
    };
    for key in keys {
        for foreign in key.foreign {
            let Some(name) = name(*foreign) else { continue };
            let value = match table.get(name) {
                Some(serde_json::Value::String(text)) => Some(text.clone()),
                Some(serde_json::Value::Number(number)) => Some(number.to_string()),
                _ => None,
            };
            take(key, value, file, settings);
        }
    }
}

/// Takes the value of another program's setting, if it means the same to us.
fn take(key: &'static Key, value: Option<String>, file: &Path, settings: &mut Settings) {
    let Some(value) = value.filter(|value| !value.is_empty()) else {
        return;
    };
    let same = key.check(&value).is_ok();
    // Attempts of docker are retries and one more.
    let value = match (key.name, value.parse::<u32>()) {
        ("registry.retries", Ok(attempts)) if file.ends_with("daemon.json") => {
            attempts.saturating_sub(1).to_string()
        }
        _ => value,
    };
    if same {
        let file = file.to_owned();
        settings.insert(key.name, Setting { value, file });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_or_named() {
        let text = "root = \"/x\"\n[run]\nnetwork = \"none\"\n[registry]\nretries = 5\n\
                    retry-delay = 0.25\ntls-verify = true\n";
        let found: BTreeMap<_, _> = parse(text).unwrap().into_iter().collect();
        assert_eq!(found["root"], "/x");
        assert_eq!(found["run.network"], "none");
        assert_eq!(found["registry.retries"], "5");
        assert_eq!(found["registry.retry-delay"], "0.25");
        assert_eq!(found["registry.tls-verify"], "true");
        for (text, part) in [
            ("[run]\nnetwrk = 1", "there are run.network"),
            ("x = 1", "there are root"),
            ("[run]\nnetwork = [1]", "a single value"),
            ("[run", "TOML"),
        ] {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn keys_are_those_of_the_table_of_flags() {
        let of_table = flags::FLAGS
            .iter()
            .filter_map(|flag| Some((flag.key?, flag.name)));
        let of_table: BTreeMap<&str, String> = of_table
            .map(|(key, name)| (key, name.replace('-', "_")))
            .collect();
        let own = KEYS.iter().filter(|key| key.name.starts_with("run."));
        let own: BTreeMap<&str, String> =
            own.map(|key| (key.name, key.argument.to_owned())).collect();
        assert_eq!(of_table, own);
    }

    #[test]
    fn what_others_say_is_taken_if_it_means_the_same() {
        let takes = |name: &str, value: &str| {
            let key = KEYS.iter().find(|key| key.name == name).unwrap();
            let mut settings = Settings::new();
            take(key, Some(value.into()), Path::new("x.json"), &mut settings);
            settings.contains_key(name)
        };
        for (name, good, bad) in [
            ("run.log-driver", "k8s-file", "syslog"),
            ("run.pull", "newer", "daily"),
            ("run.shm-size", "65536k", "64x"),
            ("run.detach-keys", "ctrl-e,e", "DEL"),
        ] {
            assert!(takes(name, good) && !takes(name, bad), "{name}");
        }
    }

    #[test]
    fn names_are_unique() {
        let names: std::collections::HashSet<&str> = KEYS.iter().map(|key| key.name).collect();
        assert_eq!(names.len(), KEYS.len());
    }
}
