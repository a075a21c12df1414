//! A pseudo-terminal with a command in it, as a person would use it.

use super::{PATIENCE, Run};
use bryo::sys::tty::{WindowSize, set_window_size};
use nix::poll::{PollFd, PollFlags, poll};
use nix::pty::{OpenptyResult, openpty};
use nix::sys::termios::{Termios, tcgetattr};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};
use std::time::Instant;

/// A terminal and the command that runs in it.
pub struct Terminal {
    master: File,
    /// Kept open, so that nothing that is written gets lost at the end.
    slave: OwnedFd,
    /// What it has shown that nobody has asked for yet.
    shown: String,
    /// Its first process.
    pub child: Child,
}

impl Terminal {
    /// Starts a command in a terminal of 80 columns and 24 rows, which
    /// becomes its controlling one.
    pub fn start(run: Run) -> Terminal {
        let OpenptyResult { master, slave } = openpty(None, None).unwrap();
        resize(&master, 80, 24);
        let inner = run.into_command();
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(inner.get_program());
        command.args(inner.get_args()).env_clear();
        for (name, value) in inner.get_envs() {
            command.env(name, value.unwrap());
        }
        if let Some(directory) = inner.get_current_dir() {
            command.current_dir(directory);
        }
        let copy = || slave.try_clone().unwrap();
        let child = command
            .stdin(copy())
            .stdout(copy())
            .stderr(copy())
            .spawn()
            .unwrap();
        Terminal {
            master: File::from(master),
            slave,
            shown: String::new(),
            child,
        }
    }

    /// Types.
    pub fn send(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until `text` is shown, and returns what was before it.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.shown.find(text) {
                let rest = self.shown.split_off(at + text.len());
                let mut before = std::mem::replace(&mut self.shown, rest);
                before.truncate(at);
                return before;
            }
            let left = end.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut fds, left.as_millis() as u16).unwrap();
            assert!(ready > 0, "{text:?} is not shown, but: {:?}", self.shown);
            let mut buffer = [0; 4096];
            let n = self.master.read(&mut buffer).unwrap();
            self.shown += &String::from_utf8_lossy(&buffer[..n]);
        }
    }

    /// Changes the window's size.
    pub fn resize(&self, columns: u16, rows: u16) {
        resize(&self.master, columns, rows);
    }

    /// The terminal's settings.
    pub fn settings(&self) -> Termios {
        tcgetattr(&self.slave).unwrap()
    }

    /// Waits for the command's end; its exit code as a shell sees it.
    #[track_caller]
    pub fn wait(&mut self) -> i32 {
        let status = super::wait_for("the end of the command in the terminal", || {
            self.child.try_wait().unwrap()
        });
        let by_signal = || 128 + status.signal().unwrap();
        status.code().unwrap_or_else(by_signal)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn resize(master: &impl AsFd, columns: u16, rows: u16) {
    let size = WindowSize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    set_window_size(master, &size).unwrap();
}
