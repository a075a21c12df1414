//! Certificates: the system's authorities, and what `certs.d` has for single
//! registries (docker's "certificates" page, containers-certs.d(5)).

use crate::error::demand;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, parse_pem};

use super::files;

/// What is known of one registry.
#[derive(Debug, Default)]
pub struct Certs {
    /// Authorities that may vouch for it, beside the system's.
    pub authorities: Vec<Certificate<'static>>,
    /// Who we are to it.
    pub client: Option<ClientCert>,
}

/// The system's authorities; `SSL_CERT_FILE` and `SSL_CERT_DIR` name others.
pub fn system() -> Vec<Certificate<'static>> {
    let found = rustls_native_certs::load_native_certs();
    let certs = found.certs.iter();
    certs
        .map(|cert| Certificate::from_der(cert).to_owned())
        .collect()
}

/// Reads the directories for `host` (with its port): `*.crt` are authorities,
/// `X.cert` and `X.key` are the client's. `only` stands for all of them.
pub fn of_host(host: &str, only: Option<&Path>) -> Result<Certs> {
    let directories: Vec<PathBuf> = match only {
        Some(directory) => vec![directory.to_owned()],
        None => files::certs_d().iter().map(|d| d.join(host)).collect(),
    };
    let mut certs = Certs::default();
    for directory in directories {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound && only.is_none() => continue,
            // A user may not look into what root keeps for itself.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && only.is_none() => {
                continue;
            }
            Err(error) => {
                return Err(error).with_context(|| format!("list {}", directory.display()));
            }
        };
        let mut paths: Vec<PathBuf> = entries
            .map(|entry| Ok(entry?.path()))
            .collect::<io::Result<_>>()?;
        paths.sort();
        for path in paths {
            let context = || format!("certificate {}", path.display());
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => {
                    let authorities = read_certs(&path).with_context(context)?;
                    certs.authorities.extend(authorities);
                }
                Some("cert") => certs.client = Some(read_client(&path).with_context(context)?),
                _ => {}
            }
        }
    }
    Ok(certs)
}

fn read_certs(path: &Path) -> Result<Vec<Certificate<'static>>> {
    let mut certs = Vec::new();
    for item in parse_pem(&fs::read(path)?) {
        if let PemItem::Certificate(cert) = item? {
            certs.push(cert);
        }
    }
    demand!(Invalid, !certs.is_empty(), "there is none in the file");
    Ok(certs)
}

fn read_client(path: &Path) -> Result<ClientCert> {
    let chain = read_certs(path)?;
    let key = path.with_extension("key");
    let bytes = fs::read(&key).with_context(|| format!("key {}", key.display()))?;
    let key = PrivateKey::from_pem(&bytes).with_context(|| format!("key {}", key.display()))?;
    Ok(ClientCert::new_with_certs(&chain, key))
}
