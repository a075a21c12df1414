//! `bryo network`.

use super::Context;
use super::confirm::confirm;
use super::error;
use super::format::{self, Form};
use super::output;
use super::output::Table;
use crate::engine::container::containers::Containers;
use crate::engine::network::definition::Wishes;
use crate::engine::network::subnet::Subnet;
use crate::engine::network::{Attachment, Definition, Networks, change, members, trace};
use crate::engine::request::filter::{self, AgeFilter, Filters};
use crate::engine::view::network::{Network, Row};
use anyhow::{Context as _, Result};
use jiff::Timestamp;
use std::fs::File;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Manage networks: containers on one reach each other by name
#[derive(Debug, clap::Args)]
#[command(disable_help_subcommand = true)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a network
    Create(Create),
    /// List networks
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Show all that is known of networks
    Inspect(Inspect),
    /// Remove networks
    #[command(visible_alias = "remove")]
    Rm(Rm),
    /// Remove networks that no container is on
    Prune(Prune),
    /// Put a container on a further network
    Connect(Connect),
    /// Take a container from a network
    Disconnect(Disconnect),
    /// Tell by the exit code whether a network exists: 0 or 1
    Exists(Exists),
    /// Show the packets of a container or a network
    Trace(Trace),
}

#[derive(Debug, clap::Args)]
struct Create {
    /// Name
    name: String,
    /// Addresses of its containers, as 10.90.0.0/24; a second one for IPv6
    #[arg(long, value_name = "ADDRESS/BITS")]
    subnet: Vec<Subnet>,
    /// The way out of a subnet; its first address if not given
    #[arg(long, value_name = "ADDRESS")]
    gateway: Vec<IpAddr>,
    /// Add a subnet of IPv6
    #[arg(long)]
    ipv6: bool,
    /// No way out
    #[arg(long)]
    internal: bool,
    /// Ask this name server in place of the host's
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<IpAddr>,
    /// Add a label
    #[arg(long, value_name = "NAME[=VALUE]")]
    label: Vec<String>,
    /// Set an option of the way out, as host-loopback, mtu=1500 or
    /// allow=192.0.2.0/24:443: those of --network user
    #[arg(short, long, value_name = "OPTION")]
    opt: Vec<String>,
    /// The one driver is bridge
    #[arg(short, long, default_value = "bridge", value_parser = ["bridge"])]
    driver: String,
    /// A network that is there already is no error
    #[arg(long)]
    ignore: bool,
}

#[derive(Debug, clap::Args)]
struct Ls {
    /// Print ids alone
    #[arg(short, long)]
    quiet: bool,
    /// Only those that pass: name=, id=, label=KEY[=VALUE], dangling=BOOL,
    /// driver=
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Show whole ids
    #[arg(long)]
    no_trunc: bool,
    /// table, json, or a template as '{{.Name}}'
    #[arg(long, default_value = "table")]
    format: Form,
}

#[derive(Debug, clap::Args)]
struct Inspect {
    /// Names or ids
    #[arg(required = true)]
    networks: Vec<String>,
    /// json, or a template as '{{.Name}}'
    #[arg(short, long, default_value = "json")]
    format: Form,
}

#[derive(Debug, clap::Args)]
struct Rm {
    /// Names or ids
    #[arg(required = true)]
    networks: Vec<String>,
    /// Disconnect the containers that are on it; what is not there is no
    /// error
    #[arg(short, long)]
    force: bool,
}

#[derive(Debug, clap::Args)]
struct Prune {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Only those that pass: label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct Connect {
    /// Name or id
    network: String,
    /// Name or id
    container: String,
    /// A further name of the container there
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
    /// The address that it wants
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<String>,
    /// The IPv6 address that it wants
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Disconnect {
    /// Name or id
    network: String,
    /// Name or id
    container: String,
    /// For docker's sake
    #[arg(short, long)]
    force: bool,
}

#[derive(Debug, clap::Args)]
struct Exists {
    /// Name
    network: String,
}

/// Show the packets of a container or a network
///
/// Until it is interrupted, or what it looks at ends. Packets of a container's
/// own interface are up to 64 KiB long and have no checksums yet.
#[derive(Debug, clap::Args)]
struct Trace {
    /// A container that runs, or a network in use
    #[arg(value_name = "NAME")]
    container: String,

    /// Write them to a file for tcpdump, tshark or wireshark; - is standard
    /// output
    #[arg(short, long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// End after so many
    #[arg(short, long, value_name = "NUMBER")]
    count: Option<u64>,
}

/// Does what the verb says.
pub fn run(args: &Args, context: &Context) -> Result<i32> {
    let containers = context.containers()?;
    let networks = Networks::open(containers.root());
    match &args.verb {
        Verb::Create(args) => create(args, &networks)?,
        Verb::Ls(args) => ls(args, &networks, &containers)?,
        Verb::Inspect(args) => inspect(args, &networks, &containers)?,
        Verb::Rm(args) => rm(args, &networks, &containers)?,
        Verb::Prune(args) => prune(args, &networks, &containers)?,
        Verb::Connect(args) => {
            let mut attachment = Attachment {
                network: args.network.clone(),
                ..Attachment::default()
            };
            attachment.add(&args.alias, [&args.ip, &args.ip6])?;
            let mut container = containers.find(&args.container)?;
            change::connect(&networks, &mut container, attachment)?;
        }
        Verb::Disconnect(args) => {
            let mut container = containers.find(&args.container)?;
            change::disconnect(&networks, &mut container, &args.network)?;
        }
        Verb::Trace(args) => trace(args, &containers)?,
        Verb::Exists(args) => match networks.find(&args.network) {
            Err(e) if error::is_not_found(&e) => return Ok(1),
            other => drop(other?),
        },
    }
    Ok(0)
}

fn trace(args: &Trace, containers: &Containers) -> Result<()> {
    let subject = trace::Subject::find(containers, &args.container)?;
    let path = args.write.as_deref().filter(|path| *path != Path::new("-"));
    let out: Box<dyn Write> = match path {
        Some(path) => {
            let file = File::create(path);
            Box::new(file.with_context(|| path.display().to_string())?)
        }
        None => Box::new(std::io::stdout().lock()),
    };
    let mut out = std::io::BufWriter::with_capacity(1 << 18, out);
    let name = &args.container;
    let begin = || eprintln!("looking at {name}");
    let lines = args.write.is_none();
    let traced = subject.trace(&mut out, lines, args.count, begin);
    // A file without even a beginning is of no use to anybody.
    if let (Some(path), Err(_)) = (path, &traced)
        && std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() == 0)
    {
        let _ = std::fs::remove_file(path);
    }
    let (count, lost) = traced.with_context(|| match path {
        Some(path) => format!("write {}", path.display()),
        None => format!("trace {name}"),
    })?;
    eprintln!("{count} packets, {lost} lost");
    Ok(())
}

fn create(args: &Create, networks: &Networks) -> Result<()> {
    if args.ignore && networks.find(&args.name).is_ok() {
        return Ok(output::line(&args.name)?);
    }
    let label = |text: &String| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        (key.to_owned(), value.to_owned())
    };
    let definition = networks.create(&Wishes {
        name: args.name.clone(),
        subnets: args.subnet.clone(),
        gateways: args.gateway.clone(),
        ipv6: args.ipv6,
        internal: args.internal,
        dns: args.dns.clone(),
        labels: args.label.iter().map(label).collect(),
        options: args.opt.clone(),
    })?;
    if let (false, Err(error)) = (definition.internal, crate::sys::tap::probe()) {
        error::warn(&format!("the network has no way out: {error}"));
    }
    Ok(output::line(definition.name)?)
}

fn ls(args: &Ls, networks: &Networks, containers: &Containers) -> Result<()> {
    let filters = Filters::read(&args.filter, filter::OF_NETWORKS, Timestamp::now())?;
    let mut all = Vec::new();
    for network in networks.list()? {
        if filters.pass(|filter| members::holds(filter, &network, containers))? {
            all.push(network);
        }
    }
    let row = |network: &Definition| Row::of(network, args.no_trunc);
    if args.quiet {
        return all.iter().try_for_each(|n| Ok(output::line(row(n).id)?));
    }
    match &args.format {
        Form::Table => {
            let mut table = Table::new(&["NETWORK ID", "NAME", "DRIVER", "SUBNETS"]);
            for network in &all {
                let subnets: Vec<String> = network.subnets().map(|s| s.to_string()).collect();
                let row = row(network);
                table.row(vec![row.id, row.name, row.driver.into(), subnets.join(" ")]);
            }
            Ok(table.print()?)
        }
        other => format::list(other, all.iter().map(row), |field| match field {
            "ID" => "NETWORK ID".to_owned(),
            other => format::head(other),
        }),
    }
}

fn inspect(args: &Inspect, networks: &Networks, containers: &Containers) -> Result<()> {
    args.format.template_of_one()?;
    let mut found = Vec::new();
    let result = super::each(&args.networks, |name| {
        found.push(format::value(Network::find(name, networks, containers)?)?);
        Ok(())
    });
    format::found(&args.format, &found)?;
    result
}

fn rm(args: &Rm, networks: &Networks, containers: &Containers) -> Result<()> {
    super::each(&args.networks, |name| {
        let definition = match networks.find(name) {
            Err(e) if error::is_not_found(&e) && args.force => {
                return Ok(());
            }
            other => other?,
        };
        if args.force {
            for user in members::on(containers, &definition.name)? {
                let mut container = containers.find(&user)?;
                change::disconnect(networks, &mut container, &definition.name)?;
            }
        }
        networks.remove(&definition, containers)?;
        Ok(output::line(name)?)
    })
}

fn prune(args: &Prune, networks: &Networks, containers: &Containers) -> Result<()> {
    let filters = Filters::read(&args.filter, filter::BY_AGE, Timestamp::now())?;
    if !args.force && !confirm("This removes all networks that no container is on.")? {
        return Ok(());
    }
    let mut gone = Vec::new();
    for network in networks.list()? {
        let holds = |filter: &AgeFilter| filter.holds(&network.labels, network.created);
        let meant = filters.all().all(holds);
        if meant && members::on(containers, &network.name)?.is_empty() {
            networks.remove(&network, containers)?;
            gone.push(network.name);
        }
    }
    if !gone.is_empty() {
        output::line("Deleted Networks:")?;
        gone.iter().try_for_each(output::line)?;
    }
    Ok(())
}
