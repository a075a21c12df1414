//! Names of the machine that nix does not set.

use super::error::{Context, Result};
use nix::errno::Errno;

/// Sets the NIS domain name of the caller's UTS namespace: setdomainname(2).
pub fn set_domain_name(name: &str) -> Result<()> {
    // SAFETY: the pointer is valid for the length given; no NUL is needed.
    let ret = unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) };
    Errno::result(ret).map(drop).call("setdomainname", || name)
}
