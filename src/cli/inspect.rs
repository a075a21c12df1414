//! `bryo inspect`: docker's field names.

use super::Context;
use crate::engine::containers::{Container, NotFound};
use crate::engine::record::State;
use anyhow::{Result, bail};
use oci_spec::runtime::Spec;
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
    /// Form of the output; there is one
    #[arg(long, value_parser = ["json"], default_value = "json")]
    format: String,
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
        found.push(find(name, args.r#type, context)?);
        Ok(())
    });
    println!("{}", serde_json::to_string_pretty(&found)?);
    result
}

fn find(name: &str, kind: Option<Kind>, context: &Context) -> Result<Value> {
    if kind != Some(Kind::Image) {
        match context.containers()?.find(name) {
            Ok(container) => return describe(&container),
            Err(e) if e.is::<NotFound>() && kind.is_none() => {}
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

fn describe(container: &Container) -> Result<Value> {
    let record = &container.record;
    let spec = container.spec()?;
    let process = spec.process().as_ref();
    let (path, args) = match record.command.split_first() {
        Some((path, args)) => (path.as_str(), args),
        None => ("", &[][..]),
    };
    Ok(json!({
        "Id": record.id,
        "Created": record.created,
        "Name": record.name,
        "Path": path,
        "Args": args,
        "State": state(&container.state),
        "Image": record.image_id,
        "ImageName": record.image,
        "Host": record.host,
        "Config": {
            "Hostname": spec.hostname(),
            "Domainname": spec.domainname(),
            "User": process.map(|p| format!("{}:{}", p.user().uid(), p.user().gid())),
            "Tty": process.and_then(|p| p.terminal()),
            "Env": process.and_then(|p| p.env().clone()),
            "Cmd": record.command,
            "Image": record.image,
            "WorkingDir": process.map(|p| p.cwd().clone()),
            "Labels": record.labels,
            "StopSignal": record.stop_signal,
        },
        "HostConfig": {
            "AutoRemove": record.auto_remove,
            "ReadonlyRootfs": spec.root().as_ref().and_then(|r| r.readonly()),
        },
        "Mounts": mounts(&spec),
        "OCIConfigPath": container.dir.join("config.json"),
    }))
}

fn state(state: &State) -> Value {
    let (mut pid, mut code, mut message) = (0, 0, "");
    let (mut started, mut finished) = (None, None);
    match state {
        State::Created => {}
        State::Running { process, since, .. } => {
            pid = process.pid;
            started = Some(since);
        }
        State::Exited {
            code: exit,
            at,
            error,
        } => {
            code = *exit;
            finished = Some(at);
            message = error.as_deref().unwrap_or_default();
        }
    }
    json!({
        "Status": state.name(),
        "Running": matches!(state, State::Running { .. }),
        "Pid": pid,
        "ExitCode": code,
        "Error": message,
        "StartedAt": started,
        "FinishedAt": finished,
    })
}

/// The mounts that the user asked for.
fn mounts(spec: &Spec) -> Vec<Value> {
    let all = spec.mounts().iter().flatten();
    let binds = all.filter(|m| m.typ().as_deref() == Some("bind"));
    binds
        .map(|m| {
            let options = m.options().clone().unwrap_or_default();
            json!({
                "Type": "bind",
                "Source": m.source(),
                "Destination": m.destination(),
                "Mode": options.join(","),
                "RW": !options.iter().any(|o| o == "ro" || o == "rro"),
            })
        })
        .collect()
}
