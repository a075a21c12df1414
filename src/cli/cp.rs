//! `bryo cp`.

use super::Context;
use super::error;
use crate::engine::container::containers::Containers;
use crate::engine::operate::cp::{CopyOptions, Side, copy};
use crate::engine::operate::visit::Visit;
use crate::error::{demand, refuse};
use crate::image::budget::Budget;
use anyhow::Result;
use std::io::IsTerminal;
use std::rc::Rc;

/// Copy files between a container and the host, or between containers
///
/// A directory that is written with /. at its end stands for what is in it. -
/// is a tar at standard input or output. The container need not run.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// CONTAINER:PATH, a path of the host, or -
    #[arg(value_name = "FROM")]
    from: String,
    /// CONTAINER:PATH, a path of the host, or -
    #[arg(value_name = "TO")]
    to: String,

    /// Keep owners: those of files that go into a container, and in tars
    #[arg(short, long)]
    archive: bool,
    /// Copy what a link leads to, in place of the link
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Let a tar at standard input ask for any number of files, attributes and
    /// so on
    #[arg(long)]
    unlimited: bool,
    /// Say nothing; bryo never does here
    #[arg(short, long)]
    quiet: bool,
}

/// Copies.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let containers = context.containers()?;
    let from = side(&args.from, &containers, None)?;
    let to = side(&args.to, &containers, Some(&from))?;
    if let Side::Stream = to {
        demand!(
            Invalid,
            !std::io::stdout().is_terminal(),
            "a tar is nothing for a terminal: use a pipe"
        );
    }
    let options = CopyOptions {
        archive: args.archive,
        follow: args.follow_link,
        budget: Budget::new(None, args.unlimited),
    };
    copy(from, to, options, &error::warn)
}

/// What an argument is, by docker's rule: a path that starts with a slash or a
/// dot is the host's, else what is before a colon is a container.
fn side(text: &str, containers: &Containers, other: Option<&Side>) -> Result<Side> {
    if text == "-" {
        return Ok(Side::Stream);
    }
    let parts = match text.starts_with(['/', '.']) {
        true => None,
        false => text.split_once(':'),
    };
    Ok(match parts {
        Some((_, "")) => refuse!(Invalid, "{text}: a path is missing after the colon"),
        Some((name, path)) => {
            let container = containers.find(name)?;
            let visit = match other {
                Some(Side::Container(visit, _))
                    if visit.container().record.id == container.record.id =>
                {
                    Rc::clone(visit)
                }
                _ => Rc::new(Visit::new(container)?),
            };
            Side::Container(visit, path.to_owned())
        }
        None => Side::Host(text.to_owned()),
    })
}
