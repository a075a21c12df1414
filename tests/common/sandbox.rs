//! A place of its own for every test.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long something may take to end by itself after its command did.
const PATIENCE: Duration = Duration::from_secs(10);

/// A store, a runtime directory and a home of its own. When it goes, nothing
/// may be left: no process that has to do with it, no mount, nothing in the
/// trash; the test fails otherwise.
pub struct Sandbox {
    directory: Option<TempDir>,
    /// What its processes have as limit of file locks, which no kernel since
    /// Linux 2.4.25 looks at: whatever they become, and whoever their parent is
    /// then, `/proc/PID/limits` says that they are of this sandbox.
    mark: String,
    /// The store, if it is on a file system of its own.
    root: Option<PathBuf>,
}

/// Sets the limits of the program that it executes.
const PRLIMIT: &str = "/usr/bin/prlimit";

impl Sandbox {
    /// An empty one, under `TMPDIR`. Its path is short, for the sake of
    /// sockets.
    pub fn new() -> Sandbox {
        let directory = tempfile::Builder::new().prefix("b").tempdir().unwrap();
        for name in ["root", "run", "home", "work"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        for name in ["root", "run"] {
            let private = fs::Permissions::from_mode(0o700);
            fs::set_permissions(directory.path().join(name), private).unwrap();
        }
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Sandbox {
            directory: Some(directory),
            mark: (u64::from(std::process::id()) << 24 | number).to_string(),
            root: None,
        }
    }

    /// One whose store is in an empty directory elsewhere.
    pub fn with_root(root: &Path) -> Sandbox {
        let mut sandbox = Sandbox::new();
        sandbox.root = Some(root.to_owned());
        sandbox
    }

    /// The directory that holds everything.
    pub fn path(&self) -> &Path {
        self.directory.as_ref().unwrap().path()
    }

    /// `BRYO_ROOT`.
    pub fn root(&self) -> PathBuf {
        let root = self.root.clone();
        root.unwrap_or_else(|| self.path().join("root"))
    }

    /// `XDG_RUNTIME_DIR`.
    pub fn runtime(&self) -> PathBuf {
        self.path().join("run")
    }

    /// A directory for the test's own files, where commands start.
    pub fn work(&self) -> PathBuf {
        self.path().join("work")
    }

    /// Writes a file below [`work`](Self::work) and returns its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.work().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// `bryo` with these arguments, still to be started.
    pub fn bryo<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Run {
        let mut run = self.command(super::bryo());
        run.command.args(arguments);
        run
    }

    /// Any other program in the sandbox's environment.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Run {
        let mut command = Command::new(PRLIMIT);
        command.arg(format!("--locks={}", self.mark)).arg(program);
        command.env_clear().current_dir(self.work());
        for name in ["PATH", "USER", "LOGNAME", "SHELL", "LLVM_PROFILE_FILE"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .env("TERM", "dumb")
            .env("HOME", self.path().join("home"))
            .env("TMPDIR", self.work())
            .env("BRYO_ROOT", self.root())
            .env("XDG_RUNTIME_DIR", self.runtime());
        Run {
            command,
            stdin: None,
            open_stdin: false,
        }
    }

    /// A sandbox whose store has the image `busybox`.
    pub fn with_busybox() -> Sandbox {
        let sandbox = Sandbox::new();
        let import = sandbox.bryo(["import"]).arg(super::busybox_tar());
        import.arg("busybox").output().expect(0);
        sandbox
    }

    /// The files of the image busybox as a directory of the test's own.
    pub fn busybox_tree(&self, name: &str) -> PathBuf {
        let tree = self.work().join(name);
        fs::create_dir_all(&tree).unwrap();
        let tar = self.command("tar").arg("-xf").arg(super::busybox_tar());
        tar.arg("-C").arg(&tree).output().expect(0);
        tree
    }

    /// `bryo run --rm` with these arguments, run to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.bryo(["run", "--rm"]).args(arguments).output()
    }

    /// What a shell in a new container of the image `busybox` prints.
    #[track_caller]
    pub fn shell(&self, flags: &[&str], script: &str) -> String {
        self.shell_of("busybox", flags, script)
    }

    /// The same of another image.
    #[track_caller]
    pub fn shell_of(&self, image: &str, flags: &[&str], script: &str) -> String {
        let run = self.bryo(["run", "--rm", "--network", "none"]).args(flags);
        let output = run.args([image, "sh", "-c", script]).output().expect(0);
        output.stdout.trim_end_matches('\n').to_owned()
    }

    /// Starts a container that lives until it is killed, and waits until it
    /// runs.
    #[track_caller]
    pub fn start(&self, name: &str, flags: &[&str]) -> Running {
        let run = self.bryo(["run", "--network", "none", "--name", name]);
        let script = "trap 'exit 0' TERM; echo ready; while :; do sleep 1000 & wait; done";
        let run = run.args(flags).args(["busybox", "sh", "-c", script]);
        let mut running = run.spawn();
        running.expect_line("ready");
        running
    }

    /// What `bryo inspect` says of a container.
    #[track_caller]
    pub fn inspect(&self, name: &str) -> serde_json::Value {
        let text = self.bryo(["inspect", name]).stdout();
        let list: serde_json::Value = serde_json::from_str(&text).unwrap();
        list[0].clone()
    }

    /// The first process of a container that runs.
    #[track_caller]
    pub fn pid(&self, name: &str) -> i32 {
        let list = self.bryo(["ps", "-a", "--format", "json"]).stdout();
        let list: Vec<serde_json::Value> = (list.lines())
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let found = list.iter().find(|c| c["Names"] == name);
        let found = found.unwrap_or_else(|| panic!("no {name} in {list:?}"));
        let pid = found["Pid"].as_i64().filter(|pid| *pid > 0);
        pid.unwrap_or_else(|| panic!("{name} does not run: {found}")) as i32
    }

    /// The processes that have to do with this sandbox, by id, each with its
    /// command line: it started them, its path is in their command line,
    /// environment or working directory, or they have mounts of it in a
    /// namespace of their own.
    ///
    /// The keeper of subordinate ids is not among them: it waits for a while.
    pub fn processes(&self) -> BTreeMap<i32, String> {
        let mut found = self.all_processes();
        found.retain(|pid, _| !is_keeper(*pid));
        found
    }

    /// The keeper of subordinate ids, if there is one.
    pub fn keeper(&self) -> Option<i32> {
        let all = self.all_processes();
        all.into_keys().find(|pid| is_keeper(*pid))
    }

    fn all_processes(&self) -> BTreeMap<i32, String> {
        let path = self.path().as_os_str().as_bytes();
        let ours = fs::read_link("/proc/self/ns/mnt").unwrap();
        let mut found = BTreeMap::new();
        for entry in fs::read_dir("/proc").unwrap() {
            let name = entry.unwrap().file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            let directory = Path::new("/proc").join(&name);
            let read = |file| fs::read(directory.join(file)).unwrap_or_default();
            let (command, environment) = (read("cmdline"), read("environ"));
            let current = fs::read_link(directory.join("cwd")).unwrap_or_default();
            let namespace = fs::read_link(directory.join("ns/mnt")).unwrap_or_default();
            let belongs = limit_of_locks(&read("limits")).as_ref() == Some(&self.mark)
                || contains(&command, path)
                || contains(&environment, path)
                || current.starts_with(self.path())
                || namespace != ours && contains(&read("mountinfo"), path);
            let zombie = command.is_empty();
            if belongs && !zombie && pid != std::process::id() as i32 {
                let command = String::from_utf8_lossy(&command).replace('\0', " ");
                found.insert(pid, command);
            }
        }
        found
    }

    /// What is there that should not be when a test is over; empty if all is
    /// well.
    pub fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        for (pid, command) in self.processes() {
            left.push(format!("process {pid}: {command}"));
        }
        let path = self.path().as_os_str().as_bytes();
        let mounts = fs::read("/proc/self/mountinfo").unwrap();
        for mount in mounts.split(|byte| *byte == b'\n') {
            if contains(mount, path) {
                left.push(format!("mount: {}", String::from_utf8_lossy(mount)));
            }
        }
        for entry in fs::read_dir(self.root().join("trash"))
            .into_iter()
            .flatten()
        {
            left.push(format!("in the trash: {}", entry.unwrap().path().display()));
        }
        left
    }

    /// Waits until nothing is left over, and returns what still is.
    pub fn settle(&self) -> Vec<String> {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = self.leftovers();
            if left.is_empty() || Instant::now() > end {
                return left;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let mut left = self.settle();
        // One of another runtime directory is replaced by who needs it.
        let _ = fs::remove_file(self.runtime().join("bryo/keeper"));
        let end = Instant::now() + PATIENCE;
        while let Some(pid) = self.keeper()
            && Instant::now() < end
        {
            thread::sleep(Duration::from_millis(20));
            let pid = nix::unistd::Pid::from_raw(pid);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        }
        left.extend(self.keeper().map(|pid| format!("keeper {pid}")));
        for pid in self.processes().into_keys() {
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid),
                nix::sys::signal::Signal::SIGKILL,
            );
        }
        let directory = self.directory.take().unwrap();
        open_up(directory.path());
        let path = directory.path().to_owned();
        // Files of subordinate ids are removed where these are somebody's.
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--map-auto", "rm", "-rf"]);
        let removed = match fs::remove_dir_all(&path) {
            Ok(()) => Ok(()),
            Err(_) if unshare.arg(&path).status().is_ok_and(|s| s.success()) => Ok(()),
            Err(error) => Err(error),
        };
        let _ = directory.keep();
        if thread::panicking() {
            for line in left {
                eprintln!("left behind: {line}");
            }
            return;
        }
        assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
        if let Err(error) = removed {
            panic!("remove {}: {error}", path.display());
        }
    }
}

fn is_keeper(pid: i32) -> bool {
    let name = fs::read_to_string(format!("/proc/{pid}/comm"));
    name.is_ok_and(|name| name == "bryo-keeper\n")
}

/// The limit of file locks in a text of `/proc/PID/limits`.
fn limit_of_locks(limits: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(limits);
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Max file locks"))?;
    line.split_whitespace().next().map(str::to_owned)
}

/// Gives the owner access to every directory, without which they cannot be
/// emptied; overlay's work directories have none.
fn open_up(directory: &Path) {
    let Ok(metadata) = fs::symlink_metadata(directory) else {
        return;
    };
    if !metadata.is_dir() {
        return;
    }
    let mode = metadata.permissions().mode() | 0o700;
    let _ = fs::set_permissions(directory, fs::Permissions::from_mode(mode));
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// A command about to be run.
pub struct Run {
    command: Command,
    stdin: Option<Vec<u8>>,
    open_stdin: bool,
}

impl Run {
    /// One more argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Run {
        self.command.arg(argument);
        self
    }

    /// More arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Run {
        self.command.args(arguments);
        self
    }

    /// What it reads; nothing if not said.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Run {
        self.stdin = Some(bytes.into());
        self
    }

    /// Leaves its standard input open, to be written to later.
    pub fn open_stdin(mut self) -> Run {
        self.open_stdin = true;
        self
    }

    /// One more variable in its environment.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Run {
        self.command.env(name, value);
        self
    }

    /// Without this variable.
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Run {
        self.command.env_remove(name);
        self
    }

    /// Where it starts.
    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> Run {
        self.command.current_dir(directory);
        self
    }

    /// Made by fork(2): what the C library does otherwise takes clone3(2).
    pub fn forked(mut self) -> Run {
        self.command.uid(nix::unistd::geteuid().as_raw());
        self
    }

    /// The command itself, for what is not provided for here.
    pub fn into_command(self) -> Command {
        self.command
    }

    /// Starts it, its output kept.
    pub fn spawn(mut self) -> Running {
        let line = line(&self.command);
        let stdin = match self.stdin {
            Some(_) => Stdio::piped(),
            None if self.open_stdin => Stdio::piped(),
            None => Stdio::null(),
        };
        let child = self
            .command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.unwrap_or_else(|error| panic!("start {line}: {error}"));
        if let Some(bytes) = self.stdin {
            // It may end without reading all, and may fill its own output
            // first: so from a thread, and whatever the outcome.
            let mut pipe = child.stdin.take().unwrap();
            thread::spawn(move || {
                let _ = pipe.write_all(&bytes);
            });
        }
        Running { child, line }
    }

    /// Runs it to its end.
    pub fn output(self) -> Output {
        self.spawn().wait()
    }

    /// Runs it to its end, which may take longer than others'.
    pub fn output_within(self, patience: Duration) -> Output {
        self.spawn().wait_within(patience)
    }

    /// Runs it to its end, which has to be a good one; returns what it
    /// printed, without the last line feed.
    pub fn stdout(self) -> String {
        let output = self.output();
        assert!(output.code == 0, "{output}");
        output.stdout.trim_end_matches('\n').to_owned()
    }
}

/// A command that runs.
pub struct Running {
    /// The process.
    pub child: Child,
    line: String,
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(self.child.id() as i32)
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(self.pid(), signal).unwrap();
    }

    /// Reads what it prints up to a line that contains `text`; panics if
    /// there is none.
    #[track_caller]
    pub fn expect_line(&mut self, text: &str) -> String {
        use std::os::fd::AsFd;
        let out = self.child.stdout.as_mut().unwrap();
        let end = Instant::now() + super::PATIENCE;
        let (mut seen, mut line) = (Vec::new(), Vec::new());
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(out.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut fds, PollTimeout::try_from(left).unwrap()).unwrap();
            let mut byte = [0];
            // Byte by byte: what follows is for others to read.
            if ready == 0 || out.read(&mut byte).unwrap() == 0 {
                let seen = String::from_utf8_lossy(&seen).into_owned();
                let mut errors = String::new();
                let _ = self.child.kill();
                let _ = self
                    .child
                    .stderr
                    .take()
                    .map(|mut e| e.read_to_string(&mut errors));
                panic!(
                    "$ {}\nno line with {text:?} in:\n{seen}\n--- stderr\n{errors}",
                    self.line
                );
            }
            seen.push(byte[0]);
            line.push(byte[0]);
            if byte[0] == b'\n' {
                let whole = String::from_utf8_lossy(&line).trim_end().to_owned();
                if whole.contains(text) {
                    return whole;
                }
                line.clear();
            }
        }
    }

    /// Writes to its standard input, which [`Run::open_stdin`] left open.
    #[track_caller]
    pub fn write(&mut self, text: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
    }

    /// Ends its standard input.
    pub fn close_stdin(&mut self) {
        self.child.stdin = None;
    }

    /// Waits for its end.
    pub fn wait(self) -> Output {
        self.wait_within(super::PATIENCE)
    }

    /// Waits for its end for so long.
    pub fn wait_within(self, patience: Duration) -> Output {
        let line = self.line;
        // From a thread: whoever else holds the pipes must not stop the test.
        let (sender, receiver) = mpsc::channel();
        let child = self.child;
        thread::spawn(move || sender.send(child.wait_with_output()));
        let done = receiver.recv_timeout(patience);
        let done = done.unwrap_or_else(|_| panic!("it does not end: $ {line}"));
        let done = done.unwrap_or_else(|error| panic!("wait for {line}: {error}"));
        Output {
            code: code(done.status),
            stdout: String::from_utf8_lossy(&done.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&done.stderr).into_owned(),
            line,
        }
    }
}

/// A shell's view of how a process ended: 128 and the signal's number if by a
/// signal.
fn code(status: ExitStatus) -> i32 {
    let by_signal = || 128 + status.signal().unwrap();
    status.code().unwrap_or_else(by_signal)
}

fn line(command: &Command) -> String {
    // Behind what marks it.
    let words = command.get_args().skip(1).map(OsStr::to_string_lossy);
    words.collect::<Vec<_>>().join(" ")
}

/// What a command did. Shown, it is the whole story.
pub struct Output {
    /// The exit code; 128 and the signal's number if a signal ended it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    line: String,
}

/// The exit code of a verb that fails, docker's: `run` has one that commands
/// hardly have.
pub fn failure_of(verb: &str) -> i32 {
    match verb {
        "run" => 125,
        _ => 1,
    }
}

impl Output {
    /// Panics unless it ended with this code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Output {
        assert!(self.code == code, "expected {code}: {self}");
        self
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Output {
            code,
            stdout,
            stderr,
            line,
        } = self;
        write!(
            f,
            "$ {line}\nexit code {code}\n--- stdout\n{stdout}\n--- stderr\n{stderr}"
        )
    }
}

#[test]
fn a_process_left_behind_is_noticed() {
    let sandbox = Sandbox::new();
    let mut running = sandbox.command("sleep").arg("600").spawn();
    let left = sandbox.leftovers();
    assert!(
        left.iter().any(|line| line.contains("sleep 600")),
        "{left:?}"
    );
    running.child.kill().unwrap();
    assert_eq!(running.wait().code, 128 + 9);
    assert_eq!(sandbox.settle(), [""; 0]);
}

#[test]
fn directories_without_access_are_removed() {
    let sandbox = Sandbox::new();
    let inner = sandbox.work().join("closed/inner");
    fs::create_dir_all(&inner).unwrap();
    fs::set_permissions(inner.parent().unwrap(), fs::Permissions::from_mode(0o000)).unwrap();
}
