//! What the thread that unpacks a layer may do: change what is in the layer's
//! directory, by few system calls. The paths that it walks are checked by
//! [`crate::image::unpack`] already; this holds where that has a flaw.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::image::budget::Budget;
use crate::sys::landlock::{EXECUTE, READ, Ruleset, WRITE};
use crate::sys::seccomp::{self, Instruction};

/// The filter (`unpack.json`).
static UNPACK: &[Instruction] = include!(concat!(env!("OUT_DIR"), "/unpack.rs"));

/// For the generated code: short.
const fn i(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
    Instruction { code, jt, jf, k }
}

/// Confines the calling thread to `directory` for good. Where the kernel has
/// no Landlock (before Linux 5.19), the filter alone is in force.
pub fn confine(directory: &Path) -> Result<()> {
    prctl::set_no_new_privs().context("set no_new_privs")?;
    if let Some(rules) = Ruleset::new(READ | WRITE | EXECUTE)? {
        let context = || format!("open {}", directory.display());
        let directory = File::open(directory).with_context(context)?;
        rules.allow(&directory, READ | WRITE)?;
        rules.enforce()?;
    }
    seccomp::install(UNPACK, 0)?;
    Ok(())
}

/// Lets this process have more of the processor's time the more it reads, where
/// it was given the limit of its budget.
pub fn earn(budget: &Budget, bytes: u64) {
    /// Bytes that all threads have read.
    static READ: AtomicU64 = AtomicU64::new(0);
    /// The limit that was set for them; any other is the user's own.
    static SECONDS: AtomicU64 = AtomicU64::new(0);
    const STEP: u64 = 16 << 20;
    let before = READ.fetch_add(bytes, Ordering::Relaxed);
    if before / STEP == (before + bytes) / STEP {
        return;
    }
    let Some(seconds) = budget.seconds(before + bytes) else {
        return;
    };
    let last = SECONDS.fetch_max(seconds, Ordering::Relaxed);
    let last = last.max(budget.processor);
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_CPU)
        && soft == last
        && seconds > last
    {
        let _ = setrlimit(Resource::RLIMIT_CPU, seconds.min(hard), hard);
    }
}

/// What is read or written here is so much more of the processor's time
/// (`earn`).
#[derive(Debug)]
pub struct Earning<T> {
    inner: T,
    budget: Budget,
}

impl<T> Earning<T> {
    /// Reads from or writes to `inner`.
    pub fn new(inner: T, budget: Budget) -> Earning<T> {
        Earning { inner, budget }
    }
}

impl<T: Read> Read for Earning<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        earn(&self.budget, count as u64);
        Ok(count)
    }
}

impl<T: Write> Write for Earning<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        earn(&self.budget, count as u64);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::ErrorKind;
    use std::net::UdpSocket;
    use std::thread;

    use nix::fcntl::AT_FDCWD;
    use nix::sys::stat::{Mode, mkdirat};

    use super::*;
    use crate::sys::landlock;

    #[test]
    fn the_thread_that_unpacks_has_its_directory_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("inside"), dir.path().join("outside"));
        fs::create_dir(&inside).unwrap();
        fs::write(&outside, "before").unwrap();
        thread::scope(|scope| {
            let (inside, outside) = (&inside, &outside);
            scope.spawn(move || {
                confine(inside).unwrap();
                mkdirat(AT_FDCWD, &inside.join("d"), Mode::S_IRWXU).unwrap();
                fs::write(inside.join("d/f"), "x").unwrap();
                fs::hard_link(inside.join("d/f"), inside.join("g")).unwrap();
                assert_eq!(fs::read_to_string(inside.join("g")).unwrap(), "x");
                let denied = ErrorKind::PermissionDenied;
                assert_eq!(UdpSocket::bind("127.0.0.1:0").unwrap_err().kind(), denied);
                let mut command = std::process::Command::new("/bin/true");
                assert!(command.status().is_err());
                if landlock::version().is_some_and(|version| version > 1) {
                    assert_eq!(fs::read(outside).unwrap_err().kind(), denied);
                    assert_eq!(fs::write(outside, "").unwrap_err().kind(), denied);
                }
            });
        });
        // The others go on.
        assert_eq!(fs::read_to_string(&outside).unwrap(), "before");
        UdpSocket::bind("127.0.0.1:0").unwrap();
    }
}
