//! Control groups of version 2 (cgroups(7), the kernel's
//! admin-guide/cgroup-v2.rst): where a container's may be, what limits are
//! called there, and what can be done to all of its processes at once.

pub mod dbus;
pub mod devices;
pub mod events;
pub mod limits;
pub mod place;
pub mod stat;
pub mod systemd;
pub mod units;
pub mod v2;
