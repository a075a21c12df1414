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

mod bpf;
mod profile;
mod tables;
#[cfg(test)]
mod tests;

pub use profile::{Profile, Target};

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::{
    Arch, Capabilities, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag,
    LinuxSeccompOperator,
};
use std::borrow::Cow;

/// The architecture that this program is built for.
pub const NATIVE: Arch = if cfg!(target_arch = "x86_64") {
    Arch::ScmpArchX86_64
} else if cfg!(target_arch = "aarch64") {
    Arch::ScmpArchAarch64
} else {
    panic!("there is no system call table for this architecture")
};

/// The kernel that is assumed to be there at least: clone3(2) needs 5.3.
const OLDEST_KERNEL: (u32, u32) = (5, 3);

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

/// One classic BPF instruction, laid out as the kernel's `struct sock_filter`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Operation, addressing mode and size (`linux/bpf_common.h`).
    pub code: u16,
    /// How many instructions a conditional jump skips if it holds.
    pub jt: u8,
    /// How many it skips if not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

/// The filter of the built-in profile, `contrib/seccomp.json`, for a container
/// with this bounding set on this machine.
pub fn default_filter(capabilities: &Capabilities) -> Result<Filter> {
    let profile = default_profile()?.resolve(Target {
        capabilities,
        arch: NATIVE,
        kernel: OLDEST_KERNEL,
    })?;
    compile(&profile, NATIVE)
}

/// The built-in profile, to be resolved.
pub fn default_profile() -> Result<Profile> {
    Profile::parse(include_str!("../../../contrib/seccomp.json")).context("built-in profile")
}

/// Compiles `profile` for a machine of the architecture `native`. Listed
/// architectures that such a machine cannot run are left out.
///
/// Errors: an action or operator with a value it cannot have, a filter that
/// would be longer than the kernel takes (4096 instructions).
pub fn compile(profile: &LinuxSeccomp, native: Arch) -> Result<Filter> {
    let default = action(profile.default_action(), profile.default_errno_ret())
        .context("seccomp default action")?;
    ensure!(
        profile.default_action() != LinuxSeccompAction::ScmpActNotify,
        "seccomp default action cannot be SCMP_ACT_NOTIFY: the process could not even start"
    );
    let rules = rules(profile, default)?;
    let newer = match default & RET_ACTION {
        RET_ERRNO => RET_ERRNO | ENOSYS,
        _ => default,
    };

    let listed = profile.architectures().as_deref().unwrap_or_default();
    let machines = machines(native)
        .with_context(|| format!("seccomp: no system call table for {native}"))?
        .iter()
        .enumerate()
        .map(|(position, machine)| bpf::Section {
            audit_arch: machine.audit_arch,
            wide: machine.wide,
            ranges: machine.ranges(&rules, default, newer, |abi| {
                position == 0 && abi.arch == native || listed.contains(&abi.arch)
            }),
        })
        .filter(|section| section.ranges != [(0, Verdict::Return(RET_KILL_PROCESS))])
        .collect::<Vec<_>>();
    let program = bpf::program(&machines, &rules, default);
    ensure!(
        program.len() <= 4096,
        "seccomp filter has {} instructions, the kernel takes 4096",
        program.len()
    );

    let notify = rules.iter().any(|rule| rule.action == RET_USER_NOTIF);
    Ok(Filter {
        program: program.into(),
        flags: flags(profile, notify),
        notify,
    })
}

/// `SECCOMP_RET_*` of `linux/seccomp.h`: the action, and the mask that cuts
/// it from its 16 bits of data.
const RET_KILL_PROCESS: u32 = 0x8000_0000;
const RET_KILL_THREAD: u32 = 0;
const RET_TRAP: u32 = 0x0003_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const RET_USER_NOTIF: u32 = 0x7fc0_0000;
const RET_TRACE: u32 = 0x7ff0_0000;
const RET_LOG: u32 = 0x7ffc_0000;
const RET_ALLOW: u32 = 0x7fff_0000;
const RET_ACTION: u32 = 0xffff_0000;

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// What the filter returns for an OCI action.
fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Result<u32> {
    use LinuxSeccompAction::*;
    let with_data = |action| match errno.unwrap_or(EPERM) {
        // The kernel's own numbers end at MAX_ERRNO, 4095.
        errno @ 0..=0xffff => Ok(action | errno),
        errno => bail!("errno {errno} is out of range"),
    };
    let plain = match action {
        ScmpActErrno => return with_data(RET_ERRNO),
        ScmpActTrace => return with_data(RET_TRACE),
        ScmpActKill | ScmpActKillThread => RET_KILL_THREAD,
        ScmpActKillProcess => RET_KILL_PROCESS,
        ScmpActTrap => RET_TRAP,
        ScmpActNotify => RET_USER_NOTIF,
        ScmpActLog => RET_LOG,
        ScmpActAllow => RET_ALLOW,
    };
    ensure!(errno.is_none(), "{action} takes no errnoRet");
    Ok(plain)
}

/// `SECCOMP_FILTER_FLAG_*` for the profile. Without a list, speculation stays
/// as the machine has it, as in runc.
fn flags(profile: &LinuxSeccomp, notify: bool) -> u32 {
    use LinuxSeccompFilterFlag::*;
    const NEW_LISTENER: u32 = 1 << 3;
    let absent = [SeccompFilterFlagSpecAllow];
    let flags = profile.flags().as_deref().unwrap_or(&absent);
    flags
        .iter()
        .map(|flag| match flag {
            // The filter is installed by a process with a single thread, and
            // the kernel refuses the flag beside NEW_LISTENER.
            SeccompFilterFlagTsync => 0,
            SeccompFilterFlagLog => 1 << 1,
            SeccompFilterFlagSpecAllow => 1 << 2,
            // Refused unless there is a listener to wait for.
            SeccompFilterFlagWaitKillableRecv => u32::from(notify) << 5,
        })
        .fold(if notify { NEW_LISTENER } else { 0 }, |all, flag| {
            all | flag
        })
}

/// A rule of the profile, its arguments checked.
struct Rule<'a> {
    names: &'a [String],
    action: u32,
    /// One of these has to match; an empty list always does.
    alternatives: Vec<Vec<Test>>,
}

impl Rule<'_> {
    /// The numbers of those of its calls that are known.
    fn rows(&self) -> impl Iterator<Item = &'static [u32; 5]> {
        self.names.iter().filter_map(|name| tables::numbers(name))
    }
}

/// One comparison of a system call's argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Test {
    /// Which argument, 0 to 5.
    index: u32,
    op: LinuxSeccompOperator,
    /// What is compared with; for `SCMP_CMP_MASKED_EQ` below `mask`.
    value: u64,
    mask: u64,
}

/// The rules of the profile that differ from the default.
fn rules(profile: &LinuxSeccomp, default: u32) -> Result<Vec<Rule<'_>>> {
    let mut rules = Vec::new();
    for syscall in profile.syscalls().as_deref().unwrap_or_default() {
        let context = || format!("seccomp rule for {}", syscall.names().join(", "));
        let action = action(syscall.action(), syscall.errno_ret()).with_context(context)?;
        if action == default {
            continue;
        }
        let args = syscall.args().as_deref().unwrap_or_default();
        let tests = args
            .iter()
            .map(Test::new)
            .collect::<Result<Vec<_>>>()
            .with_context(context)?;
        let mut indices: Vec<_> = tests.iter().map(|test| test.index).collect();
        indices.sort_unstable();
        indices.dedup();
        let alternatives = match tests.len() {
            0 => Vec::new(),
            count if count == indices.len() => vec![tests],
            _ => tests.into_iter().map(|test| vec![test]).collect(),
        };
        rules.push(Rule {
            names: syscall.names(),
            action,
            alternatives,
        });
    }
    Ok(rules)
}

impl Test {
    fn new(arg: &LinuxSeccompArg) -> Result<Test> {
        ensure!(arg.index() < 6, "there is no argument {}", arg.index());
        let (value, mask) = match arg.op() {
            LinuxSeccompOperator::ScmpCmpMaskedEq => {
                (arg.value_two().unwrap_or(0) & arg.value(), arg.value())
            }
            _ => (arg.value(), u64::MAX),
        };
        Ok(Test {
            index: arg.index() as u32,
            op: arg.op(),
            value,
            mask,
        })
    }
}

/// A calling convention of the kernel, with a table of its own.
struct Abi {
    arch: Arch,
    /// The column of [`tables::SYSCALLS`].
    column: usize,
    /// Added to every number: x32 shares x86_64's audit architecture and is
    /// told apart by bit 30 (`__X32_SYSCALL_BIT`).
    base: u32,
    /// Numbers from here on are apart from the common sequence, so that they
    /// do not tell how far it goes: x32's own calls, ARM's private ones.
    apart: u32,
}

/// What the kernel tells a filter apart by `seccomp_data.arch`.
struct Machine {
    /// `AUDIT_ARCH_*` of `linux/audit.h`.
    audit_arch: u32,
    /// Whether arguments have 64 bits.
    wide: bool,
    abis: &'static [Abi],
}

/// What a machine of this architecture can run, its own first.
fn machines(native: Arch) -> Option<&'static [Machine]> {
    const X86: Machine = Machine {
        audit_arch: 0x4000_0003,
        wide: false,
        abis: &[Abi {
            arch: Arch::ScmpArchX86,
            column: 2,
            base: 0,
            apart: tables::NO,
        }],
    };
    const X86_64: Machine = Machine {
        audit_arch: 0xc000_003e,
        wide: true,
        abis: &[
            Abi {
                arch: Arch::ScmpArchX86_64,
                column: 0,
                base: 0,
                apart: tables::NO,
            },
            Abi {
                arch: Arch::ScmpArchX32,
                column: 1,
                base: 0x4000_0000,
                apart: tables::X32_OWN,
            },
        ],
    };
    const ARM: Machine = Machine {
        audit_arch: 0x4000_0028,
        wide: false,
        abis: &[Abi {
            arch: Arch::ScmpArchArm,
            column: 4,
            base: 0,
            apart: tables::ARM_PRIVATE,
        }],
    };
    const AARCH64: Machine = Machine {
        audit_arch: 0xc000_00b7,
        wide: true,
        abis: &[Abi {
            arch: Arch::ScmpArchAarch64,
            column: 3,
            base: 0,
            apart: tables::NO,
        }],
    };
    match native {
        Arch::ScmpArchX86_64 => Some(&[X86_64, X86]),
        Arch::ScmpArchAarch64 => Some(&[AARCH64, ARM]),
        _ => None,
    }
}

/// That a rule is about a system call of an ABI.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Mention {
    number: u32,
    rule: u32,
    /// Where the number is that of a multiplexed call, the operation that is
    /// meant, else 0.
    operation: u32,
}

impl Mention {
    fn operation_test(self) -> Test {
        Test {
            index: 0,
            op: LinuxSeccompOperator::ScmpCmpMaskedEq,
            value: self.operation.into(),
            // ipc(2) takes a version in the upper half.
            mask: 0xffff,
        }
    }
}

/// What a filter answers to one system call number.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// This, whatever the arguments.
    Return(u32),
    /// The first of these (rules and their alternatives, by position) that
    /// matches, else the default.
    Ask(Vec<(usize, Vec<Test>)>),
}

/// System call numbers from here up to the next range's.
type Range = (u32, Verdict);

impl Machine {
    /// Splits the whole space of numbers into ranges with the same verdict.
    fn ranges(
        &self,
        rules: &[Rule],
        default: u32,
        newer: u32,
        listed: impl Fn(&Abi) -> bool,
    ) -> Vec<Range> {
        let mut ranges = Vec::new();
        for abi in self.abis {
            if listed(abi) {
                abi.ranges(rules, default, newer, &mut ranges);
            } else {
                push(&mut ranges, abi.base, Verdict::Return(RET_KILL_PROCESS));
            }
        }
        ranges
    }
}

impl Abi {
    /// Adds this ABI's ranges, which start at its base and have no end.
    fn ranges(&self, rules: &[Rule], default: u32, newer: u32, ranges: &mut Vec<Range>) {
        let mentions = self.mentions(rules);
        let common = mentions.iter().filter(|call| call.number < self.apart);
        let last = common.map(|call| call.number).max();
        let unnamed = |number| match last {
            Some(last) if number > last => Verdict::Return(newer),
            _ => Verdict::Return(default),
        };
        push(ranges, self.base, unnamed(0));
        for group in mentions.chunk_by(|a, b| a.number == b.number) {
            let number = group[0].number;
            push(ranges, self.base + number, decide(rules, group));
            push(ranges, self.base + number + 1, unnamed(number + 1));
        }
    }

    /// What the rules name, sorted by number and then in the rules' order.
    fn mentions(&self, rules: &[Rule]) -> Vec<Mention> {
        let number = |numbers: &[u32; 5]| {
            let number = numbers[self.column];
            (number != tables::NO).then_some(number)
        };
        let mut mentions = Vec::with_capacity(512);
        for (rule, position) in rules.iter().zip(0..) {
            let mention = |number, operation| Mention {
                number,
                rule: position,
                operation,
            };
            mentions.extend(rule.rows().filter_map(number).map(|n| mention(n, 0)));
            if self.arch == Arch::ScmpArchX86 && rule.alternatives.is_empty() {
                let through = rule
                    .names
                    .iter()
                    .filter_map(|name| tables::multiplexed(name));
                mentions.extend(through.filter_map(|(call, operation)| {
                    Some(mention(number(tables::numbers(call)?)?, operation))
                }));
            }
        }
        mentions.sort_unstable();
        mentions
    }
}

/// What the rules say about the calls in `group`, all of one number.
fn decide(rules: &[Rule], group: &[Mention]) -> Verdict {
    let mut tests = Vec::new();
    for mention in group {
        let position = mention.rule as usize;
        let rule = &rules[position];
        if mention.operation != 0 {
            tests.push((position, vec![mention.operation_test()]));
        } else if rule.alternatives.is_empty() {
            return Verdict::Return(rule.action);
        } else {
            let alternatives = rule.alternatives.iter();
            tests.extend(alternatives.map(|tests| (position, tests.clone())));
        }
    }
    Verdict::Ask(tests)
}

/// Starts a new range at `start`, dropping an empty one before it and joining
/// equal neighbours.
fn push(ranges: &mut Vec<Range>, start: u32, verdict: Verdict) {
    ranges.pop_if(|last| last.0 == start);
    if ranges.last().is_none_or(|last| last.1 != verdict) {
        ranges.push((start, verdict));
    }
}
