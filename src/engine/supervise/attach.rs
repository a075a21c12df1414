//! The side of the caller: its terminal and its signals are the container's
//! until that ends, or until it is left.

use crate::engine::container::control::{Data, MAX_DATA, Reply, Request};
use crate::engine::ground::detach::Keys;
use crate::engine::ground::pump::Pump;
use crate::runtime::StartError;
use crate::sys::channel::Channel;
use crate::sys::clone::Child;
use crate::sys::signal::SignalFd;
use crate::sys::{pidfd, socket, tty, wait};
use anyhow::{Context, Result, anyhow, bail};
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{read, write};
use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Being attached to a container.
#[derive(Debug)]
pub struct Attachment {
    /// Its supervisor.
    pub control: Channel,
    /// What carries its streams, if its supervisor holds them.
    pub data: Option<OwnedFd>,
    /// What carries them otherwise.
    pub pump: Option<Pump>,
    /// The caller's signals, held since before the start: none may be lost
    /// or end the caller alone.
    pub signals: SignalFd,
    /// Whether standard input goes to it.
    pub input: bool,
    /// Whether the container has a terminal.
    pub tty: bool,
    /// The caller's terminal as it was, if the container has one.
    pub terminal: Option<Termios>,
    /// Keys that end it.
    pub detach_keys: Vec<u8>,
    /// Do not pass signals on.
    pub keep_signals: bool,
    /// Whether it goes on once the container runs.
    pub stays: bool,
}

/// How an attachment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The container ended, with docker's exit code.
    Exited(i32),
    /// The container runs on.
    Left,
}

/// Signals by which a caller has enough.
const ENDING: [i32; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// What a command killed by SIGPIPE exits with.
const BROKEN_PIPE: i32 = 128 + libc::SIGPIPE;

/// Carries the container's streams until one of the two ends.
///
/// # Errors
/// A [`StartError`] if it did not start; the death of its supervisor.
pub fn follow(attachment: Attachment, warn: &dyn Fn(&str)) -> Result<End> {
    let relay = Relay {
        keys: Keys::new(&attachment.detach_keys),
        input_open: false,
        pending: None,
        data_open: attachment.data.is_some(),
        exited: None,
        at: attachment,
        raw: None,
    };
    relay.carry(warn)
}

struct Relay {
    at: Attachment,
    keys: Keys,
    input_open: bool,
    /// Input that the supervisor has no room for yet.
    pending: Option<Vec<u8>>,
    data_open: bool,
    exited: Option<i32>,
    /// The caller's terminal while it is transparent.
    raw: Option<Raw>,
}

/// What has happened.
#[derive(Default)]
struct Ready {
    told: bool,
    output: bool,
    input: bool,
    room: bool,
    /// What is said of what the pump watches.
    carried: Vec<PollFlags>,
}

impl Relay {
    fn carry(mut self, warn: &dyn Fn(&str)) -> Result<End> {
        loop {
            if let (Some(code), false) = (self.exited, self.data_open)
                && self.at.pump.as_ref().is_none_or(Pump::is_done)
            {
                if let Some(pump) = &self.at.pump {
                    pump.finish()?;
                }
                return Ok(End::Exited(code));
            }
            let ready = self.wait()?;
            if let Some(end) = self.pass_signals()? {
                return Ok(end);
            }
            if ready.told && self.listen(warn)? {
                return Ok(End::Left);
            }
            // What the container prints is for a terminal that is raw.
            let waits = self.at.terminal.is_some() && self.raw.is_none() && self.exited.is_none();
            if ready.output && !waits && !self.copy_output() {
                return Ok(End::Exited(BROKEN_PIPE));
            }
            if ready.input && self.copy_input() {
                self.request(Request::Release);
                return Ok(End::Left);
            }
            if ready.room {
                self.push();
            }
            if let Some(pump) = &mut self.at.pump {
                pump.serve(&ready.carried);
            }
        }
    }

    fn wait(&self) -> Result<Ready> {
        let stdin = std::io::stdin();
        let none = PollFlags::empty();
        let mut fds = vec![(self.at.signals.as_fd(), PollFlags::POLLIN)];
        let control = match self.exited {
            None => Some(self.at.control.as_fd()),
            Some(_) => None,
        };
        let data = self.at.data.as_ref().filter(|_| self.data_open);
        let places = [
            control.map(|fd| (fd, PollFlags::POLLIN)),
            data.map(|fd| {
                let mut events = PollFlags::POLLIN;
                events.set(PollFlags::POLLOUT, self.pending.is_some());
                (fd.as_fd(), events)
            }),
            (self.input_open && self.pending.is_none()).then(|| (stdin.as_fd(), PollFlags::POLLIN)),
        ];
        fds.extend(places.iter().flatten());
        let own = fds.len();
        fds.extend(self.at.pump.iter().flat_map(Pump::watched));
        let mut seen = wait::wait(fds, None).context("poll")?;
        let carried = seen.split_off(own);
        let mut seen = seen.into_iter().skip(1);
        let mut next = |place: usize| match places[place] {
            Some(_) => seen.next().unwrap_or(none),
            None => none,
        };
        let (control, data, input) = (next(0), next(1), next(2));
        Ok(Ready {
            told: !control.is_empty(),
            output: data.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR),
            room: data.contains(PollFlags::POLLOUT),
            input: !input.is_empty(),
            carried,
        })
    }

    fn request(&self, request: Request) {
        // It may be gone by now; then we hear of that.
        let _ = self.at.control.send(&request.encode(), None);
    }

    fn pass_signals(&mut self) -> Result<Option<End>> {
        let signals: Vec<i32> = pending(&self.at.signals).collect();
        for signal in signals {
            let ends = ENDING.contains(&signal);
            if signal == libc::SIGWINCH && self.at.tty {
                self.copy_size();
            } else if let (Some(code), true) = (self.exited, ends) {
                // Whoever should read the rest takes his time.
                return Ok(Some(End::Exited(code)));
            } else if !self.at.keep_signals {
                self.request(Request::Signal(signal));
            } else if ends {
                return Ok(Some(End::Left));
            }
        }
        Ok(None)
    }

    fn copy_size(&self) {
        if let Ok(size) = tty::window_size(std::io::stdout()) {
            self.request(Request::Resize(size.ws_row, size.ws_col));
        }
    }

    /// Hears what the supervisor says; true if that is all there is to hear.
    fn listen(&mut self, warn: &dyn Fn(&str)) -> Result<bool> {
        let Some(message) = self.at.control.receive()? else {
            bail!("the container's supervisor was killed, and the container with it");
        };
        match Reply::decode(&message.data).context("the supervisor said nonsense")? {
            Reply::Warning(text) => warn(&text),
            Reply::Started => return self.begin().map(|()| !self.at.stays),
            Reply::Failed(error) => return Err(anyhow!(error)),
            Reply::Exited(code) => {
                self.exited = Some(code);
                if let Some(pump) = &mut self.at.pump {
                    pump.end();
                }
            }
            Reply::Refused(text) => bail!(text),
            Reply::Done => {}
        }
        Ok(false)
    }

    /// The container runs: its streams are carried from here on.
    fn begin(&mut self) -> Result<()> {
        if let Some(settings) = &self.at.terminal {
            self.raw = Some(Raw::set(settings)?);
        }
        self.input_open = self.at.input && self.data_open;
        if let Some(pump) = &mut self.at.pump {
            pump.begin();
        }
        if self.at.tty && self.at.stays {
            // It may have changed since the container was asked for.
            self.copy_size();
        }
        Ok(())
    }

    /// Prints what came; false if nobody reads it any more.
    fn copy_output(&mut self) -> bool {
        let mut buffer = vec![0; MAX_DATA + 1];
        for _ in 0..16 {
            let Some(data) = &self.at.data else { break };
            let count = match socket::try_receive(data, &mut buffer) {
                Ok(0) => {
                    self.data_open = false;
                    self.input_open = false;
                    break;
                }
                Ok(count) => count,
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => continue,
                Err(_) => {
                    self.data_open = false;
                    break;
                }
            };
            if let Some(Data::Output(stream, text)) = Data::decode(&buffer[..count]) {
                let written = match stream {
                    crate::engine::log::Stream::Stdout => {
                        write_all(std::io::stdout().as_fd(), text)
                    }
                    crate::engine::log::Stream::Stderr => {
                        write_all(std::io::stderr().as_fd(), text)
                    }
                };
                if written == Err(Errno::EPIPE) {
                    return false;
                }
            }
        }
        true
    }

    /// Sends what was typed; true if that was the keys to leave by.
    fn copy_input(&mut self) -> bool {
        let mut buffer = [0; 16384];
        let (message, left) = match read(std::io::stdin(), &mut buffer) {
            Ok(0) | Err(_) => {
                self.input_open = false;
                (Data::InputEnd.encode(), false)
            }
            Ok(count) if self.at.tty => {
                let (typed, left) = self.keys.feed(&buffer[..count]);
                (Data::Input(&typed).encode(), left)
            }
            Ok(count) => (Data::Input(&buffer[..count]).encode(), false),
        };
        self.pending = Some(message);
        self.push();
        left
    }

    /// Sends the input that waits, if there is room now.
    fn push(&mut self) {
        if let (Some(data), Some(message)) = (&self.at.data, &self.pending) {
            match socket::try_send(data, message) {
                Err(Errno::EAGAIN | Errno::EINTR | Errno::ENOBUFS) => {}
                _ => self.pending = None,
            }
        }
    }
}

/// Attaches to a container that runs.
pub fn attachment(
    container: &crate::engine::container::containers::Container,
    wanted: crate::engine::container::control::WantedStreams,
) -> Result<Attachment> {
    let keeping = &container.record.keeping;
    let input = wanted.input && keeping.interactive;
    let terminal = match keeping.tty && input {
        true => Some(crate::engine::supervise::attach::terminal_settings()?),
        false => None,
    };
    let data = Channel::from(container.connect()?);
    data.send(
        &Request::Attach(input, wanted.output, wanted.errors).encode(),
        None,
    )?;
    let lost = || format!("container {} has just ended", container.record.name);
    match data.receive()?.and_then(|m| Reply::decode(&m.data)) {
        Some(Reply::Done) => {}
        Some(Reply::Refused(text)) => {
            bail!("attach to container {}: {text}", container.record.name)
        }
        _ => bail!(lost()),
    }
    let control = Channel::from(container.connect()?);
    control.send(&Request::Wait.encode(), None)?;
    Ok(Attachment {
        control,
        data: Some(data.into()),
        pump: None,
        signals: SignalFd::new()?,
        input,
        tty: keeping.tty,
        terminal,
        detach_keys: Vec::new(),
        keep_signals: false,
        stays: true,
    })
}

/// Carries the streams of a container that runs.
pub fn join(attachment: Attachment) -> Result<End> {
    let mut relay = Relay {
        keys: Keys::new(&attachment.detach_keys),
        input_open: false,
        pending: None,
        data_open: true,
        exited: None,
        at: attachment,
        raw: None,
    };
    relay.begin()?;
    relay.carry(&|_| {})
}

/// Waits for a process that this one started itself (`exec`), and carries its
/// streams until it ends. What it leaves behind has nobody to print to then.
pub fn carry_child(child: &Child, signals: &SignalFd, mut pump: Pump) -> Result<i32> {
    pump.begin();
    let mut code = None;
    loop {
        if let (Some(code), true) = (code, pump.is_done()) {
            return pump.finish().map(|()| code);
        }
        let mut fds = vec![(signals.as_fd(), PollFlags::POLLIN)];
        if code.is_none() {
            fds.push((child.pidfd.as_fd(), PollFlags::POLLIN));
        }
        let own = fds.len();
        fds.extend(pump.watched());
        let seen = wait::wait(fds, None).context("poll")?;
        for signal in pending(signals) {
            let ends = ENDING.contains(&signal);
            match code {
                // Whoever should read the rest takes his time.
                Some(code) if ends => return Ok(code),
                // It may have ended by now.
                _ => drop(pidfd::kill(&child.pidfd, signal)),
            }
        }
        pump.serve(&seen[own..]);
        if code.is_none() && !seen[1].is_empty() {
            let status = nix::sys::wait::waitpid(child.pid, None).context("wait")?;
            code = Some(crate::process::exit_code(status));
            pump.end();
        }
    }
}

/// As [`carry_child`], for one with a terminal.
pub fn wait_for_child(
    started: crate::runtime::Started,
    signals: &SignalFd,
    interactive: bool,
    terminal: Option<&Termios>,
) -> Result<i32> {
    let mut session = Session::new(interactive);
    if let Some(master) = started.console {
        session.open(master, terminal)?;
    }
    let child = started.child;
    loop {
        let events = session.poll(child.pidfd.as_fd(), signals)?;
        for signal in pending(signals) {
            if !session.resized(signal) {
                // It may have ended by now.
                let _ = pidfd::kill(&child.pidfd, signal);
            }
        }
        session.copy(&events);
        if events.told {
            session.drain();
            let status = nix::sys::wait::waitpid(child.pid, None).context("wait")?;
            return Ok(crate::process::exit_code(status));
        }
    }
}

/// Signals to be passed on: not those about our own children and pipes.
fn pending(signals: &SignalFd) -> impl Iterator<Item = i32> + '_ {
    let ours = [libc::SIGCHLD, libc::SIGPIPE, libc::SIGURG];
    std::iter::from_fn(|| signals.next()).filter(move |s| !ours.contains(s))
}

/// The caller's terminal while it is the container's.
struct Session {
    interactive: bool,
    master: Option<OwnedFd>,
    raw: Option<Raw>,
    input_open: bool,
}

/// What has happened.
struct Events {
    told: bool,
    input: bool,
    output: bool,
}

impl Session {
    fn new(interactive: bool) -> Session {
        Session {
            interactive,
            master: None,
            raw: None,
            input_open: false,
        }
    }

    /// Takes the container's terminal, and makes the caller's transparent.
    fn open(&mut self, master: OwnedFd, settings: Option<&Termios>) -> Result<()> {
        if let Some(settings) = settings {
            self.raw = Some(Raw::set(settings)?);
        }
        self.input_open = self.interactive;
        self.master = Some(master);
        // It may have changed since the container was asked for.
        self.copy_size();
        Ok(())
    }

    fn copy_size(&self) {
        if let (Some(master), Ok(size)) = (&self.master, tty::window_size(std::io::stdout())) {
            let _ = tty::set_window_size(master, &size);
        }
    }

    /// Whether the signal told of a new window size, which is passed on.
    fn resized(&self, signal: i32) -> bool {
        let resized = signal == libc::SIGWINCH;
        if resized {
            self.copy_size();
        }
        resized && self.master.is_some()
    }

    fn poll(&self, told: BorrowedFd<'_>, signals: &SignalFd) -> Result<Events> {
        let stdin = std::io::stdin();
        let mut fds = vec![told, signals.as_fd()];
        if let Some(master) = &self.master {
            fds.push(master.as_fd());
            if self.input_open {
                fds.push(stdin.as_fd());
            }
        }
        let fds = fds.into_iter().map(|fd| (fd, PollFlags::POLLIN));
        let seen = wait::wait(fds, None).context("poll")?;
        let ready = |n: usize| seen.get(n).is_some_and(|events| !events.is_empty());
        Ok(Events {
            told: ready(0),
            output: ready(2),
            input: ready(3),
        })
    }

    fn copy(&mut self, events: &Events) {
        let Some(master) = &self.master else { return };
        let mut buffer = [0; 16384];
        if events.input {
            match read(std::io::stdin(), &mut buffer) {
                Ok(0) | Err(_) => {
                    // The end of the input, typed into the terminal.
                    let _ = write(master, &[4]);
                    self.input_open = false;
                }
                Ok(n) => drop(write_all(master.as_fd(), &buffer[..n])),
            }
        }
        if events.output {
            match read(master, &mut buffer) {
                Ok(n) if n > 0 => drop(write_all(std::io::stdout().as_fd(), &buffer[..n])),
                // Nobody has the other side open any more.
                _ => self.master = None,
            }
        }
    }

    /// Prints what the container wrote before it ended.
    fn drain(&mut self) {
        while let Some(master) = &self.master {
            if !wait::is_readable(master) {
                return;
            }
            self.copy(&Events {
                told: false,
                input: false,
                output: true,
            });
        }
    }
}

/// The caller's terminal while it passes everything on; it is as it was
/// before when this goes.
#[derive(Debug)]
struct Raw(Termios);

impl Raw {
    fn set(before: &Termios) -> Result<Raw> {
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(std::io::stdin(), SetArg::TCSANOW, &raw).context("set terminal to raw")?;
        Ok(Raw(before.clone()))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, &self.0);
    }
}

fn write_all(fd: BorrowedFd<'_>, mut data: &[u8]) -> nix::Result<()> {
    while !data.is_empty() {
        match write(fd, data) {
            Ok(n) => data = &data[n..],
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => wait::writable(fd),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// The settings of the caller's terminal.
pub fn terminal_settings() -> Result<Termios> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        bail!("-i and -t together need a terminal as standard input: leave out -t");
    }
    tcgetattr(stdin.as_fd()).context("read terminal settings")
}

/// Whether standard input is a terminal.
pub fn stdin_is_terminal() -> bool {
    std::io::stdin().is_terminal()
}

/// The start error in `error`, if it is one.
pub fn start_error(error: &anyhow::Error) -> Option<&StartError> {
    error.chain().find_map(|e| e.downcast_ref())
}
