//! Requests to registries: connections, trust, proxies, redirects.
//!
//! Redirects are followed here and not by the library, since each may lead to
//! another server: only by http and https, not from the one down to the other,
//! and without what was meant for the first server's eyes.

use crate::error::refuse;
use std::collections::HashMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result};
use ureq::config::Config;
use ureq::http::header::{AUTHORIZATION, CONTENT_LENGTH, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use ureq::http::{Method, Request, Response, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Body, Proxy, SendBody};

use super::certs::{self, Certs};
use super::challenge;
use super::failure::{Failure, Status, words};
use super::names::Names;
use super::url;
use crate::image::archive::Slice;

/// Redirects that are followed for one request.
const MAX_REDIRECTS: usize = 10;

/// Largest part of an error's body that is read, in bytes.
const MAX_ERROR: u64 = 16 << 10;

/// What a request carries.
#[derive(Clone, Debug)]
pub enum Content {
    /// Nothing.
    None,
    /// Bytes of a media type.
    Bytes(Vec<u8>, String),
    /// Part of a file.
    Slice(Slice),
}

/// A request.
#[derive(Clone, Debug)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// The URL.
    pub url: Uri,
    /// Headers; that for authorization goes to this URL's server only.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub content: Content,
}

impl Call {
    /// A request without a body.
    pub fn new(method: Method, url: Uri) -> Call {
        Call {
            method,
            url,
            headers: Vec::new(),
            content: Content::None,
        }
    }
}

/// A good answer.
#[derive(Debug)]
pub struct Answer {
    /// Status, headers, body.
    pub response: Response<Body>,
    /// Who gave it in the end.
    pub url: Uri,
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// The status code.
    pub fn code(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// The whole body, of `limit` bytes at most; `what` names it.
    pub fn bytes(self, what: &str, limit: u64) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let reader = self.response.into_body().into_reader();
        let read = reader.take(limit + 1).read_to_end(&mut bytes);
        read.map_err(|error| Failure::Broken(format!("{what} breaks off: {error}")))?;
        if bytes.len() as u64 > limit {
            let text = format!("{what} is larger than {limit} bytes");
            return Err(Failure::Refused(text));
        }
        Ok(bytes)
    }
}

/// The connections of one command.
#[derive(Debug)]
pub struct Http {
    /// How long a server may say nothing.
    timeout: Duration,
    /// `--cert-dir`
    cert_dir: Option<PathBuf>,
    roots: OnceLock<Vec<Certificate<'static>>>,
    /// One for each server, and for whether it must prove who it is.
    agents: Mutex<HashMap<(String, bool), Agent>>,
}

impl Http {
    /// Connects to nobody yet.
    pub fn new(timeout: Duration, cert_dir: Option<PathBuf>) -> Http {
        Http {
            timeout,
            cert_dir,
            roots: OnceLock::new(),
            agents: Mutex::default(),
        }
    }

    /// Sends a request and follows redirects. Any answer but 2xx and 416 is a
    /// failure. With `insecure`, servers need not prove who they are, and TLS
    /// may be left for plain text.
    pub fn send(&self, call: &Call, insecure: bool) -> Result<Answer, Failure> {
        let mut call = call.clone();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.exchange(&call, insecure)?;
            let code = response.status().as_u16();
            match code {
                200..=299 | 416 => {
                    return Ok(Answer {
                        response,
                        url: call.url,
                    });
                }
                301 | 302 | 303 | 307 | 308 => {
                    let url = target(&call.url, &response, insecure)
                        .map_err(|error| Failure::Refused(format!("a redirect: {error:#}")))?;
                    let plain = matches!(call.method, Method::GET | Method::HEAD);
                    if !plain && !matches!(code, 307 | 308) {
                        let text = format!("status {code} in answer to {}", call.method);
                        return Err(Failure::Refused(text));
                    }
                    if !url::same_origin(&call.url, &url) {
                        let secret = AUTHORIZATION.as_str();
                        call.headers.retain(|(name, _)| *name != secret);
                    }
                    call.url = url;
                }
                _ => return Err(Failure::Status(status(response))),
            }
        }
        let text = format!("more than {MAX_REDIRECTS} redirects in a row");
        Err(Failure::Refused(text))
    }

    fn exchange(&self, call: &Call, insecure: bool) -> Result<Response<Body>, Failure> {
        let agent = self.agent(&call.url, insecure);
        let agent = agent.map_err(|error| Failure::Refused(format!("{error:#}")))?;
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(call.url.clone());
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        let bad = |error: &dyn std::fmt::Display| Failure::Refused(format!("request: {error}"));
        let result = match &call.content {
            Content::None if matches!(call.method, Method::GET | Method::HEAD) => {
                agent.run(request.body(()).map_err(|error| bad(&error))?)
            }
            Content::None => agent.run(request.body(&[][..]).map_err(|error| bad(&error))?),
            Content::Bytes(bytes, media_type) => {
                let request = request.header("content-type", media_type);
                agent.run(request.body(&bytes[..]).map_err(|error| bad(&error))?)
            }
            Content::Slice(slice) => {
                let request = request
                    .header("content-type", "application/octet-stream")
                    .header(CONTENT_LENGTH, slice.length);
                let mut slice = slice.clone();
                let body = SendBody::from_reader(&mut slice);
                agent.run(request.body(body).map_err(|error| bad(&error))?)
            }
        };
        result.map_err(|error| self.explain(error, &call.url))
    }

    /// The connections to the server of a URL.
    fn agent(&self, url: &Uri, insecure: bool) -> Result<Agent> {
        let host = url.authority().map_or("", |authority| authority.as_str());
        let https = url.scheme_str() == Some("https");
        let key = (format!("{https} {host}"), insecure);
        let mut agents = self.agents.lock().expect("no thread panics");
        if let Some(agent) = agents.get(&key) {
            return Ok(agent.clone());
        }
        let mut config = Config::builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("bryo/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .timeout_connect(Some(self.timeout))
            .timeout_per_read(Some(self.timeout))
            .timeout_per_write(Some(self.timeout))
            .timeout_recv_response(Some(self.timeout))
            .input_buffer_size(128 << 10)
            .output_buffer_size(128 << 10)
            .proxy(proxy(https, host)?);
        if https {
            config = config.tls_config(self.tls(host, insecure)?);
        }
        let agent = Agent::with_parts(config.build(), DefaultConnector::default(), Names);
        agents.insert(key, agent.clone());
        Ok(agent)
    }

    /// Whom to trust as `host`.
    fn tls(&self, host: &str, insecure: bool) -> Result<TlsConfig> {
        let Certs {
            authorities,
            client,
        } = certs::of_host(host, self.cert_dir.as_deref())?;
        let system = match self.roots.get() {
            Some(roots) => roots,
            None => {
                let loaded = certs::system();
                self.roots.get_or_init(|| loaded)
            }
        };
        let all = system.iter().cloned().chain(authorities);
        Ok(TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .root_certs(RootCerts::from(all))
            .client_cert(client)
            .disable_verification(insecure)
            .build())
    }

    /// The library's error in our words.
    fn explain(&self, error: ureq::Error, url: &Uri) -> Failure {
        let host = url.authority().map_or("", |authority| authority.as_str());
        let broken = |why: &dyn std::fmt::Display| Failure::Broken(format!("{host}: {why}"));
        match error {
            ureq::Error::HostNotFound => {
                Failure::Refused(format!("{host}: there is no host of that name"))
            }
            ureq::Error::Timeout(_) => broken(&format_args!(
                "no answer for {} seconds",
                self.timeout.as_secs()
            )),
            ureq::Error::Rustls(error) => untrusted(host, &error),
            ureq::Error::Tls(why) => Failure::Untrusted(format!("{host}: TLS: {why}")),
            ureq::Error::Io(error) => {
                let inner = error
                    .get_ref()
                    .and_then(|e| e.downcast_ref::<rustls::Error>());
                match inner {
                    Some(inner) => untrusted(host, inner),
                    None => broken(&error),
                }
            }
            ureq::Error::ConnectProxyFailed(why) => broken(&format_args!("the proxy: {why}")),
            ureq::Error::LargeResponseHeader(..) | ureq::Error::Protocol(_) => {
                Failure::Refused(format!("{host} does not speak HTTP as it should: {error}"))
            }
            other => broken(&other),
        }
    }
}

fn untrusted(host: &str, error: &rustls::Error) -> Failure {
    Failure::Untrusted(match error {
        rustls::Error::InvalidMessage(_) => format!("{host} does not speak TLS"),
        error => format!("{host}: TLS: {error}"),
    })
}

/// Where a redirect leads.
fn target(from: &Uri, response: &Response<Body>, insecure: bool) -> Result<Uri> {
    let location = response.headers().get(LOCATION);
    let location = location.context("it leads nowhere")?;
    let location = location.to_str().context("it leads nowhere")?;
    let url = url::join(from, location)?;
    if from.scheme_str() == Some("https") && url.scheme_str() == Some("http") && !insecure {
        refuse!(Forbidden, "it leads from https to http");
    }
    Ok(url)
}

fn status(response: Response<Body>) -> Status {
    let headers = response.headers();
    let text = |value: Option<&ureq::http::HeaderValue>| {
        value
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let retry_after = text(headers.get(RETRY_AFTER)).and_then(|value| wait(&value));
    let challenges = headers.get_all(WWW_AUTHENTICATE).iter();
    let challenges = challenges.filter_map(|value| value.to_str().ok());
    let challenges = challenges.flat_map(challenge::parse).collect();
    let code = response.status().as_u16();
    let mut body = Vec::new();
    // What cannot be read of an error is only less to show.
    let reader = response.into_body().into_reader();
    let _ = reader.take(MAX_ERROR).read_to_end(&mut body);
    Status {
        code,
        text: words(&body),
        retry_after,
        challenges,
    }
}

/// Reads `Retry-After`: seconds or a date (RFC 9110, section 10.2.3).
fn wait(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value.trim()).ok()?;
    let seconds = date.timestamp().as_second() - jiff::Timestamp::now().as_second();
    Some(Duration::from_secs(seconds.max(0).unsigned_abs()))
}

/// The proxy for a host, by the variables that everybody reads: those of the
/// scheme, `ALL_PROXY`, and `NO_PROXY` for who needs none.
fn proxy(https: bool, host: &str) -> Result<Option<Proxy>> {
    let variable = |names: [&str; 2]| {
        let found = names.into_iter().find_map(|name| std::env::var(name).ok());
        found.filter(|value| !value.is_empty())
    };
    let own = match https {
        true => ["https_proxy", "HTTPS_PROXY"],
        // A server sets HTTP_PROXY for programs that a request starts.
        false => ["http_proxy", "HTTP_PROXY"],
    };
    let Some(text) = variable(own).or_else(|| variable(["all_proxy", "ALL_PROXY"])) else {
        return Ok(None);
    };
    let except = variable(["no_proxy", "NO_PROXY"]).unwrap_or_default();
    if url::is_loopback(host) || goes_directly(&except, host) {
        return Ok(None);
    }
    if text.starts_with("socks") {
        refuse!(
            Unsupported,
            "the proxy {text:?} is of a kind that is not supported: use an http proxy"
        );
    }
    let proxy = Proxy::new(&text).with_context(|| "the proxy of the environment".to_owned())?;
    Ok(Some(proxy))
}

/// Whether `NO_PROXY` names a host: `*`, or the host, or a domain that it is
/// in, each with or without a port.
fn goes_directly(except: &str, host: &str) -> bool {
    let bare = host.rsplit_once(':').map_or(host, |(bare, _)| bare);
    except.split([',', ' ']).map(str::trim).any(|entry| {
        let domain = entry.trim_start_matches('*').trim_start_matches('.');
        match entry {
            "" => false,
            "*" => true,
            entry if entry == host || entry == bare => true,
            _ => !domain.is_empty() && bare.strip_suffix(domain).is_some_and(|s| s.ends_with('.')),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_is_read_as_others_read_it() {
        for (except, host, expected) in [
            ("*", "a.test", true),
            ("a.test", "a.test:5000", true),
            ("a.test:5000", "a.test:5000", true),
            ("a.test:1", "a.test:5000", false),
            (".test", "a.test", true),
            ("*.test, x", "b.a.test", true),
            ("test", "a.test", true),
            ("est", "a.test", false),
            ("", "a.test", false),
        ] {
            assert_eq!(goes_directly(except, host), expected, "{except} {host}");
        }
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("soon"), None);
    }
}
