//! The verbs of `bryo oci` and what they take.

use crate::cgroup::place::Manager;
use crate::error::{Kind, refuse};
use crate::oci::{create, exec};
use anyhow::{Context as _, Result};
use oci_spec::runtime::{Capability, LinuxResources};
use serde_json::{Map, Value, json};
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Make a container of a bundle; its process waits to be started
    Create(Create),
    /// Let a container execute its command
    Start(Id),
    /// Show how a container is, as JSON
    State(Id),
    /// Send a signal to a container's process
    Kill(Kill),
    /// Remove a container that does not run
    Delete(Delete),
    /// Make a container, start it, and wait for its end
    Run(Run),
    /// Run a further process in a container
    Exec(Exec),
    /// List containers
    List(List),
    /// List the processes of a container
    Ps(Ps),
    /// Stop the processes of a container where they are
    Pause(Id),
    /// Let a paused container go on
    Resume(Id),
    /// Change the limits of a container
    Update(Update),
    /// Show what a container uses
    Events(Events),
    /// Show what this runtime can do, as JSON
    Features,
    /// Write a config.json to begin with
    Spec(Spec),
    /// Not supported
    #[command(disable_help_flag = true)]
    Checkpoint(Anything),
    /// Not supported
    #[command(disable_help_flag = true)]
    Restore(Anything),
}

#[derive(Debug, clap::Args)]
pub struct Ps {
    /// The container's id
    pub id: String,
    /// table or json
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub format: ListFormat,
    /// What ps(1) gets for a table, in the place of -ef
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub options: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub struct Events {
    /// The container's id
    pub id: String,
    /// How often
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = interval)]
    pub interval: Duration,
    /// Once, and no more
    #[arg(long)]
    pub stats: bool,
}

#[derive(Debug, clap::Args)]
pub struct Spec {
    /// The directory it is written to
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub bundle: PathBuf,
    /// For an ordinary user
    #[arg(long)]
    pub rootless: bool,
}

#[derive(Debug, clap::Args)]
pub struct Anything {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub struct Update {
    /// The container's id
    pub id: String,
    /// A file with linux.resources, - for standard input; then nothing else counts
    #[arg(short, long, value_name = "FILE")]
    resources: Option<PathBuf>,
    /// Share of devices, 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<u16>,
    /// Microseconds in which a quota is given
    #[arg(long, value_name = "TIME")]
    cpu_period: Option<u64>,
    /// Microseconds on processors in each period
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    cpu_quota: Option<i64>,
    /// Microseconds that may be saved up
    #[arg(long, value_name = "TIME")]
    cpu_burst: Option<u64>,
    /// Share of processors
    #[arg(long, visible_alias = "cpu-shares", value_name = "SHARES")]
    cpu_share: Option<u64>,
    /// For groups of version 1
    #[arg(long, value_name = "TIME")]
    cpu_rt_period: Option<u64>,
    /// For groups of version 1
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    cpu_rt_runtime: Option<i64>,
    /// 1: only where nobody else wants the processor
    #[arg(long, value_name = "0|1", allow_negative_numbers = true)]
    cpu_idle: Option<i64>,
    /// The processors that may be used
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// The memory nodes that may be used
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Bytes of memory, or with a unit: 64M; -1 for no limit
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true, value_parser = amount)]
    memory: Option<i64>,
    /// Bytes of memory that are left to it
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true, value_parser = amount)]
    memory_reservation: Option<i64>,
    /// Bytes of memory and swap together
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true, value_parser = amount)]
    memory_swap: Option<i64>,
    /// The most processes and threads
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    pids_limit: Option<i64>,
    /// Not supported
    #[arg(long, value_name = "SCHEMA")]
    l3_cache_schema: Option<String>,
    /// Not supported
    #[arg(long, value_name = "SCHEMA")]
    mem_bw_schema: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct Id {
    /// The container's id
    pub id: String,
}

#[derive(Debug, clap::Args)]
pub struct Create {
    /// The container's id
    pub id: String,
    /// The directory with config.json
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub bundle: PathBuf,
    /// A socket that gets the master side of the container's terminal
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// A file that gets the process's id
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// A socket that gets a descriptor of the process
    #[arg(long, value_name = "SOCKET")]
    pub pidfd_socket: Option<PathBuf>,
    /// How many descriptors from 3 on the container gets
    #[arg(long, value_name = "COUNT", default_value_t = 0, value_parser = descriptors())]
    pub preserve_fds: u32,
    /// Not needed: the root is entered without pivot_root where that fails
    #[arg(long)]
    pub no_pivot: bool,
    /// Not needed: a keyring that cannot be made is none
    #[arg(long)]
    pub no_new_keyring: bool,
}

#[derive(Debug, clap::Args)]
pub struct Run {
    #[command(flatten)]
    pub create: Create,
    /// Do not wait for its end
    #[arg(short, long)]
    pub detach: bool,
    /// Do not remove it when it ends
    #[arg(long)]
    pub keep: bool,
    /// Not needed
    #[arg(long)]
    pub no_subreaper: bool,
}

#[derive(Debug, clap::Args)]
pub struct Kill {
    /// The container's id
    pub id: String,
    /// Number or name
    #[arg(default_value = "TERM")]
    pub signal: String,
    /// All of its processes
    #[arg(short, long)]
    pub all: bool,
}

#[derive(Debug, clap::Args)]
pub struct Delete {
    /// The container's id
    pub id: String,
    /// Also one that runs; that there is none is no error
    #[arg(short, long)]
    pub force: bool,
}

#[derive(Debug, clap::Args)]
pub struct Exec {
    /// The container's id
    pub id: String,
    /// Command and arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
    /// A file with the specification of the process
    #[arg(short, long, value_name = "FILE")]
    pub process: Option<PathBuf>,
    /// Give it a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// User and group by number
    #[arg(short, long, value_name = "UID[:GID]")]
    pub user: Option<String>,
    /// Working directory
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,
    /// Set a variable
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// A file that gets the process's id
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// A socket that gets the master side of its terminal
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// A socket that gets a descriptor of the process
    #[arg(long, value_name = "SOCKET")]
    pub pidfd_socket: Option<PathBuf>,
    /// How many descriptors from 3 on it gets
    #[arg(long, value_name = "COUNT", default_value_t = 0, value_parser = descriptors())]
    pub preserve_fds: u32,
    /// Do not wait for its end
    #[arg(short, long)]
    pub detach: bool,
    /// A further group, by number
    #[arg(short = 'g', long, value_name = "GID", value_delimiter = ',')]
    additional_gids: Vec<u32>,
    /// A further capability
    #[arg(short, long, value_name = "CAPABILITY")]
    cap: Vec<String>,
    /// Its profile of AppArmor
    #[arg(long, value_name = "PROFILE")]
    apparmor: Option<String>,
    /// Its label of SELinux
    #[arg(long, value_name = "LABEL")]
    process_label: Option<String>,
    /// Programs give it no privileges; or with =false, they do
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    no_new_privs: Option<bool>,
    /// Also in a paused container, where it waits
    #[arg(long)]
    ignore_paused: bool,
    /// The control group that it is in, below the container's
    #[arg(long, value_name = "PATH")]
    cgroup: Option<String>,
    /// Not needed
    #[arg(long)]
    pub no_subreaper: bool,
}

#[derive(Debug, clap::Args)]
pub struct List {
    /// table or json
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub format: ListFormat,
    /// Ids alone
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ListFormat {
    Table,
    Json,
}

impl Create {
    /// How it is made.
    pub fn how(&self, manager: Option<Manager>) -> create::How {
        create::How {
            bundle: self.bundle.clone(),
            console: self.console_socket.clone(),
            pid_file: self.pid_file.clone(),
            pidfd: self.pidfd_socket.clone(),
            activated: activated(),
            preserved: self.preserve_fds,
            manager,
        }
    }
}

impl Exec {
    /// What is run.
    pub fn how(&self) -> Result<exec::How> {
        Ok(exec::How {
            process: self.process.clone(),
            args: self.command.clone(),
            env: self.env.clone(),
            cwd: self.cwd.clone(),
            user: self.user.as_deref().map(ids).transpose()?,
            tty: self.tty,
            console: self.console_socket.clone(),
            pid_file: self.pid_file.clone(),
            pidfd: self.pidfd_socket.clone(),
            preserved: self.preserve_fds,
            detached: self.detach,
            groups: self.additional_gids.clone(),
            capabilities: self
                .cap
                .iter()
                .map(|name| capability(name))
                .collect::<Result<_>>()?,
            no_new_privileges: self.no_new_privs,
            labels: (self.apparmor.clone(), self.process_label.clone()),
            paused: self.ignore_paused,
            group: self.cgroup.clone(),
        })
    }
}

/// Reads `UID[:GID]`.
fn ids(text: &str) -> Result<(u32, Option<u32>)> {
    let number = |part: &str| match part.parse::<u32>() {
        Ok(number) if number != u32::MAX => Ok(number),
        _ => refuse!(Invalid, "--user {text}: UID[:GID] is wanted, both numbers"),
    };
    match text.split_once(':') {
        Some((uid, gid)) => Ok((number(uid)?, Some(number(gid)?))),
        None => Ok((number(text)?, None)),
    }
}

/// How many descriptors somebody may mean: more than any process has are none.
fn descriptors() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(..1 << 20)
}

/// How many sockets this process was started with (sd_listen_fds(3)).
fn activated() -> u32 {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    match number("LISTEN_PID") {
        Some(pid) if pid == std::process::id() => number("LISTEN_FDS").unwrap_or(0).min(1 << 20),
        _ => 0,
    }
}

/// Reads a capability by its name.
fn capability(name: &str) -> Result<Capability> {
    let full = name.to_ascii_uppercase();
    let full = match full.starts_with("CAP_") {
        true => full,
        false => format!("CAP_{full}"),
    };
    let known = serde_json::from_value(json!(full));
    known.with_context(|| Kind::Invalid.says(format!("--cap {name}: capabilities(7) has none so")))
}

/// Reads a time as Go writes it: `500ms`, `5s`, `1m`.
fn interval(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is no time: 5s is one");
    let at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(at);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    match unit {
        _ if number == 0 => Err("duration interval must be greater than 0".to_owned()),
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        _ => Err(wrong()),
    }
}

/// Reads bytes, with a unit of powers of 1024 or without.
fn amount(text: &str) -> Result<i64, String> {
    let wrong = || format!("'{text}' is no amount: 64M is one");
    let lower = text.to_ascii_lowercase();
    let lower = lower.trim_end_matches('b').trim_end_matches('i');
    let (number, unit) = lower.split_at(lower.find(char::is_alphabetic).unwrap_or(lower.len()));
    let powers = ["", "k", "m", "g", "t"];
    let power = powers
        .iter()
        .position(|known| *known == unit)
        .ok_or_else(wrong)?;
    let number: i64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << (10 * power)).ok_or_else(wrong)
}

impl Update {
    /// What it asks for.
    ///
    /// # Errors
    /// A file that cannot be read; what is not supported.
    pub fn change(&self) -> Result<LinuxResources> {
        if self.l3_cache_schema.is_some() || self.mem_bw_schema.is_some() {
            refuse!(
                Unsupported,
                "--l3-cache-schema, --mem-bw-schema: the machine's caches need root and intelRdt"
            );
        }
        let Some(path) = &self.resources else {
            return Ok(serde_json::from_value(self.document())?);
        };
        let what = || format!("--resources {}", path.display());
        let text = match path.as_os_str() == "-" {
            true => {
                let mut text = Vec::new();
                std::io::stdin().read_to_end(&mut text).with_context(what)?;
                text
            }
            false => std::fs::read(path).with_context(what)?,
        };
        match serde_json::from_slice(&text) {
            Ok(change) => Ok(change),
            Err(error) => refuse!(Invalid, "{}: {error}", what()),
        }
    }

    fn document(&self) -> Value {
        let fields = |fields: &[(&str, Option<Value>)]| {
            let said = fields.iter().cloned();
            let said = said.filter_map(|(key, value)| Some((key.to_owned(), value?)));
            Value::Object(said.collect::<Map<_, _>>())
        };
        let bytes = |value: Option<i64>| value.map(Value::from);
        let number = |value: Option<u64>| value.map(Value::from);
        let list = |value: &Option<String>| value.clone().map(Value::from);
        let mut all = json!({
            "memory": fields(&[
                ("limit", bytes(self.memory)),
                ("reservation", bytes(self.memory_reservation)),
                ("swap", bytes(self.memory_swap)),
            ]),
            "cpu": fields(&[
                ("shares", number(self.cpu_share)),
                ("quota", bytes(self.cpu_quota)),
                ("period", number(self.cpu_period)),
                ("burst", number(self.cpu_burst)),
                ("idle", bytes(self.cpu_idle)),
                ("realtimeRuntime", bytes(self.cpu_rt_runtime)),
                ("realtimePeriod", number(self.cpu_rt_period)),
                ("cpus", list(&self.cpuset_cpus)),
                ("mems", list(&self.cpuset_mems)),
            ]),
        });
        if let Some(limit) = self.pids_limit {
            all["pids"] = json!({"limit": limit});
        }
        if let Some(weight) = self.blkio_weight {
            all["blockIO"] = json!({"weight": weight});
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_and_times() {
        for (text, bytes) in [
            ("7", 7),
            ("64M", 64 << 20),
            ("1GiB", 1 << 30),
            ("2kb", 2048),
            ("-1", -1),
        ] {
            assert_eq!(amount(text), Ok(bytes), "{text}");
        }
        for bad in ["", "M", "1x", "9999999999g", "1km"] {
            assert!(amount(bad).is_err(), "{bad}");
        }
        assert_eq!(interval("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(interval("1m"), Ok(Duration::from_secs(60)));
        for bad in ["", "5", "0s", "s", "1h30m"] {
            assert!(interval(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn capabilities_have_names() {
        let chown = Capability::Chown;
        for name in ["CAP_CHOWN", "chown", "cap_chown"] {
            assert_eq!(capability(name).unwrap(), chown, "{name}");
        }
        let unknown = capability("CAP_NONE").unwrap_err();
        assert_eq!(Kind::of(&unknown), Some(Kind::Invalid));
    }
}
