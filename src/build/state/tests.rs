use super::*;
use crate::build::dockerfile::Dockerfile;
use crate::image::platform::Platform;

/// The state behind a Dockerfile's only stage, what history says, and the work.
fn built(text: &str, arguments: &[(&str, &str)]) -> (State, Vec<String>, Vec<Work>) {
    let file = Dockerfile::parse(&format!("FROM scratch\n{text}")).unwrap();
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let given = Given {
        arguments: arguments.iter().map(pair).collect(),
        global: Scope::default(),
        escape: '\\',
    };
    let mut state = State::new(Config::scratch(&Platform::host()));
    let (mut said, mut work) = (Vec::new(), Vec::new());
    for located in &file.stages[0].instructions {
        let done = state.apply(located, &given).unwrap();
        said.extend(done.created_by);
        work.push(done.work);
    }
    (state, said, work)
}

#[test]
fn history_is_as_buildkit_writes_it() {
    let text = "ARG X=arg\nARG Y\nENV A=1 B=\"two words\"\nRUN echo hi   there\nRUN [\"a\", \"b\"]\n\
                COPY --from=0 --chown=5:6 --chmod=644 d/a d/b /e/\nWORKDIR w\nWORKDIR rel\n\
                EXPOSE 1000-1002/udp 80 81/TCP 8080:90\nVOLUME /v /v2\nSHELL [\"/bin/sh\",\"-ec\"]\n\
                HEALTHCHECK --interval=5s --retries=3 CMD echo ok\nCMD echo shell\nUSER 5\n\
                MAINTAINER me\nONBUILD RUN x\nSTOPSIGNAL SIGRTMIN+3\nENTRYPOINT [\"e\"]\n";
    let (state, said, _) = built(text, &[("X", "cli")]);
    let expected = [
        "ARG X=cli",
        "ARG Y",
        "ENV A=1 B=two words",
        "RUN |2 X=cli Y= /bin/sh -c echo hi   there # buildkit",
        "RUN |2 X=cli Y= a b # buildkit",
        "COPY --chown=5:6 --chmod=644 d/a d/b /e/ # buildkit",
        "WORKDIR /w",
        "WORKDIR /w/rel",
        "EXPOSE [1000/udp 1001/udp 1002/udp 80/tcp 90/tcp 81/tcp]",
        "VOLUME [/v /v2]",
        "SHELL [/bin/sh -ec]",
        "HEALTHCHECK &{[\"CMD-SHELL\" \"echo ok\"] \"5s\" \"0s\" \"0s\" \"0s\" '\\x03'}",
        "CMD [\"/bin/sh\" \"-ec\" \"echo shell\"]",
        "USER 5",
        "MAINTAINER me",
        "STOPSIGNAL SIGRTMIN+3",
        "ENTRYPOINT [\"e\"]",
    ];
    assert_eq!(said, expected);
    // The CMD of the same stage stays.
    assert_eq!(state.config.list("Cmd"), ["/bin/sh", "-ec", "echo shell"]);
    assert_eq!(state.config.list("OnBuild"), ["RUN x"]);
    assert_eq!(state.as_base().take_triggers(), ["RUN x"]);
}

#[test]
fn an_entrypoint_takes_away_the_command_of_the_base() {
    let (base, ..) = built("CMD a\n", &[]);
    let mut state = base.as_base();
    let file = Dockerfile::parse("FROM x\nENTRYPOINT b\n").unwrap();
    let given = Given {
        arguments: BTreeMap::new(),
        global: Scope::default(),
        escape: '\\',
    };
    state
        .apply(&file.stages[0].instructions[0], &given)
        .unwrap();
    assert_eq!(state.config.list("Cmd"), [""; 0]);
}

#[test]
fn the_later_of_arg_and_env_is_in_the_environment_of_a_command() {
    let (_, _, work) = built(
        "ENV X=env\nARG X=arg\nARG N\nRUN a\nENV X=last\nRUN b\n",
        &[],
    );
    let value = |work: &Work| match work {
        Work::Run(command) => {
            let mut env = command.env.iter();
            assert!(!command.env.iter().any(|(name, _)| name == "N"));
            env.find(|(name, _)| name == "X").unwrap().1.clone()
        }
        _ => panic!("not a command"),
    };
    assert_eq!(
        (value(&work[3]), value(&work[5])),
        ("arg".into(), "last".into())
    );
}

#[test]
fn heredocs_of_commands() {
    let text = "RUN <<EOF\na\nb\nEOF\nRUN <<-E\n\t#!/bin/x\n\t1\nE\nRUN cat <<A >/x\n1\nA\n";
    let (_, said, work) = built(text, &[]);
    assert_eq!(said[0], "RUN /bin/sh -c a\nb\n # buildkit");
    let Work::Run(script) = &work[1] else {
        panic!("not a command");
    };
    assert_eq!(script.words, ["/bin/sh", "-c", "/dev/pipes/E"]);
    assert_eq!(script.script, Some(("E".into(), "#!/bin/x\n1\n".into())));
    let Work::Run(whole) = &work[2] else {
        panic!("not a command");
    };
    assert_eq!(whole.words[2], "cat <<A >/x\n1\nA");
}

#[test]
fn what_is_wrong_with_ports_and_signals_is_said() {
    for (text, says) in [
        ("EXPOSE 80/x", "invalid proto: x"),
        ("EXPOSE 90-80", "invalid containerPort: 90-80"),
        ("EXPOSE a", "invalid containerPort: a"),
        ("STOPSIGNAL FOO", "invalid signal: FOO"),
        ("ENV A=${X:?need}", "need"),
    ] {
        let file = Dockerfile::parse(&format!("FROM scratch\n{text}")).unwrap();
        let given = Given {
            arguments: BTreeMap::new(),
            global: Scope::default(),
            escape: '\\',
        };
        let mut state = State::new(Config::scratch(&Platform::host()));
        let error = state.apply(&file.stages[0].instructions[0], &given);
        let error = error.unwrap_err();
        assert!(error.text.contains(says), "{text}: {error}");
    }
}
