//! `bryo login`

use crate::error::demand;
use std::io::{BufRead, IsTerminal, Read, Write, stderr, stdin};
use std::os::fd::AsFd;

use anyhow::{Context as _, Result};
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};

use super::output;
use super::registry::Flags;
use crate::engine::ground::confine::go_on_limited;
use crate::image::budget::Budget;
use crate::image::registry::client::Endpoint;
use crate::image::registry::credentials::{self, Credentials, registry_of};

/// Remember who you are to a registry
///
/// What is given is tried, and then kept where docker keeps it
/// (~/.docker/config.json, or the credential helper that it names), or in the
/// file of --authfile or $REGISTRY_AUTH_FILE.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The registry, with its port
    #[arg(default_value = "docker.io")]
    registry: String,

    /// The user
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,

    /// The password; everybody on this machine can see it here
    #[arg(short, long, value_name = "PASSWORD")]
    password: Option<String>,

    /// Read the password from standard input
    #[arg(long, conflicts_with = "password")]
    password_stdin: bool,

    /// Print the user that is known already
    #[arg(long)]
    get_login: bool,

    #[command(flatten)]
    flags: Flags,
}

/// Tries the credentials and keeps them.
pub fn run(args: &Args) -> Result<()> {
    let domain = registry_of(&args.registry)?;
    let authfile = args.flags.authfile();
    if args.get_login {
        let found = credentials::find(authfile, &domain, "")?;
        let found = found.with_context(|| format!("not logged in to {domain}"))?;
        return Ok(output::line(found.user)?);
    }
    let user = match &args.username {
        Some(user) => user.clone(),
        None => ask("Username: ", true)?,
    };
    let secret = match &args.password {
        Some(password) => password.clone(),
        None if args.password_stdin => {
            let mut text = String::new();
            stdin()
                .read_to_string(&mut text)
                .context("read the password")?;
            text.trim_end_matches(['\n', '\r']).to_owned()
        }
        None => ask("Password: ", false)?,
    };
    demand!(
        Invalid,
        !user.is_empty() && !user.contains(':') && !secret.is_empty(),
        "a user, without a colon, and a password are wanted"
    );
    let given = Credentials { user, secret };
    go_on_limited(&Budget::default())?;
    let client = args.flags.client()?;
    let place = client.conf.home(&format!("{domain}/x").parse()?)?;
    let place = Endpoint {
        domain: domain.clone(),
        ..place
    };
    client
        .check(&place, &given)
        .with_context(|| format!("log in to {domain}"))?;
    let file = credentials::file_to_write(authfile)?;
    credentials::store(&file, &domain, &given)?;
    output::line("Login Succeeded")?;
    Ok(())
}

/// Asks a person.
fn ask(prompt: &str, echo: bool) -> Result<String> {
    let input = stdin();
    demand!(
        Invalid,
        input.is_terminal(),
        "standard input is no terminal: use --username and --password-stdin"
    );
    write!(stderr(), "{prompt}")?;
    let before = tcgetattr(input.as_fd())?;
    if !echo {
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(input.as_fd(), SetArg::TCSAFLUSH, &silent)?;
    }
    let mut line = String::new();
    let read = input.lock().read_line(&mut line);
    if !echo {
        tcsetattr(input.as_fd(), SetArg::TCSANOW, &before)?;
        writeln!(stderr())?;
    }
    read?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}
