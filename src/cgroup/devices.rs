//! From rules about devices to a program for the kernel (runtime-spec,
//! config-linux.md, "Allowed Device list"; the kernel's
//! admin-guide/cgroup-v2.rst, "Device controller"). Pure.
//!
//! A later rule goes before an earlier one; what none speaks of is forbidden.

use crate::sys::bpf::Instruction;
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

const MKNOD: i32 = 1;
const READ: i32 = 2;
const WRITE: i32 = 4;

const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;

/// A rule in the kernel's numbers; nothing stands for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rule {
    allow: bool,
    kind: Option<i32>,
    major: Option<i32>,
    minor: Option<i32>,
    access: i32,
}

/// What every container may do, whatever its rules say (runtime-spec, "Default
/// Devices"; runc's list): make nodes, and use those that it has anyway.
const ALWAYS: [Rule; 10] = [
    always(CHARACTER, None, None, MKNOD),
    always(BLOCK, None, None, MKNOD),
    always(CHARACTER, Some(1), Some(3), MKNOD | READ | WRITE),
    always(CHARACTER, Some(1), Some(5), MKNOD | READ | WRITE),
    always(CHARACTER, Some(1), Some(7), MKNOD | READ | WRITE),
    always(CHARACTER, Some(1), Some(8), MKNOD | READ | WRITE),
    always(CHARACTER, Some(1), Some(9), MKNOD | READ | WRITE),
    always(CHARACTER, Some(5), Some(0), MKNOD | READ | WRITE),
    // Terminals of its own, and where they are made.
    always(CHARACTER, Some(5), Some(2), MKNOD | READ | WRITE),
    always(CHARACTER, Some(136), None, MKNOD | READ | WRITE),
];

const fn always(kind: i32, major: Option<i32>, minor: Option<i32>, access: i32) -> Rule {
    Rule {
        allow: true,
        kind: Some(kind),
        major,
        minor,
        access,
    }
}

impl Rule {
    /// A rule of a specification. A number that no device has speaks of none.
    fn of(rule: &LinuxDeviceCgroup) -> Option<Rule> {
        let number = |number: Option<i64>| match number {
            None | Some(-1) => Some(None),
            Some(number) => i32::try_from(number).ok().filter(|n| *n >= 0).map(Some),
        };
        let access = match rule.access().as_deref() {
            None | Some("") => MKNOD | READ | WRITE,
            Some(letters) => letters.chars().fold(0, |all, letter| {
                all | match letter {
                    'r' => READ,
                    'w' => WRITE,
                    'm' => MKNOD,
                    _ => 0,
                }
            }),
        };
        Some(Rule {
            allow: rule.allow(),
            kind: match rule.typ() {
                Some(LinuxDeviceType::B) => Some(BLOCK),
                Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(CHARACTER),
                Some(LinuxDeviceType::P) => return None,
                Some(LinuxDeviceType::A) | None => None,
            },
            major: number(rule.major())?,
            minor: number(rule.minor())?,
            access,
        })
    }

    fn is_everything(&self) -> bool {
        let all = MKNOD | READ | WRITE;
        (self.kind, self.major, self.minor, self.access) == (None, None, None, all)
    }
}

fn rules(rules: &[LinuxDeviceCgroup]) -> Vec<Rule> {
    rules.iter().filter_map(Rule::of).chain(ALWAYS).collect()
}

/// Whether rules allow everything, so that nobody has to watch.
pub fn allow_everything(all: &[LinuxDeviceCgroup]) -> bool {
    let all = rules(all);
    let last = all
        .iter()
        .rposition(|rule| rule.is_everything() && rule.allow);
    last.is_some_and(|last| all[last..].iter().all(|rule| rule.allow))
}

/// Registers: the context, what is asked, and a place for parts of it.
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const PART: u8 = 6;

const fn step(code: u8, to: u8, from: u8, offset: i16, operand: i32) -> Instruction {
    Instruction {
        code,
        registers: to | from << 4,
        offset,
        operand,
    }
}

/// Loads 32 bits.
const fn load(to: u8, offset: i16) -> Instruction {
    step(0x61, to, CONTEXT, offset, 0)
}

/// Of 32 bits, these.
const fn and(to: u8, mask: i32) -> Instruction {
    step(0x54, to, 0, 0, mask)
}

/// Skips so many unless it is that.
const fn unless(register: u8, value: i32, skip: i16) -> Instruction {
    step(0x56, register, 0, skip, value)
}

/// Ends with an answer: two instructions.
const fn answer(allow: bool) -> [Instruction; 2] {
    [step(0xb7, 0, 0, 0, allow as i32), step(0x95, 0, 0, 0, 0)]
}

/// The program of these rules.
pub fn program(all: &[LinuxDeviceCgroup]) -> Vec<Instruction> {
    // struct bpf_cgroup_dev_ctx: access and type, major, minor.
    let mut program = vec![
        load(KIND, 0),
        and(KIND, 0xffff),
        load(ACCESS, 0),
        // Shifted to the right.
        step(0x74, ACCESS, 0, 0, 16),
        load(MAJOR, 4),
        load(MINOR, 8),
    ];
    for rule in rules(all).iter().rev() {
        let end = match rule.allow {
            // What is allowed need not be asked about further.
            true => vec![and(ACCESS, !rule.access), unless(ACCESS, 0, 2)],
            false => vec![
                step(0xbc, PART, ACCESS, 0, 0),
                and(PART, rule.access),
                // Skipped if it is 0.
                step(0x16, PART, 0, 2, 0),
            ],
        };
        let matched = [(KIND, rule.kind), (MAJOR, rule.major), (MINOR, rule.minor)];
        let matched: Vec<(u8, i32)> = matched
            .into_iter()
            .filter_map(|(register, value)| Some((register, value?)))
            .collect();
        let rest = end.len() + 2;
        for (at, (register, value)) in matched.iter().enumerate() {
            let skip = (matched.len() - at - 1 + rest) as i16;
            program.push(unless(*register, *value, skip));
        }
        program.extend(end);
        program.extend(answer(rule.allow));
    }
    program.extend(answer(false));
    program
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn given(all: Value) -> Vec<LinuxDeviceCgroup> {
        serde_json::from_value(all).unwrap()
    }

    /// As the kernel would run it; panics where its verifier would refuse it.
    fn run(program: &[Instruction], kind: i32, access: i32, major: i32, minor: i32) -> bool {
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0_i32; 10];
        let mut at = 0;
        loop {
            let step = program[at];
            let (to, from) = (
                usize::from(step.registers & 15),
                usize::from(step.registers >> 4),
            );
            at += 1;
            let skip = step.offset as usize;
            match step.code {
                0x61 => registers[to] = context[skip / 4],
                0x54 => registers[to] &= step.operand,
                0x74 => registers[to] = (registers[to] as u32 >> step.operand) as i32,
                0xbc => registers[to] = registers[from],
                0xb7 => registers[to] = step.operand,
                0x56 if registers[to] != step.operand => at += skip,
                0x16 if registers[to] == step.operand => at += skip,
                0x56 | 0x16 => {}
                0x95 => return registers[0] == 1,
                other => panic!("{other:#x}"),
            }
        }
    }

    #[test]
    fn a_later_rule_goes_before_an_earlier_one() {
        let all = given(json!([
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"},
            {"allow": true, "type": "b", "major": 8, "access": "r"},
            {"allow": false, "type": "b", "major": 8, "minor": 1, "access": "rwm"},
        ]));
        let program = program(&all);
        let may = |kind, access, major, minor| run(&program, kind, access, major, minor);
        assert!(may(CHARACTER, READ | WRITE, 10, 229));
        assert!(!may(BLOCK, READ, 10, 229));
        assert!(may(BLOCK, READ, 8, 0) && !may(BLOCK, READ | WRITE, 8, 0));
        assert!(!may(BLOCK, READ, 8, 1) && !may(BLOCK, READ, 9, 0));
        // Those that all have; nodes may be made, and not be used.
        assert!(may(CHARACTER, READ | WRITE | MKNOD, 1, 3));
        assert!(may(CHARACTER, READ | WRITE, 136, 7));
        assert!(may(BLOCK, MKNOD, 9, 9) && !may(BLOCK, MKNOD | READ, 9, 9));
        assert!(!allow_everything(&all));
    }

    #[test]
    fn everything_and_nothing() {
        let nothing = program(&[]);
        assert!(!run(&nothing, BLOCK, READ, 8, 0));
        let open = given(json!([{"allow": true, "access": "rwm"}]));
        assert!(run(&program(&open), BLOCK, READ | WRITE | MKNOD, 8, 0));
        assert!(allow_everything(&open) && !allow_everything(&[]));
        let shut = given(json!([
            {"allow": true, "access": "rwm"},
            {"allow": false, "type": "b", "major": 8, "minor": 0},
        ]));
        assert!(!allow_everything(&shut));
        assert!(
            !run(&program(&shut), BLOCK, READ, 8, 0) && run(&program(&shut), BLOCK, READ, 8, 1)
        );
        // A number that none has.
        let odd = given(json!([{"allow": true, "type": "c", "major": -7, "access": "r"}]));
        assert_eq!(program(&odd), nothing);
    }
}
