//! A registry as its repositories' users see it: finding it, showing who we
//! are, asking again when it was only out of breath.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use ureq::http::Method;

use super::challenge::Challenge;
use super::conf::Conf;
use super::credentials::{self, Credentials};
use super::failure::Failure;
use super::http::{Answer, Call, Content, Http};
use super::url;
use crate::image::reference::Reference;

/// Longest wait that a registry may ask for before we give up instead.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// How often a token that is refused is replaced for one request.
const MAX_RENEWALS: u32 = 3;

/// Largest answer of a token server, in bytes.
const MAX_TOKEN: u64 = 1 << 20;

/// How to deal with registries.
#[derive(Clone, Debug)]
pub struct RegistryOptions {
    /// Whether registries must prove who they are. If None they must, except
    /// on this machine.
    pub tls_verify: Option<bool>,
    /// Certificates are here and not in the usual places.
    pub cert_dir: Option<PathBuf>,
    /// Credentials are in this file and not in the usual places.
    pub authfile: Option<PathBuf>,
    /// Credentials to use in place of all others.
    pub credentials: Option<Credentials>,
    /// How often to ask again.
    pub retries: u32,
    /// How long to wait before the first time; then twice as long each time.
    pub delay: Duration,
    /// How long a registry may say nothing.
    pub timeout: Duration,
    /// Blobs that are fetched or sent at once: more than processors, since the
    /// network is waited for.
    pub parallel: usize,
}

impl Default for RegistryOptions {
    fn default() -> RegistryOptions {
        RegistryOptions {
            tls_verify: None,
            cert_dir: None,
            authfile: None,
            credentials: None,
            retries: 3,
            delay: Duration::from_millis(500),
            timeout: Duration::from_secs(60),
            parallel: 4,
        }
    }
}

/// Where a repository is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The registry as people name it, with its port: `docker.io`.
    pub domain: String,
    /// The repository there: `library/debian`.
    pub path: String,
    /// It need not prove who it is.
    pub insecure: bool,
}

impl Endpoint {
    /// Where the images of that name are.
    pub fn of(reference: &Reference) -> Endpoint {
        Endpoint {
            domain: reference.domain().to_owned(),
            path: reference.path().to_owned(),
            insecure: false,
        }
    }
}

/// The registry clients of one command.
#[derive(Debug)]
pub struct Client {
    /// As given.
    pub options: RegistryOptions,
    /// Where registries are.
    pub conf: Conf,
    http: Http,
    sites: Mutex<HashMap<(String, bool), Arc<Site>>>,
    /// By site and scope.
    tokens: Mutex<HashMap<(String, String), String>>,
}

/// A registry that was found.
#[derive(Debug)]
struct Site {
    /// `https://HOST`
    base: String,
    insecure: bool,
    challenge: Option<Challenge>,
}

/// A repository that can be asked.
#[derive(Clone, Debug)]
pub struct Repository {
    site: Arc<Site>,
    /// What the repository is called there.
    pub path: String,
    credentials: Option<Credentials>,
}

impl Repository {
    /// The URL of something in the repository.
    pub fn url(&self, rest: &str) -> String {
        format!("{}/v2/{}/{rest}", self.site.base, self.path)
    }
}

impl Client {
    /// Asks nobody yet.
    pub fn new(options: RegistryOptions, conf: Conf) -> Client {
        Client {
            conf,
            http: Http::new(options.timeout, options.cert_dir.clone()),
            options,
            sites: Mutex::default(),
            tokens: Mutex::default(),
        }
    }

    /// Finds the registry of a repository.
    pub fn repository(&self, place: &Endpoint) -> Result<Repository, Failure> {
        let credentials = match &self.options.credentials {
            Some(given) => Some(given.clone()),
            None => {
                let file = self.options.authfile.as_deref();
                credentials::find(file, &place.domain, &place.path)
                    .map_err(|error| Failure::Refused(format!("{error:#}")))?
            }
        };
        Ok(Repository {
            site: self.site(&place.domain, place.insecure)?,
            path: place.path.clone(),
            credentials,
        })
    }

    /// Fails unless a registry knows `credentials`.
    pub fn check(&self, place: &Endpoint, credentials: &Credentials) -> Result<(), Failure> {
        let repository = Repository {
            site: self.site(&place.domain, place.insecure)?,
            path: String::new(),
            credentials: Some(credentials.clone()),
        };
        let secret = self.authorization(&repository, &[], None)?;
        let call =
            super::repository::request(Method::GET, &format!("{}/v2/", repository.site.base))?;
        self.retry(|| self.call_as(&repository, secret.as_deref(), &call))?;
        Ok(())
    }

    /// Finds out how a registry is to be spoken to: `GET /v2/`.
    fn site(&self, domain: &str, insecure: bool) -> Result<Arc<Site>, Failure> {
        let host = match domain {
            "docker.io" => "registry-1.docker.io",
            other => other,
        };
        let insecure = match self.options.tls_verify {
            Some(verify) => !verify,
            None => insecure || url::is_loopback(host),
        };
        let key = (host.to_owned(), insecure);
        let mut sites = self.sites.lock().expect("no thread panics");
        if let Some(site) = sites.get(&key) {
            return Ok(site.clone());
        }
        let site = Arc::new(self.retry(|| self.ping(host, insecure))?);
        sites.insert(key, site.clone());
        Ok(site)
    }

    fn ping(&self, host: &str, insecure: bool) -> Result<Site, Failure> {
        let at = |scheme: &str| {
            let base = format!("{scheme}://{host}");
            let url = url::parse(&format!("{base}/v2/"));
            let url = url.map_err(|error| Failure::Refused(format!("{error:#}")))?;
            let challenge = match self.http.send(&Call::new(Method::GET, url), insecure) {
                Ok(_) => None,
                Err(Failure::Status(status)) if status.code == 401 => {
                    let bearer = |c: &&Challenge| matches!(c, Challenge::Bearer { .. });
                    let challenges = &status.challenges;
                    let found = challenges.iter().find(bearer).or(challenges.first());
                    found.cloned()
                }
                // Some answer only questions about repositories.
                Err(Failure::Status(status)) if matches!(status.code, 403 | 404) => None,
                Err(failure) => return Err(failure),
            };
            Ok(Site {
                base,
                insecure,
                challenge,
            })
        };
        match at("https") {
            Err(first @ (Failure::Broken(_) | Failure::Untrusted(_))) if insecure => {
                // Without a port they are two servers, of which the first
                // should have answered.
                let two = !host.rsplit(']').next().unwrap_or_default().contains(':');
                at("http").map_err(|second| match second {
                    Failure::Broken(_) if two => first,
                    second => second,
                })
            }
            other => other,
        }
    }

    /// Does something until it succeeds, fails for good, or was tried often
    /// enough.
    pub fn retry<T>(&self, mut act: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
        let mut tried = 0;
        loop {
            match act() {
                Err(failure) => self.pause(tried, failure)?,
                done => return done,
            }
            tried += 1;
        }
    }

    /// Waits before another attempt, or gives the failure back if there is to
    /// be none. `tried` is how many there were already.
    pub fn pause(&self, tried: u32, failure: Failure) -> Result<(), Failure> {
        let asked = match &failure {
            Failure::Status(status) => status.retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        if !failure.passes() || tried >= self.options.retries || asked > MAX_WAIT {
            return Err(failure);
        }
        let delay = self.options.delay * 2u32.saturating_pow(tried.min(10));
        thread::sleep(delay.min(MAX_WAIT).max(asked));
        Ok(())
    }

    /// Sends a request once, as who we are. `actions` is what the request
    /// needs to be allowed: `pull` or `pull,push`; `also` names another
    /// repository that is read.
    pub fn call(
        &self,
        repository: &Repository,
        actions: &str,
        also: Option<&str>,
        call: &Call,
    ) -> Result<Answer, Failure> {
        let mut scopes = vec![format!("repository:{}:{actions}", repository.path)];
        scopes.extend(also.map(|other| format!("repository:{other}:pull")));
        let mut secret = self.authorization(repository, &scopes, None)?;
        for _ in 0..MAX_RENEWALS {
            match self.call_as(repository, secret.as_deref(), call) {
                // A token lives for some minutes only.
                Err(Failure::Status(status)) if status.code == 401 && secret.is_some() => {
                    let renewed = self.authorization(repository, &scopes, secret.as_deref())?;
                    if renewed == secret {
                        return Err(Failure::Status(status));
                    }
                    secret = renewed;
                }
                other => return other,
            }
        }
        self.call_as(repository, secret.as_deref(), call)
    }

    /// Sends a request to where a manifest of `repository` leads, as nobody:
    /// never from TLS to plain text.
    pub fn call_foreign(&self, repository: &Repository, call: &Call) -> Result<Answer, Failure> {
        let insecure = repository.site.insecure;
        if call.url.scheme_str() != Some("https") && !insecure {
            let text = format!("{}: not by https", call.url);
            return Err(Failure::Refused(text));
        }
        self.http.send(call, insecure)
    }

    fn call_as(
        &self,
        repository: &Repository,
        secret: Option<&str>,
        call: &Call,
    ) -> Result<Answer, Failure> {
        let mut call = call.clone();
        // An upload may go on at another server; the secret is not for it.
        let ours = url::parse(&repository.site.base);
        if let (Some(secret), Ok(ours)) = (secret, ours)
            && url::same_origin(&ours, &call.url)
        {
            call.headers.push(("authorization", secret.to_owned()));
        }
        self.http.send(&call, repository.site.insecure)
    }

    /// What shows who we are; not `stale`, which was refused.
    fn authorization(
        &self,
        repository: &Repository,
        scopes: &[String],
        stale: Option<&str>,
    ) -> Result<Option<String>, Failure> {
        let site = &repository.site;
        let (realm, service) = match &site.challenge {
            None => return Ok(None),
            Some(Challenge::Basic) => {
                return Ok(repository.credentials.as_ref().map(Credentials::basic));
            }
            Some(Challenge::Bearer { realm, service }) => (realm, service),
        };
        let key = (site.base.clone(), scopes.join(" "));
        // Held while asking, so that it is asked once.
        let mut tokens = self.tokens.lock().expect("no thread panics");
        if let Some(token) = tokens.get(&key)
            && Some(token.as_str()) != stale
        {
            return Ok(Some(token.clone()));
        }
        let token = self.retry(|| self.token(repository, realm, service.as_deref(), scopes))?;
        let header = format!("Bearer {token}");
        tokens.insert(key, header.clone());
        Ok(Some(header))
    }

    /// Fetches a token (the distribution project's token specification; with
    /// an identity token, its OAuth2 form).
    fn token(
        &self,
        repository: &Repository,
        realm: &str,
        service: Option<&str>,
        scopes: &[String],
    ) -> Result<String, Failure> {
        let insecure = repository.site.insecure;
        let refused = |error: anyhow::Error| Failure::Refused(format!("token server: {error:#}"));
        let realm_url = url::parse(realm).map_err(refused)?;
        if realm_url.scheme_str() == Some("http") && !insecure {
            let text = format!("the token server {realm} is asked without TLS");
            return Err(Failure::Refused(text));
        }
        let mut fields: Vec<(&str, &str)> = Vec::new();
        fields.extend(service.map(|service| ("service", service)));
        let call = match &repository.credentials {
            Some(credentials) if credentials.user.is_empty() => {
                let scope = scopes.join(" ");
                fields.push(("scope", &scope));
                fields.push(("grant_type", "refresh_token"));
                fields.push(("client_id", "bryo"));
                fields.push(("refresh_token", &credentials.secret));
                let form = fields
                    .iter()
                    .map(|(name, value)| format!("{name}={}", url::escape(value)));
                let form = form.collect::<Vec<_>>().join("&");
                let kind = "application/x-www-form-urlencoded".to_owned();
                Call {
                    content: Content::Bytes(form.into_bytes(), kind),
                    ..Call::new(Method::POST, realm_url)
                }
            }
            credentials => {
                fields.extend(scopes.iter().map(|scope| ("scope", scope.as_str())));
                let mut query = realm.to_owned();
                for (name, value) in fields {
                    query = url::with_query(&query, name, value);
                }
                let mut call = Call::new(Method::GET, url::parse(&query).map_err(refused)?);
                let secret = credentials.as_ref().map(Credentials::basic);
                let secret = secret.map(|secret| ("authorization", secret));
                call.headers.extend(secret);
                call
            }
        };
        let bytes = self
            .http
            .send(&call, insecure)?
            .bytes("the token", MAX_TOKEN)?;
        let answer: TokenAnswer = serde_json::from_slice(&bytes)
            .map_err(|_| Failure::Refused("the token server's answer has no token".to_owned()))?;
        let token = answer.token.or(answer.access_token).unwrap_or_default();
        let printable = token.bytes().all(|byte| byte.is_ascii_graphic());
        if token.is_empty() || !printable {
            let text = "the token server's answer has no token";
            return Err(Failure::Refused(text.to_owned()));
        }
        Ok(token)
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
}
