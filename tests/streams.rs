//! What stands between a container and its caller's own descriptors 0 to 2:
//! nothing that the caller has gets inside, and all bytes get through.

use crate::common::{Run, Sandbox, Terminal, wait_for};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::openpty;
use nix::sys::stat::fstat;
use std::fs::{self, File};
use std::io::{Read, Write, pipe};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

/// Notes which files a shell, and the first process, have as their streams, by
/// device and inode; then tries to open them anew for what they were not
/// opened for.
const LOOK: &str = "exec 9>/out/half
    for p in $$ 1; do for n in 0 1 2; do
        stat -L -c %d:%i /proc/$p/fd/$n >&9 2>/dev/null
    done; done
    for p in $$ 1; do for n in 0 1 2; do
        (: >/proc/$p/fd/$n) 2>/dev/null
        (echo overwritten 1<>/proc/$p/fd/$n >&1) 2>/dev/null
    done; done
    mv /out/half /out/seen
    echo done";

fn name(fd: impl AsFd) -> String {
    let stat = fstat(fd).unwrap();
    format!("{}:{}", stat.st_dev, stat.st_ino)
}

/// What a caller may have as its streams, and what has to live as long.
fn kinds(sandbox: &Sandbox) -> Vec<(&'static str, [OwnedFd; 3], Vec<OwnedFd>)> {
    let input = sandbox.write("input", "input\n");
    let output = sandbox.write("output", "old\n");
    let append = || File::options().append(true).open(&output).unwrap().into();
    let file = [File::open(input).unwrap().into(), append(), append()];
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.shutdown(Shutdown::Write).unwrap();
    let socket = [0; 3].map(|_| theirs.try_clone().unwrap().into());
    let (nothing, _) = pipe().unwrap();
    let (reader, writer) = pipe().unwrap();
    let shared = [
        nothing.into(),
        writer.try_clone().unwrap().into(),
        writer.into(),
    ];
    let pty = openpty(None, None).unwrap();
    let terminal = [0; 3].map(|_| pty.slave.try_clone().unwrap());
    vec![
        ("files", file, vec![]),
        ("socket", socket, vec![ours.into()]),
        ("pipes", shared, vec![reader.into()]),
        ("terminal", terminal, vec![pty.master, pty.slave]),
    ]
}

/// Runs a command with the streams of a kind; returns what they are called.
fn run_with(run: Run, streams: &[OwnedFd; 3]) -> Vec<String> {
    let [input, output, errors] = streams.each_ref().map(|fd| fd.try_clone().unwrap());
    let mut command = run.into_command();
    command.stdin(input).stdout(output).stderr(errors);
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
    streams.iter().map(name).collect()
}

/// What was seen inside is none of these.
#[track_caller]
fn check(sandbox: &Sandbox, outside: &[String], what: &str) {
    let file = sandbox.work().join("out/seen");
    let seen = wait_for("a look at the streams", || fs::read_to_string(&file).ok());
    fs::remove_file(&file).unwrap();
    let seen: Vec<_> = seen.lines().collect();
    assert!(seen.len() >= 3, "{what}: {seen:?}");
    for file in seen {
        assert!(!outside.iter().any(|o| o == file), "{what}: {file}");
    }
    for (name, expected) in [("input", "input\n"), ("output", "old\n")] {
        let text = fs::read_to_string(sandbox.work().join(name)).unwrap();
        assert!(text.starts_with(expected), "{what}: {name}: {text:?}");
        assert!(!text.contains("overwritten") || name == "output", "{what}");
    }
}

#[test]
fn no_descriptor_of_the_callers_is_inside() {
    let sandbox = Sandbox::with_busybox();
    let out = sandbox.work().join("out");
    fs::create_dir(&out).unwrap();
    let mount = format!("{}:/out", out.display());
    let common = ["--network", "none", "-v", &mount];
    let image = ["busybox", "sh", "-c", LOOK];
    let idle = sandbox.start("c", &["-v", &mount]);
    for (kind, streams, kept) in kinds(&sandbox) {
        for verb in [
            &["run", "--rm"][..],
            &["run", "--rm", "-i"],
            &["run", "--rm", "-i", "--init"],
            &["run", "--rm", "-i", "--userns", "single"],
            &["run", "-i"],
            &["run", "-d"],
        ] {
            let run = sandbox.bryo(verb).args(common).args(image);
            let outside = run_with(run, &streams);
            check(&sandbox, &outside, &format!("{kind}: {verb:?}"));
        }
        let create = sandbox.bryo(["create", "-i", "--name", "s"]);
        create.args(common).args(image).output().expect(0);
        for verb in [
            &["start", "-a", "s"][..],
            &["start", "-a", "-i", "s"],
            &["start", "s"],
        ] {
            let outside = run_with(sandbox.bryo(verb), &streams);
            check(&sandbox, &outside, &format!("{kind}: {verb:?}"));
            sandbox.bryo(["wait", "s"]).output().expect(0);
        }
        sandbox.bryo(["rm", "s"]).output().expect(0);
        for flags in [&[][..], &["-i"], &["-u", "0"], &["-d"], &["--privileged"]] {
            let run = sandbox.bryo(["exec"]).args(flags);
            let outside = run_with(run.args(["c", "sh", "-c", LOOK]), &streams);
            check(&sandbox, &outside, &format!("{kind}: exec {flags:?}"));
        }
        let run = sandbox.bryo(["run", "-d", "--name", "h", "--health-interval", "1s"]);
        let run = run.args(common).args(["--health-cmd", LOOK]);
        let outside = run_with(run.args(["busybox", "sleep", "600"]), &streams);
        check(&sandbox, &outside, &format!("{kind}: health check"));
        sandbox.bryo(["rm", "-f", "h"]).output().expect(0);
        drop(kept);
    }
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
    idle.wait();
}

/// The example that asked for all this: a file that is open for appending.
#[test]
fn a_file_that_is_appended_to_keeps_what_it_had() {
    let sandbox = Sandbox::with_busybox();
    let file = sandbox.write("f", "old\n");
    let append = || File::options().append(true).open(&file).unwrap();
    let script = ": >/proc/1/fd/1; : >/proc/self/fd/2; echo new; echo errors >&2";
    let run = sandbox.bryo(["run", "--rm", "--network", "none", "busybox"]);
    let mut command = run.args(["sh", "-c", script]).into_command();
    command
        .stdin(Stdio::null())
        .stdout(append())
        .stderr(append());
    assert!(command.status().unwrap().success());
    assert_eq!(fs::read_to_string(&file).unwrap(), "old\nnew\nerrors\n");
}

/// A megabyte or more of bytes that no two blocks share.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
        (state >> 33) as u8
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn all_bytes_get_through_whatever_the_streams_are() {
    let sandbox = Sandbox::with_busybox();
    let data = noise(3 << 20);
    let input = sandbox.write("data", &data);
    let idle = sandbox.start("c", &[]);
    for verb in [
        &["run", "--rm", "-i", "--network", "none", "busybox", "cat"][..],
        &["exec", "-i", "c", "cat"],
    ] {
        let output = sandbox.work().join("copy");
        let spawn = |input: Stdio, output: Stdio| {
            let mut command = sandbox.bryo(verb).into_command();
            command.stdin(input).stdout(output).spawn().unwrap()
        };
        let file = || Stdio::from(File::open(&input).unwrap());
        // From a file to files.
        for append in [false, true] {
            let _ = fs::remove_file(&output);
            let mut how = File::options();
            let target = how.create(true).append(append).write(true).open(&output);
            let mut child = spawn(file(), target.unwrap().into());
            assert!(child.wait().unwrap().success());
            assert!(fs::read(&output).unwrap() == data, "{verb:?} {append}");
        }
        // Through sockets, and pipes that somebody made not to wait.
        let (mut near, far) = UnixStream::pair().unwrap();
        let mut child = spawn(
            OwnedFd::from(far.try_clone().unwrap()).into(),
            OwnedFd::from(far).into(),
        );
        let mut writer = near.try_clone().unwrap();
        let copy = data.clone();
        let written = thread::spawn(move || {
            writer.write_all(&copy).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut read = Vec::new();
        near.read_to_end(&mut read).unwrap();
        written.join().unwrap();
        assert!(child.wait().unwrap().success());
        assert!(read == data, "{verb:?}: socket");
        let ((from, mut into), (mut out, to)) = (pipe().unwrap(), pipe().unwrap());
        for fd in [from.as_fd(), to.as_fd()] {
            fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        }
        let mut child = spawn(from.into(), to.into());
        let copy = data.clone();
        let written = thread::spawn(move || {
            for piece in copy.chunks(100_000) {
                into.write_all(piece).unwrap();
            }
        });
        // Who reads is slow at first.
        thread::sleep(Duration::from_millis(200));
        let mut read = Vec::new();
        out.read_to_end(&mut read).unwrap();
        written.join().unwrap();
        assert!(child.wait().unwrap().success());
        assert!(read == data, "{verb:?}: pipe, {} bytes", read.len());
    }
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
    idle.wait();
}

#[test]
fn a_pipeline_ends_with_its_reader() {
    let sandbox = Sandbox::with_busybox();
    let idle = sandbox.start("c", &[]);
    // The shell says how each of the two ended.
    let script = "\"$@\" | head -n 1; echo ${PIPESTATUS[1]}";
    for verb in [
        &["run", "--rm", "--network", "none", "busybox"][..],
        &["run", "--network", "none", "busybox"],
        &["exec", "c"],
    ] {
        let run = sandbox.command("bash").args(["-c", script, "bash"]);
        let run = run.arg(crate::common::bryo()).args(verb).arg("yes");
        let output = run.output().expect(0);
        assert_eq!(output.stdout, "y\n0\n", "{verb:?}");
    }
    // The other way: who writes to a container that reads no more hears of it.
    let script = "yes | \"$@\"; echo ${PIPESTATUS[0]}";
    let run = sandbox.command("bash").args(["-c", script, "bash"]);
    let run = run.arg(crate::common::bryo());
    let output = run.args(["exec", "-i", "c", "head", "-n", "1"]).output();
    assert_eq!(output.expect(0).stdout, "y\n141\n");
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
    idle.wait();
}

/// What a command leaves behind has its streams still; nobody waits for it.
#[test]
fn nobody_waits_for_what_a_command_leaves_behind() {
    let sandbox = Sandbox::with_busybox();
    let idle = sandbox.start("c", &[]);
    let large = "head -c 300000 /dev/zero | tr '\\0' x";
    for rest in ["sleep 600", "yes >/dev/null", "while :; do sleep 1; done"] {
        let script = format!("{rest} & {large}; echo end");
        let output = sandbox.bryo(["exec", "c", "sh", "-c", &script]).output();
        assert_eq!(output.expect(0).stdout.len(), 300_004, "{rest}");
        let output = sandbox.run(&["--network", "none", "busybox", "sh", "-c", &script]);
        assert_eq!(output.expect(0).stdout.len(), 300_004, "{rest}");
    }
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
    idle.wait();
}

#[test]
fn output_and_errors_to_one_place_keep_their_order() {
    let sandbox = Sandbox::with_busybox();
    let idle = sandbox.start("c", &[]);
    let script = "for n in $(seq 200); do echo $n; echo $n >&2; done";
    let expected: String = (1..=200).map(|n| format!("{n}\n{n}\n")).collect();
    for verb in [
        &["run", "--rm", "--network", "none", "busybox"][..],
        &["exec", "c"],
    ] {
        let run = sandbox.bryo(verb).args(["sh", "-c", script]);
        let (mut reader, writer) = pipe().unwrap();
        let mut command = run.into_command();
        command.stdout(writer.try_clone().unwrap()).stderr(writer);
        let mut child = command.spawn().unwrap();
        drop(command);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert!(child.wait().unwrap().success());
        assert!(text == expected, "{verb:?}: {text}");
        let output = sandbox.bryo(verb).args(["sh", "-c", script]).output();
        let output = output.expect(0);
        let once: String = (1..=200).map(|n| format!("{n}\n")).collect();
        assert!(output.stdout == once && output.stderr == once, "{output}");
    }
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
    idle.wait();
}

/// Who reads only when all has ended gets what a pipe holds.
#[test]
fn output_may_be_read_after_the_end() {
    let sandbox = Sandbox::with_busybox();
    let script = "for n in $(seq 60); do echo $n; usleep 1000; done";
    let run = sandbox.bryo(["run", "--rm", "--network", "none", "busybox"]);
    let mut command = run.args(["sh", "-c", script]).into_command();
    let (mut reader, writer) = pipe().unwrap();
    command.stdout(writer);
    let mut child = command.spawn().unwrap();
    drop(command);
    assert!(child.wait().unwrap().success());
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text.lines().count(), 60, "{text}");
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let sandbox = Sandbox::with_busybox();
    let run = sandbox.bryo(["run", "--rm", "--network", "none", "busybox", "echo", "x"]);
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let mut command = run.into_command();
    command.stdout(full()).stderr(Stdio::piped());
    let output = command.spawn().unwrap().wait_with_output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(125), "{text}");
    assert!(text.contains("standard output: No space left"), "{text}");
}

/// Who is started again is so with streams.
#[test]
fn a_container_without_a_log_prints_after_a_restart_too() {
    let sandbox = Sandbox::with_busybox();
    let run = sandbox.bryo([
        "run",
        "--name",
        "c",
        "--network",
        "none",
        "--log-driver",
        "none",
    ]);
    let run = run.args(["--restart", "on-failure:2", "busybox", "sh", "-c"]);
    let output = run.arg("echo out; exit 3").output().expect(3);
    assert_eq!(output.stdout, "out\nout\nout\n");
}

/// At a terminal, without `-t`: what is typed gets in, and the container has a
/// pipe.
#[test]
fn a_terminal_outside_is_none_inside() {
    let sandbox = Sandbox::with_busybox();
    let script = "test -t 0 || test -t 1 || test -t 2 || echo none; read x; echo got $x";
    let run = sandbox.bryo(["run", "--rm", "-i", "--network", "none", "busybox"]);
    let mut terminal = Terminal::start(run.args(["sh", "-c", script]));
    terminal.expect("none");
    terminal.send("something\n");
    terminal.expect("got something");
    assert_eq!(terminal.wait(), 0);
}
