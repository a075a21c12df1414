//! The machine as a whole: its names, its memory.

use super::error::{Context, Result};
use nix::errno::Errno;

/// Sets the NIS domain name of the caller's UTS namespace: setdomainname(2).
pub fn set_domain_name(name: &str) -> Result<()> {
    // SAFETY: the pointer is valid for the length given; no NUL is needed.
    let ret = unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) };
    Errno::result(ret).map(drop).call("setdomainname", || name)
}

/// The machine's host name, or `localhost` if it has none.
pub fn name() -> String {
    let name = nix::unistd::gethostname().ok();
    let name = name
        .and_then(|n| n.into_string().ok())
        .filter(|n| !n.is_empty());
    name.unwrap_or_else(|| "localhost".into())
}

/// The machine's memory in bytes.
pub fn total_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}
