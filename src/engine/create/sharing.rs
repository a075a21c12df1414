//! Networks that a container has from somebody else: `--network
//! container:NAME` and `ns:PATH`. Where they are is looked up at each start.

use crate::engine::container::containers::{Container, Containers};
use crate::engine::create::options::RunOptions;
use crate::engine::ids::userns::maps_of;
use crate::engine::request::dns::Dns;
use crate::engine::request::network::Network;
use crate::error::{refusal, refuse};
use crate::sys::{self, ns};
use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use oci_spec::runtime::{LinuxNamespaceType as Kind, Spec};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

/// The container whose network is shared, if one is asked for; its id and
/// host name become those of `options`.
///
/// # Errors
/// There is none of that name; flags that are its own to decide.
pub fn of(containers: &Containers, options: &mut RunOptions) -> Result<Option<Container>> {
    let Network::Container(name) = &options.network else {
        return Ok(None);
    };
    let other = containers.find(name)?;
    if options.dns != Dns::default() || !options.add_hosts.is_empty() {
        refuse!(
            Invalid,
            "--dns and --add-host: names are {name}'s, whose network it is"
        );
    }
    match &other.record.network {
        Network::Host => {
            options.network = Network::Host;
            return Ok(None);
        }
        network @ Network::Namespace(_) => {
            refuse!(Invalid, "--network {network} is {name}'s too: give that")
        }
        // Whose names it has.
        shared @ Network::Container(_) => {
            options.network = shared.clone();
            return Ok(Some(other));
        }
        Network::Unknown(text) => refuse!(
            Unsupported,
            "--network container:{name}: its network is '{text}', which this bryo does not know"
        ),
        Network::Default | Network::None | Network::Named | Network::User(_) => {}
    }
    options.network = Network::Container(other.record.id.clone());
    if options.hostname.is_none() {
        options.hostname = other.spec()?.hostname().clone();
    }
    Ok(Some(other))
}

/// Whether a container with this spec can be where `other` is: it shares the
/// user namespace too, which owns the network.
pub fn check(spec: &Spec, other: &Container) -> Result<()> {
    if maps_of(spec) != maps_of(&other.spec()?) {
        refuse!(
            Conflict,
            "--network container:{}: that container has other user ids: give both the same --userns",
            other.record.name
        );
    }
    Ok(())
}

/// Where a shared network is, for as long as this value is there.
#[derive(Debug)]
pub enum SharedNetwork {
    /// In the user namespace of another container, which is joined too.
    Container([OwnedFd; 2]),
    /// A network namespace, and the user namespace that owns it.
    Owned(OwnedFd, OwnedFd),
}

/// Looks a shared network up and points the spec at it; `None` if the
/// container's is its own. `network` is the container's, as it is recorded.
///
/// # Errors
/// The other container does not run; the file stands for no network namespace.
pub fn place(
    containers: &Containers,
    network: &Network,
    spec: &mut Spec,
) -> Result<Option<SharedNetwork>> {
    if let Network::Container(id) = network {
        let other = containers.find(id);
        let mut other = other.with_context(|| format!("--network {network}"))?;
        let name = other.record.name.clone();
        let what = || format!("the network of container {name}");
        let process = other.running_process().with_context(what)?;
        let pid = other.state.process().map_or(0, |process| process.pid);
        let open = |kind| ns::open_file(&format!("/proc/{pid}/ns/{kind}")).with_context(what);
        let files = [open("user")?, open("net")?];
        // Its number was its own until now.
        sys::pidfd::kill(&process, 0).with_context(what)?;
        point(spec, Kind::User, &files[0]);
        point(spec, Kind::Network, &files[1]);
        return Ok(Some(SharedNetwork::Container(files)));
    }
    let Network::Namespace(path) = network else {
        return Ok(None);
    };
    let what = || format!("--network {network}");
    let file = ns::open_file(&path.to_string_lossy()).with_context(what)?;
    if !ns::kind(&file).is_ok_and(|kind| kind == libc::CLONE_NEWNET) {
        refuse!(Invalid, "{}: it stands for no network namespace", what());
    }
    let owner = ns::owning(&file).map_err(|error| match error.errno {
        Errno::EPERM => refusal!(
            Forbidden,
            "{}: it belongs to a user namespace above",
            what()
        ),
        _ => anyhow!(error).context(what()),
    })?;
    point(spec, Kind::Network, &file);
    Ok(Some(SharedNetwork::Owned(file, owner)))
}

/// Has a namespace of the spec be this one, by a path that processes cloned
/// from this one know.
fn point(spec: &mut Spec, kind: Kind, namespace: &OwnedFd) {
    let path = PathBuf::from(format!("/proc/self/fd/{}", namespace.as_raw_fd()));
    let linux = spec.linux_mut().as_mut();
    let all = linux.and_then(|linux| linux.namespaces_mut().as_mut());
    for found in all.into_iter().flatten() {
        if found.typ() == kind {
            found.set_path(Some(path.clone()));
        }
    }
}
