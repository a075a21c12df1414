//! Where a container's root file system comes from.

use crate::engine::container::containers::Container;
use crate::engine::host::Parts;
use crate::engine::host::share::Share;
use crate::engine::ids::userns::{Mapping, Reach};
use crate::error::refuse;
use crate::idmap::lines;
use crate::image::budget::Budget;
use crate::image::copy::flatten;
use crate::image::owners::Owners;
use crate::image::platform::Platform;
use crate::image::progress::Progress;
use crate::image::source::{self, Source};
use crate::image::store::{Image, LayerInfo, Store};
use crate::image::view::View;
use crate::sys::fs::{make_private, make_public};
use anyhow::{Context, Result};
use oci_spec::runtime::Spec;
use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A root file system, ready to be mounted.
#[derive(Debug, Clone, Default)]
pub struct Root {
    /// Directories of an overlay, the topmost first.
    pub lowers: Vec<PathBuf>,
    /// A directory to be used as it is, in place of an overlay.
    pub direct: Option<PathBuf>,
    /// The parts of the host's own root, in place of one overlay.
    pub parts: Option<Parts>,
    /// Changes need not outlive a crash of the machine.
    pub volatile: bool,
}

/// What an image says of how to run it.
#[derive(Debug, Clone, Default)]
pub struct ImageDefaults {
    /// `Entrypoint`.
    pub entrypoint: Vec<String>,
    /// `Cmd`.
    pub command: Vec<String>,
    /// `Env`.
    pub env: Vec<(String, String)>,
    /// `WorkingDir`; empty for `/`.
    pub workdir: String,
    /// `User`.
    pub user: String,
    /// `Labels`.
    pub labels: BTreeMap<String, String>,
    /// `StopSignal`.
    pub stop_signal: Option<String>,
    /// `Volumes`.
    pub volumes: Vec<String>,
    /// `ExposedPorts`, as `80/tcp`.
    pub exposed: Vec<String>,
}

/// An image to run, found.
#[derive(Debug)]
pub struct Resolved {
    /// Its root file system.
    pub root: Root,
    /// How to run it.
    pub defaults: ImageDefaults,
    /// The image in the store, if it is one.
    pub image: Option<Image>,
}

/// The image that is the program itself.
pub const HELLO: &str = "hello";
/// The image that is the host's own root.
pub const HOST: &str = "host";

/// Whether an image of that name is part of the program.
pub fn is_built_in(name: &str) -> bool {
    matches!(name, HELLO | HOST)
}

/// Finds what `name` stands for: an image of the store, an archive or
/// directory (`tar:PATH`, `dir:PATH`, …), or one of the built-in images. An
/// image of the store goes before a built-in one of the same name. What has to
/// be unpacked is unpacked where `mapping` has the owners of files. The caller
/// holds the store's lock, shared. `share` is for the image `host`.
pub fn resolve(
    store: &Store,
    name: &str,
    platform: Option<&Platform>,
    mapping: &Mapping,
    share: &Share,
    progress: &dyn Progress,
) -> Result<Resolved> {
    let source = Source::parse(name)?;
    let now = jiff::Timestamp::now().to_string();
    if source.is_archive() {
        // Brought in; below it is only looked up.
        let bring = || source.resolve(store, platform, &now, progress).map(drop);
        mapping.inside_confined(store, &Budget::default(), Reach::Files, bring)?;
    }
    let found = match (source.resolve(store, platform, &now, progress)?, name) {
        (Some(source::Resolved::Image(image)), _) => *image,
        (Some(source::Resolved::Directory(path)), _) => return Ok(directory(&path)),
        (None, HELLO) => return hello(store.root(), mapping),
        (None, HOST) => return host(share, store.root()),
        (None, _) => refuse!(
            NotFound,
            "No such image: {name} (bryo pull, bryo import or bryo load brings one in, \
             bryo images lists them)"
        ),
    };
    let config = &found.config;
    let variant = config.variant().as_deref();
    let built_for = Platform::new(
        &config.os().to_string(),
        &config.architecture().to_string(),
        variant,
    );
    if let Some(wanted) = platform.filter(|wanted| wanted.runs(&built_for).is_none()) {
        refuse!(
            Conflict,
            "image '{name}' is for {built_for}, not for {wanted}"
        );
    }
    let lowers = lowers_of(store, &found.layers, mapping, progress);
    let lowers = lowers.with_context(|| format!("image '{name}'"))?;
    Ok(Resolved {
        root: Root {
            lowers,
            ..Root::default()
        },
        defaults: defaults(&found),
        image: Some(found),
    })
}

/// The trees of layers, the topmost first; what is not unpacked is unpacked. The caller
/// holds the store's lock, shared.
///
/// # Errors
/// A layer is not in the store, or there is no room for it.
pub fn lowers_of(
    store: &Store,
    layers: &[LayerInfo],
    mapping: &Mapping,
    progress: &dyn Progress,
) -> Result<Vec<PathBuf>> {
    if let Some(lowers) = store.lowers_of(layers) {
        return Ok(lowers);
    }
    // What they may ask for was seen when they came in.
    let unpack = || store.unpack_layers(layers, progress);
    mapping.inside_confined(store, &Budget::UNLIMITED, Reach::Files, unpack)?;
    store.lowers_of(layers).context("its layers vanished")
}

/// Layers that are no image, or no image yet; what is said of how to run it is for who
/// asks to say.
///
/// # Errors
/// As [`lowers_of`].
pub fn of_layers(
    store: &Store,
    layers: &[LayerInfo],
    mapping: &Mapping,
    progress: &dyn Progress,
) -> Result<Resolved> {
    Ok(Resolved {
        root: Root {
            lowers: lowers_of(store, layers, mapping, progress)?,
            ..Root::default()
        },
        defaults: ImageDefaults::default(),
        image: None,
    })
}

/// A directory below an overlay of the container's own.
fn directory(path: &Path) -> Resolved {
    Resolved {
        root: Root {
            lowers: vec![path.to_owned()],
            ..Root::default()
        },
        defaults: ImageDefaults {
            command: vec!["/bin/sh".into()],
            ..ImageDefaults::default()
        },
        image: None,
    }
}

/// A directory used as it is: `--rootfs`.
pub fn direct(path: &Path) -> Result<Resolved> {
    let path = std::fs::canonicalize(path).with_context(|| format!("rootfs {}", path.display()))?;
    if !path.is_dir() {
        refuse!(Invalid, "rootfs {}: not a directory", path.display());
    }
    Ok(Resolved {
        root: Root {
            direct: Some(path),
            ..Root::default()
        },
        defaults: ImageDefaults::default(),
        image: None,
    })
}

fn defaults(image: &Image) -> ImageDefaults {
    let Some(config) = image.config.config() else {
        return ImageDefaults::default();
    };
    let words = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let env = config.env().iter().flatten();
    let env = env.map(|e| e.split_once('=').unwrap_or((e, "")));
    ImageDefaults {
        entrypoint: words(config.entrypoint()),
        command: words(config.cmd()),
        env: env.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        workdir: config.working_dir().clone().unwrap_or_default(),
        user: config.user().clone().unwrap_or_default(),
        labels: config
            .labels()
            .clone()
            .unwrap_or_default()
            .into_iter()
            .collect(),
        stop_signal: config.stop_signal().clone(),
        volumes: words(config.volumes()),
        exposed: words(config.exposed_ports()),
    }
}

/// A copy of the running program as the only file of a directory. The
/// program itself is never shown to a container, which could write to it.
fn hello(store: &Path, mapping: &Mapping) -> Result<Resolved> {
    let this = std::fs::File::open("/proc/self/exe").context("open the program itself")?;
    let meta = this.metadata()?;
    let key = format!(
        "{:x}-{:x}-{:x}",
        meta.ino(),
        meta.mtime_nsec() ^ meta.mtime(),
        meta.len()
    );
    let builtin = store.join("builtin");
    let dir = builtin.join(&key);
    if !dir.join("bryo").exists() {
        make_private(&builtin)?;
        let new = builtin.join(format!(".{key}.{}", std::process::id()));
        make_public(&new)?;
        let copy = || -> std::io::Result<()> {
            let mut options = std::fs::OpenOptions::new();
            let mut file = options
                .write(true)
                .create_new(true)
                .mode(0o755)
                .open(new.join("bryo"))?;
            std::io::copy(&mut &this, &mut file)?;
            file.set_permissions(Permissions::from_mode(0o755))?;
            drop(file);
            std::fs::rename(&new, &dir)
        };
        if let Err(e) = copy() {
            let _ = std::fs::remove_dir_all(&new);
            // Another one was faster: as good.
            if !dir.join("bryo").exists() {
                return Err(e).context("copy the program itself");
            }
        }
    }
    Ok(Resolved {
        root: Root {
            lowers: vec![dir],
            ..Root::default()
        },
        defaults: ImageDefaults {
            entrypoint: vec!["/bryo".into(), "hello".into()],
            env: [(HOST_NAMESPACES.to_owned(), own_namespaces())]
                .into_iter()
                .chain(maps_on_host(mapping))
                .collect(),
            ..ImageDefaults::default()
        },
        image: None,
    })
}

/// Variable by which `hello` knows the host's namespaces: `kind=number`,
/// separated by commas.
pub const HOST_NAMESPACES: &str = "BRYO_HOST_NAMESPACES";

/// Where it finds its id maps as they are on the host: `uid_map` and `gid_map`.
pub const HOST_MAPS: [&str; 2] = ["BRYO_HOST_UID_MAP", "BRYO_HOST_GID_MAP"];

/// The kernel shows a container what its ids are one namespace up, which is the
/// keeper's where there are several.
fn maps_on_host(mapping: &Mapping) -> Vec<(String, String)> {
    let Mapping::Mapped(mapped) = mapping else {
        return Vec::new();
    };
    let maps = [&mapped.uids, &mapped.gids].map(|map| lines(map));
    let names = HOST_MAPS.map(str::to_owned);
    names.into_iter().zip(maps).collect()
}

fn own_namespaces() -> String {
    let links = ["user", "mnt", "pid", "net", "uts", "ipc", "cgroup", "time"].map(|kind| {
        let link = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap_or_default();
        let link = link.to_string_lossy();
        let number: String = link.chars().filter(char::is_ascii_digit).collect();
        format!("{kind}={number}")
    });
    links.join(",")
}

/// The host's files below throw-away overlays, the caller's working directory,
/// and what of his environment is for others.
fn host(share: &Share, store: &Path) -> Result<Resolved> {
    let cwd = std::env::current_dir().ok();
    let shell = std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".into());
    Ok(Resolved {
        root: Root {
            lowers: vec!["/".into()],
            parts: Some(Parts::find(share, store)?),
            ..Root::default()
        },
        defaults: ImageDefaults {
            command: vec![shell],
            env: std::env::vars_os()
                .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
                // Sockets are told anew to who gets them.
                .filter(|(key, _)| key != "HOSTNAME" && !key.starts_with("LISTEN_"))
                .filter(|(key, _)| share.passes(key))
                .collect(),
            workdir: cwd.map(|c| c.display().to_string()).unwrap_or_default(),
            ..ImageDefaults::default()
        },
        image: None,
    })
}

/// Reads a file of the root file system as the container will see it; `None`
/// if there is none. For small files only.
pub fn read_file(root: &Root, path: &str) -> Result<Option<Vec<u8>>> {
    let lowers = match &root.direct {
        Some(dir) => vec![dir.clone()],
        None => root.lowers.clone(),
    };
    View::new(&lowers)?.read(path, 16 << 20)
}

/// The directories that a container's root file system stands on, the topmost
/// first; none if it is no overlay.
pub fn stands_on(spec: &Spec) -> Vec<PathBuf> {
    let mut mounts = spec.mounts().iter().flatten();
    let root = mounts.find(|mount| mount.destination() == Path::new("/"));
    let words = root.and_then(|root| root.options().as_deref());
    lowers(words.unwrap_or_default())
}

fn lowers(words: &[String]) -> Vec<PathBuf> {
    let paths = words.iter().filter_map(|w| w.strip_prefix("lowerdir="));
    paths.map(PathBuf::from).collect()
}

/// Puts something else in the place of an overlay that the kernel refused:
/// first, if the container is thrown away anyway, changes in memory; then a
/// copy of all layers. Returns what in words, or `None` if nothing is left.
pub fn substitute(spec: &mut Spec, container: &Container) -> Result<Option<String>> {
    use crate::runtime::plan::TMPFS_UPPER;
    let mounts = spec.mounts_mut().as_mut();
    let Some(mount) = mounts.and_then(|m| m.iter_mut().find(|m| m.destination() == Path::new("/")))
    else {
        return Ok(None);
    };
    let words = mount.options().clone().unwrap_or_default();
    let in_memory = words.iter().any(|w| w == TMPFS_UPPER);
    if container.record.auto_remove && !in_memory {
        let kept = words.into_iter();
        // The upper directory stays, for what the root directory is like.
        let kept = kept.filter(|w| !w.starts_with("workdir="));
        let kept = kept
            .filter(|w| w != "volatile")
            .chain([TMPFS_UPPER.to_owned()]);
        mount.set_options(Some(kept.collect()));
        return Ok(Some(
            "changes are kept in memory: an overlay on this store was refused".into(),
        ));
    }
    let lowers = lowers(&words);
    if lowers.iter().any(|l| l == Path::new("/")) {
        return Ok(None);
    }
    let copy = container.dir.join("copy");
    let mut owners = Owners::new(&container.dir);
    flatten(&lowers, &copy, &mut owners).context("copy the image")?;
    mount.set_typ(Some("bind".into()));
    mount.set_source(Some(copy));
    mount.set_options(Some(vec!["rbind".into(), "rprivate".into()]));
    Ok(Some(
        "the image was copied, which takes time and room: an overlay was refused".into(),
    ))
}
