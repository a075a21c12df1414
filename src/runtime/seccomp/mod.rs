//! Seccomp: OCI profiles compiled to classic BPF. Pure: nothing here touches
//! a file, the clock or the kernel; [`Filter`] is installed elsewhere.
//!
//! The rules mean what they mean to libseccomp and runc (runtime-spec 1.2,
//! "Seccomp"), and where those leave room, the following:
//!
//! - Names that no table has are skipped, as are rules that repeat the
//!   default action.
//! - Of the rules for one call, the first without arguments decides; without
//!   such a one, those with arguments are tried in order, then the default.
//! - The arguments of one rule must all match, unless two of them are about
//!   the same argument: then one is enough (as runc reads them).
//! - 32-bit ABIs compare the lower word, all others both words.
//! - On i386, rules without arguments also hold for `socketcall` and `ipc`,
//!   the other way to the same calls.
//! - Calls of an ABI that is not listed kill the process.
//! - Where the default is an error, calls newer than the newest one that the
//!   profile names fail with ENOSYS instead: C libraries take that as "old
//!   kernel" and fall back, but EPERM as a refusal.
//!
//! Unconditional answers look at the number only, which lets the kernel (5.11,
//! `SECCOMP_CACHE`) remember them and not run the filter at all.

mod compiler;
#[cfg(test)]
mod tests;

pub use crate::sys::seccomp::Instruction;

use anyhow::{Context, Result};
use compiler::Arch as Machine;
use oci_spec::runtime::{Arch, Capabilities, Capability, LinuxSeccomp};
use serde::Deserialize;
use std::borrow::Cow;

/// The architecture that this program is built for.
pub const NATIVE: Arch = if cfg!(target_arch = "x86_64") {
    Arch::ScmpArchX86_64
} else if cfg!(target_arch = "aarch64") {
    Arch::ScmpArchAarch64
} else {
    panic!("there is no system call table for this architecture")
};

/// A seccomp filter, ready for seccomp(2) `SECCOMP_SET_MODE_FILTER`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The BPF program, at most 4096 instructions.
    pub program: Cow<'static, [Instruction]>,
    /// `SECCOMP_FILTER_FLAG_*` bits, among them `NEW_LISTENER` if
    /// [`notify`](Self::notify) is set.
    pub flags: u32,
    /// Whether a rule asks a listener, so that installing the filter returns
    /// a notification descriptor.
    pub notify: bool,
}

/// The filter of the built-in profile, `contrib/seccomp.json`, for a container
/// with this bounding set on this machine.
pub fn default_filter(capabilities: &Capabilities) -> Result<Filter> {
    if let Some(filter) = made_ahead(capabilities, None) {
        return Ok(filter);
    }
    let profile = Profile::built_in()?.0.resolve(compiler::Target {
        holds: &|name| holds(capabilities, name),
        arch: machine(NATIVE)?,
        kernel: OLDEST_KERNEL,
    })?;
    Ok(compiler::compile(&profile, machine(NATIVE)?)?.into())
}

/// [`default_filter`] and that of `emulation` in one, which answers as both do
/// when they are in force together; `None` where it was not made ahead. The
/// kernel takes half as long for it.
pub fn default_emulating(capabilities: &Capabilities, emulation: RootEmulation) -> Option<Filter> {
    made_ahead(capabilities, Some(emulation))
}

fn made_ahead(capabilities: &Capabilities, emulates: Option<RootEmulation>) -> Option<Filter> {
    let held = |name: &&&str| holds(capabilities, name);
    let deciding: Vec<&str> = AHEAD.capabilities.iter().filter(held).copied().collect();
    let mut filters = AHEAD.filters.iter();
    let known = filters.find(|known| known.held == deciding && known.emulates == emulates)?;
    Some(Filter {
        program: known.program.into(),
        flags: known.flags,
        notify: emulates.is_some(),
    })
}

/// Compiles `profile` for a machine of the architecture `native`. Listed
/// architectures that such a machine cannot run are left out.
///
/// Errors: an action or operator with a value it cannot have, a filter that
/// would be longer than the kernel takes (4096 instructions).
pub fn compile(profile: &LinuxSeccomp, native: Arch) -> Result<Filter> {
    // The two types have the same JSON, which is the standard's.
    let json = serde_json::to_value(profile).context("seccomp section")?;
    let profile = compiler::Profile::deserialize(json).context("seccomp section")?;
    Ok(compiler::compile(&profile, machine(native)?)?.into())
}

/// A profile in the extended format of docker and podman: OCI seccomp whose
/// rules may hold only for some capabilities, architectures or kernels. It
/// still has to be resolved for one container on one machine.
#[derive(Debug)]
pub struct Profile(compiler::Profile);

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
    /// Reads a profile from JSON; members that it does not know are ignored.
    /// Plain OCI seccomp is a profile too, one without conditions.
    pub fn parse(json: &str) -> Result<Profile> {
        let profile = serde_json::from_str(json).context("parse seccomp profile")?;
        Ok(Profile(profile))
    }

    /// The built-in profile.
    pub fn built_in() -> Result<Profile> {
        Profile::parse(include_str!("../../../contrib/seccomp.json")).context("built-in profile")
    }

    /// The OCI seccomp section for `target`: rules whose conditions do not
    /// hold are left out, the architecture map is reduced to the machine's.
    ///
    /// A rule applies if the bounding set holds *all* capabilities that it
    /// includes and *none* that it excludes, as docker reads the format.
    pub fn resolve(self, target: Target) -> Result<LinuxSeccomp> {
        let resolved = self.0.resolve(compiler::Target {
            holds: &|name| holds(target.capabilities, name),
            arch: machine(target.arch)?,
            kernel: target.kernel,
        })?;
        let json = serde_json::to_value(resolved)?;
        serde_json::from_value(json).context("resolved seccomp profile")
    }
}

/// The kernel that is assumed to be there at least: clone3(2) needs 5.3.
const OLDEST_KERNEL: (u32, u32) = (5, 3);

/// What the build script compiled (`build.rs`): the start of a container does
/// not have the fraction of a millisecond that reading the profile takes.
struct Ahead {
    /// The capabilities that make a difference to the built-in profile.
    capabilities: &'static [&'static str],
    filters: &'static [AheadFilter],
}

struct AheadFilter {
    /// Those of the capabilities that it is for; no others.
    held: &'static [&'static str],
    /// The root emulation that is in it too.
    emulates: Option<RootEmulation>,
    flags: u32,
    program: &'static [Instruction],
}

static AHEAD: Ahead = include!(concat!(env!("OUT_DIR"), "/seccomp.rs"));

/// Which calls root emulation answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootEmulation {
    /// Those that a user without further ids is refused, and who one is.
    Refused,
    /// Those, and what files are.
    Full,
}

impl RootEmulation {
    const WORDS: [(RootEmulation, &str); 2] = [
        (RootEmulation::Refused, "true"),
        (RootEmulation::Full, "full"),
    ];

    /// The one that [`word`](Self::word) stands for.
    pub fn parse(word: &str) -> Option<RootEmulation> {
        let mut words = Self::WORDS.into_iter();
        words.find_map(|(this, its)| (its == word).then_some(this))
    }

    /// The word for it in the annotation of a spec.
    pub fn word(self) -> &'static str {
        let mut words = Self::WORDS.into_iter();
        words
            .find_map(|(this, its)| (this == self).then_some(its))
            .unwrap_or_default()
    }

    /// The filter that asks about its calls.
    pub fn filter(self) -> &'static [Instruction] {
        match self {
            RootEmulation::Refused => EMULATION,
            RootEmulation::Full => EMULATION_FULL,
        }
    }
}

/// The filter of root emulation (`emulation.json`): it asks its listener about
/// each call that a user without further ids is refused.
static EMULATION: &[Instruction] = include!(concat!(env!("OUT_DIR"), "/emulation.rs"));

/// [`EMULATION`], and what files are is asked about as well
/// (`emulation-full.json`).
static EMULATION_FULL: &[Instruction] = include!(concat!(env!("OUT_DIR"), "/emulation-full.rs"));

/// The filter of the process of user-mode networking (`translator.json`).
pub static TRANSLATOR: &[Instruction] = include!(concat!(env!("OUT_DIR"), "/translator.rs"));

/// The filter of processes that do nothing but wait, the keeper and `--init`'s
/// (`waiter.json`): what that takes, and no more.
pub static WAITER: &[Instruction] = include!(concat!(env!("OUT_DIR"), "/waiter.rs"));

/// The filter of processes that look after containers and start none any more
/// (`caretaker.json`): no program, no mount, and nothing of the kernel that
/// they have no use for.
pub static CARETAKER: &[Instruction] = include!(concat!(env!("OUT_DIR"), "/caretaker.rs"));

/// The filter of processes that start what runs in containers, which inherits
/// it (`starter.json`): what the kernel refuses to everybody in a user
/// namespace anyway, by the same error.
pub static STARTER: &[Instruction] = include!(concat!(env!("OUT_DIR"), "/starter.rs"));

/// The number of system call `name` in the ABI of `audit_arch`
/// (`AUDIT_ARCH_*`, `linux/audit.h`), if it has the call.
pub fn number(audit_arch: u32, name: &str) -> Option<u32> {
    let column = match audit_arch {
        0xc000_003e => 0,
        0x4000_0003 => 2,
        0xc000_00b7 => 3,
        0x4000_0028 => 4,
        _ => return None,
    };
    let numbers = compiler::tables::numbers(name)?;
    Some(numbers[column]).filter(|number| *number != compiler::tables::NO)
}

/// For the generated code: short.
const fn i(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
    Instruction { code, jt, jf, k }
}

/// Whether the set has the capability of this name, `CAP_…`; one that is not
/// known cannot be in it.
fn holds(capabilities: &Capabilities, name: &str) -> bool {
    let name = name.strip_prefix("CAP_").unwrap_or(name);
    let capability = name.parse::<Capability>();
    capability.is_ok_and(|capability| capabilities.contains(&capability))
}

fn machine(arch: Arch) -> Result<Machine> {
    Machine::named(&arch.to_string()).with_context(|| format!("seccomp: no filters for {arch}"))
}

impl From<compiler::Compiled> for Filter {
    fn from(compiled: compiler::Compiled) -> Filter {
        Filter {
            program: compiled.program.into(),
            flags: compiled.flags,
            notify: compiled.notify,
        }
    }
}
