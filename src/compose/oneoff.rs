//! Containers of a service for a single command.

use super::labels;
use super::service::{Service, labels_of};
use super::starting::Board;
use super::up::{Made, Up};
use crate::engine::container::containers::{Container, Containers, Lock};
use crate::engine::ground::names;
use crate::engine::request::restart::Restart;
use anyhow::Result;
use oci_spec::runtime::Spec;

/// The digits of the random word that are in a name.
const SHORT: usize = 12;

/// Makes of a service what one container for a single command is made of, as docker compose does:
/// it is not started again by itself, publishes no ports unless `ports` says so, and on its
/// networks has its own name alone unless `aliases` says so.
pub fn single(service: &mut Service, ports: bool, aliases: bool) {
    let options = &mut service.options;
    options.keeping.restart = Restart::No;
    if !ports {
        options.ports.clear();
    }
    if !aliases {
        for attachment in &mut options.keeping.networks {
            attachment.aliases.clear();
        }
    }
}

impl Up<'_> {
    /// Makes a container of a service for a single command as soon as what it depends on, which is
    /// `made` and started, is as it has to be. It is called `name`, else by the project, the
    /// service and a random word.
    ///
    /// # Errors
    /// What it depends on does not come to that; it cannot be made.
    pub fn one_off(
        &self,
        service: &Service,
        name: Option<&str>,
        made: &Made,
    ) -> Result<(Container, Lock, Spec)> {
        let containers = Containers::open(self.store);
        self.ready(&containers, service, made, &Board::default())?;
        let slug = names::new_id()?;
        let random = || {
            format!(
                "{}-{}-run-{}",
                self.project.name,
                service.name,
                &slug[..SHORT]
            )
        };
        let name = name.map_or_else(random, str::to_owned);
        let image = self.images.get(&service.name);
        let mut labels = labels_of(service, 0, image.map_or("", |image| &image.id));
        labels.remove(labels::NUMBER);
        labels.insert(labels::ONE_OFF.to_owned(), "True".to_owned());
        labels.insert(labels::SLUG.to_owned(), slug);
        self.create_as(service, &name, labels, None)
    }
}
