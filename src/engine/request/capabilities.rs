//! `--cap-add` and `--cap-drop`.

use crate::error::refusal;
use anyhow::{Context, Result};
use oci_spec::runtime::{Capabilities, Capability};

/// `--cap-add` and `--cap-drop`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CapabilityChanges {
    /// Added; `None` stands for all.
    pub add: Vec<Option<Capability>>,
    /// Dropped; `None` stands for all.
    pub drop: Vec<Option<Capability>>,
}

/// Docker's default capabilities.
pub const DEFAULT_CAPABILITIES: [Capability; 14] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fsetid,
    Capability::Fowner,
    Capability::Mknod,
    Capability::NetRaw,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setfcap,
    Capability::Setpcap,
    Capability::NetBindService,
    Capability::SysChroot,
    Capability::Kill,
    Capability::AuditWrite,
];

/// Reads the name of a capability, with or without `CAP_`; `ALL` is `None`.
///
/// # Errors
/// There is none of that name.
pub fn parse(text: &str) -> Result<Option<Capability>> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if name == "ALL" {
        return Ok(None);
    }
    let parsed = serde_json::from_value(serde_json::Value::String(format!("CAP_{name}")));
    parsed
        .map(Some)
        .with_context(|| format!("capability '{text}': capabilities(7) has none so"))
        .map_err(|e| refusal!(Invalid, "{e}"))
}

impl CapabilityChanges {
    /// The default set, all if `privileged`, with the changes; `last` is the
    /// highest number that the kernel knows.
    pub fn apply(&self, privileged: bool, all: &Capabilities) -> Capabilities {
        let defaults = || DEFAULT_CAPABILITIES.into_iter().filter(|c| all.contains(c));
        let mut set: Capabilities = match privileged || self.add.contains(&None) {
            true => all.clone(),
            false => defaults().collect(),
        };
        if self.drop.contains(&None) {
            set.clear();
        }
        set.extend(self.add.iter().flatten().copied());
        for dropped in self.drop.iter().flatten() {
            set.remove(dropped);
        }
        set
    }
}

/// Docker's name of a capability: `CAP_CHOWN`.
pub fn name(capability: Capability) -> String {
    let name = serde_json::to_value(capability);
    let name = name.as_ref().ok().and_then(|name| name.as_str());
    name.unwrap_or_default().to_owned()
}

/// The capabilities that this kernel knows.
pub fn known() -> Capabilities {
    let last = crate::sys::cred::last_capability();
    caps::all()
        .into_iter()
        .filter(|c| u32::from(c.index()) <= last)
        .filter_map(|c| parse(&c.to_string()).ok().flatten())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_flag_is_survived(text in "[a-z0-9:=,/.~ \\PC]{0,40}") {
            let _ = parse(&text);
        }
    }

    #[test]
    fn capabilities_are_read() {
        for text in ["chown", "CHOWN", "cap_chown", "CAP_CHOWN"] {
            assert_eq!(parse(text).unwrap(), Some(Capability::Chown), "{text}");
        }
        for text in ["all", "ALL", "CAP_ALL"] {
            assert_eq!(parse(text).unwrap(), None, "{text}");
        }
        let error = parse("CAP_FLY").unwrap_err().to_string();
        assert_eq!(error, "capability 'CAP_FLY': capabilities(7) has none so");
    }

    #[test]
    fn capability_changes() {
        let all: Capabilities = DEFAULT_CAPABILITIES
            .into_iter()
            .chain([Capability::SysAdmin])
            .collect();
        let changes = |add: &[&str], drop: &[&str]| CapabilityChanges {
            add: add.iter().map(|c| parse(c).unwrap()).collect(),
            drop: drop.iter().map(|c| parse(c).unwrap()).collect(),
        };
        assert_eq!(changes(&[], &[]).apply(false, &all).len(), 14);
        assert_eq!(
            changes(&["all"], &["CAP_CHOWN"]).apply(false, &all).len(),
            14
        );
        assert_eq!(changes(&["sys_admin"], &["ALL"]).apply(true, &all).len(), 1);
    }
}
