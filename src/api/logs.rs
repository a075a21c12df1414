//! What a container printed.

use super::answer::frame;
use super::route::Query;
use super::session::{Reply, Session};
use crate::engine::ground::watch::Watch;
use crate::engine::log::Stream;
use crate::engine::log::read::{Entry, Reader};
use crate::engine::request::time::parse_time;
use crate::error::{Kind, refuse};
use anyhow::{Context, Result};
use jiff::Timestamp;
use std::os::fd::AsFd;

/// What of it is wanted.
struct Wanted {
    streams: [bool; 2],
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    timestamps: bool,
    tty: bool,
}

/// `GET /containers/ID/logs`
pub fn show(session: &mut Session, name: &str, query: &Query) -> Result<Reply> {
    let containers = session.containers()?;
    let container = containers.find(name)?;
    let now = Timestamp::now();
    let time = |name: &str| {
        let text = query.get(name).filter(|text| *text != "0");
        text.map(|text| parse_time(text, now)).transpose()
    };
    let wanted = Wanted {
        streams: [query.is("stdout"), query.is("stderr")],
        since: time("since")?,
        until: time("until")?,
        timestamps: query.is("timestamps"),
        tty: container.record.keeping.tty,
    };
    if wanted.streams == [false; 2] {
        refuse!(
            Invalid,
            "Bad parameters: you must choose at least one stream"
        );
    }
    // As docker takes it: what is no number, or less than 0, is all.
    let tail = query.get("tail").and_then(|tail| tail.parse().ok());
    let reader = Reader::open(&container.dir, &container.record.keeping.log, tail);
    let mut reader = reader.with_context(|| {
        Kind::Unsupported.says(format!("container {name} has no log that can be read"))
    })?;
    let watch = match query.is("follow") {
        true => {
            let watch = Watch::new()?;
            watch.add(&container.dir)?;
            Some(watch)
        }
        false => None,
    };
    session.begin(match wanted.tty {
        true => "application/vnd.docker.raw-stream",
        false => "application/vnd.docker.multiplexed-stream",
    })?;
    let id = &container.record.id;
    loop {
        let now = containers.find(id);
        // What was printed just before the end is read once more.
        let ended = !now.is_ok_and(|now| now.state.is_active());
        let mut piece = Vec::new();
        while let Some(entry) = reader.read()? {
            wanted.add(&entry, &mut piece);
            if piece.len() > 1 << 16 {
                session.piece(&std::mem::take(&mut piece))?;
            }
        }
        if !piece.is_empty() {
            session.piece(&piece)?;
        }
        let over = wanted.until.is_some_and(|until| until < Timestamp::now());
        let Some(watch) = watch.as_ref().filter(|_| !ended && !over) else {
            break;
        };
        if !session.await_beside(watch.as_fd()) {
            break;
        }
        watch.forget();
    }
    session.piece(b"")?;
    Ok(Reply::Written)
}

impl Wanted {
    /// Adds an entry to what is sent, if it is wanted.
    fn add(&self, entry: &Entry, piece: &mut Vec<u8>) {
        let number = match entry.stream {
            Stream::Stdout => 1,
            Stream::Stderr => 2,
        };
        let early = self.since.is_some_and(|since| entry.time < since);
        let late = self.until.is_some_and(|until| entry.time > until);
        if !self.streams[usize::from(number) - 1] || early || late {
            return;
        }
        let mut line = Vec::new();
        if self.timestamps {
            let time = entry.time.strftime("%Y-%m-%dT%H:%M:%S.%9fZ ");
            line.extend(time.to_string().as_bytes());
        }
        line.extend(&entry.data);
        match self.tty {
            true => piece.extend(&line),
            false => piece.extend(frame(number, &line)),
        }
    }
}
