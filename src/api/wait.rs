//! Waiting for a container's end.

use super::route::Query;
use super::session::{Reply, Session};
use crate::engine::container::containers::Container;
use crate::engine::container::control::Reply as Said;
use crate::engine::container::record::State;
use crate::engine::ground::watch::Watch;
use crate::engine::operate::lifecycle::hear_end;
use crate::error::refuse;
use anyhow::Result;
use serde_json::json;
use std::os::fd::AsFd;

/// When a wait is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    /// It does not run.
    NotRunning,
    /// It has ended once more.
    NextExit,
    /// It is not there any more.
    Removed,
}

/// `POST /containers/ID/wait`: the head of the answer comes at once, since clients
/// start the container when they have that.
pub fn wait(session: &mut Session, name: &str, query: &Query) -> Result<Reply> {
    let condition = match query.get("condition") {
        None | Some("not-running") => Condition::NotRunning,
        Some("next-exit") => Condition::NextExit,
        Some("removed") => Condition::Removed,
        Some(other) => refuse!(Invalid, "invalid condition: \"{other}\""),
    };
    let containers = session.containers()?;
    let container = containers.find(name)?;
    // Before it is looked at: no change is missed.
    let watch = Watch::new()?;
    watch.add(&container.dir)?;
    session.begin("application/json")?;
    let id = &container.record.id;
    let mut code = None;
    loop {
        let Ok(now) = containers.find(id) else {
            break;
        };
        if now.state.is_active() {
            match heard(session, &now) {
                Heard::Code(heard) => code = Some(heard),
                Heard::Nothing => {}
                Heard::Gone => return Ok(Reply::Written),
            }
        } else if let (State::Exited { code: ended, .. }, None) = (&now.state, code)
            && condition != Condition::NextExit
        {
            code = Some(*ended);
        }
        let done = match condition {
            Condition::NotRunning => code.is_some() || !now.state.is_active(),
            Condition::NextExit => code.is_some(),
            Condition::Removed => false,
        };
        if done {
            break;
        }
        if !session.await_beside(watch.as_fd()) {
            return Ok(Reply::Written);
        }
        watch.forget();
    }
    let answer = json!({"StatusCode": code.unwrap_or(0)}).to_string();
    session.piece(format!("{answer}\n").as_bytes())?;
    session.piece(b"")?;
    Ok(Reply::Written)
}

/// What a supervisor said.
enum Heard {
    /// The exit code.
    Code(i32),
    /// Nothing: it is not there any more.
    Nothing,
    /// The client has gone.
    Gone,
}

/// Hears from a container's supervisor how it ends.
fn heard(session: &Session, container: &Container) -> Heard {
    let Some(channel) = hear_end(container) else {
        return Heard::Nothing;
    };
    loop {
        if !session.await_beside(channel.as_fd()) {
            return Heard::Gone;
        }
        if !crate::sys::wait::is_readable(&channel) {
            continue;
        }
        match channel.receive() {
            Ok(Some(message)) => {
                if let Some(Said::Exited(code)) = Said::decode(&message.data) {
                    return Heard::Code(code);
                }
            }
            _ => return Heard::Nothing,
        }
    }
}
