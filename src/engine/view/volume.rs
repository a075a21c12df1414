//! Volumes.

use super::words;
use crate::engine::container::volumes::{self, Volumes};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// A volume, as `volume inspect` and `volume ls` show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// There is one: `local`.
    pub driver: &'static str,
    /// Its files.
    pub mountpoint: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// `--label`s.
    pub labels: BTreeMap<String, String>,
    /// There is one: `local`.
    pub scope: &'static str,
    /// Options of the driver, which takes none.
    pub options: BTreeMap<String, String>,
    /// Nobody gave it a name.
    pub anonymous: bool,
}

impl Volume {
    /// How a volume is shown.
    pub fn of(volume: &volumes::Volume, volumes: &Volumes) -> Volume {
        Volume {
            name: volume.name.clone(),
            driver: "local",
            mountpoint: volumes.data(&volume.name).display().to_string(),
            created_at: volume.created,
            labels: volume.labels.clone(),
            scope: "local",
            options: BTreeMap::new(),
            anonymous: volume.anonymous,
        }
    }

    /// The volume of this name.
    ///
    /// # Errors
    /// Of [`NotFound`](crate::error::Kind::NotFound).
    pub fn find(name: &str, volumes: &Volumes) -> anyhow::Result<Volume> {
        Ok(Volume::of(&volumes.find(name)?, volumes))
    }
}

/// A volume in a list, with docker's names of columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Row {
    /// Its name.
    pub name: String,
    /// There is one: `local`.
    pub driver: &'static str,
    /// There is one: `local`.
    pub scope: &'static str,
    /// Its files.
    pub mountpoint: String,
    /// Labels in one line.
    pub labels: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Nobody gave it a name.
    pub anonymous: bool,
    /// Docker has it of clusters alone.
    pub availability: &'static str,
    /// Docker has it of clusters alone.
    pub group: &'static str,
    /// Not counted for a list, as in docker: `system df -v` has it.
    pub links: &'static str,
    /// As `links`.
    pub size: &'static str,
    /// Docker has it of clusters alone.
    pub status: &'static str,
}

impl From<Volume> for Row {
    fn from(volume: Volume) -> Row {
        Row {
            name: volume.name,
            driver: volume.driver,
            scope: volume.scope,
            mountpoint: volume.mountpoint,
            labels: words::labels(&volume.labels),
            created_at: volume.created_at,
            anonymous: volume.anonymous,
            availability: "N/A",
            group: "N/A",
            links: "N/A",
            size: "N/A",
            status: "N/A",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::image::store::Store;
    use serde_json::json;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn a_volume_has_dockers_fields() {
        let directory = tempfile::tempdir().unwrap();
        let volumes = Volumes::open(&Store::open(directory.path()).unwrap());
        let volume = volumes::Volume {
            name: "data".into(),
            created: "2026-01-02T03:04:05.6Z".parse().unwrap(),
            labels: [("tier".into(), "db".into())].into(),
            anonymous: true,
            ..volumes::Volume::default()
        };
        assert_eq!(
            serde_json::to_value(Volume::of(&volume, &volumes)).unwrap(),
            json!({
                "Name": "data",
                "Driver": "local",
                "Mountpoint": volumes.data("data"),
                "CreatedAt": "2026-01-02T03:04:05.6Z",
                "Labels": {"tier": "db"},
                "Scope": "local",
                "Options": {},
                "Anonymous": true,
            })
        );
        let odd = OsStr::from_bytes(b"odd\xff");
        let volumes = Volumes::open(&Store::open(&directory.path().join(odd)).unwrap());
        let shown = Volume::of(&volume, &volumes).mountpoint;
        assert!(
            shown.ends_with("/odd\u{fffd}/volumes/data/_data"),
            "{shown}"
        );
        let missing = Volume::find("other", &volumes).unwrap_err();
        assert_eq!(Kind::of(&missing), Some(Kind::NotFound));
    }
}
