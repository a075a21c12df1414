//! All that is known of a container: `inspect`.

use super::network::Settings;
use crate::cgroup::place::Manager;
use crate::engine::container::containers;
use crate::engine::container::execs::Exec;
use crate::engine::container::health::{Health, HealthCheck};
use crate::engine::container::record::{self, History};
use crate::engine::container::volumes::Volumes;
use crate::engine::create::limits::{self, Limit};
use crate::engine::operate::changes::written;
use crate::engine::request::mounts::{Kind, Mounted};
use crate::engine::request::restart::Restart;
use crate::runtime::plan::ANNOTATION_SECCOMP;
use anyhow::Result;
use jiff::Timestamp;
use oci_spec::runtime::{LinuxResources, LinuxThrottleDevice, LinuxWeightDevice, Spec};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
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
    pub image: Option<String>,
    /// The image as it was asked for.
    pub image_name: String,
    /// How often its policy started it again.
    pub restart_count: u32,
    /// Commands of `exec` in it that are looked after.
    #[serde(rename = "ExecIDs")]
    pub exec_ids: Option<Vec<String>>,
    /// The file of its log.
    pub log_path: Option<String>,
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
    pub started_at: Option<Timestamp>,
    /// When it last ended.
    pub finished_at: Option<Timestamp>,
    /// What its health checks found.
    pub health: Option<Health>,
}

/// What a container was created as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs)]
pub struct Config {
    pub hostname: Option<String>,
    pub domainname: Option<String>,
    pub user: String,
    pub tty: Option<bool>,
    pub env: Option<Vec<String>>,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    pub image: String,
    pub working_dir: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub stop_signal: Option<String>,
    /// Seconds between the stop signal and the end, where they were chosen.
    pub stop_timeout: Option<u32>,
    pub open_stdin: bool,
    pub stdin_once: bool,
    pub healthcheck: Option<Healthcheck>,
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

/// What was asked of the machine, by docker's and podman's names; 0 is for what
/// was not.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs)]
pub struct HostConfig {
    pub network_mode: String,
    pub auto_remove: bool,
    #[serde(rename = "ContainerIDFile")]
    pub container_id_file: Option<String>,
    pub log_config: LogConfig,
    pub restart_policy: RestartPolicy,
    pub readonly_rootfs: Option<bool>,
    /// What was asked for, or is so by itself, in the words of
    /// `--security-opt`.
    pub security_opt: Vec<&'static str>,
    pub cgroup_manager: Manager,
    pub cgroup_parent: Option<String>,
    pub memory: i64,
    pub memory_swap: i64,
    pub memory_reservation: i64,
    pub cpu_shares: u64,
    pub cpu_quota: i64,
    pub cpu_period: u64,
    /// Thousand-millionths of a processor.
    pub nano_cpus: i64,
    pub cpuset_cpus: String,
    pub cpuset_mems: String,
    pub pids_limit: i64,
    pub blkio_weight: u16,
    pub blkio_weight_device: Option<Vec<LinuxWeightDevice>>,
    pub blkio_device_read_bps: Option<Vec<LinuxThrottleDevice>>,
    pub blkio_device_write_bps: Option<Vec<LinuxThrottleDevice>>,
    #[serde(rename = "BlkioDeviceReadIOps")]
    pub blkio_device_read_iops: Option<Vec<LinuxThrottleDevice>>,
    #[serde(rename = "BlkioDeviceWriteIOps")]
    pub blkio_device_write_iops: Option<Vec<LinuxThrottleDevice>>,
    pub cgroup_conf: Option<HashMap<String, String>>,
    pub oom_score_adj: i32,
}

/// Who keeps a container's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LogConfig {
    /// The driver's name.
    #[serde(rename = "Type")]
    pub driver: &'static str,
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
            image: record.image_id.clone(),
            image_name: record.image.clone(),
            restart_count: container.history.restarts,
            exec_ids: (!execs.is_empty()).then_some(execs),
            log_path: (record.keeping.log.file()).map(|file| path(&container.dir.join(file))),
            host: record.host.clone(),
            config: Config::of(container, &spec),
            host_config: HostConfig::of(container, &spec),
            mounts: (record.mounts.iter())
                .map(|mount| Mount::of(mount, volumes))
                .collect(),
            network_settings: Settings::of(container),
            oci_config_path: path(&container.dir.join("config.json")),
            size_rw: size.then(|| written(container)),
        })
    }
}

fn path(path: &Path) -> String {
    path.display().to_string()
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

impl Config {
    fn of(container: &containers::Container, spec: &Spec) -> Config {
        let (record, process) = (&container.record, spec.process().as_ref());
        let keeping = &record.keeping;
        let (entrypoint, command) = record.split_command();
        Config {
            hostname: spec.hostname().clone(),
            domainname: spec.domainname().clone(),
            user: record.user.clone(),
            tty: process.and_then(|p| p.terminal()),
            env: process.and_then(|p| p.env().clone()),
            entrypoint: entrypoint.to_vec(),
            cmd: command.to_vec(),
            image: record.image.clone(),
            working_dir: process.map(|p| path(p.cwd())),
            labels: record.labels.clone(),
            stop_signal: record.stop_signal.as_ref().map(ToString::to_string),
            stop_timeout: keeping.stop_timeout,
            open_stdin: keeping.interactive,
            stdin_once: keeping.input_once,
            healthcheck: match keeping.no_health {
                true => Some(Healthcheck::none()),
                false => keeping.health.as_ref().map(Healthcheck::of),
            },
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

impl HostConfig {
    fn of(container: &containers::Container, spec: &Spec) -> HostConfig {
        let record = &container.record;
        let none = LinuxResources::default();
        let asked = limits::resources(spec).unwrap_or(&none);
        let memory = asked.memory().unwrap_or_default();
        let cpu = asked.cpu().clone().unwrap_or_default();
        let io = asked.block_io().clone().unwrap_or_default();
        let (quota, period) = (cpu.quota().unwrap_or(0), cpu.period().unwrap_or(0));
        let linux = spec.linux().as_ref();
        HostConfig {
            network_mode: record.network.to_string(),
            auto_remove: record.auto_remove,
            container_id_file: record.keeping.cidfile.as_deref().map(path),
            log_config: LogConfig {
                driver: record.keeping.log.driver.name(),
            },
            restart_policy: RestartPolicy::of(container.restart_policy()),
            readonly_rootfs: spec.root().as_ref().and_then(|r| r.readonly()),
            security_opt: security_options(spec),
            cgroup_manager: limits::manager(spec),
            cgroup_parent: (linux.and_then(|l| l.cgroups_path().as_deref())).map(path),
            memory: memory.limit().unwrap_or(0),
            memory_swap: memory.swap().unwrap_or(0),
            memory_reservation: memory.reservation().unwrap_or(0),
            cpu_shares: cpu.shares().unwrap_or(0),
            cpu_quota: quota,
            cpu_period: period,
            nano_cpus: nano_cpus(quota, period),
            cpuset_cpus: cpu.cpus().clone().unwrap_or_default(),
            cpuset_mems: cpu.mems().clone().unwrap_or_default(),
            pids_limit: asked.pids().as_ref().map_or(0, |p| p.limit()),
            blkio_weight: io.weight().unwrap_or(0),
            blkio_weight_device: io.weight_device().clone(),
            blkio_device_read_bps: io.throttle_read_bps_device().clone(),
            blkio_device_write_bps: io.throttle_write_bps_device().clone(),
            blkio_device_read_iops: io.throttle_read_iops_device().clone(),
            blkio_device_write_iops: io.throttle_write_iops_device().clone(),
            cgroup_conf: asked.unified().clone(),
            oom_score_adj: (spec.process().as_ref())
                .and_then(|p| p.oom_score_adj())
                .unwrap_or(0),
        }
    }
}

/// A quota of microseconds in each period of so many, in thousand-millionths of
/// a processor.
fn nano_cpus(quota: i64, period: u64) -> i64 {
    match period {
        0 => 0,
        period => quota.max(0) * 1_000_000_000 / i64::try_from(period).unwrap_or(i64::MAX),
    }
}

fn security_options(spec: &Spec) -> Vec<&'static str> {
    let process = spec.process().as_ref();
    let bit = process.and_then(|p| p.no_new_privileges()).unwrap_or(false);
    let annotations = spec.annotations().as_ref();
    let default = annotations.is_some_and(|all| all.contains_key(ANNOTATION_SECCOMP));
    let profile = spec.linux().as_ref().is_some_and(|l| l.seccomp().is_some());
    let mut options = Vec::new();
    if bit {
        options.push("no-new-privileges");
    }
    if !default && !profile {
        options.push("seccomp=unconfined");
    }
    options
}

impl RestartPolicy {
    fn of(policy: Restart) -> RestartPolicy {
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
                "StartedAt": null,
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
    fn policies_and_processors_are_counted() {
        let policy = RestartPolicy::of(Restart::OnFailure(Some(5)));
        let shown = json!({"Name": "on-failure", "MaximumRetryCount": 5});
        assert_eq!(to_value(policy).unwrap(), shown);
        let shown = json!({"Name": "no", "MaximumRetryCount": 0});
        assert_eq!(to_value(RestartPolicy::of(Restart::No)).unwrap(), shown);
        assert_eq!(nano_cpus(150_000, 100_000), 1_500_000_000);
        assert_eq!(nano_cpus(-1, 100_000), 0);
        assert_eq!(nano_cpus(1, 0), 0);
    }
}
