//! Keys of steps: what a step makes is found by what was there and by all that it
//! depends on, and by nothing else. Pure.

use super::dockerfile::instruction::Transfer;
use super::state::Command;
use crate::image::digest;
use serde_json::{Value, json};

/// A key of what is done to files that `parent` names.
pub fn key(parent: &str, parts: &Value) -> String {
    let text = json!([parent, parts]).to_string();
    digest::sha256(text.as_bytes()).digest().to_owned()
}

/// What COPY or ADD depends on, but for the files.
pub fn of_transfer(transfer: &Transfer, is_add: bool) -> Value {
    json!({
        "transfer": if is_add { "add" } else { "copy" },
        "sources": format!("{:?}", transfer.sources),
        "destination": transfer.destination,
        "chown": transfer.chown,
        "chmod": transfer.chmod,
        "parents": transfer.parents,
        "exclude": transfer.exclude,
        "unpack": transfer.unpack,
    })
}

/// What RUN depends on.
pub fn of_command(command: &Command) -> Value {
    json!({
        "run": command.words,
        "env": command.env,
        "workdir": command.workdir,
        "user": command.user,
        "script": command.script,
        "network": format!("{:?}", command.network),
        "insecure": command.insecure,
        "mounts": format!("{:?}", command.mounts),
    })
}
