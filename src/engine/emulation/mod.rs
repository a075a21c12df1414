//! Root emulation: with one user id, the kernel refuses what a package manager
//! does all day: chown, set*id, mknod. A seccomp filter asks a listener
//! instead ([`EMULATION`](crate::runtime::seccomp::EMULATION)), and this is
//! what answers: as if it had succeeded. What files should be is recorded in
//! their extended attribute [`OVERRIDE_STAT`]; who processes believe to be is
//! kept here and told to them when they ask.

mod call;
mod ids;
mod path;

use crate::engine::record::ProcessId;
use crate::image::record::{FileType, OVERRIDE_STAT, Stat};
use crate::sys::seccomp::{Answer, Listener, Notification};
use crate::sys::xattr;
use call::{Call, Place, Table, Which};
use ids::{Change, Ids};
use nix::errno::Errno;
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, fstat, mknodat};
use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::unistd::Pid;
use path::Found;
use std::collections::HashMap;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// Answers the calls of one container.
///
/// The process that it runs in should be in the container's user namespace,
/// whose root may write attributes whatever a file's mode.
#[derive(Debug)]
pub struct Emulator {
    listener: Listener,
    table: Table,
    believed: HashMap<i32, Believed>,
}

/// Who a process believes to be.
#[derive(Debug, Clone)]
struct Believed {
    process: ProcessId,
    ids: Ids,
    /// What it executed when it took capabilities back.
    program: Option<PathBuf>,
}

/// Processes to be remembered before the dead ones are forgotten.
const MANY: usize = 512;

impl Emulator {
    /// An emulator that answers for `listener`.
    pub fn new(listener: Listener) -> Emulator {
        Emulator {
            listener,
            table: Table::new(),
            believed: HashMap::new(),
        }
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
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        loop {
            let mut fds = [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
            let polled = poll(&mut fds, PollTimeout::NONE);
            let events = fds[0].revents().unwrap_or(PollFlags::empty());
            if events.contains(PollFlags::POLLIN) {
                self.serve();
            } else if !events.is_empty() || !matches!(polled, Ok(_) | Err(Errno::EINTR)) {
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
            Call::SetXattr(name) => self.set_xattr(n, name),
            Call::Chown(place, uid, gid) => self.chown(n, place, uid, gid),
            Call::Mknod(place, mode, device) => self.mknod(n, place, mode, device),
            Call::Ids(change) => self.change(n, &change),
            Call::SetGroups(count, address, width) => read_ids(n.tid, count, address, width)
                .and_then(|groups| self.change(n, &Change::Supplementary(groups))),
            // As long as nobody has changed, the kernel knows.
            _ if self.believed.is_empty() => Ok(Answer::Continue),
            Call::Get(which) => Ok(match self.ids(n.tid) {
                Some(ids) => Answer::Return(get(&ids, which).into()),
                None => Answer::Continue,
            }),
            Call::GetAll(which, addresses, width) => self.get_all(n, which, addresses, width),
            Call::GetGroups(room, address, width) => self.get_groups(n, room, address, width),
        };
        answer.unwrap_or_else(Answer::Fail)
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
                let ids = known.ids.clone();
                if pid != own {
                    // Later changes of the ancestor are not its own.
                    self.remember(own, ids.clone());
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

    fn remember(&mut self, pid: i32, ids: Ids) {
        if self.believed.len() >= MANY {
            self.believed.retain(|pid, known| {
                ProcessId::of(Pid::from_raw(*pid)).is_ok_and(|now| now == known.process)
            });
        }
        if let Ok(process) = ProcessId::of(Pid::from_raw(pid)) {
            let program = ids.kept_capabilities.then(|| program(pid)).flatten();
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
        let result = ids.apply(change)?;
        if ids != before.unwrap_or_default() {
            let (pid, _) = family(n.tid).ok_or(Errno::ESRCH)?;
            self.remember(pid, ids);
        }
        Ok(Answer::Return(result))
    }

    /// Capabilities are never changed for real: a program that has given up
    /// all would be refused what is emulated for it next.
    fn set_capabilities(&mut self, n: &Notification, address: u64) -> Result<Answer, Errno> {
        if self.believed.is_empty() {
            return Ok(Answer::Return(0));
        }
        // The first word is the lower half of the effective set (capset(2)).
        let mut effective = [0; 4];
        read_memory(n.tid, address, &mut effective)?;
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
            write_memory(n.tid, address, &value.to_ne_bytes()[..width])?;
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
            if (room as usize) < count {
                return Err(Errno::EINVAL);
            }
            let bytes = ids
                .groups
                .iter()
                .flat_map(|g| g.to_ne_bytes()[..width].to_vec());
            let bytes: Vec<u8> = bytes.collect();
            write_memory(n.tid, address, &bytes)?;
        }
        Ok(Answer::Return(count as i64))
    }

    /// Attributes that need privileges over the file system are taken as set;
    /// the others are the kernel's business.
    fn set_xattr(&self, n: &Notification, name: u64) -> Result<Answer, Errno> {
        let name = read_string(n.tid, name, 256)?;
        let privileged = name == b"security.capability" || name.starts_with(b"system.posix_acl_");
        Ok(match privileged {
            true => Answer::Return(0),
            false => Answer::Continue,
        })
    }

    /// The file that `place` means to thread `n.tid`; `None` where nothing can
    /// be recorded.
    fn find(&self, n: &Notification, place: Place) -> Result<Option<OwnedFd>, Errno> {
        let (dir, path, follow) = match place {
            Place::Fd(fd) => return path::descriptor(n.tid, fd).map(Some),
            Place::Path {
                dir,
                path,
                follow,
                empty,
            } => {
                let text = read_string(n.tid, path, libc::PATH_MAX as usize)?;
                if text.is_empty() && empty {
                    return path::descriptor(n.tid, dir).map(Some);
                }
                (dir, text, follow)
            }
        };
        let root = path::root(n.tid)?;
        let start = match path.starts_with(b"/") {
            true => path::root(n.tid)?,
            false => path::descriptor(n.tid, dir)?,
        };
        Ok(match path::resolve(&root, start, &path, follow)? {
            Found::File(fd) => Some(fd),
            Found::Proc => None,
        })
    }

    fn chown(
        &mut self,
        n: &Notification,
        place: Place,
        uid: u32,
        gid: u32,
    ) -> Result<Answer, Errno> {
        let file = self.find(n, place)?;
        if !self.believed.is_empty() && self.ids(n.tid).is_some_and(|ids| !ids.privileged()) {
            return Err(Errno::EPERM);
        }
        // What was found under the thread's number is the thread's only if
        // it still waits.
        if let (Some(file), true) = (file, self.listener.is_valid(n.id)) {
            self.record_owner(n, &file, uid, gid)?;
        }
        Ok(Answer::Return(0))
    }

    fn record_owner(
        &self,
        n: &Notification,
        file: &OwnedFd,
        uid: u32,
        gid: u32,
    ) -> Result<(), Errno> {
        let stat = fstat(file)?;
        let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
        let kind = match kind {
            SFlag::S_IFREG => FileType::File,
            SFlag::S_IFDIR => FileType::Directory,
            // They carry no attributes of ours.
            _ => return Ok(()),
        };
        // Volumes are the host's, and file systems in memory go with the
        // container: their owners are nobody's concern.
        if stat.st_dev != fstat(path::root(n.tid)?)?.st_dev {
            return Ok(());
        }
        let name = path::name_of(file);
        let old = xattr::get_path(&name, OVERRIDE_STAT)?;
        let old = old.and_then(|v| String::from_utf8(v).ok()?.parse::<Stat>().ok());
        let keep = |new: u32, old: Option<u32>| match new {
            u32::MAX => old.unwrap_or(0),
            new => new,
        };
        // As chown(2) does, also for root.
        let mut mode = stat.st_mode & 0o7777;
        let group_executable = mode & 0o2010 == 0o2010;
        if kind == FileType::File && (mode & 0o4000 != 0 || group_executable) {
            mode &= if group_executable { !0o6000 } else { !0o4000 };
            let bits = Mode::from_bits_truncate(mode);
            fchmodat(
                nix::fcntl::AT_FDCWD,
                name.as_str(),
                bits,
                FchmodatFlags::FollowSymlink,
            )?;
        }
        let new = Stat {
            uid: keep(uid, old.map(|s| s.uid)),
            gid: keep(gid, old.map(|s| s.gid)),
            mode,
            kind: match old.map(|s| s.kind) {
                Some(device @ (FileType::Block(..) | FileType::Char(..))) => device,
                _ => kind,
            },
        };
        let plain = new.uid == 0 && new.gid == 0 && new.kind == kind;
        match (plain, old) {
            (true, None) => Ok(()),
            (true, Some(_)) => xattr::remove_path(&name, OVERRIDE_STAT),
            (false, _) => xattr::set_path(&name, OVERRIDE_STAT, new.to_string().as_bytes()),
        }
    }

    fn mknod(
        &mut self,
        n: &Notification,
        place: Place,
        mode: u32,
        device: u32,
    ) -> Result<Answer, Errno> {
        let Place::Path { dir, path, .. } = place else {
            return Err(Errno::EBADF);
        };
        let text = read_string(n.tid, path, libc::PATH_MAX as usize)?;
        let root = path::root(n.tid)?;
        let start = match text.starts_with(b"/") {
            true => path::root(n.tid)?,
            false => path::descriptor(n.tid, dir)?,
        };
        let mask = field(n.tid, "Umask:").and_then(|m| u32::from_str_radix(&m, 8).ok());
        let parent = path::parent(&root, start, &text)?.ok_or(Errno::EPERM)?;
        if !self.listener.is_valid(n.id) {
            return Err(Errno::EINTR);
        }
        let bits = mode & 0o7777 & !mask.unwrap_or(0o022);
        let name = parent.name.as_os_str();
        let permissions = Mode::from_bits_truncate(bits);
        mknodat(&parent.directory, name, SFlag::S_IFREG, permissions, 0)?;
        // linux/kdev_t.h, new_decode_dev().
        let major = (device & 0xf_ff00) >> 8;
        let minor = (device & 0xff) | ((device >> 12) & 0xf_ff00);
        let block = SFlag::from_bits_truncate(mode) & SFlag::S_IFMT == SFlag::S_IFBLK;
        let stat = Stat {
            uid: 0,
            gid: 0,
            mode: bits,
            kind: match block {
                true => FileType::Block(major, minor),
                false => FileType::Char(major, minor),
            },
        };
        let flags = nix::fcntl::OFlag::O_PATH | nix::fcntl::OFlag::O_NOFOLLOW;
        let made = nix::fcntl::openat(&parent.directory, name, flags, Mode::empty())?;
        match xattr::set_path(
            &path::name_of(&made),
            OVERRIDE_STAT,
            stat.to_string().as_bytes(),
        ) {
            // A file system without such attributes: the file alone is there.
            Ok(()) | Err(Errno::EOPNOTSUPP | Errno::EPERM) => Ok(Answer::Return(0)),
            Err(e) => Err(e),
        }
    }
}

impl AsFd for Emulator {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
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

/// The file that process `pid` executes.
fn program(pid: i32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/exe")).ok()
}

fn read_memory(tid: i32, address: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
    let remote = [RemoteIoVec {
        base: address as usize,
        len: buffer.len(),
    }];
    process_vm_readv(Pid::from_raw(tid), &mut [IoSliceMut::new(buffer)], &remote)
}

fn write_memory(tid: i32, address: u64, data: &[u8]) -> Result<(), Errno> {
    let remote = [RemoteIoVec {
        base: address as usize,
        len: data.len(),
    }];
    match process_vm_writev(Pid::from_raw(tid), &[IoSlice::new(data)], &remote)? {
        n if n == data.len() => Ok(()),
        _ => Err(Errno::EFAULT),
    }
}

/// A string that ends in NUL, of at most `limit` bytes with it. Reads up to
/// the end of each page, since the next one may not be mapped.
fn read_string(tid: i32, address: u64, limit: usize) -> Result<Vec<u8>, Errno> {
    let mut text = Vec::new();
    while text.len() < limit {
        let at = address + text.len() as u64;
        let rest_of_page = 4096 - (at % 4096) as usize;
        let mut chunk = vec![0; rest_of_page.min(limit - text.len())];
        let read = read_memory(tid, at, &mut chunk)?;
        if let Some(end) = chunk[..read].iter().position(|b| *b == 0) {
            text.extend_from_slice(&chunk[..end]);
            return Ok(text);
        }
        text.extend_from_slice(&chunk[..read]);
        if read == 0 {
            return Err(Errno::EFAULT);
        }
    }
    Err(Errno::ENAMETOOLONG)
}

/// A list of ids of `width` bytes each.
fn read_ids(tid: i32, count: u64, address: u64, width: usize) -> Result<Vec<u32>, Errno> {
    // NGROUPS_MAX of limits.h.
    let count = usize::try_from(count)
        .ok()
        .filter(|n| *n <= 65536)
        .ok_or(Errno::EINVAL)?;
    let mut bytes = vec![0; count * width];
    if count > 0 && read_memory(tid, address, &mut bytes)? != bytes.len() {
        return Err(Errno::EFAULT);
    }
    let ids = bytes.chunks_exact(width).map(|id| match *id {
        [a, b] => u32::from(u16::from_ne_bytes([a, b])),
        [a, b, c, d] => u32::from_ne_bytes([a, b, c, d]),
        _ => 0,
    });
    Ok(ids.collect())
}
