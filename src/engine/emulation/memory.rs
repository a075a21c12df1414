//! The memory of those who ask.

use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::unistd::Pid;
use std::io::{IoSlice, IoSliceMut};

/// Reads memory of thread `tid`; may read less.
pub fn read_memory(tid: i32, address: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
    let remote = [RemoteIoVec {
        base: address as usize,
        len: buffer.len(),
    }];
    process_vm_readv(Pid::from_raw(tid), &mut [IoSliceMut::new(buffer)], &remote)
}

/// Writes to memory of thread `tid`, all or EFAULT.
pub fn write_memory(tid: i32, address: u64, data: &[u8]) -> Result<(), Errno> {
    let remote = [RemoteIoVec {
        base: address as usize,
        len: data.len(),
    }];
    match process_vm_writev(Pid::from_raw(tid), &[IoSlice::new(data)], &remote)? {
        n if n == data.len() => Ok(()),
        _ => Err(Errno::EFAULT),
    }
}

/// A string that ends in NUL, of at most `limit` bytes with it. Reads up to
/// the end of each page, since the next one may not be mapped.
pub fn read_string(tid: i32, address: u64, limit: usize) -> Result<Vec<u8>, Errno> {
    let mut text = Vec::new();
    while text.len() < limit {
        let at = address + text.len() as u64;
        let rest_of_page = 4096 - (at % 4096) as usize;
        let mut chunk = vec![0; rest_of_page.min(limit - text.len())];
        let read = read_memory(tid, at, &mut chunk)?;
        if let Some(end) = chunk[..read].iter().position(|b| *b == 0) {
            text.extend_from_slice(&chunk[..end]);
            return Ok(text);
        }
        text.extend_from_slice(&chunk[..read]);
        if read == 0 {
            return Err(Errno::EFAULT);
        }
    }
    Err(Errno::ENAMETOOLONG)
}

/// A list of ids of `width` bytes each.
pub fn read_ids(tid: i32, count: u64, address: u64, width: usize) -> Result<Vec<u32>, Errno> {
    // NGROUPS_MAX of limits.h.
    let count = usize::try_from(count)
        .ok()
        .filter(|n| *n <= 65536)
        .ok_or(Errno::EINVAL)?;
    let mut bytes = vec![0; count * width];
    if count > 0 && read_memory(tid, address, &mut bytes)? != bytes.len() {
        return Err(Errno::EFAULT);
    }
    let ids = bytes.chunks_exact(width).map(|id| match *id {
        [a, b] => u32::from(u16::from_ne_bytes([a, b])),
        [a, b, c, d] => u32::from_ne_bytes([a, b, c, d]),
        _ => 0,
    });
    Ok(ids.collect())
}
