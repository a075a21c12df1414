//! What COPY and ADD take files from: a directory as it stands, or what was brought here for
//! one build.

use super::dockerfile::statement::MAX_FILE;
use super::ignore::Ignore;
use super::origin::Origin;
use crate::error::{demand, refusal};
use crate::image::alone::unpack_alone;
use crate::image::compress::{self, Compression};
use crate::image::entry::{BLOCK, Header};
use crate::image::export::Tree;
use crate::image::registry::web::fetch;
use crate::image::session::Session;
use crate::sys::fs::{make_private, private};
use anyhow::{Context as _, Result};
use std::io::{Cursor, Read, Seek};
use std::path::PathBuf;

/// A tree of files that a build takes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// Where they are.
    pub directory: PathBuf,
    /// What is left out.
    pub ignore: Option<Ignore>,
    /// How they came there.
    pub kind: Kind,
}

/// How the files of a context came to where they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// They were there, and stay.
    Lasting,
    /// They were fetched for this build.
    Fetched,
    /// They were unpacked for this build, as a layer is.
    Unpacked,
}

impl Context {
    /// It, as this process sees it.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn tree(&self) -> Result<Tree<'static>> {
        match self.kind {
            Kind::Unpacked => Tree::new(std::slice::from_ref(&self.directory), None),
            Kind::Lasting | Kind::Fetched => Tree::plain(&self.directory),
        }
    }
}

/// What was found at an origin.
#[derive(Debug)]
pub enum Brought {
    /// Files; nothing is left out yet.
    Files(Context),
    /// The text of a Dockerfile, and no files.
    Dockerfile(Vec<u8>),
}

impl Brought {
    fn files(directory: PathBuf, kind: Kind) -> Brought {
        Brought::Files(Context {
            directory,
            ignore: None,
            kind,
        })
    }
}

/// Brings the files of a build to where they can be taken from: those that are no directory
/// here into `session`. `input` is what [`Origin::Input`] means.
///
/// # Errors
/// They are not there, or cannot be had; a tar is damaged, or asks for more than there may be.
pub fn obtain(origin: &Origin, input: impl Read, session: &Session) -> Result<Brought> {
    match origin {
        Origin::Directory(path) => {
            let what = || format!("the context {}", path.display());
            let whole = path.canonicalize().with_context(what)?;
            demand!(
                Invalid,
                whole.is_dir(),
                "the context {} is not a directory",
                path.display()
            );
            Ok(Brought::files(whole, Kind::Lasting))
        }
        Origin::Input => received(input, session).context("the context at standard input"),
        Origin::Repository(repository) => {
            let place = session.path("context")?;
            let fetched = repository.fetch(&place);
            fetched.with_context(|| format!("the context {}", repository.remote))?;
            Ok(Brought::files(repository.root(&place)?, Kind::Fetched))
        }
        Origin::Address(address) => {
            let what = || format!("the context {address}");
            let mut options = private();
            let options = options.read(true).write(true).create_new(true);
            let mut file = options.open(session.path("fetched")?).with_context(what)?;
            fetch(address, &mut file).with_context(what)?;
            file.rewind().with_context(what)?;
            received(file, session).with_context(what)
        }
    }
}

/// A context without files.
///
/// # Errors
/// The store cannot be written to.
pub fn empty(session: &Session) -> Result<Context> {
    let directory = session.path("context")?;
    make_private(&directory).with_context(|| format!("make {}", directory.display()))?;
    Ok(Context {
        directory,
        ignore: None,
        kind: Kind::Fetched,
    })
}

/// What a stream holds: a tar, compressed or not, or a Dockerfile.
fn received(mut stream: impl Read, session: &Session) -> Result<Brought> {
    let mut head = Vec::new();
    let first = stream.by_ref().take(BLOCK as u64).read_to_end(&mut head);
    first.context("read")?;
    let is_tar = compress::detect(&head)? != Compression::None
        || <[u8; BLOCK]>::try_from(head.as_slice())
            .is_ok_and(|block| Header::parse(&block).is_ok_and(|header| header.is_some()));
    let mut whole = Cursor::new(head).chain(stream);
    if is_tar {
        return Ok(Brought::files(
            unpack_alone(whole, &session.path("context")?)?,
            Kind::Unpacked,
        ));
    }
    let mut text = Vec::new();
    let most = MAX_FILE as u64 + 1;
    whole
        .by_ref()
        .take(most)
        .read_to_end(&mut text)
        .context("read")?;
    Ok(Brought::Dockerfile(text))
}

/// Reads what a context leaves out.
///
/// # Errors
/// A line that is no pattern, with the file's `name`.
pub fn ignore(name: &str, text: &str) -> Result<Ignore> {
    Ignore::parse(text).map_err(|bad| refusal!(Invalid, "{name}:{}: {}", bad.line, bad.text))
}
