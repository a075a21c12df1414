//! Looking at the packets of a network namespace: packet(7), with a ring that
//! the kernel writes to (Documentation/networking/packet_mmap.rst).

use super::error::{Context, Result};
use nix::errno::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Bytes of a place in the ring: the longest packet and what is said of it.
const PLACE: usize = 1 << 17;
/// Places in the ring.
const PLACES: usize = 128;
/// Index of the loopback in every network namespace.
const LOOPBACK: i32 = 1;

/// A socket that hears all packets of the network namespace in which it was
/// made, and the ring that they are in.
#[derive(Debug)]
pub struct Packets {
    socket: OwnedFd,
    ring: *mut u8,
    next: usize,
}

/// A packet.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// When it came or went, since 1970.
    pub at: Duration,
    /// Its length, of which `data` may be only the beginning.
    pub length: usize,
    /// From the Ethernet header on.
    pub data: &'a [u8],
}

fn option<T>(socket: &OwnedFd, name: i32, value: &T) -> Result<()> {
    // SAFETY: `value` is plain data of the size that is told.
    let ret = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            name,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    Errno::result(ret)
        .map(drop)
        .call("setsockopt", || format!("SOL_PACKET, {name}"))
}

impl Packets {
    /// Opens one in the network namespace of this process. With `all`, that of
    /// an interface's index, also packets that are for others there, as a
    /// bridge passes them on, and those of no other interface.
    ///
    /// # Errors
    /// EPERM without CAP_NET_RAW over the namespace.
    pub fn open(all: Option<i32>) -> Result<Packets> {
        // Of no protocol, so that nothing comes before the ring is there.
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: plain integers.
        let raw = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
        let raw = Errno::result(raw).call("socket", || "AF_PACKET")?;
        // SAFETY: a new descriptor that nothing else owns.
        let socket = unsafe { OwnedFd::from_raw_fd(raw) };
        option(
            &socket,
            libc::PACKET_VERSION,
            &libc::tpacket_versions::TPACKET_V2,
        )?;
        let request = libc::tpacket_req {
            tp_block_size: PLACE as u32,
            tp_block_nr: PLACES as u32,
            tp_frame_size: PLACE as u32,
            tp_frame_nr: PLACES as u32,
        };
        option(&socket, libc::PACKET_RX_RING, &request)?;
        if let Some(index) = all {
            let membership = libc::packet_mreq {
                mr_ifindex: index,
                mr_type: libc::PACKET_MR_PROMISC as u16,
                mr_alen: 0,
                mr_address: [0; 8],
            };
            option(&socket, libc::PACKET_ADD_MEMBERSHIP, &membership)?;
        }
        // SAFETY: a new mapping of the ring's size; nothing else is touched.
        let ring = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                PLACE * PLACES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                socket.as_raw_fd(),
                0,
            )
        };
        if ring == libc::MAP_FAILED {
            return Err(Errno::last()).call("mmap", || "packets");
        }
        let packets = Packets {
            socket,
            ring: ring.cast(),
            next: 0,
        };
        // SAFETY: all zeros is a valid value of this plain structure.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = all.unwrap_or(0);
        // SAFETY: the address is valid for its size.
        let ret = unsafe {
            libc::bind(
                packets.socket.as_raw_fd(),
                (&raw const address).cast(),
                size_of_val(&address) as libc::socklen_t,
            )
        };
        Errno::result(ret).call("bind", || "AF_PACKET")?;
        Ok(packets)
    }

    /// Shows the next packet to `see`, unless it is the loopback's; false if
    /// there is none.
    pub fn next(&mut self, see: impl FnOnce(Packet)) -> bool {
        // SAFETY: `next` is below PLACES, so that the place is in the mapping.
        let place = unsafe { self.ring.add(self.next * PLACE) };
        // SAFETY: a place begins with its aligned status, which the kernel
        // writes last and reads first.
        let status = unsafe { AtomicU32::from_ptr(place.cast()) };
        if status.load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
            return false;
        }
        // SAFETY: until the status is given back the place is this process's,
        // and begins with this header.
        let header = unsafe { &*place.cast::<libc::tpacket2_hdr>() };
        // SAFETY: an address follows the header, aligned as TPACKET_ALIGN has it.
        let from = unsafe {
            let offset = size_of::<libc::tpacket2_hdr>().next_multiple_of(libc::TPACKET_ALIGNMENT);
            &*place.add(offset).cast::<libc::sockaddr_ll>()
        };
        let begin = usize::from(header.tp_mac).min(PLACE);
        let length = (header.tp_snaplen as usize).min(PLACE - begin);
        if from.sll_ifindex != LOOPBACK {
            // SAFETY: within the place, as just seen to.
            let data = unsafe { std::slice::from_raw_parts(place.add(begin), length) };
            see(Packet {
                at: Duration::new(header.tp_sec.into(), header.tp_nsec),
                length: header.tp_len as usize,
                data,
            });
        }
        status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.next = (self.next + 1) % PLACES;
        true
    }

    /// How many packets found no place since this was last asked.
    pub fn lost(&self) -> u32 {
        // struct tpacket_stats: packets, and drops among them.
        let mut counts = [0u32; 2];
        let mut size = size_of_val(&counts) as libc::socklen_t;
        // SAFETY: room for the two numbers, whose size is told.
        unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                counts.as_mut_ptr().cast(),
                &raw mut size,
            )
        };
        counts[1]
    }
}

impl AsFd for Packets {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Packets {
    fn drop(&mut self) {
        // SAFETY: the mapping made above, to which no reference is left.
        unsafe { libc::munmap(self.ring.cast(), PLACE * PLACES) };
    }
}
