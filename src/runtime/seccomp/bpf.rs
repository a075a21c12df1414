//! Code generation. Every fragment is self-contained: jumps stay inside, and
//! control leaves it only by a return or, where it says so, past its end; so
//! fragments are put together by concatenation.

use super::{Instruction, RET_KILL_PROCESS, Range, Rule, Test, Verdict};
use oci_spec::runtime::LinuxSeccompOperator as Op;

/// The code for one audit architecture.
pub(super) struct Section {
    pub audit_arch: u32,
    /// Whether arguments have 64 bits.
    pub wide: bool,
    /// Sorted, starting at 0.
    pub ranges: Vec<Range>,
}

/// Offsets in `struct seccomp_data` (`linux/seccomp.h`).
const NR: u32 = 0;
const ARCH: u32 = 4;
const ARGS: u32 = 16;

/// Opcodes (`linux/bpf_common.h`): load an absolute word, bitwise and with a
/// constant, the jumps, return a constant.
pub(super) const LD: u16 = 0x20;
pub(super) const AND: u16 = 0x54;
pub(super) const JA: u16 = 0x05;
pub(super) const JEQ: u16 = 0x15;
pub(super) const JGT: u16 = 0x25;
pub(super) const JGE: u16 = 0x35;
pub(super) const RET: u16 = 0x06;

fn op(code: u16, k: u32) -> Instruction {
    jump(code, k, 0, 0)
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

/// The whole program: pick the section by architecture, then the range by
/// number.
pub(super) fn program(sections: &[Section], rules: &[Rule], default: u32) -> Vec<Instruction> {
    let mut program = vec![op(LD, ARCH)];
    for section in sections {
        let mut body = vec![op(LD, NR)];
        body.extend(search(&section.ranges, section.wide, rules, default));
        branch(&mut program, JEQ, section.audit_arch, body);
    }
    program.push(op(RET, RET_KILL_PROCESS));
    program
}

/// Appends `body`, to be run if the comparison holds and skipped if not.
fn branch(program: &mut Vec<Instruction>, code: u16, k: u32, body: Vec<Instruction>) {
    match u8::try_from(body.len()) {
        Ok(length) => program.push(jump(code, k, 0, length)),
        Err(_) => program.extend([jump(code, k, 1, 0), op(JA, body.len() as u32)]),
    }
    program.extend(body);
}

/// A balanced binary search for the number in the accumulator; always
/// returns.
fn search(ranges: &[Range], wide: bool, rules: &[Rule], default: u32) -> Vec<Instruction> {
    match ranges {
        [] => unreachable!("ranges start at 0"),
        [(_, Verdict::Return(action))] => vec![op(RET, *action)],
        [(_, Verdict::Ask(questions))] => {
            let mut program = Vec::new();
            for (rule, tests) in questions {
                program.extend(alternative(tests, wide, rules[*rule].action));
            }
            program.push(op(RET, default));
            program
        }
        _ => {
            let (below, above) = ranges.split_at(ranges.len() / 2);
            let mut program = Vec::new();
            branch(
                &mut program,
                JGE,
                above[0].0,
                search(above, wide, rules, default),
            );
            program.extend(search(below, wide, rules, default));
            program
        }
    }
}

/// Returns `action` if all tests match, else continues past the end.
fn alternative(tests: &[Test], wide: bool, action: u32) -> Vec<Instruction> {
    // Built from the end, so that every test knows how far the way out is:
    // six tests of at most six instructions fit a jump's 255.
    let mut rest = vec![op(RET, action)];
    for test in tests.iter().rev() {
        let mut program = compare(test, wide, rest.len() as u8);
        program.append(&mut rest);
        rest = program;
    }
    rest
}

/// One test: falls out of the end of the fragment if it matches, and jumps
/// `beyond` instructions further if not.
fn compare(test: &Test, wide: bool, beyond: u8) -> Vec<Instruction> {
    // Little-endian machines keep the low word first.
    let low = ARGS + 8 * test.index;
    let (value_low, value_high) = (test.value as u32, (test.value >> 32) as u32);
    let (mask_low, mask_high) = (test.mask as u32, (test.mask >> 32) as u32);
    // The words' comparison once the higher ones are equal, and whether the
    // test wants it to hold.
    let (code, wanted) = match test.op {
        Op::ScmpCmpEq | Op::ScmpCmpMaskedEq => (JEQ, true),
        Op::ScmpCmpNe => (JEQ, false),
        Op::ScmpCmpGt => (JGT, true),
        Op::ScmpCmpLe => (JGT, false),
        Op::ScmpCmpGe => (JGE, true),
        Op::ScmpCmpLt => (JGE, false),
    };

    let mut program = vec![op(LD, low)];
    if mask_low != u32::MAX {
        program.push(op(AND, mask_low));
    }
    program.push(match wanted {
        true => jump(code, value_low, 0, beyond),
        false => jump(code, value_low, beyond, 0),
    });
    if !wide || mask_high == 0 {
        return program;
    }

    // The high words decide, unless they are equal.
    let skip = program.len() as u8;
    let out = skip + beyond;
    let mut high = vec![op(LD, low + 4)];
    if mask_high != u32::MAX {
        high.push(op(AND, mask_high));
    }
    match test.op {
        Op::ScmpCmpEq | Op::ScmpCmpMaskedEq => high.push(jump(JEQ, value_high, 0, out)),
        Op::ScmpCmpNe => high.push(jump(JEQ, value_high, 0, skip)),
        Op::ScmpCmpGt | Op::ScmpCmpGe => high.extend([
            jump(JGT, value_high, skip + 1, 0),
            jump(JEQ, value_high, 0, out),
        ]),
        Op::ScmpCmpLt | Op::ScmpCmpLe => high.extend([
            jump(JGT, value_high, out + 1, 0),
            jump(JEQ, value_high, 0, skip),
        ]),
    }
    high.extend(program);
    high
}
