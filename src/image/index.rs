//! Which image of several platforms is meant.
//!
//! Pure: no files, no clock.

use anyhow::{Result, bail};
use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex};

use super::platform::Platform;

/// Indexes inside indexes are followed so deep.
pub const MAX_NESTING: u32 = 4;

/// The entry of an index for `platform`, the host's if None.
pub fn choose<'a>(index: &'a ImageIndex, platform: Option<&Platform>) -> Result<&'a Descriptor> {
    let host = Platform::host();
    let target = platform.unwrap_or(&host);
    let mut best: Option<(u32, &Descriptor)> = None;
    let mut offered = Vec::new();
    for candidate in index.manifests() {
        // Without a platform it may be the only one there is.
        let rank = match candidate.platform() {
            None => Some(0),
            Some(platform) => {
                let platform = Platform::new(
                    platform.os().to_string().as_str(),
                    platform.architecture().to_string().as_str(),
                    platform.variant().as_deref(),
                );
                // Attestations hide behind this one.
                if platform.os != "unknown" {
                    offered.push(platform.to_string());
                }
                target.runs(&platform)
            }
        };
        if let Some(rank) = rank
            && best.is_none_or(|(known, _)| rank > known)
        {
            best = Some((rank, candidate));
        }
    }
    match best {
        Some((_, candidate)) => Ok(candidate),
        None => bail!(
            "there is no image for {target}, only for {}",
            offered.join(", ")
        ),
    }
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
            Some(wanted) => bail!("the image is for {image}, not for {wanted}"),
            None => bail!(
                "the image is for {image}, but this machine is {host} \
                 (--platform {image} takes it all the same)"
            ),
        }
    }
    Ok(())
}
