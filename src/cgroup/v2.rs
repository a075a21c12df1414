//! A directory of the hierarchy and what its files do (the kernel's
//! admin-guide/cgroup-v2.rst, "Core Interface Files").

use super::limits::Setting;
use crate::error::{refusal, refuse};
use anyhow::{Context, Result};
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long processes may take to freeze or to die.
const PATIENCE: Duration = Duration::from_secs(10);

/// A control group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    dir: PathBuf,
}

/// Why a limit is not in force.
#[derive(Debug)]
pub struct Refused {
    /// What was to be set.
    pub setting: Setting,
    /// The kernel's answer.
    pub error: std::io::Error,
}

/// Why the kernel refused it.
impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Refused { setting, error } = self;
        let value = &setting.value;
        let text = match error.raw_os_error().unwrap_or(0) {
            _ if error.kind() == ErrorKind::NotFound => match setting.controller.as_str() {
                "io" => "no scheduler of this machine's devices weighs or limits".to_owned(),
                "hugetlb" => "this machine has no huge pages of that size".to_owned(),
                _ => "this kernel has no such limit".to_owned(),
            },
            libc::ENODEV | libc::ENXIO => format!("'{value}': no whole disk has this number"),
            libc::EINVAL | libc::ERANGE => format!("the kernel does not take '{value}'"),
            libc::EOPNOTSUPP => format!("the device's scheduler does not take '{value}'"),
            _ => format!("'{value}': {error}"),
        };
        f.write_str(&text)
    }
}

impl Group {
    /// The group at `dir`, which may not exist.
    pub fn at(dir: impl Into<PathBuf>) -> Group {
        Group { dir: dir.into() }
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The group below it of this name.
    pub fn child(&self, name: &str) -> Group {
        Group::at(self.dir.join(name))
    }

    /// Makes it, if it does not exist.
    pub fn make(&self) -> Result<()> {
        match fs::create_dir(&self.dir) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
        .with_context(|| format!("make the control group {}", self.dir.display()))
    }

    /// Whether it exists.
    pub fn exists(&self) -> bool {
        self.dir.join("cgroup.procs").exists()
    }

    /// The content of a file, without the last line feed.
    pub fn read(&self, file: &str) -> std::io::Result<String> {
        let mut text = fs::read_to_string(self.dir.join(file))?;
        text.truncate(text.trim_end().len());
        Ok(text)
    }

    /// Writes a file in one go.
    pub fn write(&self, file: &str, value: &str) -> std::io::Result<()> {
        let mut file = fs::File::options().write(true).open(self.dir.join(file))?;
        file.write_all(value.as_bytes())
    }

    /// A descriptor of its directory, to clone into.
    pub fn open(&self) -> Result<OwnedFd> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        nix::fcntl::open(&self.dir, flags, Mode::empty())
            .with_context(|| format!("control group {}", self.dir.display()))
    }

    fn words(&self, file: &str) -> Vec<String> {
        let text = self.read(file).unwrap_or_default();
        text.split_ascii_whitespace().map(str::to_owned).collect()
    }

    /// The controllers that it can give to groups below it.
    pub fn controllers(&self) -> Vec<String> {
        self.words("cgroup.controllers")
    }

    /// The controllers that groups below it have.
    pub fn enabled(&self) -> Vec<String> {
        self.words("cgroup.subtree_control")
    }

    /// Gives controllers to the groups below it.
    ///
    /// # Errors
    /// EBUSY where processes are in this very group, ENOENT for a controller
    /// that it does not have.
    pub fn enable<S: AsRef<str>>(&self, controllers: &[S]) -> std::io::Result<()> {
        if controllers.is_empty() {
            return Ok(());
        }
        let words = controllers.iter().map(|c| format!("+{}", c.as_ref()));
        let words = words.collect::<Vec<_>>().join(" ");
        self.write("cgroup.subtree_control", &words)
    }

    /// Moves a process into it; 0 is the calling one.
    pub fn take(&self, pid: u32) -> std::io::Result<()> {
        self.write("cgroup.procs", &pid.to_string())
    }

    /// Moves all processes that are in this very group to another.
    pub fn vacate(&self, to: &Group) -> Result<()> {
        let what = || format!("move the processes of {}", self.dir.display());
        for _ in 0..100 {
            let all = self.words("cgroup.procs");
            if all.is_empty() {
                return Ok(());
            }
            for pid in all {
                // A process of another PID namespace is 0.
                let pid: u32 = pid.parse().with_context(what)?;
                if pid == 0 {
                    refuse!(
                        Forbidden,
                        "{}: there are some that cannot be seen from here",
                        what()
                    );
                }
                match to.take(pid) {
                    Err(e) if e.raw_os_error() == Some(libc::ESRCH) => {}
                    other => other.with_context(what)?,
                }
            }
        }
        refuse!(Timeout, "{}: there are always new ones", what())
    }

    /// Writes limits; returns those that were refused.
    pub fn apply(&self, settings: &[Setting]) -> Vec<Refused> {
        let mut refused = Vec::new();
        for setting in settings {
            let first = self.write(&setting.file, &setting.value);
            let result = match (first, &setting.instead) {
                (Err(e), Some((file, value))) if e.kind() == ErrorKind::NotFound => {
                    self.write(file, value)
                }
                (first, _) => first,
            };
            if let Err(error) = result {
                let setting = setting.clone();
                refused.push(Refused { setting, error });
            }
        }
        refused
    }

    /// What is in force of a setting: the file that has it, and its content.
    pub fn shown(&self, setting: &Setting) -> Option<(String, String)> {
        let files = [Some(&setting.file), setting.instead.as_ref().map(|i| &i.0)];
        let mut files = files.into_iter().flatten();
        files.find_map(|file| Some((file.clone(), self.read(file).ok()?)))
    }

    /// The value of a key in a file of `key value` lines.
    pub fn value(&self, file: &str, key: &str) -> Option<u64> {
        let text = self.read(file).ok()?;
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(k, _)| *k == key)?.1.parse().ok()
    }

    /// Whether processes are in it or below it.
    pub fn is_populated(&self) -> bool {
        self.value("cgroup.events", "populated") == Some(1)
    }

    /// The processes in it and below it that can be seen from here.
    ///
    /// # Errors
    /// It is gone.
    pub fn processes(&self) -> std::io::Result<Vec<i32>> {
        let text = self.read("cgroup.procs")?;
        let own = text.lines().filter_map(|pid| pid.parse().ok());
        let mut all: Vec<i32> = own.filter(|pid| *pid > 0).collect();
        for entry in fs::read_dir(&self.dir)?.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                // It may be gone by now.
                all.extend(Group::at(entry.path()).processes().unwrap_or_default());
            }
        }
        Ok(all)
    }

    /// Whether all of its processes are stopped where they are.
    pub fn is_frozen(&self) -> bool {
        self.value("cgroup.events", "frozen") == Some(1)
    }

    /// Stops its processes where they are, or lets them go on; returns when
    /// all have.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        let value = if frozen { "1" } else { "0" };
        let what = || format!("freeze {}", self.dir.display());
        self.write("cgroup.freeze", value).with_context(what)?;
        let end = Instant::now() + PATIENCE;
        let wanted = Some(u64::from(frozen));
        while self.value("cgroup.events", "frozen") != wanted {
            if Instant::now() > end {
                if frozen {
                    let _ = self.write("cgroup.freeze", "0");
                }
                return Err(refusal!(
                    Timeout,
                    "a process does not stop; it may wait for a disk or a network file system"
                ));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Kills all processes in it and below it.
    ///
    /// # Errors
    /// ENOENT before Linux 5.14.
    pub fn kill(&self) -> std::io::Result<()> {
        self.write("cgroup.kill", "1")
    }

    /// Kills what is left in it, and removes it with all groups below it.
    pub fn remove(&self) -> Result<()> {
        if !self.exists() {
            return Ok(());
        }
        if self.is_populated() {
            let _ = self.kill();
        }
        let end = Instant::now() + PATIENCE;
        loop {
            match remove_tree(&self.dir) {
                Ok(()) => return Ok(()),
                Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
                // The dead are still being buried.
                Err(e) if e.raw_os_error() == Some(libc::EBUSY) && Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(e) => {
                    return Err(e).with_context(|| format!("remove {}", self.dir.display()));
                }
            }
        }
    }
}

fn remove_tree(dir: &Path) -> std::io::Result<()> {
    match fs::remove_dir(dir) {
        Err(e) if e.raw_os_error() == Some(libc::EBUSY) => {}
        other => return other,
    }
    for entry in fs::read_dir(dir)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(dir)
}
