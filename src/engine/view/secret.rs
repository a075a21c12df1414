//! Secrets: all that is shown of them, which is not what they are.

use super::words;
use crate::engine::container::secrets;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// A secret, as `secret inspect` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Secret {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed: never, but it may be made anew.
    pub updated_at: Timestamp,
    /// What was asked for.
    pub spec: SecretSpec,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SecretSpec {
    /// Its name.
    pub name: String,
    /// Who keeps it.
    pub driver: Driver,
    /// `--label`s.
    pub labels: BTreeMap<String, String>,
}

/// Who keeps secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Driver {
    /// There is one: `file`.
    pub name: &'static str,
    /// It has none.
    pub options: BTreeMap<String, String>,
}

/// There is one: podman's name of it.
pub const DRIVER: &str = "file";

impl From<secrets::Secret> for Secret {
    fn from(secret: secrets::Secret) -> Secret {
        Secret {
            id: secret.id,
            created_at: secret.created,
            updated_at: secret.created,
            spec: SecretSpec {
                name: secret.name,
                driver: Driver {
                    name: DRIVER,
                    options: BTreeMap::new(),
                },
                labels: secret.labels,
            },
        }
    }
}

/// A secret in a list, with docker's names of columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Row {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Its name.
    pub name: String,
    /// Who keeps it.
    pub driver: &'static str,
    /// How long ago it was made.
    pub created_at: String,
    /// How long ago it was changed.
    pub updated_at: String,
    /// Labels in one line.
    pub labels: String,
}

impl Row {
    /// How one is shown at this time.
    pub fn of(secret: &secrets::Secret, now: Timestamp) -> Row {
        let seconds = now.as_second().saturating_sub(secret.created.as_second());
        let ago = words::duration(seconds) + " ago";
        Row {
            id: secret.id.clone(),
            name: secret.name.clone(),
            driver: DRIVER,
            created_at: ago.clone(),
            updated_at: ago,
            labels: words::labels(&secret.labels),
        }
    }
}
