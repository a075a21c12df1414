//! Everyday commands of docker, run with podman and with bryo.

use crate::common::{Podman, Sandbox};
use std::fs;
use std::path::Path;

/// The script: `d` is the program. The first column says what has to be the
/// same: `=` exit code and standard output, `#` the exit code, `!` that both
/// fail.
const SCRIPT: &str = r#"
# d version
# d info
= d import busybox.tar busybox | wc -l
= d images -q | wc -l
= d run --rm --network none busybox echo hi
= d run --rm --network none busybox sh -c 'echo out; echo err >&2; exit 3'
= d run --rm --network none busybox /nosuch
= d run --rm --network none busybox /etc
= d run --rm --network none -e A=1 -e B=2 busybox sh -c 'echo $A $B'
= d run --rm --network none --env-file envs busybox printenv C
= d run --rm --network none -w /tmp busybox pwd
= d run --rm --network none -h box busybox hostname
= d run --rm --network none --entrypoint echo busybox x y
= d run --rm --network none --read-only busybox touch /x
= echo piped | d run --rm -i --network none busybox cat
= d run --rm --network none --tmpfs /t busybox grep -c ' /t tmpfs' /proc/mounts
= d run --rm --network none -v "$PWD/data:/data:ro" busybox cat /data/f
= d run --rm --network none -v "$PWD/data:/data:ro" busybox touch /data/g
= d run --rm --network none --mount type=bind,source="$PWD/data",target=/m busybox ls /m
! d run --rm --network none -v "$PWD/missing:/m" busybox true
= d run --rm --network none --add-host x:1.2.3.4 busybox awk '/x$/ { print $1 }' /etc/hosts
= d run --rm --network none --ulimit nofile=100:200 busybox sh -c 'ulimit -n; ulimit -Hn'
= d run --rm --network none --shm-size 1m busybox sh -c 'df -k /dev/shm | tail -1' | awk '{ print $2 }'
= d run --rm --network none --cap-drop all busybox grep CapEff /proc/self/status
! d run --rm --no-such-flag busybox true
! d run --rm nosuchimage:none true
= d create --name c -l team=x --network none busybox sh -c 'echo out; echo err >&2; echo made >/made; exit 4' | wc -l
= d inspect -f '{{.State.Status}}' c
= d start -a c
= d wait c
= d inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.Name}}' c
= d inspect -f '{{.Path}} {{json .Config.Cmd}} {{.Config.Labels.team}}' c
= d logs c
= d logs --tail 1 c
# d diff c
= d ps -q
= d ps -a --format '{{.Names}}'
= d ps -aq --filter label=team=x | wc -l
= d ps -a --filter status=exited --filter name=c --format '{{.Names}}'
= d cp c:/made - | tar -xOf -
= d cp c:/made back && cat back
= d cp data c:/in && d cp c:/in/. out && cat out/f
= d cp data/f c:/in/new && d cp c:/in . && ls in
! d cp c:/nosuch .
= d export c | tar -tf - | grep made
= d rename c old
! d rename nosuch other
= d commit -a me -c 'CMD cat /made' old made:1 | wc -l
= d run --rm --network none made:1
= d tag made:1 made:2
= d rmi made:2 | wc -l
= d inspect --type image -f '{{json .Config.Cmd}}' made:1
= d rm old
! d rm nosuch
= d run -d --name web --network none busybox sh -c 'trap "exit 6" TERM; echo up; while :; do sleep 0.1; done' | wc -c
= until d logs web | grep -q up; do sleep 0.1; done
= d ps --format '{{.Names}}'
= d exec web echo in
= d exec -e B=2 -w /tmp web sh -c 'echo $B; pwd; exit 5'
= echo piped | d exec -i web cat
= d exec -d web touch /detached >/dev/null; until d exec web ls /detached 2>&-; do sleep 0.2; done
! d exec web /nosuch
= d top web | grep -c trap
= d logs web
! d rm web
= d stop -t 20 web
= d inspect -f '{{.State.ExitCode}} {{.State.Running}}' web
! d exec web true
= d start web
= d restart -t 0 web
= d kill web
= d wait web
# d rm -f web
= d volume create data
= d run --rm --network none -v data:/d busybox sh -c 'echo kept >/d/f'
= d run --rm --network none -v data:/d busybox cat /d/f
= d volume ls -q
= d volume inspect -f '{{.Name}} {{.Driver}}' data
= d volume rm data
! d volume rm data
= d run --name x --network none --cidfile cid busybox true; wc -c <cid
= d container ls -aq | wc -l
# d container prune -f
= d ps -aq
= d rmi -f busybox made:1 >/dev/null; d images -q
"#;

#[test]
fn everyday_commands_do_what_podmans_do() {
    let sandbox = Sandbox::new();
    let podman = Podman::new(&sandbox);
    let mut faults = Vec::new();
    let mut rows = 0;
    for name in ["bryo", "podman"] {
        let work = sandbox.work().join(name);
        fs::create_dir_all(work.join("data")).unwrap();
        fs::copy(crate::common::busybox_tar(), work.join("busybox.tar")).unwrap();
        fs::write(work.join("data/f"), "file\n").unwrap();
        fs::write(work.join("envs"), "# words\nC=from file\n").unwrap();
    }
    for line in SCRIPT.lines().filter(|line| !line.is_empty()) {
        let (what, command) = line.split_once(' ').unwrap();
        let [ours, theirs] = ["bryo", "podman"].map(|name| {
            let run = match name {
                "bryo" => sandbox.bryo([""; 0]),
                _ => podman.command(&[]),
            };
            // The program and its flags, as words of a shell function.
            let program = run.into_command();
            let quote = |word: &std::ffi::OsStr| format!("'{}'", word.to_string_lossy());
            let words = program.get_args().skip(1);
            let words: Vec<String> = words.map(quote).collect();
            let script = format!("d() {{ {} \"$@\"; }}\n{command}", words.join(" "));
            let shell = sandbox.command("sh").args(["-c", &script]);
            shell
                .current_dir(Path::new(&sandbox.work()).join(name))
                .output()
        });
        let same = match what {
            "=" => ours.code == theirs.code && ours.stdout == theirs.stdout,
            "#" => ours.code == theirs.code,
            "!" => ours.code != 0 && theirs.code != 0,
            other => panic!("{other}"),
        };
        rows += 1;
        if !same {
            faults.push(format!("{line}\n--- bryo: {ours}\n--- podman: {theirs}"));
        }
    }
    assert!(rows >= 60, "{rows}");
    assert!(
        faults.is_empty(),
        "{} of {rows}:\n{}",
        faults.len(),
        faults.join("\n\n")
    );
}
