//! What is asked to be mounted: `-v`, `--mount`, `--tmpfs`, `--volumes-from`,
//! `--image-volume`; and what a container's record keeps of it. Pure, but for a look at
//! whether a directory of the host exists.

use super::names;
use crate::error::refuse;
use crate::image::store::LayerInfo;
use crate::runtime::options::MountOptions;
use crate::sys::fs::clean;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};

mod long;

pub use long::{inner, parse_mount};

/// A mount given by `-v`, `--mount` or `--tmpfs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountOption {
    /// A file or directory of the host.
    Bind {
        /// On the host, absolute.
        source: PathBuf,
        /// In the container, absolute.
        destination: PathBuf,
        /// Words of mount(8).
        options: Vec<String>,
        /// `U`: it is given to the container's user.
        chown: bool,
    },
    /// A volume.
    Volume {
        /// Its name; a new one of the container's own without.
        name: Option<String>,
        /// In the container, absolute.
        destination: PathBuf,
        /// Words of mount(8).
        options: Vec<String>,
        /// The part of the volume, relative; all of it without.
        subpath: Option<String>,
        /// Whether a new one starts with what the image has there.
        fill: bool,
        /// `U`: it is given to the container's user.
        chown: bool,
    },
    /// A new file system in memory.
    Tmpfs {
        /// In the container, absolute.
        destination: PathBuf,
        /// Words of mount(8).
        options: Vec<String>,
    },
    /// Layers that are no image, the bottom one first, read-only. Nobody asks for them by
    /// a flag: builds do.
    Layers {
        /// They.
        layers: Vec<LayerInfo>,
        /// In the container, absolute.
        destination: PathBuf,
        /// The part of them, relative; all without.
        subpath: Option<String>,
    },
    /// The files of another image, read-only.
    Image {
        /// The image.
        image: String,
        /// In the container, absolute.
        destination: PathBuf,
        /// The part of the image, relative; all of it without.
        subpath: Option<String>,
    },
}

impl MountOption {
    /// A new volume of the container's own, as an image asks for it.
    pub fn anonymous(destination: &Path) -> MountOption {
        MountOption::Volume {
            name: None,
            destination: clean(destination),
            options: bind_words(Vec::new()),
            subpath: None,
            fill: true,
            chown: false,
        }
    }

    /// An empty file system in memory.
    pub fn tmpfs(destination: &Path) -> MountOption {
        MountOption::Tmpfs {
            destination: clean(destination),
            options: tmpfs_words(Vec::new()),
        }
    }

    /// Where it is mounted.
    pub fn destination(&self) -> &Path {
        match self {
            MountOption::Bind { destination, .. }
            | MountOption::Volume { destination, .. }
            | MountOption::Tmpfs { destination, .. }
            | MountOption::Layers { destination, .. }
            | MountOption::Image { destination, .. } => destination,
        }
    }
}

/// `--image-volume`: what becomes of the directories that an image calls
/// volumes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ImageVolumes {
    /// Each gets a volume of the container's own.
    #[default]
    #[value(alias = "bind")]
    Anonymous,
    /// Each gets a file system in memory.
    Tmpfs,
    /// They are directories like others.
    Ignore,
}

/// What a record knows of a mount that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mounted {
    /// What it is.
    pub kind: Kind,
    /// The volume's name, the host's path, the image's id; empty for a tmpfs.
    pub source: String,
    /// In the container.
    pub destination: PathBuf,
    /// Words of mount(8), and `subpath=` with the part of a volume or image
    /// that it shows, if that is not all.
    pub options: Vec<String>,
}

/// How the word of a record begins that names the part of a volume or image.
const SUBPATH: &str = "subpath=";

/// Kinds of mounts, by docker's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A file or directory of the host.
    Bind,
    /// A volume.
    Volume,
    /// In memory.
    Tmpfs,
    /// Files of an image.
    Image,
}

impl Kind {
    /// Docker's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Bind => "bind",
            Kind::Volume => "volume",
            Kind::Tmpfs => "tmpfs",
            Kind::Image => "image",
        }
    }
}

impl Mounted {
    /// Whether the container may write to it.
    pub fn is_writable(&self) -> bool {
        let read_only = |word: &String| word == "ro" || word == "rro";
        self.kind != Kind::Image && !self.options.iter().any(read_only)
    }

    /// What a container has mounted there of a volume or image, by words of
    /// mount(8); of all of it without a `subpath`.
    pub fn new(
        kind: Kind,
        source: String,
        destination: &Path,
        mut options: Vec<String>,
        subpath: Option<&str>,
    ) -> Mounted {
        options.extend(subpath.map(|path| format!("{SUBPATH}{path}")));
        Mounted {
            kind,
            source,
            destination: destination.to_owned(),
            options,
        }
    }

    /// The words of mount(8), and the part that it shows, if not all of it.
    fn words(&self) -> (Vec<String>, Option<String>) {
        let part = |word: &String| word.strip_prefix(SUBPATH).map(str::to_owned);
        let subpath = self.options.iter().find_map(part);
        let words = self.options.iter().filter(|word| part(word).is_none());
        (words.cloned().collect(), subpath)
    }
}

/// Splits a `-v` at its colons: source, destination, options. A source that
/// is no path names a volume; without one the volume is new.
///
/// # Errors
/// A destination that is not absolute, a path that does not exist, a name that
/// volumes cannot have.
pub fn parse_volume(text: &str) -> Result<MountOption> {
    let fail = |why: &str| format!("volume '{text}': {why}");
    let parts: Vec<&str> = text.split(':').collect();
    let (source, destination, options) = match parts.as_slice() {
        [destination] => (None, *destination, ""),
        [source, destination] => (Some(*source), *destination, ""),
        [source, destination, options] => (Some(*source), *destination, *options),
        _ => refuse!(
            Invalid,
            "{}",
            fail("too many colons; use --mount for such a path")
        ),
    };
    let mut words: Vec<String> = Vec::new();
    let (mut fill, mut chown, mut subpath) = (true, false, None);
    for word in options.split(',').filter(|w| !w.is_empty()) {
        match word {
            // Written through to every mount below, where the kernel can.
            "ro" => words.push("rro".into()),
            "U" => chown = true,
            "O" => refuse!(
                Unsupported,
                "{}",
                fail("option 'O' (an overlay over the host's directory) is not supported yet")
            ),
            "copy" => fill = true,
            "nocopy" => fill = false,
            other => match other.strip_prefix(SUBPATH) {
                Some(path) => subpath = Some(long::inner(path)?),
                None => words.push(other.into()),
            },
        }
    }
    let destination = absolute(destination).with_context(|| fail("destination"))?;
    let options = bind_words(words);
    // A bind mount has no parameters of a file system.
    let unknown = MountOptions::parse(&options)?.parameters.into_iter().next();
    if let Some((word, _)) = unknown {
        let word = word.to_string_lossy();
        refuse!(
            Invalid,
            "{}",
            fail(&format!(
                "option '{word}' is unknown: there are ro, rw, U, copy, nocopy, z and those of mount(8) \
             for bind mounts"
            ))
        );
    }
    match source {
        Some(path) if path.starts_with(['/', '.', '~']) => Ok(MountOption::Bind {
            source: absolute_source(path).with_context(|| fail("source"))?,
            destination,
            options,
            chown,
        }),
        name => {
            name.map(names::volume)
                .transpose()
                .with_context(|| fail("source"))?;
            Ok(MountOption::Volume {
                name: name.map(str::to_owned),
                destination,
                options,
                subpath,
                fill,
                chown,
            })
        }
    }
}

/// Parses `--tmpfs PATH[:OPTIONS]`.
pub fn parse_tmpfs(text: &str) -> Result<MountOption> {
    let (path, options) = text.split_once(':').unwrap_or((text, ""));
    let words = options.split(',').filter(|w| !w.is_empty());
    Ok(MountOption::Tmpfs {
        destination: absolute(path).with_context(|| format!("tmpfs '{text}'"))?,
        options: tmpfs_words(words.map(str::to_owned).collect()),
    })
}

/// `--volumes-from CONTAINER[:OPTIONS]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumesFrom {
    /// The other container.
    pub container: String,
    /// Its mounts are read-only here.
    pub read_only: bool,
}

impl fmt::Display for VolumesFrom {
    /// As it is read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = if self.read_only { ":ro" } else { "" };
        write!(f, "{}{options}", self.container)
    }
}

/// Reads a `--volumes-from`.
///
/// # Errors
/// An option that is none of `ro`, `rw`, `z` and `Z`, which says nothing here.
pub fn parse_volumes_from(text: &str) -> Result<VolumesFrom> {
    let (container, options) = text.split_once(':').unwrap_or((text, ""));
    let mut read_only = false;
    for word in options.split(',').filter(|w| !w.is_empty()) {
        match word {
            "ro" => read_only = true,
            "rw" => read_only = false,
            "z" | "Z" => {}
            other => refuse!(
                Invalid,
                "--volumes-from {text}: '{other}' is none of ro, rw, z"
            ),
        }
    }
    Ok(VolumesFrom {
        container: container.to_owned(),
        read_only,
    })
}

/// The mounts of another container, as they are asked for again.
pub fn again(mounted: &Mounted, read_only: bool) -> MountOption {
    let (mut options, subpath) = mounted.words();
    if read_only {
        options.push("rro".into());
    }
    let destination = mounted.destination.clone();
    match mounted.kind {
        Kind::Bind => MountOption::Bind {
            source: (&mounted.source).into(),
            destination,
            options,
            chown: false,
        },
        Kind::Volume => MountOption::Volume {
            name: Some(mounted.source.clone()),
            destination,
            options,
            subpath,
            fill: false,
            chown: false,
        },
        Kind::Tmpfs => MountOption::Tmpfs {
            destination,
            options,
        },
        Kind::Image => MountOption::Image {
            image: mounted.source.clone(),
            destination,
            subpath,
        },
    }
}

/// Words of mount(8) for what is bound, with docker's defaults where they say nothing.
pub fn bind_words(words: Vec<String>) -> Vec<String> {
    let mut all = Vec::with_capacity(words.len() + 2);
    if !words.iter().any(|w| w == "bind" || w == "rbind") {
        all.push("rbind".into());
    }
    let propagation = ["private", "shared", "slave", "unbindable"];
    let given = |w: &String| propagation.contains(&w.strip_prefix('r').unwrap_or(w));
    if !words.iter().any(given) {
        all.push("rprivate".into());
    }
    all.extend(words);
    all
}

/// Docker's defaults for a tmpfs, and podman's copy of what is below.
pub fn tmpfs_words(words: Vec<String>) -> Vec<String> {
    let mut all: Vec<String> = ["nosuid", "nodev", "noexec", "tmpcopyup"]
        .map(String::from)
        .into();
    if !words.iter().any(|w| w.starts_with("mode=")) {
        all.push("mode=1777".into());
    }
    all.extend(words);
    all
}

/// A place in a container, which has to be absolute.
///
/// # Errors
/// It is not.
pub fn absolute(path: &str) -> Result<PathBuf> {
    if !path.starts_with('/') {
        refuse!(
            Invalid,
            "{path} is not an absolute path; it is a place in the container, as /data"
        );
    }
    Ok(clean(Path::new(path)))
}

fn absolute_source(path: &str) -> Result<PathBuf> {
    let path = match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => std::path::absolute(path).context("the current directory")?,
    };
    match path.symlink_metadata() {
        Ok(_) => Ok(path),
        Err(e) => Err(e).with_context(|| format!("{}: make it first", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_flag_is_survived(text in "[a-z0-9:=,/.~ \\PC]{0,40}", path in "(/[a-z.]{0,4}){1,4}") {
            let _ = parse_volumes_from(&text);
            let all = [
                parse_volume(&text),
                parse_volume(&format!("/:{path}:{text}")),
                parse_volume(&format!("{text}:{path}")),
                parse_mount(&text),
                parse_mount(&format!("type=bind,src=/,dst={path},{text}")),
                parse_mount(&format!("dst={path},{text}")),
                parse_tmpfs(&text),
                parse_tmpfs(&format!("{path}:{text}")),
            ];
            for mount in all.into_iter().flatten() {
                prop_assert!(mount.destination().is_absolute());
                if let MountOption::Volume { name: Some(name), .. } = &mount {
                    prop_assert!(!name.contains('/') && !name.starts_with('.'));
                }
            }
        }
    }

    #[test]
    fn volumes() {
        let parsed = parse_volume("/etc:/x:ro,noexec,U").unwrap();
        let MountOption::Bind {
            source,
            destination,
            options,
            chown,
        } = parsed
        else {
            panic!("not a bind")
        };
        assert_eq!(source, Path::new("/etc"));
        assert_eq!(destination, Path::new("/x"));
        assert_eq!(options, ["rbind", "rprivate", "rro", "noexec"]);
        assert!(chown);
        let named = parse_volume("data:/x:nocopy").unwrap();
        let MountOption::Volume { name, fill, .. } = named else {
            panic!("no volume")
        };
        assert_eq!((name.as_deref(), fill), (Some("data"), false));
        let MountOption::Volume { name: None, .. } = parse_volume("/x").unwrap() else {
            panic!("a name")
        };
        for bad in [
            "da ta:/x",
            ":/x",
            "/etc:x",
            "x",
            "/nowhere:/x",
            "/a:/b:c:d",
            "x:/y:O",
        ] {
            let error = format!("{:#}", parse_volume(bad).unwrap_err());
            assert!(error.contains(bad), "{error}");
        }
    }

    #[test]
    fn mounts_of_others_are_asked_for_by_container() {
        let from = |container: &str, read_only| VolumesFrom {
            container: container.into(),
            read_only,
        };
        for (text, wanted) in [
            ("c", from("c", false)),
            ("c:ro", from("c", true)),
            ("c:ro,rw,z", from("c", false)),
            ("c:Z,ro", from("c", true)),
        ] {
            assert_eq!(parse_volumes_from(text).unwrap(), wanted, "{text}");
        }
        assert_eq!(from("c", true).to_string(), "c:ro");
        let error = parse_volumes_from("c:nocopy").unwrap_err().to_string();
        assert_eq!(
            error,
            "--volumes-from c:nocopy: 'nocopy' is none of ro, rw, z"
        );
    }

    /// Records of all builds so far have a part of a volume among the words.
    #[test]
    fn parts_are_words_in_records() {
        let parsed = parse_volume("v:/x:ro,subpath=a/./b").unwrap();
        let MountOption::Volume {
            options,
            subpath: Some(subpath),
            ..
        } = &parsed
        else {
            panic!("no part of a volume")
        };
        assert_eq!((options.len(), subpath.as_str()), (3, "a/b"));
        let place = Path::new("/x");
        let part = Some(subpath.as_str());
        let mounted = Mounted::new(Kind::Volume, "v".into(), place, options.clone(), part);
        assert_eq!(
            serde_json::to_string(&mounted).unwrap(),
            r#"{"kind":"volume","source":"v","destination":"/x","options":["rbind","rprivate","rro","subpath=a/b"]}"#
        );
        let MountOption::Volume {
            options: words,
            subpath: Some(path),
            fill: false,
            ..
        } = again(&mounted, false)
        else {
            panic!("no part of a volume, or filled")
        };
        assert_eq!((&words, path.as_str()), (options, "a/b"));
    }

    #[test]
    fn places_in_the_container_are_cleaned() {
        for (text, wanted) in [
            ("x:/a/../b", "/b"),
            ("x:/a/./b//c/", "/a/b/c"),
            ("x:/../../a", "/a"),
            ("/a/..", "/"),
            ("/etc:/a/b/..:ro", "/a"),
        ] {
            let parsed = parse_volume(text).unwrap();
            assert_eq!(parsed.destination(), Path::new(wanted), "{text}");
        }
        let tmpfs = parse_tmpfs("/a/../t:size=1m").unwrap();
        assert_eq!(tmpfs.destination(), Path::new("/t"));
        for text in ["x:.", "x:b", "x:../b", "x:./b", ".", "x:"] {
            let error = format!("{:#}", parse_volume(text).unwrap_err());
            assert!(error.contains("not an absolute path"), "{error}");
        }
    }

    #[test]
    fn mounts() {
        let parsed = parse_mount("type=tmpfs,target=/t,tmpfs-size=1m").unwrap();
        let MountOption::Tmpfs { options, .. } = parsed else {
            panic!("not a tmpfs")
        };
        assert!(options.contains(&"size=1048576".to_owned()));
        let parsed = parse_mount("src=data,dst=/x,readonly,volume-nocopy=true").unwrap();
        let MountOption::Volume {
            fill: false,
            options,
            ..
        } = parsed
        else {
            panic!("no volume, or filled")
        };
        assert!(options.contains(&"rro".to_owned()));
        assert!(parse_mount("type=image,src=busybox,dst=/x,ro").is_ok());
        for bad in [
            "type=bind,target=/x",
            "type=magic,target=/x",
            "type=bind,src=/etc",
            "src=a/b,target=/x",
            "type=image,target=/x",
            "type=image,src=x,target=/x,rw=true",
            "src=x,target=/x,volume-driver=nfs",
        ] {
            assert!(parse_mount(bad).is_err(), "{bad}");
        }
    }
}
