//! What the guest sends, on its way to the host's socket.

use super::{Fate, Flow, WINDOW, after};
use crate::net::host::{Context, Host};
use crate::net::wire::{Segment, flag};
use nix::errno::Errno;

impl<S> Flow<S> {
    pub(super) fn take_data<H: Host<Socket = S>>(
        &mut self,
        segment: &Segment,
        cx: &mut Context<H>,
    ) -> Fate {
        if segment.length() == 0 {
            // A probe, as of keepalive (RFC 9293, 3.8.4).
            self.ack_due |= after(self.rcv_nxt, segment.seq);
            return Fate::Lives;
        }
        self.ack_due = true;
        let fin = segment.has(flag::FIN);
        if after(segment.seq, self.rcv_nxt) || self.guest_fin {
            // Something is missing; it is asked for at once.
            if !self.guest_fin {
                self.keep(segment, fin, cx);
            }
            let seq = self.snd_nxt;
            self.control(cx, flag::ACK, seq);
            return Fate::Lives;
        }
        let mut done = self.take_part(segment.seq, segment.payload, fin, cx);
        while done.is_ok()
            && let Some(part) = self.ahead.take(self.rcv_nxt)
        {
            cx.buffers.release(&self.account, part.data.len());
            done = self.take_part(part.seq, &part.data, part.fin, cx);
        }
        match done {
            Ok(()) => Fate::Lives,
            Err(_) => self.reset(cx),
        }
    }

    /// Keeps a segment that came too early, as far as the window goes.
    pub(super) fn keep<H: Host<Socket = S>>(
        &mut self,
        segment: &Segment,
        fin: bool,
        cx: &mut Context<H>,
    ) {
        let room = self.edge.wrapping_sub(segment.seq) as i32;
        let room = usize::try_from(room).unwrap_or(0);
        let data = &segment.payload[..segment.payload.len().min(room)];
        let fin = fin && data.len() == segment.payload.len();
        if !data.is_empty() || fin {
            let most = cx.buffers.allowance(&self.account, WINDOW);
            let kept = self.ahead.keep(segment.seq, data, fin, most);
            cx.buffers.hold(&self.account, kept);
        }
    }

    /// Takes data of which nothing is missing before it.
    pub(super) fn take_part<H: Host<Socket = S>>(
        &mut self,
        seq: u32,
        data: &[u8],
        fin: bool,
        cx: &mut Context<H>,
    ) -> Result<(), Errno> {
        let known = self.rcv_nxt.wrapping_sub(seq) as usize;
        let new = data.get(known..).unwrap_or_default();
        if !new.is_empty() {
            self.pass_on(new, cx)?;
        }
        if fin && self.rcv_nxt == seq.wrapping_add(data.len() as u32) {
            self.guest_fin = true;
            self.finish(cx);
        }
        Ok(())
    }

    /// Gives data to the host, and keeps what it does not take.
    pub(super) fn pass_on<H: Host<Socket = S>>(
        &mut self,
        data: &[u8],
        cx: &mut Context<H>,
    ) -> Result<(), Errno> {
        let mut taken = 0;
        if self.pending.is_empty() {
            taken = match cx.io.send(&self.socket, data) {
                Err(Errno::EAGAIN) => 0,
                other => other?,
            };
        }
        // As much as was promised, unless all flows together hold too much.
        let room = match cx.buffers.allowance(&self.account, WINDOW) {
            0 => 0,
            _ => (self.edge.wrapping_sub(self.rcv_nxt) as usize).saturating_sub(taken),
        };
        let rest = &data[taken..];
        let kept = &rest[..rest.len().min(room)];
        self.pending.extend(kept);
        cx.buffers.hold(&self.account, kept.len());
        self.rcv_nxt = self.rcv_nxt.wrapping_add((taken + kept.len()) as u32);
        Ok(())
    }

    /// Tells the host that no more comes, once it has everything.
    pub(super) fn finish<H: Host<Socket = S>>(&mut self, cx: &mut Context<H>) {
        if self.guest_fin && !self.finished && self.pending.is_empty() {
            cx.io.finish(&self.socket);
            self.finished = true;
            self.rcv_nxt = self.rcv_nxt.wrapping_add(1);
            self.ack_due = true;
        }
    }
}
