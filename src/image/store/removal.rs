//! Taking names and images away, and collecting what nothing needs any more.

use crate::error::{demand, refuse};
use std::collections::{HashMap, HashSet};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::super::digest::{self, Digest};
use super::super::layer::About;
use super::super::layout;
use super::super::reference::Reference;
use super::super::remove::remove_tree;
use super::super::session;
use crate::error::Kind;
use crate::sys::replace::is_full;

use super::{Image, ImageSummary, Store, by_reference, familiar, is_manifest, manifests};

/// What [`Store::remove`] did.
#[derive(Clone, Debug, Default)]
pub struct Removed {
    /// Names that were taken away, in familiar form.
    pub untagged: Vec<String>,
    /// Ids of images that are gone.
    pub deleted: Vec<Digest>,
    /// Bytes of blobs and trees that went with them.
    pub reclaimed: u64,
}

/// What of that which keeps an image from being removed by its id is passed
/// over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insist {
    /// Nothing: it has one name at most and no container.
    No,
    /// It may have several names.
    Names,
    /// It may be used by a container, too.
    Force,
}

/// What a removal is about.
struct Target {
    image: Image,
    manifests: Vec<Digest>,
    /// Its names in familiar form.
    names: Vec<String>,
    /// The stored name, if only that is to go because there are others.
    only_name: Option<String>,
}

impl Store {
    /// Takes a name from an image, or removes the image, by docker's rules:
    /// a name that is not the last is only taken away; with the last one the
    /// image goes. By id, all goes, but of several names or use by a container
    /// (`in_use` names them) `insist` decides. A used image stays, without a
    /// name, even so.
    pub fn remove(
        &self,
        name: &str,
        insist: Insist,
        in_use: &dyn Fn(&Image) -> Vec<String>,
    ) -> Result<Removed> {
        let _lock = self.lock_exclusive()?;
        if let Some(removed) = self.remove_damaged(name)? {
            return Ok(removed);
        }
        let target = self.target(name)?;
        let users = in_use(&target.image);
        let short = digest::short(&target.image.id);
        if target.only_name.is_none() && insist != Insist::Force {
            if target.names.len() > 1 && insist == Insist::No {
                let names = target.names.join(", ");
                refuse!(
                    Conflict,
                    "image {short} has several names ({names}): remove them, or force it"
                );
            }
            demand!(
                Conflict,
                users.is_empty(),
                "image {short} is used by container {}",
                users.join(", ")
            );
        }
        let mut removed = Removed::default();
        self.layout.update(|descriptors| {
            let mut spare = None;
            descriptors.retain(|descriptor| {
                let name = layout::name_of(descriptor);
                let goes = target.manifests.contains(descriptor.digest())
                    && (target.only_name.is_none() || target.only_name.as_deref() == name);
                if goes {
                    removed.untagged.extend(name.map(familiar));
                    spare = Some(descriptor.clone());
                }
                !goes
            });
            if let (Some(mut bare), None, false) = (spare, &target.only_name, users.is_empty()) {
                bare.set_annotations(None);
                descriptors.push(bare);
            }
            Ok(())
        })?;
        if self
            .manifests_of(&self.descriptors()?, &target.image.id)?
            .is_empty()
        {
            removed.deleted.push(target.image.id);
        }
        removed.reclaimed = self.collect()?;
        Ok(removed)
    }

    /// Takes an image away that cannot be read; None if `name` is not such a
    /// one's name. Its other names go too: nothing can be had by them.
    fn remove_damaged(&self, name: &str) -> Result<Option<Removed>> {
        let descriptors = self.descriptors()?;
        let Ok(reference) = name.parse::<Reference>().map(Reference::or_latest) else {
            return Ok(None);
        };
        let Some(found) = by_reference(&descriptors, &reference) else {
            return Ok(None);
        };
        if self.image(&descriptors, found.digest()).is_ok() {
            return Ok(None);
        }
        let digest = found.digest().clone();
        Ok(Some(self.forget(&|manifest| *manifest == digest)?))
    }

    /// Takes manifests out of the index, with all their names, and collects.
    /// The caller holds the lock exclusively.
    pub(in crate::image) fn forget(&self, goes: &dyn Fn(&Digest) -> bool) -> Result<Removed> {
        let mut removed = Removed::default();
        self.layout.update(|descriptors| {
            descriptors.retain(|descriptor| {
                let goes = is_manifest(descriptor.media_type()) && goes(descriptor.digest());
                if goes {
                    let name = layout::name_of(descriptor);
                    removed.untagged.extend(name.map(familiar));
                }
                !goes
            });
            Ok(())
        })?;
        removed.reclaimed = self.collect()?;
        Ok(removed)
    }

    /// Takes names from images and leaves the images; without names, all that
    /// the image has. Returns those that went, in familiar form.
    pub fn untag(&self, image: &str, names: &[Reference]) -> Result<Vec<String>> {
        let _lock = self.lock_exclusive()?;
        let target = self.target(image)?;
        let mut wanted = Vec::new();
        for name in names {
            let name = name.clone().or_latest();
            let descriptors = self.descriptors()?;
            let found = by_reference(&descriptors, &name)
                .filter(|found| target.manifests.contains(found.digest()))
                .and_then(layout::name_of);
            let found = found.with_context(|| format!("image {image} is not called {name}"))?;
            wanted.push(found.to_owned());
        }
        let mut gone = Vec::new();
        self.layout.update(|descriptors| {
            let mut bare = Vec::new();
            descriptors.retain(|descriptor| {
                let Some(name) = layout::name_of(descriptor) else {
                    return true;
                };
                let goes = match names.is_empty() {
                    true => target.manifests.contains(descriptor.digest()),
                    false => wanted.iter().any(|wanted| wanted == name),
                };
                if goes {
                    gone.push(familiar(name));
                    let mut descriptor = descriptor.clone();
                    descriptor.set_annotations(None);
                    bare.push(descriptor);
                }
                !goes
            });
            for descriptor in bare {
                let digest = descriptor.digest();
                if !descriptors.iter().any(|known| known.digest() == digest) {
                    descriptors.push(descriptor);
                }
            }
            Ok(())
        })?;
        Ok(gone)
    }

    /// Removes all images that `goes` says, which must not be used by a
    /// container: it is asked while nobody else changes the store.
    pub fn prune(&self, goes: &dyn Fn(&ImageSummary) -> Result<bool>) -> Result<Removed> {
        let _lock = self.lock_exclusive()?;
        let mut manifests = HashSet::new();
        let mut deleted = Vec::new();
        for image in self.list()? {
            if goes(&image)? {
                manifests.insert(image.manifest);
                deleted.push(image.id);
            }
        }
        let mut removed = self.forget(&|manifest| manifests.contains(manifest))?;
        removed.deleted = deleted;
        Ok(removed)
    }

    /// What a removal of `name` is about.
    fn target(&self, name: &str) -> Result<Target> {
        let descriptors = self.descriptors()?;
        let selected = self.select(&descriptors, name)?;
        let none =
            || Kind::NotFound.says(format!("No such image: {name} (bryo images lists them)"));
        let manifest = selected.ok_or_else(none)?;
        let image = self.image(&descriptors, &manifest)?;
        let reference = name.parse::<Reference>().ok().map(Reference::or_latest);
        let by_name = reference
            .and_then(|reference| by_reference(&descriptors, &reference))
            .and_then(layout::name_of);
        // An id means the image under whatever manifests it came with.
        let manifests = match by_name {
            Some(_) => vec![manifest],
            None => self.manifests_of(&descriptors, &image.id)?,
        };
        let all = descriptors
            .iter()
            .filter(|d| manifests.contains(d.digest()));
        let names: Vec<String> = all.filter_map(layout::name_of).map(familiar).collect();
        Ok(Target {
            only_name: by_name.filter(|_| names.len() > 1).map(str::to_owned),
            image,
            manifests,
            names,
        })
    }

    /// Removes what processes that died have left; what they had removed is in
    /// the trash. Costs one listing of a usually empty directory when there is
    /// nothing.
    pub fn sweep(&self) -> Result<()> {
        let collect = || {
            // While somebody works here, what he has not named yet must stay.
            match self.try_lock_exclusive()? {
                Some(_lock) => self.collect().map(|_| true),
                None => Ok(false),
            }
        };
        session::sweep(&self.tmp(), collect, |dead| self.trash(dead).map(drop))
    }

    /// Moves blobs and trees that no image has to the trash; returns how many
    /// bytes they have. The caller holds the lock exclusively.
    ///
    /// While an image cannot be read, nobody knows what belongs to it, and
    /// nothing goes: `check --repair` may fetch what it lacks.
    pub(in crate::image) fn collect(&self) -> Result<u64> {
        let mut bytes = 0;
        for (path, size) in self.unneeded()? {
            bytes += size;
            self.trash(&path)?;
        }
        Ok(bytes)
    }

    /// What [`Store::collect`] would remove.
    pub(in crate::image) fn uncollected(&self) -> Result<Vec<PathBuf>> {
        let found = self.unneeded()?.into_iter();
        Ok(found.map(|(path, _)| path).collect())
    }

    /// Blobs and trees that no image has, with their sizes in bytes.
    fn unneeded(&self) -> Result<Vec<(PathBuf, u64)>> {
        let mut blobs = HashSet::new();
        let mut trees: HashMap<String, HashSet<String>> = HashMap::new();
        let mut needed = Vec::new();
        for descriptor in self.layout.index()?.manifests() {
            blobs.insert(descriptor.digest().clone());
        }
        let descriptors = self.descriptors()?;
        for digest in manifests(&descriptors) {
            let Ok(image) = self.image(&descriptors, &digest) else {
                return Ok(Vec::new());
            };
            blobs.insert(image.id);
            needed.extend(image.layers);
        }
        for (_, step) in self.steps()? {
            needed.extend(step.step.layers);
        }
        for layer in needed {
            let chains = trees.entry(layer.diff_id.digest().to_owned()).or_default();
            chains.insert(layer.chain_id.digest().to_owned());
            blobs.insert(layer.blob);
        }
        let mut found = Vec::new();
        for digest in self.layout.blobs()? {
            if !blobs.contains(&digest) {
                let path = self.layout.blob(&digest);
                let size = fs::metadata(&path).map_or(0, |metadata| metadata.len());
                found.push((path, size));
            }
        }
        let layers = self.root.join("layers");
        for flavour in names(&layers)? {
            unneeded_trees(&layers.join(flavour), &trees, &mut found)?;
        }
        Ok(found)
    }

    /// Removes parts of blobs that nobody is fetching; returns how many bytes
    /// they had.
    pub fn remove_parts(&self) -> Result<u64> {
        let before = self.leftovers().parts;
        super::super::registry::remove_parts(&self.root)?;
        Ok(before.saturating_sub(self.leftovers().parts))
    }

    /// Moves a file or tree of this root out of the way, at once;
    /// [`Store::empty_trash`] deletes it. Returns where it is until then.
    ///
    /// On a full disk, where there may be no room for that, it is deleted where
    /// it is.
    pub fn trash(&self, path: &Path) -> Result<PathBuf> {
        let trash = self.root.join("trash");
        let place = trash.join(session::unique());
        let what = || format!("remove {}", path.display());
        let moved = match fs::rename(path, &place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !trash.exists() => {
                let made = DirBuilder::new().mode(0o700).create(&trash);
                made.and_then(|()| fs::rename(path, &place))
            }
            other => other,
        };
        match moved {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if is_full(&error) => remove_tree(path).with_context(what)?,
            other => other.with_context(what)?,
        }
        Ok(place)
    }

    /// Whether there is nothing to delete.
    pub fn trash_is_empty(&self) -> bool {
        let entries = fs::read_dir(self.root.join("trash"));
        entries.map_or(true, |mut entries| entries.next().is_none())
    }

    /// Deletes what is in the trash. Several processes may do so at once.
    pub fn empty_trash(&self) -> Result<()> {
        let trash = self.root.join("trash");
        for name in names(&trash)? {
            remove_tree(&trash.join(name))?;
        }
        Ok(())
    }
}

/// Finds in a flavour's directory all but `trees`, by diff-id and chain-id.
fn unneeded_trees(
    layers: &Path,
    trees: &HashMap<String, HashSet<String>>,
    found: &mut Vec<(PathBuf, u64)>,
) -> Result<()> {
    let size = |directory: &Path| About::read(directory).map_or(0, |about| about.size);
    for diff_id in names(layers)? {
        let directory = layers.join(&diff_id);
        let chains = trees.get(&diff_id);
        let mut unneeded = Vec::new();
        for chain in names(&directory)? {
            let is_chain = chain != "fs" && chain != About::FILE;
            if is_chain && chains.is_none_or(|chains| !chains.contains(&chain)) {
                let chain = directory.join(&chain);
                unneeded.push((size(&chain), chain));
            }
        }
        match chains {
            Some(_) => found.extend(unneeded.into_iter().map(|(size, path)| (path, size))),
            // The whole goes at once.
            None => {
                let all: u64 = unneeded.iter().map(|(size, _)| size).sum();
                found.push((directory.clone(), all + size(&directory)));
            }
        }
    }
    Ok(())
}

/// Names in a directory; none if it does not exist.
pub(super) fn names(directory: &Path) -> Result<Vec<String>> {
    let context = || format!("list {}", directory.display());
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(context),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.with_context(context)?.file_name();
        names.extend(name.into_string());
    }
    Ok(names)
}
