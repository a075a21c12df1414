//! The container's control groups, as its supervisor uses them.

use super::Life;
use crate::cgroup::units::show;
use crate::engine::container::control::Reply;
use crate::engine::container::events::{self, Action};
use crate::engine::container::record::State;
use crate::engine::create::limits;
use crate::error::refuse;
use crate::runtime::{StartError, Step};
use anyhow::Result;
use oci_spec::runtime::Spec;

impl Life {
    /// Makes the container's control groups. What an earlier run of the
    /// command did in them is forgotten.
    pub(super) fn confine(&mut self, spec: &Spec) -> Result<(), StartError> {
        let history = &mut self.container.history;
        history.oom_kills = 0;
        let before = std::mem::take(&mut history.confinement).placed;
        let before = before.filter(|_| self.confined);
        let mut warnings = Vec::new();
        let mut warn = |text| warnings.push(text);
        let result = limits::confine(spec, &self.container, before, &mut warn);
        for text in warnings {
            self.hub.tell_caller(&Reply::Warning(text));
        }
        let step = |error: &anyhow::Error| match error.is::<limits::Unlimited>() {
            true => Step::Limit,
            false => Step::Group,
        };
        let confinement = result.map_err(|e| StartError::new(step(&e), &e))?;
        self.container.history.confinement = confinement;
        self.confined = true;
        Ok(())
    }

    /// Stops the container's processes where they are, or lets them go on.
    pub(super) fn freeze(&mut self, frozen: bool) -> Result<()> {
        let confinement = &self.container.history.confinement;
        let Some(placed) = &confinement.placed else {
            let why = confinement.without.clone().unwrap_or_default();
            refuse!(
                Unsupported,
                "it has no control group, by which it could be paused: {why}; see bryo doctor"
            );
        };
        let group = placed.limits();
        group.freeze(frozen)?;
        let (process, since, user_namespace) = match &self.container.state {
            State::Running {
                process,
                since,
                user_namespace,
            }
            | State::Paused {
                process,
                since,
                user_namespace,
            } => (*process, *since, *user_namespace),
            _ => return Ok(()),
        };
        let (state, action) = match frozen {
            true => {
                let state = State::Paused {
                    process,
                    since,
                    user_namespace,
                };
                (state, Action::Pause)
            }
            false => {
                let state = State::Running {
                    process,
                    since,
                    user_namespace,
                };
                (state, Action::Unpause)
            }
        };
        let before = std::mem::replace(&mut self.container.state, state);
        if let Err(error) = self.container.note_state() {
            // What is not known to be paused cannot be told to go on.
            self.container.state = before;
            let _ = group.freeze(!frozen);
            return Err(error);
        }
        events::emit(&self.containers, action, &self.container, &[]);
        Ok(())
    }

    /// What to say of an end by a lack of memory.
    pub(super) fn out_of_memory(&self, code: i32) -> Option<String> {
        let history = &self.container.history;
        let kills = history.oom_kills;
        if kills == 0 || code == 0 {
            return None;
        }
        let spec = self.container.spec().ok();
        let limit = spec.as_ref().and_then(limits::resources);
        let limit = limit.and_then(|r| r.memory().as_ref()?.limit());
        let limit = match limit.and_then(|limit| u64::try_from(limit).ok()) {
            Some(limit) => format!("its limit is {}", show(limit)),
            None => "the machine or a group around it had none left".to_owned(),
        };
        let processes = match kills {
            1 => "a process was killed".to_owned(),
            n => format!("{n} processes were killed"),
        };
        Some(format!("out of memory: {processes}; {limit}"))
    }
}
