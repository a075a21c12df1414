//! Socket activation (sd_listen_fds(3)): sockets that whoever started bryo has
//! opened for the container.

use crate::error::refuse;
use anyhow::Result;

/// Sockets that are passed on: descriptors from 3 on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sockets {
    /// How many.
    pub count: u32,
    /// What they are called, colons between, if that was said.
    pub names: Option<String>,
}

/// More is taken for a mistake.
const MOST_SOCKETS: u32 = 16;

impl Sockets {
    /// Those that were passed to this process, by its environment.
    ///
    /// # Errors
    /// There are too many.
    pub fn of_this_process() -> Result<Sockets> {
        let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
        if number("LISTEN_PID") != Some(std::process::id()) {
            return Ok(Sockets::default());
        }
        let count = number("LISTEN_FDS").unwrap_or(0);
        if count > MOST_SOCKETS {
            refuse!(
                Invalid,
                "LISTEN_FDS={count}: at most {MOST_SOCKETS} sockets can be passed on"
            );
        }
        let names = std::env::var("LISTEN_FDNAMES").ok();
        Ok(Sockets { count, names })
    }

    /// Their descriptors.
    pub fn numbers(&self) -> std::ops::Range<i32> {
        3..3 + self.count as i32
    }

    /// Whether this descriptor is one of them.
    pub fn has(&self, number: i32) -> bool {
        self.numbers().contains(&number)
    }
}
