//! Images from a Dockerfile. What is followed is the Dockerfile frontend 1.26 of BuildKit;
//! where BuildKit and buildah differ, BuildKit is right.
//!
//! ```text
//! dockerfile ignore scope chmod lint     pure: the language
//! config state keys                      pure: what instructions make of a stage
//! origin context repository              where files come from
//! layout digests remote transfer         COPY, ADD and WORKDIR: files
//! run caches secrets                     RUN: a container
//! graph                                  pure: what waits for what
//! builder schedule stage steps report    stages side by side, and their steps
//! export                                 results that are plain files
//! ```

pub mod builder;
pub mod caches;
pub mod chmod;
pub mod config;
pub mod context;
pub mod digests;
pub mod dockerfile;
pub mod export;
pub mod graph;
pub mod ignore;
pub mod keys;
pub mod layout;
pub mod lint;
pub mod origin;
pub mod remote;
pub mod report;
pub mod repository;
pub mod run;
mod schedule;
pub mod scope;
pub mod secrets;
pub mod stage;
pub mod state;
pub mod steps;
pub mod transfer;
