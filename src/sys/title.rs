//! What others see of a process: its name, its command line and its
//! environment.
//!
//! Everybody may read `/proc/PID/cmdline` (proc_pid_cmdline(5)), whoever may
//! trace the process also `/proc/PID/environ`. Both are read from where
//! execve(2) put them in the process's memory, one behind the other, so that
//! what is written there is what is seen (as setproctitle(3) does it).
//! `PR_SET_MM` (prctl(2)), the other way, needs privileges, or a kernel with
//! CONFIG_CHECKPOINT_RESTORE.

use std::ffi::{CStr, c_char, c_int};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

static COUNT: AtomicUsize = AtomicUsize::new(0);
static ARGUMENTS: AtomicPtr<*mut c_char> = AtomicPtr::new(ptr::null_mut());
static VARIABLES: AtomicPtr<*mut c_char> = AtomicPtr::new(ptr::null_mut());

/// Called by the C library before `main` with what that gets, as all of
/// `.init_array` is (glibc's `call_init`).
extern "C" fn remember(count: c_int, arguments: *mut *mut c_char, variables: *mut *mut c_char) {
    COUNT.store(usize::try_from(count).unwrap_or(0), Ordering::Relaxed);
    ARGUMENTS.store(arguments, Ordering::Relaxed);
    VARIABLES.store(variables, Ordering::Relaxed);
}

// SAFETY: the section holds functions of this type; this one calls nothing
// that would need the program to have begun.
#[used]
#[unsafe(link_section = ".init_array")]
static REMEMBER: extern "C" fn(c_int, *mut *mut c_char, *mut *mut c_char) = remember;

/// Where the kernel looks.
#[derive(Debug)]
struct Area {
    /// Address of the first argument.
    start: usize,
    /// Behind the last one; there the environment begins.
    arguments: usize,
    /// Behind the last variable.
    end: usize,
}

static AREA: OnceLock<Option<Area>> = OnceLock::new();

/// Takes the caller's command line and environment out of sight for good:
/// for processes that are cloned and have neither of their own. Variables can
/// be read on. The process must have one thread.
pub(super) fn hide() {
    // The copy is inherited by who is cloned from this process, as its memory
    // is.
    if AREA.get().is_none() {
        let area = find();
        if area.is_some() {
            keep_variables();
        }
        // Nobody else is there to set it.
        let _ = AREA.set(area);
        write(c"bryo");
    }
}

/// Gives a process that was cloned the name `name`, of at most 15 characters
/// (`PR_SET_NAME`), and `bryo: ` and `role` as command line.
pub fn set(name: &CStr, role: &str) {
    let _ = nix::sys::prctl::set_name(name);
    if let Ok(title) = std::ffi::CString::new(format!("bryo: {role}")) {
        write(&title);
    }
}

/// The area, as far as its strings lie behind each other, which is how
/// execve(2) leaves them.
fn find() -> Option<Area> {
    let count = COUNT.load(Ordering::Relaxed);
    let arguments = ARGUMENTS.load(Ordering::Relaxed);
    let mut variable = VARIABLES.load(Ordering::Relaxed);
    if count == 0 || arguments.is_null() || variable.is_null() {
        return None;
    }
    // SAFETY: `arguments` has `count` pointers to strings (execve(2)).
    let start = unsafe { *arguments } as usize;
    let mut arguments_end = start;
    for number in 0..count {
        // SAFETY: as above.
        arguments_end = behind(unsafe { *arguments.add(number) }, arguments_end)?;
    }
    let mut end = arguments_end;
    loop {
        // SAFETY: the list ends with a null pointer, at which this ends;
        // nothing has changed it, since the program sets no variables.
        let string = unsafe { *variable };
        if string.is_null() {
            break;
        }
        end = behind(string, end)?;
        // SAFETY: that was not the last one.
        variable = unsafe { variable.add(1) };
    }
    Some(Area {
        start,
        arguments: arguments_end,
        end,
    })
}

/// Where the next string begins, if `string` begins at `expected`.
fn behind(string: *const c_char, expected: usize) -> Option<usize> {
    if string as usize != expected {
        return None;
    }
    // SAFETY: one of the strings of execve(2).
    Some(expected + unsafe { CStr::from_ptr(string) }.count_bytes() + 1)
}

/// Moves the environment to where only this process looks for it.
fn keep_variables() {
    use std::os::unix::ffi::OsStringExt;
    let mut kept: Vec<*mut c_char> = Vec::new();
    for (name, value) in std::env::vars_os() {
        let line = [name.into_vec(), value.into_vec()].join(&b'=');
        if let Ok(line) = std::ffi::CString::new(line) {
            kept.push(line.into_raw());
        }
    }
    kept.push(ptr::null_mut());
    // SAFETY: the list and its strings are never freed; no other thread is
    // there to read the variable meanwhile.
    unsafe { environ = kept.leak().as_mut_ptr() };
}

unsafe extern "C" {
    /// The environment that the C library and the standard library read
    /// (environ(7)).
    static mut environ: *mut *mut c_char;
}

fn write(title: &CStr) {
    let Some(Some(area)) = AREA.get() else {
        return;
    };
    // SAFETY: execve(2) put the area there, writable and for as long as the
    // process lives; no other thread and no reference uses it: the variables
    // are elsewhere now, and arguments are copied when they are asked for.
    let bytes = unsafe {
        std::slice::from_raw_parts_mut(
            ptr::with_exposed_provenance_mut::<u8>(area.start),
            area.end - area.start,
        )
    };
    fill(bytes, area.arguments - area.start, title.to_bytes());
}

/// Puts `title` at the beginning of the area, as far as it fits, and nothing
/// else: if there is anything but a null byte at the end of the arguments, the
/// kernel shows the first string, however long, and not the whole of it.
fn fill(area: &mut [u8], arguments: usize, title: &[u8]) {
    area.fill(0);
    if let Some(last) = arguments.checked_sub(1) {
        area[last] = b'.';
    }
    // The last byte ends it.
    let length = title.len().min(area.len().saturating_sub(1));
    area[..length].copy_from_slice(&title[..length]);
    if length == arguments.wrapping_sub(1) {
        // The dot would be its end.
        area[length] = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel shows it (`get_mm_cmdline`).
    fn shown(area: &[u8], arguments: usize) -> Vec<u8> {
        match area[arguments - 1] {
            0 => area[..arguments].to_vec(),
            _ => area.iter().copied().take_while(|b| *b != 0).collect(),
        }
    }

    #[test]
    fn only_the_title_is_shown_whatever_its_length() {
        let secret = b"bryo\0run\0-e\0A=secret\0PASSWORD=secret\0";
        let arguments = 22;
        let title = [b't'; 60];
        for length in 0..title.len() {
            let mut area = secret.to_vec();
            fill(&mut area, arguments, &title[..length]);
            let mut expected = title[..length.min(area.len() - 1)].to_vec();
            if length == arguments - 1 {
                expected.push(0);
            }
            assert_eq!(shown(&area, arguments), expected);
            let behind = &area[expected.len().max(arguments)..];
            assert!(behind.iter().all(|b| *b == 0), "{length}: {area:?}");
        }
    }
}
