//! What each container has of a translator that several share. Pure.
//!
//! One alone may have everything. When there is no more, who has most gives
//! way to who has less: what it took last it loses first, and before that what
//! is only being made. So the share that nobody can be kept from is what is
//! there, divided by those who want it (max-min fairness).

use super::host::Id;
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::rc::Rc;

/// Bytes that the flows of one container hold.
#[derive(Debug, Clone, Default)]
pub struct Account(Rc<Cell<usize>>);

impl Account {
    /// How many.
    pub fn held(&self) -> usize {
        self.0.get()
    }

    /// That many more.
    pub fn add(&self, bytes: usize) {
        self.0.set(self.0.get() + bytes);
    }

    /// That many less.
    pub fn take(&self, bytes: usize) {
        self.0.set(self.0.get() - bytes);
    }
}

/// Of what there is to be room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Any flow.
    Flow,
    /// A connection that is being made.
    HalfOpen,
}

/// One container's flows, by their numbers: the last one is the newest.
#[derive(Debug, Default)]
struct Holding {
    open: BTreeMap<u64, Id>,
    half_open: BTreeMap<u64, Id>,
    account: Account,
}

impl Holding {
    fn count(&self, of: Room) -> usize {
        match of {
            Room::Flow => self.open.len() + self.half_open.len(),
            Room::HalfOpen => self.half_open.len(),
        }
    }

    /// What it loses first.
    fn least(&self) -> Option<Id> {
        let last = self.half_open.last_key_value();
        let last = last.or_else(|| self.open.last_key_value());
        last.map(|(_, id)| *id)
    }
}

/// Flows by the address of the container that has them.
#[derive(Debug, Default)]
pub struct Shares {
    of: HashMap<IpAddr, Holding>,
    next: u64,
    half_open: usize,
}

impl Shares {
    /// A container's account.
    pub fn account(&mut self, guest: IpAddr) -> Account {
        self.of.entry(guest).or_default().account.clone()
    }

    /// Counts a flow; returns its number.
    pub fn begin(&mut self, guest: IpAddr, id: Id, half_open: bool) -> u64 {
        let number = self.next;
        self.next += 1;
        let holding = self.of.entry(guest).or_default();
        match half_open {
            true => holding.half_open.insert(number, id),
            false => holding.open.insert(number, id),
        };
        self.half_open += usize::from(half_open);
        number
    }

    /// A connection is made.
    pub fn opened(&mut self, guest: IpAddr, number: u64) {
        if let Some(holding) = self.of.get_mut(&guest)
            && let Some(id) = holding.half_open.remove(&number)
        {
            holding.open.insert(number, id);
            self.half_open -= 1;
        }
    }

    /// A flow is over.
    pub fn end(&mut self, guest: IpAddr, number: u64) {
        if let Some(holding) = self.of.get_mut(&guest) {
            let half_open = holding.half_open.remove(&number).is_some();
            self.half_open -= usize::from(half_open);
            holding.open.remove(&number);
            if holding.count(Room::Flow) == 0 {
                self.of.remove(&guest);
            }
        }
    }

    /// How many connections are being made.
    pub fn half_open(&self) -> usize {
        self.half_open
    }

    fn count(&self, guest: IpAddr, of: Room) -> usize {
        self.of.get(&guest).map_or(0, |holding| holding.count(of))
    }

    /// Whether a container has no less than `asker`, so that it may lose for
    /// it what it does not use.
    pub fn yields(&self, guest: IpAddr, asker: IpAddr) -> bool {
        self.count(guest, Room::Flow) >= self.count(asker, Room::Flow)
    }

    /// Which flow is to make room for one of `asker`'s: one of whoever has
    /// most, if that is more than what the asker will have.
    pub fn victim(&self, asker: IpAddr, of: Room) -> Option<Id> {
        let most = self.of.values().max_by_key(|holding| holding.count(of))?;
        match most.count(of) > self.count(asker, of) + 1 {
            true => most.least(),
            false => None,
        }
    }
}

/// Of things from the oldest to the newest, by whose they are, the one that is
/// to make room: the oldest of whoever has most.
pub fn oldest_of_most(whose: impl Iterator<Item = IpAddr> + Clone) -> usize {
    let mut counts: HashMap<IpAddr, usize> = HashMap::new();
    for one in whose.clone() {
        *counts.entry(one).or_default() += 1;
    }
    let most = counts.values().max().copied();
    let mut whose = whose;
    whose
        .position(|one| counts.get(&one).copied() == most)
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    fn guest(number: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, number).into()
    }

    fn id(index: u32) -> Id {
        Id {
            index,
            generation: 0,
        }
    }

    #[test]
    fn the_newest_of_who_has_most_makes_room_those_being_made_first() {
        let mut shares = Shares::default();
        assert_eq!(shares.victim(guest(1), Room::Flow), None);
        let numbers: Vec<u64> = (0..4)
            .map(|n| shares.begin(guest(1), id(n), n == 2))
            .collect();
        assert_eq!(shares.victim(guest(1), Room::Flow), None);
        assert_eq!(shares.victim(guest(2), Room::Flow), Some(id(2)));
        // It has one half-open alone.
        assert_eq!(shares.victim(guest(2), Room::HalfOpen), None);
        shares.opened(guest(1), numbers[2]);
        assert_eq!(shares.half_open(), 0);
        assert_eq!(shares.victim(guest(2), Room::Flow), Some(id(3)));
        shares.end(guest(1), numbers[3]);
        assert_eq!(shares.victim(guest(2), Room::Flow), Some(id(2)));
        shares.begin(guest(2), id(9), false);
        shares.begin(guest(2), id(10), false);
        assert_eq!(shares.victim(guest(2), Room::Flow), None);
        assert!(shares.yields(guest(1), guest(2)) && !shares.yields(guest(3), guest(2)));
        (0..3).for_each(|n| shares.end(guest(1), numbers[n]));
        assert!(!shares.of.contains_key(&guest(1)));
    }

    #[test]
    fn the_oldest_of_who_has_most_makes_room() {
        let of = |all: &[u8]| oldest_of_most(all.iter().map(|n| guest(*n)));
        assert_eq!(of(&[1, 2, 3]), 0);
        assert_eq!(of(&[1, 2, 3, 2]), 1);
        assert_eq!(of(&[]), 0);
    }

    proptest! {
        /// Whatever containers open in which order, with room for `most`: all
        /// of it is used, and nobody who wants a fair share has less.
        #[test]
        fn who_asks_for_a_fair_share_gets_it(
            wants in proptest::collection::vec(0usize..60, 1..6),
            most in 6usize..50,
            seed: u64,
        ) {
            let mut shares = Shares::default();
            let mut flows: HashMap<Id, (IpAddr, u64)> = HashMap::new();
            let mut order: Vec<u8> = (0..)
                .zip(&wants)
                .flat_map(|(n, want)| std::iter::repeat_n(n, *want))
                .collect();
            let mut seed = seed | 1;
            for at in (1..order.len()).rev() {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1);
                order.swap(at, (seed >> 33) as usize % (at + 1));
            }
            // Who was refused or lost one asks again.
            let mut rounds = 0;
            while rounds < 3 {
                for (index, n) in (rounds * 1000..).zip(&order) {
                    let asker = guest(*n);
                    let own = flows.values().filter(|flow| flow.0 == asker).count();
                    if own == wants[usize::from(*n)] {
                        continue;
                    }
                    if flows.len() == most {
                        let Some(victim) = shares.victim(asker, Room::Flow) else {
                            continue;
                        };
                        let (guest, number) = flows.remove(&victim).unwrap();
                        shares.end(guest, number);
                    }
                    let number = shares.begin(asker, id(index), index % 3 == 0);
                    flows.insert(id(index), (asker, number));
                }
                rounds += 1;
            }
            prop_assert_eq!(flows.len(), order.len().min(most));
            let fair = most / wants.len();
            for (n, want) in (0..).zip(&wants) {
                let has = flows.values().filter(|flow| flow.0 == guest(n)).count();
                prop_assert!(has >= fair.min(*want), "{has} of {want}, {fair}");
            }
            let half_open = shares.of.values().map(|h| h.half_open.len()).sum::<usize>();
            prop_assert_eq!(shares.half_open(), half_open);
        }
    }
}
