//! The Dockerfile of a build, and what it leaves out of its context.

use crate::build::context::{self, Brought, Context, Kind, empty};
use crate::build::dockerfile::statement::MAX_FILE;
use crate::build::ignore::Ignore;
use crate::error::{refusal, refuse};
use crate::image::session::Session;
use crate::sys::fd::open_in_root;
use anyhow::{Context as _, Result};
use nix::fcntl::OFlag;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A Dockerfile, and what it takes files from.
pub struct Found {
    /// What it is called.
    pub name: String,
    /// What it says.
    pub text: String,
    /// Its context.
    pub context: Context,
}

/// Finds the Dockerfile of what was brought: `file` is what `-f` says. Where the context stays
/// where it is, that is a path from here, else one in the context.
///
/// # Errors
/// There is none, or there are two; it is no text.
pub fn find(file: Option<&Path>, brought: Brought, session: &Session) -> Result<Found> {
    let mut context = match brought {
        Brought::Files(context) => context,
        Brought::Dockerfile(bytes) => {
            if let Some(file) = file {
                refuse!(
                    Invalid,
                    "the context is a Dockerfile already: leave out -f {}",
                    file.display()
                );
            }
            return Ok(Found {
                name: "-".into(),
                text: text("the Dockerfile", bytes.as_slice())?,
                context: empty(session)?,
            });
        }
    };
    let (name, text) = match file {
        Some(file) if file == Path::new("-") => {
            ("-".to_owned(), text("standard input", io::stdin())?)
        }
        file => read(file, &context)?,
    };
    context.ignore = ignore(file, &context)?;
    Ok(Found {
        name,
        text,
        context,
    })
}

/// Opens a file that people named.
fn open(path: &Path, context: &Context) -> io::Result<File> {
    if context.kind == Kind::Lasting {
        return File::open(path);
    }
    let root = File::open(&context.directory)?;
    // What somebody packed may be a pipe that nobody writes to.
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
    let opened = open_in_root(&root, path, flags).map_err(|error| io::Error::from(error.errno));
    let file = File::from(opened?);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("this is not a regular file")),
    }
}

/// A name in the context, as [`open`] wants it.
fn within(context: &Context, name: &str) -> PathBuf {
    match context.kind {
        Kind::Lasting => context.directory.join(name),
        Kind::Fetched | Kind::Unpacked => name.into(),
    }
}

/// The Dockerfile's name and text.
fn read(file: Option<&Path>, context: &Context) -> Result<(String, String)> {
    let candidates = match file {
        Some(file) => vec![file.to_owned()],
        None => ["Dockerfile", "dockerfile"]
            .map(|name| within(context, name))
            .into(),
    };
    for path in &candidates {
        let name = path.strip_prefix("./").unwrap_or(path);
        let name = name.display().to_string();
        match open(path, context) {
            Ok(file) => return Ok((name.clone(), text(&name, file)?)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e).with_context(|| format!("open {name}")),
        }
    }
    let place = candidates[0].display();
    match context.kind {
        Kind::Lasting => refuse!(NotFound, "there is no {place}: -f names another file"),
        _ => refuse!(
            NotFound,
            "there is no {place} in the context: -f names another file in it"
        ),
    }
}

/// A file that people write, whole.
fn text(name: &str, from: impl Read) -> Result<String> {
    let mut bytes = Vec::new();
    let most = MAX_FILE as u64 + 1;
    from.take(most)
        .read_to_end(&mut bytes)
        .with_context(|| format!("read {name}"))?;
    if bytes.len() as u64 == most {
        refuse!(Invalid, "{name} has more than {MAX_FILE} bytes");
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
        refusal!(Invalid, "{name}:{line}: it is not UTF-8")
    })
}

/// What the context leaves out: by the file beside the Dockerfile, else by its own.
fn ignore(file: Option<&Path>, context: &Context) -> Result<Option<Ignore>> {
    let named = file.filter(|file| *file != Path::new("-"));
    let dockerfile = named.map_or_else(|| within(context, "Dockerfile"), Path::to_owned);
    let mut beside = dockerfile.into_os_string();
    beside.push(".dockerignore");
    for path in [PathBuf::from(beside), within(context, ".dockerignore")] {
        let name = path.display().to_string();
        match open(&path, context) {
            Ok(file) => return context::ignore(&name, &text(&name, file)?).map(Some),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e).with_context(|| format!("open {name}")),
        }
    }
    Ok(None)
}
