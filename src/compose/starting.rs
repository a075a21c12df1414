//! Starting a project's containers, side by side, each as soon as what it depends on is as it has
//! to be.

use super::service::{Condition, Service};
use super::up::{Made, Up};
use super::waiting;
use crate::engine::container::containers::Containers;
use crate::engine::ground::caller::Caller;
use crate::engine::operate::launch::Launch;
use crate::engine::operate::lifecycle;
use crate::error::{refusal, refuse};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex};
use std::time::Instant;

/// How far a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Begun,
    Started,
    Failed,
}

/// How far the services are, for those that wait for others.
#[derive(Default)]
pub(super) struct Board {
    services: Mutex<BTreeMap<String, Progress>>,
    changed: Condvar,
}

impl Board {
    fn set(&self, name: &str, progress: Progress) {
        let mut services = self.services.lock().expect("no thread panics");
        services.insert(name.to_owned(), progress);
        self.changed.notify_all();
    }

    /// Waits until a service is started, or that has failed.
    fn wait(&self, name: &str) -> Progress {
        let mut services = self.services.lock().expect("no thread panics");
        loop {
            match services.get(name) {
                Some(Progress::Begun) => {}
                Some(progress) => return *progress,
                // It is not asked for.
                None => return Progress::Started,
            }
            services = self.changed.wait(services).expect("no thread panics");
        }
    }
}

impl Up<'_> {
    /// Waits until all are well.
    ///
    /// # Errors
    /// One is not, or it takes too long.
    pub fn wait(&self, made: &Made, until: Option<Instant>) -> Result<()> {
        let containers = Containers::open(self.store);
        let completes = |name: &String| {
            let mut all = self
                .services
                .values()
                .flat_map(|service| &service.dependencies);
            all.any(|other| other.service == *name && other.condition == Condition::Completed)
        };
        for (name, ids) in &made.ids {
            let condition = match completes(name) {
                true => Condition::Completed,
                false => Condition::Healthy,
            };
            for id in ids {
                waiting::wait(&containers, id, condition, false, until, self.given_up)?;
                let container = containers.find(id)?;
                (self.report)("Container", &container.record.name, "Healthy");
            }
        }
        Ok(())
    }

    /// Starts what does not run, side by side where the order allows it.
    ///
    /// # Errors
    /// What could not be started; the rest is. None if it was given up.
    pub fn start(&self, made: &Made) -> Result<()> {
        let containers = &Containers::open(self.store);
        let mut due: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, ids) in &made.ids {
            let ids = ids.iter().filter(|id| !made.running.contains(*id));
            let ids: Vec<&str> = ids.map(String::as_str).collect();
            if !ids.is_empty() {
                due.insert(name, ids);
            }
        }
        let begun = due.keys().map(|name| ((*name).to_owned(), Progress::Begun));
        let board = Board {
            services: Mutex::new(begun.collect()),
            changed: Condvar::new(),
        };
        let errors = Mutex::new(Vec::new());
        let null = File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .context("/dev/null")?;
        std::thread::scope(|scope| {
            for (name, ids) in &due {
                let (board, errors, null) = (&board, &errors, &null);
                scope.spawn(move || {
                    let service = &self.services[*name];
                    let started = self.ready(containers, service, made, board).and_then(|()| {
                        ids.iter()
                            .try_for_each(|id| self.start_one(containers, id, null))
                    });
                    match started {
                        Ok(()) => board.set(name, Progress::Started),
                        Err(error) => {
                            errors.lock().expect("no thread panics").push(error);
                            board.set(name, Progress::Failed);
                        }
                    }
                });
            }
        });
        if self.is_given_up() {
            return Ok(());
        }
        let mut errors = errors.into_inner().expect("no thread panics").into_iter();
        let Some(first) = errors.next() else {
            return Ok(());
        };
        for other in errors {
            (self.warn)(&format!("{other:#}"));
        }
        let hint = format!(
            "the rest of project {0} goes on: bryo compose -p {0} ps shows it, and up goes on from there",
            self.project.name
        );
        (self.warn)(&hint);
        Err(first)
    }

    fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }

    fn start_one(&self, containers: &Containers, id: &str, null: &File) -> Result<()> {
        let container = containers.find(id)?;
        let name = container.record.name.clone();
        if self.is_given_up() {
            refuse!(Conflict, "container {name} is not started: it was given up");
        }
        let caller = Caller::with([null.as_fd(); 3]);
        let how = Launch::default();
        let started = lifecycle::start(containers, container, &how, caller, &|text| {
            (self.warn)(text)
        });
        started.with_context(|| format!("container {name}"))?;
        (self.report)("Container", &name, "Started");
        Ok(())
    }

    /// Waits until a container is as another's service has it, and tells of that.
    fn await_one(&self, containers: &Containers, id: &str, condition: Condition) -> Result<()> {
        let name = containers.find(id)?.record.name;
        (self.report)("Container", &name, "Waiting");
        waiting::wait(containers, id, condition, true, None, self.given_up)?;
        let became = match condition {
            Condition::Completed => "Exited",
            Condition::Healthy | Condition::Started => "Healthy",
        };
        (self.report)("Container", &name, became);
        Ok(())
    }

    /// Waits until all that a service depends on is as it has to be.
    pub(super) fn ready(
        &self,
        containers: &Containers,
        service: &Service,
        made: &Made,
        board: &Board,
    ) -> Result<()> {
        for name in &service.shares_with {
            if board.wait(name) == Progress::Failed {
                refuse!(
                    Conflict,
                    "services.{}: {name}, which it shares with, did not start",
                    service.name
                );
            }
        }
        for dependency in &service.dependencies {
            let other = &dependency.service;
            let Some(ids) = made.ids.get(other) else {
                continue;
            };
            let done = match board.wait(other) {
                Progress::Failed => Err(refusal!(
                    Conflict,
                    "services.{}: {other}, which it depends on, did not start",
                    service.name
                )),
                _ if dependency.condition == Condition::Started => Ok(()),
                _ => ids.iter().try_for_each(|id| {
                    self.await_one(containers, id, dependency.condition)
                        .with_context(|| format!("services.{}: depends on {other}", service.name))
                }),
            };
            match done {
                Err(error) if !dependency.required => (self.warn)(&format!("{error:#}")),
                other => other?,
            }
        }
        Ok(())
    }
}
