//! A stage as its instructions make it, one after the other: what each does to the
//! configuration, and what is left to be done to files. Pure.

use super::config::{Config, go_duration, quoted, quoted_number};
use super::dockerfile::expand::Keeping;
use super::dockerfile::fault::Fault;
use super::dockerfile::heredoc::Heredoc;
use super::dockerfile::instruction::{
    Argument, CommandLine, Health, Instruction, Pairs, Run, RunNetwork, Source, Transfer,
};
use super::dockerfile::mount::Mount;
use super::dockerfile::stage::Located;
use super::scope::{PROXY_ARGUMENTS, Scope};
use crate::sys::fs::clean;
use crate::sys::signals;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// The shell of commands that are a text.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// Most ports that one EXPOSE may name.
const MAX_PORTS: usize = 65_536;

/// What is the same for all stages.
#[derive(Debug, Clone)]
pub struct Given {
    /// `--build-arg`.
    pub arguments: BTreeMap<String, String>,
    /// The arguments before the first FROM.
    pub global: Scope,
    /// What escapes.
    pub escape: char,
}

/// A stage that is being built.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    /// Its image's configuration.
    pub config: Config,
    /// Its variables.
    pub scope: Scope,
    /// The names of its arguments, in order.
    arguments: Vec<String>,
    /// A CMD was there.
    has_command: bool,
}

/// What an instruction wants done to files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Nothing.
    Nothing,
    /// A directory, if it is not there, of this user's.
    Directory {
        /// Which; absolute.
        path: String,
        /// USER as it is at that place.
        user: String,
    },
    /// Files.
    Transfer {
        /// What, variables put in; the destination is absolute.
        transfer: Box<Transfer>,
        /// It is ADD.
        is_add: bool,
    },
    /// A command.
    Run(Box<Command>),
}

/// A command that is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Its words.
    pub words: Vec<String>,
    /// Its variables.
    pub env: Vec<(String, String)>,
    /// Where.
    pub workdir: String,
    /// As whom; empty for root.
    pub user: String,
    /// What is mounted.
    pub mounts: Vec<Mount>,
    /// A file that is run: its name below `/dev/pipes`, and what it says.
    pub script: Option<(String, String)>,
    /// Its network.
    pub network: RunNetwork,
    /// Without the usual bounds.
    pub insecure: bool,
}

/// What an instruction came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// What is left to do.
    pub work: Work,
    /// What history says of it; None if that says nothing.
    pub created_by: Option<String>,
}

impl State {
    /// One that begins with an image.
    pub fn new(config: Config) -> State {
        State {
            scope: Scope::of(config.env()),
            config,
            arguments: Vec::new(),
            has_command: false,
        }
    }

    /// As a later stage stands on it: what belongs to the stage itself is gone, what is
    /// said of variables stays.
    pub fn as_base(&self) -> State {
        State {
            has_command: false,
            ..self.clone()
        }
    }

    /// The instructions that wait for who builds on the image; they are taken away.
    pub fn take_triggers(&mut self) -> Vec<String> {
        let triggers = self.config.list("OnBuild");
        self.config.unset("OnBuild");
        triggers
    }

    /// What an instruction does.
    ///
    /// # Errors
    /// A word of it cannot be expanded, or is not what it has to be.
    pub fn apply(&mut self, located: &Located, given: &Given) -> Result<Done, Fault> {
        let lines = located.lines;
        let done = self.instruction(&located.instruction, given);
        done.map_err(|says| Fault::new(lines, says))
    }

    fn instruction(&mut self, instruction: &Instruction, given: &Given) -> Result<Done, String> {
        let expand = |state: &State, text: &str| state.expand(text, given.escape);
        let mut work = Work::Nothing;
        let created_by = match instruction {
            Instruction::Arg(all) => self.argument(all, given)?,
            Instruction::Env(pairs) => {
                let pairs = self.pairs(pairs, given.escape)?;
                for (name, value) in &pairs {
                    self.config.set_env(name, value);
                }
                self.scope.extend(pairs.clone());
                format!("ENV {}", joined(&pairs))
            }
            Instruction::Label(pairs) => {
                let pairs = self.pairs(pairs, given.escape)?;
                for (name, value) in &pairs {
                    self.config.insert("Labels", name, json!(value));
                }
                format!("LABEL {}", joined(&pairs))
            }
            Instruction::Cmd(line) => {
                let words = self.words(line);
                self.config.set("Cmd", json!(words));
                self.config.set("ArgsEscaped", json!(true));
                self.has_command = true;
                format!("CMD {}", quoted(&words))
            }
            Instruction::Entrypoint(line) => {
                let words = self.words(line);
                self.config.set("Entrypoint", json!(words));
                if !self.has_command {
                    self.config.unset("Cmd");
                }
                format!("ENTRYPOINT {}", quoted(&words))
            }
            Instruction::Shell(words) => {
                self.config.set("Shell", json!(words));
                format!("SHELL [{}]", words.join(" "))
            }
            Instruction::Expose(words) => {
                let mut ports = Vec::new();
                for word in words {
                    for word in self.scope.expand(word, given.escape)?.words {
                        ports.extend(exposed(&word)?);
                    }
                }
                for port in &ports {
                    self.config.insert("ExposedPorts", port, json!({}));
                }
                format!("EXPOSE [{}]", ports.join(" "))
            }
            Instruction::Healthcheck(health) => self.health(health),
            Instruction::Maintainer(name) => {
                self.config.set_author(name);
                format!("MAINTAINER {name}")
            }
            Instruction::Onbuild(text) => {
                self.config.push("OnBuild", text);
                return Ok(Done {
                    work,
                    created_by: None,
                });
            }
            Instruction::Stopsignal(text) => {
                let signal = expand(self, text)?;
                if signals::parse(&signal).is_err() {
                    return Err(format!("invalid signal: {signal}"));
                }
                self.config.set("StopSignal", json!(signal));
                format!("STOPSIGNAL {signal}")
            }
            Instruction::User(text) => {
                let user = expand(self, text)?;
                self.config.set("User", json!(user));
                format!("USER {user}")
            }
            Instruction::Volume(words) => {
                let all: Result<Vec<_>, _> = words.iter().map(|word| expand(self, word)).collect();
                let all = all?;
                if all.iter().any(String::is_empty) {
                    return Err("VOLUME specified can not be an empty string".into());
                }
                for volume in &all {
                    self.config.insert("Volumes", volume, json!({}));
                }
                format!("VOLUME [{}]", all.join(" "))
            }
            Instruction::Workdir(text) => {
                let path = self.absolute(&expand(self, text)?);
                self.config.set("WorkingDir", json!(path));
                let user = self.config.text("User").to_owned();
                let created_by = format!("WORKDIR {path}");
                if path != "/" {
                    work = Work::Directory { path, user };
                }
                created_by
            }
            Instruction::Copy(transfer) => {
                let (transfer, said) = self.transfer(transfer, given.escape)?;
                work = Work::Transfer {
                    transfer: Box::new(transfer),
                    is_add: false,
                };
                format!("COPY{said} # buildkit")
            }
            Instruction::Add(transfer) => {
                let (transfer, said) = self.transfer(transfer, given.escape)?;
                work = Work::Transfer {
                    transfer: Box::new(transfer),
                    is_add: true,
                };
                format!("ADD{said} # buildkit")
            }
            Instruction::Run(run) => {
                let command = self.command(run, given)?;
                let created_by = self.command_said(&command.words);
                work = Work::Run(Box::new(command));
                created_by
            }
        };
        Ok(Done {
            work,
            created_by: Some(created_by),
        })
    }

    fn expand(&self, text: &str, escape: char) -> Result<String, String> {
        Ok(self.scope.expand(text, escape)?.text)
    }

    fn pairs(&self, pairs: &Pairs, escape: char) -> Result<Vec<(String, String)>, String> {
        let expand = |(name, value): &(String, String)| {
            Ok((self.expand(name, escape)?, self.expand(value, escape)?))
        };
        pairs.pairs.iter().map(expand).collect()
    }

    fn argument(&mut self, all: &[Argument], given: &Given) -> Result<String, String> {
        let mut said = String::from("ARG");
        for argument in all {
            let name = &argument.name;
            let outer = Some(&given.global);
            // A value of the base's or an ENV is none of the argument's own.
            let own = given.arguments.contains_key(name)
                || argument.default.is_some()
                || given.global.get(name).is_some();
            self.scope
                .declare(argument, &given.arguments, outer, given.escape)?;
            self.arguments.push(name.clone());
            match self.scope.get(name).filter(|_| own) {
                Some(value) => said += &format!(" {name}={value}"),
                None => said += &format!(" {name}"),
            }
        }
        Ok(said)
    }

    /// A command line's words, the stage's shell put before what is a text.
    fn words(&self, line: &CommandLine) -> Vec<String> {
        match line {
            CommandLine::Exec(words) => words.clone(),
            CommandLine::Shell(text) => self.in_shell(text),
        }
    }

    fn in_shell(&self, text: &str) -> Vec<String> {
        let mut words = self.config.list("Shell");
        if words.is_empty() {
            words = SHELL.map(str::to_owned).into();
        }
        words.push(text.to_owned());
        words
    }

    /// A path, from the working directory.
    fn absolute(&self, path: &str) -> String {
        let from = Path::new("/").join(self.config.text("WorkingDir"));
        clean(&from.join(path)).display().to_string()
    }

    fn health(&mut self, health: &Health) -> String {
        let mut check = Map::new();
        let mut times = [Duration::ZERO; 4];
        let mut number = 0;
        let test = match health {
            Health::None => vec!["NONE".to_owned()],
            Health::Check {
                command,
                interval,
                timeout,
                start_period,
                start_interval,
                retries,
            } => {
                let all = [
                    ("Interval", interval),
                    ("Timeout", timeout),
                    ("StartPeriod", start_period),
                    ("StartInterval", start_interval),
                ];
                for ((key, time), kept) in all.into_iter().zip(&mut times) {
                    if let Some(time) = time.filter(|time| !time.is_zero()) {
                        *kept = time;
                        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
                        check.insert(key.into(), json!(nanos));
                    }
                }
                if let Some(retries) = retries.filter(|retries| *retries > 0) {
                    number = retries;
                    check.insert("Retries".into(), json!(retries));
                }
                match command {
                    CommandLine::Exec(words) => std::iter::once("CMD".to_owned())
                        .chain(words.clone())
                        .collect(),
                    CommandLine::Shell(text) => vec!["CMD-SHELL".to_owned(), text.clone()],
                }
            }
        };
        let times = times
            .map(|time| format!("{:?}", go_duration(time)))
            .join(" ");
        let said = format!(
            "HEALTHCHECK &{{{} {times} {}}}",
            quoted(&test),
            quoted_number(number)
        );
        check.insert("Test".into(), json!(test));
        self.config.set("Healthcheck", Value::Object(check));
        said
    }

    /// COPY or ADD with variables put in, and what history says of it.
    fn transfer(&self, transfer: &Transfer, escape: char) -> Result<(Transfer, String), String> {
        let expand = |text: &String| self.expand(text, escape);
        let mut transfer = transfer.clone();
        transfer.chown = transfer.chown.as_ref().map(expand).transpose()?;
        transfer.chmod = transfer.chmod.as_ref().map(expand).transpose()?;
        transfer.checksum = transfer.checksum.as_ref().map(expand).transpose()?;
        transfer.exclude = transfer
            .exclude
            .iter()
            .map(expand)
            .collect::<Result<_, _>>()?;
        let mut said = String::new();
        if transfer.parents {
            said += " --parents";
        }
        for (flag, value) in [("chown", &transfer.chown), ("chmod", &transfer.chmod)] {
            if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
                said += &format!(" --{flag}={value}");
            }
        }
        for source in &mut transfer.sources {
            match source {
                Source::Path(path) => {
                    *path = expand(path)?;
                    said += &format!(" {path}");
                }
                Source::Inline(heredoc) => {
                    said += &format!(" <<{}", heredoc.name);
                    heredoc.content = self.inline(heredoc, escape)?;
                    heredoc.strips_tabs = false;
                }
            }
        }
        let destination = expand(&transfer.destination)?;
        if destination.is_empty() {
            return Err("the destination is empty".into());
        }
        said += &format!(" {destination}");
        let is_directory =
            destination.ends_with('/') || destination == "." || destination.ends_with("/.");
        transfer.destination = self.absolute(&destination);
        if is_directory && transfer.destination != "/" {
            transfer.destination.push('/');
        }
        Ok((transfer, said))
    }

    /// What a heredoc says.
    fn inline(&self, heredoc: &Heredoc, escape: char) -> Result<String, String> {
        let text = heredoc.text();
        if !heredoc.expands {
            return Ok(text);
        }
        let keeping = Keeping {
            ignores_quotes: true,
            ..Keeping::default()
        };
        Ok(self.scope.expand_keeping(&text, escape, keeping)?.text)
    }

    fn command(&self, run: &Run, given: &Given) -> Result<Command, String> {
        let mut script = None;
        let words = match (&run.command, run.heredocs.as_slice()) {
            (CommandLine::Exec(words), _) => words.clone(),
            (CommandLine::Shell(text), []) => self.in_shell(text),
            (CommandLine::Shell(text), [first, ..]) if Heredoc::of_word(text.trim()).is_some() => {
                let content = first.text();
                match content.starts_with("#!") {
                    true => {
                        let path = format!("/dev/pipes/{}", first.name);
                        script = Some((first.name.clone(), content));
                        self.in_shell(&path)
                    }
                    false => self.in_shell(&content),
                }
            }
            (CommandLine::Shell(text), all) => {
                let mut whole = text.clone();
                for heredoc in all {
                    whole += &format!("\n{}{}", heredoc.content, heredoc.name);
                }
                self.in_shell(&whole)
            }
        };
        let mounts = run.mounts.iter().map(|text| {
            let text = self.expand_mount(text, given.escape)?;
            Mount::parse(&text).map_err(|says| format!("--mount={text}: {says}"))
        });
        Ok(Command {
            words,
            env: self.env(given),
            workdir: self.absolute("."),
            user: self.config.text("User").to_owned(),
            mounts: mounts.collect::<Result<_, String>>()?,
            script,
            network: run.network,
            insecure: run.insecure,
        })
    }

    fn expand_mount(&self, text: &str, escape: char) -> Result<String, String> {
        let keeping = Keeping {
            keeps_quotes: true,
            ..Keeping::default()
        };
        Ok(self.scope.expand_keeping(text, escape, keeping)?.text)
    }

    /// The variables of a command: those of the image and the stage's arguments, of which
    /// the later count, and proxies that the caller gives.
    fn env(&self, given: &Given) -> Vec<(String, String)> {
        let mut env: BTreeMap<String, String> = BTreeMap::new();
        for name in PROXY_ARGUMENTS {
            if let Some(value) = given.arguments.get(name) {
                env.insert(name.to_owned(), value.clone());
            }
        }
        let names = self.config.env().into_iter().map(|(name, _)| name);
        for name in names.chain(self.arguments.iter().cloned()) {
            if let Some(value) = self.scope.get(&name) {
                env.insert(name, value.clone());
            }
        }
        env.into_iter().collect()
    }

    /// What history says of a command.
    fn command_said(&self, words: &[String]) -> String {
        let mut arguments: Vec<&String> = Vec::new();
        for name in &self.arguments {
            if !arguments.contains(&name) {
                arguments.push(name);
            }
        }
        let mut said = String::from("RUN ");
        if !arguments.is_empty() {
            said += &format!("|{} ", arguments.len());
        }
        for name in arguments {
            let value = self.scope.get(name).map_or("", String::as_str);
            said += &format!("{name}={value} ");
        }
        format!("{said}{} # buildkit", words.join(" "))
    }
}

fn joined(pairs: &[(String, String)]) -> String {
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join(" ")
}

/// The ports of a word of EXPOSE, as an image's configuration has them.
fn exposed(word: &str) -> Result<Vec<String>, String> {
    let wrong = || format!("invalid containerPort: {word}");
    let (ports, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
    let protocol = protocol.to_lowercase();
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(format!("invalid proto: {protocol}"));
    }
    // What stands before it is of the host, and does not count here.
    let ports = ports.rsplit(':').next().unwrap_or(ports);
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let number = |text: &str| text.parse::<u16>().map_err(|_| wrong());
    let (first, last) = (number(first)?, number(last)?);
    if first > last || usize::from(last - first) >= MAX_PORTS {
        return Err(wrong());
    }
    Ok((first..=last)
        .map(|port| format!("{port}/{protocol}"))
        .collect())
}

#[cfg(test)]
mod tests;
