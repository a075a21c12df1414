//! The credentials that a process of an emulated root believes to have: what
//! the kernel would have done with its set*id calls (credentials(7),
//! setresuid(2), setfsuid(2), setgroups(2)). Pure.

use nix::errno::Errno;

/// User or group ids of one process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Triple {
    /// Real id.
    pub real: u32,
    /// Effective id.
    pub effective: u32,
    /// Saved id.
    pub saved: u32,
    /// Id for access to files.
    pub file: u32,
}

/// "Leave this one as it is", and "no id".
const KEEP: u32 = u32::MAX;

impl Triple {
    fn has(&self, id: u32) -> bool {
        [self.real, self.effective, self.saved].contains(&id)
    }

    /// setuid(2), setgid(2).
    fn set(&mut self, id: u32, privileged: bool) -> Result<(), Errno> {
        match id {
            KEEP => return Err(Errno::EINVAL),
            _ if privileged => (self.real, self.saved) = (id, id),
            _ if id == self.real || id == self.saved => {}
            _ => return Err(Errno::EPERM),
        }
        (self.effective, self.file) = (id, id);
        Ok(())
    }

    /// setreuid(2), setregid(2).
    fn set_real_effective(
        &mut self,
        real: u32,
        effective: u32,
        privileged: bool,
    ) -> Result<(), Errno> {
        let may_real = real == KEEP || real == self.real || real == self.effective;
        let may_effective = effective == KEEP || self.has(effective);
        if !(privileged || may_real && may_effective) {
            return Err(Errno::EPERM);
        }
        let old_real = self.real;
        if real != KEEP {
            self.real = real;
        }
        if effective != KEEP {
            self.effective = effective;
        }
        if real != KEEP || (effective != KEEP && effective != old_real) {
            self.saved = self.effective;
        }
        self.file = self.effective;
        Ok(())
    }

    /// setresuid(2), setresgid(2).
    fn set_all(&mut self, ids: [u32; 3], privileged: bool) -> Result<(), Errno> {
        if !privileged && !ids.iter().all(|id| *id == KEEP || self.has(*id)) {
            return Err(Errno::EPERM);
        }
        let fields = [&mut self.real, &mut self.effective, &mut self.saved];
        for (field, id) in fields.into_iter().zip(ids) {
            if id != KEEP {
                *field = id;
            }
        }
        self.file = self.effective;
        Ok(())
    }

    /// setfsuid(2), setfsgid(2): returns the id before, whatever happens.
    fn set_file(&mut self, id: u32, privileged: bool) -> u32 {
        let before = self.file;
        if id != KEEP && (privileged || self.has(id) || id == self.file) {
            self.file = id;
        }
        before
    }
}

/// What a process believes to be. The default is root without further groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ids {
    /// Its user ids.
    pub user: Triple,
    /// Its group ids.
    pub group: Triple,
    /// Its supplementary groups.
    pub groups: Vec<u32>,
    /// Whether it took capabilities back after it had left root (`PR_SET_KEEPCAPS`
    /// and capset(2), as setpriv(1) does).
    pub kept_capabilities: bool,
}

/// A call that changes ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// setuid(2)
    User(u32),
    /// setgid(2)
    Group(u32),
    /// setreuid(2)
    RealEffectiveUser(u32, u32),
    /// setregid(2)
    RealEffectiveGroup(u32, u32),
    /// setresuid(2)
    Users([u32; 3]),
    /// setresgid(2)
    Groups([u32; 3]),
    /// setfsuid(2)
    FileUser(u32),
    /// setfsgid(2)
    FileGroup(u32),
    /// setgroups(2)
    Supplementary(Vec<u32>),
    /// capset(2): the effective set.
    Capabilities(u64),
}

impl Ids {
    /// CAP_SETGID and CAP_SETUID.
    pub const OVER_IDS: u64 = 0xc0;

    /// Whether it may do what root may: the kernel asks for CAP_SETUID and
    /// the like, which a process has as long as its effective id is root's.
    pub fn privileged(&self) -> bool {
        self.user.effective == 0 || self.kept_capabilities
    }

    /// Does what the kernel would do, and returns what the call returns.
    ///
    /// # Errors
    /// As the man pages of the calls.
    pub fn apply(&mut self, change: &Change) -> Result<i64, Errno> {
        let privileged = self.privileged();
        match *change {
            Change::User(id) => self.user.set(id, privileged)?,
            Change::Group(id) => self.group.set(id, privileged)?,
            Change::RealEffectiveUser(r, e) => self.user.set_real_effective(r, e, privileged)?,
            Change::RealEffectiveGroup(r, e) => self.group.set_real_effective(r, e, privileged)?,
            Change::Users(ids) => self.user.set_all(ids, privileged)?,
            Change::Groups(ids) => self.group.set_all(ids, privileged)?,
            Change::FileUser(id) => return Ok(self.user.set_file(id, privileged).into()),
            Change::FileGroup(id) => return Ok(self.group.set_file(id, privileged).into()),
            Change::Capabilities(effective) => {
                self.kept_capabilities = self.user.effective != 0 && effective & Ids::OVER_IDS != 0;
            }
            Change::Supplementary(_) if !privileged => return Err(Errno::EPERM),
            Change::Supplementary(ref groups) => {
                if groups.contains(&KEEP) {
                    return Err(Errno::EINVAL);
                }
                self.groups.clone_from(groups);
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What apt does before it fetches: drop to its user, then try to get
    /// back, which must fail.
    #[test]
    fn privileges_that_were_dropped_stay_dropped() {
        let mut ids = Ids::default();
        assert_eq!(ids.apply(&Change::Supplementary(vec![65534])), Ok(0));
        assert_eq!(ids.apply(&Change::Groups([65534; 3])), Ok(0));
        assert_eq!(ids.apply(&Change::Users([42; 3])), Ok(0));
        assert_eq!((ids.user.real, ids.user.saved, ids.user.file), (42, 42, 42));
        for change in [
            Change::User(0),
            Change::RealEffectiveUser(KEEP, 0),
            Change::Users([KEEP, 0, KEEP]),
            Change::Group(0),
            Change::Supplementary(vec![]),
        ] {
            assert_eq!(ids.apply(&change), Err(Errno::EPERM), "{change:?}");
        }
        assert_eq!(ids.apply(&Change::FileUser(0)), Ok(42));
        assert_eq!(ids.apply(&Change::FileUser(KEEP)), Ok(42));
    }

    #[test]
    fn kept_capabilities_still_set_groups() {
        let mut ids = Ids::default();
        assert_eq!(ids.apply(&Change::Users([5; 3])), Ok(0));
        assert_eq!(ids.apply(&Change::Capabilities(0xc0)), Ok(0));
        assert_eq!(ids.apply(&Change::Groups([6; 3])), Ok(0));
        assert_eq!(ids.apply(&Change::Capabilities(0)), Ok(0));
        assert_eq!(ids.apply(&Change::Group(0)), Err(Errno::EPERM));
    }

    #[test]
    fn an_effective_id_can_be_taken_back() {
        let mut ids = Ids::default();
        assert_eq!(ids.apply(&Change::RealEffectiveUser(KEEP, 33)), Ok(0));
        assert_eq!(
            (ids.user.real, ids.user.effective, ids.user.saved),
            (0, 33, 33)
        );
        assert_eq!(ids.apply(&Change::RealEffectiveUser(KEEP, 0)), Ok(0));
        assert!(ids.privileged());
        assert_eq!(ids.apply(&Change::Users([KEEP, 33, KEEP])), Ok(0));
        assert_eq!(ids.apply(&Change::User(0)), Ok(0));
        assert!(ids.privileged());
        assert_eq!(ids.apply(&Change::User(KEEP)), Err(Errno::EINVAL));
    }
}
