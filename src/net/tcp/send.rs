//! What the host sends, on its way to the guest.

use super::Flow;
use crate::net::host::{Context, Host};
use crate::net::wire::{self, Options, TCP, TcpHead, flag};
use nix::errno::Errno;
use std::io::IoSliceMut;

/// Bytes towards the container that it has not acknowledged. More of them only
/// means memory that has left the processor's cache when its turn comes.
const IN_FLIGHT: u32 = 1 << 20;
/// Most blocks that are read at once, before it is another flow's turn. Every
/// read is an acknowledgment for the host's kernel to deal with, and where
/// processors are few both ends and this process take turns: the longer these
/// are, the fewer.
const BLOCKS: usize = 16;
/// Payloads from this size on stay in the buffer that they were read into.
const LARGE: usize = 16 << 10;

/// Sent, and not acknowledged.
#[derive(Debug)]
pub struct Block {
    /// Number of its first byte.
    pub seq: u32,
    /// Room for headers, then the payload, which ends at `end`.
    pub buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Block {
    /// Bytes of the payload.
    pub fn length(&self) -> usize {
        self.end - self.start
    }
}

impl<S> Flow<S> {
    /// Reads from the host and sends it to the container; true if there may
    /// be more.
    pub(super) fn pull<H: Host<Socket = S>>(&mut self, cx: &mut Context<H>) -> Result<bool, Errno> {
        if !self.readable || self.host_fin {
            return Ok(false);
        }
        let in_flight = self.snd_nxt.wrapping_sub(self.snd_una);
        let most = cx.buffers.allowance(&self.account, IN_FLIGHT as usize) as u32;
        let room = self.snd_wnd.min(most).saturating_sub(in_flight) as usize;
        // Little is sent when nothing is under way, or else with what
        // comes then (RFC 9293, 3.8.6.2.1).
        if room == 0 || in_flight > 0 && room < usize::from(self.mss) {
            self.deadline.get_or_insert(cx.now + self.patience());
            return Ok(false);
        }
        let start = wire::ip_offset(self.guest.ip()) + TCP;
        let longest = wire::MAX_FRAME - start;
        let wanted = room.min(longest * self.blocks);
        let mut buffers: Vec<_> = (0..wanted.div_ceil(longest))
            .map(|_| cx.buffers.take())
            .collect();
        let read = self.read(&mut buffers, start, wanted, cx);
        let mut left = *read.as_ref().unwrap_or(&0);
        for buffer in buffers {
            let length = left.min(longest);
            left -= length;
            match length {
                0 => cx.buffers.give(buffer),
                _ => self.send_new(buffer, start, start + length, cx),
            }
        }
        match read {
            Err(Errno::EAGAIN) => Ok(false),
            other => other.map(|_| self.readable && !self.host_fin),
        }
    }

    /// Reads `wanted` bytes, if there are as many, into `buffers` from `start`
    /// on in each.
    fn read<H: Host<Socket = S>>(
        &mut self,
        buffers: &mut [Vec<u8>],
        start: usize,
        wanted: usize,
        cx: &mut Context<H>,
    ) -> Result<usize, Errno> {
        let mut left = wanted;
        let mut parts: Vec<_> = buffers
            .iter_mut()
            .map(|buffer| {
                let length = left.min(buffer.len() - start);
                left -= length;
                IoSliceMut::new(&mut buffer[start..start + length])
            })
            .collect();
        let read = cx.io.receive(&self.socket, &mut parts);
        let full = read == Ok(wanted);
        self.host_fin = read == Ok(0);
        // Less than wanted is all there is (epoll(7)).
        self.readable = full || read.is_ok() && self.hangs_up;
        self.blocks = match full {
            true => (self.blocks * 2).min(BLOCKS),
            false => 1,
        };
        read
    }

    /// Sends the payload in `buffer[start..end]`, and keeps it.
    fn send_new<H: Host<Socket = S>>(
        &mut self,
        buffer: Vec<u8>,
        start: usize,
        end: usize,
        cx: &mut Context<H>,
    ) {
        let mut block = Block {
            seq: self.snd_nxt,
            buffer,
            start,
            end,
        };
        self.snd_nxt = self.snd_nxt.wrapping_add(block.length() as u32);
        self.send_block(&mut block, cx);
        if block.length() < LARGE {
            let small = block.buffer[..end].to_vec();
            cx.buffers.give(std::mem::replace(&mut block.buffer, small));
        }
        cx.buffers.hold(&self.account, block.buffer.len());
        self.sent.push_back(block);
        self.set_deadline(cx.now);
    }

    fn send_block<H: Host<Socket = S>>(&mut self, block: &mut Block, cx: &mut Context<H>) {
        let tcp = TcpHead {
            seq: block.seq,
            ack: self.rcv_nxt,
            flags: flag::ACK | flag::PSH,
            window: self.window(cx.buffers),
            options: Options::None,
            gso: self.mss,
        };
        let ports = (self.remote.port(), self.guest.port());
        let head = self.head(cx);
        let length = block.length();
        let end = wire::write_tcp(&mut block.buffer, &head, ports, &tcp, length);
        self.ack_due = false;
        cx.transmit(&block.buffer[..end]);
    }

    /// Sends the first that is not acknowledged.
    pub(super) fn send_again<H: Host<Socket = S>>(&mut self, cx: &mut Context<H>) {
        cx.counters.retransmitted += 1;
        match self.sent.pop_front() {
            Some(mut block) => {
                self.send_block(&mut block, cx);
                self.sent.push_front(block);
            }
            None if self.fin_sent => {
                let seq = self.snd_nxt.wrapping_sub(1);
                self.control(cx, flag::FIN | flag::ACK, seq);
            }
            None => {}
        }
    }
}
