//! Flags of all verbs that talk to registries.

use crate::error::refuse;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::image::registry::client::{Client, RegistryOptions};
use crate::image::registry::conf::Conf;
use crate::image::registry::credentials::Credentials;

/// How to deal with registries.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// Whether registries must show by TLS who they are [default: true, but
    /// false for registries on this machine]
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    tls_verify: Option<bool>,
    /// Directory with certificates of the registry: *.crt, client.cert,
    /// client.key
    #[arg(long, value_name = "DIR")]
    cert_dir: Option<PathBuf>,
    /// File with credentials [default: podman's auth.json, docker's
    /// config.json]
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
    /// Credentials in place of those of files
    #[arg(long, value_name = "USER:PASSWORD")]
    creds: Option<String>,
    /// How often to ask again after a failure that may pass
    #[arg(long, value_name = "N", default_value_t = 3)]
    retry: u32,
    /// How long to wait before the first time, in seconds; then twice as long
    /// each time
    #[arg(long, value_name = "SECONDS", default_value_t = 0.5)]
    retry_delay: f64,
    /// How long a registry may say nothing, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    stall_timeout: u64,
    /// How many layers are fetched or sent at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    parallel: u8,
}

impl Default for Flags {
    /// As if none was given.
    fn default() -> Flags {
        Flags {
            tls_verify: None,
            cert_dir: None,
            authfile: None,
            creds: None,
            retry: 3,
            retry_delay: 0.5,
            stall_timeout: 60,
            parallel: 4,
        }
    }
}

impl Flags {
    /// What the flags say.
    pub fn options(&self) -> Result<RegistryOptions> {
        self.options_as(self.creds.as_deref())
    }

    fn options_as(&self, creds: Option<&str>) -> Result<RegistryOptions> {
        let credentials = match creds {
            None => None,
            Some(text) => {
                let (user, secret) = text
                    .split_once(':')
                    .context("--creds: USER:PASSWORD is wanted")?;
                Some(Credentials {
                    user: user.to_owned(),
                    secret: secret.to_owned(),
                })
            }
        };
        let Ok(delay) = Duration::try_from_secs_f64(self.retry_delay) else {
            refuse!(
                Invalid,
                "--retry-delay {}: seconds are wanted",
                self.retry_delay
            );
        };
        if self.stall_timeout == 0 {
            refuse!(Invalid, "--stall-timeout 0: at least one second is wanted");
        }
        Ok(RegistryOptions {
            tls_verify: self.tls_verify,
            cert_dir: self.cert_dir.clone(),
            authfile: self.authfile.clone(),
            credentials,
            retries: self.retry,
            delay,
            timeout: Duration::from_secs(self.stall_timeout),
            parallel: self.parallel.into(),
        })
    }

    /// `--authfile`
    pub fn authfile(&self) -> Option<&Path> {
        self.authfile.as_deref()
    }

    /// The same with credentials of its own, if there are any.
    pub fn client_as(&self, creds: Option<&str>) -> Result<Client> {
        let options = self.options_as(creds.or(self.creds.as_deref()))?;
        Ok(Client::new(options, Conf::load()?))
    }

    /// A client that does as the flags say.
    pub fn client(&self) -> Result<Client> {
        Ok(Client::new(self.options()?, Conf::load()?))
    }
}
