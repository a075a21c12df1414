//! Repositories of git: how they are addressed, and how their files are fetched.

use crate::error::{demand, refusal, refuse};
use crate::process::in_process;
use crate::sys::fs::make_private;
use anyhow::{Context, Result};
use nix::sys::stat::{Mode, umask};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What git may talk: nothing that runs programs or reads files of this machine, which the
/// address of a submodule could ask for.
const PROTOCOLS: &str = "git:http:https:ssh";

/// Settings that the user may have otherwise.
const SETTINGS: [&str; 7] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.autocrlf=false",
    "core.symlinks=true",
    "core.attributesFile=/dev/null",
    "gc.auto=0",
    "maintenance.auto=false",
];

/// Variables that lead git to a repository in which it was called (git-rev-parse(1),
/// `--local-env-vars`).
const LOCAL: [&str; 15] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_PARAMETERS",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
];

/// A repository, as an address names it: `URL[?KEY=VALUE&…][#REF[:DIRECTORY]]`
/// (BuildKit's util/gitutil).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// Where it is, in git's words.
    pub remote: String,
    /// The branch, tag or commit; the remote's HEAD if None.
    pub reference: Option<String>,
    /// The directory in it that is meant; the whole if None.
    pub directory: Option<String>,
    /// How the commit's id has to begin.
    pub checksum: Option<String>,
    /// `.git` stays.
    pub keeps_git: bool,
    /// Its submodules are fetched too.
    pub has_submodules: bool,
}

impl Repository {
    /// Reads an address; None for what does not look like a repository: that is a scheme of
    /// git's, `USER@HOST:PATH`, http(s) and a path that ends in `.git`, or `github.com/…`.
    ///
    /// # Errors
    /// Something in it that there is not.
    pub fn parse(address: &str) -> Result<Option<Repository>> {
        let is_short = address.starts_with("github.com/");
        let address = match is_short {
            true => format!("https://{address}"),
            false => address.to_owned(),
        };
        let (front, fragment) = match address.split_once('#') {
            Some((front, fragment)) => (front, Some(fragment)),
            None => (address.as_str(), None),
        };
        let (remote, query) = match front.split_once('?') {
            Some((remote, query)) => (remote, Some(query)),
            None => (front, None),
        };
        let scheme = remote
            .split_once("://")
            .map(|(scheme, _)| scheme.to_ascii_lowercase());
        let is_repository = match scheme.as_deref() {
            Some("git" | "ssh") => true,
            Some("http" | "https") => is_short || remote.ends_with(".git"),
            Some(_) => false,
            None => is_scp(remote),
        };
        if !is_repository {
            return Ok(None);
        }
        let mut repository = Repository {
            remote: remote.to_owned(),
            reference: None,
            directory: None,
            checksum: None,
            keeps_git: false,
            has_submodules: true,
        };
        if let Some(query) = query {
            repository.query(query, &address)?;
        }
        if let Some(fragment) = fragment {
            let (reference, directory) = fragment.split_once(':').unwrap_or((fragment, ""));
            let twice = !reference.is_empty() && repository.reference.is_some()
                || !directory.is_empty() && repository.directory.is_some();
            demand!(
                Invalid,
                !twice,
                "{address}: it is said twice which part is meant, before # and behind it"
            );
            let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            repository.reference = repository.reference.or_else(|| given(reference));
            repository.directory = repository.directory.or_else(|| given(directory));
        }
        repository.check(&address)?;
        Ok(Some(repository))
    }

    /// The part between `?` and `#`.
    fn query(&mut self, query: &str, address: &str) -> Result<()> {
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let is_on = || match value {
                "" | "1" | "true" => Ok(true),
                "0" | "false" => Ok(false),
                _ => refuse!(Invalid, "{address}: {key} is true or false"),
            };
            let reference = match key {
                "ref" => Some(value.to_owned()),
                "branch" => Some(format!("refs/heads/{value}")),
                "tag" => Some(format!("refs/tags/{value}")),
                _ => None,
            };
            match key {
                "ref" | "branch" | "tag" => {
                    demand!(
                        Invalid,
                        self.reference.is_none() && !value.is_empty(),
                        "{address}: one of ref, branch and tag is meant, and has a value"
                    );
                    self.reference = reference;
                }
                "commit" | "checksum" => self.checksum = Some(value.to_owned()),
                "subdir" => self.directory = Some(value.to_owned()),
                "keep-git-dir" => self.keeps_git = is_on()?,
                "submodules" => self.has_submodules = is_on()?,
                _ => refuse!(
                    Invalid,
                    "{address}: there is no {key} (there are ref, branch, tag, commit, checksum, \
                     subdir, keep-git-dir and submodules)"
                ),
            }
        }
        Ok(())
    }

    /// What git could take for something else is refused.
    fn check(&mut self, address: &str) -> Result<()> {
        let is_odd = |c: char| c.is_whitespace() || c.is_control() || "*?[\\^~:".contains(c);
        if let Some(reference) = &self.reference {
            let is_name = !reference.starts_with(['-', '+']) && !reference.contains(is_odd);
            demand!(
                Invalid,
                is_name,
                "{address}: {reference:?} is no branch, tag or commit"
            );
        }
        demand!(
            Invalid,
            !self.remote.starts_with('-') && !self.remote.contains(char::is_control),
            "{address}: this is no address"
        );
        if let Some(checksum) = &self.checksum {
            let is_hex = checksum.bytes().all(|byte| byte.is_ascii_hexdigit());
            demand!(
                Invalid,
                is_hex && (7..=64).contains(&checksum.len()),
                "{address}: {checksum:?} is not the id of a commit"
            );
            self.reference.get_or_insert_with(|| checksum.clone());
        }
        Ok(())
    }

    /// The id of the commit that the remote has for it now; None where only fetching tells.
    ///
    /// # Errors
    /// The remote cannot be asked.
    pub fn commit(&self) -> Result<Option<String>> {
        let reference = self.reference.as_deref().unwrap_or("HEAD");
        if is_whole_id(reference) {
            return Ok(Some(reference.to_ascii_lowercase()));
        }
        let peeled = format!("{reference}^{{}}");
        let arguments = ["ls-remote", "--", &self.remote, reference, &peeled];
        let told = git(None, &arguments)?;
        Ok(found_in(&told, reference).map(str::to_owned))
    }

    /// Fetches the files into `place`, which is made, with the modes that they have under the
    /// mask 022 whatever the caller's is. Returns the commit's id.
    ///
    /// # Errors
    /// git is not installed; the remote cannot be reached, or has no such commit or directory.
    pub fn fetch(&self, place: &Path) -> Result<String> {
        make_private(place).with_context(|| format!("make {}", place.display()))?;
        let commit = in_process(|| {
            umask(Mode::from_bits_truncate(0o022));
            Ok(self.check_out(place)?.into_bytes())
        })?;
        String::from_utf8(commit).context("the commit's id")
    }

    /// The directory that is meant, in what was fetched to `place`.
    ///
    /// # Errors
    /// It is not there, or leads out.
    pub fn root(&self, place: &Path) -> Result<PathBuf> {
        let Some(directory) = &self.directory else {
            return Ok(place.to_owned());
        };
        let whole = place.canonicalize().context("what was fetched")?;
        let root = whole.join(directory.trim_start_matches('/')).canonicalize();
        match root {
            Ok(root) if root.is_dir() && root.starts_with(&whole) => Ok(root),
            _ => refuse!(
                NotFound,
                "{}: there is no directory {directory} in it",
                self.remote
            ),
        }
    }

    fn check_out(&self, place: &Path) -> Result<String> {
        let run = |arguments: &[&str]| git(Some(place), arguments);
        // Without a template, in which hooks could be.
        run(&["init", "-q", "--template="])?;
        run(&["config", "remote.origin.url", &self.remote])?;
        let reference = self.reference.as_deref().unwrap_or("HEAD");
        // Some servers give no part of a history, and none gives a commit by a short id.
        let commit = match run(&["fetch", "-q", "--depth=1", "--", "origin", reference]) {
            Ok(_) => run(&["rev-parse", "--verify", "-q", "FETCH_HEAD^{commit}"])?,
            Err(_) => {
                let all = [
                    "+refs/heads/*:refs/remotes/origin/*",
                    "+refs/tags/*:refs/tags/*",
                ];
                run(&["fetch", "-q", "--", "origin", all[0], all[1], "HEAD"])?;
                self.resolve(place, reference)?
            }
        };
        let commit = commit.trim().to_owned();
        if let Some(checksum) = &self.checksum {
            demand!(
                Invalid,
                commit.starts_with(&checksum.to_ascii_lowercase()),
                "{}: {reference} is the commit {commit}, and not {checksum}",
                self.remote
            );
        }
        run(&["checkout", "-q", "--detach", &commit])?;
        if self.has_submodules && place.join(".gitmodules").is_file() {
            run(&[
                "submodule",
                "--quiet",
                "update",
                "--init",
                "--recursive",
                "--depth=1",
            ])?;
        }
        if !self.keeps_git {
            std::fs::remove_dir_all(place.join(".git")).context("remove .git")?;
        }
        Ok(commit)
    }

    /// A commit in a repository that has all of them.
    fn resolve(&self, place: &Path, reference: &str) -> Result<String> {
        let names = match reference {
            "HEAD" => vec!["FETCH_HEAD".to_owned()],
            reference => {
                let branch = reference.strip_prefix("refs/heads/").unwrap_or(reference);
                vec![
                    format!("refs/tags/{reference}"),
                    format!("refs/remotes/origin/{branch}"),
                    reference.to_owned(),
                ]
            }
        };
        let found = names.iter().find_map(|name| {
            let name = format!("{name}^{{commit}}");
            git(Some(place), &["rev-parse", "--verify", "-q", &name]).ok()
        });
        found.ok_or_else(|| {
            refusal!(
                NotFound,
                "{}: there is no branch, tag or commit {reference}",
                self.remote
            )
        })
    }
}

/// Whether this is `USER@HOST:PATH`.
fn is_scp(remote: &str) -> bool {
    let word = |text: &str, also: &str| {
        let is_fit = |c: char| c.is_ascii_alphanumeric() || also.contains(c);
        !text.is_empty() && text.chars().all(is_fit)
    };
    let parts = remote.split_once('@').and_then(|(user, rest)| {
        let (host, path) = rest.split_once(':')?;
        Some(word(user, "_-") && word(host, "-.") && !path.is_empty())
    });
    parts.unwrap_or(false)
}

/// Whether this is the whole id of a commit, by SHA-1 or SHA-256.
fn is_whole_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The id of `reference` in what `git ls-remote` tells; that of a tag's commit goes before the
/// tag's own, as do branches and tags before what only ends like them.
fn found_in<'a>(told: &'a str, reference: &str) -> Option<&'a str> {
    let names = [
        format!("{reference}^{{}}"),
        reference.to_owned(),
        format!("refs/tags/{reference}^{{}}"),
        format!("refs/tags/{reference}"),
        format!("refs/heads/{reference}"),
    ];
    names.iter().find_map(|name| {
        let mut lines = told.lines().filter_map(|line| line.split_once('\t'));
        lines.find(|(_, of)| of == name).map(|(id, _)| id)
    })
}

/// What a command of git's prints.
fn git(place: Option<&Path>, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("git");
    for name in LOCAL {
        command.env_remove(name);
    }
    command
        .env("GIT_ALLOW_PROTOCOL", PROTOCOLS)
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null());
    if let Some(place) = place {
        // Never one that is further up.
        command.arg("-C").arg(place);
        command.env(
            "GIT_CEILING_DIRECTORIES",
            place.parent().map_or(OsStr::new("/"), Path::as_os_str),
        );
    }
    let done = command
        .args(SETTINGS.iter().flat_map(|setting| ["-c", setting]))
        .args(arguments)
        .output();
    let done = match done {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            refuse!(
                Unavailable,
                "repositories are fetched by git, which is not installed here"
            )
        }
        done => done.context("run git")?,
    };
    if !done.status.success() {
        let told = String::from_utf8_lossy(&done.stderr);
        let lines = told.trim().lines().rev().take(4).collect::<Vec<_>>();
        let lines = lines.into_iter().rev().map(clean).collect::<Vec<_>>();
        refuse!(Unavailable, "git {}: {}", arguments[0], lines.join("; "));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// A line without what a terminal would obey.
fn clean(line: &str) -> String {
    line.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let of = |address: &str| match Repository::parse(address) {
            Ok(None) => "none".to_owned(),
            Ok(Some(r)) => format!(
                "{} {} {} {} {} {}",
                r.remote,
                r.reference.as_deref().unwrap_or("-"),
                r.directory.as_deref().unwrap_or("-"),
                r.checksum.as_deref().unwrap_or("-"),
                r.keeps_git,
                r.has_submodules
            ),
            Err(error) => error.to_string(),
        };
        let id = "0123456789abcdef0123456789abcdef01234567";
        for (address, is) in [
            ("https://h/a.git", "https://h/a.git - - - false true"),
            (
                "https://h/a.git#main",
                "https://h/a.git main - - false true",
            ),
            (
                "https://h/a.git#main:d/e",
                "https://h/a.git main d/e - false true",
            ),
            ("https://h/a.git#:d", "https://h/a.git - d - false true"),
            ("ssh://git@h:22/a", "ssh://git@h:22/a - - - false true"),
            ("git://h/a#v1", "git://h/a v1 - - false true"),
            ("git@h.org:a/b", "git@h.org:a/b - - - false true"),
            ("github.com/a/b", "https://github.com/a/b - - - false true"),
            (
                "github.com/a/b#c",
                "https://github.com/a/b c - - false true",
            ),
            (
                "https://h/a.git?tag=v1&subdir=d&keep-git-dir=1&submodules=false",
                "https://h/a.git refs/tags/v1 d - true false",
            ),
            (
                "https://h/a.git?branch=b#:d",
                "https://h/a.git refs/heads/b d - false true",
            ),
            (
                &format!("https://h/a.git?checksum={id}"),
                &format!("https://h/a.git {id} - {id} false true"),
            ),
            ("https://h/a.tar", "none"),
            ("https://github.com/a/b", "none"),
            ("ftp://h/a.git", "none"),
            ("a/b.git", "none"),
            ("C:/a.git", "none"),
            ("host:path", "none"),
        ] {
            assert_eq!(of(address), is, "{address}");
        }
        for (address, says) in [
            ("https://h/a.git?x=1", "there is no x"),
            ("https://h/a.git?ref=a#b", "said twice"),
            ("https://h/a.git?ref=a&tag=b", "one of ref, branch and tag"),
            (
                "https://h/a.git#--upload-pack=x",
                "is no branch, tag or commit",
            ),
            ("https://h/a.git#+a", "is no branch, tag or commit"),
            ("https://h/a.git#a b", "is no branch, tag or commit"),
            ("https://h/a.git?commit=xyz", "is not the id of a commit"),
            ("-oX@h:p", "this is no address"),
            ("https://h/a.git?submodules=no", "is true or false"),
        ] {
            assert!(of(address).contains(says), "{address}: {}", of(address));
        }
    }

    #[test]
    fn a_remote_tells_its_commits() {
        let told =
            "1\tHEAD\n2\trefs/heads/a\n3\trefs/tags/a\n4\trefs/tags/a^{}\n5\trefs/heads/x/b\n";
        for (reference, id) in [
            ("HEAD", Some("1")),
            ("a", Some("4")),
            ("refs/heads/a", Some("2")),
            ("refs/tags/a", Some("4")),
            ("b", None),
        ] {
            assert_eq!(found_in(told, reference), id, "{reference}");
        }
    }
}
