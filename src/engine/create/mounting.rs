//! From the mounts that were asked for to those of a spec: volumes are made
//! and filled, images found, what another container has is looked up.

use crate::engine::container::containers::Containers;
use crate::engine::container::volumes::{First, Guard, Volumes, give_tree};
use crate::engine::create::options::RunOptions;
use crate::engine::create::root::{self, Resolved};
use crate::engine::create::spec;
use crate::engine::ground::user::User;
use crate::engine::host::share::Share;
use crate::engine::ids::userns::Mapping;
use crate::engine::request::mounts::{self, ImageVolumes, Kind, MountOption, Mounted};
use crate::error::refuse;
use crate::image::progress::Progress;
use crate::image::store::Store;
use crate::image::view::{Node, View};
use crate::sys::fd::open_in_root;
use anyhow::{Context, Result};
use nix::fcntl::OFlag;
use oci_spec::runtime::Mount;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where mounts are prepared for.
pub struct Site<'a> {
    /// The store, for trees of the container's ids.
    pub store: &'a Store,
    /// The container's id.
    pub id: &'a str,
    /// Its image.
    pub image: &'a Resolved,
    /// Its ids.
    pub mapping: &'a Mapping,
    /// Who runs its command.
    pub user: &'a User,
    /// Shows what takes long.
    pub progress: &'a dyn Progress,
}

/// Mounts that are ready for a container, which is still to be created; the
/// volumes that were made for it go with the value unless it is.
#[derive(Default)]
pub struct Prepared {
    /// For the spec.
    pub mounts: Vec<Mount>,
    /// For the record.
    pub mounted: Vec<Mounted>,
    volumes: Option<Volumes>,
    anonymous: Vec<String>,
    _lock: Option<Guard>,
}

impl Prepared {
    /// The container is complete, and its record says what it uses.
    pub fn publish(mut self) -> Result<()> {
        let Some(volumes) = &self.volumes else {
            return Ok(());
        };
        let mut last = Ok(());
        for name in std::mem::take(&mut self.anonymous) {
            last = last.and(volumes.publish(&name));
        }
        last
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if let Some(volumes) = &self.volumes {
            self.anonymous.iter().for_each(|name| volumes.discard(name));
        }
    }
}

/// What a container is to have mounted: what was asked for, then what the
/// containers of `--volumes-from` have, then the image's volumes; the first
/// for a place decides. Looks containers up, so it is called before any lock
/// on volumes is held.
///
/// # Errors
/// Two mounts that were asked for at one place; no such container.
pub fn wanted(
    containers: &Containers,
    options: &RunOptions,
    image: &Resolved,
) -> Result<Vec<MountOption>> {
    let mut all: Vec<MountOption> = Vec::new();
    for option in &options.mounts {
        let destination = option.destination();
        if destination == Path::new("/") {
            refuse!(Invalid, "a mount on / would hide the image");
        }
        if all.iter().any(|other| other.destination() == destination) {
            refuse!(Invalid, "two mounts on {}", destination.display());
        }
        all.push(option.clone());
    }
    let add = |all: &mut Vec<MountOption>, option: MountOption| {
        let destination = option.destination();
        if !all.iter().any(|other| other.destination() == destination) {
            all.push(option);
        }
    };
    for from in &options.volumes_from {
        let source = containers.find(&from.container);
        let source = source.with_context(|| format!("--volumes-from {from}"))?;
        for mounted in &source.record.mounts {
            if matches!(mounted.kind, Kind::Bind | Kind::Volume) {
                add(&mut all, mounts::again(mounted, from.read_only));
            }
        }
    }
    for path in &image.defaults.volumes {
        let path = Path::new("/").join(path);
        match options.image_volumes {
            ImageVolumes::Anonymous if path.components().count() > 1 => {
                add(&mut all, MountOption::anonymous(&path));
            }
            ImageVolumes::Tmpfs => add(&mut all, MountOption::tmpfs(&path)),
            ImageVolumes::Anonymous | ImageVolumes::Ignore => {}
        }
    }
    Ok(all)
}

/// Makes volumes and finds images for what is [`wanted`].
pub fn prepare(site: &Site, wanted: Vec<MountOption>) -> Result<Prepared> {
    let mut prepared = Prepared::default();
    for option in wanted {
        let destination = option.destination().to_owned();
        let (mounted, mount) = match option {
            MountOption::Bind {
                source,
                options,
                chown,
                ..
            } => {
                if chown {
                    site.own(&source)?;
                }
                let mount = spec::bind(&destination, &source, &options)?;
                let source = source.display().to_string();
                (
                    Mounted::new(Kind::Bind, source, &destination, options, None),
                    mount,
                )
            }
            MountOption::Tmpfs { options, .. } => {
                let mount = spec::tmpfs(&destination, &options)?;
                let source = String::new();
                (
                    Mounted::new(Kind::Tmpfs, source, &destination, options, None),
                    mount,
                )
            }
            MountOption::Image { image, subpath, .. } => {
                site.image(&image, subpath.as_deref(), &destination)?
            }
            MountOption::Layers {
                layers, subpath, ..
            } => {
                let lowers = root::lowers_of(site.store, &layers, site.mapping, site.progress)?;
                let top = layers.last();
                let source = top.map_or_else(String::new, |top| top.chain_id.to_string());
                site.lowers(lowers, subpath.as_deref(), &destination, source)?
            }
            volume @ MountOption::Volume { .. } => {
                site.volume(volume, &destination, &mut prepared)?
            }
        };
        prepared.mounted.push(mounted);
        prepared.mounts.push(mount);
    }
    Ok(prepared)
}

impl Site<'_> {
    fn volume(
        &self,
        option: MountOption,
        destination: &Path,
        prepared: &mut Prepared,
    ) -> Result<(Mounted, Mount)> {
        let MountOption::Volume {
            name,
            options,
            subpath,
            fill,
            chown,
            ..
        } = option
        else {
            refuse!(Invalid, "{} is no volume", destination.display());
        };
        let volumes = Volumes::open(self.store);
        if prepared._lock.is_none() {
            prepared._lock = Some(volumes.lock_shared()?);
            prepared.volumes = Some(volumes.clone());
        }
        let subpath = subpath.as_deref();
        if let (Some(name), Some(path)) = (&name, subpath) {
            self.part_of(&volumes, name, path)?;
        }
        let volume = match &name {
            Some(name) => volumes.create(name, &BTreeMap::new())?,
            None => {
                let volume = volumes.create_anonymous(self.id)?;
                prepared.anonymous.push(volume.name.clone());
                volume
            }
        };
        if fill && !volume.used && subpath.is_none() {
            let first = First {
                lowers: &self.image.root.lowers,
                destination,
                user: (self.user.uid, self.user.gid),
                mapping: self.mapping,
            };
            volumes.fill(&volume, &first)?;
        }
        let source = volumes.data(&volume.name);
        if chown {
            self.own(&source)?;
        }
        let mounted = Mounted::new(Kind::Volume, volume.name, destination, options, subpath);
        let mount = spec::bind(destination, &source, &mounted.options)?;
        Ok((mounted, mount))
    }

    /// `U`: gives a tree to the container's user.
    fn own(&self, path: &Path) -> Result<()> {
        let user = (self.user.uid, self.user.gid);
        let given = give_tree(self.mapping, path, user);
        given.with_context(|| format!("give {} to the container's user", path.display()))
    }

    /// Sees that a volume has what is to be mounted of it. When it is mounted it
    /// is looked for again, for it may have changed by then.
    fn part_of(&self, volumes: &Volumes, name: &str, path: &str) -> Result<()> {
        volumes
            .find(name)
            .with_context(|| format!("subpath={path}"))?;
        let data = volumes.data(name);
        let look = || {
            let directory = std::fs::File::open(&data)?;
            open_in_root(directory, Path::new(path), OFlag::O_PATH)?;
            Ok(())
        };
        self.mapping
            .inside(look)
            .with_context(|| format!("volume {name}: subpath {path} is not in it; make it first"))
    }

    fn image(
        &self,
        name: &str,
        subpath: Option<&str>,
        destination: &Path,
    ) -> Result<(Mounted, Mount)> {
        let what = || format!("mount image {name}");
        let found = root::resolve(
            self.store,
            name,
            None,
            self.mapping,
            &Share::default(),
            self.progress,
        );
        let found = found.with_context(what)?;
        if found.root.parts.is_some() {
            refuse!(
                Unsupported,
                "mount image {name}: the host's root is no image in another container"
            );
        }
        let id = found.image.map(|image| image.id.to_string());
        let source = id.unwrap_or_else(|| name.to_owned());
        let mounted = self.lowers(found.root.lowers, subpath, destination, source);
        mounted.with_context(what)
    }

    /// A part of layers, the topmost first, which are called `source` where they are told
    /// of.
    fn lowers(
        &self,
        lowers: Vec<PathBuf>,
        subpath: Option<&str>,
        destination: &Path,
        source: String,
    ) -> Result<(Mounted, Mount)> {
        let lowers = match subpath {
            Some(path) => self.part_of_image(&lowers, path)?,
            None => lowers,
        };
        let mount = spec::layers(destination, &lowers)?;
        let options = vec!["ro".to_owned()];
        let mounted = Mounted::new(Kind::Image, source, destination, options, subpath);
        Ok((mounted, mount))
    }

    /// Where a part of an image is in its layers, the topmost first; links in
    /// it are followed inside the image.
    fn part_of_image(&self, lowers: &[PathBuf], path: &str) -> Result<Vec<PathBuf>> {
        let look = || {
            let found = View::new(lowers)?.locate_followed(path.as_bytes())?;
            let (place, node) =
                found.with_context(|| format!("subpath {path} is not in the image"))?;
            let layers: Vec<usize> = match node {
                Node::Directory(merged) => merged.layers.iter().map(|l| l.layer).collect(),
                Node::Other(other) => vec![other.parent.layer],
            };
            Ok(serde_json::to_vec(&(place, layers))?)
        };
        let said = self.mapping.read_inside(look)?;
        let (place, layers): (Vec<u8>, Vec<usize>) = serde_json::from_slice(&said)?;
        let place = Path::new(OsStr::from_bytes(&place));
        Ok(layers.into_iter().map(|n| lowers[n].join(place)).collect())
    }
}

#[cfg(test)]
mod tests;
