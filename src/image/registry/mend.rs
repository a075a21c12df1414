//! One blob or manifest of a registry, in the place of a damaged one.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result};
use oci_spec::image::Descriptor;

use super::client::Client;
use super::parts::Parts;
use super::transfer;
use crate::image::progress::Quiet;
use crate::image::reference::Reference;
use crate::image::session::private_dir;
use crate::image::store::Store;

/// Fetches what `wanted` describes from where the image `reference` is, and
/// puts it into the store. Whoever calls holds the store's lock.
pub fn fetch(
    store: &Store,
    client: &Client,
    reference: &Reference,
    wanted: &Descriptor,
    is_manifest: bool,
) -> Result<()> {
    let mut failed = None;
    for place in client.conf.places(reference)? {
        let repository = client.repository(&place)?;
        let result = match is_manifest {
            true => manifest(store, client, &repository, wanted),
            false => blob(store, client, &repository, wanted),
        };
        match result {
            Ok(()) => return Ok(()),
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.context("there is a place")?)
}

fn manifest(
    store: &Store,
    client: &Client,
    repository: &super::client::Repository,
    wanted: &Descriptor,
) -> Result<()> {
    let fetched = client.manifest(repository, wanted.digest().as_ref())?;
    let session = store.session()?;
    let path = session.path("manifest")?;
    fs::write(&path, &fetched.bytes)?;
    place(store, wanted, &path)
}

fn blob(
    store: &Store,
    client: &Client,
    repository: &super::client::Repository,
    wanted: &Descriptor,
) -> Result<()> {
    let parts = Parts::new(store.root());
    parts.prepare()?;
    transfer::fetch(client, repository, wanted, &parts, &Quiet)?;
    place(store, wanted, &parts.done(wanted.digest()))
}

fn place(store: &Store, wanted: &Descriptor, file: &std::path::Path) -> Result<()> {
    let place = store.layout().blob(wanted.digest());
    private_dir(place.parent().context("it is in a directory")?)?;
    fs::set_permissions(file, fs::Permissions::from_mode(0o644))?;
    fs::rename(file, &place).with_context(|| format!("write {}", place.display()))
}
