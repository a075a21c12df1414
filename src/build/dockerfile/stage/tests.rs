use super::*;
use crate::build::dockerfile::instruction::*;

fn one(line: &str) -> Instruction {
    let file = format!("FROM a\n{line}");
    let parsed = Dockerfile::parse(&file).unwrap_or_else(|fault| panic!("{line}: {fault}"));
    parsed.stages[0].instructions[0].instruction.clone()
}

fn fault(line: &str) -> String {
    let file = format!("FROM a\n{line}");
    let fault = Dockerfile::parse(&file).unwrap_err();
    assert_eq!(fault.lines.first, 2, "{line}");
    fault.to_string()
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

#[test]
fn instructions_say_what_is_written() {
    let exec = |words: &[&str]| CommandLine::Exec(owned(words));
    let shell = |text: &str| CommandLine::Shell(text.to_owned());
    assert_eq!(
        one("CMD [\"a\", \"b\"]"),
        Instruction::Cmd(exec(&["a", "b"]))
    );
    assert_eq!(one("cmd a  b "), Instruction::Cmd(shell("a  b")));
    assert_eq!(one("CMD"), Instruction::Cmd(shell("")));
    assert_eq!(
        one("ENTRYPOINT [\"a\"]"),
        Instruction::Entrypoint(exec(&["a"]))
    );
    assert_eq!(
        one("EXPOSE 90 80/udp"),
        Instruction::Expose(owned(&["80/udp", "90"]))
    );
    assert_eq!(
        one("VOLUME /a  /b"),
        Instruction::Volume(owned(&["/a", "/b"]))
    );
    assert_eq!(
        one("VOLUME [\"/a b\"]"),
        Instruction::Volume(owned(&["/a b"]))
    );
    assert_eq!(one("USER  a b "), Instruction::User("a b".into()));
    assert_eq!(one("WORKDIR /a b"), Instruction::Workdir("/a b".into()));
    assert_eq!(
        one("STOPSIGNAL SIGTERM"),
        Instruction::Stopsignal("SIGTERM".into())
    );
    assert_eq!(
        one("SHELL [\"/bin/sh\",\"-e\"]"),
        Instruction::Shell(owned(&["/bin/sh", "-e"]))
    );
    assert_eq!(one("ONBUILD RUN x"), Instruction::Onbuild("RUN x".into()));
    assert_eq!(
        one("MAINTAINER me <a@b>"),
        Instruction::Maintainer("me <a@b>".into())
    );
    let argument = |name: &str, default: Option<&str>| Argument {
        name: name.into(),
        default: default.map(str::to_owned),
    };
    assert_eq!(
        one("ARG A B=1 C=\"x y\" D="),
        Instruction::Arg(vec![
            argument("A", None),
            argument("B", Some("1")),
            argument("C", Some("\"x y\"")),
            argument("D", Some("")),
        ])
    );
    assert_eq!(
        one("HEALTHCHECK none"),
        Instruction::Healthcheck(Health::None)
    );
    let Instruction::Healthcheck(Health::Check {
        command,
        interval,
        retries,
        ..
    }) = one("HEALTHCHECK --interval=5s --retries=3 CMD  curl  x")
    else {
        panic!("no check")
    };
    assert_eq!(command, shell("curl  x"));
    assert_eq!(
        (interval, retries),
        (Some(std::time::Duration::from_secs(5)), Some(3))
    );
}

#[test]
fn transfers() {
    let Instruction::Copy(copy) =
        one("COPY --from=b --chown=1:2 --chmod=u+x --link --exclude=*.o --parents a <<E c/\nx\nE")
    else {
        panic!("no copy")
    };
    assert_eq!(copy.from.as_deref(), Some("b"));
    assert_eq!(copy.chown.as_deref(), Some("1:2"));
    assert_eq!(copy.chmod.as_deref(), Some("u+x"));
    assert!(copy.link && copy.parents);
    assert_eq!(copy.exclude, ["*.o"]);
    assert_eq!(copy.destination, "c/");
    let [Source::Path(path), Source::Inline(heredoc)] = copy.sources.as_slice() else {
        panic!("{:?}", copy.sources)
    };
    assert_eq!((path.as_str(), heredoc.content.as_str()), ("a", "x\n"));
    let Instruction::Add(add) = one("ADD --unpack=false --checksum=sha256:x http://a/b [c]") else {
        panic!("no add")
    };
    assert_eq!(add.unpack, Some(false));
    assert_eq!(add.destination, "[c]");
}

#[test]
fn faults_are_told_as_buildkit_does() {
    for (line, says) in [
        ("FOO x", "unknown instruction: FOO"),
        ("RNU x", "unknown instruction: RNU (did you mean RUN?)"),
        ("ENTRYPOINT", "ENTRYPOINT requires at least one argument"),
        ("USER", "USER requires exactly one argument"),
        ("ENV", "ENV requires at least one argument"),
        ("ENV A", "ENV must have two arguments"),
        ("ENV =a", "ENV names can not be blank"),
        ("ARG =a", "ARG names can not be blank"),
        (
            "LABEL a=b c",
            "Syntax error - can't find = in \"c\". Must be of the form: name=value",
        ),
        (
            "CMD [\"a\", 5]",
            "when using JSON array syntax, arrays must be comprised of strings only",
        ),
        (
            "VOLUME [\"\"]",
            "VOLUME specified can not be an empty string",
        ),
        (
            "COPY a",
            "COPY requires at least two arguments, but only one was provided. Destination could \
             not be determined",
        ),
        (
            "COPY a <<E\nE",
            "COPY cannot accept a heredoc as a destination",
        ),
        (
            "COPY --from=$X a b",
            "variable expansion is not supported for --from, define a new stage with FROM using \
             ARG from global scope as a workaround",
        ),
        (
            "COPY --form=a b c",
            "unknown flag: --form (did you mean --from?)",
        ),
        ("COPY --unpack a b", "unknown flag: --unpack"),
        ("USER --x y", "unknown flag: --x"),
        (
            "RUN --network=x y",
            "unsupported network mode \"x\": default, none or host",
        ),
        (
            "RUN --mount=type=bnid,target=/a y",
            "--mount=type=bnid,target=/a: unsupported mount type \
             \"bnid\" (did you mean bind?)",
        ),
        ("HEALTHCHECK", "HEALTHCHECK requires at least one argument"),
        ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK NONE a", "HEALTHCHECK NONE takes no arguments"),
        (
            "HEALTHCHECK FOO",
            "Unknown type \"FOO\" in HEALTHCHECK (try CMD)",
        ),
        (
            "HEALTHCHECK --interval=1us CMD a",
            "Interval \"interval\" cannot be less than 1ms",
        ),
        ("ONBUILD", "ONBUILD requires at least one argument"),
        (
            "ONBUILD ONBUILD RUN x",
            "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
        ),
        ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        (
            "ONBUILD COPY a",
            "COPY requires at least two arguments, but only one was provided. \
             Destination could not be determined",
        ),
        (
            "FROM",
            "FROM requires either one or three arguments: an image, or IMAGE AS NAME",
        ),
        (
            "FROM a AS 1b",
            "invalid name for build stage: \"1b\", name can't start with a number or contain symbols",
        ),
    ] {
        assert_eq!(fault(line), says, "{line}");
    }
    assert!(fault("SHELL a").starts_with("SHELL requires the arguments to be in JSON form"));
}

#[test]
fn what_is_before_the_first_stage() {
    let parsed = Dockerfile::parse("ARG A=1\nFROM a\nARG B\n").unwrap();
    assert_eq!(parsed.arguments.len(), 1);
    for (file, says) in [
        (
            "RUN x\nFROM a",
            "no build stage in current context: RUN is before the first FROM",
        ),
        (
            "ARG A",
            "dockerfile contains no stages to build: it has no FROM",
        ),
    ] {
        assert_eq!(Dockerfile::parse(file).unwrap_err().text, says);
    }
}

#[test]
fn stages_are_found_by_name_and_number() {
    let file = "FROM a AS One\nFROM b as two\nFROM c AS one\nFROM d\n";
    let parsed = Dockerfile::parse(file).unwrap();
    assert_eq!(parsed.stages[0].from.name.as_deref(), Some("one"));
    for (name, before, by_number, found) in [
        ("one", 1, false, Some(0)),
        ("ONE", 3, false, Some(2)),
        ("two", 1, true, None),
        ("1", 3, true, Some(1)),
        ("1", 3, false, None),
        ("7", 3, true, None),
        ("d", 4, true, None),
    ] {
        assert_eq!(
            parsed.find(name, before, by_number),
            found,
            "{name} {before}"
        );
    }
}
