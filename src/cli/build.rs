//! `bryo build`

use super::{Context, error, output, pull, registry};
use crate::build::builder;
use crate::build::dockerfile::fault::excerpt;
use crate::build::dockerfile::statement::MAX_FILE;
use crate::build::dockerfile::{Dockerfile, Fault};
use crate::build::ignore::Ignore;
use crate::build::lint::{self, Surroundings, Variables, Warning};
use crate::build::report::Report;
use crate::build::secrets::Secrets;
use crate::engine::container::events;
use crate::engine::request::pairs::{self, pairs};
use crate::engine::request::pull as pull_option;
use crate::engine::supervise::cleaner::empty_trash_behind;
use crate::error::{refusal, refuse};
use crate::image::platform::Platform;
use crate::image::reference::Reference;
use crate::image::registry::pull::{Policy, Wanted};
use crate::image::store::Store;
use anyhow::{Context as _, Result};
use nix::errno::Errno;
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

/// Where the rules are explained.
const RULES: &str = "https://docs.docker.com/go/dockerfile/rule/";

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

    /// Label of the image
    #[arg(long, value_name = "KEY[=VALUE]")]
    label: Vec<String>,

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

    /// The directory that COPY and ADD take files from
    #[arg(value_name = "CONTEXT", default_value = ".")]
    context: PathBuf,
}

/// Builds the image. With --check, the exit code is 1 if there is something to say.
pub fn run(args: &Args, context: &Context) -> Result<i32> {
    let directory = args.context.display();
    let is_directory = args
        .context
        .metadata()
        .with_context(|| format!("the context {directory}"))?;
    if !is_directory.is_dir() {
        refuse!(Invalid, "the context {directory} is not a directory");
    }
    let (name, text) = read(args)?;
    let ignore = ignore(args)?;
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
    let store = context.store()?;
    let around = Surroundings {
        arguments: &arguments,
        ignore: ignore.as_ref(),
        image: &|image| variables(&store, image).ok().flatten(),
    };
    let wrong = |fault: Fault| refusal!(Invalid, "{}", fault.show(&name, &text).trim_end());
    let file = Dockerfile::parse(&text).map_err(wrong)?;
    let (warnings, selection) = lint::check(&file, &around).map_err(wrong)?;
    if !args.check && args.call.is_none() {
        let source = (name.as_str(), text.as_str());
        build(args, &store, &file, source, ignore.as_ref(), &arguments)?;
        return Ok(0);
    }
    match args.call.as_deref() {
        Some("check,format=json") => output::line(json(&warnings))?,
        _ => output::line(report(&warnings, &name, &text).trim_end())?,
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
    Ok(i32::from(!warnings.is_empty()))
}

/// Makes the image.
fn build(
    args: &Args,
    store: &Store,
    file: &Dockerfile,
    source: (&str, &str),
    ignore: Option<&Ignore>,
    arguments: &BTreeMap<String, String>,
) -> Result<()> {
    let mut names = Vec::new();
    for name in &args.tag {
        let name = name.clone().or_latest();
        if name.digest().is_some() {
            refuse!(
                Invalid,
                "-t {name}: a new image cannot be named by a digest"
            );
        }
        names.push(name);
    }
    empty_trash_behind(store)?;
    let is_quiet = args.quiet || args.progress == "quiet";
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
    let labels = pairs::labels(&args.label);
    let context = args.context.canonicalize();
    let context = context.with_context(|| format!("the context {}", args.context.display()))?;
    let built = builder::build(
        store,
        &builder::Build {
            file,
            source,
            context: &context,
            ignore,
            arguments,
            secrets: &Secrets::parse(&args.secret, &args.ssh)?,
            target: args.target.as_deref(),
            no_cache: args.no_cache,
            labels: &labels,
            names: &names,
            obtain: &obtain,
            report: &report,
            warn: &error::warn,
        },
    );
    empty_trash_behind(store)?;
    let image = built?;
    if let Some(path) = &args.iidfile {
        let what = || format!("--iidfile {}", path.display());
        std::fs::write(path, image.id.to_string()).with_context(what)?;
    }
    let name = names.first().map(Reference::familiar).unwrap_or_default();
    events::emit_of_image(store, "build", &image.id, &name);
    match args.is_silent {
        true => Ok(()),
        false => output::line(&image.id).context("write the id"),
    }
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
    let args = Args {
        check: false,
        call: None,
        file: service.file,
        build_arg: service.arguments,
        tag: tags.collect::<Result<_>>()?,
        target: service.target,
        no_cache: service.no_cache,
        label: service.labels,
        pull: match service.pull {
            true => Policy::Always,
            false => Policy::Missing,
        },
        secret: Vec::new(),
        ssh: Vec::new(),
        iidfile: None,
        progress: "auto".into(),
        quiet: service.quiet,
        registry: registry::Flags::default(),
        is_silent: true,
        context: service.context,
    };
    run(&args, context).map(drop)
}

/// Steps as lines: a number, and what is said of it.
struct Steps {
    is_quiet: bool,
    /// When steps began, and what of a line they have printed.
    open: Mutex<HashMap<usize, (Instant, Vec<u8>)>>,
}

/// Longest line of output that is shown as one, in bytes.
const LINE: usize = 4096;

impl Steps {
    fn new(is_quiet: bool) -> Steps {
        Steps {
            is_quiet,
            open: Mutex::new(HashMap::new()),
        }
    }

    fn say(&self, number: usize, text: &str) {
        if !self.is_quiet {
            // Who does not listen any more still gets the image.
            let _ = writeln!(io::stderr(), "#{number} {text}");
        }
    }

    /// The seconds that a step took, and the rest of its output.
    fn close(&self, number: usize) -> f64 {
        let step = self.open.lock().expect("no thread panics").remove(&number);
        let Some((begun, rest)) = step else {
            return 0.0;
        };
        let took = begun.elapsed().as_secs_f64();
        if !rest.is_empty() {
            self.say(number, &format!("{took:.3} {}", shown(&rest)));
        }
        took
    }
}

/// A line without what a terminal would obey.
fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let visible = |c: &char| !c.is_control() || matches!(c, '\t' | '\u{1b}');
    text.chars().filter(visible).collect()
}

impl Report for Steps {
    fn begin(&self, number: usize, what: &str) {
        let mut open = self.open.lock().expect("no thread panics");
        open.insert(number, (Instant::now(), Vec::new()));
        drop(open);
        self.say(number, what.lines().next().unwrap_or_default());
    }

    fn output(&self, number: usize, text: &[u8]) {
        let mut open = self.open.lock().expect("no thread panics");
        let Some((begun, line)) = open.get_mut(&number) else {
            return;
        };
        for byte in text {
            if *byte != b'\n' {
                line.push(*byte);
            }
            if *byte == b'\n' || line.len() == LINE {
                let took = begun.elapsed().as_secs_f64();
                self.say(number, &format!("{took:.3} {}", shown(line)));
                line.clear();
            }
        }
    }

    fn cached(&self, number: usize) {
        self.close(number);
        self.say(number, "CACHED");
    }

    fn done(&self, number: usize) {
        let took = self.close(number);
        self.say(number, &format!("DONE {took:.1}s"));
    }
}

/// The Dockerfile's name and text.
fn read(args: &Args) -> Result<(String, String)> {
    let candidates = match &args.file {
        Some(file) if file == Path::new("-") => {
            return Ok(("-".into(), text("standard input", io::stdin())?));
        }
        Some(file) => vec![file.clone()],
        None => ["Dockerfile", "dockerfile"]
            .map(|name| args.context.join(name))
            .into(),
    };
    for path in &candidates {
        let name = path.display().to_string();
        match File::open(path) {
            Ok(file) => return Ok((name.clone(), text(&name, file)?)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e).with_context(|| format!("open {name}")),
        }
    }
    let place = candidates[0].display();
    refuse!(NotFound, "there is no {place}: -f names another file")
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
fn ignore(args: &Args) -> Result<Option<Ignore>> {
    let named = args.file.as_deref().filter(|file| *file != Path::new("-"));
    let dockerfile = named.map_or_else(|| args.context.join("Dockerfile"), Path::to_owned);
    let mut beside = dockerfile.into_os_string();
    beside.push(".dockerignore");
    for path in [PathBuf::from(beside), args.context.join(".dockerignore")] {
        let name = path.display().to_string();
        match File::open(&path) {
            Ok(file) => {
                let read = Ignore::parse(&text(&name, file)?);
                return read
                    .map(Some)
                    .map_err(|bad| refusal!(Invalid, "{name}:{}: {}", bad.line, bad.text));
            }
            Err(e) if e.raw_os_error() == Some(Errno::ENOENT as i32) => {}
            Err(e) => return Err(e).with_context(|| format!("open {name}")),
        }
    }
    Ok(None)
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

/// The part of a rule's address that is its own: `FromAsCasing` is `from-as-casing`.
fn page(rule: &str) -> String {
    let mut page = String::new();
    let mut before = '-';
    let mut letters = rule.chars().peekable();
    while let Some(c) = letters.next() {
        let begins = before.is_lowercase() || letters.peek().is_some_and(|n| n.is_lowercase());
        if c.is_uppercase() && before != '-' && begins {
            page.push('-');
        }
        page.push(c.to_ascii_lowercase());
        before = c;
    }
    page
}

fn report(warnings: &[Warning], name: &str, text: &str) -> String {
    let mut report = match warnings.len() {
        0 => "Check complete, no warnings found.\n".to_owned(),
        1 => "Check complete, 1 warning has been found!\n".to_owned(),
        count => format!("Check complete, {count} warnings have been found!\n"),
    };
    for warning in warnings {
        let rule = warning.rule.name();
        report += &format!(
            "\nWARNING: {rule} - {RULES}{}/\n{}\n",
            page(rule),
            warning.text
        );
        report += &format!("{name}:{}\n", warning.lines.first);
        report += &excerpt(text, warning.lines, None);
    }
    report
}

/// As BuildKit's frontend answers to `lint`.
fn json(warnings: &[Warning]) -> String {
    let warning = |warning: &Warning| {
        let rule = warning.rule.name();
        let place = |line: usize| json!({"line": line, "character": 0});
        json!({
            "ruleName": rule,
            "description": warning.rule.description(),
            "url": format!("{RULES}{}/", page(rule)),
            "detail": warning.text,
            "location": {"ranges": [{
                "start": place(warning.lines.first),
                "end": place(warning.lines.last),
            }]},
        })
    };
    json!({"warnings": warnings.iter().map(warning).collect::<Vec<_>>()}).to_string()
}

#[cfg(test)]
mod tests {
    use super::page;

    #[test]
    fn addresses_of_rules() {
        for (rule, address) in [
            ("FromAsCasing", "from-as-casing"),
            ("JSONArgsRecommended", "json-args-recommended"),
            ("UndefinedVar", "undefined-var"),
        ] {
            assert_eq!(page(rule), address);
        }
    }
}
