//! Exit codes and words of failures are docker's, which scripts look for. The
//! codes are those of docker's client 28.2, whose engine said 404 to all.

use crate::common::Sandbox;

/// A command line, its exit code, and what it says.
const TABLE: &[(&str, i32, &str)] = &[
    // Only `run` has a code of its own for whatever fails before its command.
    (
        "run --rm --pull never none true",
        125,
        "No such image: none",
    ),
    ("run --rm --memory zz busybox true", 125, "'zz'"),
    ("run --rm -v /none/x:/x busybox true", 125, "/none/x"),
    ("run --rm --bad busybox", 125, "--bad"),
    ("run --rm busybox none", 127, "none"),
    ("run --rm busybox /etc", 126, "/etc"),
    ("exec c none", 127, "none"),
    ("exec c /etc", 126, "/etc"),
    ("create --pull never none", 1, "No such image: none"),
    ("start none", 1, "No such container: none"),
    ("start -a none", 1, "No such container: none"),
    ("exec none true", 1, "No such container: none"),
    ("exec idle true", 1, "is not running"),
    ("rm none", 1, "No such container: none"),
    ("stop none", 1, "No such container: none"),
    ("restart none", 1, "No such container: none"),
    ("kill none", 1, "No such container: none"),
    ("kill idle", 1, "is not running"),
    ("pause none", 1, "No such container: none"),
    ("logs none", 1, "No such container: none"),
    ("wait none", 1, "No such container: none"),
    ("attach none", 1, "No such container: none"),
    ("cp none:/a .", 1, "No such container: none"),
    ("top none", 1, "No such container: none"),
    ("port none", 1, "No such container: none"),
    ("diff none", 1, "No such container: none"),
    ("rename none other", 1, "No such container: none"),
    ("rename idle c", 1, "taken by container"),
    ("commit none x", 1, "No such container: none"),
    ("export -o x none", 1, "No such container: none"),
    ("update --restart no none", 1, "No such container: none"),
    ("stats --no-stream none", 1, "No such container: none"),
    ("inspect none", 1, "No such object: none"),
    ("container inspect none", 1, "No such container: none"),
    ("image inspect none", 1, "No such image: none"),
    ("rmi none", 1, "No such image: none"),
    ("tag none x", 1, "No such image: none"),
    ("history none", 1, "No such image: none"),
    ("save -o x none", 1, "No such image: none"),
    ("push none localhost:1/x", 1, "No such image: none"),
    ("load -i /none", 1, "/none"),
    ("import /none", 1, "/none"),
    ("volume rm none", 1, "get none: no such volume"),
    ("volume inspect none", 1, "get none: no such volume"),
    ("network rm none", 1, "network none not found"),
    ("network inspect none", 1, "network none not found"),
    ("network connect none c", 1, "network none not found"),
    ("kill -s FOO c", 1, "FOO"),
    ("ps -f foo=bar", 1, "foo=bar"),
    ("logs --tail=x c", 1, "x"),
    ("events --since foo", 1, "foo"),
    // A flag that there is not, or that does not take its value.
    ("ps --bad", 125, "--bad"),
    ("exec --bad c true", 125, "--bad"),
    ("create --memory zz busybox", 125, "'zz'"),
    ("create -v x:y:z:a busybox", 125, "x:y:z:a"),
    ("update --memory zz c", 125, "'zz'"),
    ("stop -t a c", 125, "'a'"),
    ("volume create --bad", 125, "--bad"),
    // Words that are missing or not known.
    ("none", 1, "none"),
    ("container none", 1, "none"),
    ("rm", 1, "required"),
    ("run", 1, "required"),
    ("exec c", 1, "required"),
    ("start", 1, "required"),
];

#[test]
fn failures_have_dockers_exit_codes_and_words() {
    let sandbox = Sandbox::with_busybox();
    let create = ["create", "--name", "idle", "busybox", "true"];
    sandbox.bryo(create).output().expect(0);
    let running = sandbox.start("c", &[]);
    let mut faults = Vec::new();
    for (line, code, says) in TABLE {
        let output = sandbox.bryo(line.split(' ')).output();
        if output.code != *code || !output.stderr.contains(says) {
            faults.push(format!("{line}: {code} and {says:?} are wanted: {output}"));
        }
    }
    sandbox.bryo(["rm", "-f", "c", "idle"]).output().expect(0);
    running.wait();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
