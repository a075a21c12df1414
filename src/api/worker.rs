//! A process for what takes time, reads the words of strangers, or goes where it
//! cannot come back from: it reads what the client sends as its standard input, and
//! what it writes to its standard output is the answer.

use super::progress;
use super::session::{Reply, Session};
use crate::engine::ground::confine::{Reach, confine};
use crate::engine::ids::userns::unpacking;
use crate::engine::request::userns::UserNs;
use crate::engine::view::failure;
use crate::error::OrKind;
use crate::image::budget::Budget;
use crate::image::store::Store;
use crate::process::{Beside, open_null, unless_unread};
use crate::sys::wait::is_readable;
use anyhow::{Context, Result};
use nix::unistd::{dup2_stdin, dup2_stdout};
use std::cell::Cell;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

/// What a process is made for.
#[derive(Debug, Clone, Copy)]
pub struct Work {
    /// What the answer is.
    pub content: Content,
    /// It reads the request's body, and writes nothing before it has.
    pub reads: bool,
    /// It brings images in: it goes to where their files have owners.
    pub unpacks: bool,
    /// What it has to do beside the store; nothing that is confined, if none.
    pub reach: Option<Reach>,
}

/// What an answer is that a process writes, and so how it ends that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Lines of JSON, of which the last one tells of the error.
    Lines,
    /// A tar, which is cut off.
    Tar,
}

/// Has `act` done in a process of its own, and answers with what that writes. An
/// error before it has written anything is this function's.
///
/// # Errors
/// Those of `act`; no process can be made.
pub fn work(
    session: &mut Session,
    work: Work,
    act: impl FnOnce(&Store) -> Result<()>,
) -> Result<Reply> {
    let store = session.store()?;
    let (mut answer, output) = io::pipe().context("pipe")?;
    let (input, feed) = match work.reads {
        true => {
            let (input, feed) = io::pipe().context("pipe")?;
            (OwnedFd::from(input), Some(feed))
        }
        false => {
            session.pass_body()?;
            (open_null()?, None)
        }
    };
    // The ends that stay here: the other's would keep the pipe open.
    let feed = Cell::new(feed);
    let fed = &feed;
    let beside = Beside::start(move || {
        drop(fed.take());
        dup2_stdin(&input).context("standard input")?;
        dup2_stdout(&output).context("standard output")?;
        drop((input, output));
        let store = match work.unpacks {
            true => unpacking(store, &UserNs::Auto)?,
            false => store,
        };
        if let Some(reach) = work.reach {
            confine(&store, &Budget::default(), reach)?;
        }
        of_its_kind(act(&store))?;
        Ok(io::stdout().flush()?)
    })?;
    if let Some(mut feed) = feed.take() {
        let fed = io::copy(&mut session.body(), &mut feed).context("read the request's body");
        // Who reads no further has a reason.
        if let Err(error) = unless_unread(fed.map(drop)) {
            beside.abandon();
            return Err(error);
        }
    }
    let begun = match relay(session, &mut answer, work.content) {
        Ok(begun) => begun,
        Err(_) => {
            // Nobody is left whom it is done for.
            beside.abandon();
            session.break_off();
            return Ok(Reply::Written);
        }
    };
    match (beside.finish(), work.content) {
        (Err(error), _) if !begun => return Err(error),
        (Err(_), Content::Tar) => {
            session.break_off();
            return Ok(Reply::Written);
        }
        (Err(error), Content::Lines) => session.piece(&progress::failure(&error))?,
        (Ok(()), _) if !begun => session.begin(work.content.media_type())?,
        (Ok(()), _) => {}
    }
    session.piece(b"")?;
    Ok(Reply::Written)
}

/// The same; an error says of what kind it is, which its type cannot tell to another
/// process.
///
/// # Errors
/// The same.
pub fn of_its_kind<T>(done: Result<T>) -> Result<T> {
    done.or_else(|error| {
        let kind = failure::kind(&error);
        Err(error).or_kind(kind)
    })
}

/// Hands on what is written until there is no more; whether there was anything.
///
/// # Errors
/// The client has gone.
fn relay(session: &mut Session, from: &mut PipeReader, content: Content) -> Result<bool> {
    let mut buffer = vec![0; 64 << 10];
    let mut begun = false;
    loop {
        if !session.await_beside(from.as_fd()) {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
        }
        if !is_readable(&*from) {
            continue;
        }
        let count = from.read(&mut buffer).context("read the answer")?;
        if count == 0 {
            return Ok(begun);
        }
        if !begun {
            session.begin(content.media_type())?;
            begun = true;
        }
        session.piece(&buffer[..count])?;
    }
}

impl Content {
    fn media_type(self) -> &'static str {
        match self {
            Content::Lines => "application/json",
            Content::Tar => "application/x-tar",
        }
    }
}
