//! The side of the caller: its terminal and its signals are the container's
//! until that ends, or until it is left.

use crate::engine::container::containers::Container;
use crate::engine::container::control::{Data, MAX_DATA, Reply, Request, WantedStreams};
use crate::engine::container::execs::Exec;
use crate::engine::ground::caller::Caller;
use crate::engine::ground::detach::Keys;
use crate::engine::ground::names::short;
use crate::engine::ground::pump::Pump;
use crate::engine::log::Stream;
use crate::error::refuse;
use crate::runtime::StartError;
use crate::sys::channel::Channel;
use crate::sys::clone::Child;
use crate::sys::signal::SignalFd;
use crate::sys::{pidfd, socket, wait};
use anyhow::{Context, Error, Result};
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcsetattr};
use nix::unistd::{read, write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Being attached to a container, or to a command in one.
#[derive(Debug)]
pub struct Attachment<'a> {
    /// Who is attached.
    pub caller: Caller<'a>,
    /// Its supervisor.
    pub control: Channel,
    /// What carries its streams, if its supervisor holds them.
    pub data: Option<OwnedFd>,
    /// What carries them otherwise.
    pub pump: Option<Pump<'a>>,
    /// Whether standard input goes to it.
    pub input: bool,
    /// Whether the container has a terminal.
    pub tty: bool,
    /// The caller's terminal as it was, if it is to be the container's.
    pub terminal: Option<Termios>,
    /// Keys that end it.
    pub detach_keys: Vec<u8>,
    /// Do not pass signals on.
    pub keep_signals: bool,
    /// Whether it goes on once the container runs.
    pub stays: bool,
    /// What is told to a person whose interrupt (Ctrl-C) has ended nothing; the
    /// third within two seconds kills then.
    pub advice: Option<String>,
}

/// In which time three interrupts are one wish.
const HASTE: Duration = Duration::from_secs(2);

/// How long what was interrupted has to end before its user is advised.
const REACTION: Duration = Duration::from_millis(300);

/// A person's interrupts.
#[derive(Debug, Default)]
struct Interrupts {
    /// The last ones, the newest at the end.
    at: Vec<Instant>,
    /// When advice is due; once only.
    due: Option<Instant>,
    advised: bool,
}

impl Interrupts {
    /// Counts one; true if that was the third in haste.
    fn count(&mut self, now: Instant) -> bool {
        self.at.retain(|at| now.duration_since(*at) < HASTE);
        self.at.push(now);
        if !self.advised {
            self.due.get_or_insert(now + REACTION);
        }
        self.at.len() >= 3
    }

    /// Whether advice is due now.
    fn is_due(&mut self, now: Instant) -> bool {
        let due = self.due.is_some_and(|due| due <= now);
        if due {
            self.due = None;
            self.advised = true;
        }
        due
    }
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
pub fn follow(attachment: Attachment<'_>, warn: &dyn Fn(&str)) -> Result<End> {
    Relay::new(attachment).carry(warn)
}

struct Relay<'a> {
    at: Attachment<'a>,
    keys: Keys,
    input_open: bool,
    /// Input that the supervisor has no room for yet.
    pending: Option<Vec<u8>>,
    data_open: bool,
    exited: Option<i32>,
    /// The caller's terminal while it is transparent.
    raw: Option<Raw<'a>>,
    interrupts: Interrupts,
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

impl<'a> Relay<'a> {
    fn new(attachment: Attachment<'a>) -> Relay<'a> {
        Relay {
            keys: Keys::new(&attachment.detach_keys),
            input_open: false,
            pending: None,
            data_open: attachment.data.is_some(),
            exited: None,
            at: attachment,
            raw: None,
            interrupts: Interrupts::default(),
        }
    }

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
            self.advise();
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
        let none = PollFlags::empty();
        let control = match self.exited {
            None => Some(self.at.control.as_fd()),
            Some(_) => None,
        };
        let data = self.at.data.as_ref().filter(|_| self.data_open);
        let typed = self.input_open && self.pending.is_none();
        let signals = self.at.caller.signals.as_ref();
        let places = [
            signals.map(|fd| (fd.as_fd(), PollFlags::POLLIN)),
            control.map(|fd| (fd, PollFlags::POLLIN)),
            data.map(|fd| {
                let mut events = PollFlags::POLLIN;
                events.set(PollFlags::POLLOUT, self.pending.is_some());
                (fd.as_fd(), events)
            }),
            typed.then_some((self.at.caller.input, PollFlags::POLLIN)),
        ];
        let mut fds: Vec<_> = places.iter().flatten().copied().collect();
        let own = fds.len();
        fds.extend(self.at.pump.iter().flat_map(Pump::watched));
        let mut seen = wait::wait(fds, self.interrupts.due).context("poll")?;
        let carried = seen.split_off(own);
        let mut seen = seen.into_iter();
        let mut next = |place: usize| match places[place] {
            Some(_) => seen.next().unwrap_or(none),
            None => none,
        };
        let (_, control, data, input) = (next(0), next(1), next(2), next(3));
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
        let signals: Vec<i32> = pending(self.at.caller.signals.as_ref()).collect();
        for signal in signals {
            let ends = ENDING.contains(&signal);
            if signal == libc::SIGWINCH && self.at.tty {
                self.copy_size();
            } else if let (Some(code), true) = (self.exited, ends) {
                // Whoever should read the rest takes his time.
                return Ok(Some(End::Exited(code)));
            } else if !self.at.keep_signals {
                let hasty = signal == libc::SIGINT
                    && self.at.advice.is_some()
                    && self.interrupts.count(Instant::now());
                self.request(Request::Signal(if hasty { libc::SIGKILL } else { signal }));
            } else if ends {
                return Ok(Some(End::Left));
            }
        }
        Ok(None)
    }

    /// Tells who interrupted it how it ends, if it goes on.
    fn advise(&mut self) {
        if self.interrupts.is_due(Instant::now())
            && self.exited.is_none()
            && let Some(advice) = &self.at.advice
        {
            let _ = write_all(self.at.caller.errors, advice.as_bytes());
        }
    }

    fn copy_size(&self) {
        if let Some((rows, columns)) = self.at.caller.window_size() {
            self.request(Request::Resize(rows, columns));
        }
    }

    /// Hears what the supervisor says; true if that is all there is to hear.
    fn listen(&mut self, warn: &dyn Fn(&str)) -> Result<bool> {
        let Some(message) = self.at.control.receive()? else {
            refuse!(
                Unavailable,
                "the container's supervisor was killed, and the container with it"
            );
        };
        match Reply::decode(&message.data).context("the supervisor said nonsense")? {
            Reply::Warning(text) => warn(&text),
            Reply::Started => return self.begin().map(|()| !self.at.stays),
            Reply::Failed(error) => return Err(error.into()),
            Reply::Exited(code) => {
                self.exited = Some(code);
                if let Some(pump) = &mut self.at.pump {
                    pump.end();
                }
            }
            Reply::Refused(fault) => return Err(fault.into()),
            Reply::Done => {}
        }
        Ok(false)
    }

    /// The container runs: its streams are carried from here on.
    fn begin(&mut self) -> Result<()> {
        if let Some(settings) = &self.at.terminal {
            self.raw = Some(Raw::set(self.at.caller.input, settings)?);
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
                    Stream::Stdout => write_all(self.at.caller.output, text),
                    Stream::Stderr => write_all(self.at.caller.errors, text),
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
        let (message, left) = match read(self.at.caller.input, &mut buffer) {
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
///
/// # Errors
/// It has ended; who carries its streams lets nobody else have them.
pub fn attachment<'a>(
    container: &Container,
    caller: Caller<'a>,
    wanted: WantedStreams,
) -> Result<Attachment<'a>> {
    let keeping = &container.record.keeping;
    let what = format!("container {}", container.record.name);
    let (interactive, tty) = (keeping.interactive, keeping.tty);
    let connect = || container.connect();
    attachment_to(&what, connect, (interactive, tty), caller, wanted)
}

/// Attaches to a command that runs in one.
///
/// # Errors
/// It has ended.
pub fn attachment_of_exec<'a>(
    exec: &Exec,
    caller: Caller<'a>,
    wanted: WantedStreams,
) -> Result<Attachment<'a>> {
    let what = format!("exec instance {}", short(&exec.id));
    let (interactive, tty) = (exec.request.interactive, exec.request.tty);
    let connect = || exec.connect();
    attachment_to(&what, connect, (interactive, tty), caller, wanted)
}

fn attachment_to<'a>(
    what: &str,
    connect: impl Fn() -> Result<OwnedFd>,
    (interactive, tty): (bool, bool),
    caller: Caller<'a>,
    wanted: WantedStreams,
) -> Result<Attachment<'a>> {
    let input = wanted.input && interactive;
    let terminal = match tty && input {
        true => caller.terminal(),
        false => None,
    };
    // Before its streams: of an end between the two is heard.
    let control = Channel::from(connect()?);
    control.send(&Request::Wait.encode(), None)?;
    let data = Channel::from(connect()?);
    data.send(
        &Request::Attach(input, wanted.output, wanted.errors).encode(),
        None,
    )?;
    match data.receive()?.and_then(|m| Reply::decode(&m.data)) {
        Some(Reply::Done) => {}
        Some(Reply::Refused(fault)) => {
            return Err(Error::from(fault)).with_context(|| format!("attach to {what}"));
        }
        _ => refuse!(Conflict, "{what} has just ended"),
    }
    Ok(Attachment {
        caller,
        control,
        data: Some(data.into()),
        pump: None,
        input,
        tty,
        terminal,
        detach_keys: Vec::new(),
        keep_signals: false,
        stays: true,
        advice: None,
    })
}

/// Carries the streams of a container that runs.
pub fn join(attachment: Attachment<'_>) -> Result<End> {
    let mut relay = Relay::new(attachment);
    relay.begin()?;
    relay.carry(&|_| {})
}

/// Waits for a process that this one started itself (`exec`), and carries its
/// streams until it ends. What it leaves behind has nobody to print to then.
pub fn carry_child(child: &Child, signals: Option<&SignalFd>, mut pump: Pump<'_>) -> Result<i32> {
    pump.begin();
    let mut code = None;
    loop {
        if let (Some(code), true) = (code, pump.is_done()) {
            return pump.finish().map(|()| code);
        }
        let places = [
            signals.map(AsFd::as_fd),
            code.is_none().then(|| child.pidfd.as_fd()),
        ];
        let own = places.iter().flatten().map(|fd| (*fd, PollFlags::POLLIN));
        let fds: Vec<_> = own.chain(pump.watched()).collect();
        let seen = wait::wait(fds, None).context("poll")?;
        let mut seen = seen.into_iter();
        let mut next = |place: Option<_>| place.and_then(|_| seen.next());
        let _ = next(places[0]);
        let ended = next(places[1]).is_some_and(|events| !events.is_empty());
        for signal in pending(signals) {
            let ends = ENDING.contains(&signal);
            match code {
                // Whoever should read the rest takes his time.
                Some(code) if ends => return Ok(code),
                // It may have ended by now.
                _ => drop(pidfd::kill(&child.pidfd, signal)),
            }
        }
        pump.serve(seen.as_slice());
        if ended {
            let status = nix::sys::wait::waitpid(child.pid, None).context("wait")?;
            code = Some(crate::process::exit_code(status));
            pump.end();
        }
    }
}

/// Signals to be passed on: not those about our own children and pipes.
fn pending(signals: Option<&SignalFd>) -> impl Iterator<Item = i32> + '_ {
    let ours = [libc::SIGCHLD, libc::SIGPIPE, libc::SIGURG];
    std::iter::from_fn(move || signals?.next()).filter(move |s| !ours.contains(s))
}

/// The caller's terminal while it passes everything on; it is as it was
/// before when this goes.
#[derive(Debug)]
struct Raw<'a> {
    fd: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> Raw<'a> {
    fn set(fd: BorrowedFd<'a>, before: &Termios) -> Result<Raw<'a>> {
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(fd, SetArg::TCSANOW, &raw).context("set terminal to raw")?;
        Ok(Raw {
            fd,
            before: before.clone(),
        })
    }
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.fd, SetArg::TCSANOW, &self.before);
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

/// The start error in `error`, if it is one.
pub fn start_error(error: &anyhow::Error) -> Option<&StartError> {
    error.chain().find_map(|e| e.downcast_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_interrupt_in_haste_kills_and_the_first_is_advised_once() {
        let begin = Instant::now();
        let after = |milliseconds| begin + Duration::from_millis(milliseconds);
        let mut interrupts = Interrupts::default();
        assert!(!interrupts.count(begin));
        assert!(!interrupts.is_due(after(299)));
        assert!(interrupts.is_due(after(300)));
        assert!(!interrupts.is_due(after(400)));
        // The first is forgotten by now.
        assert!(!interrupts.count(after(2000)));
        assert!(!interrupts.is_due(after(3000)));
        assert!(!interrupts.count(after(3000)));
        assert!(interrupts.count(after(3999)));
    }
}
