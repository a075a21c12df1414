//! `bryo rm`.

use super::Context;
use crate::engine::cleaner::empty_trash_behind;
use crate::engine::containers::{Container, Containers, NotFound};
use crate::sys::pidfd;
use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// Remove containers
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names or ids
    #[arg(required_unless_present = "all")]
    containers: Vec<String>,

    /// Kill containers that run; what is not there is no error
    #[arg(short, long)]
    force: bool,
    /// All containers
    #[arg(short, long, conflicts_with = "containers")]
    all: bool,
    /// Remove anonymous volumes too (there are none yet)
    #[arg(short, long)]
    volumes: bool,
}

/// Removes each container, and prints what it was called by.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let containers = context.containers()?;
    let names = match args.all {
        true => containers
            .list()?
            .into_iter()
            .map(|c| c.record.id)
            .collect(),
        false => args.containers.clone(),
    };
    let result = super::each(&names, |name| {
        let mut container = match containers.find(name) {
            Err(e) if args.force && e.is::<NotFound>() => return Ok(()),
            other => other?,
        };
        remove_one(&containers, &mut container, args.force)?;
        println!("{name}");
        Ok(())
    });
    empty_trash_behind(&context.store()?)?;
    result
}

fn remove_one(containers: &Containers, container: &mut Container, force: bool) -> Result<()> {
    let name = container.record.name.clone();
    if let Ok(process) = container.running_process() {
        if !force {
            bail!("container {name} is running: stop it first, or use -f");
        }
        let _ = pidfd::kill(process, libc::SIGKILL);
    }
    // Its supervisor lets go of it once it has recorded the end.
    let patience = Instant::now() + Duration::from_secs(10);
    let lock = loop {
        match container.try_lock() {
            Ok(Some(lock)) => break lock,
            // With --rm the supervisor removes it first.
            Err(_) if !container.dir.exists() => return Ok(()),
            Err(e) => return Err(e),
            Ok(None) if force && Instant::now() < patience => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Ok(None) => bail!("container {name} is in use by another bryo"),
        }
    };
    if !container.dir.exists() {
        return Ok(());
    }
    containers.remove(container, &lock).map(drop)
}
