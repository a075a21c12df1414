//! A place of its own for every test.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
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
}

impl Sandbox {
    /// An empty one, under `TMPDIR`. Its path is short, for the sake of
    /// sockets.
    pub fn new() -> Sandbox {
        let directory = tempfile::Builder::new().prefix("b").tempdir().unwrap();
        for name in ["root", "run", "home", "work"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        let private = fs::Permissions::from_mode(0o700);
        fs::set_permissions(directory.path().join("run"), private).unwrap();
        Sandbox {
            directory: Some(directory),
        }
    }

    /// The directory that holds everything.
    pub fn path(&self) -> &Path {
        self.directory.as_ref().unwrap().path()
    }

    /// `BRYO_ROOT`.
    pub fn root(&self) -> PathBuf {
        self.path().join("root")
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
        let mut command = Command::new(program);
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
        }
    }

    /// The processes that have to do with this sandbox, by id, each with its
    /// command line: its path is in their command line, environment or
    /// working directory, or they have mounts of it in a namespace of their
    /// own.
    pub fn processes(&self) -> BTreeMap<i32, String> {
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
            let belongs = contains(&command, path)
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
        let left = self.settle();
        for pid in self.processes().into_keys() {
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid),
                nix::sys::signal::Signal::SIGKILL,
            );
        }
        let directory = self.directory.take().unwrap();
        open_up(directory.path());
        let path = directory.path().to_owned();
        let removed = directory.close();
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

    /// The command itself, for what is not provided for here.
    pub fn into_command(self) -> Command {
        self.command
    }

    /// Starts it, its output kept.
    pub fn spawn(mut self) -> Running {
        let line = line(&self.command);
        let stdin = match self.stdin {
            Some(_) => Stdio::piped(),
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

    /// Sends it a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(self.pid(), signal).unwrap();
    }

    /// Waits for its end.
    pub fn wait(self) -> Output {
        let line = self.line;
        let done = self.child.wait_with_output();
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
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(OsStr::to_string_lossy).collect();
    words.join(" ")
}

/// What a command did. Shown, it is the whole story.
pub struct Output {
    /// The exit code; 128 and the signal's number if a signal ended it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    line: String,
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
