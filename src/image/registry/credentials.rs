//! Who we are to registries: docker's `config.json`, podman's `auth.json`
//! (one format, containers-auth.json(5)), and programs that keep secrets
//! (docker's credential helpers).

use crate::error::{demand, refusal, refuse};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::files;
use crate::image::output::write_into;
use crate::image::reference::Reference;
use crate::image::session::unique;

/// What Docker Hub is called in these files.
pub const HUB: &str = "https://index.docker.io/v1/";

/// A name and its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user; empty if `secret` is an identity token.
    pub user: String,
    /// The password or token.
    pub secret: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials of {:?}", self.user)
    }
}

impl Credentials {
    /// The value of `Authorization` (RFC 7617).
    pub fn basic(&self) -> String {
        let pair = format!("{}:{}", self.user, self.secret);
        format!("Basic {}", STANDARD.encode(pair))
    }
}

/// A file of either format. What is not known here is kept as it is.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthFile {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    creds_store: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    cred_helpers: BTreeMap<String, String>,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Entry {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    auth: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    identitytoken: String,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

impl Entry {
    fn credentials(&self) -> Result<Option<Credentials>> {
        if !self.identitytoken.is_empty() {
            return Ok(Some(Credentials {
                user: String::new(),
                secret: self.identitytoken.clone(),
            }));
        }
        if self.auth.is_empty() {
            return Ok(None);
        }
        let bytes = STANDARD.decode(self.auth.trim()).context("auth")?;
        let text = String::from_utf8(bytes).context("auth")?;
        let (user, secret) = text.split_once(':').context("auth has no colon")?;
        Ok(Some(Credentials {
            user: user.to_owned(),
            secret: secret.trim_end_matches('\0').to_owned(),
        }))
    }
}

fn read(path: &Path) -> Result<Option<AuthFile>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    if bytes.trim_ascii().is_empty() {
        return Ok(Some(AuthFile::default()));
    }
    let parsed = serde_json::from_slice(&bytes);
    // The text is left out of the error: it is secret.
    let parsed = parsed.map_err(|error| refusal!(Invalid, "line {} is wrong", error.line()));
    parsed
        .map(Some)
        .with_context(|| format!("parse {}", path.display()))
}

/// The credentials for a repository of a registry: the first that a file or a
/// helper has. `authfile` stands for all the files.
pub fn find(authfile: Option<&Path>, domain: &str, path: &str) -> Result<Option<Credentials>> {
    let files = match authfile {
        Some(file) => {
            demand!(
                NotFound,
                file.exists(),
                "there is no file {}",
                file.display()
            );
            vec![file.to_owned()]
        }
        None => files::credentials(),
    };
    for path_of_file in files {
        let Some(file) = read(&path_of_file)? else {
            continue;
        };
        let context = || format!("credentials in {}", path_of_file.display());
        if let Some(found) = in_file(&file, domain, path).with_context(context)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn in_file(file: &AuthFile, domain: &str, path: &str) -> Result<Option<Credentials>> {
    let helper = file.cred_helpers.iter();
    let mut helper = helper.filter(|(key, _)| host_of(key) == host_of(domain));
    if let Some((_, helper)) = helper.next().filter(|(_, helper)| !helper.is_empty()) {
        return ask_helper(helper, &server_name(domain));
    }
    if let Some(store) = file
        .creds_store
        .as_deref()
        .filter(|store| !store.is_empty())
        && let Some(found) = ask_helper(store, &server_name(domain))?
    {
        return Ok(Some(found));
    }
    for name in names(domain, path) {
        let mut entries = file.auths.iter();
        if let Some((_, entry)) = entries.find(|(key, _)| matches_key(key, &name))
            && let Some(found) = entry.credentials()?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The keys under which credentials for a repository may stand, the most
/// special first.
fn names(domain: &str, path: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        names.push(format!("{domain}/{rest}"));
        rest = rest.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
    names.push(domain.to_owned());
    names
}

/// Whether a file's key means `name`. Keys of old are URLs, of which only the
/// host counts.
fn matches_key(key: &str, name: &str) -> bool {
    let canonical = |text: &str| match text.split_once('/') {
        Some((host, path)) => format!("{}/{path}", host_of(host)),
        None => host_of(text).to_owned(),
    };
    match key.contains("://") {
        true => !name.contains('/') && host_of(key) == host_of(name),
        false => canonical(key) == canonical(name),
    }
}

/// The host of a key, with Docker Hub under one name.
fn host_of(key: &str) -> &str {
    let bare = key.split_once("://").map_or(key, |(_, rest)| rest);
    match bare.split('/').next().unwrap_or_default() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

/// The registry that somebody means: a host, or a URL of one.
///
/// # Errors
/// It is neither.
pub fn registry_of(text: &str) -> Result<String> {
    let bare = text.split_once("://").map_or(text, |(_, rest)| rest);
    let host = bare.split('/').next().unwrap_or_default();
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    };
    let name = format!("{host}/x");
    let reference: Reference = name.parse()?;
    demand!(
        Invalid,
        reference.path() == "x" || host == "docker.io",
        "{text:?} is no registry"
    );
    Ok(host.to_owned())
}

/// What helpers, and docker's file, call a registry.
pub fn server_name(domain: &str) -> String {
    match host_of(domain) {
        "docker.io" => HUB.to_owned(),
        _ => domain.to_owned(),
    }
}

/// The file that a login is written to.
pub fn file_to_write(authfile: Option<&Path>) -> Result<PathBuf> {
    if let Some(file) = authfile {
        return Ok(file.to_owned());
    }
    let file = files::login().context("there is no home directory: name a file by --authfile")?;
    // What is a link stays one.
    Ok(fs::canonicalize(&file).unwrap_or(file))
}

/// Keeps credentials for a registry, in a helper if the file names one.
pub fn store(path: &Path, domain: &str, credentials: &Credentials) -> Result<()> {
    let mut file = read(path)?.unwrap_or_default();
    let server = server_name(domain);
    if let Some(helper) = helper_of(&file, domain) {
        let input = serde_json::json!({
            "ServerURL": server,
            "Username": credentials.user,
            "Secret": credentials.secret,
        });
        run_helper(&helper, "store", &input.to_string())?;
        file.auths.insert(server, Entry::default());
    } else {
        let pair = format!("{}:{}", credentials.user, credentials.secret);
        let entry = file.auths.entry(server).or_default();
        entry.auth = STANDARD.encode(pair);
        entry.identitytoken.clear();
    }
    write(path, &file)
}

/// Forgets the credentials for a registry, or for all if `domain` is None, in
/// every file; false if there were none.
pub fn forget(authfile: Option<&Path>, domain: Option<&str>) -> Result<bool> {
    let paths = match authfile {
        Some(file) => vec![file.to_owned()],
        None => files::credentials(),
    };
    let mut found = false;
    for path in paths {
        let Some(mut file) = read(&path)? else {
            continue;
        };
        let all: Vec<String> = file.auths.keys().cloned().collect();
        let goes =
            |key: &String| domain.is_none_or(|domain| key == domain || matches_key(key, domain));
        let gone: Vec<String> = all.into_iter().filter(goes).collect();
        for key in &gone {
            file.auths.remove(key);
            if let Some(helper) = helper_of(&file, key) {
                run_helper(&helper, "erase", &server_name(key))?;
            }
        }
        if !gone.is_empty() {
            found = true;
            write(&path, &file)?;
        }
    }
    Ok(found)
}

/// The helper that keeps the secrets of a registry.
fn helper_of(file: &AuthFile, domain: &str) -> Option<String> {
    let mut own = file.cred_helpers.iter();
    let own = own.find(|(key, _)| host_of(key) == host_of(domain));
    let helper = own
        .map(|(_, helper)| helper)
        .or(file.creds_store.as_ref())?;
    (!helper.is_empty()).then(|| helper.clone())
}

/// Replaces a file with secrets: nobody else may read it, at no time.
fn write(path: &Path, file: &AuthFile) -> Result<()> {
    let write = || -> Result<()> {
        let parent = path.parent().context("it has no directory")?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)?;
        let new = path.with_extension(unique());
        let mut options = fs::File::options();
        let options = options.read(true).write(true).create_new(true);
        let out = options.mode(0o600).open(&new)?;
        let mut text = serde_json::to_vec_pretty(file)?;
        text.push(b'\n');
        let replace = || match fs::rename(&new, path) {
            Err(e) if e.kind() == io::ErrorKind::ResourceBusy => {
                let last = path.file_name().unwrap_or_default();
                let parent = fs::File::open(Path::new(".").join(parent))?;
                write_into(&out, parent, last.as_bytes())?;
                fs::remove_file(&new)
            }
            other => other,
        };
        let done = (&out)
            .write_all(&text)
            .and_then(|()| out.sync_all())
            .and_then(|()| replace());
        if done.is_err() {
            let _ = fs::remove_file(&new);
        }
        Ok(done?)
    };
    write().with_context(|| format!("write {}", path.display()))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

/// Asks `docker-credential-NAME`; None if it does not know the server.
fn ask_helper(name: &str, server: &str) -> Result<Option<Credentials>> {
    let answer = run_helper(name, "get", server)?;
    let Some(answer) = answer else {
        return Ok(None);
    };
    let answer: HelperAnswer = serde_json::from_slice(&answer).map_err(|_| {
        refusal!(
            Unavailable,
            "docker-credential-{name} answers in another format"
        )
    })?;
    let user = match answer.username.as_str() {
        "<token>" => String::new(),
        _ => answer.username,
    };
    Ok(Some(Credentials {
        user,
        secret: answer.secret,
    }))
}

/// Runs a helper; None if it says that it does not know the server.
fn run_helper(name: &str, verb: &str, input: &str) -> Result<Option<Vec<u8>>> {
    demand!(
        Invalid,
        !name.contains('/'),
        "{name:?} is no credential helper"
    );
    let program = format!("docker-credential-{name}");
    let run = || {
        let mut child = Command::new(&program)
            .arg(verb)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut stdin = child.stdin.take().expect("it is piped");
        // It may end without reading.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        child.wait_with_output()
    };
    let output = run().with_context(|| format!("run {program}"))?;
    if output.status.success() {
        return Ok(Some(output.stdout));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    if text.contains("credentials not found") {
        return Ok(None);
    }
    refuse!(
        Unavailable,
        "{program} {verb} failed: {}",
        super::failure::clean(text.trim())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> AuthFile {
        serde_json::from_str(text).unwrap()
    }

    fn user(file: &AuthFile, domain: &str, path: &str) -> Option<String> {
        in_file(file, domain, path).unwrap().map(|found| found.user)
    }

    #[test]
    fn the_most_special_key_counts() {
        let auth = |user: &str| STANDARD.encode(format!("{user}:secret:x"));
        let file = file(&format!(
            r#"{{"auths":{{"r.test":{{"auth":"{}"}},"r.test/a/b":{{"auth":"{}"}},
                "https://index.docker.io/v1/":{{"auth":"{}"}},
                "old.test":{{"identitytoken":"t"}},"https://url.test/v2/":{{"auth":"{}"}}}},
                "HttpHeaders":{{"x":"y"}}}}"#,
            auth("host"),
            auth("repository"),
            auth("hub"),
            auth("url")
        ));
        assert_eq!(user(&file, "r.test", "x").unwrap(), "host");
        assert_eq!(user(&file, "r.test", "a/b/c").unwrap(), "repository");
        assert_eq!(user(&file, "r.test", "a/bb").unwrap(), "host");
        assert_eq!(user(&file, "docker.io", "library/deb").unwrap(), "hub");
        assert_eq!(user(&file, "url.test", "x").unwrap(), "url");
        assert_eq!(user(&file, "old.test", "x").unwrap(), "");
        assert_eq!(user(&file, "r.test:5000", "x"), None);
        let found = in_file(&file, "r.test", "x").unwrap().unwrap();
        assert_eq!(found.secret, "secret:x");
        assert!(!format!("{found:?}").contains("secret"));
        assert!(
            serde_json::to_string(&file)
                .unwrap()
                .contains("HttpHeaders")
        );
    }
}
