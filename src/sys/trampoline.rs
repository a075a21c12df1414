//! The last step into a container.
//!
//! While execve(2) looks for the program, `/proc/self/exe` still names the
//! program that calls it. An image whose entry point is a link to
//! `/proc/self/exe`, or a script with it as interpreter, would so run bryo's
//! own binary inside the container and could then write to it
//! (CVE-2019-5736). So the process first becomes a program of one page in
//! anonymous memory, which executes the container's command: what
//! `/proc/self/exe` can name is that page, private to the process.

//!
//! It may wait before it does: at rest, a container that is made and not yet
//! started is this page.

use super::error::{Context, Error, Result};
use nix::errno::Errno;
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Descriptors of the page's own, at numbers that are the command's no more when
/// it is executed. They must not be close-on-exec before the page runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    /// On which it reports a failed execve, as four bytes of errno in native
    /// order.
    pub report: i32,
    /// From which it reads a byte first, if it is to wait. Without a byte, at the
    /// end or on an error, it ends with code 127.
    pub gate: Option<i32>,
}

// The stack at entry: argc, argv[0] (the path to execute), argv[1..] (its
// arguments), NULL, the environment. In C, with `report` and `gate` in the two
// words at the end:
//   char byte;
//   if (fcntl(report, F_SETFD, FD_CLOEXEC) == 0) {
//     if (gate >= 0) {
//       fcntl(gate, F_SETFD, FD_CLOEXEC);
//       while ((got = read(gate, &byte, 1)) == -EINTR);
//       if (got != 1) _exit(127);
//     }
//     execve(argv[0], argv + 1, envp);
//   }
//   write(report, &errno, 4); _exit(127);
#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".pushsection .rodata.bryo_trampoline, \"a\", @progbits",
    ".global bryo_trampoline_start",
    ".global bryo_trampoline_end",
    "bryo_trampoline_start:",
    "mov eax, 72",
    "mov edi, dword ptr [rip + .Lbryo_report]",
    "mov esi, 2",
    "mov edx, 1",
    "syscall",
    "test eax, eax",
    "jnz .Lbryo_failed",
    "mov edi, dword ptr [rip + .Lbryo_gate]",
    "test edi, edi",
    "js .Lbryo_execute",
    "mov eax, 72",
    "syscall",
    ".Lbryo_wait:",
    "xor eax, eax",
    "lea rsi, [rsp - 8]",
    "syscall",
    "cmp eax, 1",
    "je .Lbryo_execute",
    "cmp eax, -4",
    "je .Lbryo_wait",
    "jmp .Lbryo_end",
    ".Lbryo_execute:",
    "mov rdi, [rsp + 8]",
    "lea rsi, [rsp + 16]",
    "mov rax, [rsp]",
    "lea rdx, [rsp + rax * 8 + 16]",
    "mov eax, 59",
    "syscall",
    ".Lbryo_failed:",
    "neg eax",
    "push rax",
    "mov eax, 1",
    "mov edi, dword ptr [rip + .Lbryo_report]",
    "mov rsi, rsp",
    "mov edx, 4",
    "syscall",
    ".Lbryo_end:",
    "mov eax, 231",
    "mov edi, 127",
    "syscall",
    "ud2",
    ".balign 4",
    ".Lbryo_report:",
    ".long 0",
    ".Lbryo_gate:",
    ".long 0",
    "bryo_trampoline_end:",
    ".popsection",
);

#[cfg(target_arch = "aarch64")]
std::arch::global_asm!(
    ".pushsection .rodata.bryo_trampoline, \"a\", %progbits",
    ".balign 4",
    ".global bryo_trampoline_start",
    ".global bryo_trampoline_end",
    "bryo_trampoline_start:",
    "mov x8, #25",
    "ldr w0, .Lbryo_report",
    "mov x1, #2",
    "mov x2, #1",
    "svc #0",
    "cbnz x0, .Lbryo_failed",
    "ldr w9, .Lbryo_gate",
    "tbnz w9, #31, .Lbryo_execute",
    "mov w0, w9",
    "svc #0",
    "mov x8, #63",
    ".Lbryo_wait:",
    "mov w0, w9",
    "sub x1, sp, #16",
    "mov x2, #1",
    "svc #0",
    "cmp x0, #1",
    "b.eq .Lbryo_execute",
    "cmn x0, #4",
    "b.eq .Lbryo_wait",
    "b .Lbryo_end",
    ".Lbryo_execute:",
    "ldr x9, [sp]",
    "ldr x0, [sp, #8]",
    "add x1, sp, #16",
    "add x2, sp, x9, lsl #3",
    "add x2, x2, #16",
    "mov x8, #221",
    "svc #0",
    ".Lbryo_failed:",
    "neg x0, x0",
    "str x0, [sp, #-16]!",
    "mov x8, #64",
    "ldr w0, .Lbryo_report",
    "mov x1, sp",
    "mov x2, #4",
    "svc #0",
    ".Lbryo_end:",
    "mov x8, #94",
    "mov x0, #127",
    "svc #0",
    "brk #1",
    ".Lbryo_report:",
    ".long 0",
    ".Lbryo_gate:",
    ".long 0",
    "bryo_trampoline_end:",
    ".popsection",
);

unsafe extern "C" {
    static bryo_trampoline_start: u8;
    static bryo_trampoline_end: u8;
}

const BASE: u64 = 0x40_0000;
const HEADERS: usize = 64 + 2 * 56;

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;

/// The page as an ELF executable: headers, one segment, the code above.
fn image(descriptors: Descriptors) -> Vec<u8> {
    let start = &raw const bryo_trampoline_start;
    let end = &raw const bryo_trampoline_end;
    // SAFETY: both symbols bound one array of bytes in .rodata.
    let code = unsafe { std::slice::from_raw_parts(start, end.offset_from_unsigned(start)) };
    let size = (HEADERS + code.len()) as u64;
    let mut elf = Vec::with_capacity(size as usize);
    elf.extend([0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    elf.extend(2u16.to_le_bytes()); // ET_EXEC
    elf.extend(MACHINE.to_le_bytes());
    elf.extend(1u32.to_le_bytes());
    elf.extend((BASE + HEADERS as u64).to_le_bytes()); // entry
    elf.extend(64u64.to_le_bytes()); // program headers
    elf.extend(0u64.to_le_bytes());
    elf.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 2, 0, 0, 0] {
        elf.extend(half.to_le_bytes());
    }
    // PT_LOAD of the whole file, readable and executable.
    elf.extend(1u32.to_le_bytes());
    elf.extend(5u32.to_le_bytes());
    for word in [0, BASE, BASE, size, size, 0x1000] {
        elf.extend(word.to_le_bytes());
    }
    // PT_GNU_STACK: a stack that is not executable.
    elf.extend(0x6474_e551u32.to_le_bytes());
    elf.extend(6u32.to_le_bytes());
    for word in [0u64, 0, 0, 0, 0, 16] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(&code[..code.len() - 8]);
    elf.extend(descriptors.report.to_ne_bytes());
    elf.extend(descriptors.gate.unwrap_or(-1).to_ne_bytes());
    elf
}

/// A memory file that holds the page.
///
/// # Errors
/// EACCES where `vm.memfd_noexec` forbids executable memory files.
pub fn prepare(descriptors: Descriptors) -> Result<OwnedFd> {
    let flags = |exec: u32| libc::MFD_CLOEXEC | exec;
    let create = |flags: u32| {
        // SAFETY: the name is NUL-terminated.
        let raw = unsafe { libc::memfd_create(c"bryo".as_ptr(), flags) };
        Errno::result(raw)
    };
    // Kernels before 6.3 do not know MFD_EXEC.
    let raw = create(flags(libc::MFD_EXEC))
        .or_else(|e| match e {
            Errno::EINVAL => create(flags(0)),
            e => Err(e),
        })
        .call("memfd_create", || "executable")?;
    // SAFETY: a new descriptor that is ours.
    let fd = unsafe { OwnedFd::from_raw_fd(raw) };
    let image = image(descriptors);
    match nix::unistd::write(&fd, &image).call("write", || "memory file")? {
        n if n == image.len() => Ok(fd),
        _ => Err(Error::new("write", "memory file", Errno::EIO)),
    }
}

/// Becomes the page, which executes `path` with `args` and `env` and reports
/// a failure on the [descriptor](Descriptors) for that. Returns only on failure.
pub fn execute(page: &OwnedFd, path: &CStr, args: &[CString], env: &[CString]) -> Error {
    let mut argv: Vec<*const libc::c_char> = Vec::with_capacity(args.len() + 2);
    argv.push(path.as_ptr());
    argv.extend(args.iter().map(|a| a.as_ptr()));
    argv.push(std::ptr::null());
    let mut envp: Vec<*const libc::c_char> = env.iter().map(|e| e.as_ptr()).collect();
    envp.push(std::ptr::null());
    // SAFETY: both arrays end in null and point to NUL-terminated strings
    // that outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            page.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    Error::new("execveat", "memory file", Errno::last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_a_small_elf_file() {
        let image = image(Descriptors {
            report: 3,
            gate: Some(4),
        });
        assert_eq!(&image[..4], b"\x7fELF");
        assert_eq!(image[image.len() - 8..], [3, 0, 0, 0, 4, 0, 0, 0]);
        assert!(image.len() < 512, "{} bytes", image.len());
    }
}
