//! What is not wrong in a Dockerfile, and still should not be: the rules of BuildKit's
//! linter, by their names.

mod rules;

pub use rules::{RULES, Rule, Selection};

use super::dockerfile::expand::Keeping;
use super::dockerfile::fault::Lines;
use super::dockerfile::instruction::{CommandLine, Health, Instruction, Pairs, Source, Transfer};
use super::dockerfile::stage::{Located, Stage};
use super::dockerfile::statement::Statement;
use super::dockerfile::{Dockerfile, Fault};
use super::ignore::Ignore;
use super::scope::{PLATFORM_ARGUMENTS, PROXY_ARGUMENTS, Scope};
use crate::engine::request::nearest::nearest;
use crate::image::reference::Reference;
use std::collections::{BTreeMap, HashMap, HashSet};

/// What a rule has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The rule.
    pub rule: Rule,
    /// Where.
    pub lines: Lines,
    /// What, with the words of the Dockerfile.
    pub text: String,
}

/// Variables with their values.
pub type Variables = Vec<(String, String)>;

/// What the rules need to know besides the Dockerfile.
pub struct Surroundings<'a> {
    /// `--build-arg`.
    pub arguments: &'a BTreeMap<String, String>,
    /// What the context leaves out.
    pub ignore: Option<&'a Ignore>,
    /// The variables of an image, if it is known.
    pub image: &'a dyn Fn(&str) -> Option<Variables>,
}

/// What the rules find, by lines.
///
/// # Errors
/// `# check=` cannot be read; a variable that has to have a value has none.
pub fn check(
    file: &Dockerfile,
    around: &Surroundings<'_>,
) -> Result<(Vec<Warning>, Selection), Fault> {
    let selection = file.directives.check.as_deref().unwrap_or_default();
    let selection = Selection::parse(selection).map_err(|says| Fault::new(Lines::one(1), says))?;
    let mut checking = Checking {
        file,
        around,
        selection: &selection,
        warnings: Vec::new(),
    };
    checking.statements();
    checking.stages()?;
    let mut warnings = checking.warnings;
    warnings.sort_by_key(|warning| (warning.lines, warning.rule));
    Ok((warnings, selection))
}

struct Checking<'a> {
    file: &'a Dockerfile,
    around: &'a Surroundings<'a>,
    selection: &'a Selection,
    warnings: Vec<Warning>,
}

/// What is known of a stage when the next one begins.
#[derive(Clone, Default)]
struct Known {
    scope: Scope,
    has_workdir: bool,
}

impl Checking<'_> {
    fn warn(&mut self, rule: Rule, lines: Lines, text: impl Into<String>) {
        if self.selection.has(rule) {
            let text = text.into();
            self.warnings.push(Warning { rule, lines, text });
        }
    }

    /// What shows in the statements alone.
    fn statements(&mut self) {
        let file = self.file;
        let lower = |text: &str| text.chars().all(|c| !c.is_uppercase());
        let upper = |text: &str| text.chars().all(|c| !c.is_lowercase());
        let in_stages = || {
            let global = |s: &&Statement| !s.keyword.eq_ignore_ascii_case("from");
            file.statements.iter().skip_while(global)
        };
        let count = |is: &dyn Fn(&str) -> bool| in_stages().filter(|s| is(&s.keyword)).count();
        let mostly_lower = count(&lower) > count(&upper);
        for statement in in_stages() {
            let (wanted, is) = match mostly_lower {
                true => ("lowercase", lower(&statement.keyword)),
                false => ("uppercase", upper(&statement.keyword)),
            };
            if !is {
                let text = format!(
                    "Command '{}' should match the case of the command majority ({wanted})",
                    statement.keyword
                );
                self.warn(Rule::ConsistentInstructionCasing, statement.lines, text);
            }
        }
        for statement in &file.statements {
            if statement.has_empty_line {
                self.warn(
                    Rule::NoEmptyContinuation,
                    statement.lines,
                    "Empty continuation line",
                );
            }
        }
        let mut froms = in_stages().filter(|s| s.keyword.eq_ignore_ascii_case("from"));
        for stage in &file.stages {
            let Some(statement) = froms.next() else { break };
            let Some((_, word)) = &stage.from.written else {
                continue;
            };
            let from = &statement.keyword;
            if (lower(from) && !lower(word)) || (upper(from) && !upper(word)) {
                let text = format!("'{word}' and '{from}' keywords' casing do not match");
                self.warn(Rule::FromAsCasing, stage.lines, text);
            }
        }
        for statement in &file.statements {
            self.description(statement);
        }
    }

    /// A comment above ARG or FROM.
    fn description(&mut self, statement: &Statement) {
        let Some(comment) = statement.comments.last() else {
            return;
        };
        let words: Vec<&str> = statement.rest.split_whitespace().collect();
        let (what, name) = match (statement.keyword.to_lowercase().as_str(), words.as_slice()) {
            ("from", [_, _, name]) => ("FROM", *name),
            ("arg", [first, ..]) => ("ARG", first.split('=').next().unwrap_or(first)),
            _ => return,
        };
        if comment.split_whitespace().next() != Some(name) {
            let text =
                format!("Comment for {what} should follow the format: `# {name} <description>`");
            self.warn(Rule::InvalidDefinitionDescription, statement.lines, text);
        }
    }

    fn stages(&mut self) -> Result<(), Fault> {
        let file = self.file;
        let escape = file.directives.escape;
        let none = BTreeMap::new();
        let platforms = || Scope::of(PLATFORM_ARGUMENTS.map(|name| (name, String::new())));
        // As the caller wants them, and with the defaults alone.
        let (mut global, mut defaults) = (platforms(), platforms());
        for (argument, lines) in &file.arguments {
            let fault = |says: String| Fault::new(*lines, says).at(&argument.name);
            let declared = global.declare(argument, self.around.arguments, None, escape);
            declared.map_err(fault)?;
            defaults
                .declare(argument, &none, None, escape)
                .map_err(fault)?;
            self.secret("ARG", &argument.name, *lines);
        }
        let mut names = HashSet::new();
        let mut known: Vec<Known> = Vec::new();
        for (number, stage) in file.stages.iter().enumerate() {
            self.name(stage, &mut names);
            let base = self.base(stage, &global, &defaults)?;
            let mut here = match file.find(&base, number, false) {
                Some(earlier) => known[earlier].clone(),
                None => Known {
                    scope: self.scope_of_image(&base),
                    has_workdir: false,
                },
            };
            self.instructions(stage, &global, &mut here)?;
            known.push(here);
        }
        Ok(())
    }

    fn name(&mut self, stage: &Stage, names: &mut HashSet<String>) {
        let (Some(name), Some((written, _))) = (&stage.from.name, &stage.from.written) else {
            return;
        };
        if name != written {
            let text = format!("Stage name '{written}' should be lowercase");
            self.warn(Rule::StageNameCasing, stage.lines, text);
        }
        if matches!(name.as_str(), "scratch" | "context") {
            let text =
                format!("Stage name should not use the same name as reserved stage {name:?}");
            self.warn(Rule::ReservedStageName, stage.lines, text);
        }
        if !names.insert(name.clone()) {
            let text = format!("Duplicate stage name {name:?}, stage names should be unique");
            self.warn(Rule::DuplicateStageName, stage.lines, text);
        }
    }

    /// What a stage stands on, variables put in.
    fn base(&mut self, stage: &Stage, global: &Scope, defaults: &Scope) -> Result<String, Fault> {
        let escape = self.file.directives.escape;
        let from = &stage.from;
        let expand = |scope: &Scope, text: &str| {
            let expanded = scope.expand(text, escape);
            expanded.map_err(|says| Fault::new(stage.lines, says).at(text))
        };
        let base = expand(global, &from.base)?;
        let platform = from
            .platform
            .as_deref()
            .map(|text| expand(global, text))
            .transpose()?;
        let unset = platform.iter().flat_map(|p| &p.unset).chain(&base.unset);
        for name in unset.filter(|name| !global.knows(name)) {
            let meant = nearest(name, global.names());
            let text = format!(
                "FROM argument '{name}' is not declared{}",
                did_you_mean("", meant)
            );
            self.warn(Rule::UndefinedArgInFrom, stage.lines, text);
        }
        // By the caller's arguments alone is no way to have a base.
        let by_default = expand(defaults, &from.base).unwrap_or_default();
        let is_declared = by_default.unset.iter().all(|name| defaults.knows(name));
        let has_name = by_default.text == "scratch" || by_default.text.parse::<Reference>().is_ok();
        if is_declared && !has_name {
            let text = format!(
                "Default value for ARG {} results in empty or invalid base image name",
                from.base
            );
            self.warn(Rule::InvalidDefaultArgInFrom, stage.lines, text);
        }
        match from.platform.as_deref() {
            Some(platform @ ("$TARGETPLATFORM" | "${TARGETPLATFORM}")) => {
                let text = format!(
                    "Setting platform to predefined {platform} in FROM is redundant as this is the \
                     default behavior"
                );
                self.warn(Rule::RedundantTargetPlatform, stage.lines, text);
            }
            Some(platform) if !platform.contains('$') => {
                // A stage that is named for its platform has it for a reason.
                let name = from.name.as_deref().unwrap_or_default();
                if !platform.split('/').any(|part| name.contains(part)) {
                    let text =
                        format!("FROM --platform flag should not use constant value {platform:?}");
                    self.warn(Rule::FromPlatformFlagConstDisallowed, stage.lines, text);
                }
            }
            _ => {}
        }
        Ok(base.text)
    }

    fn scope_of_image(&self, image: &str) -> Scope {
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let known = match image {
            "scratch" => Some(Vec::new()),
            image => (self.around.image)(image),
        };
        let is_open = known.is_none();
        let path = [("PATH".to_owned(), path.to_owned())];
        let mut scope = Scope::of(path.into_iter().chain(known.unwrap_or_default()));
        scope.is_open = is_open;
        scope
    }

    fn instructions(
        &mut self,
        stage: &Stage,
        global: &Scope,
        here: &mut Known,
    ) -> Result<(), Fault> {
        let escape = self.file.directives.escape;
        let mut once: HashMap<&str, Lines> = HashMap::new();
        let mut has_shell = false;
        for Located { instruction, lines } in &stage.instructions {
            let lines = *lines;
            self.variables(instruction, lines, &here.scope)?;
            let fault = |says: String| Fault::new(lines, says);
            match instruction {
                Instruction::Arg(arguments) => {
                    for argument in arguments {
                        self.secret("ARG", &argument.name, lines);
                        let given = self.around.arguments;
                        let declared = here.scope.declare(argument, given, Some(global), escape);
                        declared.map_err(fault)?;
                    }
                }
                Instruction::Env(pairs) => {
                    self.legacy("ENV", pairs, lines);
                    for (name, _) in &pairs.pairs {
                        self.secret("ENV", name, lines);
                    }
                    here.scope.set(pairs, escape).map_err(fault)?;
                }
                Instruction::Label(pairs) => self.legacy("LABEL", pairs, lines),
                Instruction::Shell(_) => has_shell = true,
                Instruction::Cmd(CommandLine::Shell(text))
                | Instruction::Entrypoint(CommandLine::Shell(text))
                    if !has_shell && !text.is_empty() =>
                {
                    let text = format!(
                        "JSON arguments recommended for {} to prevent unintended behavior related \
                         to OS signals",
                        instruction.keyword()
                    );
                    self.warn(Rule::JSONArgsRecommended, lines, text);
                }
                Instruction::Maintainer(_) => {
                    let text = "Maintainer instruction is deprecated in favor of using label";
                    self.warn(Rule::MaintainerDeprecated, lines, text);
                }
                Instruction::Workdir(path) => {
                    let path = here.scope.expand(path, escape).map_err(fault)?.text;
                    let told = path.starts_with('/') || path.is_empty() && here.scope.is_open;
                    if !told && !here.has_workdir {
                        let text = format!(
                            "Relative workdir {path:?} can have unexpected results if the base \
                             image changes"
                        );
                        self.warn(Rule::WorkdirRelativePath, lines, text);
                    }
                    here.has_workdir = true;
                }
                Instruction::Expose(ports) => self.ports(ports, lines),
                Instruction::Copy(copy) => self.copied("Copy", copy, lines, &here.scope),
                Instruction::Add(add) => self.copied("Add", add, lines, &here.scope),
                _ => {}
            }
            let keyword = instruction.keyword();
            if matches!(keyword, "CMD" | "ENTRYPOINT" | "HEALTHCHECK")
                && let Some(earlier) = once.insert(keyword, lines)
            {
                let text = format!(
                    "Multiple {keyword} instructions should not be used in the same stage because \
                     only the last one will be used"
                );
                self.warn(Rule::MultipleInstructionsDisallowed, earlier, text);
            }
        }
        Ok(())
    }

    fn legacy(&mut self, keyword: &str, pairs: &Pairs, lines: Lines) {
        if pairs.legacy {
            let text = format!(
                "\"{keyword} key=value\" should be used instead of legacy \"{keyword} key value\" \
                 format"
            );
            self.warn(Rule::LegacyKeyValueFormat, lines, text);
        }
    }

    /// A name that says it is of something secret.
    fn secret(&mut self, keyword: &str, name: &str, lines: Lines) {
        const SECRET: [&str; 11] = [
            "apikey",
            "auth",
            "credential",
            "credentials",
            "key",
            "password",
            "pword",
            "passwd",
            "secret",
            "token",
            "passphrase",
        ];
        let lower = name.to_lowercase();
        let mut parts = lower.split('_');
        if parts.clone().any(|part| SECRET.contains(&part)) && !parts.any(|part| part == "public") {
            let text = format!(
                "Do not use ARG or ENV instructions for sensitive data ({keyword} {name:?})"
            );
            self.warn(Rule::SecretsUsedInArgOrEnv, lines, text);
        }
    }

    fn ports(&mut self, ports: &[String], lines: Lines) {
        for port in ports.iter().filter(|port| !port.contains('$')) {
            if port
                .split_once('/')
                .is_some_and(|(_, p)| p.chars().any(char::is_uppercase))
            {
                let text =
                    format!("Defined protocol '{port}' in EXPOSE instruction should be lowercase");
                self.warn(Rule::ExposeProtoCasing, lines, text);
            }
            if port.contains(':') {
                let text = format!(
                    "EXPOSE instruction should not define an IP address or host-port mapping, found \
                     '{port}'"
                );
                self.warn(Rule::ExposeInvalidFormat, lines, text);
            }
        }
    }

    /// Files of the context that are not in it.
    fn copied(&mut self, word: &str, transfer: &Transfer, lines: Lines, scope: &Scope) {
        let (None, Some(ignore)) = (&transfer.from, self.around.ignore) else {
            return;
        };
        for source in &transfer.sources {
            let Source::Path(path) = source else { continue };
            let Ok(expanded) = scope.expand(path, self.file.directives.escape) else {
                continue;
            };
            let path = expanded.text;
            let elsewhere = path.contains("://") || path.starts_with("git@");
            let inside = path.trim_start_matches("./").trim_matches('/');
            if elsewhere || inside.is_empty() || inside == "." || inside.contains(['*', '?', '[']) {
                continue;
            }
            if ignore.is_ignored(inside) {
                let text =
                    format!("Attempting to {word} file {path:?} that is excluded by .dockerignore");
                self.warn(Rule::CopyIgnoredFile, lines, text);
            }
        }
    }

    /// Variables that an instruction uses and nobody has defined.
    fn variables(
        &mut self,
        instruction: &Instruction,
        lines: Lines,
        scope: &Scope,
    ) -> Result<(), Fault> {
        let escape = self.file.directives.escape;
        let heredoc = Keeping {
            ignores_quotes: true,
            ..Keeping::default()
        };
        let mut unset = std::collections::BTreeSet::new();
        let mut look = |text: &str, keeping: Keeping| {
            let escape = if keeping == heredoc { '\\' } else { escape };
            let expanded = scope.expand_keeping(text, escape, keeping);
            let expanded = expanded.map_err(|says| Fault::new(lines, says).at(text))?;
            unset.extend(expanded.unset);
            Ok(())
        };
        for (text, is_heredoc) in expandable(instruction) {
            look(
                &text,
                if is_heredoc {
                    heredoc
                } else {
                    Keeping::default()
                },
            )?;
        }
        for name in unset.iter().filter(|name| !scope.knows(name)) {
            if PROXY_ARGUMENTS.contains(&name.as_str()) {
                continue;
            }
            let meant = nearest(name, scope.names());
            let text = format!(
                "Usage of undefined variable '${name}'{}",
                did_you_mean("$", meant)
            );
            self.warn(Rule::UndefinedVar, lines, text);
        }
        Ok(())
    }
}

fn did_you_mean(sigil: &str, meant: Option<&str>) -> String {
    meant.map_or(String::new(), |word| {
        format!(" (did you mean {sigil}{word}?)")
    })
}

/// The texts of an instruction in which variables count, and which are heredocs.
fn expandable(instruction: &Instruction) -> Vec<(String, bool)> {
    let plain = |text: &String| (text.clone(), false);
    match instruction {
        Instruction::Arg(arguments) => arguments
            .iter()
            .filter_map(|a| a.default.as_ref())
            .map(plain)
            .collect(),
        Instruction::Env(pairs) | Instruction::Label(pairs) => {
            let both = |(name, value): &(String, String)| [plain(name), plain(value)];
            pairs.pairs.iter().flat_map(both).collect()
        }
        Instruction::Expose(texts) | Instruction::Volume(texts) => {
            texts.iter().map(plain).collect()
        }
        Instruction::Stopsignal(text) | Instruction::User(text) | Instruction::Workdir(text) => {
            vec![plain(text)]
        }
        Instruction::Add(transfer) | Instruction::Copy(transfer) => {
            let flags = [&transfer.chown, &transfer.chmod, &transfer.checksum];
            let mut texts: Vec<_> = flags.into_iter().flatten().map(plain).collect();
            texts.push(plain(&transfer.destination));
            texts.extend(transfer.sources.iter().filter_map(|source| match source {
                Source::Path(path) => Some(plain(path)),
                Source::Inline(heredoc) => heredoc.expands.then(|| (heredoc.text(), true)),
            }));
            texts
        }
        Instruction::Healthcheck(Health::None | Health::Check { .. })
        | Instruction::Cmd(_)
        | Instruction::Entrypoint(_)
        | Instruction::Maintainer(_)
        | Instruction::Onbuild(_)
        | Instruction::Run(_)
        | Instruction::Shell(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
