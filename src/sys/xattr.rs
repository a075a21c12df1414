//! Extended attributes of open files (`xattr(7)`).
//!
//! The descriptor forms come first: a path would have to be resolved again,
//! and whoever owns the tree could change it in between.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;

/// Sets attribute `name` of the open file to `value`, making or replacing it.
pub fn set(file: impl AsFd, name: &CStr, value: &[u8]) -> nix::Result<()> {
    // SAFETY: `name` ends in NUL, `value` is readable for its length, and the
    // kernel keeps neither.
    let result = unsafe {
        libc::fsetxattr(
            file.as_fd().as_raw_fd(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    Errno::result(result).map(drop)
}

/// The value of attribute `name`; `None` if the file does not have it or its
/// file system has no attributes.
pub fn get(file: impl AsFd, name: &CStr) -> nix::Result<Option<Vec<u8>>> {
    let fd = file.as_fd().as_raw_fd();
    let read = |buffer: &mut [u8]| {
        // SAFETY: `name` ends in NUL and `buffer` is writable for its length;
        // a length of zero asks for the size only.
        let result =
            unsafe { libc::fgetxattr(fd, name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
        Errno::result(result).map(|n| n as usize)
    };
    match sized(64, read) {
        Ok(value) => Ok(Some(value)),
        Err(Errno::ENODATA | Errno::EOPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// As [`set`] for a path, which is followed; `/proc/self/fd/N` names a file
/// that is open with `O_PATH`, for which the descriptor forms do not work.
pub fn set_path(path: &str, name: &CStr, value: &[u8]) -> nix::Result<()> {
    let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
    // SAFETY: both strings end in NUL, `value` is readable for its length.
    let result = unsafe {
        libc::setxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    Errno::result(result).map(drop)
}

/// As [`get`] for a path; see [`set_path`].
pub fn get_path(path: &str, name: &CStr) -> nix::Result<Option<Vec<u8>>> {
    let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
    let read = |buffer: &mut [u8]| {
        let (data, size) = (buffer.as_mut_ptr().cast(), buffer.len());
        // SAFETY: both strings end in NUL, `buffer` is writable for its length.
        let result = unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), data, size) };
        Errno::result(result).map(|n| n as usize)
    };
    match sized(64, read) {
        Ok(value) => Ok(Some(value)),
        Err(Errno::ENODATA | Errno::EOPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Removes attribute `name`; see [`set_path`].
pub fn remove_path(path: &str, name: &CStr) -> nix::Result<()> {
    let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
    // SAFETY: both strings end in NUL.
    let result = unsafe { libc::removexattr(path.as_ptr(), name.as_ptr()) };
    Errno::result(result).map(drop)
}

/// The names of all attributes of the open file that the caller may see.
pub fn list(file: impl AsFd) -> nix::Result<Vec<CString>> {
    let fd = file.as_fd().as_raw_fd();
    names(|buffer| {
        // SAFETY: `buffer` is writable for its length; a length of zero asks
        // for the size only.
        let result = unsafe { libc::flistxattr(fd, buffer.as_mut_ptr().cast(), buffer.len()) };
        Errno::result(result).map(|n| n as usize)
    })
}

/// As [`list`] for a path; see [`set_path`].
pub fn list_path(path: &str) -> nix::Result<Vec<CString>> {
    let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
    names(|buffer| {
        let (data, size) = (buffer.as_mut_ptr().cast(), buffer.len());
        // SAFETY: `path` ends in NUL, `buffer` is writable for its length; a
        // length of zero asks for the size only.
        let result = unsafe { libc::listxattr(path.as_ptr(), data, size) };
        Errno::result(result).map(|n| n as usize)
    })
}

/// The names in the list that `read` gives.
fn names(read: impl Fn(&mut [u8]) -> nix::Result<usize>) -> nix::Result<Vec<CString>> {
    let names = match sized(256, read) {
        Ok(names) => names,
        Err(Errno::EOPNOTSUPP) => return Ok(Vec::new()),
        Err(errno) => return Err(errno),
    };
    Ok(names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| CString::new(name).expect("split at every NUL"))
        .collect())
}

/// Calls `read` with a buffer that grows until the answer fits.
fn sized(first: usize, read: impl Fn(&mut [u8]) -> nix::Result<usize>) -> nix::Result<Vec<u8>> {
    let mut buffer = vec![0; first];
    loop {
        match read(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::ERANGE) => buffer.resize(read(&mut [])?.max(buffer.len() * 2), 0),
            Err(errno) => return Err(errno),
        }
    }
}
