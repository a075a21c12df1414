//! Containers: listed, looked at, and moved from one state to another.

use super::answer::Answer;
use super::route::{Of, Query};
use super::session::Session;
use crate::engine::container::asking;
use crate::engine::container::containers::{Container, Containers};
use crate::engine::container::control::Request;
use crate::engine::container::events::{self, Action};
use crate::engine::container::record::State;
use crate::engine::container::volumes::Volumes;
use crate::engine::create::filter::Filters;
use crate::engine::ground::caller::Caller;
use crate::engine::operate::launch::Launch;
use crate::engine::operate::lifecycle;
use crate::engine::supervise::cleaner::empty_trash_behind;
use crate::engine::view;
use crate::engine::view::ps::Summary;
use crate::error::{Kind, refuse};
use crate::process::open_null;
use crate::sys::signals;
use anyhow::{Context, Result};
use jiff::Timestamp;
use std::os::fd::AsFd;

/// `GET /containers/json`
pub fn list(session: &Session, query: &Query) -> Result<Answer> {
    let store = session.store()?;
    let mut all = Containers::open(&store).list()?;
    let texts = query.filters();
    let texts = texts.with_context(|| Kind::Invalid.says("invalid filters"))?;
    let filters = Filters::parse(&texts, &all, &store)?;
    let limit = match query.get("limit").map(str::parse::<i64>) {
        Some(Ok(limit @ 1..)) => Some(limit as usize),
        Some(Err(_)) => refuse!(Invalid, "limit: a number is wanted"),
        _ => None,
    };
    let any = query.is("all") || limit.is_some() || filters.name_a_state();
    all.retain(|c| (any || c.state.is_active()) && filters.pass(c));
    all.truncate(limit.unwrap_or(usize::MAX));
    let (now, volumes) = (Timestamp::now(), Volumes::open(&store));
    let size = query.is("size");
    let rows = all.iter().map(|c| Summary::of(c, &volumes, now, size));
    Ok(Answer::json(&rows.collect::<Vec<_>>())?)
}

/// What is about one container and answered at once.
pub fn of(session: &Session, name: &str, of: Of, query: &Query) -> Result<Answer> {
    let containers = session.containers()?;
    let mut container = containers.find(name)?;
    match of {
        Of::Inspect => inspect(session, &container, query),
        Of::Start => start(&containers, container),
        Of::Stop if !container.state.is_active() => Ok(Answer::empty(304)),
        Of::Stop => {
            stop(&containers, &container, query, false)?;
            Ok(Answer::empty(204))
        }
        Of::Restart => {
            stop(&containers, &container, query, true)?;
            let container = containers.find(&container.record.id)?;
            let answer = start(&containers, container.clone())?;
            events::emit(&containers, Action::Restart, &container, &[]);
            Ok(match answer.status {
                304 => Answer::empty(204),
                _ => answer,
            })
        }
        Of::Kill => {
            let signal = signals::parse(query.get("signal").unwrap_or("KILL"))?;
            lifecycle::kill(&containers, &mut container, signal)?;
            Ok(Answer::empty(204))
        }
        Of::Pause => pause(container, true),
        Of::Unpause => pause(container, false),
        Of::Rename => {
            let Some(new) = query.get("name") else {
                refuse!(Invalid, "Neither old nor new names may be empty");
            };
            lifecycle::rename(&containers, &mut container, new.trim_start_matches('/'))?;
            Ok(Answer::empty(204))
        }
        Of::Remove => {
            let (force, volumes) = (query.is("force"), query.is("v"));
            lifecycle::begin_remove(&mut container, force)?;
            lifecycle::finish_remove(&containers, &container, force, volumes)?;
            empty_trash_behind(&session.store()?)?;
            Ok(Answer::empty(204))
        }
        // These are streams.
        Of::Logs | Of::Wait => Ok(Answer::empty(500)),
    }
}

fn inspect(session: &Session, container: &Container, query: &Query) -> Result<Answer> {
    let volumes = Volumes::open(&session.store()?);
    let shown = view::container::Container::of(container, &volumes, query.is("size"))?;
    let mut shown = serde_json::to_value(shown)?;
    // So it has always been there; clients take the slash away.
    if let Some(name) = shown["Name"].as_str().filter(|name| !name.starts_with('/')) {
        shown["Name"] = format!("/{name}").into();
    }
    Ok(Answer::json(&shown)?)
}

fn start(containers: &Containers, container: Container) -> Result<Answer> {
    if matches!(
        container.state,
        State::Running { .. } | State::Restarting { .. }
    ) {
        return Ok(Answer::empty(304));
    }
    let null = open_null()?;
    let caller = Caller::with([null.as_fd(); 3]);
    // Nobody is there to be warned: what a container lacks is in its inspection.
    lifecycle::start(containers, container, &Launch::default(), caller, &|_| {})?;
    Ok(Answer::empty(204))
}

fn stop(containers: &Containers, container: &Container, query: &Query, keep: bool) -> Result<()> {
    let signal = query.get("signal").map(signals::parse).transpose()?;
    let seconds = query.get("t").map(str::parse::<i64>).transpose();
    let seconds = seconds.with_context(|| Kind::Invalid.says("t: seconds are wanted"))?;
    let stopping = lifecycle::begin_stop(containers, container.clone(), signal, seconds, keep)?;
    lifecycle::finish_stop(containers, stopping)
}

fn pause(mut container: Container, pauses: bool) -> Result<Answer> {
    let name = container.record.name.clone();
    container.running_process()?;
    match (matches!(container.state, State::Paused { .. }), pauses) {
        (true, true) => refuse!(Conflict, "Container {name} is already paused"),
        (false, false) => refuse!(Conflict, "Container {name} is not paused"),
        _ => {}
    }
    let request = match pauses {
        true => Request::Pause,
        false => Request::Resume,
    };
    asking::ask(&container, request)?;
    Ok(Answer::empty(204))
}
