//! What of the host the image `host` shows beyond its files: `--share`. Pure.

use crate::error::refuse;
use anyhow::Result;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

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

/// Variables that say where such a file or directory, or a list of them, is in
/// place of its usual one.
const ELSEWHERE: [(&str, &[&str]); 7] = [
    ("gpg", &["GNUPGHOME"]),
    (
        "cloud",
        &[
            "AWS_CONFIG_FILE",
            "AWS_SHARED_CREDENTIALS_FILE",
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            "AZURE_CONFIG_DIR",
            "BOTO_CONFIG",
            "CLOUDSDK_CONFIG",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "OCI_CLI_CONFIG_FILE",
            "RCLONE_CONFIG",
        ],
    ),
    ("kube", &["KUBECONFIG"]),
    ("registries", &["DOCKER_CONFIG", "REGISTRY_AUTH_FILE"]),
    (
        "passwords",
        &[
            "GH_CONFIG_DIR",
            "NETRC",
            "PASSWORD_STORE_DIR",
            "PGPASSFILE",
            "SOPS_AGE_KEY_FILE",
            "XAUTHORITY",
        ],
    ),
    (
        "packages",
        &[
            "NPM_CONFIG_USERCONFIG",
            "npm_config_userconfig",
            "PIP_CONFIG_FILE",
        ],
    ),
    ("history", &["HISTFILE", "MYSQL_HISTFILE", "PSQL_HISTORY"]),
];

/// Variables that say where what is usually in a directory below a home is.
const BASES: [(&str, &str); 3] = [
    ("XDG_CONFIG_HOME", ".config/"),
    ("XDG_DATA_HOME", ".local/share/"),
    ("CARGO_HOME", ".cargo/"),
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
                    refuse!(
                        Invalid,
                        "--share: there is no '{word}', but {}",
                        words.join(", ")
                    );
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
        self.rows(&SECRETS)
    }

    /// What is not shown of all that the caller's variables say to be elsewhere
    /// than below a home.
    pub fn hidden_by<'a>(
        &'a self,
        variable: impl Fn(&str) -> Option<OsString> + 'a,
    ) -> impl Iterator<Item = PathBuf> + 'a {
        let variable = std::rc::Rc::new(variable);
        let base = variable.clone();
        let moved = BASES.into_iter().filter_map(move |(name, usual)| {
            let base = PathBuf::from(base(name)?);
            let below = self
                .hidden()
                .filter_map(move |path| path.strip_prefix(usual));
            Some(below.map(move |path| base.join(path)))
        });
        let named = self.rows(&ELSEWHERE).filter_map(move |name| variable(name));
        let named = named.flat_map(|list| std::env::split_paths(&list).collect::<Vec<_>>());
        let all = moved.flatten().chain(named);
        all.filter(|path| path.is_absolute())
    }

    /// What is in the rows of those words that nothing is shown of.
    fn rows<'a>(
        &'a self,
        rows: &'static [(&'static str, &'static [&'static str])],
    ) -> impl Iterator<Item = &'static str> + 'a {
        let hidden = |word: &str| !self.has("home") && !self.has(word);
        let rows = rows.iter().filter(move |(word, _)| hidden(word));
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
    fn what_is_elsewhere_is_not_shown_either() {
        let variable = |name: &str| {
            Some(OsString::from(match name {
                "XDG_CONFIG_HOME" => "/c",
                "KUBECONFIG" => "/k/one:/k/two",
                "DOCKER_CONFIG" => "relative",
                "GNUPGHOME" => "/g",
                _ => return None,
            }))
        };
        let hidden = |share: &Share| share.hidden_by(variable).collect::<Vec<_>>();
        let all = hidden(&Share::default());
        for path in ["/c/gh", "/c/containers", "/k/one", "/k/two", "/g"] {
            assert!(all.contains(&path.into()), "{path}: {all:?}");
        }
        assert!(all.iter().all(|path| path.is_absolute()), "{all:?}");
        let some = hidden(&parse(&["kube,passwords"]).unwrap());
        assert!(some.contains(&"/g".into()) && some.contains(&"/c/containers".into()));
        assert!(!some.contains(&"/k/one".into()) && !some.contains(&"/c/gh".into()));
        assert!(hidden(&parse(&["home"]).unwrap()).is_empty());
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
