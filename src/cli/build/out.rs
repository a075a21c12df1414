//! `--output`: where the result of a build goes, if that is not the store.

use crate::build::export::{to_directory, to_tar};
use crate::cli::progress;
use crate::error::refuse;
use crate::image::output::Output;
use crate::image::parcel::Parcel;
use crate::image::reference::Reference;
use crate::image::save::{self, Form};
use crate::image::store::{Image, Store};
use anyhow::{Context as _, Result};
use std::fs::File;
use std::io::{IsTerminal, stdout};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// A place that a result goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// `type=image`: the store, by this name too.
    Image(Option<Reference>),
    /// `type=local`: its files, in a directory.
    Local(PathBuf),
    /// `type=tar`: its files, in a tar; None is standard output.
    Tar(Option<PathBuf>),
    /// `type=oci` and `type=docker`: the image in an archive.
    Archive(Form, Option<PathBuf>),
}

impl Destination {
    /// Reads the value of the flag, as buildx has it: `type=KIND,dest=PATH`, a directory,
    /// or `-` for a tar at standard output.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Destination> {
        if !text.contains('=') {
            return Ok(match text {
                "-" => Destination::Tar(None),
                "" => refuse!(
                    Invalid,
                    "a destination is needed: a directory, or type=KIND"
                ),
                directory => Destination::Local(directory.into()),
            });
        }
        let (mut kind, mut place, mut name) = (None, None, None);
        for part in text.split(',') {
            match part.split_once('=') {
                Some(("type", value)) => kind = Some(value),
                Some(("dest", value)) => place = Some(value),
                Some(("name", value)) => name = Some(value.parse::<Reference>()?.or_latest()),
                Some((key, _)) => refuse!(
                    Unsupported,
                    "{key}: bryo build knows type, dest and name (bryo push sends an image, bryo \
                     copy changes its form)"
                ),
                None => refuse!(Invalid, "{part}: it is KEY=VALUE"),
            }
        }
        let path = place.filter(|place| *place != "-").map(PathBuf::from);
        Ok(match (kind, place) {
            (Some("image"), None) => Destination::Image(name),
            (Some("docker"), None) => Destination::Image(name),
            (Some("local"), Some(place)) => Destination::Local(place.into()),
            (Some("tar"), _) => Destination::Tar(path),
            (Some("oci"), _) => Destination::Archive(Form::OciArchive, path),
            (Some("docker"), Some(_)) => Destination::Archive(Form::DockerArchive, path),
            (Some("local"), None) => refuse!(Invalid, "type=local: dest=DIRECTORY is missing"),
            (Some("image"), Some(_)) => {
                refuse!(Invalid, "type=image goes to the store: leave out dest")
            }
            (Some(kind), _) => refuse!(
                Unsupported,
                "type={kind}: there are image, local, tar, oci and docker (bryo push sends an \
                 image to a registry)"
            ),
            (None, _) => refuse!(Invalid, "type=KIND is missing"),
        })
    }

    /// Whether it is standard output, of which there is one.
    pub fn is_stdout(&self) -> bool {
        matches!(self, Destination::Tar(None) | Destination::Archive(_, None))
    }

    /// Writes the image there, by the names given.
    ///
    /// # Errors
    /// It cannot be written; standard output is a terminal.
    pub fn write(
        &self,
        store: &Store,
        image: &Image,
        names: &[Reference],
        warn: &dyn Fn(&str),
    ) -> Result<()> {
        if self.is_stdout() && stdout().is_terminal() {
            refuse!(
                Invalid,
                "a tar is nothing for a terminal: use dest=FILE or a pipe"
            );
        }
        match self {
            Destination::Image(_) => Ok(()),
            Destination::Local(directory) => {
                let place = directory.display();
                std::fs::create_dir_all(directory).with_context(|| format!("make {place}"))?;
                to_directory(store, &image.layers, directory, warn)
            }
            Destination::Tar(None) => {
                let out = stdout()
                    .as_fd()
                    .try_clone_to_owned()
                    .context("standard output")?;
                to_tar(store, &image.layers, File::from(out), warn)
            }
            Destination::Tar(Some(path)) => {
                whole(path, |out| to_tar(store, &image.layers, out, warn))
            }
            Destination::Archive(form, path) => {
                let _lock = store.lock_shared()?;
                let mut parcel = Parcel::of_store(store, image)?;
                parcel.names = names.to_vec();
                let session = store.session_if_needed();
                let progress = progress::new(true);
                save::save(
                    vec![parcel],
                    *form,
                    path.as_deref(),
                    None,
                    &session,
                    &*progress,
                )
            }
        }
    }
}

/// Writes a file that is there whole or not at all.
fn whole(path: &Path, write: impl FnOnce(&Output) -> Result<()>) -> Result<()> {
    let what = || format!("write {}", path.display());
    let output = Output::new(path)?;
    write(&output).with_context(what)?;
    output.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_as_buildx_has_them() {
        let some = |text: &str| Some(PathBuf::from(text));
        for (text, wanted) in [
            ("out", Destination::Local("out".into())),
            ("-", Destination::Tar(None)),
            ("type=local,dest=out", Destination::Local("out".into())),
            ("type=tar", Destination::Tar(None)),
            ("type=tar,dest=-", Destination::Tar(None)),
            ("type=tar,dest=a.tar", Destination::Tar(some("a.tar"))),
            (
                "dest=a.tar,type=oci",
                Destination::Archive(Form::OciArchive, some("a.tar")),
            ),
            (
                "type=docker,dest=-",
                Destination::Archive(Form::DockerArchive, None),
            ),
            ("type=docker", Destination::Image(None)),
            (
                "type=image,name=a",
                Destination::Image(Some("a:latest".parse().unwrap())),
            ),
        ] {
            assert_eq!(Destination::parse(text).unwrap(), wanted, "{text}");
        }
        for wrong in [
            "",
            "type=local",
            "type=x",
            "dest=x",
            "type=tar,a",
            "type=tar,b=c",
        ] {
            assert!(Destination::parse(wrong).is_err(), "{wrong}");
        }
    }
}
