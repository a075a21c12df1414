//! Debian's docker-registry, with and without TLS and passwords.

use super::{Sandbox, require_tool, wait_for};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The user that a registry with passwords knows, and the password.
pub const USER: (&str, &str) = ("tester", "secret:word");

/// A registry on this machine, ended when dropped.
pub struct Registry {
    child: Child,
    log: PathBuf,
    /// `127.0.0.1:PORT`
    pub host: String,
    /// The certificate of the authority that vouches for it.
    pub authority: PathBuf,
}

/// What a registry is started with.
#[derive(Clone, Copy, Default)]
pub struct Kind {
    /// It speaks TLS.
    pub tls: bool,
    /// It knows one [`USER`].
    pub password: bool,
}

impl Registry {
    /// One without TLS that everybody may write to.
    pub fn start(sandbox: &Sandbox) -> Registry {
        Registry::start_as(sandbox, Kind::default())
    }

    /// Starts one, with its files in the sandbox.
    pub fn start_as(sandbox: &Sandbox, kind: Kind) -> Registry {
        let program = require_tool("docker-registry", "docker-registry");
        let mut builder = tempfile::Builder::new();
        let directory = builder.prefix("registry").tempdir_in(sandbox.work());
        let directory = directory.unwrap().keep();
        let at = |name: &str| directory.join(name).display().to_string();
        let mut config = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    \
             enabled: true\nvalidation:\n  manifests:\n    urls:\n      allow:\n        - .*\n\
             http:\n  addr: 127.0.0.1:0\n",
            at("data")
        );
        if kind.tls {
            certificate(&directory);
            let (cert, key) = (at("server.crt"), at("server.key"));
            config += &format!("  tls:\n    certificate: {cert}\n    key: {key}\n");
        }
        if kind.password {
            let htpasswd = require_tool("htpasswd", "apache2-utils");
            let made = Command::new(htpasswd)
                .args(["-Bbn", USER.0, USER.1])
                .output();
            fs::write(directory.join("htpasswd"), made.unwrap().stdout).unwrap();
            let path = at("htpasswd");
            config += &format!("auth:\n  htpasswd:\n    realm: here\n    path: {path}\n");
        }
        fs::write(directory.join("config.yml"), config).unwrap();
        let log = directory.join("log");
        let child = Command::new(program)
            .args(["serve", &at("config.yml")])
            .env_clear()
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(fs::File::create(&log).unwrap())
            .stderr(fs::File::options().append(true).open(&log).unwrap())
            .spawn()
            .unwrap();
        let host = wait_for("the registry", || {
            let text = fs::read_to_string(&log).unwrap();
            let (_, rest) = text.split_once("listening on ")?;
            Some(rest.split(['"', ',']).next()?.to_owned())
        });
        Registry {
            child,
            log,
            host,
            authority: directory.join("ca.crt"),
        }
    }

    /// A name in it.
    pub fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.host)
    }

    /// How often something was asked for, as `GET /v2/x/blobs/`.
    pub fn count(&self, request: &str) -> usize {
        let text = fs::read_to_string(&self.log).unwrap();
        let line = |line: &&str| line.contains(&format!("\"{request}"));
        text.lines().filter(line).count()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An authority, and a certificate of it for 127.0.0.1.
fn certificate(directory: &Path) {
    let openssl = require_tool("openssl", "openssl");
    let run = |line: &str| {
        let done = Command::new(&openssl)
            .args(line.split_whitespace())
            .current_dir(directory)
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "openssl {line}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    run(&format!(
        "req -x509 {key} -keyout ca.key -out ca.crt -days 30 -subj /CN=authority \
         -addext basicConstraints=critical,CA:TRUE"
    ));
    run(&format!(
        "req {key} -keyout server.key -out server.csr -subj /CN=registry"
    ));
    fs::write(
        directory.join("names"),
        "subjectAltName=IP:127.0.0.1,DNS:localhost",
    )
    .unwrap();
    run(
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 \
         -extfile names -out server.crt",
    );
}
