//! All that is known of a container: `inspect`.

use super::host_config::HostConfig;
use super::network::Settings;
use super::words;
use crate::engine::container::containers;
use crate::engine::container::execs::Exec;
use crate::engine::container::health::{Health, HealthCheck};
use crate::engine::container::record::{self, History};
use crate::engine::container::volumes::Volumes;
use crate::engine::create::limits::{self, Limit};
use crate::engine::operate::changes::written;
use crate::engine::request::capabilities::name as capability_name;
use crate::engine::request::log;
use crate::engine::request::mounts::{Kind, Mounted};
use crate::engine::request::restart::Restart;
use crate::image::store::Store;
use anyhow::Result;
use jiff::Timestamp;
use oci_spec::runtime::{Capabilities, Spec};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A container, with docker's fields.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Container {
    /// Its id.
    pub id: String,
    /// When it was created.
    pub created: Timestamp,
    /// Its name.
    pub name: String,
    /// The program.
    pub path: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// How it is.
    pub state: State,
    /// Its limits, as they were asked for and as they are.
    pub limits: Vec<Limit>,
    /// The control group with its limits.
    pub cgroup_path: Option<String>,
    /// The unit of systemd that its control groups are in.
    pub cgroup_unit: Option<String>,
    /// Why it has no control group.
    pub cgroup_missing: Option<String>,
    /// The image's id.
    pub image: String,
    /// The image as it was asked for.
    pub image_name: String,
    /// How often its policy started it again.
    pub restart_count: u32,
    /// Commands of `exec` in it that are looked after.
    #[serde(rename = "ExecIDs")]
    pub exec_ids: Option<Vec<String>>,
    /// The file of its log.
    pub log_path: String,
    /// What keeps its changes: `overlay` or `copy`.
    pub driver: &'static str,
    /// There is one: `linux`.
    pub platform: &'static str,
    /// Where its changes are.
    pub graph_driver: GraphDriver,
    /// Its `/etc/resolv.conf`.
    pub resolv_conf_path: String,
    /// Its `/etc/hostname`.
    pub hostname_path: String,
    /// Its `/etc/hosts`.
    pub hosts_path: String,
    /// There are none.
    pub app_armor_profile: &'static str,
    /// There are none.
    pub mount_label: &'static str,
    /// There are none.
    pub process_label: &'static str,
    /// What its first process may do as root.
    pub effective_caps: Vec<String>,
    /// What any of its processes may do.
    pub bounding_caps: Vec<String>,
    /// The digest of the image's manifest.
    pub image_digest: String,
    /// The command line that made it.
    pub create_command: Vec<String>,
    /// What makes containers of specifications.
    #[serde(rename = "OCIRuntime")]
    pub oci_runtime: &'static str,
    /// The machine that it was created on.
    pub host: String,
    /// What it was created as.
    pub config: Config,
    /// What was asked of the machine.
    pub host_config: HostConfig,
    /// What was asked to be mounted.
    pub mounts: Vec<Mount>,
    /// Its networks.
    pub network_settings: Settings,
    /// Its OCI specification.
    #[serde(rename = "OCIConfigPath")]
    pub oci_config_path: String,
    /// Bytes that it wrote, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_rw: Option<u64>,
    /// The same with its image's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_root_fs: Option<u64>,
}

/// How a container is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct State {
    /// One of docker's words.
    pub status: &'static str,
    /// Somebody looks after it.
    pub running: bool,
    /// None of its processes goes on.
    pub paused: bool,
    /// It ended, and is to be started again.
    pub restarting: bool,
    /// Processes of it were killed for want of memory since its last start.
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    /// What is known of it cannot be read.
    pub dead: bool,
    /// Its first process on the host; 0 is none.
    pub pid: i32,
    /// How it ended last.
    pub exit_code: i32,
    /// What went wrong.
    pub error: String,
    /// When it was last started.
    #[serde(serialize_with = "words::time_or_zero")]
    pub started_at: Option<Timestamp>,
    /// When it last ended.
    #[serde(serialize_with = "words::time_or_zero")]
    pub finished_at: Option<Timestamp>,
    /// What its health checks found.
    pub health: Option<Health>,
}

/// What a container was created as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs)]
pub struct Config {
    pub hostname: String,
    pub domainname: String,
    pub user: String,
    pub attach_stdin: bool,
    pub attach_stdout: bool,
    pub attach_stderr: bool,
    /// Ports that it says it listens at.
    pub exposed_ports: BTreeMap<String, Nothing>,
    pub tty: bool,
    pub env: Vec<String>,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    pub image: String,
    /// The image's volumes.
    pub volumes: Option<BTreeMap<String, Nothing>>,
    pub working_dir: String,
    pub on_build: Option<Vec<String>>,
    pub labels: BTreeMap<String, String>,
    pub stop_signal: String,
    /// Seconds between the stop signal and the end, where they were chosen.
    pub stop_timeout: Option<u32>,
    pub open_stdin: bool,
    pub stdin_once: bool,
    pub healthcheck: Option<Healthcheck>,
    /// Secrets that it was handed, and nothing of what they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Secret>,
}

/// A secret that a container was handed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs)]
pub struct Secret {
    pub name: String,
    #[serde(rename = "ID")]
    pub id: String,
    #[serde(rename = "UID")]
    pub uid: u32,
    #[serde(rename = "GID")]
    pub gid: u32,
    pub mode: u32,
}

/// What there is nothing to say about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Nothing {}

/// Where a container's changes are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GraphDriver {
    /// `overlay` or `copy`.
    pub name: &'static str,
    /// Directories, by what the kernel has them for.
    pub data: BTreeMap<&'static str, String>,
}

/// How a container's health is checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `NONE`; `CMD` and a command; or `CMD-SHELL` and a line of a shell.
    pub test: Vec<String>,
    /// When; nothing where there is no test.
    #[serde(flatten)]
    pub times: Option<Times>,
}

/// When a container's health is checked; times in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs)]
pub struct Times {
    pub interval: u64,
    pub timeout: u64,
    pub start_period: u64,
    pub start_interval: u64,
    /// Failures in a row that make it unhealthy.
    pub retries: u32,
}

/// Who keeps a container's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LogConfig {
    /// The driver's name.
    #[serde(rename = "Type")]
    pub driver: &'static str,
    /// Its options.
    pub config: BTreeMap<&'static str, String>,
}

impl LogConfig {
    /// Of a container.
    pub fn of(log: &log::LogConfig) -> LogConfig {
        let mut config = BTreeMap::new();
        if let Some(size) = log.max_size {
            config.insert("max-size", size.to_string());
        }
        if log.max_file > 0 {
            config.insert("max-file", log.max_file.to_string());
        }
        for (key, all) in [("labels", &log.labels), ("env", &log.env)] {
            if !all.is_empty() {
                config.insert(key, all.join(","));
            }
        }
        LogConfig {
            driver: log.driver.name(),
            config,
        }
    }
}

/// When a container is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RestartPolicy {
    /// Docker's name of it.
    pub name: &'static str,
    /// How often at most, where that was chosen; else 0.
    pub maximum_retry_count: u32,
}

/// What was asked to be mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Mount {
    /// Docker's name of its kind.
    #[serde(rename = "Type")]
    pub kind: &'static str,
    /// A volume's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A volume's driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<&'static str>,
    /// On the host; an image's id.
    pub source: String,
    /// In the container.
    pub destination: String,
    /// Words of mount(8), with commas.
    pub mode: String,
    /// The container may write to it.
    #[serde(rename = "RW")]
    pub writable: bool,
}

impl Container {
    /// How a container is shown. To see how much it wrote takes time.
    ///
    /// # Errors
    /// Its specification cannot be read.
    pub fn of(
        container: &containers::Container,
        volumes: &Volumes,
        size: bool,
    ) -> Result<Container> {
        let record = &container.record;
        let spec = container.spec()?;
        let confinement = &container.history.confinement;
        let placed = confinement.placed.as_ref();
        let runs = container.state.process().is_some();
        let mut command = record.command.iter().cloned();
        let process = spec.process().as_ref();
        let sets = process.and_then(|process| process.capabilities().as_ref());
        let wrote = size.then(|| written(container));
        let execs = Exec::running(container).into_iter().map(|exec| exec.id);
        let execs: Vec<String> = execs.collect();
        Ok(Container {
            id: record.id.clone(),
            created: record.created,
            name: record.name.clone(),
            path: command.next().unwrap_or_default(),
            args: command.collect(),
            state: State::of(&container.state, &container.history),
            limits: limits::compare(&spec, confinement, runs)?,
            cgroup_path: placed.map(|p| path(&p.limits)),
            cgroup_unit: placed.and_then(|p| p.unit.clone()),
            cgroup_missing: confinement.without.clone(),
            image: record.image_id.clone().unwrap_or_default(),
            image_name: record.image.clone(),
            restart_count: container.history.restarts,
            exec_ids: (!execs.is_empty()).then_some(execs),
            log_path: (record.keeping.log.file())
                .map(|file| path(&container.dir.join(file)))
                .unwrap_or_default(),
            driver: driver(container),
            platform: "linux",
            graph_driver: GraphDriver::of(container),
            resolv_conf_path: file(container, "resolv.conf"),
            hostname_path: file(container, "hostname"),
            hosts_path: file(container, "hosts"),
            app_armor_profile: "",
            mount_label: "",
            process_label: "",
            effective_caps: capabilities(sets.and_then(|sets| sets.effective().as_ref())),
            bounding_caps: capabilities(sets.and_then(|sets| sets.bounding().as_ref())),
            image_digest: record.asked.image_digest.clone(),
            create_command: record.asked.create_command.clone(),
            oci_runtime: "bryo",
            host: record.host.clone(),
            config: Config::of(container, &spec),
            host_config: HostConfig::of(container, &spec),
            mounts: (record.mounts.iter())
                .map(|mount| Mount::of(mount, volumes))
                .collect(),
            network_settings: Settings::of(container),
            oci_config_path: path(&container.dir.join("config.json")),
            size_rw: wrote,
            size_root_fs: wrote.map(|wrote| wrote + image_size(container, volumes.store())),
        })
    }
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

/// A file of a container's that is made for it; empty where there is none.
fn file(container: &containers::Container, name: &str) -> String {
    let file = container.dir.join(name);
    match file.exists() {
        true => path(&file),
        false => String::new(),
    }
}

/// Bytes of the image's files; 0 if it is no more in the store.
fn image_size(container: &containers::Container, store: &Store) -> u64 {
    let image = container.record.image_id.as_deref();
    let image = image.and_then(|id| store.find(id).ok().flatten());
    image.map_or(0, |image| store.size(&image))
}

fn driver(container: &containers::Container) -> &'static str {
    match container.dir.join("upper").exists() {
        true => "overlay",
        false => "copy",
    }
}

/// The names of capabilities, in order.
fn capabilities(set: Option<&Capabilities>) -> Vec<String> {
    let names = set.into_iter().flatten();
    let names: BTreeSet<String> = names.map(|one| capability_name(*one)).collect();
    names.into_iter().collect()
}

impl GraphDriver {
    /// Of an image: its layers, the bottom one first.
    pub fn of_trees(trees: &[PathBuf]) -> GraphDriver {
        let mut data = BTreeMap::new();
        if let Some((top, below)) = trees.split_last() {
            data.insert("UpperDir", path(top));
            let below: Vec<String> = below.iter().rev().map(|tree| path(tree)).collect();
            if !below.is_empty() {
                data.insert("LowerDir", below.join(":"));
            }
        }
        GraphDriver {
            name: "overlay",
            data,
        }
    }

    fn of(container: &containers::Container) -> GraphDriver {
        let name = driver(container);
        let below = |key, name: &str| (key, path(&container.dir.join(name)));
        GraphDriver {
            name,
            data: match name {
                "overlay" => [below("UpperDir", "upper"), below("WorkDir", "work")].into(),
                _ => BTreeMap::new(),
            },
        }
    }
}

impl State {
    fn of(state: &record::State, history: &History) -> State {
        let (code, message) = match state {
            record::State::Exited { code, error, .. } => {
                (*code, error.as_deref().unwrap_or_default())
            }
            record::State::Restarting { code, .. } => (*code, ""),
            record::State::Dead { why } => (0, why.as_str()),
            _ => (0, ""),
        };
        State {
            status: state.name(),
            running: state.is_active(),
            paused: matches!(state, record::State::Paused { .. }),
            restarting: matches!(state, record::State::Restarting { .. }),
            oom_killed: history.oom_kills > 0,
            dead: matches!(state, record::State::Dead { .. }),
            pid: state.process().map_or(0, |process| process.pid),
            exit_code: code,
            error: message.to_owned(),
            started_at: history.started,
            finished_at: history.finished,
            health: history.health.clone(),
        }
    }
}

fn named(all: &[String]) -> BTreeMap<String, Nothing> {
    all.iter().map(|name| (name.clone(), Nothing {})).collect()
}

impl Config {
    fn of(container: &containers::Container, spec: &Spec) -> Config {
        let (record, process) = (&container.record, spec.process().as_ref());
        let keeping = &record.keeping;
        let (entrypoint, command) = record.split_command();
        Config {
            hostname: spec.hostname().clone().unwrap_or_default(),
            domainname: spec.domainname().clone().unwrap_or_default(),
            user: record.user.clone(),
            attach_stdin: keeping.interactive,
            attach_stdout: true,
            attach_stderr: true,
            exposed_ports: named(&record.asked.exposed),
            tty: process.and_then(|p| p.terminal()).unwrap_or(false),
            env: process.and_then(|p| p.env().clone()).unwrap_or_default(),
            entrypoint: entrypoint.to_vec(),
            cmd: command.to_vec(),
            image: record.image.clone(),
            volumes: Some(named(&record.asked.volumes)).filter(|all| !all.is_empty()),
            working_dir: process.map(|p| path(p.cwd())).unwrap_or_default(),
            on_build: None,
            labels: record.labels.clone(),
            stop_signal: (record.stop_signal.as_ref())
                .map(ToString::to_string)
                .unwrap_or_default(),
            stop_timeout: keeping.stop_timeout,
            open_stdin: keeping.interactive,
            stdin_once: keeping.input_once,
            healthcheck: match keeping.no_health {
                true => Some(Healthcheck::none()),
                false => keeping.health.as_ref().map(Healthcheck::of),
            },
            secrets: (record.asked.secrets.iter())
                .map(|secret| Secret {
                    name: secret.name.clone(),
                    id: secret.id.clone(),
                    uid: secret.uid,
                    gid: secret.gid,
                    mode: secret.mode,
                })
                .collect(),
        }
    }
}

impl Healthcheck {
    fn none() -> Healthcheck {
        Healthcheck {
            test: vec!["NONE".to_owned()],
            times: None,
        }
    }

    fn of(check: &HealthCheck) -> Healthcheck {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let (form, words) = match check.command.as_slice() {
            [sh, c, text] if sh == "/bin/sh" && c == "-c" => {
                ("CMD-SHELL", std::slice::from_ref(text))
            }
            words => ("CMD", words),
        };
        Healthcheck {
            test: (std::iter::once(form.to_owned()))
                .chain(words.iter().cloned())
                .collect(),
            times: Some(Times {
                interval: nanos(check.interval),
                timeout: nanos(check.timeout),
                start_period: nanos(check.start_period),
                start_interval: nanos(check.start_interval),
                retries: check.retries,
            }),
        }
    }
}

impl RestartPolicy {
    /// Of a container.
    pub fn of(policy: Restart) -> RestartPolicy {
        RestartPolicy {
            name: policy.name(),
            maximum_retry_count: match policy {
                Restart::OnFailure(Some(count)) => count,
                _ => 0,
            },
        }
    }
}

impl Mount {
    /// How a mount is shown.
    pub fn of(mount: &Mounted, volumes: &Volumes) -> Mount {
        let volume = (mount.kind == Kind::Volume).then(|| mount.source.clone());
        Mount {
            kind: mount.kind.name(),
            driver: volume.as_ref().map(|_| "local"),
            source: match &volume {
                Some(name) => path(&volumes.data(name)),
                None => mount.source.clone(),
            },
            name: volume,
            destination: path(&mount.destination),
            mode: mount.options.join(","),
            writable: mount.is_writable(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::request::health::OnFailure;
    use crate::image::store::Store;
    use serde_json::{json, to_value};

    #[test]
    fn states_have_dockers_fields() {
        let ended = "2026-01-02T03:04:05Z".parse().unwrap();
        let history = History {
            finished: Some(ended),
            oom_kills: 1,
            ..History::default()
        };
        let state = record::State::Exited {
            code: 137,
            at: ended,
            error: Some("its supervisor was killed".into()),
        };
        assert_eq!(
            to_value(State::of(&state, &history)).unwrap(),
            json!({
                "Status": "exited",
                "Running": false,
                "Paused": false,
                "Restarting": false,
                "OOMKilled": true,
                "Dead": false,
                "Pid": 0,
                "ExitCode": 137,
                "Error": "its supervisor was killed",
                "StartedAt": "0001-01-01T00:00:00Z",
                "FinishedAt": "2026-01-02T03:04:05Z",
                "Health": null,
            })
        );
        let restarting = record::State::Restarting { code: 3, at: ended };
        let shown = State::of(&restarting, &History::default());
        assert_eq!(
            (shown.running, shown.restarting, shown.exit_code),
            (true, true, 3)
        );
        let why = "no record".to_owned();
        let shown = State::of(&record::State::Dead { why }, &History::default());
        assert_eq!((shown.dead, shown.error.as_str()), (true, "no record"));
    }

    #[test]
    fn health_checks_have_dockers_fields() {
        let second = Duration::from_secs(1);
        let mut check = HealthCheck {
            command: ["/bin/sh", "-c", "true"].map(str::to_owned).to_vec(),
            interval: 5 * second,
            timeout: 30 * second,
            start_period: Duration::ZERO,
            start_interval: second,
            retries: 3,
            on_failure: OnFailure::default(),
        };
        assert_eq!(
            to_value(Healthcheck::of(&check)).unwrap(),
            json!({
                "Test": ["CMD-SHELL", "true"],
                "Interval": 5_000_000_000_u64,
                "Timeout": 30_000_000_000_u64,
                "StartPeriod": 0,
                "StartInterval": 1_000_000_000,
                "Retries": 3,
            })
        );
        check.command = vec!["curl".into(), "x".into()];
        assert_eq!(Healthcheck::of(&check).test, ["CMD", "curl", "x"]);
        assert_eq!(
            to_value(Healthcheck::none()).unwrap(),
            json!({"Test": ["NONE"]})
        );
    }

    #[test]
    fn mounts_have_dockers_fields() {
        let directory = tempfile::tempdir().unwrap();
        let volumes = Volumes::open(&Store::open(directory.path()).unwrap());
        let mount = |kind, source: &str, options: &[&str]| {
            let mounted = Mounted {
                kind,
                source: source.into(),
                destination: "/data".into(),
                options: options.iter().map(|&o| o.to_owned()).collect(),
            };
            to_value(Mount::of(&mounted, &volumes)).unwrap()
        };
        assert_eq!(
            mount(Kind::Bind, "/srv", &["ro", "nosuid"]),
            json!({
                "Type": "bind",
                "Source": "/srv",
                "Destination": "/data",
                "Mode": "ro,nosuid",
                "RW": false,
            })
        );
        assert_eq!(
            mount(Kind::Volume, "db", &[]),
            json!({
                "Type": "volume",
                "Name": "db",
                "Driver": "local",
                "Source": volumes.data("db"),
                "Destination": "/data",
                "Mode": "",
                "RW": true,
            })
        );
    }

    #[test]
    fn policies_are_counted() {
        let policy = RestartPolicy::of(Restart::OnFailure(Some(5)));
        let shown = json!({"Name": "on-failure", "MaximumRetryCount": 5});
        assert_eq!(to_value(policy).unwrap(), shown);
        let shown = json!({"Name": "no", "MaximumRetryCount": 0});
        assert_eq!(to_value(RestartPolicy::of(Restart::No)).unwrap(), shown);
    }
}
