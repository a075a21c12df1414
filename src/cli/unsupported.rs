//! Flags of docker and podman that bryo does not have yet: an error about
//! one of them says so.

use clap::error::{ContextKind, ContextValue, ErrorKind};

const FLAGS: &[&str] = &[
    "--device-cgroup-rule",
    "--gpus",
    "--link",
    "--runtime",
    "--isolation",
    "--storage-opt",
    "--volume-driver",
    "--disable-content-trust",
    "--subuidname",
    "--subgidname",
    "--pod",
    "--passwd",
    "--userns-remap",
    "--preserve-fds",
    "--rdt-class",
    "--requires",
    "--chrootdirs",
    "--decryption-key",
    "--hostuser",
    "--init-ctr",
    "--init-path",
    "--personality",
    "--seccomp-policy",
    "--shm-size-systemd",
    "--output",
    "--cache-from",
    "--cache-to",
    "--build-context",
    "--metadata-file",
    "--no-cache-filter",
    "--provenance",
    "--sbom",
    "--attest",
];

/// What to say of an error about a flag that docker or podman have and bryo
/// does not; `None` for any other error.
pub fn explain(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let flag = argument.split('=').next()?;
    let known = error.kind() == ErrorKind::UnknownArgument && FLAGS.contains(&flag);
    known.then(|| format!("{flag}: not supported yet"))
}
