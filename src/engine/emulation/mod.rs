//! Root emulation: with one user id, the kernel refuses what a package manager
//! does all day: chown, set*id, mknod. A seccomp filter asks a listener
//! instead ([`RootEmulation::filter`](crate::runtime::seccomp::RootEmulation::filter)),
//! and this is what answers: as if it had succeeded. What files should be is
//! recorded in their extended attribute
//! [`OVERRIDE_STAT`](crate::image::record::OVERRIDE_STAT); who processes believe
//! to be is kept here and told to them when they ask.

mod beside;
mod call;
mod files;
mod ids;
mod memory;
mod observe;
mod path;

use crate::image::owners::Owners;
use crate::process::ProcessId;
use crate::sys::seccomp::{Answer, Listener, Notification};
use crate::sys::wait::wait;
use call::{Call, Table, Which};
use ids::{Change, Ids};
use memory::{read_ids, read_memory, write_memory};
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::unistd::Pid;
use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

/// Answers the calls of one container.
///
/// The process that it runs in should be in the container's user namespace,
/// whose root may write attributes whatever a file's mode.
#[derive(Debug)]
pub struct Emulator {
    listener: Listener,
    table: Table,
    /// Records for what can carry none itself.
    owners: Owners,
    /// The container's directory, until those of its image were read.
    unread: Option<PathBuf>,
    believed: HashMap<i32, Believed>,
    /// The file system of the first root directory that was asked about.
    root: Option<u64>,
}

/// Who a process believes to be.
#[derive(Debug, Clone)]
struct Believed {
    process: ProcessId,
    ids: Ids,
    /// What it executed when it last had the rights of root.
    program: Option<Program>,
}

/// Processes to be remembered before the dead ones are forgotten.
const MANY: usize = 512;

impl Emulator {
    /// An emulator that answers for `listener`, of the container whose directory
    /// this is.
    pub fn new(listener: Listener, directory: &Path) -> Emulator {
        Emulator {
            listener,
            table: Table::new(),
            owners: Owners::new(directory),
            unread: Some(directory.to_owned()),
            believed: HashMap::new(),
            root: None,
        }
    }

    /// The descriptors that it needs, besides 0 to 2.
    pub fn descriptors(&self) -> Vec<i32> {
        vec![self.listener.as_fd().as_raw_fd()]
    }

    /// Answers one call, if one waits.
    pub fn serve(&mut self) {
        let Ok(notification) = self.listener.receive() else {
            return;
        };
        let answer = self.answer(&notification);
        self.listener.answer(notification.id, answer);
    }

    /// Answers until nobody is left to ask.
    pub fn serve_all(mut self) {
        while let Ok(seen) = wait([(self.listener.as_fd(), PollFlags::POLLIN)], None) {
            if seen[0].contains(PollFlags::POLLIN) {
                self.serve();
            } else if !seen[0].is_empty() {
                return;
            }
        }
    }

    fn answer(&mut self, n: &Notification) -> Answer {
        let Some(call) = self.table.decode(n) else {
            return Answer::Continue;
        };
        let answer = match call {
            Call::Capset(address) => self.set_capabilities(n, address),
            Call::SetXattr(place, name, value, size) => {
                self.set_xattr(n, place, name, (value, size))
            }
            Call::RemoveXattr(place, name) => self.remove_xattr(n, place, name),
            Call::Chown(place, uid, gid) => self.chown(n, place, uid, gid),
            Call::Mknod(place, mode, device) => self.mknod(n, place, mode, device),
            Call::Invalid => Err(Errno::EINVAL),
            Call::Stat(place, address) => self.stat(n, place, address),
            Call::Statx(place, flags, mask, address) => {
                self.statx(n, place, (flags, mask), address)
            }
            Call::GetXattr(place, name, value, room) => {
                self.get_xattr(n, place, name, (value, room))
            }
            Call::Ids(change) => self.change(n, &change),
            Call::SetGroups(count, address, width) => read_ids(n.tid, count, address, width)
                .and_then(|groups| self.change(n, &Change::Supplementary(groups))),
            // As long as nobody has changed, the kernel knows.
            _ if self.believed.is_empty() => Ok(Answer::Continue),
            Call::Get(which, width) => Ok(match self.ids(n.tid) {
                Some(ids) => Answer::Return(narrow(get(&ids, which), width).into()),
                None => Answer::Continue,
            }),
            Call::GetAll(which, addresses, width) => self.get_all(n, which, addresses, width),
            Call::GetGroups(room, address, width) => self.get_groups(n, room, address, width),
        };
        answer.unwrap_or_else(Answer::Fail)
    }

    /// Writes to the memory of who asks, if it still waits: another process may
    /// have its number by now.
    fn write(&self, n: &Notification, address: u64, data: &[u8]) -> Result<(), Errno> {
        match self.listener.is_valid(n.id) {
            true => write_memory(n.tid, address, data),
            false => Err(Errno::EINTR),
        }
    }

    /// Who thread `tid` believes to be: what it or the nearest of its
    /// ancestors has become. `None` if none of them has changed.
    fn ids(&mut self, tid: i32) -> Option<Ids> {
        let (mut pid, mut parent) = family(tid)?;
        let own = pid;
        for _ in 0..64 {
            if let Some(known) = self.believed.get_mut(&pid)
                && ProcessId::of(Pid::from_raw(pid)).is_ok_and(|now| now == known.process)
            {
                // execve(2) takes capabilities from who is not root.
                if known.ids.kept_capabilities && known.program != program(pid) {
                    known.ids.kept_capabilities = false;
                }
                let (ids, program) = (known.ids.clone(), known.program.clone());
                if pid != own {
                    // Later changes of the ancestor are not its own.
                    self.remember(own, ids.clone(), program);
                }
                return Some(ids);
            }
            (pid, parent) = match parent {
                0 | 1 => return None,
                parent => (parent, family(parent)?.1),
            };
        }
        None
    }

    fn remember(&mut self, pid: i32, ids: Ids, program: Option<Program>) {
        if self.believed.len() >= MANY {
            self.believed.retain(|pid, known| {
                ProcessId::of(Pid::from_raw(*pid)).is_ok_and(|now| now == known.process)
            });
        }
        if let Ok(process) = ProcessId::of(Pid::from_raw(pid)) {
            let believed = Believed {
                process,
                ids,
                program,
            };
            self.believed.insert(pid, believed);
        }
    }

    fn change(&mut self, n: &Notification, change: &Change) -> Result<Answer, Errno> {
        let before = match self.believed.is_empty() {
            true => None,
            false => self.ids(n.tid),
        };
        let mut ids = before.clone().unwrap_or_default();
        let before = before.unwrap_or_default();
        let (pid, _) = family(n.tid).ok_or(Errno::ESRCH)?;
        let mut privileged = self.believed.get(&pid).and_then(|b| b.program.clone());
        if before.privileged() {
            privileged = program(pid);
        } else if matches!(change, Change::Capabilities(set) if set & Ids::OVER_IDS != 0)
            && privileged != program(pid)
        {
            // It has none to take back since it executed something else.
            return Err(Errno::EPERM);
        }
        let result = ids.apply(change)?;
        if ids != before {
            self.remember(pid, ids, privileged);
        }
        Ok(Answer::Return(result))
    }

    /// Capabilities are never changed for real: a program that has given up
    /// all would be refused what is emulated for it next.
    fn set_capabilities(&mut self, n: &Notification, address: u64) -> Result<Answer, Errno> {
        // The first word is the lower half of the effective set (capset(2)).
        let mut effective = [0; 4];
        read_memory(n.tid, address, &mut effective)?;
        if self.believed.is_empty() {
            return Ok(Answer::Return(0));
        }
        let effective = u32::from_ne_bytes(effective).into();
        self.change(n, &Change::Capabilities(effective))
    }

    fn get_all(
        &mut self,
        n: &Notification,
        which: Which,
        addresses: [u64; 3],
        width: usize,
    ) -> Result<Answer, Errno> {
        let Some(ids) = self.ids(n.tid) else {
            return Ok(Answer::Continue);
        };
        let triple = match which {
            Which::User | Which::EffectiveUser => ids.user,
            Which::Group | Which::EffectiveGroup => ids.group,
        };
        let values = [triple.real, triple.effective, triple.saved];
        for (address, value) in addresses.into_iter().zip(values) {
            let value = narrow(value, width);
            self.write(n, address, &value.to_ne_bytes()[..width])?;
        }
        Ok(Answer::Return(0))
    }

    fn get_groups(
        &mut self,
        n: &Notification,
        room: u64,
        address: u64,
        width: usize,
    ) -> Result<Answer, Errno> {
        let Some(ids) = self.ids(n.tid) else {
            return Ok(Answer::Continue);
        };
        let count = ids.groups.len();
        if room != 0 {
            if usize::try_from(room as i32).map_or(true, |room| room < count) {
                return Err(Errno::EINVAL);
            }
            let bytes = ids
                .groups
                .iter()
                .flat_map(|g| narrow(*g, width).to_ne_bytes()[..width].to_vec());
            let bytes: Vec<u8> = bytes.collect();
            self.write(n, address, &bytes)?;
        }
        Ok(Answer::Return(count as i64))
    }
}

impl AsFd for Emulator {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

/// What 16-bit calls say of an id that has more (`overflowuid`).
fn narrow(id: u32, width: usize) -> u32 {
    match width {
        2 if id > 0xffff => 65534,
        _ => id,
    }
}

fn get(ids: &Ids, which: Which) -> u32 {
    match which {
        Which::User => ids.user.real,
        Which::EffectiveUser => ids.user.effective,
        Which::Group => ids.group.real,
        Which::EffectiveGroup => ids.group.effective,
    }
}

/// A field of proc_pid_status(5).
fn field(tid: i32, name: &str) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix(name))?;
    Some(line.trim().to_owned())
}

/// The process that thread `tid` belongs to, and its parent.
fn family(tid: i32) -> Option<(i32, i32)> {
    let status = std::fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    let number = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name))?;
        line.trim().parse().ok()
    };
    Some((number("Tgid:")?, number("PPid:")?))
}

/// What a process executes: the file, and where the kernel put its stack,
/// which another execution of the same file has elsewhere.
type Program = (PathBuf, Option<String>);

fn program(pid: i32) -> Option<Program> {
    let file = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Field 28 of proc_pid_stat(5), startstack; the name may hold blanks.
    let (_, rest) = stat.rsplit_once(')')?;
    let stack = rest.split_ascii_whitespace().nth(25);
    Some((file, stack.map(str::to_owned)))
}
