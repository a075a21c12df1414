//! Which images of the store are to be in an archive, and what they are called there.

use crate::engine::container::events;
use crate::engine::create::images;
use crate::image::parcel::Parcel;
use crate::image::reference::Reference;
use crate::image::save::Form;
use crate::image::store::{Image, Store};
use anyhow::Result;

/// The images of these names, ids or digests, each with the names that it was asked for
/// by. The caller holds the store's lock, shared.
///
/// # Errors
/// One of them is not there.
pub fn parcels(store: &Store, names: &[String], form: Form) -> Result<Vec<Parcel>> {
    let mut parcels: Vec<Parcel> = Vec::new();
    for name in names {
        let image = images::find(store, name)?;
        events::emit_of_image(store, "save", &image.id, name);
        let mut parcel = Parcel::of_store(store, &image)?;
        let reference = name.parse::<Reference>().map(Reference::or_latest);
        let wanted = reference.ok().and_then(|wanted| {
            if wanted.digest().is_some() && store.has(name).is_ok_and(|has| has) {
                return by_digest(&wanted, &image, form);
            }
            let known = |known: &&Reference| {
                **known == wanted || wanted.local().is_some_and(|local| **known == local)
            };
            parcel.names.iter().find(known).cloned()
        });
        // By its id, an image has no name there, as with docker.
        parcel.names = wanted.into_iter().collect();
        match parcels.iter_mut().find(|p| p.manifest == parcel.manifest) {
            Some(known) => known.names.append(&mut parcel.names),
            None => parcels.push(parcel),
        }
    }
    Ok(parcels)
}

/// What an image is called in the archive that was asked for by a digest, be it
/// that of an index. The tag that was given with it stays; docker takes no other
/// name from an archive of its own format.
fn by_digest(name: &Reference, image: &Image, form: Form) -> Option<Reference> {
    match name.tag() {
        Some(tag) => name.with_tag(tag).ok(),
        None => (form != Form::DockerArchive).then(|| name.with_digest(&image.manifest)),
    }
}
