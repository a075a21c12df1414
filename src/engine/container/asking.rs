//! Asking a container's supervisor.

use crate::engine::container::containers::Container;
use crate::engine::container::control::{Reply, Request};
use crate::error::refuse;
use crate::sys::channel::Channel;
use crate::sys::wait;
use anyhow::{Context, Error, Result};
use std::time::Duration;

/// How long a supervisor has for an answer. To join a network may take it
/// twenty seconds.
const ANSWER: Duration = Duration::from_secs(40);

/// Asks a container's supervisor for something, and waits for the answer.
///
/// # Errors
/// What it says; it says nothing.
pub fn ask(container: &Container, request: Request) -> Result<()> {
    let name = &container.record.name;
    let channel = Channel::from(container.connect()?);
    channel.send(&request.encode(), None)?;
    match hear_answer(&channel, ANSWER).with_context(|| format!("container {name}"))? {
        None => refuse!(Conflict, "container {name} has just ended"),
        Some(Reply::Refused(fault)) => {
            Err(Error::from(fault)).with_context(|| format!("container {name}"))
        }
        Some(_) => Ok(()),
    }
}

/// The next message of a supervisor; None if it has ended.
fn hear_answer(channel: &Channel, patience: Duration) -> Result<Option<Reply>> {
    if !wait::readable(channel, wait::within(patience)) {
        refuse!(
            Timeout,
            "who looks after it has not answered for {} seconds; if that process was stopped, \
             kill -CONT lets it go on",
            patience.as_secs()
        )
    }
    let Some(received) = channel.receive()? else {
        return Ok(None);
    };
    let reply = Reply::decode(&received.data);
    let reply =
        reply.context("it was started by another bryo, whose answer this one does not know");
    reply.map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn waiting_for_an_answer_has_an_end() {
        let (ours, theirs) = Channel::pair().unwrap();
        let silence = hear_answer(&ours, Duration::from_millis(5)).unwrap_err();
        assert_eq!(Kind::said(&silence), Some(Kind::Timeout));
        theirs.send(&Reply::Done.encode(), None).unwrap();
        theirs.send(b"of the future", None).unwrap();
        let heard = || hear_answer(&ours, ANSWER);
        assert_eq!(heard().unwrap(), Some(Reply::Done));
        assert!(heard().unwrap_err().to_string().contains("another bryo"));
        drop(theirs);
        assert_eq!(heard().unwrap(), None);
    }
}
