//! Takes connections, and makes a process for each.

use super::answer::Answer;
use super::session::Session;
use crate::error::refuse;
use crate::sys::clone::{Child, Forked, Parent, clone3, exit_now};
use crate::sys::{socket, title, wait};
use anyhow::{Context, Result};
use nix::poll::PollFlags;
use nix::sys::wait::waitpid;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Most connections at once; further ones wait for their turn.
const MOST: usize = 200;

/// Serves at the socket `path`, which is made; returns when there was no connection
/// for so long, else never. `listening` is called when clients may come.
///
/// # Errors
/// There can be no socket.
pub fn serve(
    path: &Path,
    root: &Path,
    idle: Option<Duration>,
    listening: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str()))
    else {
        refuse!(Invalid, "{}: no place for a socket", path.display());
    };
    if UnixStream::connect(path).is_ok() {
        refuse!(
            Conflict,
            "{}: somebody serves there already",
            path.display()
        );
    }
    let listener = socket::listen_for_streams(directory, name)?;
    listening()?;
    let mut connections: Vec<Child> = Vec::new();
    let mut since = Instant::now();
    loop {
        let rests = connections.is_empty();
        let until = idle.filter(|_| rests).map(|idle| since + idle);
        let ends = connections.iter();
        let mut watched: Vec<_> = ends
            .map(|child| (child.pidfd.as_fd(), PollFlags::POLLIN))
            .collect();
        if connections.len() < MOST {
            watched.push((listener.as_fd(), PollFlags::POLLIN));
        }
        let seen = match until {
            None => wait::wait_at_rest(watched),
            Some(_) => wait::wait(watched, until),
        };
        let seen = seen.context("poll")?;
        let came = connections.len() < MOST && seen.last().is_some_and(|last| !last.is_empty());
        let mut ended = seen.iter();
        connections.retain(|child| {
            let ended = ended.next().is_some_and(|events| !events.is_empty());
            if ended {
                let _ = waitpid(child.pid, None);
                since = Instant::now();
            }
            !ended
        });
        if came && let Some(connection) = socket::accept(&listener)? {
            connections.extend(attend(connection, root));
        }
        if until.is_some_and(|end| end <= Instant::now()) && !came && connections.is_empty() {
            // Who comes now finds nobody, and not somebody who does not answer.
            let _ = std::fs::remove_file(path);
            return Ok(());
        }
    }
}

/// A process for a connection. Where there can be none the client is told so, and may
/// try again.
fn attend(connection: OwnedFd, root: &Path) -> Option<Child> {
    match clone3(0, Parent::Caller) {
        Ok(Forked::Parent(child)) => Some(child),
        Err(error) => {
            let text = format!("there can be no process for this connection: {error}");
            let answer = Answer::error(503, &text).bytes(false, false);
            // Who listens to nobody is not waited for.
            let _ = socket::try_send(&connection, &answer);
            None
        }
        Ok(Forked::Child(_)) => {
            title::set(c"bryo-api", "bryo: api connection");
            let stream = UnixStream::from(connection);
            let served = stream
                .set_nonblocking(false)
                .map_err(Into::into)
                .and_then(|()| Session::new(stream, root.to_owned()).serve());
            exit_now(i32::from(served.is_err()))
        }
    }
}
