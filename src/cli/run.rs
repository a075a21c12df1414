//! `bryo run`, and the flags that it shares with `bryo create`.

use super::streams::{StreamName, wanted};
use super::{Context, error, limits, output, values};
use crate::engine::attach::End;
use crate::engine::containers::{Container, Containers, Lock};
use crate::engine::detach;
use crate::engine::health::{HealthOptions, OnFailure};
use crate::engine::keeping::Keeping;
use crate::engine::launch::{self, Launch};
use crate::engine::log::{Driver, LogConfig};
use crate::engine::options::{
    self, CapabilityChanges, Dns, EmulationOption, RunOptions, SeccompOption, Sharing, Unmask,
};
use crate::engine::publish;
use crate::engine::request::mounts::{self, ImageVolumes, MountOption};
use crate::engine::request::network::{self, Network};
use crate::engine::request::restart::Restart;
use crate::engine::request::user::Groups;
use crate::engine::request::userns::UserNs;
use crate::engine::request::{names, size};
use crate::engine::run::{Subject, create as create_container};
use crate::engine::share::Share;
use crate::engine::systemd::SystemdMode;
use crate::image::platform::Platform;
use crate::image::registry::pull::{self, Policy};
use crate::image::store::Store;
use anyhow::{Context as _, Result, bail};
use oci_spec::runtime::Spec;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Create and run a container from an image
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct RunArgs {
    #[command(flatten)]
    container: Args,

    /// Leave the container running and print its id
    #[arg(short, long)]
    detach: bool,
    /// Keys that leave a container with a terminal
    #[arg(long, value_name = "KEYS", default_value = detach::DEFAULT)]
    detach_keys: String,
    /// Pass signals on
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_value = "true", default_missing_value = "true", action = clap::ArgAction::Set)]
    sig_proxy: bool,
    /// Stay attached to these alone: stdin, stdout, stderr
    #[arg(short, long, value_name = "STREAM", conflicts_with = "detach")]
    attach: Vec<StreamName>,
}

/// What a container is made of: the flags that `run` and `create` share
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Args {
    /// Image of the store, `hello`, `host`, or docker-archive:FILE,
    /// oci-archive:FILE, oci:DIR[:TAG], tar:FILE, dir:DIR; behind it, command
    /// and arguments
    // One argument: no flag behind the image is ours, whatever it looks like.
    #[arg(
        id = "image",
        value_name = "IMAGE [COMMAND]",
        required = true,
        trailing_var_arg = true
    )]
    image_and_command: Vec<String>,

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

    /// What `bryo run host` shows of the user's that it hides: all, env, home,
    /// run, sockets, ssh, store, ... (docs/host.md)
    #[arg(long, value_name = "WORD,...")]
    share: Vec<String>,
    /// Mount a volume, by its name or a new one, or a file or directory of the
    /// host
    #[arg(short, long, value_name = "[NAME|HOST:]CONTAINER[:OPTIONS]")]
    volume: Vec<String>,
    /// Mount what another container has mounted
    #[arg(long, value_name = "CONTAINER[:ro]")]
    volumes_from: Vec<String>,
    /// What the directories get that an image calls volumes
    #[arg(long, value_enum, default_value_t, value_name = "KIND")]
    image_volume: ImageVolumes,
    /// Mount something, as type=bind|volume|tmpfs|image,source=…,target=…
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
    #[arg(long, value_name = "-1000..1000", allow_hyphen_values = true,
          value_parser = clap::value_parser!(i32).range(-1000..=1000))]
    oom_score_adj: Option<i32>,

    #[command(flatten)]
    limits: limits::Limits,
    #[command(flatten)]
    place: limits::Place,
    /// Prepare the container for systemd as its first process: auto (by the
    /// command's name), always or false
    #[arg(long, value_name = "MODE", default_value = "auto", value_parser = ["auto", "always", "true", "false"])]
    systemd: String,

    /// Network: user[:OPTIONS], none, host, container:NAME, ns:PATH, or the
    /// name of one
    ///
    /// user, the default where it works: an interface of its own, served by a
    /// process of bryo's through ordinary sockets. Its options, separated by
    /// commas: mtu=BYTES, cidr=NETWORK, ipv6=off, outbound-addr=ADDRESS,
    /// dns=ADDRESS, host-loopback (the host's loopback is at the gateway's
    /// address), block-host (not the host's own addresses),
    /// allow=CIDR[:PORT] (these alone).
    ///
    /// container: that of another container, ns: a network namespace of
    /// yours, by a file that stands for it.
    #[arg(
        long,
        visible_alias = "net",
        value_name = "MODE|NAME",
        default_value = "default",
        hide_default_value = true
    )]
    network: Vec<String>,
    /// Publish a port, or a range of ports
    #[arg(short, long, value_name = "[[ADDRESS:][HOST]:]CONTAINER[/PROTOCOL]")]
    publish: Vec<String>,
    /// Publish all ports that the image or --expose names, at free ports
    #[arg(short = 'P', long)]
    publish_all: bool,
    /// Name a port for -P
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    expose: Vec<String>,
    /// A further name of the container on its networks
    #[arg(long, visible_alias = "net-alias", value_name = "NAME")]
    network_alias: Vec<String>,
    /// The address that it wants on its network
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<String>,
    /// The IPv6 address that it wants on its network
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<String>,
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
    /// Ids: auto, host, single, range, keep-id[:uid=N,gid=N] or nomap
    ///
    /// single: one id, yours; root in the container is you. range: your
    /// subordinate ids too. auto, host: a range where you have one, else
    /// single. keep-id: you are yourself in the container, or the ids given.
    /// nomap: a range without you.
    #[arg(long, value_name = "MODE", default_value = "auto")]
    userns: String,
    /// Map user ids: ids of the container to those of your range, of which 0
    /// is you
    #[arg(
        long,
        value_name = "CONTAINER:RANGE[:COUNT]",
        conflicts_with = "userns"
    )]
    uidmap: Vec<String>,
    /// Map group ids
    #[arg(
        long,
        value_name = "CONTAINER:RANGE[:COUNT]",
        conflicts_with = "userns"
    )]
    gidmap: Vec<String>,
    /// Add a supplementary group, or keep-groups to stay in yours
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,

    /// Answer what root alone may do (chown, set*id, mknod) as if it had
    /// succeeded, and record it: auto, on or off; full says what was recorded
    /// to who asks as well
    #[arg(long, value_name = "MODE", default_value = "auto", value_parser = ["auto", "on", "off", "full"])]
    root_emulation: String,

    /// Shift the container's clock `monotonic` or `boottime`
    #[arg(long, value_name = "CLOCK=SECONDS")]
    time_offset: Vec<String>,

    /// Add names to /etc/hosts; the address host-gateway is the host's as the
    /// container can reach it
    #[arg(long, value_name = "NAME[;NAME…]:ADDRESS")]
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
    /// Seconds between that signal and the end
    #[arg(long, value_name = "SECONDS")]
    stop_timeout: Option<u32>,
    /// When to start it again: no, on-failure[:TIMES], always,
    /// unless-stopped
    #[arg(long, value_name = "POLICY", default_value = "no")]
    restart: Restart,
    /// What keeps its output: json-file, k8s-file, journald, none
    #[arg(long, value_name = "DRIVER")]
    log_driver: Option<String>,
    /// An option of the log driver, as max-size=10m
    #[arg(long, value_name = "NAME=VALUE")]
    log_opt: Vec<String>,
    /// Check its health by this command
    #[arg(long, value_name = "COMMAND")]
    health_cmd: Option<String>,
    /// Time between two checks
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    health_interval: Option<String>,
    /// Time that a check may take
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    health_timeout: Option<String>,
    /// Time in which failures do not count
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    health_start_period: Option<String>,
    /// Time between two checks in that time, until one is passed
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    health_start_interval: Option<String>,
    /// Failures in a row that make it unhealthy
    #[arg(long, value_name = "NUMBER")]
    health_retries: Option<u32>,
    /// What to do when it is unhealthy
    #[arg(long, value_enum, default_value_t)]
    health_on_failure: OnFailure,
    /// Leave out the image's health check
    #[arg(long)]
    no_healthcheck: bool,
    /// Write the container's id to a new file
    #[arg(long, value_name = "FILE")]
    cidfile: Option<PathBuf>,
    /// Write the first process's id to a file
    #[arg(long, value_name = "FILE")]
    pidfile: Option<PathBuf>,
    /// Run the image of this platform
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,

    /// When to ask a registry for the image: missing (in the store), always,
    /// newer (if the registry can be asked) or never
    #[arg(long, value_name = "WHEN", default_value = "missing", value_parser = super::pull::policy)]
    pull: Policy,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    registry: super::registry::Flags,

    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

/// Runs the container; in the foreground its exit code is ours.
pub fn run(args: &RunArgs, context: &Context) -> Result<i32> {
    let mut options = args.container.options()?;
    let detach_keys = detach::parse(&args.detach_keys)?;
    let wanted = wanted(&args.attach);
    options.keeping.input_once = options.interactive && !args.detach;
    if !args.detach && options.auto_remove && args.container.log_driver.is_none() {
        // It would go with the container.
        options.keeping.log.driver = Driver::None;
    }
    if !args.detach && options.tty && options.interactive && wanted.input {
        launch::terminal_settings()?;
    }
    let store = context.store()?;
    let (container, lock, spec) = args.container.create(&store, &options)?;
    let id = container.record.id.clone();
    let how = Launch {
        attach: (!args.detach).then_some(wanted),
        foreground: !args.detach,
        detach_keys,
        keep_signals: !args.sig_proxy,
        inherited: context.inherited.clone(),
        sockets: context.sockets.clone(),
    };
    let containers = Containers::open(&store);
    match launch::launch(&containers, container, lock, spec, &how, &error::warn)? {
        End::Exited(code) => Ok(code),
        End::Left => {
            if args.detach {
                output::line(id)?;
            }
            Ok(0)
        }
    }
}

impl Args {
    /// Creates the container that these flags describe.
    pub fn create(&self, store: &Store, options: &RunOptions) -> Result<(Container, Lock, Spec)> {
        let image = &self.image_and_command[0];
        let mut subject = match self.rootfs {
            true => Subject::Rootfs(PathBuf::from(image)),
            false => Subject::Image(image.clone()),
        };
        let progress = super::progress::new(self.quiet);
        let platform = self.platform.as_ref();
        if let Subject::Image(name) = &subject {
            let wanted = pull::Wanted {
                platform,
                ..pull::Wanted::default()
            };
            let (flags, when) = (&self.registry, self.pull);
            let found = super::pull::before_run(store, flags, name, wanted, when, self.quiet)?;
            if &found != name && store.find(name)?.is_none() {
                subject = Subject::Image(found);
            }
        }
        // Before anything is made: it must be new.
        let cidfile = match &self.cidfile {
            Some(path) => {
                let file = std::fs::File::create_new(path);
                let what = || format!("--cidfile {}", path.display());
                Some((path, file.with_context(what)?))
            }
            None => None,
        };
        let created =
            create_container(store, &subject, options, platform, &*progress, &error::warn);
        let Some((path, mut file)) = cidfile else {
            return created;
        };
        let written = created.and_then(|(container, lock, spec)| {
            match file.write_all(container.record.id.as_bytes()) {
                Ok(()) => Ok((container, lock, spec)),
                Err(error) => {
                    let containers = Containers::open(store);
                    containers.release_volumes(&container)?;
                    containers.remove(&container, &lock)?;
                    Err(error).with_context(|| format!("write {}", path.display()))
                }
            }
        });
        written.inspect_err(|_| {
            let _ = std::fs::remove_file(path);
        })
    }

    /// How it is looked after, and its network.
    fn keeping(&self) -> Result<(Keeping, Network)> {
        if self.rm && self.restart != Restart::No {
            bail!("--rm removes the container when it ends: leave out --restart");
        }
        let absolute = |path: &Option<PathBuf>| path.as_ref().map(std::path::absolute).transpose();
        let (aliases, addresses) = (&self.network_alias, [&self.ip, &self.ip6]);
        let (network, networks) = network::read(&self.network, aliases, addresses)?;
        let dns = match networks.is_empty() {
            true => Vec::new(),
            false => super::network::servers(&self.dns)?,
        };
        let keeping = Keeping {
            restart: self.restart,
            stop_timeout: self.stop_timeout,
            log: LogConfig::parse(self.log_driver.as_deref(), &self.log_opt)?,
            cidfile: absolute(&self.cidfile)?,
            pidfile: absolute(&self.pidfile)?,
            networks,
            dns,
            ..Keeping::default()
        };
        Ok((keeping, network))
    }

    /// The options that these flags stand for.
    pub fn options(&self) -> Result<RunOptions> {
        if let Some(name) = &self.name {
            names::container(name)?;
        }
        let hostname = self.hostname.as_deref().unwrap_or_default();
        if hostname.len() > 64 {
            bail!("-h {hostname}: a host name has 64 bytes at most");
        }
        let groups = Groups::read(&self.group_add)?;
        let (keeping, network) = self.keeping()?;
        let mut asked = Vec::new();
        for text in &self.volume {
            asked.push(mounts::parse_volume(text)?);
        }
        for text in &self.mount {
            asked.push(mounts::parse_mount(text)?);
        }
        for text in &self.tmpfs {
            asked.push(mounts::parse_tmpfs(text)?);
        }
        if self.read_only {
            add_writable(&mut asked);
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
            command: self.image_and_command[1..].to_vec(),
            entrypoint: self
                .entrypoint
                .as_deref()
                .map(values::parse_entrypoint)
                .transpose()?,
            env: super::environment::read(&self.env_file, &self.env)?,
            workdir: self.workdir.clone(),
            user: self.user.as_deref().map(str::parse).transpose()?,
            hostname: self.hostname.clone(),
            domainname: self.domainname.clone(),
            mounts: asked,
            volumes_from: self
                .volumes_from
                .iter()
                .map(|text| mounts::parse_volumes_from(text))
                .collect::<Result<_>>()?,
            image_volumes: self.image_volume,
            read_only: self.read_only,
            capabilities: CapabilityChanges {
                add: capabilities(&self.cap_add)?,
                drop: capabilities(&self.cap_drop)?,
            },
            privileged: self.privileged,
            devices: self.devices()?,
            ulimits: self
                .ulimit
                .iter()
                .map(|u| options::parse_ulimit(u))
                .collect::<Result<_>>()?,
            sysctls: pairs("sysctl", &self.sysctl)?,
            shm_size: size::bytes(&self.shm_size)?,
            network,
            ports: publish::parse_all(&self.publish)?,
            publish_all: self.publish_all,
            exposed: self
                .expose
                .iter()
                .map(|e| publish::exposed(e))
                .collect::<Result<Vec<_>>>()?
                .concat(),
            pid: sharing("pid", &self.pid)?,
            ipc: sharing("ipc", &self.ipc)?,
            uts: sharing("uts", &self.uts)?,
            cgroup: sharing("cgroupns", &self.cgroupns)?,
            time_offsets: self
                .time_offset
                .iter()
                .map(|t| values::time_offset(t))
                .collect::<Result<_>>()?,
            init: self.init,
            labels: values::labels(&self.label),
            annotations: pairs("annotation", &self.annotation)?,
            add_hosts: self
                .add_host
                .iter()
                .map(|h| values::add_host(h))
                .collect::<Result<Vec<_>>>()?
                .concat(),
            dns: Dns {
                servers: self.dns.clone(),
                search: self.dns_search.clone(),
                options: self.dns_option.clone(),
            },
            stop_signal: self.stop_signal.as_deref().map(str::parse).transpose()?,
            userns: UserNs::parse(&self.userns, &self.uidmap, &self.gidmap)?,
            groups,
            root_emulation: match self.root_emulation.as_str() {
                "on" => EmulationOption::On,
                "off" => EmulationOption::Off,
                "full" => EmulationOption::Full,
                _ => EmulationOption::Auto,
            },
            oom_score_adj: self.oom_score_adj,
            share: Share::parse(&self.share)?,
            umask: self.umask.as_deref().map(values::parse_umask).transpose()?,
            limits: limits::options(&self.limits, &self.place)?,
            systemd: match self.systemd.as_str() {
                "always" => SystemdMode::Always,
                "false" => SystemdMode::Never,
                _ => SystemdMode::Auto,
            },
            keeping,
            health: HealthOptions {
                off: self.no_healthcheck,
                command: self.health_cmd.clone(),
                interval: self.health_interval.clone(),
                timeout: self.health_timeout.clone(),
                start_period: self.health_start_period.clone(),
                start_interval: self.health_start_interval.clone(),
                retries: self.health_retries,
                on_failure: self.health_on_failure,
            },
            ..RunOptions::default()
        };
        for option in &self.security_opt {
            security(&mut run, option)?;
        }
        Ok(run)
    }

    fn devices(&self) -> Result<Vec<(PathBuf, PathBuf)>> {
        let mut devices = Vec::new();
        if self.privileged {
            devices.extend(
                super::devices::host_devices()
                    .into_iter()
                    .map(|d| (d.clone(), d)),
            );
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
fn add_writable(asked: &mut Vec<MountOption>) {
    for path in ["/run", "/tmp", "/var/tmp"] {
        let taken = asked.iter().any(|m| m.destination() == Path::new(path));
        if !taken {
            asked.push(MountOption::tmpfs(Path::new(path)));
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

fn pairs(flag: &str, list: &[String]) -> Result<BTreeMap<String, String>> {
    let pair = |text: &String| {
        let (key, value) = text
            .split_once('=')
            .with_context(|| format!("--{flag} {text}: NAME=VALUE is wanted"))?;
        Ok((key.to_owned(), value.to_owned()))
    };
    list.iter().map(pair).collect()
}

/// The value of a `--security-opt` that is on or off, in the words that docker
/// takes; without one it is on.
fn switch(option: &str, value: &str) -> Result<bool> {
    match value {
        "" | "1" | "t" | "T" | "true" | "True" | "TRUE" => Ok(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Ok(false),
        _ => bail!("--security-opt {option}: true or false is wanted, not '{value}'"),
    }
}

fn security(run: &mut RunOptions, option: &str) -> Result<()> {
    // Docker's old form has a colon.
    let (key, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
    match (key, value) {
        ("seccomp", "unconfined") => run.seccomp = SeccompOption::Unconfined,
        ("seccomp", "" | "builtin") => run.seccomp = SeccompOption::Default,
        ("seccomp", file) => run.seccomp = SeccompOption::File(file.into()),
        ("no-new-privileges", value) => run.no_new_privileges = Some(switch(option, value)?),
        ("unmask", "ALL" | "all") => run.unmask = Unmask::Everything,
        ("unmask", paths) => {
            run.unmask = Unmask::Paths(paths.split(':').map(PathBuf::from).collect());
        }
        ("writable-cgroups", value) => run.writable_cgroups = switch(option, value)?,
        ("systempaths", "unconfined") => run.unmask = Unmask::Everything,
        // There is nothing to switch off: no such label was ever set.
        ("label", "disable") | ("apparmor", "unconfined") => {}
        _ => bail!("--security-opt {option}: unknown or not supported yet"),
    }
    Ok(())
}
