//! Settings for registries: containers-registries.conf(5), version 2, and what
//! docker's daemon.json says of the same.

use crate::error::demand;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::client::Endpoint;
use super::files;
use crate::image::reference::{self, Reference};

/// What the files say together.
#[derive(Clone, Debug, Default)]
pub struct Conf {
    search: Vec<String>,
    registries: Vec<Registry>,
    aliases: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Text {
    unqualified_search_registries: Option<Vec<String>>,
    #[serde(default)]
    registry: Vec<Registry>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Registry {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    mirror_by_digest_only: bool,
    mirror: Vec<Mirror>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Mirror {
    location: String,
    insecure: bool,
    pull_from_mirror: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[derive(Default)]
struct Daemon {
    insecure_registries: Vec<String>,
    registry_mirrors: Vec<String>,
}

impl Conf {
    /// Reads the files of this machine and user.
    pub fn load() -> Result<Conf> {
        let mut conf = Conf::default();
        for path in files::docker_daemon() {
            if let Some(text) = read(&path)? {
                conf.add_daemon(&text)
                    .with_context(|| format!("parse {}", path.display()))?;
            }
        }
        for path in files::registries_conf()? {
            if let Some(text) = read(&path)? {
                conf.add(&text)
                    .with_context(|| format!("parse {}", path.display()))?;
            }
        }
        Ok(conf)
    }

    /// What one registries.conf says.
    pub fn parse(text: &str) -> Result<Conf> {
        let mut conf = Conf::default();
        conf.add(text)?;
        Ok(conf)
    }

    /// Adds a file; what it says goes before what was said.
    fn add(&mut self, text: &str) -> Result<()> {
        let text: Text = toml::from_str(text)?;
        if let Some(search) = text.unqualified_search_registries {
            self.search = search;
        }
        for mut registry in text.registry {
            if registry.prefix.is_empty() {
                registry.prefix.clone_from(&registry.location);
            }
            demand!(
                Invalid,
                !registry.prefix.is_empty(),
                "a registry has neither location nor prefix"
            );
            let wild = registry.prefix.starts_with("*.");
            demand!(
                Invalid,
                !(wild && registry.location.is_empty() && !registry.mirror.is_empty()),
                "{}: mirrors need a location",
                registry.prefix
            );
            self.registries
                .retain(|known| known.prefix != registry.prefix);
            self.registries.push(registry);
        }
        for (name, value) in text.aliases {
            match value.is_empty() {
                true => self.aliases.remove(&name),
                false => self.aliases.insert(name, value),
            };
        }
        Ok(())
    }

    fn add_daemon(&mut self, text: &str) -> Result<()> {
        let daemon: Daemon = serde_json::from_str(text)?;
        for prefix in daemon.insecure_registries {
            self.registries.push(Registry {
                location: prefix.clone(),
                prefix,
                insecure: true,
                ..Registry::default()
            });
        }
        let mirrors = daemon.registry_mirrors.iter().map(|url| Mirror {
            insecure: url.starts_with("http://"),
            location: bare(url).to_owned(),
            ..Mirror::default()
        });
        let mirror: Vec<Mirror> = mirrors.collect();
        if !mirror.is_empty() {
            self.registries.push(Registry {
                prefix: "docker.io".to_owned(),
                location: "docker.io".to_owned(),
                mirror,
                ..Registry::default()
            });
        }
        Ok(())
    }

    /// What a name that a user wrote may stand for, in the order to try: with
    /// a registry it is itself; without, an alias, or the name in each of the
    /// registries to be searched.
    pub fn names(&self, text: &str) -> Result<Vec<Reference>> {
        let written: Reference = text.parse()?;
        if reference::has_domain(text) {
            return Ok(vec![written]);
        }
        let name = written.familiar_name();
        if let Some(full) = self.aliases.get(&name) {
            let full: Reference = full.parse().with_context(|| format!("alias {name}"))?;
            return Ok(vec![written.at(full.domain(), full.path())]);
        }
        if self.search.is_empty() {
            return Ok(vec![written]);
        }
        let found = self.search.iter().map(|registry| {
            let full: Reference = format!("{registry}/{name}").parse()?;
            Ok(written.at(full.domain(), full.path()))
        });
        found
            .collect::<Result<_>>()
            .context("unqualified-search-registries")
    }

    /// Where to ask for an image, the mirrors first. An error if the registry
    /// is blocked.
    pub fn places(&self, reference: &Reference) -> Result<Vec<Endpoint>> {
        let name = format!("{}/{}", reference.domain(), reference.path());
        let Some((registry, rest)) = self.of(&name) else {
            return Ok(vec![Endpoint::of(reference)]);
        };
        demand!(
            Forbidden,
            !registry.blocked,
            "registry {} is blocked by registries.conf",
            registry.prefix
        );
        let mut places = Vec::new();
        for mirror in &registry.mirror {
            let by_digest = reference.digest().is_some();
            let serves = match mirror.pull_from_mirror.as_str() {
                "digest-only" => by_digest,
                "tag-only" => !by_digest,
                _ => by_digest || !registry.mirror_by_digest_only,
            };
            if serves {
                places.push(place(&mirror.location, rest, mirror.insecure)?);
            }
        }
        let own = match registry.location.is_empty() {
            true => Endpoint {
                insecure: registry.insecure,
                ..Endpoint::of(reference)
            },
            false => place(&registry.location, rest, registry.insecure)?,
        };
        places.push(own);
        Ok(places)
    }

    /// Where to push an image: never a mirror.
    pub fn home(&self, reference: &Reference) -> Result<Endpoint> {
        let places = self.places(reference)?;
        places.into_iter().last().context("there is a place")
    }

    /// The entry with the longest prefix of `name`, and the rest of the name.
    fn of<'a>(&self, name: &'a str) -> Option<(&Registry, &'a str)> {
        let matching = self.registries.iter().filter_map(|registry| {
            let rest = rest_after(name, &registry.prefix)?;
            Some((registry, rest))
        });
        matching.max_by_key(|(registry, _)| registry.prefix.len())
    }
}

/// What follows a prefix that ends at a boundary; `*.x` stands for all hosts
/// below `x`.
fn rest_after<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    if let Some(domain) = prefix.strip_prefix("*.") {
        let (host, rest) = name.split_at(name.find('/')?);
        let bare = host.split(':').next()?;
        let below = bare.strip_suffix(domain)?.ends_with('.');
        return below.then_some(rest);
    }
    let rest = name.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

/// A place by the location of a file (host and maybe path) and the rest of
/// the name.
fn place(location: &str, rest: &str, insecure: bool) -> Result<Endpoint> {
    let name = format!("{}{rest}", location.trim_end_matches('/'));
    let reference: Reference = name.parse().context("registries.conf")?;
    demand!(
        Invalid,
        reference::has_domain(&name),
        "registries.conf: location {location:?} has no host"
    );
    Ok(Endpoint {
        insecure,
        ..Endpoint::of(&reference)
    })
}

/// A URL without its scheme and last slash.
fn bare(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.trim_end_matches('/')
}

/// A file's text; None if there is none, or only root may read it.
fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

/// The `*.conf` files of a directory, in the order of their names.
pub fn drop_ins(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(_) => return Ok(Vec::new()),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "conf")
        {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = r#"
unqualified-search-registries = ["r.test", "docker.io"]
short-name-mode = "permissive"
[[registry]]
prefix = "docker.io"
location = "docker.io"
[[registry.mirror]]
location = "mirror.test:5000/hub"
insecure = true
[[registry.mirror]]
location = "pinned.test"
pull-from-mirror = "digest-only"
[[registry]]
prefix = "old.test/team"
location = "new.test/group"
[[registry]]
location = "bad.test"
blocked = true
[[registry]]
prefix = "*.lab.test"
insecure = true
[aliases]
"deb" = "deb.test/images/debian"
"#;

    fn conf() -> Conf {
        Conf::parse(TEXT).unwrap()
    }

    fn places(name: &str) -> Vec<String> {
        let places = conf().places(&name.parse().unwrap()).unwrap();
        let shown = places.iter().map(|place| {
            let mark = if place.insecure { "!" } else { "" };
            format!("{mark}{}/{}", place.domain, place.path)
        });
        shown.collect()
    }

    #[test]
    fn names_find_their_places() {
        assert_eq!(
            places("busybox"),
            [
                "!mirror.test:5000/hub/library/busybox",
                "docker.io/library/busybox"
            ]
        );
        let pinned = format!("busybox@sha256:{}", "a".repeat(64));
        assert_eq!(places(&pinned).len(), 3);
        assert_eq!(places("old.test/team/x"), ["new.test/group/x"]);
        assert_eq!(places("old.test/teams/x"), ["old.test/teams/x"]);
        assert_eq!(places("a.lab.test/x"), ["!a.lab.test/x"]);
        assert_eq!(places("lab.test/x"), ["lab.test/x"]);
        let blocked = conf().places(&"bad.test/x".parse().unwrap());
        assert!(blocked.unwrap_err().to_string().contains("blocked"));
    }

    #[test]
    fn short_names_are_completed() {
        let names = |text: &str| -> Vec<String> {
            let names = conf().names(text).unwrap();
            names.iter().map(Reference::canonical).collect()
        };
        assert_eq!(names("deb:12"), ["deb.test/images/debian:12"]);
        assert_eq!(
            names("busybox"),
            ["r.test/busybox", "docker.io/library/busybox"]
        );
        assert_eq!(names("docker.io/deb"), ["docker.io/library/deb"]);
        assert_eq!(names("localhost/deb"), ["localhost/deb"]);
        let plain = Conf::default().names("a/b:c").unwrap();
        assert_eq!(plain[0].canonical(), "docker.io/a/b:c");
    }

    #[test]
    fn dockers_settings_mean_the_same() {
        let mut conf = Conf::default();
        let text = r#"{"insecure-registries":["x.test:5000"],"registry-mirrors":["https://m.test/"],
            "debug":true}"#;
        conf.add_daemon(text).unwrap();
        let places = |name: &str| conf.places(&name.parse().unwrap()).unwrap();
        assert!(places("x.test:5000/y")[0].insecure);
        assert_eq!(places("deb")[0].domain, "m.test");
        assert_eq!(places("deb")[0].path, "library/deb");
        // The other file goes before.
        conf.add("[[registry]]\nlocation = \"docker.io\"\n")
            .unwrap();
        assert_eq!(conf.places(&"deb".parse().unwrap()).unwrap().len(), 1);
        assert!(conf.add("[[registry]]\nblocked = true\n").is_err());
        assert!(conf.add("nonsense").is_err());
    }

    proptest! {
        #[test]
        fn any_file_is_read_or_refused(
            text in "(\\[\\[registry\\]\\]\n)?(prefix|location|aliases|blocked) = [\"a-z*./:]{0,20}\n"
        ) {
            if let Ok(conf) = Conf::parse(&text) {
                for name in conf.names("a/b").unwrap_or_default() {
                    let _ = conf.places(&name);
                }
            }
        }
    }
}
