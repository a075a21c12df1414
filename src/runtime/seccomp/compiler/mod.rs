//! The compiler proper. It knows nothing of the rest of the program, since the
//! build script includes it too, to compile the default profile ahead.

pub mod bpf;
mod profile;
pub mod tables;

pub use profile::{Action, Arch, Arg, Flag, Op, Profile, Target};

use super::Instruction;
use anyhow::{Context, Result, bail, ensure};

/// What becomes of a profile; see [`super::Filter`].
pub struct Compiled {
    /// The BPF program.
    pub program: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_*` bits.
    pub flags: u32,
    /// Whether a rule asks a listener.
    pub notify: bool,
}

/// Compiles `profile` for a machine of the architecture `native`. Listed
/// architectures that such a machine cannot run are left out.
///
/// Errors: an action or operator with a value it cannot have, a filter that
/// would be longer than the kernel takes (4096 instructions).
pub fn compile(profile: &Profile, native: Arch) -> Result<Compiled> {
    let (sections, notify) = sections(profile, native)?;
    finish(sections, flags(profile, notify), notify)
}

/// Compiles two profiles to one filter, which answers as both do when they are
/// in force together: of two answers the stricter one counts (seccomp(2)). The
/// flags are those of `profile`.
///
/// Errors: as of [`compile`].
#[allow(dead_code, reason = "for the build script")]
pub fn compile_both(profile: &Profile, other: &Profile, native: Arch) -> Result<Compiled> {
    let (sections_of, asks) = sections(profile, native)?;
    let (others, others_ask) = sections(other, native)?;
    let both = sections_of.into_iter().zip(others);
    let merged = both.map(|(one, other)| bpf::Section {
        ranges: merge(&one.ranges, &other.ranges),
        ..one
    });
    let notify = asks || others_ask;
    finish(merged.collect(), flags(profile, notify), notify)
}

fn finish(mut sections: Vec<bpf::Section>, flags: u32, notify: bool) -> Result<Compiled> {
    sections.retain(|section| section.ranges != [(0, Verdict::Return(RET_KILL_PROCESS))]);
    let program = bpf::program(&sections);
    ensure!(
        program.len() <= 4096,
        "seccomp filter has {} instructions, the kernel takes 4096",
        program.len()
    );
    Ok(Compiled {
        program,
        flags,
        notify,
    })
}

/// What `profile` answers, for each audit architecture of such a machine, and
/// whether it asks a listener.
fn sections(profile: &Profile, native: Arch) -> Result<(Vec<bpf::Section>, bool)> {
    let default = action(profile.default_action, profile.default_errno_ret)
        .context("seccomp default action")?;
    ensure!(
        profile.default_action != Action::Notify,
        "seccomp default action cannot be SCMP_ACT_NOTIFY: the process could not even start"
    );
    let rules = rules(profile, default)?;
    let newer = match default & RET_ACTION {
        RET_ERRNO => RET_ERRNO | ENOSYS,
        _ => default,
    };

    let names = profile.architectures.iter().flatten();
    let listed: Vec<_> = names.filter_map(|name| Arch::named(name)).collect();
    let sections = machines(native)
        .with_context(|| format!("seccomp: no filters for {native:?} machines"))?
        .iter()
        .enumerate()
        .map(|(position, machine)| bpf::Section {
            audit_arch: machine.audit_arch,
            wide: machine.wide,
            ranges: machine.ranges(&rules, default, newer, |abi| {
                position == 0 && abi.arch == native || listed.contains(&abi.arch)
            }),
        })
        .collect();
    let notify = rules.iter().any(|rule| rule.action == RET_USER_NOTIF);
    Ok((sections, notify))
}

/// `SECCOMP_RET_*` of `linux/seccomp.h`: the action, and the mask that cuts
/// it from its 16 bits of data.
pub const RET_KILL_PROCESS: u32 = 0x8000_0000;
pub const RET_KILL_THREAD: u32 = 0;
pub const RET_TRAP: u32 = 0x0003_0000;
pub const RET_ERRNO: u32 = 0x0005_0000;
pub const RET_USER_NOTIF: u32 = 0x7fc0_0000;
pub const RET_TRACE: u32 = 0x7ff0_0000;
pub const RET_LOG: u32 = 0x7ffc_0000;
pub const RET_ALLOW: u32 = 0x7fff_0000;
pub const RET_ACTION: u32 = 0xffff_0000;

pub const EPERM: u32 = 1;
pub const ENOSYS: u32 = 38;

/// What the filter returns for an OCI action.
fn action(action: Action, errno: Option<u32>) -> Result<u32> {
    let with_data = |action| match errno.unwrap_or(EPERM) {
        // The kernel's own numbers end at MAX_ERRNO, 4095.
        errno @ 0..=0xffff => Ok(action | errno),
        errno => bail!("errno {errno} is out of range"),
    };
    let plain = match action {
        Action::Errno => return with_data(RET_ERRNO),
        Action::Trace => return with_data(RET_TRACE),
        Action::Kill | Action::KillThread => RET_KILL_THREAD,
        Action::KillProcess => RET_KILL_PROCESS,
        Action::Trap => RET_TRAP,
        Action::Notify => RET_USER_NOTIF,
        Action::Log => RET_LOG,
        Action::Allow => RET_ALLOW,
    };
    ensure!(errno.is_none(), "{action:?} takes no errnoRet");
    Ok(plain)
}

/// `SECCOMP_FILTER_FLAG_*` for the profile. Without a list, speculation stays
/// as the machine has it, as in runc.
fn flags(profile: &Profile, notify: bool) -> u32 {
    const NEW_LISTENER: u32 = 1 << 3;
    let absent = [Flag::SpecAllow];
    let flags = profile.flags.as_deref().unwrap_or(&absent);
    flags
        .iter()
        .map(|flag| match flag {
            // The filter is installed by a process with a single thread, and
            // the kernel refuses the flag beside NEW_LISTENER.
            Flag::Tsync => 0,
            Flag::Log => 1 << 1,
            Flag::SpecAllow => 1 << 2,
            // Refused unless there is a listener to wait for.
            Flag::WaitKillableRecv => u32::from(notify) << 5,
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
    op: Op,
    /// What is compared with; for `SCMP_CMP_MASKED_EQ` below `mask`.
    value: u64,
    mask: u64,
}

/// The rules of the profile that differ from the default.
fn rules(profile: &Profile, default: u32) -> Result<Vec<Rule<'_>>> {
    let mut rules = Vec::new();
    for syscall in profile.syscalls.iter().flatten() {
        let context = || format!("seccomp rule for {}", syscall.names().join(", "));
        let action = action(syscall.action, syscall.errno_ret).with_context(context)?;
        if action == default {
            continue;
        }
        let args = syscall.args.as_deref().unwrap_or_default();
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
    fn new(arg: &Arg) -> Result<Test> {
        ensure!(arg.index < 6, "there is no argument {}", arg.index);
        let (value, mask) = match arg.op {
            Op::MaskedEq => (arg.value_two.unwrap_or(0) & arg.value, arg.value),
            _ => (arg.value, u64::MAX),
        };
        Ok(Test {
            index: arg.index,
            op: arg.op,
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
            arch: Arch::X86,
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
                arch: Arch::X86_64,
                column: 0,
                base: 0,
                apart: tables::NO,
            },
            Abi {
                arch: Arch::X32,
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
            arch: Arch::Arm,
            column: 4,
            base: 0,
            apart: tables::ARM_PRIVATE,
        }],
    };
    const AARCH64: Machine = Machine {
        audit_arch: 0xc000_00b7,
        wide: true,
        abis: &[Abi {
            arch: Arch::Aarch64,
            column: 3,
            base: 0,
            apart: tables::NO,
        }],
    };
    match native {
        Arch::X86_64 => Some(&[X86_64, X86]),
        Arch::Aarch64 => Some(&[AARCH64, ARM]),
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
            op: Op::MaskedEq,
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
    /// That of the first case that matches, all of whose tests have to, else the
    /// last one.
    Ask(Vec<(Vec<Test>, u32)>, u32),
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
            push(ranges, self.base + number, decide(rules, group, default));
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
            if self.arch == Arch::X86 && rule.alternatives.is_empty() {
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
fn decide(rules: &[Rule], group: &[Mention], default: u32) -> Verdict {
    let mut cases = Vec::new();
    for mention in group {
        let rule = &rules[mention.rule as usize];
        if mention.operation != 0 {
            cases.push((vec![mention.operation_test()], rule.action));
        } else if rule.alternatives.is_empty() {
            return Verdict::Return(rule.action);
        } else {
            let alternatives = rule.alternatives.iter();
            cases.extend(alternatives.map(|tests| (tests.clone(), rule.action)));
        }
    }
    Verdict::Ask(cases, default)
}

/// What is answered where both are: over the whole space of numbers.
#[allow(dead_code, reason = "for the build script")]
fn merge(one: &[Range], other: &[Range]) -> Vec<Range> {
    let (mut i, mut j) = (0, 0);
    let mut merged = Vec::with_capacity(one.len() + other.len());
    loop {
        let start = one[i].0.max(other[j].0);
        push(&mut merged, start, one[i].1.and(&other[j].1));
        let next = |ranges: &[Range], at: usize| ranges.get(at + 1).map(|range| range.0);
        match (next(one, i), next(other, j)) {
            (None, None) => return merged,
            (Some(a), Some(b)) if a == b => (i, j) = (i + 1, j + 1),
            (Some(a), b) if b.is_none_or(|b| a < b) => i += 1,
            _ => j += 1,
        }
    }
}

/// Of two answers the one that the kernel obeys, the first if they are of one
/// kind: actions are in order as signed numbers.
#[allow(dead_code, reason = "for the build script")]
fn stricter(one: u32, other: u32) -> u32 {
    let order = |answer: u32| (answer & RET_ACTION) as i32;
    match order(other) < order(one) {
        true => other,
        false => one,
    }
}

impl Verdict {
    /// This, but where the other one is stricter.
    #[allow(dead_code, reason = "for the build script")]
    fn and(&self, other: &Verdict) -> Verdict {
        let nothing: &[(Vec<Test>, u32)] = &[];
        let cases = |verdict| match verdict {
            &Verdict::Return(answer) => (nothing, answer),
            Verdict::Ask(cases, otherwise) => (&cases[..], *otherwise),
        };
        let ((ours, our_last), (theirs, their_last)) = (cases(self), cases(other));
        let always = [(Vec::new(), their_last)];
        let mut both = Vec::new();
        for (tests, answer) in ours {
            for (more, with) in theirs.iter().chain(&always) {
                let tests = tests.iter().chain(more).copied().collect();
                both.push((tests, stricter(*answer, *with)));
            }
        }
        let theirs = theirs.iter();
        both.extend(theirs.map(|(tests, with)| (tests.clone(), stricter(our_last, *with))));
        let last = stricter(our_last, their_last);
        while both.pop_if(|(_, answer)| *answer == last).is_some() {}
        match both.is_empty() {
            true => Verdict::Return(last),
            false => Verdict::Ask(both, last),
        }
    }
}

/// Starts a new range at `start`, dropping an empty one before it and joining
/// equal neighbours.
fn push(ranges: &mut Vec<Range>, start: u32, verdict: Verdict) {
    ranges.pop_if(|last| last.0 == start);
    if ranges.last().is_none_or(|last| last.1 != verdict) {
        ranges.push((start, verdict));
    }
}
