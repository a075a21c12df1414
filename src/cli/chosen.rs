//! Which containers a verb is for: by name, or by what podman has in place of
//! names.

use super::{Context, error};
use crate::engine::container::containers::Container;
use crate::engine::create::filter::Filters;
use anyhow::{Context as _, Result};
use std::fs;
use std::path::PathBuf;

/// The containers, and how else they are named.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct Chosen {
    /// Names or ids
    #[arg(required_unless_present_any = ["all", "cidfile", "filter", "latest"])]
    containers: Vec<String>,

    /// All containers that it can be done to
    #[arg(short, long, conflicts_with_all = ["containers", "cidfile", "latest"])]
    all: bool,
    /// The container whose id is in this file, as --cidfile of `run` writes it
    #[arg(long, value_name = "FILE")]
    cidfile: Vec<PathBuf>,
    /// Those that pass, as label=KEY[=VALUE]; the filters are those of `ps`
    #[arg(long, value_name = "KEY=VALUE", conflicts_with_all = ["containers", "cidfile", "latest"])]
    filter: Vec<String>,
    /// The container that was made last
    #[arg(short, long, conflicts_with_all = ["containers", "cidfile"])]
    latest: bool,
    /// What is not there is no error
    #[arg(short, long)]
    ignore: bool,
}

impl Chosen {
    /// Their names: those that were said, as they were said. Of `--all` and
    /// `--filter`, those that `can` have it done to.
    ///
    /// # Errors
    /// A file cannot be read; a filter is none. Unless what is not there is no
    /// error, whether a container that was named is there is not looked at.
    pub fn names(&self, context: &Context, can: fn(&Container) -> bool) -> Result<Vec<String>> {
        let containers = context.containers()?;
        if self.latest {
            let newest = containers.list()?.into_iter().next();
            return Ok(newest.map(|found| found.record.name).into_iter().collect());
        }
        if self.all || !self.filter.is_empty() {
            let mut all = containers.list()?;
            let filters = Filters::parse(&self.filter, &all, &context.store()?)?;
            all.retain(|container| can(container) && filters.pass(container));
            return Ok(all.into_iter().map(|found| found.record.name).collect());
        }
        let mut names = self.containers.clone();
        for path in &self.cidfile {
            match fs::read_to_string(path) {
                Ok(id) => names.push(id.trim().to_owned()),
                Err(e) if self.ignore && e.kind() == std::io::ErrorKind::NotFound => {}
                other => {
                    other.with_context(|| format!("--cidfile {}", path.display()))?;
                }
            }
        }
        if self.ignore {
            let missing = |name: &String| match containers.find(name) {
                Err(e) => error::is_not_found(&e),
                Ok(_) => false,
            };
            names.retain(|name| !missing(name));
        }
        Ok(names)
    }
}
