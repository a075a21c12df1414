//! The judgement of what was found. Pure.

use super::Machine;
use super::Tried;
use super::groups::WANTED;
use super::ids::Writer;
use super::remedy::{self, Advice};
use super::storage::Backing;
use super::text::CgroupLayout;
use crate::idmap::subid;
use serde::Serialize;

/// How good a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// As it should be.
    Good,
    /// Containers run, but something of them is less.
    Degraded,
    /// It is not there.
    Missing,
}

/// One thing that containers need or can use.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Finding {
    /// What it is.
    pub subject: &'static str,
    /// How good it is.
    pub grade: Grade,
    /// What was found.
    pub state: String,
    /// Without it there are no containers.
    pub essential: bool,
    /// What follows, and what to do; nothing where all is well.
    pub advice: Vec<Advice>,
}

/// The judgement.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Diagnosis {
    /// Containers can run.
    pub containers: bool,
    /// One by one.
    pub findings: Vec<Finding>,
}

fn good(subject: &'static str, state: impl Into<String>) -> Finding {
    Finding {
        subject,
        grade: Grade::Good,
        state: state.into(),
        essential: false,
        advice: Vec::new(),
    }
}

impl Finding {
    /// The worse grade, with advice.
    fn but(mut self, grade: Grade, advice: impl IntoIterator<Item = Advice>) -> Finding {
        self.grade = self.grade.max(grade);
        self.advice.extend(advice);
        self
    }

    fn essential(mut self) -> Finding {
        self.essential = true;
        self
    }
}

impl Machine {
    /// Judges it all.
    pub fn diagnose(&self) -> Diagnosis {
        let mut findings = vec![self.kernel(), self.namespaces(), self.seccomp()];
        // Without namespaces these could not be tried.
        if self.trial.isolates() {
            findings.push(self.kernel_views());
        }
        findings.push(self.store());
        if self.trial.isolates() && self.storage.error.is_none() {
            findings.extend([self.overlay(), self.attributes()]);
        }
        findings.extend([
            self.subordinate_ids(),
            self.control_groups(),
            self.user_session(),
            self.runtime_dir(),
            self.device("/dev/net/tun", self.tun, remedy::tun),
            self.device("/dev/fuse", self.fuse, remedy::fuse),
            self.ping(),
            self.ports(),
        ]);
        let fatal = |finding: &Finding| finding.essential && finding.grade == Grade::Missing;
        Diagnosis {
            containers: !findings.iter().any(fatal),
            findings,
        }
    }

    fn kernel(&self) -> Finding {
        let finding = good("kernel", format!("Linux {}", self.system.kernel)).essential();
        if self.system.openat2.errno().is_some() {
            let advice = remedy::old_kernel(&["openat2 (Linux 5.6)"]);
            return finding.but(Grade::Missing, [advice]);
        }
        let mut lacks = Vec::new();
        if self.trial.mount_setattr.errno().is_some() {
            lacks.push("recursive read-only mounts (Linux 5.12)");
        }
        let none = lacks.is_empty();
        let old = self.system.kernel_version.is_some_and(|v| v < (5, 11));
        if old {
            lacks.push("overlays for users (Linux 5.11)");
        }
        match none && !old {
            true => finding,
            false => finding.but(Grade::Degraded, [remedy::old_kernel(&lacks)]),
        }
    }

    fn namespaces(&self) -> Finding {
        // Namespaces below the first have no limit of their own.
        let max = self.limits.max("user").filter(|max| *max < 1 << 30);
        let max = max.map_or_else(String::new, |max| format!(", at most {max}"));
        if !self.trial.isolates() {
            let obstacle = self.trial.obstacle();
            let state = obstacle.map_or_else(
                || "not tried".to_owned(),
                |errno| Tried::Refused(errno).describe(),
            );
            let advice = obstacle.and_then(|errno| remedy::namespaces(errno, &self.limits));
            let advice = advice.unwrap_or_else(|| Advice::new("containers cannot be isolated"));
            let finding = good("user namespaces", state).essential();
            return finding.but(Grade::Missing, [advice]);
        }
        let refused = self.trial.namespaces.iter();
        let refused: Vec<Advice> = refused
            .filter_map(|kind| Some((kind.name, kind.tried.errno()?)))
            .map(|(name, errno)| remedy::namespace_kind(name, errno, &self.limits))
            .collect();
        let finding = good("user namespaces", format!("work{max}")).essential();
        match refused.is_empty() {
            true => finding,
            false => finding.but(Grade::Degraded, refused),
        }
    }

    fn seccomp(&self) -> Finding {
        let state = match (self.system.seccomp, self.system.seccomp_notify) {
            (true, true) => return good("seccomp", "filters, with notification"),
            (true, false) => "filters, without notification",
            (false, _) => "not there",
        };
        good("seccomp", state).but(Grade::Degraded, [remedy::no_seccomp()])
    }

    fn kernel_views(&self) -> Finding {
        let views = [("proc", self.trial.proc), ("sysfs", self.trial.sysfs)];
        let state = views.map(|(name, tried)| format!("{name} {}", tried.describe()));
        let refused = views.iter().filter(|(_, tried)| tried.errno().is_some());
        let refused: Vec<&str> = refused.map(|(name, _)| *name).collect();
        let finding = good("proc and sysfs", state.join(", "));
        match refused.is_empty() {
            true => finding,
            false => finding.but(Grade::Degraded, [remedy::fresh(&refused)]),
        }
    }

    fn store(&self) -> Finding {
        let storage = &self.storage;
        let on = storage.file_system.as_deref().unwrap_or("unknown");
        let place = match storage.place {
            Backing::Local | Backing::Union => "",
            Backing::Network => ", on the network",
            Backing::Memory => ", in memory",
        };
        let finding = good("store", format!("{} ({on}{place})", storage.root.display()));
        let finding = finding.essential();
        match &storage.error {
            Some(error) => finding.but(Grade::Missing, [remedy::store(error)]),
            None => finding,
        }
    }

    fn overlay(&self) -> Finding {
        let fstype = self.storage.file_system.as_deref();
        let trial = &self.trial;
        let state = match (trial.overlay, trial.overlay_write) {
            (Tried::Works, Tried::Works) => return good("overlay", "works on the store"),
            (Tried::Works, tried) => format!("mounted, but changes {}", tried.describe()),
            (tried, _) => tried.describe(),
        };
        let consequence = "images are copied, or changes kept in memory: slower, and more room";
        let advice = [Advice::new(consequence), remedy::overlay(fstype)];
        good("overlay", state).but(Grade::Degraded, advice)
    }

    fn attributes(&self) -> Finding {
        let tried = self.storage.attributes;
        let finding = good("file attributes", tried.describe());
        let fstype = self.storage.file_system.as_deref();
        match tried {
            Tried::Works => finding,
            Tried::Unknown => finding.but(Grade::Degraded, None),
            Tried::Refused(_) => finding.but(Grade::Degraded, [remedy::attributes(fstype)]),
        }
    }

    fn subordinate_ids(&self) -> Finding {
        let ids = &self.ids;
        if let Some(count) = ids.of_namespace() {
            let finding = good("subordinate ids", format!("{count} in this user namespace"));
            return match count > 1 && ids.writers.contains(&Writer::Itself) {
                true => finding,
                false => finding.but(Grade::Missing, [remedy::one_id_outside()]),
            };
        }
        let (users, groups) = (subid::total(&ids.users), subid::total(&ids.groups));
        let unfit = ids.unfit.iter().map(|helper| {
            Advice::new(format!(
                "{} cannot help: {}",
                helper.program.display(),
                helper.why
            ))
        });
        let malformed = ids
            .malformed
            .iter()
            .take(3)
            .map(|(file, line)| remedy::malformed_ids(file, line.line, &line.text, line.why));
        let finding = match (users, groups, ids.writers.first()) {
            (0, _, _) | (_, 0, _) => {
                let state = match (users, groups, &ids.service) {
                    (0, 0, None) => "none in /etc/subuid and /etc/subgid".to_owned(),
                    (0, 0, Some(service)) => format!("kept by {service}, which bryo cannot ask"),
                    (0, _, _) => "none in /etc/subuid".to_owned(),
                    _ => "none in /etc/subgid".to_owned(),
                };
                let advice = remedy::no_subordinate_ids(&ids.called());
                good("subordinate ids", state).but(Grade::Missing, [advice])
            }
            (_, _, None) => good("subordinate ids", format!("{users} users, {groups} groups"))
                .but(Grade::Degraded, [remedy::no_id_writer()])
                .but(Grade::Degraded, unfit),
            (_, _, Some(writer)) => {
                let state = format!("{users} users, {groups} groups; mapped by {writer}");
                good("subordinate ids", state)
            }
        };
        match ids.malformed.is_empty() {
            true => finding,
            false => finding.but(Grade::Degraded, malformed),
        }
    }

    fn control_groups(&self) -> Finding {
        let groups = &self.cgroups;
        let missing = groups.missing();
        let delegated = match &groups.delegation {
            None => "nothing delegated".to_owned(),
            Some(d) if d.controllers.is_empty() => "delegated without controllers".to_owned(),
            Some(d) => format!("delegated: {}", d.controllers.join(" ")),
        };
        let finding = good(
            "control groups",
            format!("{}, {delegated}", groups.layout.name()),
        );
        if missing.is_empty() {
            return finding;
        }
        let v2 = groups.layout == CgroupLayout::V2;
        let grade = match missing.len() == WANTED.len() {
            true => Grade::Missing,
            false => Grade::Degraded,
        };
        let subtree = groups.delegation.as_ref().map(|d| d.directory.as_path());
        let advice = remedy::delegation(self.session.systemd, v2, &missing, subtree);
        finding.but(grade, [advice])
    }

    fn user_session(&self) -> Finding {
        let session = &self.session;
        if !session.systemd {
            return good(
                "session",
                "systemd is not in charge: nothing ends with a login",
            );
        }
        let name = self.ids.called();
        let finding = match session.user_manager {
            true => good("session", "systemd's user manager runs"),
            false => good("session", "no user manager of systemd's")
                .but(Grade::Degraded, [remedy::no_user_manager(&name)]),
        };
        match session.linger {
            true => finding,
            false => finding.but(Grade::Degraded, [remedy::linger(&name)]),
        }
    }

    fn runtime_dir(&self) -> Finding {
        let session = &self.session;
        match (&session.runtime_dir, &session.runtime_error) {
            (Some(dir), _) => {
                let finding = good("runtime directory", dir.display().to_string());
                match session.runtime_substitute {
                    true => finding.but(Grade::Degraded, [remedy::no_runtime_dir()]),
                    false => finding,
                }
            }
            (None, error) => {
                let error = error.as_deref().unwrap_or("unknown");
                let advice =
                    remedy::bad_runtime_dir(format!("there is no safe place for sockets: {error}"));
                good("runtime directory", "refused").but(Grade::Missing, [advice])
            }
        }
    }

    fn device(
        &self,
        subject: &'static str,
        tried: Tried,
        advice: impl Fn(nix::errno::Errno, bool) -> Advice,
    ) -> Finding {
        let inside = self.system.inside.is_some();
        match tried.errno() {
            None => good(subject, "can be opened"),
            Some(errno) => {
                good(subject, tried.describe()).but(Grade::Missing, [advice(errno, inside)])
            }
        }
    }

    fn ping(&self) -> Finding {
        match self.network.ping {
            true => good("ping", "allowed to your groups"),
            false => {
                good("ping", "allowed to no group of yours").but(Grade::Degraded, [remedy::ping()])
            }
        }
    }

    fn ports(&self) -> Finding {
        match self.network.first_port {
            // What every machine has.
            Some(first) if first <= 1024 => good("ports", format!("from {first} on")),
            Some(first) => good("ports", format!("from {first} on"))
                .but(Grade::Degraded, [remedy::low_ports(first)]),
            None => good("ports", "not known"),
        }
    }
}
