//! The translator between a model of a container's TCP and a model of the
//! host's sockets, over a link that loses, delays and reorders.

use super::*;
use crate::net::policy::Cidr;
use crate::net::wire::{ETHERNET, Options, TCP, VNET};
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{IoSliceMut, Read};
use std::rc::Rc;
use std::sync::LazyLock;

const LINK: Link = Link {
    guest: [2, 0, 0, 0, 0, 1],
    own: [2, 0, 0, 0, 0, 2],
};

fn config(mtu: u16) -> Config {
    Config {
        link: LINK,
        mtu,
        ends: vec![Ends {
            network: Cidr {
                address: "10.0.2.0".parse().unwrap(),
                prefix: 24,
            },
            guest: "10.0.2.100".parse().unwrap(),
            gateway: "10.0.2.2".parse().unwrap(),
            host: "10.0.2.3".parse().unwrap(),
        }],
        behind: Vec::new(),
        policy: Policy::default(),
        search: Vec::new(),
    }
}

/// After so many bytes what is sent repeats itself: more than is under way.
const PERIOD: usize = 8_000_009;

/// Part of what everybody sends here: its place tells what it has to be, so
/// that nobody has to keep it.
fn stream(at: usize, length: usize) -> &'static [u8] {
    static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut seed = 7;
        let words = (0..(PERIOD + wire::MAX_FRAME) / 8 + 1).map(|_| draw(&mut seed));
        let mut bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
        bytes.copy_within(..wire::MAX_FRAME, PERIOD);
        bytes
    });
    &BYTES[at % PERIOD..][..length]
}

/// Takes note of what came of that.
#[derive(Debug, Default)]
struct Arrived {
    bytes: usize,
    wrong: bool,
}

impl Arrived {
    fn take(&mut self, data: &[u8]) {
        self.wrong |= stream(self.bytes, data.len()) != data;
        self.bytes += data.len();
    }
}

/// A peer of the host's socket: it echoes, as fast as it is let.
#[derive(Debug, Default)]
struct Peer {
    refuses: bool,
    /// Sent by us; not read by it.
    inbox: VecDeque<u8>,
    capacity: usize,
    received: Arrived,
    /// To be read by us.
    outbox: VecDeque<u8>,
    ended: bool,
    sends_end: bool,
    aborted: bool,
}

impl Peer {
    fn work(&mut self, pace: usize) {
        let mut left = pace;
        while left > 0 && !self.inbox.is_empty() {
            let (first, _) = self.inbox.as_slices();
            let part = &first[..first.len().min(left).min(wire::MAX_FRAME)];
            self.received.take(part);
            self.outbox.extend(part);
            let length = part.len();
            self.inbox.drain(..length);
            left -= length;
        }
        self.sends_end |= self.ended && self.inbox.is_empty();
    }
}

/// A number of the sequence of a seed.
fn draw(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

struct World {
    peer: Rc<RefCell<Peer>>,
    to_guest: Vec<Vec<u8>>,
    ring: usize,
    seed: u64,
    names: Option<SocketAddr>,
    own: Option<IpAddr>,
    opened: Vec<SocketAddr>,
}

impl Host for World {
    type Socket = Rc<RefCell<Peer>>;

    fn open(&mut self, _: Id, _: Kind, to: SocketAddr) -> Result<Self::Socket, Errno> {
        self.opened.push(to);
        Ok(self.peer.clone())
    }
    fn outcome(&mut self, socket: &Self::Socket) -> Result<(), Errno> {
        match socket.borrow().refuses {
            true => Err(Errno::ECONNREFUSED),
            false => Ok(()),
        }
    }
    fn send(&mut self, socket: &Self::Socket, data: &[u8]) -> Result<usize, Errno> {
        let mut peer = socket.borrow_mut();
        let room = peer.capacity - peer.inbox.len();
        match data.len().min(room) {
            0 => Err(Errno::EAGAIN),
            count => {
                peer.inbox.extend(&data[..count]);
                Ok(count)
            }
        }
    }
    fn send_datagrams(&mut self, _: &Self::Socket, _: &[u8], _: Option<u16>) -> Result<(), Errno> {
        Ok(())
    }
    fn receive(&mut self, socket: &Self::Socket, parts: &mut [IoSliceMut]) -> Result<usize, Errno> {
        let mut peer = socket.borrow_mut();
        let mut all = 0;
        for part in parts {
            let count = part.len().min(peer.outbox.len());
            peer.outbox.read_exact(&mut part[..count]).unwrap();
            all += count;
        }
        match all == 0 && !peer.sends_end {
            true => Err(Errno::EAGAIN),
            false => Ok(all),
        }
    }
    fn finish(&mut self, socket: &Self::Socket) {
        socket.borrow_mut().ended = true;
    }
    fn abort(&mut self, socket: &Self::Socket) {
        socket.borrow_mut().aborted = true;
    }
    fn transmit(&mut self, frame: &[u8]) {
        if self.to_guest.len() < self.ring {
            self.to_guest.push(frame.to_vec());
        }
    }
    fn random(&mut self) -> u32 {
        draw(&mut self.seed) as u32
    }
    fn name_server(&mut self, _: bool) -> Option<SocketAddr> {
        self.names
    }
    fn own_address(&mut self, _: IpAddr) -> Option<IpAddr> {
        self.own
    }
}

/// The container's end of a connection: as little of TCP as works.
struct Guest {
    /// How much it sends.
    length: usize,
    iss: u32,
    una: u32,
    nxt: u32,
    window: u32,
    scale: u8,
    open: bool,
    reset: bool,
    rcv_nxt: u32,
    received: Arrived,
    room: u32,
    peer_ended: bool,
    stalled: u32,
}

impl Guest {
    fn new(length: usize, iss: u32, room: u32) -> Guest {
        Guest {
            length,
            iss,
            una: iss,
            nxt: iss,
            window: 0,
            scale: 0,
            open: false,
            reset: false,
            rcv_nxt: 0,
            received: Arrived::default(),
            room,
            peer_ended: false,
            stalled: 0,
        }
    }

    /// The number behind the FIN.
    fn end(&self) -> u32 {
        self.iss.wrapping_add(self.length as u32).wrapping_add(2)
    }

    fn is_done(&self) -> bool {
        self.reset || self.open && self.una == self.end() && self.peer_ended
    }

    fn segment(&self, seq: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
        let (own, other) = ("10.0.2.100".parse().unwrap(), "192.0.2.1".parse().unwrap());
        let head = Head::new(LINK, own, other, protocol::TCP);
        let tcp = TcpHead {
            seq,
            ack: self.rcv_nxt,
            flags,
            window: (self.room >> 4) as u16,
            options: match flags & flag::SYN {
                0 => Options::None,
                _ => Options::Syn {
                    mss: 1400,
                    scale: Some(4),
                    sack: true,
                },
            },
            gso: 1400,
        };
        let mut frame = vec![0; 100 + payload.len()];
        let end = wire::write_tcp(&mut frame, &head, (4000, 80), &tcp, payload.len());
        frame.truncate(end);
        frame[end - payload.len()..].copy_from_slice(payload);
        frame
    }

    fn take(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        let ip = Ip::parse_v4(&frame[VNET + ETHERNET..]).expect("an IPv4 packet");
        if ip.protocol != protocol::TCP {
            return Vec::new();
        }
        let segment = Segment::parse(ip.payload).expect("a segment");
        if segment.has(flag::RST) {
            self.reset = true;
            return Vec::new();
        }
        if segment.has(flag::SYN) {
            if !self.open {
                self.open = true;
                self.rcv_nxt = segment.seq.wrapping_add(1);
                self.scale = segment.scale.unwrap_or(0);
                self.una = self.iss.wrapping_add(1);
                self.nxt = self.una;
                self.window = segment.window.into();
            }
            return vec![self.segment(self.nxt, flag::ACK, b"")];
        }
        if segment.ack.wrapping_sub(self.una) <= self.end().wrapping_sub(self.una) {
            if segment.ack != self.una {
                self.stalled = 0;
            }
            self.una = segment.ack;
            if (self.nxt.wrapping_sub(self.una) as i32) < 0 {
                self.nxt = self.una;
            }
            self.window = u32::from(segment.window) << self.scale;
        }
        let known = self.rcv_nxt.wrapping_sub(segment.seq);
        if segment.length() > 0 {
            if (known as i32) >= 0 && known <= segment.payload.len() as u32 && !self.peer_ended {
                let new = &segment.payload[known as usize..];
                self.received.take(new);
                self.rcv_nxt = self.rcv_nxt.wrapping_add(new.len() as u32);
                if segment.has(flag::FIN) {
                    self.rcv_nxt = self.rcv_nxt.wrapping_add(1);
                    self.peer_ended = true;
                }
            }
            return vec![self.segment(self.nxt, flag::ACK, b"")];
        }
        if known == 1 {
            return vec![self.segment(self.nxt, flag::ACK, b"")];
        }
        Vec::new()
    }

    /// What it sends of itself, of segments of at most `size` bytes.
    fn work(&mut self, size: usize) -> Vec<Vec<u8>> {
        self.stalled += 1;
        if !self.open {
            return match self.stalled % 20 {
                1 => vec![self.segment(self.iss, flag::SYN, b"")],
                _ => Vec::new(),
            };
        }
        if self.stalled.is_multiple_of(20) {
            // Back to what is not acknowledged.
            self.nxt = self.una;
        }
        let mut all = Vec::new();
        for _ in 0..4 {
            let at = self.nxt.wrapping_sub(self.iss).wrapping_sub(1) as usize;
            if at > self.length {
                break;
            }
            let room = self.una.wrapping_add(self.window).wrapping_sub(self.nxt) as i32;
            let probe = usize::from(self.stalled.is_multiple_of(20));
            let length = (room.max(0) as usize).max(probe).min(size);
            let length = length.min(self.length - at);
            let last = at + length == self.length;
            if length == 0 && !last {
                break;
            }
            let flags = flag::ACK | if last { flag::FIN } else { 0 };
            all.push(self.segment(self.nxt, flags, stream(at, length)));
            self.nxt = self.nxt.wrapping_add(length as u32 + u32::from(last));
        }
        all
    }
}

#[derive(Debug, Clone)]
struct Conditions {
    seed: u64,
    length: usize,
    iss: u32,
    /// Of a hundred.
    lost: u64,
    reorders: bool,
    doubles: bool,
    ring: usize,
    capacity: usize,
    pace: usize,
    segment: usize,
    room: u32,
}

fn conditions() -> impl Strategy<Value = Conditions> {
    (
        (
            any::<u64>(),
            prop_oneof![0usize..150_000, 0usize..4_000_000],
            any::<u32>(),
            0u64..20,
            any::<bool>(),
            any::<bool>(),
        ),
        (
            2usize..40,
            1usize..200_000,
            1usize..60_000,
            1usize..60_000,
            1000u32..600_000,
        ),
    )
        .prop_map(
            |(
                (seed, length, iss, lost, reorders, doubles),
                (ring, capacity, pace, segment, room),
            )| {
                Conditions {
                    seed: seed | 1,
                    length,
                    iss,
                    lost,
                    reorders,
                    doubles,
                    ring,
                    // So that it comes to an end.
                    capacity: capacity.max(length / 40 + 1),
                    pace: pace.max(length / 400 + 1),
                    segment: segment.max(length / 400 + 1),
                    room: room.max((length / 40) as u32),
                }
            },
        )
}

fn exchange(c: &Conditions) -> Result<(), TestCaseError> {
    let mut seed = c.seed;
    let peer = Rc::new(RefCell::new(Peer {
        capacity: c.capacity,
        ..Peer::default()
    }));
    let mut world = World {
        peer: peer.clone(),
        to_guest: Vec::new(),
        ring: c.ring,
        seed: c.seed,
        names: None,
        own: None,
        opened: Vec::new(),
    };
    let mut guest = Guest::new(c.length, c.iss, c.room);
    let mut stack = Stack::new(config(1500));
    let mut to_stack: Vec<Vec<u8>> = Vec::new();
    let mut now = 0;
    // The connection is made by the second call; ids are counted from zero.
    let id = Id {
        index: 0,
        generation: 0,
    };
    for _ in 0..1_000_000 {
        now += 10;
        to_stack.extend(guest.work(c.segment));
        to_stack.truncate(c.ring);
        let shuffled = |frames: &mut Vec<Vec<u8>>, seed: &mut u64| {
            frames.retain(|_| draw(seed) % 100 >= c.lost);
            if c.doubles && !frames.is_empty() {
                let which = draw(seed) as usize % frames.len();
                frames.push(frames[which].clone());
            }
            if c.reorders && frames.len() > 1 && draw(seed).is_multiple_of(4) {
                let last = frames.len() - 1;
                frames.swap(0, last);
            }
            std::mem::take(frames)
        };
        for frame in shuffled(&mut to_stack, &mut seed) {
            stack.frame(&frame, now, &mut world);
        }
        peer.borrow_mut().work(c.pace);
        let ready = Readiness {
            readable: true,
            writable: true,
            hangs_up: false,
        };
        stack.ready(id, ready, now, &mut world);
        stack.run(now, &mut world);
        let mut frames = std::mem::take(&mut world.to_guest);
        for frame in shuffled(&mut frames, &mut seed) {
            to_stack.extend(guest.take(&frame));
        }
        if guest.is_done() && stack.flows() == 0 {
            break;
        }
    }
    prop_assert!(!guest.reset, "it was reset");
    prop_assert!(
        guest.is_done(),
        "una {} of {}",
        guest.una.wrapping_sub(c.iss),
        c.length
    );
    for (who, received) in [
        ("container", &guest.received),
        ("host", &peer.borrow().received),
    ] {
        prop_assert!(!received.wrong, "the {who} got something else");
        prop_assert_eq!(received.bytes, c.length, "to the {}", who);
    }
    prop_assert!(!peer.borrow().aborted);
    prop_assert_eq!(
        (stack.flows(), stack.held(), stack.flows.half_open()),
        (0, 0, 0)
    );
    prop_assert_eq!(stack.counters().malformed, 0);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_sent_arrives_whatever_is_lost(c in conditions()) {
        exchange(&c)?;
    }

    #[test]
    fn any_frames_do_no_harm(
        frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..120), 0..20),
    ) {
        let (mut stack, mut world) = quiet();
        for frame in frames {
            stack.frame(&frame, 0, &mut world);
            stack.run(0, &mut world);
        }
    }
}

/// A thousand million bytes and the same again, over a link that loses,
/// doubles and reorders, into queues of little room.
#[test]
fn a_gigabyte_arrives_whatever_is_lost() {
    let conditions = Conditions {
        seed: 0x9e37_79b9_7f4a_7c15,
        length: 1_000_000_000,
        iss: u32::MAX - 400_000_000,
        lost: 1,
        reorders: true,
        doubles: true,
        ring: 8,
        capacity: 150_000,
        pace: 250_000,
        segment: 60_000,
        room: 600_000,
    };
    exchange(&conditions).unwrap();
}

#[test]
fn what_came_too_early_is_told() {
    let (mut stack, mut world) = quiet();
    world.peer.borrow_mut().capacity = 100_000;
    let mut guest = Guest::new(50_000, 7, 60_000);
    open(&mut stack, &mut guest, &mut world);
    // The second and the fourth of what is sent, then the first.
    let mut send = |guest: &mut Guest, part: usize| {
        let seq = guest.iss.wrapping_add(1 + part as u32 * 1000);
        let segment = guest.segment(seq, flag::ACK, stream(part * 1000, 1000));
        stack.frame(&segment, 0, &mut world);
        stack.run(0, &mut world);
        let frame = world.to_guest.pop().unwrap();
        let ip = Ip::parse_v4(&frame[VNET + ETHERNET..]).unwrap();
        let numbers = ip.payload[TCP..].chunks_exact(4).skip(1);
        let numbers = numbers.map(|bytes| u32::from_be_bytes(bytes.try_into().unwrap()));
        let numbers: Vec<u32> = numbers.map(|number| number - guest.iss - 1).collect();
        (
            Segment::parse(ip.payload).unwrap().ack - guest.iss - 1,
            numbers,
        )
    };
    assert_eq!(send(&mut guest, 1), (0, vec![1000, 2000]));
    assert_eq!(send(&mut guest, 3), (0, vec![3000, 4000, 1000, 2000]));
    assert_eq!(send(&mut guest, 0), (2000, vec![3000, 4000]));
    assert_eq!(send(&mut guest, 2), (4000, vec![]));
}

#[test]
fn the_hosts_own_address_is_what_it_is_by_now() {
    let (mut stack, mut world) = quiet();
    for (own, opened) in [
        (None, 0),
        (Some("192.0.2.7"), 1),
        (Some("198.51.100.7"), 2),
        (Some("127.0.0.1"), 2),
    ] {
        world.own = own.map(|own| own.parse().unwrap());
        let port = 1000 + opened;
        stack.frame(&datagram(port, "10.0.2.3:4000"), 0, &mut world);
        assert_eq!(world.opened.len(), usize::from(opened), "{own:?}");
    }
    let opened: Vec<String> = world.opened.iter().map(ToString::to_string).collect();
    assert_eq!(opened, ["192.0.2.7:4000", "198.51.100.7:4000"]);
}

/// A datagram of the container's.
fn datagram(port: u16, to: &str) -> Vec<u8> {
    let own = SocketAddr::new("10.0.2.100".parse().unwrap(), port);
    datagram_between(own, to)
}

fn datagram_between(own: SocketAddr, to: &str) -> Vec<u8> {
    let to: SocketAddr = to.parse().unwrap();
    let payload = wire::udp_datagram(own, to, b"x");
    let head = Head::new(LINK, own.ip(), to.ip(), protocol::UDP);
    let mut frame = vec![0; 100];
    let at = head.write(&mut frame, payload.len());
    frame.truncate(at);
    frame.extend(payload);
    frame
}

/// Somebody answers the flow that was begun as number `index`.
fn answer(stack: &mut Stack<World>, index: u32, now: Millis, world: &mut World) {
    world.peer.borrow_mut().outbox.push_back(b'x');
    let ready = Readiness {
        readable: true,
        ..Readiness::default()
    };
    let generation = 0;
    stack.ready(Id { index, generation }, ready, now, world);
    stack.run(now, world);
    assert!(world.peer.borrow().outbox.is_empty(), "it is there");
}

#[test]
fn datagrams_in_use_keep_their_sockets() {
    let (mut stack, mut world) = quiet();
    let send = |stack: &mut Stack<World>, port, now, world: &mut World| {
        stack.frame(&datagram(port, "192.0.2.1:4000"), now, world);
        stack.run(now, world);
    };
    // One that only sends, one that hears too, one that only hears: at times
    // that are just within what each has.
    for port in 0..3 {
        send(&mut stack, port, 0, &mut world);
    }
    answer(&mut stack, 1, 0, &mut world);
    answer(&mut stack, 2, 0, &mut world);
    for now in (29_000..1_500_000).step_by(29_000) {
        send(&mut stack, 0, now, &mut world);
        if now % 174_000 == 0 {
            send(&mut stack, 1, now, &mut world);
            answer(&mut stack, 2, now, &mut world);
        }
        assert_eq!((stack.flows(), world.opened.len()), (3, 3), "at {now}");
    }
    stack.run(3_000_000, &mut world);
    assert_eq!(stack.flows(), 0);
}

#[test]
fn a_client_of_a_published_port_is_answered_after_a_pause() {
    let (mut stack, mut world) = quiet();
    let client = "192.0.2.1:4000".parse().unwrap();
    let to = Published {
        port: 53,
        ..Published::default()
    };
    let socket = Rc::default();
    stack.deliver(client, &to, b"x", 0, &mut world, socket);
    stack.frame(&datagram(53, "192.0.2.1:4000"), 1, &mut world);
    // By the same socket, and not by one of its own.
    stack.run(170_000, &mut world);
    stack.frame(&datagram(53, "192.0.2.1:4000"), 170_000, &mut world);
    assert_eq!((stack.flows(), world.opened.len()), (1, 0));
    stack.forget_datagrams(|ip| ip == IpAddr::from([10, 0, 2, 100]));
    assert_eq!(stack.flows(), 0);
}

#[test]
fn flows_in_use_stay_while_idle_ones_make_room() {
    let (mut stack, mut world) = quiet();
    stack.limit_flows(100);
    let send = |stack: &mut Stack<World>, port, now, world: &mut World| {
        stack.frame(&datagram(port, "192.0.2.1:4000"), now, world);
        stack.run(now, world);
    };
    // A connection, and one conversation in use.
    let guest = Guest::new(0, 7, 60_000);
    stack.frame(&guest.segment(7, flag::SYN, b""), 0, &mut world);
    send(&mut stack, 1, 0, &mut world);
    answer(&mut stack, 1, 0, &mut world);
    // Many that are begun and never used again.
    for turn in 0..5000 {
        let now = 100 * turn;
        send(&mut stack, 1000 + turn as u16, now, &mut world);
        if turn % 200 == 0 {
            send(&mut stack, 1, now, &mut world);
            answer(&mut stack, 1, now, &mut world);
        }
        assert!(stack.flows() <= 100);
    }
    // As many at once as there may be: none of them is idle.
    let before = (world.opened.len(), stack.counters().dropped);
    for port in 20_000..20_200 {
        send(&mut stack, port, 500_000, &mut world);
    }
    assert!(stack.counters().dropped >= before.1 + 100);
    assert!(world.opened.len() <= before.0 + 100);
    answer(&mut stack, 1, 500_000, &mut world);
    // All those are idle by and by, and others are let in.
    let before = world.opened.len();
    for port in 30_000..30_050 {
        send(&mut stack, port, 510_000, &mut world);
    }
    assert_eq!(world.opened.len(), before + 50);
    let is_tcp = stack.connections();
    assert_eq!(is_tcp, 1);
}

/// The guest's connection is made, as the first one.
fn open(stack: &mut Stack<World>, guest: &mut Guest, world: &mut World) {
    let ready = Readiness {
        writable: true,
        ..Readiness::default()
    };
    let id = Id {
        index: 0,
        generation: 0,
    };
    stack.frame(&guest.work(1)[0], 0, world);
    stack.ready(id, ready, 0, world);
    let answer = guest.take(&world.to_guest.remove(0));
    stack.frame(&answer[0], 0, world);
}

fn quiet() -> (Stack<World>, World) {
    let world = World {
        peer: Rc::default(),
        to_guest: Vec::new(),
        ring: 100,
        seed: 1,
        names: None,
        own: None,
        opened: Vec::new(),
    };
    (Stack::new(config(1500)), world)
}

#[test]
fn a_refusal_is_a_reset_and_leaves_nothing() {
    let (mut stack, mut world) = quiet();
    world.peer.borrow_mut().refuses = true;
    let mut guest = Guest::new(0, 7, 60_000);
    stack.frame(&guest.work(1)[0], 0, &mut world);
    assert_eq!((stack.flows(), world.to_guest.len()), (1, 0));
    let ready = Readiness {
        writable: true,
        hangs_up: true,
        ..Readiness::default()
    };
    let id = Id {
        index: 0,
        generation: 0,
    };
    stack.ready(id, ready, 0, &mut world);
    assert_eq!(world.to_guest.len(), 1);
    guest.take(&world.to_guest[0]);
    assert!(guest.reset);
    assert_eq!((stack.flows(), stack.flows.half_open()), (0, 0));
}

#[test]
fn half_open_connections_are_bounded() {
    let (mut stack, mut world) = quiet();
    let own = "10.0.2.100".parse().unwrap();
    for number in 0..3000u32 {
        let to = std::net::Ipv4Addr::from_bits(0xc000_0200 + number);
        let head = Head::new(LINK, own, to.into(), protocol::TCP);
        let tcp = TcpHead {
            flags: flag::SYN,
            ..TcpHead::default()
        };
        let mut frame = [0; 100];
        let end = wire::write_tcp(&mut frame, &head, (4000, 80), &tcp, 0);
        stack.frame(&frame[..end], 0, &mut world);
    }
    assert_eq!(stack.flows(), HALF_OPEN);
    assert_eq!(world.opened.len(), HALF_OPEN);
    assert_eq!(stack.counters().dropped, 3000 - HALF_OPEN as u64);
}

/// A SYN of one of two containers behind the other end of the tap.
fn ask(container: u8, port: u16, to: &str) -> Vec<u8> {
    let own = IpAddr::from([10, 89, 0, container]);
    let head = Head::new(LINK, own, to.parse().unwrap(), protocol::TCP);
    let tcp = TcpHead {
        flags: flag::SYN,
        window: 60_000,
        ..TcpHead::default()
    };
    let mut frame = [0; 100];
    let end = wire::write_tcp(&mut frame, &head, (port, 80), &tcp, 0);
    frame[..end].to_vec()
}

/// A stack that two containers share.
fn shared() -> (Stack<World>, World) {
    let (_, world) = quiet();
    let mut config = config(1500);
    config.behind.push(Cidr {
        address: "10.89.0.0".parse().unwrap(),
        prefix: 24,
    });
    (Stack::new(config), world)
}

/// How many flows each of the two containers has.
fn counts(stack: &Stack<World>) -> [usize; 2] {
    [1, 2].map(|container| {
        let own = IpAddr::from([10, 89, 0, container]);
        let all = stack.flows.iter();
        all.filter(|flow| match flow {
            Flow::Tcp(flow) => flow.guest.ip() == own,
            Flow::Datagrams(flow) => flow.guest.ip() == own,
        })
        .count()
    })
}

#[test]
fn half_open_connections_of_one_do_not_stop_another() {
    let (mut stack, mut world) = shared();
    for port in 1..4000 {
        stack.frame(&ask(1, port, "192.0.2.1"), 0, &mut world);
    }
    assert_eq!(counts(&stack), [HALF_OPEN, 0]);
    for port in 1..4000 {
        stack.frame(&ask(2, port, "192.0.2.2"), 0, &mut world);
        assert_eq!(stack.flows(), HALF_OPEN);
        assert_eq!(stack.flows.half_open(), HALF_OPEN);
        assert_eq!(counts(&stack)[1], usize::from(port).min(HALF_OPEN / 2));
    }
    // The half of each stays his.
    for port in 4000..8000 {
        stack.frame(&ask(1, port, "192.0.2.1"), 0, &mut world);
    }
    assert_eq!(counts(&stack), [HALF_OPEN / 2; 2]);
}

#[test]
fn open_flows_of_one_make_room_for_another_and_are_told() {
    let (mut stack, mut world) = shared();
    stack.limit_flows(50);
    let connect = |stack: &mut Stack<World>, container, port, index, world: &mut World| {
        stack.frame(&ask(container, port, "192.0.2.1"), 0, world);
        let ready = Readiness {
            writable: true,
            ..Readiness::default()
        };
        let id = Id {
            index,
            generation: 0,
        };
        stack.ready(id, ready, 0, world);
        let answer = world.to_guest.pop().unwrap();
        let ip = Ip::parse_v4(&answer[VNET + ETHERNET..]).unwrap();
        let syn = Segment::parse(ip.payload).unwrap();
        let own = IpAddr::from([10, 89, 0, container]);
        let head = Head::new(LINK, own, "192.0.2.1".parse().unwrap(), protocol::TCP);
        let tcp = TcpHead {
            seq: 1,
            ack: syn.seq.wrapping_add(1),
            flags: flag::ACK,
            window: 60_000,
            ..TcpHead::default()
        };
        let mut frame = [0; 100];
        let end = wire::write_tcp(&mut frame, &head, (port, 80), &tcp, 0);
        stack.frame(&frame[..end], 0, world);
    };
    (0..50).for_each(|n| connect(&mut stack, 1, 1000 + n, n.into(), &mut world));
    assert_eq!((counts(&stack), stack.flows.half_open()), ([50, 0], 0));
    world.to_guest.clear();
    stack.frame(&ask(2, 1, "192.0.2.2"), 0, &mut world);
    assert_eq!(counts(&stack), [49, 1]);
    assert!(world.peer.borrow().aborted, "the host's end");
    let ip = Ip::parse_v4(&world.to_guest[0][VNET + ETHERNET..]).unwrap();
    let reset = Segment::parse(ip.payload).unwrap();
    assert!(reset.has(flag::RST));
    assert_eq!(reset.destination, 1049, "the newest");
    // Idle datagrams of who has less are not touched.
    stack.frame(&datagram_of(2), 0, &mut world);
    assert_eq!(counts(&stack), [48, 2]);
    for port in 5000..5100 {
        stack.frame(&ask(1, port, "192.0.2.1"), 29_000, &mut world);
    }
    assert_eq!(counts(&stack), [48, 2]);
}

fn datagram_of(container: u8) -> Vec<u8> {
    let own = SocketAddr::new([10, 89, 0, container].into(), 5000);
    datagram_between(own, "192.0.2.1:4000")
}

#[test]
fn bytes_of_one_do_not_stop_another() {
    use crate::net::shares::Account;
    let mut buffers = Buffers::default();
    let (greedy, other) = (Account::default(), Account::default());
    assert_eq!(buffers.allowance(&greedy, 1 << 20), 1 << 20);
    while buffers.allowance(&greedy, 1 << 20) > 0 {
        buffers.hold(&greedy, 1 << 16);
    }
    assert_eq!(buffers.held(), 128 << 20);
    while buffers.allowance(&other, 1 << 20) > 0 {
        buffers.hold(&other, 1 << 16);
    }
    assert_eq!(other.held(), 1 << 20);
    // Many at once are bounded too.
    let mut all = 0;
    while buffers.allowance(&Account::default(), 1 << 20) > 0 {
        buffers.hold(&Account::default(), 1 << 20);
        all += 1;
    }
    assert!(all < 256);
}

#[test]
fn what_was_promised_is_taken_to_the_last_byte() {
    let (mut stack, mut world) = quiet();
    world.peer.borrow_mut().capacity = 100;
    let mut guest = Guest::new(200_000, 7, 60_000);
    open(&mut stack, &mut guest, &mut world);
    let edge = guest.una.wrapping_add(guest.window);
    // In pieces of which the windows' scale is no measure.
    while guest.nxt != edge {
        let at = guest.nxt.wrapping_sub(guest.iss).wrapping_sub(1) as usize;
        let length = edge.wrapping_sub(guest.nxt).min(1001) as usize;
        let segment = guest.segment(guest.nxt, flag::ACK, stream(at, length));
        guest.nxt = guest.nxt.wrapping_add(length as u32);
        stack.frame(&segment, 0, &mut world);
        stack.run(0, &mut world);
        for frame in std::mem::take(&mut world.to_guest) {
            guest.take(&frame);
        }
        assert_eq!(guest.una, guest.nxt);
        let promised = guest.una.wrapping_add(guest.window).wrapping_add(127);
        assert!(
            promised.wrapping_sub(edge) as i32 >= 0,
            "a promise was taken back"
        );
    }
}
