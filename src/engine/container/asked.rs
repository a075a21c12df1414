//! What was asked for a container and is in no specification: for `inspect`.

use serde::{Deserialize, Serialize};

/// A secret that a container has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct HandedSecret {
    pub name: String,
    pub id: String,
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
    /// It is a variable and no file.
    pub variable: bool,
}

/// What was asked for, in the words of the flags.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Asked {
    pub privileged: bool,
    pub init: bool,
    pub publish_all: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cap_add: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cap_drop: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_search: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_options: Vec<String>,
    /// As `NAME:ADDRESS`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extra_hosts: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes_from: Vec<String>,
    /// As `80/tcp`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exposed: Vec<String>,
    /// The image's volumes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
    /// The digest of the image's manifest.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image_digest: String,
    /// `--userns`; empty where nothing was said.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub userns: String,
    /// The command line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub create_command: Vec<String>,
    /// Secrets, and nothing of what they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<HandedSecret>,
    /// Devices, by their paths on the host and inside.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<(String, String)>,
}
