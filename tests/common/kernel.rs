//! Other kernels and the sandboxes of others: commands below a filter by which
//! chosen system calls fail as they do there.

use bryo::sys::fd::open_in_root;
use bryo::sys::seccomp::{Instruction, confine};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use std::fs::File;
use std::thread;

/// A call that fails.
#[derive(Debug, Clone)]
struct Denied {
    /// Its number (`SYS_*`).
    number: i64,
    /// What it fails with.
    errno: Errno,
    /// Only with arguments like these, by their index.
    arguments: Vec<(u32, Like)>,
}

/// What the lower word of an argument is like.
#[derive(Debug, Clone, Copy)]
pub enum Like {
    /// It is this number.
    Is(u32),
    /// It has one of these bits.
    Has(u32),
}

/// Calls that fail, and the number from which on a kernel knows none.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    denied: Vec<Denied>,
    unknown_from: Option<i64>,
}

/// Instructions of classic BPF.
const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const IS: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const IS_AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
const HAS_BITS: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

/// Offsets in `struct seccomp_data`; words are little-endian wherever bryo runs.
const NUMBER: u32 = 0;
const ARGUMENTS: u32 = 16;

fn step(code: u32, operand: u32, (then, otherwise): (u8, u8)) -> Instruction {
    Instruction {
        code: code as u16,
        jt: then,
        jf: otherwise,
        k: operand,
    }
}

impl Filter {
    /// One by which nothing fails.
    pub fn new() -> Filter {
        Filter::default()
    }

    /// This call fails too.
    pub fn deny(self, number: i64, errno: Errno) -> Filter {
        self.deny_like(number, &[], errno)
    }

    /// This call fails too where its arguments, by their index, are like these.
    pub fn deny_like(mut self, number: i64, arguments: &[(u32, Like)], errno: Errno) -> Filter {
        self.denied.push(Denied {
            number,
            errno,
            arguments: arguments.to_vec(),
        });
        self
    }

    /// The kernel knows no call from this number on. All architectures have the
    /// same numbers from 424 on.
    pub fn unknown_from(mut self, number: i64) -> Filter {
        self.unknown_from = Some(number);
        self
    }

    fn program(&self) -> Vec<Instruction> {
        let fail = |errno: Errno| {
            let answer = libc::SECCOMP_RET_ERRNO | errno as u32;
            step(RETURN, answer, (0, 0))
        };
        let load = |offset| step(LOAD, offset, (0, 0));
        let mut program = vec![load(NUMBER)];
        if let Some(first) = self.unknown_from {
            program.push(step(IS_AT_LEAST, first as u32, (0, 1)));
            program.push(fail(Errno::ENOSYS));
        }
        for denied in &self.denied {
            let count = denied.arguments.len() as u8;
            let reload = u8::from(count > 0);
            // Past the conditions, the answer and what loads the number again.
            program.push(step(IS, denied.number as u32, (0, 2 * count + 1 + reload)));
            for (before, (index, like)) in denied.arguments.iter().enumerate() {
                let (code, operand) = match like {
                    Like::Is(number) => (IS, *number),
                    Like::Has(bits) => (HAS_BITS, *bits),
                };
                let left = count - before as u8 - 1;
                program.push(load(ARGUMENTS + 8 * index));
                program.push(step(code, operand, (0, 2 * left + 1)));
            }
            program.push(fail(denied.errno));
            program.extend((count > 0).then(|| load(NUMBER)));
        }
        program.push(step(RETURN, libc::SECCOMP_RET_ALLOW, (0, 0)));
        program
    }

    /// Does `work` in a thread of its own, so that the commands that it starts,
    /// and all that they start, are below the filter. The kernel wants
    /// no_new_privs for that: nobody gets ids from a set-user-ID helper there.
    pub fn around<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let program = self.program();
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                confine(&program, true).unwrap();
                work()
            });
            thread
                .join()
                .unwrap_or_else(|why| std::panic::resume_unwind(why))
        })
    }
}

#[test]
fn chosen_calls_fail_and_others_do_not() {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    use nix::unistd::{Whence, getpgid, getppid, lseek};
    let filter = Filter::new()
        .deny(libc::SYS_getpgid, Errno::EXDEV)
        .deny_like(
            libc::SYS_lseek,
            &[(1, Like::Has(4)), (2, Like::Is(libc::SEEK_SET as u32))],
            Errno::EXDEV,
        )
        .deny_like(
            libc::SYS_memfd_create,
            &[(1, Like::Has(libc::MFD_EXEC))],
            Errno::EINVAL,
        );
    let memory = |flags: u32| {
        let flags = MFdFlags::from_bits_retain(flags | libc::MFD_CLOEXEC);
        memfd_create(c"test", flags).map(drop)
    };
    let confined = || {
        let root = File::open("/").unwrap();
        let opened = open_in_root(root, "/".as_ref(), OFlag::O_PATH);
        opened.map(drop).map_err(|e| e.errno)
    };
    let file = File::open("/proc/self/status").unwrap();
    filter.around(|| {
        assert_eq!(getpgid(None), Err(Errno::EXDEV));
        assert!(getppid().as_raw() > 0);
        assert_eq!(memory(libc::MFD_EXEC), Err(Errno::EINVAL));
        assert_eq!(memory(0), Ok(()));
        assert_eq!(lseek(&file, 4, Whence::SeekSet), Err(Errno::EXDEV));
        // One of two conditions is not enough.
        assert_eq!(lseek(&file, 3, Whence::SeekSet), Ok(3));
        assert_eq!(lseek(&file, 4, Whence::SeekCur), Ok(7));
        assert_eq!(confined(), Ok(()));
    });
    let old = Filter::new().unknown_from(libc::SYS_openat2);
    old.around(|| assert_eq!(confined(), Err(Errno::ENOSYS)));
    // And in no other thread.
    assert!(getpgid(None).is_ok());
}
