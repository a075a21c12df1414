//! What the machine says of itself in files, read. Pure.

use crate::sys::mountinfo::Mount;
use serde::Serialize;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Name and version of the system by os-release(5); without control
/// characters, which could do things to a terminal.
pub fn os_name(file: &str) -> Option<String> {
    let value = |key: &str| {
        let mut lines = file.lines();
        let found = lines.find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))?;
        let text: String = unquote(found).chars().filter(|c| !c.is_control()).collect();
        (!text.trim().is_empty()).then(|| text.trim().to_owned())
    };
    value("PRETTY_NAME").or_else(|| match (value("NAME"), value("VERSION")) {
        (Some(name), Some(version)) => Some(format!("{name} {version}")),
        (name, _) => name,
    })
}

/// The value of a shell assignment, as os-release(5) allows it.
fn unquote(value: &str) -> String {
    let value = value.trim();
    let inner = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    if let Some(text) = inner('\'') {
        return text.to_owned();
    }
    let mut chars = inner('"').unwrap_or(value).chars();
    let mut text = String::new();
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.extend(chars.next()),
            c => text.push(c),
        }
    }
    text
}

/// Bytes of memory by `/proc/meminfo`.
pub fn memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Major and minor number of a kernel release as `6.1.0-13-amd64`.
pub fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split('.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?;
    let digits = minor.find(|c: char| !c.is_ascii_digit());
    let minor = minor[..digits.unwrap_or(minor.len())].parse().ok()?;
    Some((major, minor))
}

/// The value of `key` in `/proc/self/status`.
pub fn status<'a>(file: &'a str, key: &str) -> Option<&'a str> {
    let mut lines = file.lines();
    lines.find_map(|line| Some(line.strip_prefix(key)?.strip_prefix(':')?.trim()))
}

/// Whether `link`, the target of `/proc/self/ns/KIND`, names the machine's
/// first namespace of the kind: those have fixed numbers (proc_ns.h).
pub fn is_first_namespace(kind: &str, link: &str) -> bool {
    let number: u32 = match kind {
        "ipc" => 0xefff_ffff,
        "uts" => 0xefff_fffe,
        "user" => 0xefff_fffd,
        "pid" => 0xefff_fffc,
        "cgroup" => 0xefff_fffb,
        _ => return false,
    };
    link == format!("{kind}:[{number}]")
}

/// The permitted capabilities that the attribute `security.capability` gives
/// to a program (capabilities(7)), one bit each; `None` if it is not one.
pub fn file_capabilities(attribute: &[u8]) -> Option<u64> {
    let word = |index: usize| {
        let bytes = attribute.get(index * 4..index * 4 + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let size = match word(0)? >> 24 {
        1 => 12,
        2 => 20,
        3 => 24,
        _ => return None,
    };
    if attribute.len() != size {
        return None;
    }
    let high = if size > 12 { word(3)? } else { 0 };
    Some(u64::from(word(1)?) | u64::from(high) << 32)
}

/// Which hierarchies of control groups are mounted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub enum CgroupLayout {
    /// Version 2 alone.
    #[serde(rename = "v2")]
    V2,
    /// Version 1 with controllers, and version 2 beside it.
    #[serde(rename = "hybrid")]
    Hybrid,
    /// Version 1 alone.
    #[serde(rename = "v1")]
    V1,
    /// None.
    #[default]
    #[serde(rename = "none")]
    None,
}

impl CgroupLayout {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            CgroupLayout::V2 => "v2",
            CgroupLayout::Hybrid => "hybrid (controllers in v1, v2 beside it)",
            CgroupLayout::V1 => "v1",
            CgroupLayout::None => "none",
        }
    }
}

/// The layout by the mounts.
pub fn cgroup_layout(mounts: &[Mount]) -> CgroupLayout {
    let has = |fstype: &str| mounts.iter().any(|m| m.fstype == fstype);
    // A named hierarchy of version 1 holds no controllers.
    let controllers = mounts
        .iter()
        .any(|m| m.fstype == "cgroup" && !m.options.split(',').any(|o| o.starts_with("name=")));
    match (has("cgroup2"), has("cgroup"), controllers) {
        (true, _, true) => CgroupLayout::Hybrid,
        (true, _, false) => CgroupLayout::V2,
        (false, true, _) => CgroupLayout::V1,
        (false, false, _) => CgroupLayout::None,
    }
}

/// The path of the process in the version 2 hierarchy by `/proc/self/cgroup`
/// (cgroups(7)): the line of hierarchy 0.
pub fn own_cgroup(file: &[u8]) -> Option<PathBuf> {
    let mut lines = file.split(|byte| *byte == b'\n');
    let path = lines.find_map(|line| line.strip_prefix(b"0::"))?;
    // The kernel marks one that was removed.
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    path.starts_with(b"/")
        .then(|| PathBuf::from(OsStr::from_bytes(path)))
}

/// The directory that shows the cgroup `path`, if a mount does: the mount and
/// the namespace may show a part of the hierarchy only.
pub fn cgroup_directory(mounts: &[Mount], path: &Path) -> Option<(PathBuf, PathBuf)> {
    let outside = path.components().any(|c| c == Component::ParentDir);
    let shown = mounts.iter().rev().filter(|m| m.fstype == "cgroup2");
    shown
        .filter(|_| !outside)
        .filter_map(|mount| {
            let below = path.strip_prefix(&mount.root).ok()?;
            Some((mount.point.clone(), mount.point.join(below)))
        })
        .next()
}

/// The two numbers of `net.ipv4.ping_group_range`; none if it is empty.
pub fn group_range(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split_ascii_whitespace().map(|n| n.parse().ok());
    let (first, last) = (numbers.next()??, numbers.next()??);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::mountinfo;
    use proptest::prelude::*;

    #[test]
    fn systems_name_themselves() {
        let name = |text: &str| os_name(text);
        let debian = "NAME=\"Debian\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n";
        assert_eq!(name(debian).unwrap(), "Debian GNU/Linux 12 (bookworm)");
        assert_eq!(name("NAME=Arch\nVERSION='1 2'").unwrap(), "Arch 1 2");
        assert_eq!(
            name("PRETTY_NAME=\"a \\\"b\\\" \\$c\"").unwrap(),
            "a \"b\" $c"
        );
        assert_eq!(name("PRETTY_NAME=\"\x1b[31mred\"").unwrap(), "[31mred");
        assert_eq!(name("PRETTY_NAME=\"").unwrap(), "\"");
        assert_eq!(name("PRETTY_NAME_X=1\nPRETTY_NAME=\n"), None);
        assert_eq!(name(""), None);
    }

    #[test]
    fn numbers_are_read_or_not() {
        assert_eq!(kernel_version("6.1.0-13-amd64"), Some((6, 1)));
        assert_eq!(kernel_version("5.15-rc1"), Some((5, 15)));
        assert_eq!(kernel_version("6"), None);
        assert_eq!(kernel_version("6.x"), None);
        assert_eq!(memory("MemTotal:  16 kB\nMemFree: 1 kB"), Some(16384));
        assert_eq!(memory("MemTotal: 99999999999999999999 kB"), None);
        assert_eq!(memory("MemTotal: 18446744073709551615 kB"), None);
        assert_eq!(group_range("1\t0"), None);
        assert_eq!(group_range("0\t2147483647"), Some((0, i32::MAX as u32)));
        assert_eq!(group_range("0"), None);
        assert_eq!(
            status("CapEffx:\t1\nCapEff:\t00c0\n", "CapEff"),
            Some("00c0")
        );
    }

    #[test]
    fn capabilities_of_files() {
        let newuidmap = [
            1, 0, 0, 2, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0,
        ];
        assert_eq!(file_capabilities(&newuidmap), Some(1 << 7));
        assert_eq!(file_capabilities(&newuidmap[..12]), None);
        assert_eq!(file_capabilities(&[]), None);
        assert_eq!(file_capabilities(&[0xff; 20]), None);
    }

    #[test]
    fn first_namespaces_have_fixed_numbers() {
        assert!(is_first_namespace("pid", "pid:[4026531836]"));
        assert!(!is_first_namespace("pid", "pid:[4026532000]"));
        assert!(!is_first_namespace("pid", ""));
    }

    #[test]
    fn control_groups_of_all_layouts() {
        let v1 = "1 0 0:1 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
        let named = "2 0 0:2 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n";
        let v2 = "3 0 0:3 /a /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let layout = |text: String| cgroup_layout(&mountinfo::parse(text.as_bytes()));
        assert_eq!(layout(format!("{v1}{named}{v2}")), CgroupLayout::Hybrid);
        assert_eq!(layout(format!("{named}{v2}")), CgroupLayout::V2);
        assert_eq!(layout(v1.into()), CgroupLayout::V1);
        assert_eq!(layout(String::new()), CgroupLayout::None);

        let own = |text: &str| own_cgroup(text.as_bytes());
        assert_eq!(own("1:cpu:/x\n0::/a/b:c\n"), Some("/a/b:c".into()));
        assert_eq!(own("0::/a (deleted)\n"), Some("/a".into()));
        assert_eq!(own("1:cpu:/x\n10::/y\n0::relative\n"), None);

        let mounts = mountinfo::parse(v2.as_bytes());
        let directory = |path: &str| cgroup_directory(&mounts, Path::new(path)).map(|d| d.1);
        assert_eq!(directory("/a/b"), Some("/sys/fs/cgroup/unified/b".into()));
        assert_eq!(directory("/ab"), None);
        assert_eq!(directory("/a/../../b"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "\\PC{0,80}", bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            os_name(&text);
            os_name(&format!("PRETTY_NAME={text}"));
            memory(&format!("MemTotal:{text}"));
            kernel_version(&text);
            group_range(&text);
            own_cgroup(&bytes);
            file_capabilities(&bytes);
        }
    }
}
