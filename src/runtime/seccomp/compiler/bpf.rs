//! Code generation. Jumps only go forward, so programs are written from their
//! end: whatever a jump skips is there already and has a length.

use super::{Instruction, Op, RET_KILL_PROCESS, Range, Test, Verdict};

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
pub const LD: u16 = 0x20;
pub const AND: u16 = 0x54;
pub const JA: u16 = 0x05;
pub const JEQ: u16 = 0x15;
pub const JGT: u16 = 0x25;
pub const JGE: u16 = 0x35;
pub const RET: u16 = 0x06;

/// A program from its last instruction to its first.
struct Backwards {
    reversed: Vec<Instruction>,
    /// Whether arguments have 64 bits in the section that is being written.
    wide: bool,
}

/// The whole program: pick the section by architecture, then the range by
/// number.
pub(super) fn program(sections: &[Section]) -> Vec<Instruction> {
    let mut program = Backwards {
        reversed: Vec::with_capacity(1024),
        wide: false,
    };
    program.op(RET, RET_KILL_PROCESS);
    for section in sections.iter().rev() {
        program.wide = section.wide;
        let end = program.here();
        program.search(&section.ranges);
        program.op(LD, NR);
        program.enter(JEQ, section.audit_arch, end);
    }
    program.op(LD, ARCH);
    program.reversed.reverse();
    program.reversed
}

impl Backwards {
    /// The place of what was written last.
    fn here(&self) -> usize {
        self.reversed.len()
    }

    fn op(&mut self, code: u16, k: u32) {
        let (jt, jf) = (0, 0);
        self.reversed.push(Instruction { code, jt, jf, k });
    }

    /// A conditional jump; a target is a place, or here where there is none.
    /// Targets must be within 255 instructions.
    fn jump(&mut self, code: u16, k: u32, holds: Option<usize>, fails: Option<usize>) {
        let distance = |target: Option<usize>| {
            let distance = target.map_or(0, |place| self.here() - place);
            u8::try_from(distance).expect("a short jump")
        };
        let (jt, jf) = (distance(holds), distance(fails));
        self.reversed.push(Instruction { code, jt, jf, k });
    }

    /// Goes on here if the comparison holds and at `end`, however far, if not.
    fn enter(&mut self, code: u16, k: u32, end: usize) {
        let length = self.here() - end;
        if length <= u8::MAX.into() {
            self.jump(code, k, None, Some(end));
        } else {
            let start = self.here();
            self.op(JA, length as u32);
            self.jump(code, k, Some(start), None);
        }
    }

    /// A balanced binary search for the number in the accumulator. Always
    /// returns.
    fn search(&mut self, ranges: &[Range]) {
        match ranges {
            [] => unreachable!("ranges start at 0"),
            [(_, Verdict::Return(action))] => self.op(RET, *action),
            [(_, Verdict::Ask(cases, otherwise))] => {
                self.op(RET, *otherwise);
                for (tests, answer) in cases.iter().rev() {
                    self.case(tests, *answer);
                }
            }
            _ => {
                let (below, above) = ranges.split_at(ranges.len() / 2);
                self.search(below);
                let end = self.here();
                self.search(above);
                self.enter(JGE, above[0].0, end);
            }
        }
    }

    /// Returns `answer` if all tests match, else goes on with what follows.
    fn case(&mut self, tests: &[Test], answer: u32) {
        // Six tests of at most seven instructions are a short jump; so are those
        // of two profiles.
        let end = self.here();
        self.op(RET, answer);
        for test in tests.iter().rev() {
            self.test(test, end);
        }
    }

    /// Goes on here if the test matches and at `end` if not.
    fn test(&mut self, test: &Test, end: usize) {
        // Little-endian machines keep the low word first.
        let low = ARGS + 8 * test.index;
        let (value_low, value_high) = (test.value as u32, (test.value >> 32) as u32);
        let (mask_low, mask_high) = (test.mask as u32, (test.mask >> 32) as u32);
        let (here, end) = (Some(self.here()), Some(end));
        // The comparison of the low words, and where it leads.
        let (code, holds, fails) = match test.op {
            Op::Eq | Op::MaskedEq => (JEQ, here, end),
            Op::Ne => (JEQ, end, here),
            Op::Gt => (JGT, here, end),
            Op::Le => (JGT, end, here),
            Op::Ge => (JGE, here, end),
            Op::Lt => (JGE, end, here),
        };
        self.jump(code, value_low, holds, fails);
        self.load(low, mask_low);
        if !self.wide || mask_high == 0 {
            return;
        }

        // The high words decide, unless they are equal.
        let (greater, less) = match test.op {
            Op::Eq | Op::MaskedEq => (end, end),
            Op::Ne => (here, here),
            Op::Gt | Op::Ge => (here, end),
            Op::Lt | Op::Le => (end, here),
        };
        self.jump(JEQ, value_high, None, less);
        if greater != less {
            self.jump(JGT, value_high, greater, None);
        }
        self.load(low + 4, mask_high);
    }

    /// Loads the word at `offset`, cut to the bits in `mask`.
    fn load(&mut self, offset: u32, mask: u32) {
        if mask != u32::MAX {
            self.op(AND, mask);
        }
        self.op(LD, offset);
    }
}
