//! The flags of `run` and `create` that say which variables a container has.

use crate::engine::request::environment::{self, Variable};
use anyhow::Result;
use std::path::PathBuf;

/// Which variables a container has
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Variables {
    /// Set a variable, or pass one on
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read variables from a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Pass all variables on that bryo has itself
    #[arg(long)]
    env_host: bool,
    /// Set a variable made of those of the image, as PATH=${PATH}:/opt/bin
    #[arg(long, value_name = "NAME=VALUE")]
    env_merge: Vec<String>,
    /// Pass on what programs ask a proxy by: http_proxy, https_proxy, ftp_proxy,
    /// all_proxy, no_proxy, and as these in upper case
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_value = "true", default_missing_value = "true", action = clap::ArgAction::Set)]
    http_proxy: bool,
    /// Leave a variable of the image out
    #[arg(long, value_name = "NAME")]
    unsetenv: Vec<String>,
    /// Leave all variables of the image out, and bryo's PATH and TERM
    #[arg(long)]
    unsetenv_all: bool,
}

impl Variables {
    /// In their order: what is left out, what is passed on, what is set.
    pub fn list(&self) -> Result<Vec<Variable>> {
        let gone = self.unsetenv.iter().map(|name| (name.clone(), None));
        let mut all: Vec<Variable> = gone.collect();
        match (self.env_host, self.http_proxy) {
            (true, _) => all.extend(environment::of_host()),
            (false, true) => all.extend(environment::proxies()),
            (false, false) => {}
        }
        all.extend(environment::read(&self.env_file, &self.env)?);
        Ok(all)
    }

    /// Those that are made of others.
    pub fn merged(&self) -> Result<Vec<(String, String)>> {
        let all = self.env_merge.iter();
        all.map(|text| environment::merge(text)).collect()
    }

    /// Whether none of the image's are wanted.
    pub fn none_of_image(&self) -> bool {
        self.unsetenv_all
    }
}
