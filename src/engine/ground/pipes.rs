//! Pipes between a container and who carries its streams.

use crate::process::open_null;
use crate::runtime::Stdio;
use anyhow::{Context, Result};
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::pipe2;
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// The ends that stay outside.
#[derive(Debug)]
pub struct Ours {
    /// To write to, if there is input.
    pub input: Option<OwnedFd>,
    /// To read from.
    pub output: OwnedFd,
    /// To read from, unless errors go with the output.
    pub errors: Option<OwnedFd>,
}

/// Makes pipes: our ends, and the container's. Without `input` it reads
/// nothing; if `merged`, output and errors are one stream.
///
/// # Errors
/// Too many descriptors are open.
pub fn make(input: bool, merged: bool) -> Result<(Ours, Stdio)> {
    let (inside, input) = match input {
        true => {
            let (reader, writer) = pipe()?;
            (reader, Some(writer))
        }
        false => (open_null()?, None),
    };
    let (output, writer) = pipe()?;
    let writer = Rc::new(writer);
    let (errors, second) = match merged {
        true => (None, writer.clone()),
        false => {
            let (reader, writer) = pipe()?;
            (Some(reader), Rc::new(writer))
        }
    };
    let ours = Ours {
        input,
        output,
        errors,
    };
    Ok((ours, Stdio([Rc::new(inside), writer, second])))
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).context("make a pipe")?;
    // A program that opens `/dev/stdout` opens the pipe anew, whoever it runs
    // as; from outside nobody can.
    let _ = fchmod(&writer, Mode::from_bits_truncate(0o666));
    Ok((reader, writer))
}
