//! Tap devices: network interfaces whose other end is a descriptor
//! (Documentation/networking/tuntap.rst).

use super::error::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// The device that makes them.
pub const DEVICE: &str = "/dev/net/tun";

// <linux/if_tun.h>
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const TUNSETOFFLOAD: libc::c_ulong = 0x4004_54d0;
const SIOCGSKNS: libc::c_ulong = 0x894c;
const IFF_TAP: i16 = 0x0002;
const IFF_NO_PI: i16 = 0x1000;
const IFF_VNET_HDR: i16 = 0x4000;
const TUN_F_CSUM: libc::c_ulong = 0x01;
const TUN_F_TSO: libc::c_ulong = 0x02 | 0x04 | 0x08;
const TUN_F_USO: libc::c_ulong = 0x20 | 0x40;

/// Opens the device, to see whether it can be.
///
/// # Errors
/// ENOENT where there is none, EACCES or EPERM where it is not for everyone,
/// ENODEV without the kernel's module.
pub fn probe() -> Result<()> {
    let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    open(DEVICE, flags, Mode::empty())
        .map(drop)
        .call("open", || DEVICE)
}

/// Makes the interface `name` in the caller's network namespace. Its frames
/// are read and written with a `struct virtio_net_hdr` before each, without
/// waiting; as much as the kernel allows is left to who reads them: checksums,
/// and cutting TCP and UDP into packets.
///
/// # Errors
/// ENOENT or EACCES for the device, EPERM without CAP_NET_ADMIN over the
/// namespace, EBUSY for a name that is taken.
pub fn create(name: &str) -> Result<OwnedFd> {
    let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let tap = open(DEVICE, flags, Mode::empty()).call("open", || DEVICE)?;
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_flags: IFF_TAP | IFF_NO_PI | IFF_VNET_HDR,
        },
    };
    let bytes = name.bytes().take(libc::IFNAMSIZ - 1);
    for (to, from) in request.ifr_name.iter_mut().zip(bytes) {
        *to = from as libc::c_char;
    }
    // SAFETY: `request` is an ifreq with a terminated name and its flags set.
    let ret = unsafe { libc::ioctl(tap.as_raw_fd(), TUNSETIFF, &raw mut request) };
    Errno::result(ret).call("ioctl", || format!("TUNSETIFF, {name}"))?;
    // UDP since Linux 6.2.
    for offloads in [
        TUN_F_CSUM | TUN_F_TSO | TUN_F_USO,
        TUN_F_CSUM | TUN_F_TSO,
        TUN_F_CSUM,
    ] {
        // SAFETY: the argument is a plain number.
        let ret = unsafe { libc::ioctl(tap.as_raw_fd(), TUNSETOFFLOAD, offloads) };
        if ret == 0 {
            break;
        }
    }
    Ok(tap)
}

/// The network namespace that a tap was made in (Linux 5.2).
///
/// # Errors
/// EPERM without CAP_NET_ADMIN over it; EINVAL of an older kernel.
pub fn namespace(tap: &OwnedFd) -> Result<OwnedFd> {
    // SAFETY: this request takes no argument.
    let ret = unsafe { libc::ioctl(tap.as_raw_fd(), SIOCGSKNS) };
    let fd = Errno::result(ret).call("ioctl", || "SIOCGSKNS")?;
    // SAFETY: the kernel returned a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
