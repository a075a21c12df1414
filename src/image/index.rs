//! Which image of several platforms is meant.
//!
//! Pure: no files, no clock.

use crate::error::refuse;
use anyhow::{Context, Result};
use oci_spec::image::{Descriptor, ImageConfiguration};
use serde_json::{Value, json};

use super::platform::Platform;

/// Indexes inside indexes are followed so deep.
pub const MAX_NESTING: u32 = 4;

/// Whether an entry may be an image, and no statement about one (a provenance,
/// a signature).
pub fn may_be_image(entry: &Descriptor) -> bool {
    let attests = "vnd.docker.reference.type";
    let annotations = entry.annotations().as_ref();
    let unknown = entry.platform().as_ref();
    let unknown = unknown.is_some_and(|p| p.os().to_string() == "unknown");
    entry.artifact_type().is_none()
        && !unknown
        && annotations.is_none_or(|a| !a.contains_key(attests))
}

/// The entries of an index for `platform`, the host's if None. There are several
/// where none says what it is for: then their configurations tell.
pub fn choose<'a>(
    entries: impl IntoIterator<Item = &'a Descriptor>,
    platform: Option<&Platform>,
) -> Result<Vec<&'a Descriptor>> {
    let host = Platform::host();
    let target = platform.unwrap_or(&host);
    let mut best: Option<u32> = None;
    let mut ranked = Vec::new();
    let mut offered = Vec::new();
    for candidate in entries.into_iter().filter(|entry| may_be_image(entry)) {
        // Without a platform it may be the only one there is.
        let rank = match candidate.platform() {
            None => Some(0),
            Some(platform) => {
                let platform = Platform::new(
                    platform.os().to_string().as_str(),
                    platform.architecture().to_string().as_str(),
                    platform.variant().as_deref(),
                );
                offered.push(platform.to_string());
                target.runs(&platform)
            }
        };
        ranked.extend(rank.map(|rank| (rank, candidate)));
        best = best.max(rank);
    }
    if best.is_none() {
        let offered = match offered.is_empty() {
            true => "no image at all".to_owned(),
            false => format!("only for {}", offered.join(", ")),
        };
        refuse!(NotFound, "there is no image for {target}, {offered}");
    }
    let chosen = ranked.into_iter().filter(|(rank, _)| Some(*rank) == best);
    Ok(chosen.map(|(_, candidate)| candidate).collect())
}

/// Reads an image's configuration. One that does not say what it is for is for
/// this machine, as podman takes it.
pub fn configuration(bytes: &[u8]) -> Result<ImageConfiguration> {
    let read = || -> Result<ImageConfiguration> {
        let mut value: Value = serde_json::from_slice(bytes)?;
        let host = Platform::host();
        for (key, own) in [("os", host.os), ("architecture", host.architecture)] {
            if value[key].as_str().is_none_or(str::is_empty) && value.is_object() {
                value[key] = json!(own);
            }
        }
        Ok(serde_json::from_value(value)?)
    };
    read().context("parse the configuration")
}

/// What an image says that it is for.
pub fn platform_of(config: &ImageConfiguration) -> Platform {
    Platform::new(
        &config.os().to_string(),
        &config.architecture().to_string(),
        config.variant().as_deref(),
    )
}

/// Fails if an image is for another platform than wanted: the host's if
/// nothing else was asked for.
pub fn check_platform(config: &ImageConfiguration, wanted: Option<&Platform>) -> Result<()> {
    let image = platform_of(config);
    let host = Platform::host();
    let target = wanted.unwrap_or(&host);
    if target.runs(&image).is_none() {
        match wanted {
            Some(wanted) => refuse!(NotFound, "the image is for {image}, not for {wanted}"),
            None => refuse!(
                NotFound,
                "the image is for {image}, but this machine is {host} \
                 (--platform {image} takes it all the same)"
            ),
        }
    }
    Ok(())
}
