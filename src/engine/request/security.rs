//! `--security-opt`.

use crate::error::refuse;
use anyhow::Result;
use std::path::PathBuf;

/// What all values of the flag say together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Security {
    /// The system call filter.
    pub seccomp: SeccompOption,
    /// Whether execve(2) may grant no privileges, if that was said.
    pub no_new_privileges: Option<bool>,
    /// Paths that stay visible and writable.
    pub unmask: Unmask,
    /// Its processes may make control groups below its own.
    pub writable_cgroups: bool,
}

/// The system call filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SeccompOption {
    /// The built-in one.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// The profile in this file.
    File(PathBuf),
    /// This profile, in docker's format.
    Profile(String),
}

/// Which paths that are masked or read-only by default are not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Unmask {
    /// All are.
    #[default]
    Nothing,
    /// None is.
    Everything,
    /// These are not.
    Paths(Vec<PathBuf>),
}

impl Security {
    /// Reads all values of the flag; of those that say the same the last counts.
    ///
    /// # Errors
    /// What is unknown, a value that is none.
    pub fn read(texts: &[String]) -> Result<Security> {
        let mut all = Security::default();
        texts.iter().try_for_each(|text| all.take(text))?;
        Ok(all)
    }

    fn take(&mut self, option: &str) -> Result<()> {
        // Docker's old form has a colon.
        let (key, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
        match (key, value) {
            ("seccomp", "unconfined") => self.seccomp = SeccompOption::Unconfined,
            ("seccomp", "" | "builtin") => self.seccomp = SeccompOption::Default,
            ("seccomp", file) => self.seccomp = SeccompOption::File(file.into()),
            ("no-new-privileges", value) => self.no_new_privileges = Some(switch(option, value)?),
            ("unmask", "ALL" | "all") => self.unmask = Unmask::Everything,
            ("unmask", paths) => {
                self.unmask = Unmask::Paths(paths.split(':').map(PathBuf::from).collect());
            }
            ("writable-cgroups", value) => self.writable_cgroups = switch(option, value)?,
            ("systempaths", "unconfined") => self.unmask = Unmask::Everything,
            // There is nothing to switch off: no such label was ever set.
            ("label", "disable") | ("apparmor", "unconfined") => {}
            _ => refuse!(
                Invalid,
                "--security-opt {option}: unknown or not supported yet"
            ),
        }
        Ok(())
    }
}

/// What is on or off, in the words that docker takes; without one it is on.
fn switch(option: &str, value: &str) -> Result<bool> {
    match value {
        "" | "1" | "t" | "T" | "true" | "True" | "TRUE" => Ok(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Ok(false),
        _ => refuse!(
            Invalid,
            "--security-opt {option}: true or false is wanted, not '{value}'"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str]) -> Result<Security> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        Security::read(&texts)
    }

    #[test]
    fn options_are_read() {
        let nothing = Security::default();
        for texts in [
            &[][..],
            &["label=disable", "apparmor:unconfined"],
            &["seccomp=unconfined", "seccomp=builtin"],
        ] {
            assert_eq!(read(texts).unwrap(), nothing, "{texts:?}");
        }
        let all = read(&[
            "seccomp:/a=b.json",
            "no-new-privileges",
            "unmask=/proc/kcore:/sys/firmware",
            "writable-cgroups=1",
        ]);
        let wanted = Security {
            seccomp: SeccompOption::File("/a=b.json".into()),
            no_new_privileges: Some(true),
            unmask: Unmask::Paths(vec!["/proc/kcore".into(), "/sys/firmware".into()]),
            writable_cgroups: true,
        };
        assert_eq!(all.unwrap(), wanted);
        for text in ["unmask=ALL", "systempaths=unconfined"] {
            assert_eq!(read(&[text]).unwrap().unmask, Unmask::Everything);
        }
        let off = read(&["no-new-privileges:false"]).unwrap();
        assert_eq!(off.no_new_privileges, Some(false));
        for (text, why) in [
            ("no-new-privileges=x", "true or false is wanted, not 'x'"),
            ("label=type:x", "unknown or not supported yet"),
            ("", "unknown or not supported yet"),
        ] {
            let error = read(&[text]).unwrap_err().to_string();
            assert_eq!(error, format!("--security-opt {text}: {why}"));
        }
    }
}
