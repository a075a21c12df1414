//! `bryo generate systemd`.

use super::{Context, output};
use crate::engine::request::restart::Restart;
use anyhow::{Context as _, Result};
use std::path::Path;

/// Write files for other programs: units of systemd
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// A unit for the user's systemd that runs a container
    ///
    /// For ~/.config/systemd/user/NAME.service, then systemctl --user enable
    /// --now NAME; loginctl enable-linger keeps it running without a session.
    Systemd {
        /// Name or id
        container: String,
    },
}

/// Prints the file.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let What::Systemd { container } = &args.what;
    let container = context.containers()?.find(container)?;
    let name = &container.record.name;
    let program = std::env::current_exe().context("find the program itself")?;
    let program = format!("{} --root {}", word(&program), word(&context.root));
    let restart = match container.restart_policy() {
        Restart::No => "no",
        Restart::OnFailure(_) => "on-failure",
        Restart::Always | Restart::UnlessStopped => "always",
    };
    let patience = container.record.keeping.patience();
    Ok(output::line(format_args!(
        "[Unit]\n\
         Description=Container {name}\n\
         Documentation=man:bryo(1)\n\
         \n\
         [Service]\n\
         ExecStart={program} start --attach {name}\n\
         ExecStop={program} stop --time {patience} {name}\n\
         TimeoutStopSec={}\n\
         Restart={restart}\n\
         \n\
         [Install]\n\
         WantedBy=default.target",
        patience + 20
    ))?)
}

/// A path as a word of a command line in a unit (systemd.service(5)).
fn word(path: &Path) -> String {
    let text = path.display().to_string();
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    let text = text.replace('%', "%%").replace('$', "$$");
    format!("\"{text}\"")
}
