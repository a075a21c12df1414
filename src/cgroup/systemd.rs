//! The user's systemd, asked for scopes: org.freedesktop.systemd1(5).
//!
//! The manager listens at a socket of its own, where `systemctl --user` asks
//! it too; where that is missing, it is reached over the user's bus.

use super::dbus::{self, Call, FIXED_HEADER, Received, Writer};
use super::limits::Setting;
use crate::error::refuse;
use crate::sys::ns;
use anyhow::{Context, Result};
use nix::unistd::geteuid;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long systemd may take for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A unit of that name is there.
#[derive(Debug)]
pub struct Exists;

const EXISTS: &str = "org.freedesktop.systemd1.UnitExists";

impl std::fmt::Display for Exists {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("systemd has a unit of this name")
    }
}

impl std::error::Error for Exists {}

/// A scope to be made.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// Its name, which ends in `.scope`.
    pub unit: &'a str,
    /// The slice that it is in, which ends in `.slice`.
    pub slice: &'a str,
    /// For people.
    pub description: &'a str,
    /// The processes that it starts with.
    pub pids: &'a [u32],
}

/// A connection to the user's manager.
#[derive(Debug)]
pub struct Manager {
    stream: UnixStream,
    /// Read and not yet looked at.
    pending: Vec<u8>,
    /// Over a bus: methods need an address.
    bus: bool,
    serial: u32,
    authenticated: bool,
    /// What was queued to be sent in one go.
    out: Vec<u8>,
}

/// Where the user's runtime directory can be: who came by su(1) or has set
/// another has it still. For root of the machine, the system's first.
fn runtime_dirs() -> Vec<PathBuf> {
    let usual = PathBuf::from(format!("/run/user/{}", geteuid()));
    let set = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    let mut all: Vec<PathBuf> = Vec::new();
    if geteuid().is_root() && ns::is_in_initial_user() {
        all.push("/run".into());
    }
    all.extend(set.into_iter().map(PathBuf::from));
    if !all.contains(&usual) {
        all.push(usual);
    }
    all
}

/// The socket of a bus, by its address (D-Bus specification, "Server
/// Addresses").
fn bus_socket(address: &str) -> Option<PathBuf> {
    let first = address.split(';').next()?;
    let pairs = first.strip_prefix("unix:")?.split(',');
    let path = pairs.filter_map(|pair| pair.strip_prefix("path=")).next()?;
    Some(path.into())
}

/// A unit's name as part of its object's path (sd_bus_path_encode(3)).
fn escape(unit: &str) -> String {
    let mut text = String::new();
    for (at, byte) in unit.bytes().enumerate() {
        match byte.is_ascii_alphabetic() || at > 0 && byte.is_ascii_digit() {
            true => text.push(byte.into()),
            false => text.push_str(&format!("_{byte:02x}")),
        }
    }
    text
}

impl Manager {
    /// Connects to the manager of the calling user's services.
    ///
    /// # Errors
    /// There is none.
    pub fn connect() -> Result<Manager> {
        let dirs = runtime_dirs();
        for dir in &dirs {
            if let Ok(stream) = UnixStream::connect(dir.join("systemd/private")) {
                return Manager::new(stream, false);
            }
        }
        let address = std::env::var("DBUS_SESSION_BUS_ADDRESS").unwrap_or_default();
        let buses = dirs.iter().map(|dir| dir.join("bus"));
        for socket in bus_socket(&address).into_iter().chain(buses) {
            if let Ok(stream) = UnixStream::connect(socket) {
                let mut manager = Manager::new(stream, true)?;
                manager.greet();
                return Ok(manager);
            }
        }
        let dirs = dirs.iter().map(|dir| dir.display().to_string());
        refuse!(
            Unavailable,
            "no manager of your services answers in {}",
            dirs.collect::<Vec<_>>().join(" or ")
        )
    }

    fn new(stream: UnixStream, bus: bool) -> Result<Manager> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Manager {
            stream,
            pending: Vec::new(),
            bus,
            serial: 0,
            authenticated: false,
            out: Vec::new(),
        })
    }

    fn queue(&mut self, call: Call<'_>, arguments: impl FnOnce(&mut Writer)) -> u32 {
        self.serial += 1;
        self.out.extend(call.encode(self.serial, arguments));
        self.serial
    }

    /// What a bus wants to hear first, and that systemd tell of its jobs.
    fn greet(&mut self) {
        let bus = Call {
            destination: Some("org.freedesktop.DBus"),
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member: "Hello",
            signature: "",
            reply: true,
        };
        self.queue(bus, |_| {});
        let rule = "type='signal',sender='org.freedesktop.systemd1',member='JobRemoved'";
        let add = Call {
            member: "AddMatch",
            signature: "s",
            reply: false,
            ..bus
        };
        self.queue(add, |w| w.string(rule));
        let subscribe = self.method("Subscribe", "", false);
        self.queue(subscribe, |_| {});
    }

    fn method<'a>(&self, member: &'a str, signature: &'a str, reply: bool) -> Call<'a> {
        Call {
            destination: self.bus.then_some("org.freedesktop.systemd1"),
            path: "/org/freedesktop/systemd1",
            interface: "org.freedesktop.systemd1.Manager",
            member,
            signature,
            reply,
        }
    }

    /// Asks for a scope whose control group is the user's to divide; it is
    /// there once [`Manager::await_job`] says so. Returns the call's number.
    pub fn begin_scope(&mut self, scope: &Scope<'_>) -> Result<u32> {
        let call = self.method("StartTransientUnit", "ssa(sv)a(sa(sv))", true);
        let serial = self.queue(call, |w| {
            w.string(scope.unit);
            w.string("fail");
            w.array(8, |w| {
                let text = |w: &mut Writer, name: &str, value: &str| {
                    w.property(name, "s", |w| w.string(value));
                };
                text(w, "Description", scope.description);
                text(w, "Slice", scope.slice);
                // A scope that failed leaves nothing behind either.
                text(w, "CollectMode", "inactive-or-failed");
                w.property("Delegate", "b", |w| w.bool(true));
                w.property("PIDs", "au", |w| {
                    w.array(4, |w| scope.pids.iter().for_each(|pid| w.u32(*pid)));
                });
            });
            w.array(8, |_| {});
        });
        self.send()?;
        Ok(serial)
    }

    /// Waits until the job that call `serial` started is done.
    ///
    /// # Errors
    /// systemd refuses, or the job fails.
    pub fn await_job(&mut self, serial: u32) -> Result<()> {
        let mut job = None;
        let mut done: Vec<(String, String)> = Vec::new();
        loop {
            match self.receive()? {
                Received::Answer(number, path) if number == serial => job = path,
                Received::Failed(number, name, _) if number == serial && name == EXISTS => {
                    return Err(Exists.into());
                }
                Received::Failed(number, name, text) if number == serial => {
                    refuse!(Forbidden, "systemd refuses: {text} ({name})")
                }
                Received::JobRemoved(path, result) => done.push((path, result)),
                _ => {}
            }
            let ours = done.iter().find(|(path, _)| job.as_ref() == Some(path));
            match ours {
                Some((_, result)) if result == "done" => return Ok(()),
                Some((_, result)) => {
                    refuse!(Unavailable, "systemd's job for it ended with '{result}'")
                }
                None => {}
            }
        }
    }

    /// Waits until a call is done.
    fn answered(&mut self, serial: u32) -> Result<()> {
        loop {
            match self.receive()? {
                Received::Answer(number, _) if number == serial => return Ok(()),
                Received::Failed(number, name, text) if number == serial => {
                    refuse!(Forbidden, "systemd refuses: {text} ({name})")
                }
                _ => {}
            }
        }
    }

    /// Moves a process into the group `subgroup` of a scope's, as `/a`.
    pub fn attach(&mut self, unit: &str, subgroup: &str, pid: u32) -> Result<()> {
        let call = self.method("AttachProcessesToUnit", "ssau", true);
        let serial = self.queue(call, |w| {
            w.string(unit);
            w.string(subgroup);
            w.array(4, |w| w.u32(pid));
        });
        self.send()?;
        self.answered(serial)
    }

    /// Sets a number that systemd keeps of a scope, as `CPUWeight`
    /// (systemd.resource-control(5)), until that goes.
    pub fn set(&mut self, unit: &str, property: &str, value: u64) -> Result<()> {
        let call = self.method("SetUnitProperties", "sba(sv)", true);
        let serial = self.queue(call, |w| {
            w.string(unit);
            w.bool(true);
            w.array(8, |w| w.property(property, "t", |w| w.u64(value)));
        });
        self.send()?;
        self.answered(serial)
    }

    /// Whether a scope or service of the manager's is its user's to divide.
    pub fn delegates(&mut self, unit: &str) -> Result<bool> {
        let kind = match unit.ends_with(".scope") {
            true => "org.freedesktop.systemd1.Scope",
            false => "org.freedesktop.systemd1.Service",
        };
        let path = format!("/org/freedesktop/systemd1/unit/{}", escape(unit));
        let call = Call {
            path: &path,
            interface: "org.freedesktop.DBus.Properties",
            ..self.method("Get", "ss", true)
        };
        let serial = self.queue(call, |w| {
            w.string(kind);
            w.string("Delegate");
        });
        self.send()?;
        loop {
            match self.receive()? {
                Received::Flag(number, flag) if number == serial => return Ok(flag),
                Received::Answer(number, _) if number == serial => return Ok(false),
                Received::Failed(number, name, text) if number == serial => {
                    refuse!(Forbidden, "systemd refuses: {text} ({name})")
                }
                _ => {}
            }
        }
    }

    /// Says who we are. systemd has to have agreed before a message follows: it
    /// may read that along with the rest, and then not look at it before
    /// something else comes.
    fn authenticate(&mut self) -> Result<()> {
        let uid = geteuid().to_string();
        let hex: String = uid.bytes().map(|b| format!("{b:02x}")).collect();
        // In a user namespace we are another one to systemd, which knows whom.
        let words = match ns::is_in_initial_user() {
            true => format!("\0AUTH EXTERNAL {hex}\r\nBEGIN\r\n"),
            false => "\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n".to_owned(),
        };
        self.stream
            .write_all(words.as_bytes())
            .context("write to systemd")?;
        let mut line = self.line()?;
        if line.starts_with(b"DATA") {
            line = self.line()?;
        }
        if !line.starts_with(b"OK") {
            refuse!(Unavailable, "systemd does not take us for who we are");
        }
        self.authenticated = true;
        Ok(())
    }

    fn line(&mut self) -> Result<Vec<u8>> {
        loop {
            match self.pending.iter().position(|b| *b == b'\n') {
                Some(end) => return Ok(self.pending.drain(..=end).collect()),
                None if self.pending.len() > 4096 => refuse!(Unavailable, "systemd says nonsense"),
                None => self.fill()?,
            }
        }
    }

    fn send(&mut self) -> Result<()> {
        if !self.authenticated {
            self.authenticate()?;
        }
        self.stream
            .write_all(&self.out)
            .context("write to systemd")?;
        self.out.clear();
        Ok(())
    }

    fn fill(&mut self) -> Result<()> {
        let mut buffer = [0; 4096];
        let count = self.stream.read(&mut buffer).context("read from systemd")?;
        if count == 0 {
            refuse!(Unavailable, "systemd closed the connection");
        }
        self.pending.extend(&buffer[..count]);
        Ok(())
    }

    fn receive(&mut self) -> Result<Received> {
        loop {
            if let Some(start) = self.pending.get(..FIXED_HEADER) {
                let length = dbus::length(start).context("systemd says nonsense")?;
                if self.pending.len() >= length {
                    let message: Vec<u8> = self.pending.drain(..length).collect();
                    return dbus::decode(&message).context("systemd says nonsense");
                }
            }
            self.fill()?;
        }
    }
}

/// Whether a manager of the user's services seems to run.
pub fn is_there() -> bool {
    let dirs = runtime_dirs();
    let has = |name: &str| dirs.iter().any(|dir| dir.join(name).exists());
    has("systemd/private") || has("bus") && Path::new("/run/systemd/system").exists()
}

/// What systemd calls a weight among groups, and its number for it; nothing for
/// those of single devices. With `bfq`, devices are weighed by that scheduler,
/// whose weights systemd makes of its own: of 100 to 10000 it makes 100 to 1000
/// (systemd, src/basic/cgroup-util.h).
pub fn weight(setting: &Setting, bfq: bool) -> Option<(&'static str, u64)> {
    let number = |text: &str| text.trim_start_matches("default ").parse::<u64>().ok();
    match (setting.file.as_str(), &setting.instead) {
        ("cpu.weight", _) => Some(("CPUWeight", number(&setting.value)?)),
        ("io.weight", _) => Some(("IOWeight", number(&setting.value)?)),
        ("io.bfq.weight", _) if bfq => {
            let weight = number(&setting.value)?;
            let above = weight.saturating_sub(100);
            Some(("IOWeight", weight.min(100) + above * 11))
        }
        ("io.bfq.weight", Some((_, value))) => Some(("IOWeight", number(value)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_in_the_words_of_systemd() {
        let setting = |file: &str, value: &str, instead: &str| Setting {
            controller: String::new(),
            file: file.to_owned(),
            value: value.to_owned(),
            instead: (!instead.is_empty()).then(|| ("io.weight".to_owned(), instead.to_owned())),
        };
        let io = setting("io.bfq.weight", "300", "default 2930");
        assert_eq!(weight(&io, true), Some(("IOWeight", 2300)));
        assert_eq!(weight(&io, false), Some(("IOWeight", 2930)));
        let device = setting("io.bfq.weight", "8:0 300", "8:0 2930");
        assert_eq!(weight(&device, true), None);
        assert_eq!(weight(&device, false), None);
        let cpu = setting("cpu.weight", "59", "");
        assert_eq!(weight(&cpu, true), Some(("CPUWeight", 59)));
    }

    #[test]
    fn paths_of_units() {
        assert_eq!(escape("a-1.scope"), "a_2d1_2escope");
        assert_eq!(escape("1.service"), "_31_2eservice");
    }

    #[test]
    fn addresses_of_buses() {
        let path = |address| bus_socket(address).map(|p| p.display().to_string());
        let usual = path("unix:path=/run/user/1/bus,guid=0f;tcp:host=x");
        assert_eq!(usual.as_deref(), Some("/run/user/1/bus"));
        assert_eq!(path("unix:abstract=/x"), None);
        assert_eq!(path("tcp:host=x"), None);
        assert_eq!(path(""), None);
    }
}
