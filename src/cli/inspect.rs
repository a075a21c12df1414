//! `bryo inspect`: docker's field names.

use super::format::{self, Form};
use super::{Context, error, output};
use crate::engine::changes::written;
use crate::engine::containers::Container;
use crate::engine::health::HealthCheck;
use crate::engine::limits;
use crate::engine::record::State;
use crate::engine::request::mounts;
use crate::engine::request::restart::Restart;
use crate::engine::volumes::Volumes;
use crate::runtime::plan::ANNOTATION_SECCOMP;
use anyhow::{Result, bail};
use oci_spec::runtime::{LinuxResources, Spec};
use serde_json::{Value, json};

/// Show all that is known of containers or images
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names or ids; a container goes before an image of the same name
    #[arg(required = true)]
    names: Vec<String>,

    /// Look for this kind alone
    #[arg(long, value_enum)]
    r#type: Option<Kind>,
    /// json, or a template as '{{.State.Status}}'
    #[arg(short, long, default_value = "json")]
    format: Form,
    /// Show how much containers wrote
    #[arg(short, long)]
    size: bool,
}

impl Args {
    /// The same for containers alone.
    pub fn of_containers(self) -> Args {
        Args {
            r#type: Some(Kind::Container),
            ..self
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    Container,
    Image,
}

/// Prints a JSON list of what was found.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let mut found = Vec::new();
    let result = super::each(&args.names, |name| {
        found.push(find(name, args, context)?);
        Ok(())
    });
    match &args.format {
        Form::Template(template) => format::by_template(template, &found, format::head)?,
        _ => output::line(serde_json::to_string_pretty(&found)?)?,
    }
    result
}

/// Show all that is known of images
#[derive(Debug, clap::Args)]
pub struct ImageArgs {
    /// Names, ids or digests
    #[arg(required = true)]
    images: Vec<String>,

    /// json, or a template as '{{.Digest}}'
    #[arg(short, long, default_value = "json")]
    format: Form,
}

/// `bryo image inspect`
pub fn image(args: &ImageArgs, context: &Context) -> Result<()> {
    run(
        &Args {
            names: args.images.clone(),
            r#type: Some(Kind::Image),
            format: args.format.clone(),
            size: false,
        },
        context,
    )
}

fn find(name: &str, args: &Args, context: &Context) -> Result<Value> {
    let kind = args.r#type;
    if kind != Some(Kind::Image) {
        match context.containers()?.find(name) {
            Ok(container) => {
                let mut found = describe(&container, &Volumes::open(&context.store()?))?;
                if args.size {
                    found["SizeRw"] = written(&container).into();
                }
                return Ok(found);
            }
            Err(e) if error::is_not_found(&e) && kind.is_none() => {}
            Err(e) => return Err(e),
        }
    }
    let store = context.store()?;
    match store.find(name)? {
        Some(image) => super::images::describe(&store, &image),
        None if kind.is_none() => bail!("no such container or image: {name}"),
        None => bail!("no such image: {name}"),
    }
}

fn describe(container: &Container, volumes: &Volumes) -> Result<Value> {
    let record = &container.record;
    let spec = container.spec()?;
    let process = spec.process().as_ref();
    let (path, args) = match record.command.split_first() {
        Some((path, args)) => (path.as_str(), args),
        None => ("", &[][..]),
    };
    let (entrypoint, command) = record.split_command();
    Ok(json!({
        "Id": record.id,
        "Created": record.created,
        "Name": record.name,
        "Path": path,
        "Args": args,
        "State": state(container),
        "Limits": limits::compare(&spec, &container.history.confinement, container.state.process().is_some())?,
        "CgroupPath": container.history.confinement.placed.as_ref().map(|p| &p.limits),
        "CgroupUnit": container.history.confinement.placed.as_ref().and_then(|p| p.unit.clone()),
        "CgroupMissing": container.history.confinement.without,
        "Image": record.image_id,
        "ImageName": record.image,
        "RestartCount": container.history.restarts,
        "LogPath": record.keeping.log.file().map(|file| container.dir.join(file)),
        "Host": record.host,
        "Config": {
            "Hostname": spec.hostname(),
            "Domainname": spec.domainname(),
            "User": record.user,
            "Tty": process.and_then(|p| p.terminal()),
            "Env": process.and_then(|p| p.env().clone()),
            "Entrypoint": entrypoint,
            "Cmd": command,
            "Image": record.image,
            "WorkingDir": process.map(|p| p.cwd().clone()),
            "Labels": record.labels,
            "StopSignal": record.stop_signal,
            "StopTimeout": record.keeping.stop_timeout,
            "OpenStdin": record.keeping.interactive,
            "StdinOnce": record.keeping.input_once,
            "Healthcheck": match record.keeping.no_health {
                true => Some(json!({"Test": ["NONE"]})),
                false => record.keeping.health.as_ref().map(HealthCheck::describe),
            },
        },
        "HostConfig": host_config(container, &spec),
        "Mounts": mounts(container, volumes),
        "NetworkSettings": network_settings(container),
        "OCIConfigPath": container.dir.join("config.json"),
    }))
}

fn network_settings(container: &Container) -> Value {
    let mut shown = super::network::settings(container);
    shown.insert("Ports".into(), ports(container));
    shown.insert("Traffic".into(), super::network::traffic(container));
    Value::Object(shown)
}

/// Docker's: where each port of the container is.
fn ports(container: &Container) -> Value {
    let mut all = serde_json::Map::new();
    for port in container.published() {
        let key = format!("{}/{}", port.container, port.transport);
        let at = json!({
            "HostIp": port.host.ip().to_string(),
            "HostPort": port.host.port().to_string(),
        });
        if let Some(list) = all.entry(key).or_insert_with(|| json!([])).as_array_mut() {
            list.push(at);
        }
    }
    Value::Object(all)
}

/// Docker's and podman's names of what was asked for.
fn host_config(container: &Container, spec: &Spec) -> Value {
    let record = &container.record;
    let none = LinuxResources::default();
    let asked = limits::resources(spec).unwrap_or(&none);
    let memory = asked.memory().unwrap_or_default();
    let cpu = asked.cpu().clone().unwrap_or_default();
    let io = asked.block_io().clone().unwrap_or_default();
    let (quota, period) = (cpu.quota().unwrap_or(0), cpu.period().unwrap_or(0));
    let nano = match period {
        0 => 0,
        period => quota.max(0) * 1_000_000_000 / i64::try_from(period).unwrap_or(i64::MAX),
    };
    json!({
        "NetworkMode": record.network,
        "AutoRemove": record.auto_remove,
        "ContainerIDFile": record.keeping.cidfile,
        "LogConfig": {"Type": record.keeping.log.driver.name()},
        "RestartPolicy": restart_policy(container),
        "ReadonlyRootfs": spec.root().as_ref().and_then(|r| r.readonly()),
        "SecurityOpt": security_options(spec),
        "CgroupManager": limits::manager(spec),
        "CgroupParent": spec.linux().as_ref().and_then(|l| l.cgroups_path().clone()),
        "Memory": memory.limit().unwrap_or(0),
        "MemorySwap": memory.swap().unwrap_or(0),
        "MemoryReservation": memory.reservation().unwrap_or(0),
        "CpuShares": cpu.shares().unwrap_or(0),
        "CpuQuota": quota,
        "CpuPeriod": period,
        "NanoCpus": nano,
        "CpusetCpus": cpu.cpus().clone().unwrap_or_default(),
        "CpusetMems": cpu.mems().clone().unwrap_or_default(),
        "PidsLimit": asked.pids().as_ref().map_or(0, |p| p.limit()),
        "BlkioWeight": io.weight().unwrap_or(0),
        "BlkioWeightDevice": io.weight_device(),
        "BlkioDeviceReadBps": io.throttle_read_bps_device(),
        "BlkioDeviceWriteBps": io.throttle_write_bps_device(),
        "BlkioDeviceReadIOps": io.throttle_read_iops_device(),
        "BlkioDeviceWriteIOps": io.throttle_write_iops_device(),
        "CgroupConf": asked.unified(),
        "OomScoreAdj": spec.process().as_ref().and_then(|p| p.oom_score_adj()).unwrap_or(0),
    })
}

/// What was asked for, or is so by itself, in the words of `--security-opt`.
fn security_options(spec: &Spec) -> Vec<&'static str> {
    let process = spec.process().as_ref();
    let bit = process.and_then(|p| p.no_new_privileges()).unwrap_or(false);
    let annotations = spec.annotations().as_ref();
    let default = annotations.is_some_and(|all| all.contains_key(ANNOTATION_SECCOMP));
    let profile = spec.linux().as_ref().is_some_and(|l| l.seccomp().is_some());
    let mut options = Vec::new();
    if bit {
        options.push("no-new-privileges");
    }
    if !default && !profile {
        options.push("seccomp=unconfined");
    }
    options
}

fn state(container: &Container) -> Value {
    let (state, history) = (&container.state, &container.history);
    let (code, message) = match state {
        State::Exited { code, error, .. } => (*code, error.as_deref().unwrap_or_default()),
        State::Restarting { code, .. } => (*code, ""),
        State::Dead { why } => (0, why.as_str()),
        _ => (0, ""),
    };
    let paused = matches!(state, State::Paused { .. });
    json!({
        "Status": state.name(),
        "Running": state.is_active(),
        "Paused": paused,
        "Restarting": matches!(state, State::Restarting { .. }),
        "OOMKilled": history.oom_kills > 0,
        "Dead": matches!(state, State::Dead { .. }),
        "Pid": state.process().map_or(0, |process| process.pid),
        "ExitCode": code,
        "Error": message,
        "StartedAt": history.started,
        "FinishedAt": history.finished,
        "Health": history.health,
    })
}

fn restart_policy(container: &Container) -> Value {
    let policy = container.restart_policy();
    let count = match policy {
        Restart::OnFailure(Some(count)) => count,
        _ => 0,
    };
    json!({"Name": policy.name(), "MaximumRetryCount": count})
}

/// The mounts that the user asked for.
fn mounts(container: &Container, volumes: &Volumes) -> Vec<Value> {
    let all = container.record.mounts.iter();
    let described = all.map(|m| {
        let mut mount = json!({
            "Type": m.kind.name(),
            "Source": m.source,
            "Destination": m.destination,
            "Mode": m.options.join(","),
            "RW": m.is_writable(),
        });
        if m.kind == mounts::Kind::Volume {
            mount["Name"] = m.source.clone().into();
            mount["Driver"] = "local".into();
            mount["Source"] = json!(volumes.data(&m.source));
        }
        mount
    });
    described.collect()
}
