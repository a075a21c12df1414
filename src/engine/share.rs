//! What of the host the image `host` shows beyond its files: `--share`. Pure.

use anyhow::{Result, bail};
use std::collections::BTreeSet;

/// Files and directories below a home that are for nobody else, by the word
/// that shows them all the same.
const SECRETS: [(&str, &[&str]); 9] = [
    ("ssh", &[".ssh"]),
    ("gpg", &[".gnupg"]),
    (
        "cloud",
        &[
            ".aws",
            ".azure",
            ".boto",
            ".config/doctl",
            ".config/gcloud",
            ".config/rclone",
            ".oci",
            ".s3cfg",
            ".terraform.d",
            ".vault-token",
        ],
    ),
    ("kube", &[".kube"]),
    (
        "registries",
        &[".config/bryo", ".config/containers", ".docker"],
    ),
    (
        "passwords",
        &[
            ".config/gh",
            ".config/git/credentials",
            ".config/hub",
            ".config/op",
            ".config/sops",
            ".git-credentials",
            ".local/share/keyrings",
            ".local/share/kwalletd",
            ".my.cnf",
            ".netrc",
            ".password-store",
            ".pgpass",
            ".pki",
            ".Xauthority",
        ],
    ),
    (
        "packages",
        &[
            ".cargo/credentials",
            ".cargo/credentials.toml",
            ".gem/credentials",
            ".npmrc",
            ".pypirc",
        ],
    ),
    (
        "browsers",
        &[
            ".config/BraveSoftware",
            ".config/chromium",
            ".config/google-chrome",
            ".mozilla",
            ".thunderbird",
        ],
    ),
    (
        "history",
        &[
            ".bash_history",
            ".local/share/fish",
            ".mysql_history",
            ".psql_history",
            ".python_history",
            ".zsh_history",
        ],
    ),
];

/// Words that stand for no paths below a home.
const OTHERS: [&str; 6] = ["all", "env", "home", "run", "sockets", "store"];

/// Variables that say nothing about the user's accounts.
const VARIABLES: [&str; 17] = [
    "CLICOLOR",
    "COLORTERM",
    "COLUMNS",
    "EDITOR",
    "HOME",
    "LANG",
    "LANGUAGE",
    "LINES",
    "LOGNAME",
    "NO_COLOR",
    "PAGER",
    "PATH",
    "SHELL",
    "TERM",
    "TMPDIR",
    "TZ",
    "USER",
];

/// Variables that say where the user's sockets are.
const OF_RUN: [&str; 4] = [
    "DBUS_SESSION_BUS_ADDRESS",
    "WAYLAND_DISPLAY",
    "XDG_RUNTIME_DIR",
    "XDG_SESSION_TYPE",
];

/// What is shown beyond the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Share(BTreeSet<&'static str>);

impl Share {
    /// Reads values of `--share`, each some words separated by commas.
    ///
    /// # Errors
    /// A word that there is not.
    pub fn parse(values: &[String]) -> Result<Share> {
        let known = || SECRETS.iter().map(|(word, _)| *word).chain(OTHERS);
        let mut share = Share::default();
        for word in values.iter().flat_map(|value| value.split(',')) {
            match known().find(|known| *known == word) {
                Some(word) => drop(share.0.insert(word)),
                None => {
                    let mut words: Vec<&str> = known().collect();
                    words.sort_unstable();
                    bail!("--share: there is no '{word}', but {}", words.join(", "));
                }
            }
        }
        Ok(share)
    }

    /// Whether nothing was asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether what a word stands for is shown.
    pub fn has(&self, word: &str) -> bool {
        self.0.contains("all") || self.0.contains(word)
    }

    /// The paths below a home that are not shown.
    pub fn hidden(&self) -> impl Iterator<Item = &'static str> {
        let hidden = |word: &str| !self.has("home") && !self.has(word);
        let rows = SECRETS.into_iter().filter(move |(word, _)| hidden(word));
        rows.flat_map(|(_, paths)| paths.iter().copied())
    }

    /// Whether a variable of the caller's is passed on.
    pub fn passes(&self, variable: &str) -> bool {
        self.has("env")
            || VARIABLES.contains(&variable)
            || variable.starts_with("LC_")
            || self.has("run") && OF_RUN.contains(&variable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(values: &[&str]) -> Result<Share> {
        Share::parse(&values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn words_show_what_they_stand_for() {
        let none = Share::default();
        let hidden = |share: &Share, path| share.hidden().any(|hidden| hidden == path);
        assert!(hidden(&none, ".ssh") && hidden(&none, ".netrc"));
        assert!(none.passes("LC_ALL") && none.passes("PATH") && !none.passes("AWS_SECRET"));
        let some = parse(&["ssh,env", "store"]).unwrap();
        assert!(!hidden(&some, ".ssh") && hidden(&some, ".netrc"));
        assert!(some.passes("AWS_SECRET") && some.has("store") && !some.has("run"));
        assert_eq!(parse(&["home"]).unwrap().hidden().count(), 0);
        let all = parse(&["all"]).unwrap();
        assert!(all.has("run") && all.has("sockets") && all.hidden().count() == 0);
        let error = parse(&["ssh", "sssh"]).unwrap_err().to_string();
        assert!(
            error.contains("'sssh'") && error.contains("gpg, history, home"),
            "{error}"
        );
    }
}
