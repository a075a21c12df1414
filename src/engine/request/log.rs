//! `--log-driver` and `--log-opt`.

use super::size;
use crate::error::refuse;
use anyhow::Result;
use serde::{Deserialize, Serialize};

/// What keeps the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// Docker's file format: one JSON object a line.
    #[default]
    JsonFile,
    /// The format of CRI, podman's name for it.
    K8sFile,
    /// systemd's journal.
    Journald,
    /// Nothing.
    None,
}

impl Driver {
    /// Its name, as `--log-driver` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Driver::JsonFile => "json-file",
            Driver::K8sFile => "k8s-file",
            Driver::Journald => "journald",
            Driver::None => "none",
        }
    }
}

/// `--log-driver` and `--log-opt`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogConfig {
    /// What keeps the log.
    pub driver: Driver,
    /// Bytes after which a new file is begun.
    pub max_size: Option<u64>,
    /// How many files there are at most; 0 stands for 1.
    pub max_file: u32,
    /// Labels whose values go with every record.
    pub labels: Vec<String>,
    /// Variables whose values go with every record.
    pub env: Vec<String>,
}

impl LogConfig {
    /// Reads the flags; no driver means the default one.
    ///
    /// # Errors
    /// Unknown drivers and options, and those that the driver has not.
    pub fn read(driver: Option<&str>, options: &[String]) -> Result<LogConfig> {
        let driver = match driver {
            None | Some("json-file" | "") => Driver::JsonFile,
            Some("k8s-file") => Driver::K8sFile,
            Some("none") => Driver::None,
            Some("journald") => Driver::Journald,
            Some(other) => refuse!(
                Invalid,
                "--log-driver {other}: not supported; there are json-file, k8s-file, journald \
                 and none"
            ),
        };
        let mut config = LogConfig {
            driver,
            ..LogConfig::default()
        };
        let files = matches!(driver, Driver::JsonFile | Driver::K8sFile);
        for option in options {
            let words = |list: &str| list.split(',').map(str::to_owned).collect();
            match option.split_once('=') {
                Some(("max-size", "-1")) if files => config.max_size = None,
                Some(("max-size", size)) if files => match size::bytes(size)? {
                    0 => refuse!(Invalid, "--log-opt {option}: a file needs some room"),
                    size => config.max_size = Some(size),
                },
                Some(("max-file", count)) if files => match count.parse() {
                    Ok(count) if count > 0 => config.max_file = count,
                    _ => refuse!(Invalid, "--log-opt {option}: at least one file is wanted"),
                },
                Some(("labels", list)) if driver != Driver::None => config.labels = words(list),
                Some(("env", list)) if driver != Driver::None => config.env = words(list),
                Some(("compress", "false")) if files => {}
                Some(_) => refuse!(
                    Invalid,
                    "--log-opt {option}: not supported by the driver {}",
                    driver.name()
                ),
                None => refuse!(Invalid, "--log-opt {option}: NAME=VALUE is wanted"),
            }
        }
        if config.max_file > 1 && config.max_size.is_none() {
            refuse!(Invalid, "--log-opt max-file has no effect without max-size");
        }
        Ok(config)
    }

    /// Name of the log file in a container's directory.
    pub fn file(&self) -> Option<&'static str> {
        match self.driver {
            Driver::JsonFile => Some("log.json"),
            Driver::K8sFile => Some("log.k8s"),
            Driver::Journald | Driver::None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(driver: &str, options: &[&str]) -> Result<LogConfig> {
        let options: Vec<String> = options.iter().map(|text| (*text).to_owned()).collect();
        LogConfig::read(Some(driver).filter(|text| *text != "-"), &options)
    }

    #[test]
    fn drivers_and_options_are_read() {
        for (text, driver, file) in [
            ("-", Driver::JsonFile, Some("log.json")),
            ("", Driver::JsonFile, Some("log.json")),
            ("json-file", Driver::JsonFile, Some("log.json")),
            ("k8s-file", Driver::K8sFile, Some("log.k8s")),
            ("journald", Driver::Journald, None),
            ("none", Driver::None, None),
        ] {
            let config = read(text, &[]).unwrap();
            assert_eq!((config.driver, config.file()), (driver, file), "{text}");
        }
        let all = read(
            "json-file",
            &[
                "max-size=10m",
                "max-file=3",
                "labels=a,b",
                "env=c",
                "compress=false",
            ],
        );
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
        let wanted = LogConfig {
            driver: Driver::JsonFile,
            max_size: Some(10 << 20),
            max_file: 3,
            labels: words(&["a", "b"]),
            env: words(&["c"]),
        };
        assert_eq!(all.unwrap(), wanted);
        assert_eq!(read("json-file", &["max-size=-1"]).unwrap().max_size, None);
        for (driver, options, said) in [
            (
                "syslog",
                &[][..],
                "--log-driver syslog: not supported; there are json-file, k8s-file, journald and \
                 none",
            ),
            (
                "-",
                &["max-size=0"],
                "--log-opt max-size=0: a file needs some room",
            ),
            (
                "-",
                &["max-file=0"],
                "--log-opt max-file=0: at least one file is wanted",
            ),
            (
                "-",
                &["max-file=x"],
                "--log-opt max-file=x: at least one file is wanted",
            ),
            (
                "-",
                &["max-file=2"],
                "--log-opt max-file has no effect without max-size",
            ),
            ("-", &["x"], "--log-opt x: NAME=VALUE is wanted"),
            (
                "none",
                &["env=x"],
                "--log-opt env=x: not supported by the driver none",
            ),
            (
                "journald",
                &["max-size=1m"],
                "--log-opt max-size=1m: not supported by the driver journald",
            ),
        ] {
            assert_eq!(read(driver, options).unwrap_err().to_string(), said);
        }
    }
}
