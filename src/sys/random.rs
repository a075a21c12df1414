//! Randomness from the kernel.

/// Fills an array from getrandom(2), which does not fail for so few bytes
/// once the machine has booted.
pub fn bytes<const N: usize>() -> [u8; N] {
    const { assert!(N <= 256, "getrandom may be interrupted for more") };
    let mut buffer = [0u8; N];
    // SAFETY: the buffer is valid for N bytes.
    let n = unsafe { libc::getrandom(buffer.as_mut_ptr().cast(), N, 0) };
    assert_eq!(n, N as isize, "getrandom");
    buffer
}
