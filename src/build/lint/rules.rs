//! The rules of BuildKit's linter, and which of them count.

use std::collections::BTreeSet;

/// A rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// Names of stages are in small letters.
    StageNameCasing,
    /// `FROM … AS`, `from … as`.
    FromAsCasing,
    /// No empty line in what continues.
    NoEmptyContinuation,
    /// All instructions in capitals, or none.
    ConsistentInstructionCasing,
    /// No two stages of one name.
    DuplicateStageName,
    /// No stage is called `scratch` or `context`.
    ReservedStageName,
    /// CMD and ENTRYPOINT as lists.
    JSONArgsRecommended,
    /// LABEL in place of MAINTAINER.
    MaintainerDeprecated,
    /// FROM uses variables that are declared.
    UndefinedArgInFrom,
    /// No relative WORKDIR before an absolute one.
    WorkdirRelativePath,
    /// Variables are defined before they are used.
    UndefinedVar,
    /// One CMD, ENTRYPOINT and HEALTHCHECK in a stage.
    MultipleInstructionsDisallowed,
    /// `NAME=VALUE`, not `NAME VALUE`.
    LegacyKeyValueFormat,
    /// A base is of the platform that is built.
    InvalidBaseImagePlatform,
    /// No `FROM --platform=$TARGETPLATFORM`.
    RedundantTargetPlatform,
    /// No secrets in ARG and ENV.
    SecretsUsedInArgOrEnv,
    /// With the defaults alone, FROM names an image.
    InvalidDefaultArgInFrom,
    /// No `FROM --platform=linux/amd64`.
    FromPlatformFlagConstDisallowed,
    /// What is copied is not left out by `.dockerignore`.
    CopyIgnoredFile,
    /// Comments above ARG and FROM begin with the name. Only where it is asked for.
    InvalidDefinitionDescription,
    /// Protocols of EXPOSE in small letters.
    ExposeProtoCasing,
    /// EXPOSE has no address and no port of the host.
    ExposeInvalidFormat,
}

/// All of them, with what they are for.
pub const RULES: [(Rule, &str, &str); 22] = [
    (
        Rule::StageNameCasing,
        "StageNameCasing",
        "Stage names should be lowercase",
    ),
    (
        Rule::FromAsCasing,
        "FromAsCasing",
        "The 'as' keyword should match the case of the 'from' keyword",
    ),
    (
        Rule::NoEmptyContinuation,
        "NoEmptyContinuation",
        "Empty continuation lines will become errors in a future release",
    ),
    (
        Rule::ConsistentInstructionCasing,
        "ConsistentInstructionCasing",
        "All instructions should be in the same case, upper or lower",
    ),
    (
        Rule::DuplicateStageName,
        "DuplicateStageName",
        "Stage names should be unique",
    ),
    (
        Rule::ReservedStageName,
        "ReservedStageName",
        "Reserved words should not be used as stage names",
    ),
    (
        Rule::JSONArgsRecommended,
        "JSONArgsRecommended",
        "A shell between keeps signals from the command of CMD and ENTRYPOINT: use a list in JSON",
    ),
    (
        Rule::MaintainerDeprecated,
        "MaintainerDeprecated",
        "MAINTAINER is deprecated: use a label",
    ),
    (
        Rule::UndefinedArgInFrom,
        "UndefinedArgInFrom",
        "FROM must use arguments that are declared",
    ),
    (
        Rule::WorkdirRelativePath,
        "WorkdirRelativePath",
        "What a relative WORKDIR means depends on the base image unless an absolute one is before it",
    ),
    (
        Rule::UndefinedVar,
        "UndefinedVar",
        "Variables should be defined before their use",
    ),
    (
        Rule::MultipleInstructionsDisallowed,
        "MultipleInstructionsDisallowed",
        "Of several such instructions in a stage the last one counts",
    ),
    (
        Rule::LegacyKeyValueFormat,
        "LegacyKeyValueFormat",
        "Name and value should be written with = between them",
    ),
    (
        Rule::InvalidBaseImagePlatform,
        "InvalidBaseImagePlatform",
        "The base image should be of the platform that is built",
    ),
    (
        Rule::RedundantTargetPlatform,
        "RedundantTargetPlatform",
        "$TARGETPLATFORM is what FROM takes anyway",
    ),
    (
        Rule::SecretsUsedInArgOrEnv,
        "SecretsUsedInArgOrEnv",
        "ARG and ENV stay in the image: secrets belong in RUN --mount=type=secret",
    ),
    (
        Rule::InvalidDefaultArgInFrom,
        "InvalidDefaultArgInFrom",
        "With the defaults of its arguments, FROM should name an image",
    ),
    (
        Rule::FromPlatformFlagConstDisallowed,
        "FromPlatformFlagConstDisallowed",
        "FROM --platform should not have a constant",
    ),
    (
        Rule::CopyIgnoredFile,
        "CopyIgnoredFile",
        "What .dockerignore leaves out cannot be copied",
    ),
    (
        Rule::InvalidDefinitionDescription,
        "InvalidDefinitionDescription",
        "The comment above a stage or an argument should begin with its name, or be set apart",
    ),
    (
        Rule::ExposeProtoCasing,
        "ExposeProtoCasing",
        "Protocols in EXPOSE should be lowercase",
    ),
    (
        Rule::ExposeInvalidFormat,
        "ExposeInvalidFormat",
        "EXPOSE takes ports of the container alone",
    ),
];

impl Rule {
    /// Its name.
    pub fn name(self) -> &'static str {
        RULES[self as usize].1
    }

    /// What it is for.
    pub fn description(self) -> &'static str {
        RULES[self as usize].2
    }

    /// The rule of that name.
    pub fn named(name: &str) -> Option<Rule> {
        let found = RULES.iter().find(|(_, known, _)| *known == name);
        found.map(|(rule, ..)| *rule)
    }
}

/// Which rules count, as `# check=` says it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    skipped: BTreeSet<Rule>,
    skips_all: bool,
    experimental: BTreeSet<Rule>,
    experimental_all: bool,
    /// What a rule finds ends the build.
    pub is_error: bool,
}

impl Selection {
    /// Reads `skip=A,B;error=true;experimental=C`.
    ///
    /// # Errors
    /// An option that there is not. A rule that there is not is none.
    pub fn parse(text: &str) -> Result<Selection, String> {
        let mut selection = Selection::default();
        for part in text
            .split(';')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let (name, value) = part
                .split_once('=')
                .ok_or_else(|| format!("invalid check option {part:?}"))?;
            let rules = || value.split(',').filter_map(|name| Rule::named(name.trim()));
            match (name.trim(), value.trim()) {
                ("skip", "all") => selection.skips_all = true,
                ("skip", _) => selection.skipped.extend(rules()),
                ("experimental", "all") => selection.experimental_all = true,
                ("experimental", _) => selection.experimental.extend(rules()),
                ("error", "true" | "1") => selection.is_error = true,
                ("error", "false" | "0") => selection.is_error = false,
                ("error", _) => return Err(format!("failed to parse check option {part:?}")),
                (other, _) => return Err(format!("invalid check option {other:?}")),
            }
        }
        Ok(selection)
    }

    /// Whether a rule counts.
    pub fn has(&self, rule: Rule) -> bool {
        let asked = || self.experimental_all || self.experimental.contains(&rule);
        !self.skips_all
            && !self.skipped.contains(&rule)
            && (rule != Rule::InvalidDefinitionDescription || asked())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_rules() {
        for (i, (rule, name, _)) in RULES.iter().enumerate() {
            assert_eq!(*rule as usize, i, "{name}");
            assert_eq!(Rule::named(name), Some(*rule));
            assert_eq!(format!("{rule:?}"), *name);
        }
    }

    #[test]
    fn selections() {
        let some = Selection::parse("skip=FromAsCasing, UndefinedVar,Nonsense;error=true").unwrap();
        assert!(!some.has(Rule::FromAsCasing) && some.has(Rule::StageNameCasing));
        assert!(some.is_error);
        assert!(!some.has(Rule::InvalidDefinitionDescription));
        let all = Selection::parse("experimental=all").unwrap();
        assert!(all.has(Rule::InvalidDefinitionDescription));
        assert!(
            !Selection::parse("skip=all")
                .unwrap()
                .has(Rule::UndefinedVar)
        );
        assert!(Selection::parse("foo=bar").is_err() && Selection::parse("skip").is_err());
    }
}
