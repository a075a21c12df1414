//! Randomness from the kernel.

use super::error::{Context, Result};
use nix::errno::Errno;

/// Fills an array from getrandom(2), which does not fail for so few bytes
/// once the machine has booted.
///
/// # Errors
/// A sandbox refuses the call (ENOSYS, EPERM).
pub fn bytes<const N: usize>() -> Result<[u8; N]> {
    const { assert!(N <= 256, "getrandom may be interrupted for more") };
    let mut buffer = [0u8; N];
    // SAFETY: the buffer is valid for N bytes.
    let n = unsafe { libc::getrandom(buffer.as_mut_ptr().cast(), N, 0) };
    Errno::result(n).call("getrandom", || "random bytes")?;
    Ok(buffer)
}
