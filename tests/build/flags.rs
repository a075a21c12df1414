//! What the flags of `build` say of commands, of the cache and of where the result goes.

use super::{build, context};
use crate::common::Sandbox;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[test]
fn commands_have_the_network_hosts_and_sizes_that_are_asked_for() {
    let sandbox = Sandbox::with_busybox();
    let text = "FROM busybox\nRUN ls /sys/class/net >/net; grep -c thathost /etc/hosts >/host; \
                df -k /dev/shm | awk 'END { print $2 }' >/shm; ulimit -n >/files\n";
    let context = context(&sandbox, text, &[]);
    let flags = [
        "--network=none",
        "--add-host=thathost:10.1.2.3",
        "--shm-size=1m",
        "--ulimit=nofile=77:77",
    ];
    build(&sandbox, &context, &flags);
    let seen = sandbox.shell_of("built", &[], "cat /net /host /shm /files");
    assert_eq!(seen, "lo\n1\n1024\n77");
}

#[test]
fn some_stages_can_be_built_anew() {
    let sandbox = Sandbox::with_busybox();
    let text = "FROM busybox AS a\nRUN cat /proc/sys/kernel/random/uuid >/a\nFROM busybox AS b\nRUN cat /proc/sys/kernel/random/uuid >/b\n\
                FROM busybox\nCOPY --from=a /a /\nCOPY --from=b /b /\n";
    let context = context(&sandbox, text, &[]);
    let look = |flags: &[&str]| {
        build(&sandbox, &context, flags);
        let seen = sandbox.shell_of("built", &[], "cat /a /b");
        let (a, b) = seen.split_once('\n').unwrap();
        (a.to_owned(), b.to_owned())
    };
    let first = look(&[]);
    assert_eq!(look(&[]), first);
    let second = look(&["--no-cache-filter=B"]);
    assert_eq!(second.0, first.0);
    assert_ne!(second.1, first.1);
    let third = look(&["--no-cache-filter", "0,1"]);
    assert_ne!(third.0, first.0);
    assert_ne!(third.1, second.1);
}

#[test]
fn a_failed_command_says_how_to_look_around() {
    let sandbox = Sandbox::with_busybox();
    let text = "FROM busybox\nRUN echo left >/left\nRUN exit 3\n";
    let context = context(&sandbox, text, &[]);
    let failed = sandbox.bryo(["build", &context]).output().expect(1);
    let said = failed.stderr.lines().find(|line| line.contains("to look"));
    let id = said.and_then(|line| line.split(' ').next_back()).unwrap();
    let look = ["run", "--rm", "--entrypoint", "/bin/cat", id, "/left"];
    assert_eq!(sandbox.bryo(look).stdout(), "left");
}

#[test]
fn a_dockerfile_comes_from_standard_input_and_warnings_behind_the_build() {
    let sandbox = Sandbox::with_busybox();
    let text = "FROM busybox\nCMD echo hello\n";
    for arguments in [
        &["build", "-t", "built", "-"][..],
        &["build", "-t", "built"],
    ] {
        let build = sandbox.bryo(arguments.iter().copied());
        let build = match arguments.last() {
            Some(&"-") => build,
            _ => build.args(["-f", "-", &context(&sandbox, "", &[])]),
        };
        let told = build.stdin(text).output().expect(0).stderr;
        let warning =
            "\n 1 warning found (bryo build --check shows where):\n - JSONArgsRecommended: ";
        assert!(told.contains(warning), "{told}");
    }
    assert_eq!(sandbox.bryo(["run", "--rm", "built"]).stdout(), "hello");
    let refused = sandbox
        .bryo(["build", "-"])
        .stdin("FROM busybox\nCOPY a /\n");
    assert!(
        refused
            .output()
            .expect(1)
            .stderr
            .contains("\"/a\": not found")
    );
    // `check=error` holds for builds too.
    let text = format!("# check=error=true\n{text}");
    let refused = sandbox.bryo(["build", "-"]).stdin(text).output().expect(1);
    assert!(refused.stderr.contains("lint violation"), "{refused}");
}

#[test]
fn results_go_where_they_are_asked_to() {
    let sandbox = Sandbox::with_busybox();
    let text = "FROM busybox AS made\nRUN mkdir -p /o/d && echo 1 >/o/d/f && ln -s d/f /o/l && chmod 640 \
                /o/d/f && chown 33:44 /o/d/f\nFROM scratch\nCOPY --from=made /o /\n";
    let context = context(&sandbox, text, &[]);
    let images = sandbox
        .bryo(["images", "-q", "--filter", "dangling=false"])
        .stdout();
    let place = sandbox.work().join("out");
    let place = place.to_str().unwrap();
    let tar = format!("{place}.tar");
    let oci = format!("{place}.oci");
    let meta = format!("{place}.json");
    let (to_tar, to_oci) = (
        format!("type=tar,dest={tar}"),
        format!("type=oci,dest={oci}"),
    );
    build(
        &sandbox,
        &context,
        &[
            "-o",
            place,
            "-o",
            &to_tar,
            "--output",
            &to_oci,
            "--metadata-file",
            &meta,
        ],
    );
    assert_eq!(fs::read_to_string(format!("{place}/l")).unwrap(), "1\n");
    let mode = fs::metadata(format!("{place}/d/f"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o640);
    let list = |tar: &[&str]| sandbox.command("tar").args(tar).stdout();
    let listed = list(&["--numeric-owner", "-tvf", &tar]);
    let file = listed.lines().find(|line| line.ends_with(" d/f")).unwrap();
    assert!(file.starts_with("-rw-r----- 33/44 "), "{listed}");
    assert!(list(&["-tf", &oci]).contains("index.json"));
    // Nothing of it has a name in the store.
    let named = ["images", "-q", "--filter", "dangling=false"];
    assert_eq!(sandbox.bryo(named).stdout(), images);
    let load = sandbox.bryo(["load", "-q", "-i", &oci]).output().expect(0);
    assert!(load.stdout.contains("built"), "{load}");
    let meta: Value = serde_json::from_str(&fs::read_to_string(&meta).unwrap()).unwrap();
    let id = sandbox.bryo(["inspect", "-f", "{{.Id}}", "built"]).stdout();
    assert_eq!(meta["containerimage.config.digest"], json!(id.trim()));
    assert_eq!(meta["image.name"], json!("docker.io/library/built:latest"));
    // A tar at standard output is alone there.
    let line = "exec \"$0\" build -o - \"$1\" 2>/dev/null | tar t";
    let pipe = sandbox
        .command("sh")
        .args(["-c", line])
        .arg(crate::common::bryo());
    assert!(pipe.arg(&context).stdout().contains("d/f"));
    let refused = sandbox.bryo(["build", "-o", "type=registry", &context]);
    assert!(refused.output().expect(125).stderr.contains("bryo push"));
}

#[test]
fn what_builds_keep_is_weighed() {
    let sandbox = Sandbox::with_busybox();
    let text = "FROM busybox\nRUN head -c 300000 /dev/urandom >/x\n";
    let context = context(&sandbox, text, &[]);
    let kept = || {
        let df = [
            "system",
            "df",
            "--format",
            "{{.Type}} {{.TotalCount}} {{.Active}} {{.Bytes}}",
        ];
        let lines = sandbox.bryo(df).stdout();
        let line = lines
            .lines()
            .find_map(|line| line.strip_prefix("Build Cache "));
        let numbers = line
            .unwrap()
            .split(' ')
            .map(|word| word.parse::<u64>().unwrap());
        numbers.collect::<Vec<_>>()
    };
    assert_eq!(kept(), [0, 0, 0]);
    build(&sandbox, &context, &[]);
    assert_eq!(kept(), [2, 2, 0]);
    sandbox.bryo(["rmi", "built"]).output().expect(0);
    let alone = kept();
    assert_eq!(alone[..2], [2, 1]);
    assert!(alone[2] > 300_000, "{alone:?}");
    sandbox.bryo(["builder", "prune", "-f"]).output().expect(0);
    assert_eq!(kept(), [0, 0, 0]);
}
