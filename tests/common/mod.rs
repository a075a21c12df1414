//! What all tests share: a sandbox in which `bryo` runs and which notices
//! what it leaves behind, the images' archives, the other tools.
//!
//! Cargo tells where things are; `tests/run`, which runs the suite as other
//! users, says so in the same variables.
#![allow(dead_code, unused_imports)]

pub mod archive;
pub mod hostile;
pub mod kernel;
mod podman;
pub mod process;
pub mod registry;
mod sandbox;
mod terminal;

pub use podman::Podman;
pub use sandbox::{Output, Run, Running, Sandbox, failure_of};
pub use terminal::Terminal;

use nix::fcntl::{Flock, FlockArg};
use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// The repository.
pub fn repository() -> PathBuf {
    env::var_os("CARGO_MANIFEST_DIR")
        .unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into())
        .into()
}

/// The program under test.
pub fn bryo() -> PathBuf {
    env::var_os("CARGO_BIN_EXE_bryo")
        .unwrap_or_else(|| env!("CARGO_BIN_EXE_bryo").into())
        .into()
}

/// The program that writes id maps, with the capabilities for it; panics with
/// the command that gives them where it has none.
pub fn idmap_helper() -> PathBuf {
    let path = env::var_os("CARGO_BIN_EXE_bryo-idmap");
    let path = path.unwrap_or_else(|| env!("CARGO_BIN_EXE_bryo-idmap").into());
    let path = PathBuf::from(path);
    let file = File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let attribute = bryo::sys::xattr::get(&file, c"security.capability").unwrap();
    assert!(
        attribute.is_some(),
        "as root: setcap cap_setuid,cap_setgid=ep {} (tests/run does so)",
        path.display()
    );
    path
}

/// A directory that lasts from one run to the next.
fn cache() -> PathBuf {
    env::var_os("CARGO_TARGET_TMPDIR")
        .unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into())
        .into()
}

/// A root file system of nothing but busybox, as a tar.
pub fn busybox_tar() -> PathBuf {
    image_tar("busybox")
}

/// A root file system of Debian, as a tar.
pub fn debian_tar() -> PathBuf {
    image_tar("debian")
}

/// Made by the recipe of that name, by whichever test asks first; the others
/// wait for it.
fn image_tar(name: &str) -> PathBuf {
    let archive = cache().join(format!("{name}.tar"));
    if archive.exists() {
        return archive;
    }
    fs::create_dir_all(cache()).unwrap();
    let lock = File::create(cache().join(format!("{name}.lock"))).unwrap();
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).unwrap();
    if !archive.exists() {
        let recipe = repository().join("images").join(name);
        let half = cache().join(format!("{name}.half.tar"));
        let made = Command::new(&recipe).arg(&half).output();
        let made = made.unwrap_or_else(|error| panic!("run {}: {error}", recipe.display()));
        assert!(
            made.status.success(),
            "{} failed: {}",
            recipe.display(),
            String::from_utf8_lossy(&made.stderr)
        );
        fs::rename(&half, &archive).unwrap();
    }
    archive
}

/// The path of a tool that a test compares with; panics with the name of the
/// Debian package to install where it is missing. Tests never skip.
pub fn require_tool(tool: &str, package: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let beside = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path)
        .chain(beside)
        .map(|directory| directory.join(tool))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("this test needs {tool}: apt-get install {package}"))
}

/// The directory of this process's control group, of which the one above is
/// the user's to divide; panics with what makes it so where it is not.
pub fn require_subtree() -> PathBuf {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = text.lines().find_map(|line| line.strip_prefix("0::/"));
    let own = Path::new("/sys/fs/cgroup").join(own.unwrap_or_default());
    let above = own.parent().unwrap().join("cgroup.procs");
    let writable = nix::unistd::eaccess(&above, nix::unistd::AccessFlags::W_OK);
    let by_systemd = Path::new(&format!("/run/user/{}/systemd", nix::unistd::geteuid())).exists();
    assert!(
        writable.is_ok() || by_systemd,
        "this test needs a subtree of control groups of version 2: as root, tests/run makes one"
    );
    own
}

/// A small file system of this user's that a test may fill; panics with what
/// makes it where it is not.
pub fn require_small(name: &str) -> PathBuf {
    let all = env::var_os("BRYO_SMALL")
        .map(PathBuf::from)
        .unwrap_or_default();
    let place = all.join(name);
    assert!(
        place.is_dir(),
        "this test needs a small file system, {name}: as root, tests/run makes some"
    );
    place
}

/// How long anything that a test waits for may take.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Waits until `check` has an answer; panics if it has none for long.
#[track_caller]
pub fn wait_for<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = check() {
            return answer;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until what `look` sees has been the same for so long; panics if it never
/// is. For what has to be at rest, and for nothing that can be waited for.
#[track_caller]
pub fn wait_for_rest<T: PartialEq>(what: &str, rest: Duration, mut look: impl FnMut() -> T) -> T {
    wait_for(what, || {
        let before = look();
        thread::sleep(rest);
        let now = look();
        (now == before).then_some(now)
    })
}

/// The value of a line `name: value`, as `/proc/self/status` has them.
#[track_caller]
pub fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix(':');
    let found = text.lines().find_map(value);
    found
        .unwrap_or_else(|| panic!("no line {name}: in\n{text}"))
        .trim()
}

/// Runs a tool to its end and returns what it printed; panics if it fails.
pub fn tool(path: &Path, arguments: &[&str]) -> String {
    let done = Command::new(path).args(arguments).output();
    let done = done.unwrap_or_else(|error| panic!("run {}: {error}", path.display()));
    assert!(
        done.status.success(),
        "{} {arguments:?}: {}\n{}",
        path.display(),
        done.status,
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// The first range of the user that runs the tests in `/etc/subuid` or
/// `/etc/subgid`: where it starts and how long it is.
pub fn granted(file: &str) -> Option<(u32, u32)> {
    let user = std::env::var("USER").unwrap();
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().find_map(|line| {
        let mut fields = line.strip_prefix(&user)?.strip_prefix(':')?.split(':');
        let mut next = || fields.next()?.parse().ok();
        Some((next()?, next()?))
    })
}
