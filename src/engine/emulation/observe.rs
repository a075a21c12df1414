//! Calls that ask what a file is (`--root-emulation full`): answered where
//! something was recorded, and left to the kernel everywhere else.

use super::Emulator;
use super::call::FileArgument;
use super::files::kind_of;
use super::memory::read_string;
use super::path;
use crate::image::record::{CAPABILITY, FileType, OVERRIDE_STAT, Stat};
use crate::sys::fs::{bytes_of_stat, bytes_of_statx, statx};
use crate::sys::seccomp::{Answer, Notification};
use crate::sys::xattr;
use nix::errno::Errno;
use nix::sys::stat::{FileStat, SFlag, fstat, makedev};
use std::os::fd::OwnedFd;

impl Emulator {
    /// The stat family: fills in the structure at `address` for a file with a
    /// record.
    pub(super) fn stat(
        &mut self,
        n: &Notification,
        place: FileArgument,
        address: u64,
    ) -> Result<Answer, Errno> {
        let Some((_, mut stat, recorded)) = self.recorded(n, place) else {
            return Ok(Answer::Continue);
        };
        stat.st_uid = recorded.uid;
        stat.st_gid = recorded.gid;
        if let Some((kind, (major, minor))) = device(recorded.kind) {
            stat.st_mode = kind.bits() | stat.st_mode & 0o7777;
            stat.st_rdev = makedev(major.into(), minor.into());
        }
        self.write(n, address, bytes_of_stat(&stat))?;
        Ok(Answer::Return(0))
    }

    /// statx(2), likewise.
    pub(super) fn statx(
        &mut self,
        n: &Notification,
        place: FileArgument,
        (flags, mask): (i32, u32),
        address: u64,
    ) -> Result<Answer, Errno> {
        let Some((file, _, recorded)) = self.recorded(n, place) else {
            return Ok(Answer::Continue);
        };
        let mut data = statx(&file, flags & libc::AT_STATX_SYNC_TYPE, mask)?;
        data.stx_uid = recorded.uid;
        data.stx_gid = recorded.gid;
        if let Some((kind, (major, minor))) = device(recorded.kind) {
            // The kinds of stat(2) are in the upper bits of 16.
            data.stx_mode = kind.bits() as u16 | data.stx_mode & 0o7777;
            (data.stx_rdev_major, data.stx_rdev_minor) = (major, minor);
        }
        self.write(n, address, bytes_of_statx(&data))?;
        Ok(Answer::Return(0))
    }

    /// The getxattr family: file capabilities are told as they were recorded.
    pub(super) fn get_xattr(
        &mut self,
        n: &Notification,
        place: FileArgument,
        name: u64,
        (value, room): (u64, u64),
    ) -> Result<Answer, Errno> {
        if read_string(n.tid, name, 256)? != b"security.capability" {
            return Ok(Answer::Continue);
        }
        let Ok(Some(file)) = self.find(n, place) else {
            return Ok(Answer::Continue);
        };
        let Ok(Some(bytes)) = xattr::get_path(&path::name_of(&file), CAPABILITY) else {
            return Ok(Answer::Continue);
        };
        if room != 0 {
            if room < bytes.len() as u64 {
                return Err(Errno::ERANGE);
            }
            self.write(n, value, &bytes)?;
        }
        Ok(Answer::Return(bytes.len() as i64))
    }

    /// The file that `place` means, what the kernel says of it and what was
    /// recorded; `None` where the kernel is to answer, errors included.
    fn recorded(
        &mut self,
        n: &Notification,
        place: FileArgument,
    ) -> Option<(OwnedFd, FileStat, Stat)> {
        let file = self.find(n, place).ok()??;
        let stat = fstat(&file).ok()?;
        let recorded = match kind_of(&stat) {
            FileType::File | FileType::Directory => {
                let text = xattr::get_path(&path::name_of(&file), OVERRIDE_STAT).ok()??;
                // Of a directory of the host's it says nothing to us.
                if self.is_recorded(n, &file, &stat) != Ok(true) {
                    return None;
                }
                String::from_utf8(text).ok()?.parse().ok()?
            }
            _ => {
                if self.is_on_root(n, &stat) != Ok(true) {
                    return None;
                }
                self.recorded_beside(&file).ok()??
            }
        };
        Some((file, stat, recorded))
    }
}

/// The type bits and the number of a recorded device.
fn device(kind: FileType) -> Option<(SFlag, (u32, u32))> {
    match kind {
        FileType::Block(major, minor) => Some((SFlag::S_IFBLK, (major, minor))),
        FileType::Char(major, minor) => Some((SFlag::S_IFCHR, (major, minor))),
        _ => None,
    }
}
