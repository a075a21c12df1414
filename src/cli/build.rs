//! `bryo build`

mod dockerfile;
mod lint;
mod out;
mod steps;

use super::{Context, error, limits, output, pull, registry};
use crate::build::builder::{self, Anew};
use crate::build::context::obtain;
use crate::build::dockerfile::{Dockerfile, Fault};
use crate::build::lint::{Surroundings, Variables, check};
use crate::build::origin::Origin;
use crate::build::secrets::Secrets;
use crate::engine::RunOptions;
use crate::engine::container::events;
use crate::engine::request::dns::Dns;
use crate::engine::request::network::Network;
use crate::engine::request::pairs::{self, pairs};
use crate::engine::request::{hosts, pull as pull_option, size, ulimit};
use crate::engine::supervise::cleaner::empty_trash_behind;
use crate::error::{Kind, OrKind, refusal, refuse};
use crate::image::platform::Platform;
use crate::image::reference::Reference;
use crate::image::registry::pull::{Policy, Wanted};
use crate::image::session::Session;
use crate::image::store::Store;
use anyhow::{Context as _, Result};
use clap::FromArgMatches;
use dockerfile::Found;
use out::Destination;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use steps::Steps;

/// Make an image of a Dockerfile
///
/// Steps that were taken before, and whose files did not change, are taken from the
/// cache.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Check the Dockerfile, and build nothing; short for --call check
    #[arg(long)]
    check: bool,

    /// What to do in place of a build: check, or check,format=json
    #[arg(long, value_name = "METHOD", value_parser = ["check", "check,format=json"])]
    call: Option<String>,

    /// The Dockerfile, - for standard input; Dockerfile or dockerfile in the context if it
    /// is not given
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Give an argument of the Dockerfile a value; the environment's if there is no =
    #[arg(long, value_name = "NAME[=VALUE]")]
    build_arg: Vec<String>,

    /// Name of the image; several may be given
    #[arg(short, long, value_name = "NAME[:TAG]")]
    tag: Vec<Reference>,

    /// The stage to build, in place of the last one
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,

    /// Take all steps, whatever was built before
    #[arg(long)]
    no_cache: bool,

    /// Take all steps of these stages, by name or number
    #[arg(long, value_name = "STAGE,…", value_delimiter = ',')]
    no_cache_filter: Vec<String>,

    /// Label of the image
    #[arg(long, value_name = "KEY[=VALUE]")]
    label: Vec<String>,

    /// Where the result goes, in place of the store: a directory, - for a tar at standard
    /// output, or type=local|tar|oci|docker|image,dest=PATH; several may be given
    #[arg(short, long, value_name = "DESTINATION", value_parser = Destination::parse)]
    output: Vec<Destination>,

    /// Write what was built, as JSON, to a file
    #[arg(long, value_name = "FILE")]
    metadata_file: Option<PathBuf>,

    /// When to fetch the images that it stands on: always, missing or never
    #[arg(long, value_name = "WHEN", num_args = 0..=1, require_equals = true,
        default_value = "missing", default_missing_value = "always",
        value_parser = pull_option::policy)]
    pull: Policy,

    /// Hand a secret to commands that ask for it: id=ID,src=FILE or id=ID,env=NAME
    #[arg(long, value_name = "SECRET")]
    secret: Vec<String>,

    /// Hand an ssh agent to commands that ask for it: default, or ID=SOCKET
    #[arg(long, value_name = "ID[=SOCKET]")]
    ssh: Vec<String>,

    /// Write the image's id to a file
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,

    /// Network of the commands: default, host or none
    #[arg(long, value_name = "NETWORK", default_value = "default",
        value_parser = ["default", "host", "none"])]
    network: String,

    /// Add names to /etc/hosts of the commands
    #[arg(long, value_name = "NAME[;NAME…]:ADDRESS")]
    add_host: Vec<String>,

    /// Ask this name server
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<String>,

    /// Search this domain
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,

    /// Set an option of resolv.conf
    #[arg(long, value_name = "OPTION")]
    dns_option: Vec<String>,

    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES", default_value = "64m")]
    shm_size: String,

    /// Limit a resource of the commands, as nofile=1024:2048
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    ulimit: Vec<String>,

    #[command(flatten)]
    limits: limits::Limits,

    #[command(flatten)]
    place: limits::GroupFlags,

    /// How progress is shown: auto, plain or quiet
    #[arg(long, value_name = "HOW", default_value = "auto", value_parser = ["auto", "plain", "quiet"])]
    progress: String,

    /// Print the image's id and nothing else
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    registry: registry::Flags,

    /// The id is nobody's to read.
    #[arg(skip)]
    is_silent: bool,

    /// What COPY and ADD take files from: a directory, the address of a repository
    /// (URL[#REF[:DIRECTORY]]) or of a tar, or - for a tar or a Dockerfile at standard input
    #[arg(value_name = "CONTEXT", default_value = ".")]
    context: PathBuf,
}

/// Builds the image. With --check, the exit code is 1 if there is something to say.
pub fn run(args: &Args, context: &Context) -> Result<i32> {
    let store = context.store()?;
    let session = store.session_if_needed();
    let found = args.dockerfile(&session)?;
    let (name, text) = (&found.name, &found.text);
    let given = args
        .build_arg
        .iter()
        .filter_map(|text| match text.contains('=') {
            true => Some(text.clone()),
            false => std::env::var(text)
                .ok()
                .map(|value| format!("{text}={value}")),
        });
    let arguments = pairs("build-arg", &given.collect::<Vec<_>>())?;
    let around = Surroundings {
        arguments: &arguments,
        ignore: found.context.ignore.as_ref(),
        image: &|image| variables(&store, image).ok().flatten(),
    };
    let wrong = |fault: Fault| refusal!(Invalid, "{}", fault.show(name, text).trim_end());
    let file = Dockerfile::parse(text).map_err(wrong)?;
    let (warnings, selection) = check(&file, &around).map_err(wrong)?;
    let is_check = args.check || args.call.is_some();
    match args.call.as_deref() {
        Some("check,format=json") => output::line(lint::json(&warnings))?,
        _ if is_check => output::line(lint::report(&warnings, name, text).trim_end())?,
        _ => {}
    }
    if selection.is_error && !warnings.is_empty() {
        let mut rules: Vec<_> = warnings.iter().map(|warning| warning.rule.name()).collect();
        rules.dedup();
        refuse!(
            Invalid,
            "lint violation found for rules: {}",
            rules.join(", ")
        );
    }
    if is_check {
        return Ok(i32::from(!warnings.is_empty()));
    }
    build(args, &store, &file, &found, &arguments)?;
    if !args.is_quiet() && !warnings.is_empty() {
        // Who does not listen any more still has the image.
        let _ = writeln!(io::stderr(), "{}", lint::brief(&warnings));
    }
    Ok(0)
}

impl Args {
    /// Brings the context, and finds the Dockerfile.
    fn dockerfile(&self, session: &Session) -> Result<Found> {
        let origin = match self.context.to_str() {
            Some(word) => Origin::parse(word, Path::is_dir)?,
            None => Origin::Directory(self.context.clone()),
        };
        let is_input = self.file.as_deref() == Some(Path::new("-"));
        if is_input && origin == Origin::Input {
            refuse!(
                Invalid,
                "standard input is the Dockerfile (-f -) or the context (-), and not both"
            );
        }
        let brought = obtain(&origin, io::stdin(), session)?;
        dockerfile::find(self.file.as_deref(), brought, session)
    }

    fn is_quiet(&self) -> bool {
        self.quiet || self.progress == "quiet"
    }

    /// What all commands have.
    ///
    /// # Errors
    /// A value that is none.
    fn commands(&self) -> Result<RunOptions> {
        let read = || {
            let hosts = self.add_host.iter().map(|text| hosts::add_host(text));
            let ulimits = self.ulimit.iter().map(|text| ulimit::parse(text));
            Ok(RunOptions {
                network: match self.network.as_str() {
                    "host" => Network::Host,
                    "none" => Network::None,
                    _ => Network::Default,
                },
                add_hosts: hosts.collect::<Result<Vec<_>>>()?.concat(),
                dns: Dns::read(&self.dns, &self.dns_search, &self.dns_option),
                shm_size: Some(size::bytes(&self.shm_size).context("--shm-size")?),
                ulimits: ulimits.collect::<Result<_>>()?,
                limits: limits::options(&self.limits, &self.place)?,
                ..RunOptions::default()
            })
        };
        read().or_kind(Kind::Invalid)
    }

    /// The names that the image gets, in the store if it comes there.
    fn names(&self) -> Result<Vec<Reference>> {
        let mut names = Vec::new();
        for name in &self.tag {
            let name = name.clone().or_latest();
            if name.digest().is_some() {
                refuse!(
                    Invalid,
                    "-t {name}: a new image cannot be named by a digest"
                );
            }
            names.push(name);
        }
        for output in &self.output {
            if let Destination::Image(Some(name)) = output {
                names.push(name.clone());
            }
        }
        if self.output.iter().filter(|out| out.is_stdout()).count() > 1 {
            refuse!(Invalid, "--output: only one thing goes to standard output");
        }
        Ok(names)
    }
}

/// Makes the image.
fn build(
    args: &Args,
    store: &Store,
    file: &Dockerfile,
    found: &Found,
    arguments: &BTreeMap<String, String>,
) -> Result<()> {
    let names = args.names()?;
    let is_image = |output: &Destination| matches!(output, Destination::Image(_));
    let is_kept = args.output.is_empty() || args.output.iter().any(is_image);
    let commands = args.commands()?;
    empty_trash_behind(store)?;
    let is_quiet = args.is_quiet();
    let report = Steps::new(is_quiet);
    let obtain = |name: &str, platform: Option<&Platform>| {
        let wanted = Wanted {
            platform,
            ..Wanted::default()
        };
        let found = pull::before_run(store, &args.registry, name, wanted, args.pull, is_quiet)?;
        // As short as an id is shown; what is shorter is somebody's name.
        let is_named = match found.parse::<Reference>() {
            Ok(reference) if found.len() < 12 => store.has(&reference.stored().canonical())?,
            _ => true,
        };
        let image = match is_named {
            true => store.find(&found)?,
            false => None,
        };
        image.ok_or_else(|| {
            refusal!(
                NotFound,
                "No such image: {name} (bryo pull or bryo load brings one in)"
            )
        })
    };
    let built = builder::build(
        store,
        &builder::Build {
            file,
            source: (&found.name, &found.text),
            context: &found.context,
            arguments,
            secrets: &Secrets::parse(&args.secret, &args.ssh)?,
            target: args.target.as_deref(),
            anew: &match args.no_cache {
                true => Anew::All,
                false => Anew::Stages(args.no_cache_filter.clone()),
            },
            run: &commands,
            labels: &pairs::labels(&args.label),
            names: if is_kept { &names } else { &[] },
            obtain: &obtain,
            report: &report,
            warn: &error::warn,
        },
    );
    let written = built.and_then(|image| {
        for output in &args.output {
            output.write(store, &image, &names, &error::warn)?;
        }
        Ok(image)
    });
    empty_trash_behind(store)?;
    let image = written?;
    if let Some(path) = &args.iidfile {
        let what = || format!("--iidfile {}", path.display());
        std::fs::write(path, image.id.to_string()).with_context(what)?;
    }
    if let Some(path) = &args.metadata_file {
        let what = || format!("--metadata-file {}", path.display());
        let names: Vec<_> = names.iter().map(Reference::canonical).collect();
        let said = json!({
            "containerimage.config.digest": image.id.to_string(),
            "containerimage.digest": image.manifest.to_string(),
            "image.name": names.join(","),
        });
        std::fs::write(path, format!("{said:#}")).with_context(what)?;
    }
    let name = names.first().map(Reference::familiar).unwrap_or_default();
    events::emit_of_image(store, "build", &image.id, &name);
    if args.is_silent || args.output.iter().any(Destination::is_stdout) {
        return Ok(());
    }
    output::line(&image.id).context("write the id")
}

/// What a service says of how its image is built.
pub struct OfService {
    /// The directory that COPY and ADD take files from.
    pub context: PathBuf,
    /// The Dockerfile.
    pub file: Option<PathBuf>,
    /// `NAME=VALUE`, or a name of the environment's.
    pub arguments: Vec<String>,
    /// The image's names.
    pub tags: Vec<String>,
    /// `KEY=VALUE`.
    pub labels: Vec<String>,
    /// The stage.
    pub target: Option<String>,
    /// All steps are taken.
    pub no_cache: bool,
    /// The images that it stands on are fetched anew.
    pub pull: bool,
    /// Nothing is said of its steps.
    pub quiet: bool,
}

/// Builds the image of a service.
pub fn of_service(context: &Context, service: OfService) -> Result<()> {
    let tags = service.tags.iter().map(|tag| tag.parse());
    // As without a flag.
    let flags = <Args as clap::Args>::augment_args(clap::Command::new("build"));
    let mut args = Args::from_arg_matches(&flags.try_get_matches_from(["build"])?)?;
    args.file = service.file;
    args.build_arg = service.arguments;
    args.tag = tags.collect::<Result<_>>()?;
    args.target = service.target;
    args.no_cache = service.no_cache;
    args.label = service.labels;
    if service.pull {
        args.pull = Policy::Always;
    }
    args.quiet = service.quiet;
    args.is_silent = true;
    args.context = service.context;
    run(&args, context).map(drop)
}

/// The variables of an image of the store.
fn variables(store: &Store, image: &str) -> Result<Option<Variables>> {
    let Some(image) = store.find(image)? else {
        return Ok(None);
    };
    let config = store.config_json(&image)?;
    let all = config["config"]["Env"].as_array().into_iter().flatten();
    let pair = |text: &serde_json::Value| {
        let (name, value) = text.as_str()?.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    };
    Ok(Some(all.filter_map(pair).collect()))
}
