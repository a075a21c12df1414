//! Seccomp profiles in the extended format of docker and podman: OCI seccomp
//! whose rules may hold only for some capabilities, architectures or kernels.

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{
    Arch, Capabilities, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg,
    LinuxSeccompFilterFlag, LinuxSyscall,
};
use serde::Deserialize;
use std::path::PathBuf;

/// A profile as written in a file: it still has to be resolved for one
/// container on one machine. Members that it does not know are ignored.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    default_action: LinuxSeccompAction,
    default_errno_ret: Option<u32>,
    architectures: Option<Vec<String>>,
    arch_map: Option<Vec<Machine>>,
    flags: Option<Vec<LinuxSeccompFilterFlag>>,
    listener_path: Option<PathBuf>,
    listener_metadata: Option<String>,
    syscalls: Option<Vec<Rule>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Machine {
    architecture: String,
    sub_architectures: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    /// The single name of docker's oldest files.
    name: Option<String>,
    names: Option<Vec<String>>,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    args: Option<Vec<LinuxSeccompArg>>,
    includes: Option<Condition>,
    excludes: Option<Condition>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// What the conditions of a profile are judged by.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The container's bounding set.
    pub capabilities: &'a Capabilities,
    /// The machine's own architecture, not a compatible one.
    pub arch: Arch,
    /// The running kernel's version and major revision: (6, 1) for 6.1.
    pub kernel: (u32, u32),
}

impl Profile {
    /// Reads a profile from JSON. Plain OCI seccomp is a profile too, one
    /// without conditions.
    pub fn parse(json: &str) -> Result<Profile> {
        serde_json::from_str(json).context("parse seccomp profile")
    }

    /// The OCI seccomp section for `target`: rules whose conditions do not
    /// hold are left out, the architecture map is reduced to the machine's.
    ///
    /// A rule applies if the bounding set holds *all* capabilities that it
    /// includes and *none* that it excludes, as docker reads the format.
    pub fn resolve(self, target: Target) -> Result<LinuxSeccomp> {
        let architectures = match (self.architectures, self.arch_map) {
            (Some(list), Some(map)) if !list.is_empty() && !map.is_empty() => {
                bail!("seccomp profile has both architectures and archMap")
            }
            (_, Some(map)) if !map.is_empty() => map
                .into_iter()
                .filter(|machine| parse_arch(&machine.architecture) == Some(target.arch))
                .flat_map(|machine| {
                    let compatible = machine.sub_architectures.unwrap_or_default();
                    std::iter::once(machine.architecture).chain(compatible)
                })
                .collect(),
            (list, _) => list.unwrap_or_default(),
        };

        let mut syscalls = Vec::new();
        for rule in self.syscalls.unwrap_or_default() {
            let names = match (rule.name, rule.names) {
                (Some(name), Some(names)) if !names.is_empty() => {
                    bail!("seccomp rule for {name} has both name and names")
                }
                (Some(name), _) => vec![name],
                (None, names) => names.unwrap_or_default(),
            };
            let context = || format!("seccomp rule for {}", names.join(", "));
            if let Some(includes) = &rule.includes
                && !includes.all_hold(target).with_context(context)?
            {
                continue;
            }
            if let Some(excludes) = &rule.excludes
                && excludes.any_holds(target).with_context(context)?
            {
                continue;
            }
            let mut syscall = LinuxSyscall::default();
            syscall.set_names(names);
            syscall.set_action(rule.action);
            syscall.set_errno_ret(rule.errno_ret);
            syscall.set_args(rule.args);
            syscalls.push(syscall);
        }

        let mut seccomp = LinuxSeccomp::default();
        seccomp.set_default_action(self.default_action);
        seccomp.set_default_errno_ret(self.default_errno_ret);
        // A name that is not known here is no architecture of this machine.
        let known = architectures.iter().filter_map(|name| parse_arch(name));
        seccomp.set_architectures(Some(known.collect()));
        seccomp.set_flags(self.flags);
        seccomp.set_listener_path(self.listener_path);
        seccomp.set_listener_metadata(self.listener_metadata);
        seccomp.set_syscalls(Some(syscalls));
        Ok(seccomp)
    }
}

impl Condition {
    /// Whether every condition that is stated holds.
    fn all_hold(&self, target: Target) -> Result<bool> {
        let caps = self.caps.as_deref().unwrap_or_default();
        let arches = self.arches.as_deref().unwrap_or_default();
        Ok(caps.iter().all(|name| target.holds(name))
            && (arches.is_empty() || arches.iter().any(|name| target.is(name)))
            && self.reached(target)?.unwrap_or(true))
    }

    /// Whether one of the conditions that are stated holds.
    fn any_holds(&self, target: Target) -> Result<bool> {
        let caps = self.caps.as_deref().unwrap_or_default();
        let arches = self.arches.as_deref().unwrap_or_default();
        Ok(caps.iter().any(|name| target.holds(name))
            || arches.iter().any(|name| target.is(name))
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

impl Target<'_> {
    /// Whether the bounding set has the capability of this name; one that is
    /// not known cannot be in it.
    fn holds(self, name: &str) -> bool {
        name.strip_prefix("CAP_")
            .unwrap_or(name)
            .parse::<Capability>()
            .is_ok_and(|capability| self.capabilities.contains(&capability))
    }

    /// Whether this is the architecture that profiles call `name`.
    fn is(self, name: &str) -> bool {
        name == match self.arch {
            Arch::ScmpArchX86_64 => "amd64",
            Arch::ScmpArchX32 => "x32",
            Arch::ScmpArchX86 => "x86",
            Arch::ScmpArchAarch64 => "arm64",
            Arch::ScmpArchArm => "arm",
            _ => return false,
        }
    }
}

fn parse_arch(name: &str) -> Option<Arch> {
    Arch::deserialize(serde::de::value::StrDeserializer::<serde::de::value::Error>::new(name)).ok()
}
