//! `bryo run`.

use super::{Context, error};
use crate::engine::names;
use crate::engine::options::{
    self, CapabilityChanges, Dns, MountOption, Network, RunOptions, SeccompOption, Sharing, Unmask,
};
use crate::engine::run::{Subject, run as run_container};
use crate::image::platform::Platform;
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Create and run a container from an image
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    /// Image of the store, `hello`, `host`, or docker-archive:FILE,
    /// oci-archive:FILE, oci:DIR[:TAG], tar:FILE, dir:DIR
    image: String,

    /// Command and arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,

    /// Give the container a name
    #[arg(long)]
    name: Option<String>,
    /// Remove the container when it ends
    #[arg(long)]
    rm: bool,
    /// Keep standard input open
    #[arg(short, long)]
    interactive: bool,
    /// Give the container a terminal
    #[arg(short, long)]
    tty: bool,
    /// Treat IMAGE as a directory that is the root file system, changed in
    /// place
    #[arg(long)]
    rootfs: bool,
    /// Run the image's program in place of its entry point
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<String>,
    /// Run a PID 1 that reaps processes and passes signals on
    #[arg(long)]
    init: bool,

    /// Set a variable, or pass one on
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read variables from a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// User and group, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Host name
    #[arg(short = 'h', long, value_name = "NAME")]
    hostname: Option<String>,
    /// NIS domain name
    #[arg(long, value_name = "NAME")]
    domainname: Option<String>,
    /// File mode creation mask
    #[arg(long, value_name = "OCTAL")]
    umask: Option<String>,

    /// Show a file or directory of the host
    #[arg(short, long, value_name = "HOST:CONTAINER[:OPTIONS]")]
    volume: Vec<String>,
    /// Mount something, as type=bind,source=…,target=…
    #[arg(long, value_name = "KEY=VALUE,…")]
    mount: Vec<String>,
    /// Mount an empty file system in memory
    #[arg(long, value_name = "PATH[:OPTIONS]")]
    tmpfs: Vec<String>,
    /// Make the root file system read-only
    #[arg(long)]
    read_only: bool,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES", default_value = "64m")]
    shm_size: String,
    /// Show a device node of the host
    #[arg(long, value_name = "HOST[:CONTAINER]")]
    device: Vec<String>,

    /// Add a capability, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,
    /// Drop a capability, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<String>,
    /// seccomp=FILE|unconfined, no-new-privileges[=BOOL], mask=…, unmask=…
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,
    /// All capabilities, no filter, nothing masked, the host's devices
    #[arg(long)]
    privileged: bool,
    /// Limit a resource, as nofile=1024:2048
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    ulimit: Vec<String>,
    /// Set a kernel parameter of the container's namespaces
    #[arg(long, value_name = "NAME=VALUE")]
    sysctl: Vec<String>,
    /// Score for the out-of-memory killer
    #[arg(long, value_name = "-1000..1000", allow_hyphen_values = true)]
    oom_score_adj: Option<i32>,

    /// Network: none or host
    #[arg(
        long,
        visible_alias = "net",
        value_name = "MODE",
        default_value = "host"
    )]
    network: String,
    /// PID namespace: private or host
    #[arg(long, value_name = "MODE", default_value = "private")]
    pid: String,
    /// IPC namespace: private or host
    #[arg(long, value_name = "MODE", default_value = "private")]
    ipc: String,
    /// UTS namespace: private or host
    #[arg(long, value_name = "MODE", default_value = "private")]
    uts: String,
    /// cgroup namespace: private or host
    #[arg(long, value_name = "MODE", default_value = "private")]
    cgroupns: String,
    /// User namespace: host, where the container's root is you
    #[arg(long, value_name = "MODE", default_value = "host")]
    userns: String,

    /// Answer what root alone may do (chown, set*id, mknod) as if it had
    /// succeeded, and record it: auto, on or off
    #[arg(long, value_name = "MODE", default_value = "auto", value_parser = ["auto", "on", "off"])]
    root_emulation: String,

    /// Shift the container's clock `monotonic` or `boottime`
    #[arg(long, value_name = "CLOCK=SECONDS")]
    time_offset: Vec<String>,

    /// Add a line to /etc/hosts
    #[arg(long, value_name = "NAME:ADDRESS")]
    add_host: Vec<String>,
    /// Ask this name server
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<String>,
    /// Search this domain
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// Set an option of resolv.conf
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION")]
    dns_option: Vec<String>,

    /// Add a label
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    label: Vec<String>,
    /// Add an annotation to the OCI spec
    #[arg(long, value_name = "NAME=VALUE")]
    annotation: Vec<String>,
    /// Signal that asks the container to stop
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// Run the image of this platform
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,

    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

/// Runs the container in the foreground; its exit code is ours.
pub fn run(args: &Args, context: &Context) -> Result<i32> {
    let options = args.options()?;
    let store = context.store()?;
    let subject = match args.rootfs {
        true => Subject::Rootfs(PathBuf::from(&args.image)),
        false => Subject::Image(args.image.clone()),
    };
    let progress = super::progress::new(false);
    run_container(
        &store,
        &subject,
        &options,
        args.platform.as_ref(),
        &*progress,
        &error::warn,
    )
}

impl Args {
    fn options(&self) -> Result<RunOptions> {
        if let Some(name) = &self.name {
            names::check(name)?;
        }
        match self.userns.as_str() {
            "host" | "auto" | "single" => {}
            other => {
                bail!("--userns {other}: not supported yet; host maps the container's root to you")
            }
        }
        let network = match self.network.as_str() {
            "host" => Network::Host,
            "none" => Network::None,
            other => bail!("--network {other}: not supported yet; there are host and none"),
        };
        let mut mounts = Vec::new();
        for text in &self.volume {
            mounts.push(options::parse_volume(text)?);
        }
        for text in &self.mount {
            mounts.push(options::parse_mount(text)?);
        }
        for text in &self.tmpfs {
            mounts.push(options::parse_tmpfs(text)?);
        }
        if self.read_only {
            add_writable(&mut mounts);
        }
        let capabilities = |list: &[String]| {
            list.iter()
                .map(|c| options::parse_capability(c))
                .collect::<Result<Vec<_>>>()
        };
        let mut run = RunOptions {
            name: self.name.clone(),
            auto_remove: self.rm,
            interactive: self.interactive,
            tty: self.tty,
            command: self.command.clone(),
            entrypoint: self
                .entrypoint
                .as_deref()
                .map(parse_entrypoint)
                .transpose()?,
            env: environment(&self.env_file, &self.env)?,
            workdir: self.workdir.clone(),
            user: self.user.clone(),
            hostname: self.hostname.clone(),
            domainname: self.domainname.clone(),
            mounts,
            read_only: self.read_only,
            capabilities: CapabilityChanges {
                add: capabilities(&self.cap_add)?,
                drop: capabilities(&self.cap_drop)?,
            },
            no_new_privileges: true,
            privileged: self.privileged,
            devices: self.devices()?,
            ulimits: self
                .ulimit
                .iter()
                .map(|u| options::parse_ulimit(u))
                .collect::<Result<_>>()?,
            sysctls: pairs("sysctl", &self.sysctl)?,
            shm_size: options::parse_bytes(&self.shm_size)?,
            network,
            pid: sharing("pid", &self.pid)?,
            ipc: sharing("ipc", &self.ipc)?,
            uts: sharing("uts", &self.uts)?,
            cgroup: sharing("cgroupns", &self.cgroupns)?,
            time_offsets: self
                .time_offset
                .iter()
                .map(|t| time_offset(t))
                .collect::<Result<_>>()?,
            init: self.init,
            labels: labels(&self.label),
            annotations: pairs("annotation", &self.annotation)?,
            add_hosts: self
                .add_host
                .iter()
                .map(|h| add_host(h))
                .collect::<Result<_>>()?,
            dns: Dns {
                servers: self.dns.clone(),
                search: self.dns_search.clone(),
                options: self.dns_option.clone(),
            },
            stop_signal: self.stop_signal.clone(),
            root_emulation: match self.root_emulation.as_str() {
                "on" => Some(true),
                "off" => Some(false),
                _ => None,
            },
            oom_score_adj: self.oom_score_adj,
            umask: self.umask.as_deref().map(parse_umask).transpose()?,
            ..RunOptions::default()
        };
        if let Some(signal) = &self.stop_signal {
            super::kill::parse_signal(signal)?;
        }
        for option in &self.security_opt {
            security(&mut run, option)?;
        }
        Ok(run)
    }

    fn devices(&self) -> Result<Vec<(PathBuf, PathBuf)>> {
        let mut devices = Vec::new();
        if self.privileged {
            devices.extend(host_devices().into_iter().map(|d| (d.clone(), d)));
        }
        for text in &self.device {
            let parts: Vec<&str> = text.split(':').collect();
            let (host, inside) = match parts.as_slice() {
                [host] => (*host, *host),
                // The third part is a cgroup rule, which users have none of:
                // the node's own mode decides.
                [host, inside] | [host, inside, _] => (*host, *inside),
                _ => bail!("device '{text}': HOST[:CONTAINER] is wanted"),
            };
            if !Path::new(host).exists() {
                bail!("device '{text}': there is no {host} on this host");
            }
            if text.contains(',') {
                bail!("device '{text}': a comma cannot be in the path");
            }
            devices.push((host.into(), inside.into()));
        }
        Ok(devices)
    }
}

/// `--read-only` leaves places that programs write to, in memory (podman's
/// `--read-only-tmpfs`).
fn add_writable(mounts: &mut Vec<MountOption>) {
    for path in ["/run", "/tmp", "/var/tmp"] {
        let taken = mounts.iter().any(|m| match m {
            MountOption::Bind { destination, .. } | MountOption::Tmpfs { destination, .. } => {
                destination == Path::new(path)
            }
        });
        if !taken {
            mounts.extend(options::parse_tmpfs(path));
        }
    }
}

fn sharing(flag: &str, text: &str) -> Result<Sharing> {
    match text {
        "private" | "shareable" | "" => Ok(Sharing::Private),
        "host" => Ok(Sharing::Host),
        other => bail!("--{flag} {other}: not supported yet; there are private and host"),
    }
}

fn time_offset(text: &str) -> Result<(String, i64)> {
    let fail = || format!("--time-offset {text}: CLOCK=SECONDS is wanted, as boottime=3600");
    let (clock, seconds) = text.split_once('=').with_context(fail)?;
    if clock != "monotonic" && clock != "boottime" {
        bail!("--time-offset {text}: there are the clocks monotonic and boottime");
    }
    Ok((clock.to_owned(), seconds.parse().ok().with_context(fail)?))
}

fn parse_umask(text: &str) -> Result<u32> {
    let mask = u32::from_str_radix(text, 8).ok().filter(|m| *m <= 0o777);
    mask.with_context(|| format!("umask '{text}': an octal number up to 777 is wanted"))
}

/// A program, or a JSON list of program and arguments.
fn parse_entrypoint(text: &str) -> Result<Vec<String>> {
    match text {
        "" => Ok(Vec::new()),
        list if list.starts_with('[') => {
            serde_json::from_str(list).with_context(|| format!("entrypoint {list}"))
        }
        program => Ok(vec![program.to_owned()]),
    }
}

fn pairs(flag: &str, list: &[String]) -> Result<BTreeMap<String, String>> {
    let pair = |text: &String| {
        let (key, value) = text
            .split_once('=')
            .with_context(|| format!("--{flag} {text}: NAME=VALUE is wanted"))?;
        Ok((key.to_owned(), value.to_owned()))
    };
    list.iter().map(pair).collect()
}

fn labels(list: &[String]) -> BTreeMap<String, String> {
    let label = |text: &String| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        (key.to_owned(), value.to_owned())
    };
    list.iter().map(label).collect()
}

fn add_host(text: &str) -> Result<(String, String)> {
    let parts = text.split_once([':', '=']);
    let (name, address) =
        parts.with_context(|| format!("--add-host {text}: NAME:ADDRESS is wanted"))?;
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<std::net::IpAddr>().is_err() {
        bail!("--add-host {text}: '{address}' is not an address");
    }
    Ok((name.to_owned(), bare.to_owned()))
}

/// Variables of files, then of flags; a name alone passes ours on.
pub fn environment(files: &[PathBuf], flags: &[String]) -> Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    let mut add = |text: &str| match text.split_once('=') {
        Some(("", _)) => bail!("variable '{text}' has no name"),
        Some((key, value)) => {
            all.push((key.to_owned(), value.to_owned()));
            Ok(())
        }
        None => {
            all.extend(
                std::env::var(text)
                    .ok()
                    .map(|value| (text.to_owned(), value)),
            );
            Ok(())
        }
    };
    for path in files {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("--env-file {}", path.display()))?;
        let lines = text.lines().map(str::trim_start);
        for line in lines.filter(|l| !l.is_empty() && !l.starts_with('#')) {
            add(line).with_context(|| format!("--env-file {}", path.display()))?;
        }
    }
    for flag in flags {
        add(flag)?;
    }
    Ok(all)
}

fn security(run: &mut RunOptions, option: &str) -> Result<()> {
    // Docker's old form has a colon.
    let (key, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
    match (key, value) {
        ("seccomp", "unconfined") => run.seccomp = SeccompOption::Unconfined,
        ("seccomp", "" | "builtin") => run.seccomp = SeccompOption::Default,
        ("seccomp", file) => run.seccomp = SeccompOption::File(file.into()),
        ("no-new-privileges", "" | "true") => run.no_new_privileges = true,
        ("no-new-privileges", "false") => run.no_new_privileges = false,
        ("unmask", "ALL" | "all") => run.unmask = Unmask::Everything,
        ("unmask", paths) => {
            run.unmask = Unmask::Paths(paths.split(':').map(PathBuf::from).collect());
        }
        ("systempaths", "unconfined") => run.unmask = Unmask::Everything,
        // There is nothing to switch off: no such label was ever set.
        ("label", "disable") | ("apparmor", "unconfined") => {}
        _ => bail!("--security-opt {option}: unknown or not supported yet"),
    }
    Ok(())
}

/// The device nodes of the host that a privileged container gets: all but
/// terminals and what every container has anyway.
fn host_devices() -> Vec<PathBuf> {
    use std::os::unix::fs::FileTypeExt;
    let mut devices = Vec::new();
    let mut directories = vec![PathBuf::from("/dev")];
    while let Some(dir) = directories.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let (path, Ok(kind)) = (entry.path(), entry.file_type()) else {
                continue;
            };
            let name = entry.file_name().to_string_lossy().into_owned();
            let own = ["pts", "shm", "mqueue", "fd", "ptmx", "console"];
            if own.contains(&name.as_str()) || name.starts_with("tty") || name.starts_with("vcs") {
                continue;
            }
            if kind.is_dir() {
                directories.push(path);
            } else if (kind.is_char_device() || kind.is_block_device())
                && !name.contains([',', ':'])
            {
                devices.push(path);
            }
        }
    }
    devices.sort();
    devices
}
