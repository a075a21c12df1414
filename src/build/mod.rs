//! Images from a Dockerfile. The language is in `dockerfile` and `ignore`, which are
//! pure: they touch no file, clock or system call. What they follow is the Dockerfile
//! frontend 1.26 of BuildKit; where BuildKit and buildah differ, BuildKit is right.

pub mod builder;
pub mod chmod;
pub mod config;
pub mod digests;
pub mod dockerfile;
pub mod ignore;
pub mod layout;
pub mod lint;
pub mod report;
pub mod run;
pub mod scope;
pub mod state;
pub mod transfer;
