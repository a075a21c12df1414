//! The network as bryo serves it itself: a container's packets, translated to
//! and from ordinary sockets of the host.
//!
//! [`wire`] is what a tap carries. [`stack`] is the other end of it, with
//! [`tcp`] and [`udp`] for what flows; all of it is pure and has a
//! [`Host`](host::Host) do the rest. [`worker`] is the process that has the
//! tap and the sockets, and waits for them as [`polling`] says. [`dns`],
//! [`dhcp`], [`dhcp6`] and [`ra`] are what containers ask their router; pure
//! too, as is [`capture`], which shows packets. [`shares`] keeps one container
//! from taking everything from others. [`relay`] is the way past all of it, for
//! clients on the host itself.

pub mod capture;
pub mod dhcp;
pub mod dhcp6;
pub mod dns;
pub mod flows;
pub mod fragments;
pub mod host;
pub mod names;
pub mod own;
pub mod policy;
pub mod polling;
pub mod ra;
pub mod relay;
pub mod shares;
pub mod stack;
pub mod tcp;
pub mod udp;
pub mod wire;
pub mod worker;
