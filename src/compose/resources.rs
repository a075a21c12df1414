//! What a service's containers may use, as a request to the engine.

use super::keys::restart;
use super::node::{Node, Result};
use super::service::{Draft, only, said, shown, wrong};
use crate::engine::create::limits::{LimitOptions, check};
use crate::engine::request::amount;
use crate::engine::request::limits::{self as request, Limits};
use oci_spec::runtime::LinuxResources;

/// Reads all limits of a service, and what `deploy` says of it.
///
/// # Errors
/// What is none.
pub fn read(draft: &mut Draft, service: &Node) -> Result<()> {
    let mut limits = Limits::default();
    let own = |key: &str| service.given(key);
    if let Some(node) = own("cpus") {
        limits.cpus = positive(node, amount::cpus)?;
    }
    if let Some(node) = own("cpu_shares") {
        limits.cpu_shares = Some(said(node, request::shares)?);
    }
    if let Some(node) = own("cpu_quota") {
        limits.cpu_quota = Some(said(node, request::quota)?);
    }
    if let Some(node) = own("cpu_period") {
        limits.cpu_period = Some(said(node, request::period)?);
    }
    if let Some(node) = own("cpuset") {
        limits.cpuset_cpus = Some(said(node, request::set)?);
    }
    if let Some(node) = own("mem_limit") {
        limits.memory = positive(node, amount::memory)?;
    }
    if let Some(node) = own("memswap_limit") {
        limits.memory_swap = Some(said(node, amount::limit_or_any)?);
    }
    if let Some(node) = own("mem_reservation") {
        limits.memory_reservation = positive(node, amount::limit)?;
    }
    if let Some(node) = own("pids_limit") {
        limits.pids_limit = positive(node, amount::pids)?;
    }
    if let Some(node) = own("blkio_config") {
        block_io(&mut limits, node)?;
    }
    if let Some(node) = own("deploy") {
        deploy(draft, &mut limits, node)?;
    }
    let place = draft.options.limits.parent.take();
    draft.options.limits = options(&limits, place).map_err(|error| wrong(service, &error))?;
    Ok(())
}

fn options(
    limits: &Limits,
    parent: Option<crate::engine::request::group::Parent>,
) -> anyhow::Result<LimitOptions> {
    let mut resources = LinuxResources::default();
    limits.apply(&mut resources)?;
    let asked = resources != LinuxResources::default();
    if asked {
        check(&resources)?;
    }
    Ok(LimitOptions {
        resources: asked.then_some(resources),
        parent,
        ..LimitOptions::default()
    })
}

/// An amount, of which 0 is none.
fn positive<T>(node: &Node, read: impl Fn(&str) -> anyhow::Result<T>) -> Result<Option<T>> {
    match shown(node).as_str() {
        "" | "0" => Ok(None),
        _ => said(node, read).map(Some),
    }
}

fn block_io(limits: &mut Limits, node: &Node) -> Result<()> {
    if let Some(weight) = node.given("weight") {
        limits.blkio_weight = positive(weight, request::blkio)?;
    }
    let items = |key: &str| node.get(key).map(Node::items).unwrap_or_default().to_vec();
    let text = |item: &Node, key: &str| {
        let value = item.get(key).map(shown).unwrap_or_default();
        format!("{}:{value}", item.text_of("path").unwrap_or_default())
    };
    for item in items("weight_device") {
        let disk = request::of_disk(
            "blkio-weight-device",
            &text(&item, "weight"),
            request::blkio,
        );
        limits
            .blkio_weight_device
            .push(disk.map_err(|error| wrong(&item, &error))?);
    }
    for (key, place) in [
        ("device_read_bps", &mut limits.device_read_bps),
        ("device_write_bps", &mut limits.device_write_bps),
        ("device_read_iops", &mut limits.device_read_iops),
        ("device_write_iops", &mut limits.device_write_iops),
    ] {
        let read = match key.ends_with("bps") {
            true => amount::limit,
            false => request::operations,
        };
        for item in items(key) {
            let disk = request::of_disk(key, &text(&item, "rate"), read);
            place.push(disk.map_err(|error| wrong(&item, &error))?);
        }
    }
    Ok(())
}

/// What changes nothing where there is one machine.
const OF_CLUSTERS: &[&str] = &[
    "update_config",
    "rollback_config",
    "placement",
    "endpoint_mode",
];

fn deploy(draft: &mut Draft, limits: &mut Limits, node: &Node) -> Result<()> {
    for key in OF_CLUSTERS {
        if let Some(value) = node.given(key) {
            let text = format!("deploy.{key}: it is for clusters, and changes nothing here");
            draft.warnings.push(format!("{text} ({})", value.mark));
        }
    }
    match node.text_of("mode") {
        None | Some("" | "replicated") => {}
        Some(other) => {
            let text = format!("mode {other:?} is for clusters: leave it out");
            return Err(node.fault(text));
        }
    }
    if node.given("labels").is_some() {
        // Labels of the service, not of its containers.
        draft
            .warnings
            .push("deploy.labels: they are for clusters, and change nothing here".into());
    }
    let resources = node.get("resources");
    let part = |name: &str| resources.and_then(|resources| resources.given(name));
    if let Some(own) = part("limits") {
        only(own, &["cpus", "memory", "pids"])?;
        if let Some(cpus) = own.given("cpus") {
            limits.cpus = positive(cpus, amount::cpus)?;
        }
        if let Some(memory) = own.given("memory") {
            limits.memory = positive(memory, amount::memory)?;
        }
        if let Some(pids) = own.given("pids") {
            limits.pids_limit = positive(pids, amount::pids)?;
        }
    }
    if let Some(own) = part("reservations") {
        // What has to be free before it starts is for who chooses a machine; memory is
        // docker's soft limit too.
        only(own, &["cpus", "memory"])?;
        if let Some(memory) = own.given("memory") {
            limits.memory_reservation = positive(memory, amount::limit)?;
        }
        if own.given("cpus").is_some() {
            let text =
                "deploy.resources.reservations.cpus: it is for clusters, and changes nothing here";
            draft.warnings.push(text.into());
        }
    }
    if let Some(policy) = node.given("restart_policy") {
        for key in ["delay", "window"] {
            if policy.given(key).is_some() {
                let text = format!(
                    "deploy.restart_policy.{key}: containers are started again at once, later each time"
                );
                draft.warnings.push(text);
            }
        }
        draft.options.keeping.restart = restart(policy)?;
    }
    Ok(())
}
