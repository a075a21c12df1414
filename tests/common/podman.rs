//! Podman, to compare with, in a sandbox.

use super::{Run, Sandbox, require_tool};
use std::fs;
use std::path::PathBuf;

/// Podman with a store of its own. When it goes, so does the process that
/// holds its namespaces.
pub struct Podman<'a> {
    sandbox: &'a Sandbox,
    program: PathBuf,
}

impl Podman<'_> {
    /// An empty store in the sandbox's working directory.
    pub fn new(sandbox: &Sandbox) -> Podman<'_> {
        let program = require_tool("podman", "podman");
        require_tool("runc", "runc");
        Podman { sandbox, program }
    }

    /// A command of it, with runc as its runtime.
    pub fn command(&self, arguments: &[&str]) -> Run {
        self.command_with("runc", arguments)
    }

    /// A command of it with another runtime.
    pub fn command_with(&self, runtime: &str, arguments: &[&str]) -> Run {
        let work = self.sandbox.work();
        let path = |name: &str| work.join(name).display().to_string();
        let run = self.sandbox.command(&self.program);
        // Its own choice, crun, refuses machines with both versions of cgroups.
        let run = run.args(["--runtime", runtime, "--cgroup-manager", "cgroupfs"]);
        let run = run.args(["--root", &path("podman"), "--runroot", &path("podman.run")]);
        run.args(["--log-level", "error"]).args(arguments)
    }
}

impl Drop for Podman<'_> {
    fn drop(&mut self) {
        let file = self.sandbox.runtime().join("libpod/tmp/pause.pid");
        let pid = fs::read_to_string(file).ok();
        if let Some(pid) = pid.and_then(|text| text.trim().parse().ok()) {
            let pid = nix::unistd::Pid::from_raw(pid);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
    }
}
