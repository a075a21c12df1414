//! Calls about files: finding them, and recording what they should be.

use super::Emulator;
use super::call::FileArgument;
use super::field;
use super::memory::{read_memory, read_string};
use super::path::{self, Found};
use crate::engine::create::root::stands_on;
use crate::engine::ground::json::read_json;
use crate::image::record::{CAPABILITY, FileType, OVERRIDE_STAT, Stat};
use crate::sys::seccomp::{Answer, Notification};
use crate::sys::xattr;
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmodat, fstat, mknodat};
use nix::unistd::fchownat;
use oci_spec::runtime::Spec;
use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::path::Path;

impl Emulator {
    /// File capabilities are recorded beside the attribute that cannot be
    /// set; ACLs are taken as set; other attributes are the kernel's business.
    pub(super) fn set_xattr(
        &mut self,
        n: &Notification,
        place: FileArgument,
        name: u64,
        (value, size): (u64, u64),
    ) -> Result<Answer, Errno> {
        let name = read_string(n.tid, name, 256)?;
        let capability = name == b"security.capability";
        if !capability && !name.starts_with(b"system.posix_acl_") {
            return Ok(Answer::Continue);
        }
        let file = self.find(n, place)?;
        if self.ids(n.tid).is_some_and(|ids| !ids.privileged()) {
            return Err(Errno::EPERM);
        }
        // As much as a struct vfs_ns_cap_data has.
        if capability && !(20..=24).contains(&size) {
            return Err(Errno::EINVAL);
        }
        let mut bytes = vec![0; size.min(24) as usize];
        if read_memory(n.tid, value, &mut bytes)? != bytes.len() {
            return Err(Errno::EFAULT);
        }
        let Some(file) = file.filter(|_| capability && self.listener.is_valid(n.id)) else {
            return Ok(Answer::Return(0));
        };
        let stat = fstat(&file)?;
        if !self.is_recorded(n, &file, &stat)? {
            return Ok(Answer::Return(0));
        }
        match kind_of(&stat) {
            FileType::File => {
                xattr::set_path(&path::name_of(&file), CAPABILITY, &bytes)?;
                Ok(Answer::Return(0))
            }
            _ => Err(Errno::EINVAL),
        }
    }

    /// Capabilities that were recorded go; the kernel knows of all others.
    pub(super) fn remove_xattr(
        &mut self,
        n: &Notification,
        place: FileArgument,
        name: u64,
    ) -> Result<Answer, Errno> {
        if read_string(n.tid, name, 256)? != b"security.capability" {
            return Ok(Answer::Continue);
        }
        let Some(file) = self.find(n, place)? else {
            return Ok(Answer::Continue);
        };
        let stat = fstat(&file)?;
        let itself = path::name_of(&file);
        if kind_of(&stat) != FileType::File
            || !self.is_recorded(n, &file, &stat)?
            || xattr::get_path(&itself, CAPABILITY)?.is_none()
        {
            return Ok(Answer::Continue);
        }
        if self.ids(n.tid).is_some_and(|ids| !ids.privileged()) {
            return Err(Errno::EPERM);
        }
        if self.listener.is_valid(n.id) {
            xattr::remove_path(&itself, CAPABILITY)?;
        }
        Ok(Answer::Return(0))
    }

    /// The file that `place` means to thread `n.tid`; `None` where nothing can
    /// be recorded.
    pub(super) fn find(
        &self,
        n: &Notification,
        place: FileArgument,
    ) -> Result<Option<OwnedFd>, Errno> {
        let (dir, path, follow) = match place {
            FileArgument::Fd(fd) => return path::descriptor(n.tid, fd).map(Some),
            FileArgument::Path {
                dir,
                path,
                follow,
                empty,
            } => {
                // Since Linux 6.11 an empty path may also be none.
                if path == 0 && empty {
                    return path::descriptor(n.tid, dir).map(Some);
                }
                let text = read_string(n.tid, path, libc::PATH_MAX as usize)?;
                if text.is_empty() && empty {
                    return path::descriptor(n.tid, dir).map(Some);
                }
                (dir, text, follow)
            }
        };
        let start = match path.starts_with(b"/") {
            true => path::root(n.tid)?,
            false => path::descriptor(n.tid, dir)?,
        };
        let found = match path::at_once(&start, &path, follow) {
            Some(found) => found,
            None => path::resolve(&path::root(n.tid)?, start, &path, follow)?,
        };
        Ok(match found {
            Found::File(fd) => Some(fd),
            Found::Proc => None,
        })
    }

    /// The chown family.
    pub(super) fn chown(
        &mut self,
        n: &Notification,
        place: FileArgument,
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

    /// Whether owners in this place matter: in the root file system and in
    /// volumes. Other directories are the host's, and file systems in memory
    /// go with the container.
    pub(super) fn is_recorded(
        &mut self,
        n: &Notification,
        file: &OwnedFd,
        stat: &FileStat,
    ) -> Result<bool, Errno> {
        Ok(self.is_on_root(n, stat)? || path::is_on_volume(n.tid, file))
    }

    /// Whether a file is on the file system of the thread's root, or on that
    /// of the first root that was asked about: the container's own, as good as
    /// always, which needs no look at the thread.
    pub(super) fn is_on_root(&mut self, n: &Notification, stat: &FileStat) -> Result<bool, Errno> {
        if self.root == Some(stat.st_dev) {
            return Ok(true);
        }
        let root = fstat(path::root(n.tid)?)?.st_dev;
        self.root.get_or_insert(root);
        Ok(root == stat.st_dev)
    }

    /// What is recorded of a file that can carry no record itself, on the file
    /// system of the root.
    pub(super) fn recorded_beside(&mut self, file: &OwnedFd) -> Result<Option<Stat>, Errno> {
        if let Some(directory) = self.unread.take() {
            // Of a damaged image nothing is known.
            let _ = self.learn(&directory);
        }
        let _ = self.owners.refresh();
        self.owners.of(file)
    }

    /// Reads what is recorded beside the layers.
    fn learn(&mut self, directory: &Path) -> anyhow::Result<()> {
        let spec = read_json::<Spec>(&directory.join("config.json"))?;
        let lowers = spec.map(|spec| stands_on(&spec)).unwrap_or_default();
        self.owners.learn(&lowers)
    }

    fn record_owner(
        &mut self,
        n: &Notification,
        file: &OwnedFd,
        uid: u32,
        gid: u32,
    ) -> Result<(), Errno> {
        let stat = fstat(file)?;
        if !self.is_recorded(n, file, &stat)? {
            return Ok(());
        }
        let kind = kind_of(&stat);
        let mode = stat.st_mode & 0o7777;
        let keep = |new: u32, old: Option<u32>| match new {
            u32::MAX => old.unwrap_or(0),
            new => new,
        };
        let changed = |old: Option<Stat>, mode| Stat {
            uid: keep(uid, old.map(|s| s.uid)),
            gid: keep(gid, old.map(|s| s.gid)),
            mode,
            kind: match old.map(|s| s.kind) {
                Some(device @ (FileType::Block(..) | FileType::Char(..))) => device,
                _ => kind,
            },
        };
        if !matches!(kind, FileType::File | FileType::Directory) {
            if self.is_on_root(n, &stat) == Ok(true) {
                let before = self.recorded_beside(file)?;
                let new = changed(before, mode);
                if before.is_none() && (new.uid, new.gid) == (0, 0) {
                    return Ok(());
                }
                // What is the image's becomes the container's, as by chown(2); what
                // belongs to nobody here (the image `host` has such) cannot.
                match fchownat(file, c"", None, None, AtFlags::AT_EMPTY_PATH) {
                    Ok(()) | Err(Errno::EPERM | Errno::EOVERFLOW) => {}
                    Err(errno) => return Err(errno),
                }
                // A full disk: the owner is lost, and nobody could help it.
                let _ = self.owners.record(file, new);
            }
            return Ok(());
        }
        let name = path::name_of(file);
        // Most files have no attribute at all.
        let attributes = xattr::list_path(&name)?;
        let has = |name: &CStr| attributes.iter().any(|a| a.as_c_str() == name);
        let mode = match kind {
            FileType::File => drop_privileges(&name, mode, has(CAPABILITY))?,
            _ => mode,
        };
        let old = match has(OVERRIDE_STAT) {
            true => xattr::get_path(&name, OVERRIDE_STAT)?,
            false => None,
        };
        let old = old.and_then(|v| String::from_utf8(v).ok()?.parse::<Stat>().ok());
        let new = changed(old, mode);
        let plain = new.uid == 0 && new.gid == 0 && new.kind == kind;
        match (plain, old) {
            (true, None) => Ok(()),
            (true, Some(_)) => xattr::remove_path(&name, OVERRIDE_STAT),
            (false, _) => xattr::set_path(&name, OVERRIDE_STAT, new.to_string().as_bytes()),
        }
    }

    /// mknod(2) of a device: an empty file with a record.
    pub(super) fn mknod(
        &mut self,
        n: &Notification,
        place: FileArgument,
        mode: u32,
        device: u32,
    ) -> Result<Answer, Errno> {
        let FileArgument::Path { dir, path, .. } = place else {
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

pub(super) fn kind_of(stat: &FileStat) -> FileType {
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFDIR => FileType::Directory,
        SFlag::S_IFLNK => FileType::Symlink,
        SFlag::S_IFIFO => FileType::Pipe,
        SFlag::S_IFREG => FileType::File,
        // Devices of the host do not stand on the root file system.
        _ => FileType::Socket,
    }
}

/// Takes setuid, setgid and capabilities from a file, as chown(2) does, also
/// for root. Returns the new mode.
fn drop_privileges(name: &str, mode: u32, capable: bool) -> Result<u32, Errno> {
    let group_executable = mode & 0o2010 == 0o2010;
    let left = mode & if group_executable { !0o6000 } else { !0o4000 };
    if left != mode {
        let bits = Mode::from_bits_truncate(left);
        let follow = FchmodatFlags::FollowSymlink;
        fchmodat(nix::fcntl::AT_FDCWD, name, bits, follow)?;
    }
    if capable {
        xattr::remove_path(name, CAPABILITY)?;
    }
    Ok(left)
}
