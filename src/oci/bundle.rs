//! A bundle: a directory with `config.json` and, mostly, the root file system.

use super::document;
use crate::error::refuse;
use crate::idmap;
use crate::runtime::Plan;
use crate::sys::ns;
use anyhow::{Context, Result};
use nix::unistd::Gid;
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use serde_json::json;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A bundle that was read.
#[derive(Debug)]
pub struct Bundle {
    /// Its directory, absolute.
    pub dir: PathBuf,
    /// `config.json` as it stands there.
    pub text: Vec<u8>,
    /// What it says.
    pub spec: Spec,
    /// What of it is passed over.
    pub warnings: Vec<String>,
}

/// Most bytes of a `config.json`.
const MOST: u64 = 16 << 20;

impl Bundle {
    /// Reads the bundle in `dir`.
    ///
    /// # Errors
    /// There is no `config.json`, or it is none.
    pub fn read(dir: &Path) -> Result<Bundle> {
        let dir = std::path::absolute(dir).with_context(|| dir.display().to_string())?;
        let path = dir.join("config.json");
        let what = || path.display().to_string();
        let meta = match path.metadata() {
            Err(e) if e.kind() == ErrorKind::NotFound => refuse!(
                NotFound,
                "JSON specification file config.json not found: {}: no such file or directory",
                path.display()
            ),
            meta => meta.with_context(what)?,
        };
        if meta.len() > MOST {
            refuse!(Invalid, "{}: more than {} MiB", what(), MOST >> 20);
        }
        let text = std::fs::read(&path).with_context(what)?;
        let (spec, warnings) = match document::spec(&text) {
            Ok(read) => read,
            Err(error) => refuse!(Invalid, "{}: {error}", what()),
        };
        Ok(Bundle {
            dir,
            text,
            spec,
            warnings,
        })
    }

    /// Its root file system, absolute.
    pub fn rootfs(&self) -> PathBuf {
        let root = self.spec.root().as_ref();
        self.dir
            .join(root.map_or(Path::new(""), |root| root.path()))
    }
}

/// The plan of a container whose specification and bundle these are: as
/// [`Plan::new`], and its process outlives who makes it.
///
/// # Errors
/// As of [`Plan::new`]; what is not done by this command line.
pub fn plan(spec: &Spec, dir: &Path, id: &str) -> Result<Plan> {
    check_version(spec.version())?;
    match spec.process() {
        None => refuse!(Invalid, "process property must not be empty"),
        Some(process) if process.args().as_ref().is_none_or(Vec::is_empty) => {
            refuse!(Invalid, "args must not be empty")
        }
        Some(_) => {}
    }
    let mut plan = Plan::new(spec, dir)?;
    check_process(spec, &plan)?;
    plan.process.death_signal = None;
    // Who grants none has none, as with runc and crun.
    plan.process.capabilities.get_or_insert_default();
    if plan.gid_map.is_empty() && may_set_groups(spec) {
        let user = spec.process().as_ref().map(|process| process.user());
        let groups = user.and_then(|user| user.additional_gids().as_ref());
        let groups = groups.into_iter().flatten();
        plan.process.groups = Some(groups.map(|gid| Gid::from_raw(*gid)).collect());
    }
    plan.hooks.id = id.to_owned();
    if let Some(agent) = &mut plan.process.agent {
        agent.state = json!({"ociVersion": spec.version(), "id": id, "status": "creating",
            "bundle": dir});
        if let Some(annotations) = spec.annotations() {
            agent.state["annotations"] = json!(annotations);
        }
    }
    Ok(plan)
}

/// Whether the container's root is the machine's own.
pub fn is_of_machine(spec: &Spec) -> bool {
    let linux = spec.linux().as_ref();
    let namespaces = linux.and_then(|linux| linux.namespaces().as_ref());
    let mut namespaces = namespaces.into_iter().flatten();
    !namespaces.any(|n| n.typ() == LinuxNamespaceType::User) && ns::is_in_initial_user()
}

/// Whether a container's processes may set their supplementary groups in its user
/// namespace, which is this process's or one that is joined (user_namespaces(7),
/// `/proc/PID/setgroups`): not where one id was mapped without anybody's help, as in
/// podman's without subordinate ids. There they keep those that they have, as with
/// runc.
pub fn may_set_groups(spec: &Spec) -> bool {
    let linux = spec.linux().as_ref();
    let namespaces = linux.and_then(|linux| linux.namespaces().as_ref());
    let mut namespaces = namespaces.into_iter().flatten();
    let joined = namespaces.find(|n| n.typ() == LinuxNamespaceType::User);
    // As in /proc/PID/ns/user.
    let process = joined.and_then(|joined| joined.path().as_ref()?.parent()?.parent());
    let process = process.unwrap_or(Path::new("/proc/self"));
    let said = std::fs::read_to_string(process.join("setgroups"));
    !said.is_ok_and(|said| said.trim_end() == "deny")
}

/// What the engine does not ask for, and others may: limits that are there twice, and
/// groups that the container's user namespace does not have.
fn check_process(spec: &Spec, plan: &Plan) -> Result<()> {
    let Some(process) = spec.process() else {
        return Ok(());
    };
    let mut kinds = Vec::new();
    for limit in process.rlimits().iter().flatten() {
        if kinds.contains(&limit.typ()) {
            refuse!(Invalid, "process.rlimits: {} is there twice", limit.typ());
        }
        kinds.push(limit.typ());
    }
    for gid in process.user().additional_gids().iter().flatten() {
        if !plan.gid_map.is_empty() && idmap::outside(&plan.gid_map, *gid).is_none() {
            refuse!(
                Invalid,
                "process.user.additionalGids: linux.gidMappings do not map {gid}"
            );
        }
    }
    Ok(())
}

/// The versions of one major number are compatible (semver.org).
fn check_version(version: &str) -> Result<()> {
    match version.split('.').next() {
        Some("1") => Ok(()),
        _ => refuse!(
            Invalid,
            "ociVersion '{version}': specifications of version 1 are done here"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use serde_json::Value;

    fn said(spec: Value) -> String {
        let spec: Spec = serde_json::from_value(spec).unwrap();
        let refused = plan(&spec, Path::new("/b"), "c").unwrap_err();
        assert!(matches!(
            Kind::of(&refused),
            Some(Kind::Invalid | Kind::Unsupported)
        ));
        refused.to_string()
    }

    #[test]
    fn what_is_missing_or_not_done_is_said() {
        let spec = |process: Value, linux: Value| {
            json!({"ociVersion": "1.3.0", "root": {"path": "rootfs"}, "process": process,
                "linux": linux})
        };
        let process = json!({"user": {"uid": 0, "gid": 0}, "args": ["true"], "cwd": "/"});
        let empty = json!({"user": {"uid": 0, "gid": 0}, "args": [], "cwd": "/"});
        assert_eq!(said(spec(empty, json!({}))), "args must not be empty");
        assert_eq!(
            said(spec(Value::Null, json!({}))),
            "process property must not be empty"
        );
        let newer = json!({"ociVersion": "2.0.0", "root": {"path": "r"}, "process": process});
        assert!(said(newer).starts_with("ociVersion '2.0.0'"));
    }
}
