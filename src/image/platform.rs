//! Platforms: `os/architecture[/variant]`, in Go's words, as images have them.

use crate::error::{demand, refuse};
use std::fmt;
use std::str::FromStr;

use anyhow::Result;

/// What an image is built for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// The operating system, as `linux`.
    pub os: String,
    /// The architecture, as `amd64`.
    pub architecture: String,
    /// Its variant, as `v8`; empty if there is none.
    pub variant: String,
}

impl Platform {
    /// What this program runs on.
    pub fn host() -> Platform {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", ""),
            "aarch64" => ("arm64", "v8"),
            "x86" => ("386", ""),
            "arm" => ("arm", "v7"),
            "powerpc64" if cfg!(target_endian = "little") => ("ppc64le", ""),
            "powerpc64" => ("ppc64", ""),
            other => (other, ""),
        };
        Platform {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
        }
    }

    /// A platform from the fields of a descriptor or configuration.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Platform {
        let variant = match (architecture, variant.unwrap_or_default()) {
            // The one that everybody means when none is said.
            ("arm64", "") => "v8",
            ("arm", "") => "v7",
            ("amd64", "v1") => "",
            (_, variant) => variant,
        };
        Platform {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
        }
    }

    /// How well a machine of this platform runs images of `image`: higher is
    /// better, None is not at all. 32-bit x86 runs on amd64; older variants of
    /// arm and amd64 run on newer ones.
    pub fn runs(&self, image: &Platform) -> Option<u32> {
        if self.os != image.os {
            return None;
        }
        let version = |variant: &str| variant.trim_start_matches('v').parse::<u32>().unwrap_or(0);
        if self.architecture == image.architecture {
            let newer = version(&image.variant) > version(&self.variant);
            // Variants of amd64 are levels that the host does not state.
            if newer && self.architecture != "amd64" {
                return None;
            }
            return Some(
                100 - version(&image.variant)
                    .abs_diff(version(&self.variant))
                    .min(50),
            );
        }
        (self.architecture == "amd64" && image.architecture == "386").then_some(1)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

impl FromStr for Platform {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Platform> {
        let parts: Vec<&str> = text.split('/').collect();
        let word = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
        };
        demand!(
            Invalid,
            parts.iter().all(|part| word(part)),
            "invalid platform {text:?}: expected OS/ARCHITECTURE[/VARIANT]"
        );
        let common = |name: &str| match name {
            "x86_64" | "x86-64" => "amd64".to_owned(),
            "aarch64" => "arm64".to_owned(),
            "i386" => "386".to_owned(),
            other => other.to_owned(),
        };
        Ok(match parts[..] {
            ["linux"] => Platform::host(),
            [architecture] => Platform::new("linux", &common(architecture), None),
            [os, architecture] => Platform::new(os, &common(architecture), None),
            [os, architecture, variant] => Platform::new(os, &common(architecture), Some(variant)),
            _ => refuse!(
                Invalid,
                "invalid platform {text:?}: expected OS/ARCHITECTURE[/VARIANT]"
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn platforms_are_read_and_compared() {
        assert_eq!(platform("linux/arm64").to_string(), "linux/arm64/v8");
        assert_eq!(platform("aarch64"), platform("linux/arm64/v8"));
        assert_eq!(platform("linux"), Platform::host());
        for text in ["", "linux/", "a/b/c/d", "linux/amd 64"] {
            assert!(text.parse::<Platform>().is_err(), "{text:?}");
        }
        let amd64 = platform("linux/amd64");
        assert!(amd64.runs(&amd64) > amd64.runs(&platform("linux/386")));
        assert!(amd64.runs(&platform("linux/386")).is_some());
        assert!(amd64.runs(&platform("linux/arm64")).is_none());
        assert!(amd64.runs(&platform("windows/amd64")).is_none());
        let v7 = platform("linux/arm/v7");
        assert!(v7.runs(&platform("linux/arm/v7")) > v7.runs(&platform("linux/arm/v6")));
        assert!(platform("linux/arm/v6").runs(&v7).is_none());
    }
}
