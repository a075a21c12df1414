//! What bryo is and what the machine offers.

use super::answer::Answer;
use super::route::{NEWEST, OLDEST, version as written};
use super::session::Session;
use crate::engine::view::info::{Info, Version};
use anyhow::Result;
use serde_json::{Value, json};

/// `/version`
pub fn version() -> Result<Answer> {
    let Version { server, .. } = Version::of_this();
    let kernel = nix::sys::utsname::uname();
    let kernel = kernel.map(|k| k.release().to_string_lossy().into_owned());
    let (newest, oldest) = (written(NEWEST), written(OLDEST));
    Ok(Answer::json(&json!({
        "Platform": {"Name": "bryo"},
        "Version": server.version,
        "ApiVersion": newest,
        "MinAPIVersion": oldest,
        "GitCommit": "",
        "GoVersion": "",
        "Os": server.os,
        "Arch": server.arch,
        "KernelVersion": kernel.unwrap_or_default(),
        "BuildTime": "",
        "Components": [{
            "Name": "Engine",
            "Version": server.version,
            "Details": {
                "ApiVersion": newest,
                "MinAPIVersion": oldest,
                "Os": server.os,
                "Arch": server.arch,
            },
        }],
    }))?)
}

/// `/info`
pub fn info(session: &Session) -> Result<Answer> {
    let info = Info::look(session.root(), None);
    let seccomp = info.machine.system.seccomp;
    let mut shown = serde_json::to_value(info)?;
    let Some(fields) = shown.as_object_mut() else {
        return Ok(Answer::json(&shown)?);
    };
    // Ours, which a client of docker's does not read.
    fields.remove("Machine");
    fields.remove("Config");
    for (name, value) in [
        ("ID", json!("bryo")),
        ("ContainersPaused", json!(0)),
        ("DriverStatus", json!([])),
        ("SystemStatus", Value::Null),
        (
            "Plugins",
            json!({"Volume": ["local"], "Network": ["bridge", "host", "null"],
            "Authorization": null, "Log": ["json-file", "k8s-file", "none"]}),
        ),
        ("MemoryLimit", json!(true)),
        ("OomKillDisable", json!(false)),
        ("IPv4Forwarding", json!(true)),
        ("LoggingDriver", json!("json-file")),
        ("CgroupDriver", json!("none")),
        ("IndexServerAddress", json!("https://index.docker.io/v1/")),
        (
            "RegistryConfig",
            json!({"InsecureRegistryCIDRs": [], "IndexConfigs": {}, "Mirrors": []}),
        ),
        ("Labels", json!([])),
        ("Runtimes", json!({"bryo": {"path": "bryo"}})),
        ("DefaultRuntime", json!("bryo")),
        (
            "Swarm",
            json!({"NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive",
            "ControlAvailable": false, "Error": "", "RemoteManagers": null}),
        ),
        (
            "Warnings",
            json!(if seccomp {
                vec![]
            } else {
                vec!["WARNING: No seccomp"]
            }),
        ),
    ] {
        fields.insert(name.to_owned(), value);
    }
    Ok(Answer::json(&shown)?)
}
