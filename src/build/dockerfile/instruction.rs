//! The instructions of a stage, with what each may say.

use super::fault::Fault;
use super::flags::{Flags, Takes};
use super::heredoc::Heredoc;
use super::mount::Mount;
use super::statement::Statement;
use super::words::{self, List, Pair, PairsError};
use crate::engine::request::nearest::nearest;
use crate::image::duration::parse_duration;
use std::time::Duration;

/// All instructions.
pub const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// An instruction, its variables as they were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Instruction {
    /// ADD.
    Add(Transfer),
    /// ARG.
    Arg(Vec<Argument>),
    /// CMD.
    Cmd(CommandLine),
    /// COPY.
    Copy(Transfer),
    /// ENTRYPOINT.
    Entrypoint(CommandLine),
    /// ENV.
    Env(Pairs),
    /// EXPOSE: ports as they were written, in the order of their texts.
    Expose(Vec<String>),
    /// HEALTHCHECK.
    Healthcheck(Health),
    /// LABEL.
    Label(Pairs),
    /// MAINTAINER.
    Maintainer(String),
    /// ONBUILD: the instruction as text.
    Onbuild(String),
    /// RUN.
    Run(Run),
    /// SHELL.
    Shell(Vec<String>),
    /// STOPSIGNAL.
    Stopsignal(String),
    /// USER.
    User(String),
    /// VOLUME.
    Volume(Vec<String>),
    /// WORKDIR.
    Workdir(String),
}

/// FROM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct From {
    /// An image, an earlier stage, or `scratch`.
    pub base: String,
    /// The stage's name, in small letters.
    pub name: Option<String>,
    /// The name as it was written, and the `as` before it.
    pub written: Option<(String, String)>,
    /// `--platform`.
    pub platform: Option<String>,
}

/// A variable of ARG.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// Its value where the caller gives none.
    pub default: Option<String>,
}

/// Names with values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pairs {
    /// They.
    pub pairs: Vec<Pair>,
    /// They are written as `NAME VALUE`.
    pub legacy: bool,
}

/// A command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandLine {
    /// For the stage's shell.
    Shell(String),
    /// Words, for nobody.
    Exec(Vec<String>),
}

/// COPY or ADD.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transfer {
    /// What is copied.
    pub sources: Vec<Source>,
    /// Where to.
    pub destination: String,
    /// `--from`: a stage, an image or a named context.
    pub from: Option<String>,
    /// `--chown`.
    pub chown: Option<String>,
    /// `--chmod`.
    pub chmod: Option<String>,
    /// `--link`.
    pub link: bool,
    /// `--parents`.
    pub parents: bool,
    /// `--exclude`.
    pub exclude: Vec<String>,
    /// ADD `--keep-git-dir`.
    pub keep_git_dir: bool,
    /// ADD `--checksum`.
    pub checksum: Option<String>,
    /// ADD `--unpack`.
    pub unpack: Option<bool>,
}

/// One source of COPY or ADD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A path, a pattern, or for ADD an address.
    Path(String),
    /// A file with the content of a heredoc and its name.
    Inline(Heredoc),
}

/// RUN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The command.
    pub command: CommandLine,
    /// Its heredocs.
    pub heredocs: Vec<Heredoc>,
    /// `--mount`, as written.
    pub mounts: Vec<String>,
    /// `--network`.
    pub network: RunNetwork,
    /// `--security=insecure`.
    pub insecure: bool,
}

/// The network of a RUN.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RunNetwork {
    /// The build's.
    #[default]
    Default,
    /// None.
    None,
    /// The host's.
    Host,
}

/// HEALTHCHECK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// NONE: the base's does not count.
    None,
    /// A check; a time or number that is None is the engine's.
    Check {
        /// The command.
        command: CommandLine,
        /// `--interval`.
        interval: Option<Duration>,
        /// `--timeout`.
        timeout: Option<Duration>,
        /// `--start-period`.
        start_period: Option<Duration>,
        /// `--start-interval`.
        start_interval: Option<Duration>,
        /// `--retries`.
        retries: Option<u32>,
    },
}

impl Instruction {
    /// Reads a statement that is not FROM.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of(statement: &Statement, escape: char) -> Result<Instruction, Fault> {
        Reading { statement, escape }.instruction()
    }

    /// Its keyword, in capitals.
    pub fn keyword(&self) -> &'static str {
        match self {
            Instruction::Add(_) => "ADD",
            Instruction::Arg(_) => "ARG",
            Instruction::Cmd(_) => "CMD",
            Instruction::Copy(_) => "COPY",
            Instruction::Entrypoint(_) => "ENTRYPOINT",
            Instruction::Env(_) => "ENV",
            Instruction::Expose(_) => "EXPOSE",
            Instruction::Healthcheck(_) => "HEALTHCHECK",
            Instruction::Label(_) => "LABEL",
            Instruction::Maintainer(_) => "MAINTAINER",
            Instruction::Onbuild(_) => "ONBUILD",
            Instruction::Run(_) => "RUN",
            Instruction::Shell(_) => "SHELL",
            Instruction::Stopsignal(_) => "STOPSIGNAL",
            Instruction::User(_) => "USER",
            Instruction::Volume(_) => "VOLUME",
            Instruction::Workdir(_) => "WORKDIR",
        }
    }
}

impl From {
    /// Reads a statement that is FROM.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of(statement: &Statement) -> Result<From, Fault> {
        let flags = Flags::of(statement, &[("platform", Takes::Text)])?;
        let fault = |says: String| Fault::new(statement.lines, says);
        let words = words::blanks(&statement.rest);
        let (base, written) = match words.as_slice() {
            [base] => (base, None),
            [base, word, name] if word.eq_ignore_ascii_case("as") => (base, Some((word, name))),
            _ => {
                let says =
                    "FROM requires either one or three arguments: an image, or IMAGE AS NAME";
                return Err(fault(says.into()));
            }
        };
        let name = written.map(|(_, name)| name.to_lowercase());
        if let Some(name) = name.as_ref().filter(|name| !is_stage_name(name)) {
            let says = format!(
                "invalid name for build stage: \"{name}\", name can't start with a number or contain \
                 symbols"
            );
            return Err(fault(says).at(written.map_or(name, |(_, name)| name)));
        }
        Ok(From {
            base: base.clone(),
            name,
            written: written.map(|(word, name)| (name.clone(), word.clone())),
            platform: flags.text("platform"),
        })
    }
}

fn is_stage_name(name: &str) -> bool {
    let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(rest)
}

struct Reading<'a> {
    statement: &'a Statement,
    escape: char,
}

impl Reading<'_> {
    fn fault(&self, says: impl Into<String>) -> Fault {
        Fault::new(self.statement.lines, says)
    }

    fn flags(&self, known: &[(&'static str, Takes)]) -> Result<Flags, Fault> {
        Flags::of(self.statement, known)
    }

    fn instruction(&self) -> Result<Instruction, Fault> {
        let keyword = self.statement.keyword.to_uppercase();
        let instruction = match keyword.as_str() {
            "ADD" => Instruction::Add(self.transfer("ADD", &ADD_FLAGS)?),
            "COPY" => Instruction::Copy(self.transfer("COPY", &COPY_FLAGS)?),
            "RUN" => Instruction::Run(self.run()?),
            "HEALTHCHECK" => Instruction::Healthcheck(self.health()?),
            _ => {
                let plain = self.plain(&keyword)?;
                self.flags(&[])?;
                plain
            }
        };
        Ok(instruction)
    }

    /// An instruction without flags.
    fn plain(&self, keyword: &str) -> Result<Instruction, Fault> {
        Ok(match keyword {
            "ARG" => Instruction::Arg(self.arguments()?),
            "CMD" => Instruction::Cmd(self.command_line(&self.statement.rest)?),
            "ENTRYPOINT" => {
                self.text("ENTRYPOINT")?;
                Instruction::Entrypoint(self.command_line(&self.statement.rest)?)
            }
            "ENV" => Instruction::Env(self.pairs("ENV")?),
            "EXPOSE" => {
                let mut ports = words::blanks(self.text("EXPOSE")?);
                ports.sort();
                Instruction::Expose(ports)
            }
            "LABEL" => Instruction::Label(self.pairs("LABEL")?),
            "MAINTAINER" => Instruction::Maintainer(self.one("MAINTAINER")?),
            "ONBUILD" => Instruction::Onbuild(self.trigger()?),
            "SHELL" => match words::json(&self.statement.rest) {
                List::Strings(words) if !words.is_empty() => Instruction::Shell(words),
                _ => {
                    let says =
                        "SHELL requires the arguments to be in JSON form: [\"/bin/sh\", \"-c\"]";
                    return Err(self.fault(says));
                }
            },
            "STOPSIGNAL" => Instruction::Stopsignal(self.one("STOPSIGNAL")?),
            "USER" => Instruction::User(self.one("USER")?),
            "VOLUME" => Instruction::Volume(self.volumes()?),
            "WORKDIR" => Instruction::Workdir(self.one("WORKDIR")?),
            _ => {
                let written = &self.statement.keyword;
                let fault = self.fault(format!("unknown instruction: {written}"));
                return Err(fault.at(written).meant(nearest(written, KEYWORDS)));
            }
        })
    }

    /// What follows the keyword, if anything does.
    fn text(&self, keyword: &str) -> Result<&str, Fault> {
        match self.statement.rest.as_str() {
            "" => Err(self.fault(format!("{keyword} requires at least one argument"))),
            text => Ok(text),
        }
    }

    fn one(&self, keyword: &str) -> Result<String, Fault> {
        match self.statement.rest.as_str() {
            "" => Err(self.fault(format!("{keyword} requires exactly one argument"))),
            text => Ok(text.to_owned()),
        }
    }

    fn command_line(&self, text: &str) -> Result<CommandLine, Fault> {
        match words::json(text) {
            List::Strings(words) => Ok(CommandLine::Exec(words)),
            List::None => Ok(CommandLine::Shell(text.to_owned())),
            List::Other => Err(self
                .fault("when using JSON array syntax, arrays must be comprised of strings only")),
        }
    }

    fn pairs(&self, keyword: &str) -> Result<Pairs, Fault> {
        let text = self.text(keyword)?;
        let (pairs, legacy) = words::pairs(text, self.escape).map_err(|error| match error {
            PairsError::NoValue => self.fault(format!("{keyword} must have two arguments")),
            PairsError::NoEquals(word) => {
                let says = format!(
                    "Syntax error - can't find = in {word:?}. Must be of the form: name=value"
                );
                self.fault(says).at(word)
            }
        })?;
        if pairs.iter().any(|(name, _)| name.is_empty()) {
            return Err(self.fault(format!("{keyword} names can not be blank")));
        }
        Ok(Pairs { pairs, legacy })
    }

    fn arguments(&self) -> Result<Vec<Argument>, Fault> {
        let words = words::quoted(self.text("ARG")?, self.escape);
        let argument = |word: &String| {
            let (name, default) = match word.split_once('=') {
                Some((name, default)) => (name, Some(default.to_owned())),
                None => (word.as_str(), None),
            };
            match name {
                "" => Err(self.fault("ARG names can not be blank").at(word)),
                name => Ok(Argument {
                    name: name.to_owned(),
                    default,
                }),
            }
        };
        words.iter().map(argument).collect()
    }

    fn list(&self, text: &str) -> Result<Vec<String>, Fault> {
        match self.command_line(text)? {
            CommandLine::Exec(words) => Ok(words),
            CommandLine::Shell(text) => Ok(words::blanks(&text)),
        }
    }

    fn volumes(&self) -> Result<Vec<String>, Fault> {
        let volumes = self.list(self.text("VOLUME")?)?;
        if volumes.is_empty() || volumes.iter().any(|volume| volume.trim().is_empty()) {
            return Err(self.fault("VOLUME specified can not be an empty string"));
        }
        Ok(volumes)
    }

    fn trigger(&self) -> Result<String, Fault> {
        let text = self.text("ONBUILD")?;
        let (word, flags, rest) = words::instruction(text);
        match word.to_uppercase().as_str() {
            "ONBUILD" => Err(self.fault("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")),
            other @ ("FROM" | "MAINTAINER") => Err(self
                .fault(format!("{other} isn't allowed as an ONBUILD trigger"))
                .at(word)),
            _ => {
                // Whether it can be read is known now, and not when it is used.
                let inner = Statement {
                    keyword: word.to_owned(),
                    flags,
                    rest: rest.to_owned(),
                    ..self.statement.clone()
                };
                Instruction::of(&inner, self.escape)?;
                Ok(text.to_owned())
            }
        }
    }

    fn transfer(&self, keyword: &str, known: &[(&'static str, Takes)]) -> Result<Transfer, Fault> {
        let flags = self.flags(known)?;
        let mut words = self.list(self.text(keyword)?)?;
        let destination = words.pop().unwrap_or_default();
        if words.is_empty() {
            let says = format!(
                "{keyword} requires at least two arguments, but only one was provided. Destination \
                 could not be determined"
            );
            return Err(self.fault(says));
        }
        if Heredoc::of_word(&destination).is_some() {
            let says = format!("{keyword} cannot accept a heredoc as a destination");
            return Err(self.fault(says).at(destination));
        }
        let mut heredocs = self.statement.heredocs.iter();
        let source = |word: String| match Heredoc::of_word(&word).and_then(|_| heredocs.next()) {
            Some(heredoc) => Source::Inline(heredoc.clone()),
            None => Source::Path(word),
        };
        let sources: Vec<_> = words.into_iter().map(source).collect();
        let from = flags.text("from");
        if from.as_ref().is_some_and(|from| from.contains('$')) {
            let says = "variable expansion is not supported for --from, define a new stage with \
                        FROM using ARG from global scope as a workaround";
            return Err(self.fault(says).at("--from"));
        }
        let checksum = flags.text("checksum");
        let chown = flags.text("chown");
        if checksum.is_some() && sources.len() != 1 {
            let says = "checksum can't be specified for multiple sources";
            return Err(self.fault(says).at("--checksum"));
        }
        Ok(Transfer {
            sources,
            destination,
            from,
            chown,
            chmod: flags.text("chmod"),
            link: flags.is_on("link"),
            parents: flags.is_on("parents"),
            exclude: flags.texts("exclude"),
            keep_git_dir: flags.is_on("keep-git-dir"),
            checksum,
            unpack: flags.switch("unpack"),
        })
    }

    fn run(&self) -> Result<Run, Fault> {
        let flags = self.flags(&[
            ("mount", Takes::Texts),
            ("network", Takes::Text),
            ("security", Takes::Text),
        ])?;
        let mounts = flags.texts("mount");
        for mount in mounts.iter().filter(|mount| !mount.contains('$')) {
            let read = Mount::parse(mount);
            read.map_err(|says| self.fault(format!("--mount={mount}: {says}")).at("--mount"))?;
        }
        let network = match flags.text("network").as_deref() {
            None | Some("default") => RunNetwork::Default,
            Some("none") => RunNetwork::None,
            Some("host") => RunNetwork::Host,
            Some(other) => {
                let says = format!("unsupported network mode {other:?}: default, none or host");
                return Err(self.fault(says).at("--network"));
            }
        };
        let insecure = match flags.text("security").as_deref() {
            None | Some("sandbox") => false,
            Some("insecure") => true,
            Some(other) => {
                let says = format!("security {other:?} is not valid: sandbox or insecure");
                return Err(self.fault(says).at("--security"));
            }
        };
        Ok(Run {
            command: self.command_line(&self.statement.rest)?,
            heredocs: self.statement.heredocs.clone(),
            mounts,
            network,
            insecure,
        })
    }

    fn health(&self) -> Result<Health, Fault> {
        let flags = self.flags(&[
            ("interval", Takes::Text),
            ("timeout", Takes::Text),
            ("start-period", Takes::Text),
            ("start-interval", Takes::Text),
            ("retries", Takes::Text),
        ])?;
        let text = self.text("HEALTHCHECK")?;
        let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let rest = rest.trim_start();
        match word.to_uppercase().as_str() {
            "NONE" if rest.is_empty() => return Ok(Health::None),
            "NONE" => return Err(self.fault("HEALTHCHECK NONE takes no arguments")),
            "CMD" if rest.is_empty() => {
                return Err(self.fault("Missing command after HEALTHCHECK CMD"));
            }
            "CMD" => {}
            _ => {
                let says = format!("Unknown type {word:?} in HEALTHCHECK (try CMD)");
                return Err(self.fault(says).at(word));
            }
        }
        let time = |name: &str| {
            let Some(text) = flags.text(name) else {
                return Ok(None);
            };
            let wrong = |says: String| self.fault(says).at(format!("--{name}"));
            let time = parse_duration(&text);
            let time = time.map_err(|e| wrong(format!("--{name}={text}: {e}")))?;
            if !time.is_zero() && time < Duration::from_millis(1) {
                let says = format!("Interval \"{name}\" cannot be less than 1ms");
                return Err(wrong(says));
            }
            Ok(Some(time))
        };
        let retries = match flags.text("retries") {
            None => None,
            Some(text) => match text.parse() {
                Ok(number) => Some(number),
                Err(_) => {
                    let says = format!("--retries={text}: a number from 0 is wanted");
                    return Err(self.fault(says).at("--retries"));
                }
            },
        };
        Ok(Health::Check {
            command: self.command_line(rest)?,
            interval: time("interval")?,
            timeout: time("timeout")?,
            start_period: time("start-period")?,
            start_interval: time("start-interval")?,
            retries,
        })
    }
}

const ADD_FLAGS: [(&str, Takes); 7] = [
    ("chown", Takes::Text),
    ("chmod", Takes::Text),
    ("link", Takes::Bool),
    ("keep-git-dir", Takes::Bool),
    ("checksum", Takes::Text),
    ("unpack", Takes::Bool),
    ("exclude", Takes::Texts),
];

const COPY_FLAGS: [(&str, Takes); 6] = [
    ("from", Takes::Text),
    ("chown", Takes::Text),
    ("chmod", Takes::Text),
    ("link", Takes::Bool),
    ("parents", Takes::Bool),
    ("exclude", Takes::Texts),
];
