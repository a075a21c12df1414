//! Frames of a hostile container, one after the other: no panic, and bounded
//! state. Each begins with its length, a byte.

#![no_main]

use bryo::net::host::{Host, Id, Kind};
use bryo::net::policy::{Cidr, Ends, Policy};
use bryo::net::stack::{Config, Readiness, Stack};
use bryo::net::wire::Link;
use libfuzzer_sys::fuzz_target;
use nix::errno::Errno;
use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr};

/// Takes everything and echoes nothing.
struct Sink(Vec<Id>);

impl Host for Sink {
    type Socket = ();

    fn open(&mut self, id: Id, _: Kind, _: SocketAddr) -> Result<(), Errno> {
        self.0.push(id);
        Ok(())
    }
    fn outcome(&mut self, _: &()) -> Result<(), Errno> {
        Ok(())
    }
    fn send(&mut self, _: &(), data: &[u8]) -> Result<usize, Errno> {
        match data.len() / 2 {
            0 => Err(Errno::EAGAIN),
            half => Ok(half),
        }
    }
    fn send_datagrams(&mut self, _: &(), _: &[u8], _: Option<u16>) -> Result<(), Errno> {
        Ok(())
    }
    fn receive(&mut self, _: &(), parts: &mut [IoSliceMut]) -> Result<usize, Errno> {
        let mut all = 0;
        for part in parts {
            part.fill(7);
            all += part.len();
        }
        Ok(all.min(3000))
    }
    fn finish(&mut self, _: &()) {}
    fn abort(&mut self, _: &()) {}
    fn transmit(&mut self, _: &[u8]) {}
    fn random(&mut self) -> u32 {
        1
    }
    fn name_server(&mut self, _: bool) -> Option<SocketAddr> {
        None
    }
    fn own_address(&mut self, _: IpAddr) -> Option<IpAddr> {
        Some([192, 0, 2, 7].into())
    }
}

fuzz_target!(|data: &[u8]| {
    let ends = |network: &str, prefix, guest: &str, gateway: &str, host: &str| Ends {
        network: Cidr { address: network.parse().unwrap(), prefix },
        guest: guest.parse().unwrap(),
        gateway: gateway.parse().unwrap(),
        host: host.parse().unwrap(),
    };
    let config = Config {
        link: Link { guest: [2, 0, 0, 0, 0, 1], own: [2, 0, 0, 0, 0, 2] },
        mtu: 1500,
        ends: vec![
            ends("10.0.2.0", 24, "10.0.2.100", "10.0.2.2", "10.0.2.3"),
            ends("fd00::", 64, "fd00::100", "fd00::2", "fd00::3"),
        ],
        behind: Vec::new(),
        policy: Policy::default(),
        search: Vec::new(),
    };
    let mut stack = Stack::new(config);
    let mut sink = Sink(Vec::new());
    let (mut rest, mut now) = (data, 0);
    while let Some((length, more)) = rest.split_first() {
        let (frame, more) = more.split_at(more.len().min((*length).into()));
        rest = more;
        now += 500;
        stack.frame(frame, now, &mut sink);
        for id in sink.0.clone() {
            let ready = Readiness { readable: true, writable: true, hangs_up: false };
            stack.ready(id, ready, now, &mut sink);
        }
        stack.run(now, &mut sink);
        assert!(stack.held() < 256 << 20);
    }
});
