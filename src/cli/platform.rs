//! The flags of `run` and `create` that say which platform's image is meant.

use crate::image::platform::Platform;
use anyhow::Result;

/// Which platform's image is run
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Flags {
    /// Run the image of this platform
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", conflicts_with_all = ["arch", "os", "variant"])]
    platform: Option<Platform>,
    /// Run the image of this architecture, as arm64
    #[arg(long, value_name = "ARCH")]
    arch: Option<String>,
    /// Run the image of this operating system
    #[arg(long, value_name = "OS")]
    os: Option<String>,
    /// Run the image of this variant of the architecture, as v7
    #[arg(long, value_name = "VARIANT")]
    variant: Option<String>,
}

impl Flags {
    /// The platform, if one was said; what was not said of it is this machine's.
    pub fn wanted(&self) -> Result<Option<Platform>> {
        if self.arch.is_none() && self.os.is_none() && self.variant.is_none() {
            return Ok(self.platform.clone());
        }
        let host = Platform::host();
        let os = self.os.as_ref().unwrap_or(&host.os);
        let arch = self.arch.as_ref().unwrap_or(&host.architecture);
        let text = match &self.variant {
            Some(variant) => format!("{os}/{arch}/{variant}"),
            None => format!("{os}/{arch}"),
        };
        text.parse().map(Some)
    }
}
