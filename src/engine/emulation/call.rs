//! Which system call a notification is about. Pure.

use super::ids::Change;
use crate::runtime::seccomp;
use crate::sys::seccomp::Notification;
use std::collections::HashMap;

/// A file as a system call names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileArgument {
    /// A descriptor of the caller.
    Fd(i32),
    /// A path in the caller's memory.
    Path {
        /// Where relative paths start: a descriptor or `AT_FDCWD`.
        dir: i32,
        /// Address of the path.
        path: u64,
        /// Whether a link at its end is followed.
        follow: bool,
        /// Whether an empty path means `dir` itself.
        empty: bool,
    },
}

/// A system call that root emulation answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// The chown family: file, user, group; `u32::MAX` leaves one as it is.
    Chown(FileArgument, u32, u32),
    /// mknod(2) of a device: file, mode, device number as the kernel has it.
    Mknod(FileArgument, u32, u32),
    /// The setxattr family: file, addresses of name and value, the latter's
    /// size.
    SetXattr(FileArgument, u64, u64, u64),
    /// The removexattr family: file, address of the name.
    RemoveXattr(FileArgument, u64),
    /// A call whose arguments are none.
    Invalid,
    /// A change of ids.
    Ids(Change),
    /// setgroups(2): number, address, width of an id in bytes.
    SetGroups(u64, u64, usize),
    /// capset(2): address of the sets.
    Capset(u64),
    /// A single id is asked for: width.
    Get(Which, usize),
    /// Real, effective and saved id are asked for: addresses, width.
    GetAll(Which, [u64; 3], usize),
    /// getgroups(2): room, address, width.
    GetGroups(u64, u64, usize),
    /// The stat family: file, address of a `struct stat`.
    Stat(FileArgument, u64),
    /// statx(2): file, flags, mask, address of a `struct statx`.
    Statx(FileArgument, i32, u32, u64),
    /// The getxattr family: file, addresses of name and value, room there.
    GetXattr(FileArgument, u64, u64, u64),
}

/// Which id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The user's.
    User,
    /// The effective user's.
    EffectiveUser,
    /// The group's.
    Group,
    /// The effective group's.
    EffectiveGroup,
}

const X86: u32 = 0x4000_0003;
const ARM: u32 = 0x4000_0028;
const ARM_64: u32 = 0xc000_00b7;
const X86_64: u32 = 0xc000_003e;
const X32_BIT: i32 = 0x4000_0000;

/// All names that the filters ask about; `emulation.json` and
/// `emulation-full.json` list them too.
const NAMES: [&str; 56] = [
    "chown",
    "chown32",
    "fchown",
    "fchown32",
    "lchown",
    "lchown32",
    "fchownat",
    "setuid",
    "setuid32",
    "setgid",
    "setgid32",
    "setreuid",
    "setreuid32",
    "setregid",
    "setregid32",
    "setresuid",
    "setresuid32",
    "setresgid",
    "setresgid32",
    "setfsuid",
    "setfsuid32",
    "setfsgid",
    "setfsgid32",
    "setgroups",
    "setgroups32",
    "capset",
    "getuid",
    "getuid32",
    "geteuid",
    "geteuid32",
    "getgid",
    "getgid32",
    "getegid",
    "getegid32",
    "getresuid",
    "getresuid32",
    "getresgid",
    "getresgid32",
    "getgroups",
    "getgroups32",
    "setxattr",
    "lsetxattr",
    "fsetxattr",
    "removexattr",
    "lremovexattr",
    "fremovexattr",
    "mknod",
    "mknodat",
    "stat",
    "lstat",
    "fstat",
    "newfstatat",
    "statx",
    "getxattr",
    "lgetxattr",
    "fgetxattr",
];

/// Names of calls by ABI and number.
#[derive(Debug)]
pub struct Table(HashMap<(u32, i32), &'static str>);

impl Table {
    /// The calls of every ABI that this machine may run.
    pub fn new() -> Table {
        let mut table = HashMap::new();
        for arch in [X86_64, X86, ARM_64, ARM] {
            for name in NAMES {
                if let Some(number) = seccomp::number(arch, name) {
                    table.insert((arch, number as i32), name);
                }
            }
        }
        Table(table)
    }

    /// What `notification` asks for; `None` for a call that is not known.
    pub fn decode(&self, notification: &Notification) -> Option<Call> {
        let Notification { arch, args, .. } = *notification;
        let number = match arch {
            X86_64 => notification.number & !X32_BIT,
            _ => notification.number,
        };
        let name = *self.0.get(&(arch, number))?;
        // Other ABIs have other structures; their programs are told the truth.
        let native = matches!(arch, X86_64 | ARM_64);
        if !native && matches!(name, "stat" | "lstat" | "fstat") {
            return None;
        }
        let (name, wide) = match name.strip_suffix("32") {
            Some(base) => (base, true),
            None => (name, arch != X86 && arch != ARM),
        };
        Some(decode(name, wide, args))
    }
}

impl Default for Table {
    fn default() -> Self {
        Table::new()
    }
}

/// `wide`: ids have 32 bits, not the 16 of the first calls of 32-bit ABIs.
fn decode(name: &str, wide: bool, args: [u64; 6]) -> Call {
    let id = |n: usize| match args[n] as u32 {
        id if wide => id,
        id if id & 0xffff == 0xffff => u32::MAX,
        id => id & 0xffff,
    };
    let width = if wide { 4 } else { 2 };
    let path = |follow| FileArgument::Path {
        dir: libc::AT_FDCWD,
        path: args[0],
        follow,
        empty: false,
    };
    let at = |flags: i32| FileArgument::Path {
        dir: args[0] as i32,
        path: args[1],
        follow: flags & libc::AT_SYMLINK_NOFOLLOW == 0,
        empty: flags & libc::AT_EMPTY_PATH != 0,
    };
    let three = || [id(0), id(1), id(2)];
    let addresses = [args[0], args[1], args[2]];
    match name {
        "chown" => Call::Chown(path(true), id(1), id(2)),
        "lchown" => Call::Chown(path(false), id(1), id(2)),
        "fchown" => Call::Chown(FileArgument::Fd(args[0] as i32), id(1), id(2)),
        "fchownat" => {
            let flags = args[4] as i32;
            if flags & !(libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH) != 0 {
                return Call::Invalid;
            }
            // The call is younger than 16-bit ids.
            Call::Chown(at(flags), args[2] as u32, args[3] as u32)
        }
        "stat" | "lstat" => Call::Stat(path(name == "stat"), args[1]),
        "fstat" => Call::Stat(FileArgument::Fd(args[0] as i32), args[1]),
        "newfstatat" => Call::Stat(at(args[3] as i32), args[2]),
        "statx" => Call::Statx(at(args[2] as i32), args[2] as i32, args[3] as u32, args[4]),
        "getxattr" | "lgetxattr" | "fgetxattr" => {
            let place = match name {
                "fgetxattr" => FileArgument::Fd(args[0] as i32),
                _ => path(name == "getxattr"),
            };
            Call::GetXattr(place, args[1], args[2], args[3])
        }
        "mknod" => Call::Mknod(path(false), args[1] as u32, args[2] as u32),
        "mknodat" => {
            let place = FileArgument::Path {
                dir: args[0] as i32,
                path: args[1],
                follow: false,
                empty: false,
            };
            Call::Mknod(place, args[2] as u32, args[3] as u32)
        }
        "setuid" => Call::Ids(Change::User(id(0))),
        "setgid" => Call::Ids(Change::Group(id(0))),
        "setreuid" => Call::Ids(Change::RealEffectiveUser(id(0), id(1))),
        "setregid" => Call::Ids(Change::RealEffectiveGroup(id(0), id(1))),
        "setresuid" => Call::Ids(Change::Users(three())),
        "setresgid" => Call::Ids(Change::Groups(three())),
        "setfsuid" => Call::Ids(Change::FileUser(id(0))),
        "setfsgid" => Call::Ids(Change::FileGroup(id(0))),
        "setgroups" => Call::SetGroups(args[0], args[1], width),
        "getuid" => Call::Get(Which::User, width),
        "geteuid" => Call::Get(Which::EffectiveUser, width),
        "getgid" => Call::Get(Which::Group, width),
        "getegid" => Call::Get(Which::EffectiveGroup, width),
        "getresuid" => Call::GetAll(Which::User, addresses, width),
        "getresgid" => Call::GetAll(Which::Group, addresses, width),
        "getgroups" => Call::GetGroups(args[0], args[1], width),
        "setxattr" | "lsetxattr" | "fsetxattr" => {
            let place = match name {
                "fsetxattr" => FileArgument::Fd(args[0] as i32),
                _ => path(name == "setxattr"),
            };
            Call::SetXattr(place, args[1], args[2], args[3])
        }
        "removexattr" | "lremovexattr" | "fremovexattr" => {
            let place = match name {
                "fremovexattr" => FileArgument::Fd(args[0] as i32),
                _ => path(name == "removexattr"),
            };
            Call::RemoveXattr(place, args[1])
        }
        _ => Call::Capset(args[1]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notification(arch: u32, number: i32, args: [u64; 6]) -> Notification {
        Notification {
            id: 1,
            tid: 1,
            number,
            arch,
            args,
        }
    }

    #[test]
    fn calls_of_each_abi() {
        let table = Table::new();
        // fchown is 93 on x86-64, 95 (16 bits) and 207 on i386, 55 on arm64.
        let args = [3, 1000, 0xffff, 0, 0, 0];
        let fchown = |uid, gid| Some(Call::Chown(FileArgument::Fd(3), uid, gid));
        for (arch, number, gid) in [
            (X86_64, 93, 0xffff),
            (X86, 95, u32::MAX),
            (X86, 207, 0xffff),
            (ARM_64, 55, 0xffff),
        ] {
            let decoded = table.decode(&notification(arch, number, args));
            assert_eq!(decoded, fchown(1000, gid), "{arch:#x} {number}");
        }
        assert_eq!(table.decode(&notification(X86_64, 0, args)), None);
        let setuid = table.decode(&notification(X86_64, 105, args));
        assert_eq!(setuid, Some(Call::Ids(Change::User(3))));
    }

    #[test]
    fn what_files_are_is_told_in_the_structures_of_the_native_abi() {
        let table = Table::new();
        let args = [3, 4, 5, 6, 7, 0];
        // fstat is 5 on x86-64 and 108 on i386; statx 332 and 383.
        let fstat = table.decode(&notification(X86_64, 5, args));
        assert_eq!(fstat, Some(Call::Stat(FileArgument::Fd(3), 4)));
        assert_eq!(table.decode(&notification(X86, 108, args)), None);
        for (arch, number) in [(X86_64, 332), (X86, 383)] {
            let statx = table.decode(&notification(arch, number, args));
            assert!(matches!(statx, Some(Call::Statx(_, 5, 6, 7))), "{arch:#x}");
        }
    }

    #[test]
    fn every_name_is_a_call() {
        for name in NAMES {
            let known = [X86_64, X86, ARM]
                .iter()
                .any(|a| seccomp::number(*a, name).is_some());
            assert!(known, "{name}");
        }
    }
}
