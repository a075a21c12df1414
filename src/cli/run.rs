//! `bryo run`, and the flags that it shares with `bryo create`.

use super::Context;
use super::error;
use super::limits;
use super::output;
use super::streams::{StreamName, input_is_a_terminal, wanted, window_size};
use crate::engine::container::containers::{Container, Containers, Lock};
use crate::engine::container::keeping::Keeping;
use crate::engine::create::options::RunOptions;
use crate::engine::ground::caller::Caller;
use crate::engine::host::share::Share;
use crate::engine::log::{self, Driver, LogConfig};
use crate::engine::operate::launch::Launch;
use crate::engine::operate::lifecycle;
use crate::engine::operate::run::Subject;
use crate::engine::operate::run::create as create_container;
use crate::engine::request::capabilities::{self, CapabilityChanges};
use crate::engine::request::detach_keys;
use crate::engine::request::dns::Dns;
use crate::engine::request::emulation::EmulationOption;
use crate::engine::request::health::{self, HealthOptions, OnFailure};
use crate::engine::request::mounts::{self, ImageVolumes, MountOption};
use crate::engine::request::namespaces::Sharing;
use crate::engine::request::network::{self, Network};
use crate::engine::request::restart::Restart;
use crate::engine::request::security::Security;
use crate::engine::request::systemd::SystemdMode;
use crate::engine::request::time_zone::TimeZone;
use crate::engine::request::user::Groups;
use crate::engine::request::userns::UserNs;
use crate::engine::request::{
    device, environment, hosts, names, pairs, process, publish, pull as pull_option, size, ulimit,
};
use crate::engine::supervise::attach::End;
use crate::error::{Kind, OrKind, refuse};
use crate::image::registry::pull::{self, Policy};
use crate::image::store::Store;
use anyhow::{Context as _, Result};
use oci_spec::runtime::Spec;
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
    #[arg(long, value_name = "KEYS", default_value = detach_keys::DEFAULT)]
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
    /// Remove another container of that name first
    #[arg(long, requires = "name")]
    replace: bool,
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

    #[command(flatten)]
    variables: super::variables::Variables,
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
    /// Hand over a secret (bryo secret): a file in /run/secrets, or a variable
    #[arg(long, value_name = "NAME[,type=mount|env][,target=…]")]
    secret: Vec<String>,
    /// Make the root file system read-only
    #[arg(long)]
    read_only: bool,
    /// With --read-only, have /run, /tmp and /var/tmp in memory
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_value = "true", default_missing_value = "true", action = clap::ArgAction::Set)]
    read_only_tmpfs: bool,
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
    place: limits::GroupFlags,
    /// Prepare the container for systemd as its first process: auto (by the
    /// command's name), always or false
    #[arg(long, value_name = "MODE", default_value = "auto",
        value_parser = super::words(SystemdMode::WORDS, SystemdMode::of))]
    systemd: SystemdMode,

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
    /// The hardware address that it wants on its network
    #[arg(long, value_name = "ADDRESS")]
    mac_address: Option<String>,
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
    #[arg(long, value_name = "MODE", default_value = "auto",
        value_parser = super::words(EmulationOption::WORDS, EmulationOption::of))]
    root_emulation: EmulationOption,

    /// Shift the container's clock `monotonic` or `boottime`
    #[arg(long, value_name = "CLOCK=SECONDS")]
    time_offset: Vec<String>,

    /// Add names to /etc/hosts; the address host-gateway is the host's as the
    /// container can reach it
    #[arg(long, value_name = "NAME[;NAME…]:ADDRESS")]
    add_host: Vec<String>,
    /// Leave the image's /etc/hosts as it is
    #[arg(long, conflicts_with = "add_host")]
    no_hosts: bool,
    /// Leave the image's /etc/hostname as it is
    #[arg(long)]
    no_hostname: bool,
    /// Time zone, as Europe/Berlin, or local for the machine's
    #[arg(long, value_name = "ZONE")]
    tz: Option<String>,
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
    /// Read labels from a file
    #[arg(long, value_name = "FILE")]
    label_file: Vec<PathBuf>,
    /// Add an annotation to the OCI spec
    #[arg(long, value_name = "NAME=VALUE")]
    annotation: Vec<String>,
    /// Signal that asks the container to stop
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// Seconds between that signal and the end
    #[arg(long, value_name = "SECONDS")]
    stop_timeout: Option<u32>,
    /// Seconds after which it is killed
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    timeout: Option<u32>,
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
    #[command(flatten)]
    platform: super::platform::Flags,

    /// When to ask a registry for the image: missing (in the store), always,
    /// newer (if the registry can be asked) or never
    #[arg(long, value_name = "WHEN", default_value = "missing", value_parser = pull_option::policy)]
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
    let detach_keys = detach_keys::parse(&args.detach_keys)?;
    let wanted = wanted(&args.attach);
    options.keeping.input_once = options.interactive && !args.detach;
    if !args.detach && options.auto_remove && args.container.log_driver.is_none() {
        // It would go with the container.
        options.keeping.log.driver = Driver::None;
    }
    if !args.detach && options.tty && options.interactive && wanted.input {
        input_is_a_terminal()?;
    }
    let store = context.store()?;
    let created = args.container.create(&store, &options)?;
    let id = created.0.record.id.clone();
    let how = Launch {
        attach: (!args.detach).then_some(wanted),
        foreground: !args.detach,
        detach_keys,
        keep_signals: !args.sig_proxy,
        inherited: context.inherited.clone(),
        sockets: context.sockets.clone(),
    };
    let containers = Containers::open(&store);
    let caller = Caller::command()?;
    match lifecycle::start_new(&containers, created, &how, caller, &error::warn)? {
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
        let platform = self.platform.wanted()?;
        let platform = platform.as_ref();
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
        if let (true, Some(name)) = (self.replace, &self.name) {
            super::rm::replaced(name, store)?;
        }
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
    fn keeping(&self, dns: &Dns) -> Result<(Keeping, Network)> {
        if self.rm && self.restart != Restart::No {
            refuse!(
                Invalid,
                "--rm removes the container when it ends: leave out --restart"
            );
        }
        let absolute = |path: &Option<PathBuf>| path.as_ref().map(std::path::absolute).transpose();
        let (aliases, addresses) = (&self.network_alias, [&self.ip, &self.ip6]);
        let mac = self.mac_address.as_deref();
        let (network, networks) = network::read(&self.network, aliases, addresses, mac)?;
        if let Some(peer) = self.network.iter().find_map(|text| network::foreign(text)) {
            error::warn(&format!(
                "--network {peer}: bryo's own user-mode network, the default, is in its place"
            ));
        }
        let of_networks = match networks.is_empty() {
            true => Vec::new(),
            false => dns.addresses()?,
        };
        let log = LogConfig::read(self.log_driver.as_deref(), &self.log_opt)?;
        log::check(log.driver)?;
        let keeping = Keeping {
            restart: self.restart,
            stop_timeout: self.stop_timeout,
            timeout: self.timeout,
            log,
            cidfile: absolute(&self.cidfile)?,
            pidfile: absolute(&self.pidfile)?,
            networks,
            dns: of_networks,
            ..Keeping::default()
        };
        Ok((keeping, network))
    }

    /// Files in `/etc` that the image's stay.
    fn without_etc(&self) -> Vec<&'static str> {
        let all = [("hosts", self.no_hosts), ("hostname", self.no_hostname)];
        let without = all.into_iter().filter(|(_, without)| *without);
        without.map(|(name, _)| name).collect()
    }

    /// The options that these flags stand for.
    ///
    /// # Errors
    /// Of [`Kind::Invalid`], unless it is a file that cannot be read.
    pub fn options(&self) -> Result<RunOptions> {
        self.read().or_kind(Kind::Invalid)
    }

    fn read(&self) -> Result<RunOptions> {
        one(&self.name, names::container)?;
        one(&self.hostname, names::hostname)?;
        let groups = Groups::read(&self.group_add)?;
        let dns = Dns::read(&self.dns, &self.dns_search, &self.dns_option);
        let (keeping, network) = self.keeping(&dns)?;
        let security = Security::read(&self.security_opt)?;
        let mut asked = Vec::new();
        asked.extend(all(&self.volume, mounts::parse_volume)?);
        asked.extend(all(&self.mount, mounts::parse_mount)?);
        asked.extend(all(&self.tmpfs, mounts::parse_tmpfs)?);
        if self.read_only && self.read_only_tmpfs {
            add_writable(&mut asked);
        }
        Ok(RunOptions {
            name: self.name.clone(),
            auto_remove: self.rm,
            interactive: self.interactive,
            tty: self.tty,
            window_size: self.tty.then(window_size).flatten(),
            command: self.image_and_command[1..].to_vec(),
            entrypoint: one(&self.entrypoint, process::entrypoint)?,
            env: self.variables.list()?,
            env_merge: self.variables.merged()?,
            unset_env: self.variables.none_of_image(),
            time_zone: one(&self.tz, TimeZone::read)?,
            without_etc: self.without_etc(),
            workdir: self.workdir.clone(),
            user: one(&self.user, str::parse)?,
            hostname: self.hostname.clone(),
            domainname: self.domainname.clone(),
            mounts: asked,
            volumes_from: all(&self.volumes_from, mounts::parse_volumes_from)?,
            image_volumes: self.image_volume,
            secrets: all(&self.secret, str::parse)?,
            read_only: self.read_only,
            capabilities: CapabilityChanges {
                add: all(&self.cap_add, capabilities::parse)?,
                drop: all(&self.cap_drop, capabilities::parse)?,
            },
            privileged: self.privileged,
            devices: all(&self.device, device::parse)?,
            ulimits: all(&self.ulimit, ulimit::parse)?,
            sysctls: pairs::pairs("sysctl", &self.sysctl)?,
            shm_size: Some(size::bytes(&self.shm_size).context("--shm-size")?),
            network,
            ports: publish::parse_all(&self.publish)?,
            publish_all: self.publish_all,
            exposed: all(&self.expose, publish::exposed)?.concat(),
            pid: Sharing::read("pid", &self.pid)?,
            ipc: Sharing::read("ipc", &self.ipc)?,
            uts: Sharing::read("uts", &self.uts)?,
            cgroup: Sharing::read("cgroupns", &self.cgroupns)?,
            time_offsets: all(&self.time_offset, process::time_offset)?,
            init: self.init,
            labels: {
                let mut all = environment::label_files(&self.label_file)?;
                all.extend(self.label.iter().cloned());
                pairs::labels(&all)
            },
            annotations: pairs::pairs("annotation", &self.annotation)?,
            add_hosts: all(&self.add_host, hosts::add_host)?.concat(),
            dns,
            stop_signal: one(&self.stop_signal, str::parse)?,
            userns: UserNs::parse(&self.userns, &self.uidmap, &self.gidmap)?,
            groups,
            root_emulation: self.root_emulation,
            oom_score_adj: self.oom_score_adj,
            share: Share::parse(&self.share)?,
            umask: one(&self.umask, process::umask)?,
            limits: limits::options(&self.limits, &self.place)?,
            systemd: self.systemd,
            keeping,
            health: HealthOptions {
                off: self.no_healthcheck,
                command: one(&self.health_cmd, str::parse)?,
                interval: one(&self.health_interval, |text| health::time("interval", text))?,
                timeout: one(&self.health_timeout, |text| health::time("timeout", text))?,
                start_period: one(&self.health_start_period, |text| {
                    health::time("start-period", text)
                })?,
                start_interval: one(&self.health_start_interval, |text| {
                    health::time("start-interval", text)
                })?,
                retries: self.health_retries,
                on_failure: self.health_on_failure,
            },
            said: std::env::args_os()
                .map(|word| word.to_string_lossy().into_owned())
                .collect(),
            seccomp: security.seccomp,
            no_new_privileges: security.no_new_privileges,
            unmask: security.unmask,
            writable_cgroups: security.writable_cgroups,
        })
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

/// Reads the value of a flag, if it was given.
fn one<T>(text: &Option<String>, read: impl Fn(&str) -> Result<T>) -> Result<Option<T>> {
    text.as_deref().map(read).transpose()
}

/// Reads all values of a flag.
fn all<T>(texts: &[String], read: impl Fn(&str) -> Result<T>) -> Result<Vec<T>> {
    texts.iter().map(|text| read(text)).collect()
}
