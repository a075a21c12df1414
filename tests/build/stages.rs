//! Stages side by side.

use super::{build, context};
use crate::common::Sandbox;

#[test]
fn stages_that_do_not_need_each_other_are_built_at_once() {
    let sandbox = Sandbox::with_busybox();
    // Each waits for the other.
    let wait = |own: &str, other: &str| {
        format!(
            "FROM busybox AS {own}\nRUN --mount=type=cache,id=meet,target=/c \
             touch /c/{own}; until test -e /c/{other}; do sleep 0.05; done; echo {own} >/{own}\n"
        )
    };
    let text = format!(
        "{}{}FROM busybox AS unneeded\nRUN exit 1\nFROM busybox\nCOPY --from=a /a /\nCOPY --from=b /b /\n",
        wait("a", "b"),
        wait("b", "a")
    );
    let context = context(&sandbox, &text, &[]);
    let told = build(&sandbox, &context, &[]);
    // Every step has a number of its own, by which it is announced and told to its end.
    let numbers_of = |end: &dyn Fn(&str) -> bool| {
        let lines = told.lines().filter_map(|line| line.split_once(' '));
        let numbers = lines
            .filter(|(_, said)| end(said))
            .map(|(number, _)| number);
        let mut numbers: Vec<_> = numbers.collect();
        numbers.sort_unstable();
        numbers
    };
    let begun = numbers_of(&|said| said.starts_with("FROM ") || said.starts_with('['));
    assert_eq!(begun, ["#1", "#2", "#3", "#4", "#5"], "{told}");
    assert_eq!(
        numbers_of(&|said| said.starts_with("DONE ")),
        begun,
        "{told}"
    );
    assert!(told.contains("[stage-3] COPY --from=b /b /\n"), "{told}");
    assert_eq!(sandbox.shell_of("built", &[], "cat /a /b"), "a\nb");
    assert_eq!(build(&sandbox, &context, &[]).matches("CACHED").count(), 4);
}

#[test]
fn a_stage_that_fails_ends_the_others() {
    let sandbox = Sandbox::with_busybox();
    let text = "FROM busybox AS long\nRUN --mount=type=cache,id=meet,target=/c touch /c/long; sleep 1000\n\
                FROM busybox AS bad\nRUN --mount=type=cache,id=meet,target=/c \
                until test -e /c/long; do sleep 0.05; done; exit 3\n\
                FROM busybox\nCOPY --from=long /x /\nCOPY --from=bad /x /\n";
    let context = context(&sandbox, text, &[]);
    let failed = sandbox.bryo(["build", &context]).output().expect(1);
    assert!(failed.stderr.contains("Dockerfile:4: "), "{failed}");
    assert!(failed.stderr.contains("exit code: 3"), "{failed}");
    assert_eq!(sandbox.bryo(["ps", "-aq"]).stdout(), "");
}
