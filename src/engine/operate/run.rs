//! `create`: a container from options and an image.

use crate::engine::container::asked::Asked;
use crate::engine::container::containers::{Container, Containers, Creation, Lock};
use crate::engine::container::events::{self, Action};
use crate::engine::container::keeping::Keeping;
use crate::engine::container::record::Record;
use crate::engine::container::secrets::Secrets;
use crate::engine::create::mounting::{self, Site};
use crate::engine::create::options::RunOptions;
use crate::engine::create::root::{self, Resolved, Root};
use crate::engine::create::secrets::Found;
use crate::engine::create::spec::{self, Facts};
use crate::engine::create::{etc, mountpoints, sharing, systemd};
use crate::engine::ground::{names, user};
use crate::engine::ids::userns::Mapping;
use crate::engine::network::{Networks, usernet};
use crate::engine::request::capabilities::{self, name as capability_name};
use crate::engine::request::dns::Words;
use crate::engine::request::hosts::{HostAddress, HostEntry};
use crate::engine::request::network::Network;
use crate::engine::request::publish::{self, Port};
use crate::engine::request::security::SeccompOption;
use crate::engine::request::signal::StopSignal;
use crate::engine::request::user::{Groups, UserOption};
use crate::error::refuse;
use crate::image::copy::copy_root;
use crate::image::platform::Platform;
use crate::image::progress::Progress;
use crate::image::store::{LayerInfo, Store};
use crate::image::view;
use crate::runtime::process::resource;
use crate::runtime::seccomp;
use crate::sys::fs::{make_public, write_public};
use crate::sys::machine;
use anyhow::{Context, Result};
use jiff::Timestamp;
use nix::sys::resource::getrlimit;
use nix::unistd::{getegid, geteuid};
use oci_spec::runtime::{Capabilities, Capability, LinuxSeccomp, Spec};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

/// What to run.
#[derive(Debug, Clone)]
pub enum Subject {
    /// An image by name, or an archive or directory as `tar:PATH`.
    Image(String),
    /// `--rootfs`: a directory, changed in place.
    Rootfs(PathBuf),
    /// Layers of a build, the bottom one first, which are no image.
    Layers(Vec<LayerInfo>),
}

/// Creates a container. Nothing is left of it if that fails.
///
/// # Errors
/// Whatever keeps the container from being created.
pub fn create(
    store: &Store,
    subject: &Subject,
    options: &RunOptions,
    platform: Option<&Platform>,
    progress: &dyn Progress,
    warn: &dyn Fn(&str),
) -> Result<(Container, Lock, Spec)> {
    let networks = Networks::open(store.root());
    for attachment in &options.keeping.networks {
        networks.find(&attachment.network)?;
    }
    let mut options = options.clone();
    options.network = usernet::settle(options.network, warn)?;
    let other = sharing::of(&Containers::open(store), &mut options)?;
    let wants_ports = options.publish_all || !options.ports.is_empty();
    match &options.network {
        Network::User(_) | Network::Named => {}
        Network::None if wants_ports => {
            refuse!(Invalid, "-p: there is no network; leave out --network none")
        }
        Network::Container(_) | Network::Namespace(_) if wants_ports => {
            refuse!(
                Invalid,
                "-p: ports are published by who makes the network; here it is shared"
            )
        }
        _ if wants_ports => warn("-p: the network is the host's, its ports are as they are"),
        _ => {}
    }
    let options = &options;
    check_ulimits(options)?;
    let added_hosts = added_hosts(options, &networks)?;
    let mapping = Mapping::decide(&options.userns, options.root_emulation, store, warn)?;
    let store = &store.clone().with_flavour(mapping.flavour());
    // What is found must not be removed before the record says it is in use.
    let _in_use = store.lock_shared()?;
    let mut resolved = match subject {
        Subject::Image(name) => {
            root::resolve(store, name, platform, &mapping, &options.share, progress)?
        }
        Subject::Rootfs(path) => root::direct(path)?,
        Subject::Layers(layers) => root::of_layers(store, layers, &mapping, progress)?,
    };
    if !options.share.is_empty() && resolved.root.parts.is_none() {
        refuse!(
            Invalid,
            "--share is for the image host: -v shows an image's container what it names"
        );
    }
    resolved.root.volatile = options.auto_remove;
    let id = names::new_id()?;
    let containers = Containers::open(store);
    let wanted = mounting::wanted(&containers, options, &resolved)?;
    let handed = Found::look_up(&Secrets::open(store), &options.secrets)?;
    let mut creation = containers.create(&id)?;
    let facts = facts(&id, &containers, &creation, &resolved, options, &mapping)?;
    let site = Site {
        store,
        id: &id,
        image: &resolved,
        mapping: &mapping,
        user: &facts.user,
        progress,
    };
    let mut prepared = mounting::prepare(&site, wanted)?;
    let mut asked = std::mem::take(&mut prepared.mounts);
    for mount in handed.mounts(creation.directory())? {
        let place = mount.destination();
        if asked.iter().any(|other| other.destination() == place) {
            refuse!(Invalid, "--secret: two mounts on {}", place.display());
        }
        asked.push(mount);
    }
    let spec = spec::build(options, &resolved.root, &resolved.defaults, &facts, asked)?;
    if let Some(other) = &other {
        sharing::check(&spec, other)?;
    }
    let mut record = record(id, subject, &resolved, options, &spec)?;
    record.mounts.clone_from(&prepared.mounted);
    record.asked.secrets = handed.told();
    let image = resolved.image.as_ref();
    let image = image.filter(|_| !options.health.off || options.publish_all);
    let image = image.map(|image| store.config_json(image)).transpose()?;
    let image = image.as_ref().map(|config| &config["config"]);
    record.ports = ports(options, image)?;
    for port in &mut record.ports {
        // Who comes by IPv6 would find nobody.
        if matches!(options.network, Network::Named) && !has_ipv6(options, &networks) {
            port.address.get_or_insert(Ipv4Addr::UNSPECIFIED.into());
        }
    }
    let check = image.and_then(|config| config.get("Healthcheck"));
    record.keeping.health = options.health.check(check)?;
    record.keeping.no_health = options.health.off;
    let mut named = creation.name(&containers, &record);
    for _ in 0..16 {
        if named.is_ok() || options.name.is_some() {
            break;
        }
        // Taken, and nobody asked for this one.
        record.name = names::generate()?;
        named = creation.name(&containers, &record);
    }
    named?;
    write_files(&creation, options, &added_hosts, &spec)?;
    if let Some(parts) = &resolved.root.parts {
        parts.make(creation.staging())?;
    }
    give_to_root(&creation, &mapping)?;
    handed.write(creation.staging(), &mapping)?;
    resemble_root(&creation, &resolved.root, &mapping)?;
    crate::engine::ground::json::write_json(&creation.staging().join("config.json"), &spec)?;
    let (container, lock) = creation.complete(record)?;
    prepared.publish()?;
    events::emit(&containers, Action::Create, &container, &[]);
    Ok((container, lock, spec))
}

/// Sees to it that no hard limit is to be raised, which takes a privilege
/// (setrlimit(2)) that nobody has in a user namespace.
fn check_ulimits(options: &RunOptions) -> Result<()> {
    for (kind, soft, hard) in &options.ulimits {
        let (_, own) = getrlimit(resource(*kind)).context("getrlimit")?;
        if *hard > own {
            let name = kind.to_string().to_ascii_lowercase();
            let name = name.trim_start_matches("rlimit_");
            refuse!(
                Forbidden,
                "--ulimit {name}={soft}:{hard}: your own hard limit is {own}, and it can only be \
                 lowered"
            );
        }
    }
    Ok(())
}

/// Whether the network at which ports of a container are published has IPv6.
fn has_ipv6(options: &RunOptions, networks: &Networks) -> bool {
    let names = options.keeping.networks.iter().map(|a| &a.network);
    let mut all = names.filter_map(|name| networks.find(name).ok());
    let first = all.find(|definition| !definition.internal);
    first.is_some_and(|d| d.gateways.iter().any(|g| g.address.is_ipv6()))
}

/// The lines of `/etc/hosts` that were asked for: where the host is meant, with
/// its address as the container can reach it.
fn added_hosts(options: &RunOptions, networks: &Networks) -> Result<Vec<(String, IpAddr)>> {
    let of_host = || match &options.network {
        Network::Host | Network::Default => Some(Ipv4Addr::LOCALHOST.into()),
        Network::User(user) => user.host_address(),
        Network::Named => {
            let mut names = options.keeping.networks.iter().map(|a| &a.network);
            names.find_map(|name| networks.find(name).ok()?.way_out().ok()??.host_address())
        }
        Network::None | Network::Container(_) | Network::Namespace(_) | Network::Unknown(_) => None,
    };
    let line = |entry: &HostEntry| {
        let address = match entry.address {
            HostAddress::Ip(address) => address,
            HostAddress::Gateway => of_host().context(
                "--add-host: the container cannot reach the host, so there is no host-gateway: \
                 leave it out",
            )?,
        };
        Ok((entry.name.clone(), address))
    };
    options.add_hosts.iter().map(line).collect()
}

/// The ports to publish; `image` is the image's configuration.
fn ports(options: &RunOptions, image: Option<&serde_json::Value>) -> Result<Vec<Port>> {
    if !matches!(options.network, Network::User(_) | Network::Named) {
        return Ok(Vec::new());
    }
    let mut ports = options.ports.clone();
    if options.publish_all {
        let mut all = options.exposed.clone();
        let named = image.and_then(|config| config["ExposedPorts"].as_object());
        for (text, _) in named.into_iter().flatten() {
            all.extend(publish::exposed(text)?);
        }
        let taken = |port: &Port| {
            let same = |other: &Port| {
                (other.container, other.transport) == (port.container, port.transport)
            };
            ports.iter().any(same)
        };
        all.retain(|port| !taken(port));
        for port in all {
            if !ports.contains(&port) {
                ports.push(port);
            }
        }
    }
    Ok(ports)
}

fn facts(
    id: &str,
    containers: &Containers,
    creation: &Creation,
    resolved: &Resolved,
    options: &RunOptions,
    mapping: &Mapping,
) -> Result<Facts> {
    let file = |path| {
        mapping.read_inside(|| Ok(root::read_file(&resolved.root, path)?.unwrap_or_default()))
    };
    let image_user = &resolved.defaults.user;
    let wanted = match options.user.as_ref().or(mapping.user()) {
        Some(wanted) => wanted.clone(),
        None => image_user.parse::<UserOption>()?,
    };
    let groups = options.groups.added();
    let passwd = file("etc/passwd")?;
    // Root's groups are asked for by nobody, and a number needs no lookup.
    let group = match wanted.is_root() && groups.is_empty() {
        true => Vec::new(),
        false => file("etc/group")?,
    };
    let mut user = user::resolve(&wanted, &passwd, &group)?;
    // Whom the map makes of the user may be the image's own, who has groups.
    if options.user.is_none() && mapping.user().is_some() && !image_user.is_empty() {
        let own = image_user.parse::<UserOption>();
        let own = own.and_then(|own| user::resolve(&own, &passwd, &group));
        if let Some(own) = own.ok().filter(|own| own.uid == user.uid) {
            let mapped = std::mem::replace(&mut user, own).gid;
            // His own group is what his files outside have.
            let knows = user.gid == mapped || user.groups.contains(&mapped);
            if !knows && !user.groups.is_empty() && mapping.owners().is_some() {
                user.groups.push(mapped);
            }
        }
    }
    let has_groups = !user.groups.is_empty();
    if !groups.is_empty() && mapping.owners().is_none() {
        refuse!(
            Invalid,
            "--group-add: with one id there are no groups but yours, in which you are anyway \
             (keep-groups); --userns range has more, where you have subordinate ids"
        );
    }
    for name in groups {
        user.groups.push(user::group_id(name, &group)?);
    }
    let (uid_map, gid_map) = mapping.maps(&user)?;
    let capabilities = capabilities::known();
    let seccomp = match &options.seccomp {
        _ if options.privileged => None,
        SeccompOption::File(path) => {
            let what = format!("seccomp profile {}", path.display());
            let text = std::fs::read_to_string(path).with_context(|| what.clone())?;
            Some((what, text))
        }
        SeccompOption::Profile(text) => Some(("seccomp profile".to_owned(), text.clone())),
        SeccompOption::Default | SeccompOption::Unconfined => None,
    };
    let seccomp = seccomp.map(|(what, text)| {
        let bounding = options.capabilities.apply(false, &capabilities);
        read_profile(&text, &bounding).context(what)
    });
    let seccomp = seccomp.transpose()?;
    let size = options.window_size.filter(|_| options.tty);
    Ok(Facts {
        id: id.to_owned(),
        devices: crate::engine::machine::devices::of_privileged(options.privileged),
        directory: creation.directory().to_owned(),
        mount_point: containers.mount_point(),
        mount_points: mountpoints::tree(containers.root())?,
        uid_map,
        gid_map,
        owners: mapping.owners(),
        // Without a user of the image's there is nothing to put in their place.
        keep_groups: options.groups == Groups::Kept
            || options.user.is_none() && mapping.user().is_some() && !has_groups,
        user,
        capabilities,
        seccomp,
        terminal: size.map(|(rows, columns)| (columns, rows)),
    })
}

fn read_profile(text: &str, bounding: &Capabilities) -> Result<LinuxSeccomp> {
    let target = seccomp::Target {
        capabilities: bounding,
        arch: seccomp::NATIVE,
        kernel: kernel_version(),
    };
    seccomp::Profile::parse(text)?.resolve(target)
}

/// The running kernel's version: major, minor.
fn kernel_version() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn record(
    id: String,
    subject: &Subject,
    resolved: &Resolved,
    options: &RunOptions,
    spec: &Spec,
) -> Result<Record> {
    let image = match subject {
        Subject::Image(name) => name.clone(),
        Subject::Rootfs(path) => path.display().to_string(),
        Subject::Layers(layers) => {
            let top = layers.last();
            top.map_or_else(String::new, |top| top.chain_id.to_string())
        }
    };
    let mut labels = resolved.defaults.labels.clone();
    labels.extend(options.labels.clone());
    let command = spec.process().as_ref().and_then(|p| p.args().clone());
    let entrypoint = options.entrypoint.as_ref();
    let entrypoint = entrypoint.unwrap_or(&resolved.defaults.entrypoint);
    let user = options.user.as_ref().map(UserOption::to_string);
    Ok(Record {
        id,
        name: match &options.name {
            Some(name) => name.clone(),
            None => names::generate()?,
        },
        created: Timestamp::now(),
        host: machine::name(),
        image,
        image_id: resolved.image.as_ref().map(|i| i.id.to_string()),
        command: command.unwrap_or_default(),
        labels,
        auto_remove: options.auto_remove,
        network: options.network.clone(),
        ports: Vec::new(),
        namespaces: crate::runtime::plan::namespaces(spec),
        stop_signal: options
            .stop_signal
            .clone()
            .or_else(|| resolved.defaults.stop_signal.clone().map(StopSignal::from))
            .or_else(|| {
                let all = spec.annotations().as_ref();
                let systemd = all.is_some_and(|all| all.contains_key(systemd::ANNOTATION));
                systemd.then(|| systemd::STOP_SIGNAL.to_owned().into())
            }),
        keeping: Keeping {
            interactive: options.interactive,
            tty: options.tty,
            ..options.keeping.clone()
        },
        mounts: Vec::new(),
        entrypoint: entrypoint.len(),
        user: user.unwrap_or_else(|| resolved.defaults.user.clone()),
        asked: asked(options, resolved),
    })
}

/// What was asked for that the specification does not have.
fn asked(options: &RunOptions, resolved: &Resolved) -> Asked {
    let defaults = &resolved.defaults;
    let capabilities = |all: &[Option<Capability>]| {
        let names = all.iter().map(|one| match one {
            Some(capability) => capability_name(*capability),
            None => "ALL".to_owned(),
        });
        names.collect()
    };
    let text = |path: &Path| path.display().to_string();
    let words = |words: &Words| match words {
        Words::Host => Vec::new(),
        Words::Nothing => vec![".".to_owned()],
        Words::These(words) => words.clone(),
    };
    let host = |entry: &HostEntry| match entry.address {
        HostAddress::Ip(address) => format!("{}:{address}", entry.name),
        HostAddress::Gateway => format!("{}:host-gateway", entry.name),
    };
    let exposed = options.exposed.iter().chain(&options.ports);
    let exposed = exposed.map(|port| format!("{}/{}", port.container, port.transport));
    let exposed = exposed.chain(
        defaults
            .exposed
            .iter()
            .map(|port| match port.contains('/') {
                true => port.clone(),
                false => format!("{port}/tcp"),
            }),
    );
    let exposed: BTreeSet<String> = exposed.collect();
    let devices = options.devices.iter();
    Asked {
        privileged: options.privileged,
        init: options.init,
        publish_all: options.publish_all,
        cap_add: capabilities(&options.capabilities.add),
        cap_drop: capabilities(&options.capabilities.drop),
        dns: options.dns.servers.clone(),
        dns_search: words(&options.dns.search),
        dns_options: words(&options.dns.options),
        extra_hosts: options.add_hosts.iter().map(host).collect(),
        volumes_from: options
            .volumes_from
            .iter()
            .map(ToString::to_string)
            .collect(),
        exposed: exposed.into_iter().collect(),
        volumes: defaults.volumes.clone(),
        image_digest: (resolved.image.as_ref())
            .map(|image| image.manifest.to_string())
            .unwrap_or_default(),
        create_command: options.said.clone(),
        userns: options.userns.mode(),
        secrets: Vec::new(),
        devices: devices
            .map(|(host, inside)| (text(host), text(inside)))
            .collect(),
    }
}

/// Gives what the container changes to its root, where that is not the user.
fn give_to_root(creation: &Creation, mapping: &Mapping) -> Result<()> {
    let Some((uid, gid)) = mapping.foreign_root() else {
        return Ok(());
    };
    let below = ["upper", "work", "parts"].iter().chain(&spec::ETC_FILES);
    let below = below.chain([&spec::LOCALTIME]);
    mapping.inside(|| {
        let mut paths = below.map(|name| creation.staging().join(name));
        let given = paths.try_for_each(|path| give(&path, uid, gid));
        given.context("give files to the container's root")
    })
}

/// Makes `upper`, which is the container's "/", what the root directory of the
/// image is. What stands on no image keeps what it has.
fn resemble_root(creation: &Creation, root: &Root, mapping: &Mapping) -> Result<()> {
    if root.direct.is_some() || root.parts.is_some() {
        return Ok(());
    }
    let (layer, owner) = view::root_layer(&root.lowers)?;
    let act = || copy_root(layer, &creation.staging().join("upper"));
    let user = (geteuid().as_raw(), getegid().as_raw());
    match owner == user && mapping.foreign_root().is_none() {
        true => act(),
        false => mapping.inside(act),
    }
}

/// Gives a new tree to somebody, if it is there.
fn give(path: &Path, uid: u32, gid: u32) -> std::io::Result<()> {
    let Ok(meta) = path.symlink_metadata() else {
        return Ok(());
    };
    if meta.is_dir() {
        for entry in path.read_dir()? {
            give(&entry?.path(), uid, gid)?;
        }
    }
    std::os::unix::fs::lchown(path, Some(uid), Some(gid))
}

/// Makes the directories and files that the spec's mounts refer to.
fn write_files(
    creation: &Creation,
    options: &RunOptions,
    added_hosts: &[(String, IpAddr)],
    spec: &Spec,
) -> Result<()> {
    let dir = creation.staging();
    // Nobody but the user gets as far as to these directories from outside.
    for name in ["upper", "work"] {
        make_public(&dir.join(name)).with_context(|| format!("create {name}"))?;
    }
    let name = spec.hostname().clone().unwrap_or_default();
    let host_network = options.network == Network::Host;
    let host_hosts = host_network
        .then(|| std::fs::read_to_string("/etc/hosts").ok())
        .flatten();
    let resolv = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let hosts = etc::hosts(&name, &options.network, added_hosts, host_hosts.as_deref());
    let name = if name.is_empty() {
        machine::name()
    } else {
        name
    };
    for (file, text) in [
        ("hosts", hosts),
        ("hostname", format!("{name}\n")),
        (
            "resolv.conf",
            etc::resolv_conf(&options.dns, &options.network, &resolv),
        ),
    ] {
        write_public(&dir.join(file), text).with_context(|| format!("write {file}"))?;
    }
    if let Some(zone) = &options.time_zone {
        write_public(&dir.join(spec::LOCALTIME), zone.file()?).context("write localtime")?;
    }
    Ok(())
}
