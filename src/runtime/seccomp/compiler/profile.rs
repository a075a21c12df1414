//! Profiles as they are written: OCI seccomp, extended by docker and podman
//! with conditions.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// A profile; once resolved, without conditions and architecture map.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    pub default_action: Action,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_errno_ret: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architectures: Option<Vec<String>>,
    #[serde(skip_serializing)]
    arch_map: Option<Vec<Family>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flags: Option<Vec<Flag>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listener_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listener_metadata: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syscalls: Option<Vec<Syscall>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Family {
    architecture: String,
    sub_architectures: Option<Vec<String>>,
}

/// A rule.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Syscall {
    /// The single name of docker's oldest files.
    #[serde(skip_serializing)]
    name: Option<String>,
    names: Option<Vec<String>>,
    pub action: Action,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno_ret: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<Arg>>,
    #[serde(skip_serializing)]
    includes: Option<Condition>,
    #[serde(skip_serializing)]
    excludes: Option<Condition>,
}

/// A comparison of an argument.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Arg {
    pub index: u32,
    pub value: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_two: Option<u64>,
    pub op: Op,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// What happens to a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Action {
    #[serde(rename = "SCMP_ACT_KILL")]
    Kill,
    #[serde(rename = "SCMP_ACT_KILL_THREAD")]
    KillThread,
    #[serde(rename = "SCMP_ACT_KILL_PROCESS")]
    KillProcess,
    #[serde(rename = "SCMP_ACT_TRAP")]
    Trap,
    #[serde(rename = "SCMP_ACT_ERRNO")]
    Errno,
    #[serde(rename = "SCMP_ACT_TRACE")]
    Trace,
    #[serde(rename = "SCMP_ACT_ALLOW")]
    Allow,
    #[serde(rename = "SCMP_ACT_LOG")]
    Log,
    #[serde(rename = "SCMP_ACT_NOTIFY")]
    Notify,
}

/// How an argument is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Op {
    #[serde(rename = "SCMP_CMP_NE")]
    Ne,
    #[serde(rename = "SCMP_CMP_LT")]
    Lt,
    #[serde(rename = "SCMP_CMP_LE")]
    Le,
    #[serde(rename = "SCMP_CMP_EQ")]
    Eq,
    #[serde(rename = "SCMP_CMP_GE")]
    Ge,
    #[serde(rename = "SCMP_CMP_GT")]
    Gt,
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEq,
}

/// How a filter is installed.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub enum Flag {
    #[serde(rename = "SECCOMP_FILTER_FLAG_TSYNC")]
    Tsync,
    #[serde(rename = "SECCOMP_FILTER_FLAG_LOG")]
    Log,
    #[serde(rename = "SECCOMP_FILTER_FLAG_SPEC_ALLOW")]
    SpecAllow,
    #[serde(rename = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV")]
    WaitKillableRecv,
}

/// The ABIs that there are tables for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    X86_64,
    X32,
    X86,
    Aarch64,
    Arm,
}

impl Arch {
    /// By the name that OCI and libseccomp give it.
    pub fn named(name: &str) -> Option<Arch> {
        Some(match name {
            "SCMP_ARCH_X86_64" => Arch::X86_64,
            "SCMP_ARCH_X32" => Arch::X32,
            "SCMP_ARCH_X86" => Arch::X86,
            "SCMP_ARCH_AARCH64" => Arch::Aarch64,
            "SCMP_ARCH_ARM" => Arch::Arm,
            _ => return None,
        })
    }

    /// The name that conditions give it.
    fn in_conditions(self) -> &'static str {
        match self {
            Arch::X86_64 => "amd64",
            Arch::X32 => "x32",
            Arch::X86 => "x86",
            Arch::Aarch64 => "arm64",
            Arch::Arm => "arm",
        }
    }
}

/// What conditions are judged by.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// Whether the bounding set holds the capability of this name.
    pub holds: &'a dyn Fn(&str) -> bool,
    /// The machine's own architecture.
    pub arch: Arch,
    /// The kernel's version and major revision.
    pub kernel: (u32, u32),
}

impl Profile {
    /// Leaves out the rules whose conditions do not hold and the
    /// architectures of other machines.
    pub fn resolve(self, target: Target) -> Result<Profile> {
        let architectures = match (self.architectures, self.arch_map) {
            (Some(list), Some(map)) if !list.is_empty() && !map.is_empty() => {
                bail!("seccomp profile has both architectures and archMap")
            }
            (_, Some(map)) if !map.is_empty() => map
                .into_iter()
                .filter(|family| Arch::named(&family.architecture) == Some(target.arch))
                .flat_map(|family| {
                    let compatible = family.sub_architectures.unwrap_or_default();
                    std::iter::once(family.architecture).chain(compatible)
                })
                .collect(),
            // What has no table here is no architecture of this machine.
            (list, _) => {
                let mut list = list.unwrap_or_default();
                list.retain(|name| Arch::named(name).is_some());
                list
            }
        };
        let mut syscalls = self.syscalls.unwrap_or_default();
        let mut broken = Ok(());
        syscalls.retain_mut(|rule| {
            rule.resolve(target).unwrap_or_else(|error| {
                broken = Err(error);
                false
            })
        });
        broken?;
        Ok(Profile {
            architectures: Some(architectures),
            arch_map: None,
            syscalls: Some(syscalls),
            ..self
        })
    }

    /// The capabilities that conditions are about.
    #[allow(dead_code, reason = "for the build script")]
    pub fn capabilities(&self) -> Vec<&str> {
        let rules = self.syscalls.iter().flatten();
        let conditions = rules.flat_map(|rule| rule.includes.iter().chain(&rule.excludes));
        let names = conditions.flat_map(|condition| condition.caps.iter().flatten());
        let mut names: Vec<&str> = names.map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl Syscall {
    /// The system calls that the rule is about.
    pub fn names(&self) -> &[String] {
        self.names.as_deref().unwrap_or_default()
    }

    /// Whether the rule's conditions hold; drops them.
    fn resolve(&mut self, target: Target) -> Result<bool> {
        if let Some(name) = self.name.take() {
            if !self.names().is_empty() {
                bail!("seccomp rule for {name} has both name and names");
            }
            self.names = Some(vec![name]);
        }
        let (includes, excludes) = (self.includes.take(), self.excludes.take());
        let holds = || {
            let included = includes.map_or(Ok(true), |condition| condition.all_hold(target))?;
            let excluded = excludes.map_or(Ok(false), |condition| condition.any_holds(target))?;
            anyhow::Ok(included && !excluded)
        };
        holds().with_context(|| format!("seccomp rule for {}", self.names().join(", ")))
    }
}

impl Condition {
    fn caps(&self) -> &[String] {
        self.caps.as_deref().unwrap_or_default()
    }

    fn arches(&self) -> &[String] {
        self.arches.as_deref().unwrap_or_default()
    }

    /// Whether every condition that is stated holds.
    fn all_hold(&self, target: Target) -> Result<bool> {
        let arch = target.arch.in_conditions();
        Ok(self.caps().iter().all(|name| (target.holds)(name))
            && (self.arches().is_empty() || self.arches().iter().any(|name| name == arch))
            && self.reached(target)?.unwrap_or(true))
    }

    /// Whether one of the conditions that are stated holds.
    fn any_holds(&self, target: Target) -> Result<bool> {
        let arch = target.arch.in_conditions();
        Ok(self.caps().iter().any(|name| (target.holds)(name))
            || self.arches().iter().any(|name| name == arch)
            || self.reached(target)?.unwrap_or(false))
    }

    /// Whether the kernel is at least the one stated, if one is.
    fn reached(&self, target: Target) -> Result<Option<bool>> {
        let Some(version) = self.min_kernel.as_deref().filter(|v| !v.is_empty()) else {
            return Ok(None);
        };
        let (kernel, major) = version
            .split_once('.')
            .and_then(|(kernel, major)| Some((kernel.parse().ok()?, major.parse().ok()?)))
            .with_context(|| format!("minKernel {version:?} is not VERSION.MAJOR"))?;
        Ok(Some(target.kernel >= (kernel, major)))
    }
}
