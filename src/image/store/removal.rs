//! Taking names and images away, and collecting what nothing needs any more.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use oci_spec::image::{ImageConfiguration, ImageManifest};

use super::super::digest::{self, Digest};
use super::super::layer::About;
use super::super::layout;
use super::super::reference::Reference;
use super::super::remove::remove_tree;
use super::super::session::{self, private_dir};
use super::{Flavour, Image, Store, by_reference, familiar, layers, manifests};

/// What [`Store::remove`] did.
#[derive(Clone, Debug, Default)]
pub struct Removed {
    /// Names that were taken away, in familiar form.
    pub untagged: Vec<String>,
    /// Ids of images that are gone.
    pub deleted: Vec<Digest>,
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
    /// image goes. By id, all goes, but several names or use by a container
    /// (`in_use` names them) need `force`. A used image stays, without a name,
    /// also with `force`.
    pub fn remove(
        &self,
        name: &str,
        force: bool,
        in_use: &dyn Fn(&Image) -> Vec<String>,
    ) -> Result<Removed> {
        let _lock = self.lock_exclusive()?;
        let target = self.target(name)?;
        let users = in_use(&target.image);
        let short = digest::short(&target.image.id);
        if target.only_name.is_none() && !force {
            if target.names.len() > 1 {
                let names = target.names.join(", ");
                bail!("image {short} has several names ({names}): remove them, or force it");
            }
            ensure!(
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
        self.collect()?;
        Ok(removed)
    }

    /// What a removal of `name` is about.
    fn target(&self, name: &str) -> Result<Target> {
        let descriptors = self.descriptors()?;
        let selected = self.select(&descriptors, name)?;
        let manifest = selected.with_context(|| format!("no such image: {name}"))?;
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
        session::sweep(&self.tmp(), || {
            // While somebody works here, what he has not named yet must stay.
            match self.try_lock_exclusive()? {
                Some(_lock) => self.collect().map(|()| true),
                None => Ok(false),
            }
        })
    }

    /// Deletes blobs and trees that no image has. The caller holds the lock
    /// exclusively. Trees only move to the trash.
    fn collect(&self) -> Result<()> {
        let mut blobs = HashSet::new();
        let mut trees: HashMap<String, HashSet<String>> = HashMap::new();
        for digest in manifests(&self.descriptors()?) {
            let manifest: ImageManifest = self.layout.read(&digest)?;
            let config: ImageConfiguration = self.layout.read(manifest.config().digest())?;
            for layer in layers(&manifest, &config)? {
                let chains = trees.entry(layer.diff_id.digest().to_owned()).or_default();
                chains.insert(layer.chain_id.digest().to_owned());
            }
            blobs.insert(digest);
            blobs.insert(manifest.config().digest().clone());
            blobs.extend(manifest.layers().iter().map(|layer| layer.digest().clone()));
        }
        for digest in self.layout.blobs()? {
            if !blobs.contains(&digest) {
                let path = self.layout.blob(&digest);
                fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
            }
        }
        for diff_id in names(&self.layers_directory(Flavour::Single))? {
            let directory = self.layers_directory(Flavour::Single).join(&diff_id);
            let Some(chains) = trees.get(&diff_id) else {
                self.trash(&directory)?;
                continue;
            };
            for chain in names(&directory)? {
                let is_chain = chain != "fs" && chain != About::FILE;
                if is_chain && !chains.contains(&chain) {
                    self.trash(&directory.join(&chain))?;
                }
            }
        }
        Ok(())
    }

    /// Moves a file or tree of this root out of the way, at once;
    /// [`Store::empty_trash`] deletes it. Returns where it is until then.
    pub fn trash(&self, path: &Path) -> Result<PathBuf> {
        let trash = self.root.join("trash");
        private_dir(&trash)?;
        let place = trash.join(session::unique());
        match fs::rename(path, &place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(place),
            other => other
                .with_context(|| format!("remove {}", path.display()))
                .map(|()| place),
        }
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

/// Names in a directory; none if it does not exist.
fn names(directory: &Path) -> Result<Vec<String>> {
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
