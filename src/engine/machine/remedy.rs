//! What to do about what is missing: from facts to words. Pure.
//!
//! `bryo doctor` and the hints of errors use the same words.

use super::NamespaceLimits;
use super::groups::WANTED;
use nix::errno::Errno;
use serde::Serialize;
use std::path::Path;

/// What is wrong, and who can do what about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Advice {
    /// The cause, or what follows from it.
    pub cause: String,
    /// What the user can do.
    pub user: Option<String>,
    /// What an administrator can do.
    pub administrator: Option<String>,
}

impl Advice {
    /// Advice with a cause alone.
    pub fn new(cause: impl Into<String>) -> Advice {
        Advice {
            cause: cause.into(),
            user: None,
            administrator: None,
        }
    }

    /// With what the user can do.
    pub fn user(mut self, text: impl Into<String>) -> Advice {
        self.user = Some(text.into());
        self
    }

    /// With what an administrator can do.
    pub fn administrator(mut self, text: impl Into<String>) -> Advice {
        self.administrator = Some(text.into());
        self
    }

    /// As the hint of an error: one or more lines.
    pub fn hint(&self) -> String {
        let mut text = self.cause.clone();
        for (who, what) in [
            ("you", &self.user),
            ("an administrator", &self.administrator),
        ] {
            if let Some(what) = what {
                text.push_str(&format!("\n{who}: {what}"));
            }
        }
        text
    }
}

/// Why namespaces are refused, by the kernel's answer and by what the machine
/// says itself.
pub fn namespaces(errno: Errno, limits: &NamespaceLimits) -> Option<Advice> {
    match errno {
        Errno::ENOSPC | Errno::EUSERS => Some(limit_reached(limits)),
        Errno::EPERM | Errno::EACCES => Some(forbidden(limits)),
        Errno::EINVAL => Some(Advice::new(
            "the kernel lacks a kind of namespace; Linux 5.11 has all",
        )),
        // So that callers try the older clone(2), which is refused as well.
        Errno::ENOSYS if limits.filtered => Some(filtered()),
        Errno::ENOSYS => {
            Some(Advice::new("this kernel has no clone3").administrator("run Linux 5.11 or later"))
        }
        _ => None,
    }
}

fn forbidden(limits: &NamespaceLimits) -> Advice {
    if limits.unprivileged_clone == Some(false) {
        Advice::new("user namespaces are switched off for ordinary users")
            .administrator(set_sysctl("kernel.unprivileged_userns_clone=1"))
    } else if limits.apparmor_restricts == Some(true) {
        apparmor(&limits.program)
    } else if limits.filtered {
        filtered()
    } else {
        Advice::new(
            "this process may not make user namespaces: the kernel forbids it in a chroot, and\n\
             security modules may forbid it anywhere",
        )
        .user("run bryo outside of the chroot")
    }
}

/// bryo runs below a seccomp filter, mostly that of a container.
fn filtered() -> Advice {
    Advice::new(
        "a seccomp filter around bryo forbids user namespaces, as the default one of most\n\
         containers does",
    )
    .user(
        "run bryo outside of that container, or start it with --security-opt seccomp=unconfined\n\
         (docker: --privileged)",
    )
}

/// A system call that is refused: by a kernel that does not have it, or by a
/// seccomp filter around bryo.
pub fn refused_call(errno: Errno, limits: &NamespaceLimits) -> Option<Advice> {
    let outside = "run bryo outside of that sandbox, or start the container around it with\n\
                   --security-opt seccomp=unconfined (docker: --privileged)";
    match (errno, limits.filtered) {
        (Errno::ENOSYS, true) => {
            Some(Advice::new("a seccomp filter around bryo hides this call").user(outside))
        }
        (Errno::ENOSYS, false) => Some(
            Advice::new("this kernel has no such call").administrator("run Linux 5.12 or later"),
        ),
        (Errno::EPERM, true) => {
            let cause = "a seccomp filter around bryo may be what refuses this call";
            Some(Advice::new(cause).user(outside))
        }
        _ => None,
    }
}

/// Programs in memory are refused (`vm.memfd_noexec`).
pub fn programs_in_memory() -> Advice {
    Advice::new("this machine forbids programs in memory, by which a container's command starts")
        .administrator(set_sysctl("vm.memfd_noexec=1"))
}

/// The kernel calls it ENOSPC.
fn limit_reached(limits: &NamespaceLimits) -> Advice {
    let none = limits.max.iter().find(|(_, max)| **max == 0);
    let (kind, max) = match none {
        Some((kind, _)) => (*kind, Some(0)),
        None => ("user", limits.max("user")),
    };
    let max = max.map_or_else(|| "unknown".to_owned(), |max| max.to_string());
    Advice::new(format!(
        "the limit of namespaces is reached (user.max_{kind}_namespaces is {max}; nesting ends\n\
         at 32). No disk is full"
    ))
    .administrator(set_sysctl(&format!("user.max_{kind}_namespaces=15000")))
}

/// For now, and for the next start of the machine.
fn set_sysctl(setting: &str) -> String {
    format!("sysctl -w {setting}\n(in /etc/sysctl.d/90-bryo.conf too, to keep it)")
}

/// The AppArmor profile that lets this program make user namespaces.
pub fn apparmor(program: &Path) -> Advice {
    Advice::new("AppArmor allows user namespaces to programs with a profile alone").administrator(
        format!(
            "write this to /etc/apparmor.d/bryo, then apparmor_parser -r /etc/apparmor.d/bryo\n\
             abi <abi/4.0>,\n\
             include <tunables/global>\n\
             profile bryo {} flags=(unconfined) {{\n\
             \x20 userns,\n\
             }}",
            quoted(program)
        ),
    )
}

/// A path for a profile: what would be a pattern or end it is escaped.
fn quoted(program: &Path) -> String {
    let text = program.display().to_string();
    let special = |c: char| "*?[]{}^\"\\".contains(c);
    if !text.contains(|c: char| special(c) || c.is_whitespace() || ",#()".contains(c)) {
        return text;
    }
    let escaped = text.chars().fold(String::new(), |mut escaped, c| {
        if special(c) {
            escaped.push('\\');
        }
        escaped.push(c);
        escaped
    });
    format!("\"{escaped}\"")
}

/// A kind of namespace that cannot be made, though others can.
pub fn namespace_kind(name: &str, errno: Errno, limits: &NamespaceLimits) -> Advice {
    let cause = format!("containers cannot have a {name} namespace of their own");
    match (errno, limits.max(name)) {
        (Errno::ENOSPC | Errno::EUSERS, Some(max)) => {
            Advice::new(format!("{cause}: user.max_{name}_namespaces is {max}"))
                .administrator(set_sysctl(&format!("user.max_{name}_namespaces=15000")))
        }
        _ => Advice::new(cause)
            .administrator("run a kernel that was built with all namespaces, Linux 5.11 or later"),
    }
}

/// Overlays are refused; `file_system` is the store's.
pub fn overlay(file_system: Option<&str>) -> Advice {
    let on = file_system.map_or_else(String::new, |name| format!(" (it is on {name})"));
    Advice::new(format!(
        "overlays of users need Linux 5.11 and a store on a local file system{on}"
    ))
    .user("set BRYO_ROOT to a directory on a local disk, inside a container to a volume")
}

/// Files of the store have no attributes of the user's.
pub fn attributes(file_system: Option<&str>) -> Advice {
    let on = file_system.unwrap_or("this file system");
    Advice::new(format!(
        "owners and device numbers inside containers cannot be recorded on {on}"
    ))
    .user("set BRYO_ROOT to a directory on ext4, xfs or btrfs")
}

/// The store cannot be used.
pub fn store(error: &str) -> Advice {
    Advice::new(format!(
        "there is no place for images and containers: {error}"
    ))
    .user("set BRYO_ROOT to a directory of your own")
}

/// The kernel refuses a new proc, sysfs or both, as `views` says.
pub fn fresh(views: &[&str]) -> Advice {
    Advice::new(format!(
        "containers see the {} of outside: the kernel allows a new one only where nothing of\n\
         the present one is hidden, as most containers do",
        views.join(" and ")
    ))
    .user(
        "start the outer container with --privileged (bryo), --security-opt unmask=ALL (podman)\n\
         or --security-opt systempaths=unconfined (docker)",
    )
}

/// The user has no subordinate ids; `name` is the user.
pub fn no_subordinate_ids(name: &str) -> Advice {
    Advice::new("containers have one id: their root is you, other owners are recorded, not real")
        .administrator(format!(
            "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}\n\
             (ids that no other line of /etc/subuid and /etc/subgid has)"
        ))
}

/// bryo runs in a namespace of one id.
pub fn one_id_outside() -> Advice {
    Advice::new("containers have one id, as the user namespace that bryo runs in")
        .user("start bryo outside of it, or give the outer container a range of ids")
}

/// There are ids, but nobody who could map them.
pub fn no_id_writer() -> Advice {
    Advice::new("nothing here may map your subordinate ids, so containers have one id")
        .administrator(
            "install newuidmap (Debian: uidmap, Fedora: shadow-utils), or bryo-idmap with\n\
         setcap cap_setuid,cap_setgid=ep",
        )
}

/// Lines of the subordinate files that grant nothing.
pub fn malformed_ids(file: &str, line: usize, text: &str, why: &str) -> Advice {
    Advice::new(format!("{file}, line {line} is not used: {why}: {text:?}"))
        .administrator(format!("correct {file}: name:start:count"))
}

/// The user has no subtree of control groups, or one without the controllers
/// `missing`; `subtree` is its directory, `systemd` the service manager.
pub fn delegation(
    systemd: bool,
    layout_is_v2: bool,
    missing: &[&str],
    subtree: Option<&Path>,
) -> Advice {
    let what = match missing.len() == WANTED.len() {
        true => "memory, processors and processes".to_owned(),
        false => missing.join(", "),
    };
    let advice = Advice::new(format!("containers cannot be limited in {what}"));
    let parent = subtree.and_then(Path::parent);
    advice.administrator(match (layout_is_v2, systemd, parent) {
        (true, true, _) => format!(
            "write this to /etc/systemd/system/user@.service.d/delegate.conf, then\n\
             systemctl daemon-reload; it holds from the next login on\n\
             [Service]\n\
             Delegate={}",
            WANTED.join(" ")
        ),
        (true, false, Some(parent)) => format!(
            "write \"+{}\" to {}/cgroup.subtree_control",
            missing.join(" +"),
            parent.display()
        ),
        (true, false, None) => {
            "give the user a directory of /sys/fs/cgroup, with its cgroup.procs \
                                and\ncgroup.subtree_control"
                .to_owned()
        }
        (false, true, _) => {
            "start the machine with systemd.unified_cgroup_hierarchy=1 on its command line"
                .to_owned()
        }
        (false, false, _) => {
            "mount control groups of version 2 alone, without version 1".to_owned()
        }
    })
}

/// A controller that systemd gives to nobody, as `hugetlb`.
pub fn further_controller() -> Advice {
    Advice::new(format!("systemd hands on {} alone", WANTED.join(", "))).administrator(
        "give the user a directory of /sys/fs/cgroup that has the controller, with its\n\
         cgroup.procs and cgroup.subtree_control",
    )
}

/// The user's processes end with the login.
pub fn linger(name: &str) -> Advice {
    Advice::new("containers are killed when you log out")
        .user("loginctl enable-linger")
        .administrator(format!("loginctl enable-linger {name}"))
}

/// There is no session of systemd's.
pub fn no_user_manager(name: &str) -> Advice {
    Advice::new("no manager of your services runs, so nobody can be asked for control groups")
        .user("log in by ssh or on a console: su and sudo make no session")
        .administrator(format!("loginctl enable-linger {name}"))
}

/// The runtime directory is a substitute.
pub fn no_runtime_dir() -> Advice {
    Advice::new("XDG_RUNTIME_DIR is not set; cleaners of /tmp may remove old sockets")
        .user("export XDG_RUNTIME_DIR=/run/user/$(id -u), if that directory exists")
}

/// The runtime directory is refused, for that reason.
pub fn bad_runtime_dir(cause: impl Into<String>) -> Advice {
    Advice::new(cause)
        .user("mkdir -m 700 ~/.run; export XDG_RUNTIME_DIR=~/.run")
        .administrator("remove what another user has put there")
}

/// `/dev/net/tun` cannot be opened.
pub fn tun(errno: Errno, in_container: bool) -> Advice {
    let cause = "containers cannot have a network of their own that reaches outside";
    device(
        Advice::new(cause),
        "tun",
        "/dev/net/tun",
        errno,
        in_container,
    )
}

/// `/dev/fuse` cannot be opened.
pub fn fuse(errno: Errno, in_container: bool) -> Advice {
    let cause = "FUSE file systems cannot be used in containers";
    device(Advice::new(cause), "fuse", "/dev/fuse", errno, in_container)
}

fn device(advice: Advice, module: &str, path: &str, errno: Errno, in_container: bool) -> Advice {
    match errno {
        Errno::EACCES | Errno::EPERM => advice.administrator(format!("chmod 0666 {path}")),
        _ if in_container => advice.user(format!("start the outer container with --device {path}")),
        _ => advice.administrator(format!("modprobe {module}")),
    }
}

/// The kernel is older than what bryo is made for.
pub fn old_kernel(lacks: &[&str]) -> Advice {
    Advice::new(format!("this kernel lacks {}", lacks.join(", ")))
        .administrator("run Linux 5.12 or later")
}

/// System calls cannot be answered by another process.
pub fn no_seccomp() -> Advice {
    Advice::new("containers run without a filter of system calls, or without recorded owners")
        .administrator("run a kernel with CONFIG_SECCOMP_FILTER, Linux 5.0 or later")
}

/// No group of the user's may send pings.
pub fn ping() -> Advice {
    Advice::new("pings from containers to the outside are not answered")
        .administrator(set_sysctl("net.ipv4.ping_group_range=\"0 2147483647\""))
}

/// Ports below `first` cannot be published.
pub fn low_ports(first: u32) -> Advice {
    Advice::new(format!(
        "ports below {first} of the host cannot be published"
    ))
    .user("publish a higher port, as -p 8080:80")
    .administrator(set_sysctl("net.ipv4.ip_unprivileged_port_start=80"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> NamespaceLimits {
        NamespaceLimits {
            max: [("user", 100), ("net", 50)].into(),
            program: "/usr/bin/bryo".into(),
            ..NamespaceLimits::default()
        }
    }

    #[test]
    fn the_cause_of_refused_namespaces() {
        let hint = |errno, limits: &NamespaceLimits| namespaces(errno, limits).unwrap().hint();
        let full = hint(Errno::ENOSPC, &limits());
        assert!(full.contains("user.max_user_namespaces is 100"), "{full}");
        assert!(full.contains("No disk is full"));
        let mut none = limits();
        none.max.insert("net", 0);
        assert!(hint(Errno::ENOSPC, &none).contains("user.max_net_namespaces=15000"));

        let mut off = limits();
        off.unprivileged_clone = Some(false);
        assert!(hint(Errno::EPERM, &off).contains("kernel.unprivileged_userns_clone=1"));
        let mut apparmor = limits();
        apparmor.apparmor_restricts = Some(true);
        let text = hint(Errno::EACCES, &apparmor);
        assert!(text.contains("\nprofile bryo /usr/bin/bryo flags=(unconfined) {\n  userns,\n}"));
        assert!(hint(Errno::EPERM, &limits()).contains("chroot"));
        let mut filtered = limits();
        filtered.filtered = true;
        for errno in [Errno::EPERM, Errno::ENOSYS] {
            assert!(hint(errno, &filtered).contains("seccomp=unconfined"));
            let refused = refused_call(errno, &filtered).unwrap().hint();
            assert!(refused.contains("seccomp=unconfined"), "{refused}");
        }
        let old = refused_call(Errno::ENOSYS, &limits()).unwrap().hint();
        assert!(old.contains("Linux 5.12"), "{old}");
        // Which is said of much else.
        assert_eq!(refused_call(Errno::EPERM, &limits()), None);
        assert_eq!(namespaces(Errno::EIO, &limits()), None);
    }

    #[test]
    fn a_profile_takes_the_path_literally() {
        assert_eq!(quoted(Path::new("/a/b-c_1.0")), "/a/b-c_1.0");
        assert_eq!(quoted(Path::new("/a b/{c}*")), "\"/a b/\\{c\\}\\*\"");
    }
}
