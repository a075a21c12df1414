//! Where flows are kept: by name and by addresses, with those that have
//! something to do, and when others will.

use super::host::{Id, Kind, Millis};
use super::shares::{Account, Room, Shares};
use super::{tcp, udp};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

/// Of a thousand parts of its time: as long as nothing has happened for less
/// than these, a flow of datagrams is in use.
const IN_USE: Millis = 250;

/// What goes between two addresses.
#[derive(Debug)]
pub enum Flow<S> {
    /// A connection.
    Tcp(Box<tcp::Flow<S>>),
    /// Datagrams and echo requests.
    Datagrams(Box<udp::Flow<S>>),
}

impl<S> Flow<S> {
    /// The container's address.
    fn guest(&self) -> IpAddr {
        match self {
            Flow::Tcp(flow) => flow.guest.ip(),
            Flow::Datagrams(flow) => flow.guest.ip(),
        }
    }

    /// Whether it is a connection that is being made.
    pub fn is_half_open(&self) -> bool {
        matches!(self, Flow::Tcp(flow) if flow.is_half_open())
    }

    fn key(&self) -> Key {
        match self {
            Flow::Tcp(flow) => Key::new(Kind::Tcp, flow.guest, flow.remote),
            Flow::Datagrams(flow) => Key::new(flow.kind, flow.guest, flow.remote),
        }
    }

    /// When something is to be done even if nothing happens.
    pub fn deadline(&self) -> Option<Millis> {
        match self {
            Flow::Tcp(flow) => flow.deadline,
            Flow::Datagrams(flow) => flow.deadline,
        }
    }
}

/// The addresses of a flow: the container's, and the other as it sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    kind: Kind,
    guest: SocketAddr,
    remote: SocketAddr,
}

impl Key {
    /// The key of a flow of this kind between two addresses.
    pub fn new(kind: Kind, guest: SocketAddr, remote: SocketAddr) -> Key {
        Key {
            kind,
            guest,
            remote,
        }
    }
}

#[derive(Debug)]
struct Slot<S> {
    generation: u32,
    flow: Option<Flow<S>>,
    /// In the list of those with something to do.
    queued: bool,
    /// The time for which it is among the alarms.
    alarm: Option<Millis>,
    /// Its number among the [shares](Shares).
    number: u64,
}

/// All flows of a network.
#[derive(Debug)]
pub struct Flows<S> {
    slots: Vec<Slot<S>>,
    free: Vec<u32>,
    by_key: HashMap<Key, Id>,
    ready: VecDeque<Id>,
    alarms: BinaryHeap<Reverse<(Millis, Id)>>,
    shares: Shares,
}

impl<S> Default for Flows<S> {
    fn default() -> Flows<S> {
        Flows {
            slots: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::new(),
            ready: VecDeque::new(),
            alarms: BinaryHeap::new(),
            shares: Shares::default(),
        }
    }
}

impl<S> Flows<S> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// How many connections are being made.
    pub fn half_open(&self) -> usize {
        self.shares.half_open()
    }

    /// What counts the bytes that the container at this address has us hold.
    pub fn account(&mut self, guest: IpAddr) -> Account {
        self.shares.account(guest)
    }

    /// Which flow is to make room for one of the container at `asker`, if one
    /// is to.
    pub fn victim(&self, asker: IpAddr, of: Room) -> Option<Id> {
        self.shares.victim(asker, of)
    }

    /// A connection is made.
    pub fn opened(&mut self, id: Id) {
        if let Some(slot) = self.slots.get(id.index as usize)
            && slot.generation == id.generation
            && let Some(flow) = &slot.flow
        {
            self.shares.opened(flow.guest(), slot.number);
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Flow<S>> {
        self.slots.iter().filter_map(|slot| slot.flow.as_ref())
    }

    /// The flow between these addresses.
    pub fn find(&self, key: Key) -> Option<Id> {
        self.by_key.get(&key).copied()
    }

    fn slot(&mut self, id: Id) -> Option<&mut Slot<S>> {
        let slot = self.slots.get_mut(id.index as usize)?;
        (slot.generation == id.generation).then_some(slot)
    }

    /// The flow of this name, if it still is.
    pub fn get(&mut self, id: Id) -> Option<&mut Flow<S>> {
        self.slot(id)?.flow.as_mut()
    }

    /// The name that the flow that is [inserted](Self::insert) next will have.
    pub fn next_id(&self) -> Id {
        let index = self.free.last().copied();
        let index = index.unwrap_or(self.slots.len() as u32);
        let slot = self.slots.get(index as usize);
        Id {
            index,
            generation: slot.map_or(0, |slot| slot.generation),
        }
    }

    /// Adds a flow, by the name that [`next_id`](Self::next_id) gave.
    pub fn insert(&mut self, id: Id, flow: Flow<S>) {
        self.by_key.insert(flow.key(), id);
        let number = self.shares.begin(flow.guest(), id, flow.is_half_open());
        self.free.pop_if(|index| *index == id.index);
        match self.slots.get_mut(id.index as usize) {
            Some(slot) => (slot.flow, slot.number) = (Some(flow), number),
            None => self.slots.push(Slot {
                generation: id.generation,
                flow: Some(flow),
                queued: false,
                alarm: None,
                number,
            }),
        }
    }

    /// Takes a flow out.
    pub fn remove(&mut self, id: Id) -> Option<Flow<S>> {
        let slot = self.slot(id)?;
        slot.generation = slot.generation.wrapping_add(1);
        slot.alarm = None;
        slot.queued = false;
        let flow = slot.flow.take()?;
        let number = slot.number;
        self.shares.end(flow.guest(), number);
        self.by_key.remove(&flow.key());
        self.free.push(id.index);
        Some(flow)
    }

    /// Something is to be done for it.
    pub fn queue(&mut self, id: Id) {
        if let Some(slot) = self.slot(id)
            && slot.flow.is_some()
            && !std::mem::replace(&mut slot.queued, true)
        {
            self.ready.push_back(id);
        }
    }

    /// How many have something to do.
    pub fn queued(&self) -> usize {
        self.ready.len()
    }

    /// The next one that has something to do.
    pub fn next_queued(&mut self) -> Option<Id> {
        loop {
            let id = self.ready.pop_front()?;
            if let Some(slot) = self.slot(id) {
                slot.queued = false;
                return Some(id);
            }
        }
    }

    /// Sees to it that a flow's deadline is kept.
    pub fn set_alarm(&mut self, id: Id) {
        let Some(slot) = self.slot(id) else {
            return;
        };
        let deadline = slot.flow.as_ref().and_then(Flow::deadline);
        if let Some(deadline) = deadline
            && slot.alarm.is_none_or(|alarm| alarm > deadline)
        {
            slot.alarm = Some(deadline);
            self.alarms.push(Reverse((deadline, id)));
        }
    }

    /// The next flow whose deadline is over.
    pub fn next_due(&mut self, now: Millis) -> Option<Id> {
        while let Some(Reverse((time, id))) = self.alarms.peek().copied()
            && time <= now
        {
            self.alarms.pop();
            let Some(slot) = self.slot(id).filter(|slot| slot.alarm == Some(time)) else {
                continue;
            };
            slot.alarm = None;
            match slot.flow.as_ref().and_then(Flow::deadline) {
                Some(deadline) if deadline <= now => return Some(id),
                // It was put off meanwhile.
                _ => self.set_alarm(id),
            }
        }
        None
    }

    /// When a deadline may be over next.
    pub fn next_alarm(&self) -> Option<Millis> {
        self.alarms.peek().map(|Reverse((time, _))| *time)
    }

    /// Datagrams' flows of some addresses of the container's.
    pub fn datagrams(&self, of: impl Fn(IpAddr) -> bool) -> Vec<Id> {
        let all = self.named();
        let ours = all.filter(|(_, flow)| of(flow.guest.ip()));
        ours.map(|(id, _)| id).collect()
    }

    /// At most `most` of the datagrams' flows that are least likely to be used
    /// again: those whose time is over soonest, as a part of what they have.
    /// None that is in use, and none of a container that has less than `asker`.
    pub fn idle(&self, asker: IpAddr, now: Millis, most: usize) -> Vec<Id> {
        let yields = |flow: &udp::Flow<S>| self.shares.yields(flow.guest.ip(), asker);
        let all = self.named().filter(|(_, flow)| yields(flow));
        let rested = all.map(|(id, flow)| (flow.rested(now), id));
        let mut idle: Vec<_> = rested.filter(|(part, _)| *part >= IN_USE).collect();
        if idle.len() > most {
            idle.select_nth_unstable_by(most, |one, other| other.cmp(one));
            idle.truncate(most);
        }
        idle.into_iter().map(|(_, id)| id).collect()
    }

    fn named(&self) -> impl Iterator<Item = (Id, &udp::Flow<S>)> {
        let slots = (0..).zip(&self.slots);
        slots.filter_map(|(index, slot)| match &slot.flow {
            Some(Flow::Datagrams(flow)) => {
                let generation = slot.generation;
                Some((Id { index, generation }, &**flow))
            }
            _ => None,
        })
    }

    /// Gives back memory that is not used.
    pub fn trim(&mut self) {
        self.ready.shrink_to_fit();
        if self.by_key.is_empty() {
            self.by_key = HashMap::new();
            self.alarms = BinaryHeap::new();
        }
    }
}
