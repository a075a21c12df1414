//! `bryo-idmap`, as its enemies would call it.

use crate::common::{Sandbox, granted, idmap_helper, tool, wait_for};
use bryo::sys::pidfd;
use nix::unistd::{Pid, getgid, getuid};
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A process in a user namespace of its own that has no map.
struct Target(Child);

impl Target {
    fn new() -> Target {
        let mut unshare = Command::new("unshare");
        let child = unshare.args(["--user", "sleep", "1000"]).spawn().unwrap();
        let link = format!("/proc/{}/ns/user", child.id());
        let ours = fs::read_link("/proc/self/ns/user").unwrap();
        let command = format!("/proc/{}/comm", child.id());
        wait_for("a user namespace", || {
            let there = fs::read_link(&link).is_ok_and(|its| its != ours);
            (there && fs::read_to_string(&command).unwrap() == "sleep\n").then_some(())
        });
        Target(child)
    }

    fn pidfd(&self) -> OwnedFd {
        pidfd::open(Pid::from_raw(self.0.id() as i32)).unwrap()
    }

    /// The lines of its maps.
    fn maps(&self) -> [Vec<String>; 2] {
        ["uid_map", "gid_map"].map(|name| {
            let text = fs::read_to_string(format!("/proc/{}/{name}", self.0.id())).unwrap();
            let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(":");
            text.lines().map(line).collect()
        })
    }

    #[track_caller]
    fn is_untouched(&self) {
        assert_eq!(self.maps(), [Vec::<String>::new(), Vec::new()]);
        let setgroups = fs::read_to_string(format!("/proc/{}/setgroups", self.0.id()));
        assert_eq!(setgroups.unwrap(), "allow\n");
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Leaves no process behind, whatever becomes of the test.
struct KillAtEnd(Pid);

impl Drop for KillAtEnd {
    fn drop(&mut self) {
        let _ = nix::sys::signal::kill(self.0, nix::sys::signal::Signal::SIGKILL);
    }
}

/// A map of nobody but the caller.
fn own() -> [String; 2] {
    [format!("0:{}:1", getuid()), format!("0:{}:1", getgid())]
}

/// The helper with these arguments, its standard input the pidfd.
fn call<S: AsRef<std::ffi::OsStr>>(input: impl Into<Stdio>, arguments: &[S]) -> Command {
    let mut command = Command::new(idmap_helper());
    command.args(arguments).env_clear().stdin(input);
    command
}

/// What it says when it refuses.
#[track_caller]
fn refused(mut command: Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(output.stdout.is_empty());
    assert!(
        said.starts_with("bryo-idmap: ") && said.len() < 600,
        "{said}"
    );
    said
}

#[track_caller]
fn succeeds(mut command: Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn it_maps_the_caller_and_what_he_is_granted() {
    let target = Target::new();
    succeeds(call(target.pidfd(), &own()));
    let [uids, gids] = own();
    assert_eq!(target.maps(), [vec![uids], vec![gids]]);
    // Nobody leaves a group that keeps him out who is granted none.
    let setgroups = fs::read_to_string(format!("/proc/{}/setgroups", target.0.id()));
    assert_eq!(setgroups.unwrap(), "deny\n");
    // The kernel takes one map.
    let again = refused(call(target.pidfd(), &own()));
    assert!(again.contains("Operation not permitted"), "{again}");

    let (Some(users), Some(groups)) = (granted("/etc/subuid"), granted("/etc/subgid")) else {
        return;
    };
    let target = Target::new();
    let [uids, gids] = own();
    let map = |own, (start, count)| format!("{own},1:{start}:{count}");
    succeeds(call(
        target.pidfd(),
        &[map(&uids, users), map(&gids, groups)],
    ));
    let line = |(start, count)| format!("1:{start}:{count}");
    assert_eq!(
        target.maps(),
        [vec![uids, line(users)], vec![gids, line(groups)]]
    );
    let setgroups = fs::read_to_string(format!("/proc/{}/setgroups", target.0.id()));
    assert_eq!(setgroups.unwrap(), "allow\n");
}

#[test]
fn ranges_that_are_not_granted() {
    let target = Target::new();
    let [uids, gids] = own();
    let (start, count) = granted("/etc/subuid").unwrap_or((100_000, 65536));
    for bad in [
        "0:0:1".to_owned(),
        "0:1:1".to_owned(),
        format!("0:{}:1", getuid().as_raw() - 1),
        format!("0:{}:2", getuid()),
        format!("0:{}:1", start - 1),
        format!("0:{}:{}", start - 1, count + 1),
        format!("0:{start}:{}", count + 1),
        format!("0:{}:1", start + count),
        "0:0:4294967295".to_owned(),
        "0:4294967294:1".to_owned(),
        format!("{},7:0:1", own()[0]),
    ] {
        let said = refused(call(target.pidfd(), &[&bad, &gids]));
        assert!(said.contains("by /etc/subuid (it grants "), "{bad}: {said}");
        let said = refused(call(target.pidfd(), &[&uids, &bad]));
        assert!(said.contains("by /etc/subgid (it grants "), "{bad}: {said}");
    }
    target.is_untouched();
}

#[test]
fn arguments_that_are_no_maps() {
    let target = Target::new();
    let good = own()[0].clone();
    for bad in [
        "",
        "0",
        "0:0",
        "0:0:0",
        "1:2:3:4",
        "-1:0:1",
        "+0:0:1",
        "0x1:0:1",
        "0:0:1,",
        ",0:0:1",
        "0:4294967295:1",
        "4294967295:0:1",
        "0:4294967296:1",
        "1:0:4294967295",
        "0:10:2,1:20:2",
        "0:10:2,5:11:1",
        "0:0:1 ",
        "0 0 1",
        "--help",
        "/etc/passwd",
        "٣:0:1",
    ] {
        refused(call(target.pidfd(), &[bad, &good]));
        refused(call(target.pidfd(), &[&good, bad]));
    }
    refused(call::<&str>(target.pidfd(), &[]));
    refused(call(target.pidfd(), &[&good]));
    refused(call(target.pidfd(), &[&good, &good, &good]));
    let binary = std::ffi::OsStr::from_bytes(b"0:\xff:1");
    refused(call(target.pidfd(), &[binary, binary]));
    let long = "0:0:1,".repeat(20_000);
    refused(call(target.pidfd(), &[&long, &good]));
    let many = vec![good.clone(); 10_000];
    refused(call(target.pidfd(), &many));
    target.is_untouched();
    // Nor does the program's own name matter.
    let mut named = call(target.pidfd(), &own());
    named.arg0("--\u{1b}[2J/../../etc/subuid");
    succeeds(named);
}

#[test]
fn the_environment_is_not_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("subuid"), "").unwrap();
    let target = Target::new();
    let mut command = call(target.pidfd(), &["0:0:1", "0:0:1"]);
    for (name, value) in [
        ("USER", "root"),
        ("LOGNAME", "root"),
        ("HOME", "/root"),
        ("PATH", "/nowhere"),
        ("LD_PRELOAD", "/nowhere/x.so"),
        ("LD_LIBRARY_PATH", "/nowhere"),
        (
            "GLIBC_TUNABLES",
            "glibc.malloc.check=3:glibc.malloc.check=3",
        ),
        ("RUST_BACKTRACE", "full"),
        ("RUST_LOG", "trace"),
        ("TMPDIR", "/nowhere"),
        ("XDG_RUNTIME_DIR", "/nowhere"),
        ("BRYO_ROOT", "/nowhere"),
        ("MALLOC_TRACE", "/tmp/x"),
        ("", "x"),
    ] {
        if !name.is_empty() {
            command.env(name, value);
        }
    }
    command.current_dir(dir.path());
    let said = refused(command);
    let user = std::env::var("USER").unwrap();
    let expected = format!("ids 0 to 0 are not granted to {user} by /etc/subuid");
    assert!(said.contains(&expected), "{said}");
    target.is_untouched();
}

#[test]
fn processes_that_are_not_the_callers() {
    // Of root.
    let init = pidfd::open(Pid::from_raw(1)).unwrap();
    let said = refused(call(init, &own()));
    assert!(said.contains("not the caller's"), "{said}");

    // His own, but in the namespace that he is in himself.
    let mut plain = Command::new("sleep").arg("1000").spawn().unwrap();
    let fd = pidfd::open(Pid::from_raw(plain.id() as i32)).unwrap();
    let said = refused(call(fd, &own()));
    assert!(
        said.contains("not in a user namespace right below"),
        "{said}"
    );
    let _ = plain.kill();
    let _ = plain.wait();

    // In a namespace further below: two in one, so that the outer has a map.
    let script = "unshare --user sleep 1000 & echo $!; wait";
    let mut outer = Command::new("unshare")
        .args([
            "--user",
            "--map-root-user",
            "--kill-child",
            "--fork",
            "sh",
            "-c",
            script,
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let out = outer.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
    let inner = Pid::from_raw(line.trim().parse().unwrap());
    let command = format!("/proc/{inner}/comm");
    let end = KillAtEnd(inner);
    wait_for("the inner namespace", || {
        (fs::read_to_string(&command).unwrap() == "sleep\n").then_some(())
    });
    let said = refused(call(pidfd::open(inner).unwrap(), &own()));
    assert!(
        said.contains("not in a user namespace right below"),
        "{said}"
    );
    let map = fs::read_to_string(format!("/proc/{inner}/uid_map")).unwrap();
    assert_eq!(map, "");
    drop(end);
    let _ = outer.kill();
    let _ = outer.wait();
}

#[test]
fn a_process_that_is_gone() {
    let mut target = Target::new();
    let fd = target.pidfd();
    target.0.kill().unwrap();
    target.0.wait().unwrap();
    // Whoever gets the number now is not meant by the descriptor.
    let said = refused(call(fd, &own()));
    assert!(said.contains("ended"), "{said}");
}

#[test]
fn descriptors_that_are_no_pidfd() {
    let target = Target::new();
    let directory = File::open(format!("/proc/{}", target.0.id())).unwrap();
    let said = refused(call(directory, &own()));
    assert!(said.contains("not a pidfd"), "{said}");
    let sandbox = Sandbox::new();
    // A file that looks like one.
    let fake = format!("pos:\t0\nPid:\t{}\nNSpid:\t{0}\n", target.0.id());
    let fake = File::open(sandbox.write("fake", fake)).unwrap();
    refused(call(fake, &own()));
    refused(call(File::open("/proc/self/fdinfo/0").unwrap(), &own()));
    refused(call(Stdio::null(), &own()));
    refused(call(Stdio::piped(), &own()));
    let closed = format!(
        "exec {} {} {} <&-",
        idmap_helper().display(),
        own()[0],
        own()[1]
    );
    let output = sandbox.command("sh").args(["-c", &closed]).output();
    output.expect(1);
    target.is_untouched();
}

/// What the helper says in a user namespace of the caller's own, after
/// `script` has been at work there.
#[track_caller]
fn in_own_namespace(sandbox: &Sandbox, target: &Target, script: &str) -> String {
    let helper = idmap_helper();
    let script = format!("{script}; exec {} 0:0:1 0:0:1", helper.display());
    let mut run = sandbox.command("unshare").into_command();
    run.args(["--user", "--map-root-user", "--mount", "sh", "-ec", &script]);
    let output = run.stdin(target.pidfd()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.starts_with("bryo-idmap: "), "{said}");
    assert_eq!(output.status.code(), Some(1));
    said
}

#[test]
fn a_swapped_proc() {
    let sandbox = Sandbox::new();
    let target = Target::new();
    let pid = target.0.id();
    let fake = format!(
        "mount -t tmpfs none /proc; mkdir -p /proc/self/fdinfo /proc/self/ns /proc/{pid}/ns
        printf 'Pid:\\t{pid}\\n' >/proc/self/fdinfo/0
        printf 'Uid:\\t0\\t0\\t0\\t0\\nGid:\\t0\\t0\\t0\\t0\\n' >/proc/{pid}/status
        : >/proc/{pid}/ns/user; : >/proc/self/ns/user
        for f in uid_map gid_map setgroups; do ln -s /etc/subuid /proc/{pid}/$f; done"
    );
    let said = in_own_namespace(&sandbox, &target, &fake);
    assert!(said.contains("/proc is not what it should be"), "{said}");
    // A part of a true one.
    let said = in_own_namespace(&sandbox, &target, "mount --bind /proc/self /proc");
    assert!(said.contains("/proc is not what it should be"), "{said}");
    // Something mounted on what is read.
    let fake = format!("mkdir d; printf 'Pid:\\t{pid}\\n' | tee d/0 >w");
    for place in [
        "d /proc/$$/fdinfo".to_owned(),
        format!("w /proc/{pid}/status"),
    ] {
        in_own_namespace(
            &sandbox,
            &target,
            &format!("{fake}; mount --bind {place}; rm -r d"),
        );
    }
    // And subordinate files of the caller's own making.
    let files = "echo root:0:4294967295 >f; mount --bind f /etc/subuid; mount --bind f /etc/subgid";
    in_own_namespace(&sandbox, &target, files);
    target.is_untouched();
}

#[test]
fn without_capabilities_it_does_nothing() {
    let sandbox = Sandbox::new();
    let copy = sandbox.work().join("copy");
    fs::copy(idmap_helper(), &copy).unwrap();
    let target = Target::new();
    let mut command = Command::new(&copy);
    command.args(own()).stdin(target.pidfd());
    let said = refused(command);
    assert!(said.contains("setcap cap_setuid,cap_setgid=ep"), "{said}");
    // Nor does it gain any where nobody may.
    let setpriv = tool(Path::new("sh"), &["-c", "command -v setpriv"]);
    let mut command = Command::new(setpriv.trim());
    command
        .arg("--no-new-privs")
        .arg(idmap_helper())
        .args(own());
    command.stdin(target.pidfd());
    refused(command);
    target.is_untouched();
}
