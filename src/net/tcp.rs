//! One TCP connection (RFC 9293): as the container's kernel sees it on one
//! side, a socket of the host on the other.
//!
//! Both kernels do what is hard about TCP: congestion, segmentation, pacing.
//! Between them nothing is lost but by a queue that overflows, so that what
//! is left is small: numbers, windows, and sending again.

use super::host::{Buffers, Context, Host, Millis};
use super::shares::Account;
use super::wire::{self, Head, Options, Segment, TCP, TcpHead, flag, protocol};
use nix::errno::Errno;
use std::collections::VecDeque;
use std::net::SocketAddr;

mod ahead;
mod receive;
mod send;

use ahead::Ahead;
use send::Block;

/// Bytes towards the host that are taken before it has taken them.
const WINDOW: usize = 1 << 20;
/// Shift of the windows that we announce.
const SCALE: u8 = 7;
/// First time after which something is sent again.
const RETRY: Millis = 300;
/// Longest such time.
const RETRY_MAX: Millis = 60_000;
/// How often a SYN is sent again, and data.
const SYN_RETRIES: u32 = 5;
const DATA_RETRIES: u32 = 12;

/// Whether a flow goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Fate {
    /// It does.
    Lives,
    /// It is over: it is to be dropped.
    Ended,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The container sent a SYN; the host's socket connects.
    Connecting,
    /// We sent SYN and ACK.
    Accepting,
    /// We sent SYN, for somebody who has connected to us.
    Offering,
    /// Data flows.
    Open,
}

/// One connection.
#[derive(Debug)]
pub struct Flow<S> {
    /// The container's end.
    pub guest: SocketAddr,
    /// The other end, as the container sees it.
    pub remote: SocketAddr,
    socket: S,
    phase: Phase,
    /// What it holds is its container's.
    account: Account,

    /// Number of the next byte from the container.
    rcv_nxt: u32,
    /// The byte behind the window that was announced.
    edge: u32,
    scale: u8,
    /// The container understands selective acknowledgments.
    sack: bool,
    /// What the host has yet to take.
    pending: VecDeque<u8>,
    /// What came from the container too early.
    ahead: Ahead,
    /// The container sends no more.
    guest_fin: bool,
    /// The host was told so.
    finished: bool,
    ack_due: bool,

    snd_una: u32,
    snd_nxt: u32,
    snd_wnd: u32,
    guest_scale: u8,
    mss: u16,
    sent: VecDeque<Block>,
    /// The host may have data, or its end.
    readable: bool,
    /// Blocks to read at once: more and more, while the host fills them.
    blocks: usize,
    /// The end comes: a short read is not all.
    hangs_up: bool,
    /// The host sends no more.
    host_fin: bool,
    /// The container was told so; the number counts in `snd_nxt`.
    fin_sent: bool,

    duplicates: u32,
    /// While something lost is being sent again: what was sent by then.
    recover: Option<u32>,
    retries: u32,
    /// When something is to be done even if nothing happens.
    pub deadline: Option<Millis>,
}

/// Whether number `a` is behind `b` (RFC 9293, 3.4).
fn after(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) > 0
}

impl<S> Flow<S> {
    fn new(
        guest: SocketAddr,
        remote: SocketAddr,
        socket: S,
        phase: Phase,
        account: Account,
        seq: u32,
    ) -> Flow<S> {
        Flow {
            guest,
            remote,
            socket,
            phase,
            account,
            rcv_nxt: 0,
            edge: 0,
            scale: 0,
            sack: false,
            pending: VecDeque::new(),
            ahead: Ahead::default(),
            guest_fin: false,
            finished: false,
            ack_due: false,
            snd_una: seq,
            snd_nxt: seq,
            snd_wnd: 0,
            guest_scale: 0,
            mss: 536,
            sent: VecDeque::new(),
            readable: false,
            blocks: 1,
            hangs_up: false,
            host_fin: false,
            fin_sent: false,
            duplicates: 0,
            recover: None,
            retries: 0,
            deadline: None,
        }
    }

    /// A connection that the container asks for with `syn`; `socket` connects.
    pub fn outgoing(
        guest: SocketAddr,
        remote: SocketAddr,
        socket: S,
        syn: &Segment,
        account: Account,
        seq: u32,
    ) -> Flow<S> {
        let mut flow = Flow::new(guest, remote, socket, Phase::Connecting, account, seq);
        flow.take_options(syn);
        flow
    }

    /// A connection that somebody made to a published port.
    pub fn incoming(
        guest: SocketAddr,
        remote: SocketAddr,
        socket: S,
        account: Account,
        seq: u32,
    ) -> Flow<S> {
        let mut flow = Flow::new(guest, remote, socket, Phase::Offering, account, seq);
        (flow.scale, flow.sack) = (SCALE, true);
        flow
    }

    /// What the container's SYN says.
    fn take_options(&mut self, syn: &Segment) {
        self.rcv_nxt = syn.seq.wrapping_add(1);
        self.edge = self.rcv_nxt;
        self.snd_wnd = syn.window.into();
        self.mss = syn.mss.unwrap_or(536).max(64);
        self.sack = syn.sack;
        match syn.scale {
            Some(shift) => (self.guest_scale, self.scale) = (shift, SCALE),
            None => (self.guest_scale, self.scale) = (0, 0),
        }
    }

    /// Whether it is not yet made.
    pub fn is_half_open(&self) -> bool {
        self.phase != Phase::Open
    }

    /// Whether the host has yet to be given something, or told that no more
    /// comes.
    pub fn has_unsent(&self) -> bool {
        self.phase == Phase::Open && !self.finished
    }

    /// The number that its SYN had, for messages about it.
    pub fn first_seq(&self) -> u32 {
        self.rcv_nxt.wrapping_sub(1)
    }

    /// Whether `syn` begins another connection between the same ends.
    pub fn is_replaced_by(&self, syn: &Segment) -> bool {
        self.phase == Phase::Open
            && syn.flags & (flag::SYN | flag::ACK) == flag::SYN
            && (self.guest_fin || after(syn.seq, self.rcv_nxt))
    }

    /// Gives back what it holds of `buffers`.
    pub fn release(&mut self, buffers: &mut Buffers) {
        buffers.release(&self.account, self.pending.len() + self.ahead.bytes());
        (self.pending, self.ahead) = Default::default();
        for block in self.sent.drain(..) {
            buffers.release(&self.account, block.buffer.len());
            buffers.give(block.buffer);
        }
    }

    fn head<H: Host>(&self, cx: &Context<H>) -> Head {
        Head::new(cx.link, self.remote.ip(), self.guest.ip(), protocol::TCP)
    }

    /// The window to announce: what it is by now, never less than before.
    fn window(&mut self, buffers: &Buffers) -> u16 {
        let room = buffers.allowance(&self.account, WINDOW);
        let room = room.saturating_sub(self.pending.len());
        let room = match self.scale {
            0 => room.min(0xffff),
            scale => room.min(0xffff << scale),
        };
        let promised = self
            .edge
            .wrapping_sub(self.rcv_nxt)
            .min(0xffff << self.scale);
        let field = (room as u32).max(promised) >> self.scale;
        // Scaled, a promise is told less exactly than it was made.
        let told = self.rcv_nxt.wrapping_add(field << self.scale);
        if after(told, self.edge) {
            self.edge = told;
        }
        field as u16
    }

    /// Sends a segment without payload.
    fn control<H: Host>(&mut self, cx: &mut Context<H>, flags: u8, seq: u32) {
        let syn = flags & flag::SYN != 0;
        let window = match syn {
            // Never scaled.
            true => {
                let room = cx.buffers.allowance(&self.account, 0xffff) as u16;
                self.edge = self.rcv_nxt.wrapping_add(room.into());
                room
            }
            false => self.window(cx.buffers),
        };
        let scale = (self.scale > 0).then_some(self.scale);
        let mss = cx.mtu - if self.guest.is_ipv4() { 40 } else { 60 };
        let mut blocks = [(0, 0); wire::MAX_BLOCKS];
        let options = match syn {
            true => Options::Syn {
                mss,
                scale,
                sack: self.sack,
            },
            false if self.sack => Options::Sack({
                let count = self.ahead.ranges(&mut blocks);
                &blocks[..count]
            }),
            false => Options::None,
        };
        let tcp = TcpHead {
            seq,
            ack: self.rcv_nxt,
            flags,
            window,
            options,
            gso: 0,
        };
        let mut frame = [0; wire::VNET + wire::ETHERNET + 40 + TCP + wire::TCP_OPTIONS];
        let ports = (self.remote.port(), self.guest.port());
        let end = wire::write_tcp(&mut frame, &self.head(cx), ports, &tcp, 0);
        cx.transmit(&frame[..end]);
        if flags & flag::ACK != 0 {
            self.ack_due = false;
        }
    }

    /// Ends it for both: the container gets a reset, and so does the host.
    pub fn reset<H: Host<Socket = S>>(&mut self, cx: &mut Context<H>) -> Fate {
        let flags = match self.phase {
            Phase::Offering => flag::RST,
            _ => flag::RST | flag::ACK,
        };
        self.control(cx, flags, self.snd_nxt);
        cx.io.abort(&self.socket);
        Fate::Ended
    }

    /// The container reset it, or is to think that nobody answers.
    fn abandon<H: Host<Socket = S>>(&mut self, cx: &mut Context<H>) -> Fate {
        cx.io.abort(&self.socket);
        Fate::Ended
    }

    /// Sends the SYN of an [incoming](Flow::incoming) connection.
    pub fn offer<H: Host<Socket = S>>(&mut self, cx: &mut Context<H>) {
        self.snd_nxt = self.snd_una.wrapping_add(1);
        self.control(cx, flag::SYN, self.snd_una);
        self.deadline = Some(cx.now + RETRY);
    }

    /// How the host's attempt to connect went; the errno if it failed.
    pub fn connected<H: Host<Socket = S>>(&mut self, cx: &mut Context<H>) -> Result<(), Errno> {
        if self.phase != Phase::Connecting {
            return Ok(());
        }
        cx.io.outcome(&self.socket)?;
        self.phase = Phase::Accepting;
        self.snd_nxt = self.snd_una.wrapping_add(1);
        self.control(cx, flag::SYN | flag::ACK, self.snd_una);
        self.deadline = Some(cx.now + RETRY);
        Ok(())
    }

    /// The host's socket is ready.
    pub fn ready(&mut self, readable: bool, hangs_up: bool) {
        self.readable |= readable || hangs_up;
        self.hangs_up |= hangs_up;
    }

    /// Takes a segment of the container.
    pub fn segment<H: Host<Socket = S>>(&mut self, segment: &Segment, cx: &mut Context<H>) -> Fate {
        if segment.has(flag::RST) {
            return self.take_reset(segment, cx);
        }
        match self.phase {
            // It asks again while the host connects.
            Phase::Connecting => return Fate::Lives,
            Phase::Accepting => {
                if segment.has(flag::SYN) {
                    self.control(cx, flag::SYN | flag::ACK, self.snd_una);
                    return Fate::Lives;
                }
                if !segment.has(flag::ACK) || segment.ack != self.snd_nxt {
                    return Fate::Lives;
                }
            }
            Phase::Offering => {
                let both = flag::SYN | flag::ACK;
                if segment.flags & both != both || segment.ack != self.snd_nxt {
                    return Fate::Lives;
                }
                self.take_options(segment);
                self.open();
                self.ack_due = true;
                return Fate::Lives;
            }
            Phase::Open => {}
        }
        if !segment.has(flag::ACK) || segment.has(flag::SYN) {
            // Our acknowledgment was lost, or it is nonsense.
            self.ack_due = true;
            return Fate::Lives;
        }
        if self.phase == Phase::Accepting {
            self.open();
        }
        if after(segment.ack, self.snd_nxt) {
            self.ack_due = true;
            return Fate::Lives;
        }
        self.take_ack(segment, cx);
        self.take_data(segment, cx)
    }

    fn open(&mut self) {
        self.phase = Phase::Open;
        self.snd_una = self.snd_nxt;
        self.deadline = None;
        self.retries = 0;
        // What came before it could be passed on.
        self.readable = true;
    }

    fn take_reset<H: Host<Socket = S>>(&mut self, segment: &Segment, cx: &mut Context<H>) -> Fate {
        let meant = match self.phase {
            Phase::Offering => segment.ack == self.snd_nxt,
            Phase::Connecting | Phase::Accepting => segment.seq == self.rcv_nxt,
            // RFC 5961 would want the very next number; nobody is between.
            Phase::Open => {
                let window = self.edge.wrapping_sub(self.rcv_nxt).max(1);
                segment.seq.wrapping_sub(self.rcv_nxt) < window
            }
        };
        match meant {
            true => self.abandon(cx),
            false => Fate::Lives,
        }
    }

    fn take_ack<H: Host<Socket = S>>(&mut self, segment: &Segment, cx: &mut Context<H>) {
        let window = u32::from(segment.window) << self.guest_scale;
        if after(segment.ack, self.snd_una) {
            self.snd_una = segment.ack;
            while let Some(first) = self.sent.front() {
                let end = first.seq.wrapping_add(first.length() as u32);
                if after(end, self.snd_una) {
                    break;
                }
                if let Some(block) = self.sent.pop_front() {
                    cx.buffers.release(&self.account, block.buffer.len());
                    cx.buffers.give(block.buffer);
                }
            }
            self.duplicates = 0;
            self.retries = 0;
            self.deadline = None;
            match self.recover {
                // More was lost.
                Some(until) if after(until, self.snd_una) => self.send_again(cx),
                _ => self.recover = None,
            }
            self.set_deadline(cx.now);
        } else if segment.ack == self.snd_una
            && segment.length() == 0
            && window == self.snd_wnd
            && self.is_unacknowledged()
        {
            self.duplicates += 1;
            if self.duplicates == 3 && self.recover.is_none() {
                self.recover = Some(self.snd_nxt);
                self.send_again(cx);
            }
        }
        if self.snd_wnd == 0 && window > 0 {
            self.retries = 0;
        }
        self.snd_wnd = window;
    }

    fn is_unacknowledged(&self) -> bool {
        self.snd_una != self.snd_nxt
    }

    /// Does what can be done now, and acknowledges what came. True if more is
    /// to be done when it is its turn again.
    pub fn run<H: Host<Socket = S>>(&mut self, cx: &mut Context<H>) -> (Fate, bool) {
        if self.phase != Phase::Open {
            return (Fate::Lives, false);
        }
        if self.push_pending(cx).is_err() {
            return (self.reset(cx), false);
        }
        let again = match self.pull(cx) {
            Ok(again) => again,
            Err(_) => return (self.reset(cx), false),
        };
        if self.host_fin && !self.fin_sent {
            let seq = self.snd_nxt;
            self.control(cx, flag::FIN | flag::ACK, seq);
            self.snd_nxt = self.snd_nxt.wrapping_add(1);
            self.fin_sent = true;
            self.set_deadline(cx.now);
        }
        if self.ack_due {
            let seq = self.snd_nxt;
            self.control(cx, flag::ACK, seq);
        }
        match self.finished && self.fin_sent && !self.is_unacknowledged() {
            true => (Fate::Ended, false),
            false => (Fate::Lives, again),
        }
    }

    fn push_pending<H: Host<Socket = S>>(&mut self, cx: &mut Context<H>) -> Result<(), Errno> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let before = self.pending.len();
        while !self.pending.is_empty() {
            let (first, _) = self.pending.as_slices();
            match cx.io.send(&self.socket, first) {
                Ok(0) | Err(Errno::EAGAIN) => break,
                Ok(count) => drop(self.pending.drain(..count)),
                Err(errno) => return Err(errno),
            }
        }
        cx.buffers
            .release(&self.account, before - self.pending.len());
        if self.pending.is_empty() {
            self.pending.shrink_to(0);
        }
        // The container is told when there is room again.
        self.ack_due |= self.pending.len() < before
            && self.edge.wrapping_sub(self.rcv_nxt) < (WINDOW / 2) as u32;
        self.finish(cx);
        Ok(())
    }

    /// Sees to it that something happens even if nothing more is heard.
    fn set_deadline(&mut self, now: Millis) {
        match self.is_unacknowledged() {
            false => self.deadline = None,
            true => drop(self.deadline.get_or_insert(now + self.patience())),
        }
    }

    /// How long an answer is waited for.
    fn patience(&self) -> Millis {
        (RETRY << self.retries.min(16)).min(RETRY_MAX)
    }

    /// The deadline is over.
    pub fn expire<H: Host<Socket = S>>(&mut self, cx: &mut Context<H>) -> Fate {
        self.deadline = None;
        self.retries += 1;
        match self.phase {
            Phase::Connecting => return Fate::Lives,
            Phase::Accepting | Phase::Offering => {
                if self.retries > SYN_RETRIES {
                    return self.abandon(cx);
                }
                let flags = match self.phase {
                    Phase::Offering => flag::SYN,
                    _ => flag::SYN | flag::ACK,
                };
                self.control(cx, flags, self.snd_una);
            }
            Phase::Open if self.is_unacknowledged() && self.snd_wnd > 0 => {
                if self.retries > DATA_RETRIES {
                    return self.reset(cx);
                }
                self.recover = Some(self.snd_nxt);
                self.duplicates = 0;
                self.send_again(cx);
            }
            // Its answer tells the window (RFC 9293, 3.8.6.1).
            Phase::Open if self.snd_wnd == 0 => {
                let seq = self.snd_una.wrapping_sub(1);
                self.control(cx, flag::ACK, seq);
            }
            Phase::Open => return Fate::Lives,
        }
        self.deadline = Some(cx.now + self.patience());
        Fate::Lives
    }
}
