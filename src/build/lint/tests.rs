use super::*;

fn image(name: &str) -> Option<Variables> {
    (name == "known").then(|| vec![("HOME_OF".to_owned(), "/x".to_owned())])
}

fn warnings(text: &str, ignore: Option<&Ignore>) -> Vec<(&'static str, usize, String)> {
    let file = Dockerfile::parse(text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
    let arguments = BTreeMap::new();
    let around = Surroundings {
        arguments: &arguments,
        ignore,
        image: &image,
    };
    let (warnings, _) = check(&file, &around).unwrap_or_else(|fault| panic!("{text}: {fault}"));
    let told = |w: Warning| (w.rule.name(), w.lines.first, w.text);
    warnings.into_iter().map(told).collect()
}

#[test]
fn every_rule_finds_what_it_is_for() {
    for (text, rule, line, says) in [
        (
            "FROM a AS Bc",
            Rule::StageNameCasing,
            1,
            "Stage name 'Bc' should be lowercase",
        ),
        (
            "FROM a as b",
            Rule::FromAsCasing,
            1,
            "'as' and 'FROM' keywords' casing do not match",
        ),
        (
            "FROM a\nRUN b \\\n\n c",
            Rule::NoEmptyContinuation,
            2,
            "Empty continuation line",
        ),
        (
            "FROM a\nRUN b\nrun c",
            Rule::ConsistentInstructionCasing,
            3,
            "Command 'run' should match the case of the command majority (uppercase)",
        ),
        (
            "from a\nrun b\nRUN c",
            Rule::ConsistentInstructionCasing,
            3,
            "Command 'RUN' should match the case of the command majority (lowercase)",
        ),
        (
            "FROM a AS b\nFROM c AS b",
            Rule::DuplicateStageName,
            2,
            "Duplicate stage name \"b\", stage names should be unique",
        ),
        (
            "FROM a AS scratch",
            Rule::ReservedStageName,
            1,
            "Stage name should not use the same name as reserved stage \"scratch\"",
        ),
        (
            "FROM a\nCMD b",
            Rule::JSONArgsRecommended,
            2,
            "JSON arguments recommended for CMD to prevent unintended behavior related to OS signals",
        ),
        (
            "FROM a\nMAINTAINER b",
            Rule::MaintainerDeprecated,
            2,
            "Maintainer instruction is deprecated in favor of using label",
        ),
        (
            "ARG VERSION=1\nFROM a:$VERSOIN",
            Rule::UndefinedArgInFrom,
            2,
            "FROM argument 'VERSOIN' is not declared (did you mean VERSION?)",
        ),
        (
            "FROM a\nWORKDIR b",
            Rule::WorkdirRelativePath,
            2,
            "Relative workdir \"b\" can have unexpected results if the base image changes",
        ),
        (
            "FROM scratch\nARG foo=1\nCOPY $fooo /",
            Rule::UndefinedVar,
            3,
            "Usage of undefined variable '$fooo' (did you mean $foo?)",
        ),
        (
            "FROM scratch\nCOPY <<E /f\n$x\nE",
            Rule::UndefinedVar,
            2,
            "Usage of undefined variable '$x'",
        ),
        (
            "FROM a\nCMD [\"b\"]\nRUN x\nCMD [\"c\"]",
            Rule::MultipleInstructionsDisallowed,
            2,
            "Multiple CMD instructions should not be used in the same stage because only the last \
             one will be used",
        ),
        (
            "FROM a\nENV b c",
            Rule::LegacyKeyValueFormat,
            2,
            "\"ENV key=value\" should be used instead of legacy \"ENV key value\" format",
        ),
        (
            "FROM --platform=$TARGETPLATFORM a",
            Rule::RedundantTargetPlatform,
            1,
            "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the \
             default behavior",
        ),
        (
            "FROM a\nENV DB_PASSWORD=x",
            Rule::SecretsUsedInArgOrEnv,
            2,
            "Do not use ARG or ENV instructions for sensitive data (ENV \"DB_PASSWORD\")",
        ),
        (
            "ARG TAG\nFROM a:${TAG}",
            Rule::InvalidDefaultArgInFrom,
            2,
            "Default value for ARG a:${TAG} results in empty or invalid base image name",
        ),
        (
            "FROM --platform=linux/amd64 a AS b",
            Rule::FromPlatformFlagConstDisallowed,
            1,
            "FROM --platform flag should not use constant value \"linux/amd64\"",
        ),
        (
            "# check=experimental=all\nFROM a\n# nonsense\nARG b=1",
            Rule::InvalidDefinitionDescription,
            4,
            "Comment for ARG should follow the format: `# b <description>`",
        ),
        (
            "FROM a\nEXPOSE 80/TCP",
            Rule::ExposeProtoCasing,
            2,
            "Defined protocol '80/TCP' in EXPOSE instruction should be lowercase",
        ),
        (
            "FROM a\nEXPOSE 127.0.0.1:80:80",
            Rule::ExposeInvalidFormat,
            2,
            "EXPOSE instruction should not define an IP address or host-port mapping, found \
             '127.0.0.1:80:80'",
        ),
    ] {
        let expected = vec![(rule.name(), line, says.to_owned())];
        assert_eq!(warnings(text, None), expected, "{text}");
        let skipped = format!("# check=skip={}\n{text}", rule.name());
        if !text.starts_with("# check") {
            assert_eq!(warnings(&skipped, None), [], "{skipped}");
        }
    }
    let ignore = Ignore::parse("tmp\n").unwrap();
    assert_eq!(
        warnings(
            "FROM a\nCOPY ./tmp/f b/\nCOPY --from=x tmp c\nADD http://h/tmp d",
            Some(&ignore)
        ),
        [(
            "CopyIgnoredFile",
            2,
            "Attempting to Copy file \"./tmp/f\" that is excluded by .dockerignore".to_owned()
        )]
    );
}

#[test]
fn nothing_is_found_where_nothing_is() {
    for text in [
        "FROM a AS b\nRUN $x\nCMD [\"c\"]\nENTRYPOINT [\"d\"]",
        "from a as b\nrun c",
        "FROM a\nSHELL [\"/bin/sh\", \"-e\"]\nCMD b",
        "FROM a\nWORKDIR /x\nWORKDIR y",
        "FROM a AS b\nWORKDIR /x\nFROM b\nWORKDIR y",
        // Nobody knows what that image defines.
        "FROM unknown\nWORKDIR /x/$y",
        "FROM known\nWORKDIR $HOME_OF/y",
        "FROM known AS k\nARG z\nFROM k\nCOPY $z $HOME_OF",
        "ARG v=1\nFROM a:$v\nARG v\nLABEL v=$v",
        "FROM a:${v:-1}",
        "FROM scratch\nENV p=$HTTP_PROXY",
        "FROM --platform=$BUILDPLATFORM a",
        "FROM --platform=linux/arm64 a AS build-arm64",
        "FROM a\nENV PUBLIC_KEY=x KEYBOARD=y",
        "FROM scratch\nLABEL a='$b' c=\"\\$d\"",
    ] {
        assert_eq!(warnings(text, None), [], "{text}");
    }
}

#[test]
fn a_rule_by_a_wrong_name_skips_nothing() {
    assert_eq!(warnings("# check=skip=Foo\nFROM a AS B", None).len(), 1);
    let file = Dockerfile::parse("# check=nonsense\nFROM a").unwrap();
    let arguments = BTreeMap::new();
    let around = Surroundings {
        arguments: &arguments,
        ignore: None,
        image: &image,
    };
    assert!(check(&file, &around).is_err());
}
