//! Networks as the user defines them: `networks/<name>.json` in the store.
//! Who makes or removes one holds a flock(2) on `networks/lock`.

use super::subnet::{self, Subnet};
use crate::engine::container::containers::Containers;
use crate::engine::ground::json::write_json;
use crate::engine::ground::names;
use crate::engine::request;
use crate::engine::request::user_network::UserNetwork;
use crate::error::{refusal, refuse};
use crate::net::policy::Cidr;
use crate::sys::fs::{make_private, private};
use crate::sys::random;
use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

/// A network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// Its name.
    pub name: String,
    /// Tells it from others that had or will have the name.
    pub id: String,
    /// When it was made.
    pub created: Timestamp,
    /// Its IPv4 network, and its IPv6 network if it has one, each with the
    /// gateway's address.
    pub gateways: Vec<Subnet>,
    /// It has no way out.
    #[serde(default)]
    pub internal: bool,
    /// Name servers to ask in place of the host's.
    #[serde(default)]
    pub dns: Vec<IpAddr>,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// `--opt`: how the way out is, as `--network user` has it.
    #[serde(default)]
    pub options: String,
}

/// The network between a named network and its way out.
const LINK: Ipv4Addr = Ipv4Addr::new(169, 254, 77, 0);

impl Definition {
    /// The way out, if there is one.
    ///
    /// # Errors
    /// Options that say nothing here.
    pub fn way_out(&self) -> Result<Option<UserNetwork>> {
        let mut out: UserNetwork = self.options.parse()?;
        if out.cidr.is_some() || !out.dns.is_empty() {
            refuse!(
                Invalid,
                "--opt: --subnet says which network it is, and --dns who is asked"
            );
        }
        out.cidr = Some((LINK, 24));
        let cidr = |subnet: Subnet| Cidr {
            address: subnet.address,
            prefix: subnet.prefix,
        };
        out.behind = self.subnets().map(cidr).collect();
        out.ipv6 &= self.gateways.iter().any(|g| g.address.is_ipv6());
        Ok((!self.internal).then_some(out))
    }

    /// Its largest packet, in bytes.
    pub fn mtu(&self) -> u32 {
        let options: UserNetwork = self.options.parse().unwrap_or_default();
        options.mtu.into()
    }

    /// Its networks without the gateways.
    pub fn subnets(&self) -> impl Iterator<Item = Subnet> {
        self.gateways.iter().map(Subnet::network)
    }
}

/// What `network create` is given.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// Name.
    pub name: String,
    /// Networks, at most one of each kind.
    pub subnets: Vec<Subnet>,
    /// Addresses of gateways, at most one of each kind.
    pub gateways: Vec<IpAddr>,
    /// It gets IPv6.
    pub ipv6: bool,
    /// It has no way out.
    pub internal: bool,
    /// Name servers.
    pub dns: Vec<IpAddr>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// How the way out is.
    pub options: Vec<String>,
}

/// All networks of the user.
#[derive(Debug, Clone)]
pub struct Networks {
    directory: PathBuf,
}

impl Networks {
    /// Those of the store at `root`.
    pub fn open(root: &Path) -> Networks {
        Networks {
            directory: root.join("networks"),
        }
    }

    /// The file whose lock is the right to start a holder.
    pub fn start_file(&self) -> Result<File> {
        let path = self.directory().join("start");
        let file = private()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        file.with_context(|| refusal!(Invalid, "{}", path.display()))
    }

    /// Where their files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.json"))
    }

    /// The right to make and remove; it ends with the file.
    fn lock(&self) -> Result<File> {
        let path = self.directory.join("lock");
        let make = || {
            private()
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
        };
        let file = match make() {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                make_private(&self.directory).and_then(|()| make())
            }
            other => other,
        };
        let file = file.with_context(|| path.display().to_string())?;
        file.lock().with_context(|| path.display().to_string())?;
        Ok(file)
    }

    /// All of them, by name.
    pub fn list(&self) -> Result<Vec<Definition>> {
        let entries = match std::fs::read_dir(&self.directory) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.with_context(|| self.directory.display().to_string())?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let name = name.to_str().and_then(|name| name.strip_suffix(".json"));
            if let Some(definition) = name.map(|name| self.read(name)).transpose()?.flatten() {
                all.push(definition);
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    fn read(&self, name: &str) -> Result<Option<Definition>> {
        let path = self.file(name);
        match std::fs::read(&path) {
            Ok(data) => {
                let read = serde_json::from_slice(&data);
                read.map(Some).with_context(|| path.display().to_string())
            }
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).with_context(|| path.display().to_string()),
        }
    }

    /// The network with this name, or whose id starts so.
    ///
    /// # Errors
    /// Of [`NotFound`](crate::error::Kind::NotFound); several ids start so.
    pub fn find(&self, name: &str) -> Result<Definition> {
        if request::names::container(name).is_ok()
            && let Some(definition) = self.read(name)?
        {
            return Ok(definition);
        }
        let not_found = || {
            refusal!(
                NotFound,
                "network {name} not found (bryo network create {name} makes it)"
            )
        };
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(not_found());
        }
        let all = self.list()?.into_iter();
        let mut found = all.filter(|definition| definition.id.starts_with(name));
        let first = found.next().ok_or_else(not_found)?;
        if found.next().is_some() {
            refuse!(Invalid, "'{name}' is the start of several network ids");
        }
        Ok(first)
    }

    /// Makes a network.
    ///
    /// # Errors
    /// There is one of that name; its addresses make no sense or are taken.
    pub fn create(&self, wishes: &Wishes) -> Result<Definition> {
        request::names::network(&wishes.name)?;
        let _lock = self.lock()?;
        if self.read(&wishes.name)?.is_some() {
            refuse!(Conflict, "there is a network '{}' already", wishes.name);
        }
        let mut taken: Vec<Subnet> = Vec::new();
        for other in self.list()? {
            for subnet in other.subnets() {
                if wishes.subnets.iter().any(|wanted| wanted.overlaps(&subnet)) {
                    refuse!(Conflict, "network '{}' has {subnet} already", other.name);
                }
                taken.push(subnet);
            }
        }
        let table = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
        taken.extend(subnet::routes(&table));
        let definition = Definition {
            name: wishes.name.clone(),
            id: names::new_id()?,
            created: Timestamp::now(),
            gateways: gateways(wishes, &taken)?,
            internal: wishes.internal,
            dns: wishes.dns.clone(),
            labels: wishes.labels.clone(),
            options: wishes.options.join(","),
        };
        definition.way_out()?;
        let path = self.file(&definition.name);
        let new = self.directory.join(format!("{}.new", definition.name));
        write_json(&new, &definition)?;
        std::fs::rename(&new, &path).with_context(|| path.display().to_string())?;
        Ok(definition)
    }

    /// Removes a network that no container is on.
    ///
    /// # Errors
    /// Containers are, by name.
    pub fn remove(&self, definition: &Definition, containers: &Containers) -> Result<()> {
        let _lock = self.lock()?;
        let users = super::members::on(containers, &definition.name)?;
        if !users.is_empty() {
            refuse!(
                Conflict,
                "network '{}' is used by {}: remove what uses it, or disconnect it",
                definition.name,
                users.join(", ")
            );
        }
        // Its process may have been killed.
        let _ = std::fs::remove_file(self.traffic(&definition.name));
        let path = self.file(&definition.name);
        std::fs::remove_file(&path).with_context(|| path.display().to_string())
    }

    /// The file in which a network's translator says what it does.
    pub fn traffic(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.traffic"))
    }
}

/// The gateways of a network, by what was asked for.
fn gateways(wishes: &Wishes, taken: &[Subnet]) -> Result<Vec<Subnet>> {
    let one = |v4: bool| {
        let mut given = wishes.subnets.iter().filter(|s| s.address.is_ipv4() == v4);
        let first = given.next().copied();
        match given.next() {
            Some(second) => refuse!(Invalid, "--subnet {second}: one subnet of a kind is enough"),
            None => Ok(first),
        }
    };
    let v4 = match one(true)? {
        Some(subnet) if subnet.prefix > 30 => {
            refuse!(
                Invalid,
                "--subnet {subnet}: there is no room for a container: 30 bits at most"
            )
        }
        Some(subnet) => subnet.network(),
        None => subnet::free(taken).context("no network of 10.89.0.0/16 and above is free")?,
    };
    let v6 = match one(false)? {
        Some(subnet) if subnet.prefix > 126 => {
            refuse!(
                Invalid,
                "--subnet {subnet}: there is no room for a container: 126 bits at most"
            )
        }
        Some(subnet) => Some(subnet.network()),
        None if wishes.ipv6 => Some(subnet::unique(random::bytes()?)),
        None => None,
    };
    let mut free = wishes.gateways.clone();
    let mut gateways = Vec::new();
    for subnet in [Some(v4), v6].into_iter().flatten() {
        let same = |address: &IpAddr| address.is_ipv4() == subnet.address.is_ipv4();
        let address = match free.iter().position(same) {
            Some(at) => free.remove(at),
            None => subnet.nth(1).context("the subnet has no first address")?,
        };
        if !subnet.is_host(address) {
            refuse!(Invalid, "--gateway {address} is not an address of {subnet}");
        }
        gateways.push(Subnet { address, ..subnet });
    }
    match free.first() {
        Some(address) => refuse!(Invalid, "--gateway {address}: there is no --subnet for it"),
        None => Ok(gateways),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_are_in_their_subnets() {
        let wishes = |subnets: &[&str], gateways: &[&str], ipv6| Wishes {
            subnets: subnets.iter().map(|s| s.parse().unwrap()).collect(),
            gateways: gateways.iter().map(|s| s.parse().unwrap()).collect(),
            ipv6,
            ..Wishes::default()
        };
        let made = |wishes: Wishes| {
            let list = gateways(&wishes, &[])?;
            let texts: Vec<String> = list.iter().map(Subnet::to_string).collect();
            anyhow::Ok(texts.join(" "))
        };
        assert_eq!(made(wishes(&[], &[], false)).unwrap(), "10.89.0.1/24");
        let both = wishes(&["10.1.2.3/16", "fd00::/64"], &["fd00::9"], false);
        assert_eq!(made(both).unwrap(), "10.1.0.1/16 fd00::9/64");
        assert!(made(wishes(&[], &[], true)).unwrap().contains(" fd"));
        for (subnets, gateways) in [
            (&["10.0.0.0/31"][..], &[][..]),
            (&["10.0.0.0/24", "10.1.0.0/24"], &[]),
            (&["10.0.0.0/24"], &["10.0.1.1"]),
            (&["10.0.0.0/24"], &["10.0.0.255"]),
            (&["10.0.0.0/24"], &["fd00::1"]),
        ] {
            assert!(
                made(wishes(subnets, gateways, false)).is_err(),
                "{subnets:?}"
            );
        }
    }
}
