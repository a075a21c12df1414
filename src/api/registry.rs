//! Registries: who the client is to them, and what they have.

use super::answer::Answer;
use super::session::{Reply, Session};
use super::worker::of_its_kind;
use crate::engine::ground::confine::{Reach, confine};
use crate::engine::view::failure;
use crate::error::{Kind, refuse};
use crate::image::budget::Budget;
use crate::image::index::configuration;
use crate::image::platform::Platform;
use crate::image::reference::Reference;
use crate::image::registry::client::{Client, Endpoint, RegistryOptions};
use crate::image::registry::conf::Conf;
use crate::image::registry::credentials::{Credentials, registry_of};
use crate::image::registry::manifest::Document;
use crate::image::registry::pull::find;
use crate::process::in_process;
use anyhow::{Context, Result};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};

/// Most bytes of who somebody is.
const MOST: usize = 64 << 10;
/// Most bytes of a configuration.
const MOST_CONFIG: u64 = 4 << 20;

/// Who somebody is, as docker's clients say it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Auth {
    #[serde(alias = "Username")]
    username: String,
    #[serde(alias = "Password")]
    password: String,
    #[serde(alias = "ServerAddress")]
    serveraddress: String,
    identitytoken: String,
    registrytoken: String,
}

impl Auth {
    /// None if nothing is said.
    fn credentials(self) -> Result<Option<Credentials>> {
        if !self.registrytoken.is_empty() {
            refuse!(
                Unsupported,
                "registrytoken is not supported: a user and a password, or an identitytoken, are"
            );
        }
        let (user, secret) = match self.identitytoken.is_empty() {
            false => (String::new(), self.identitytoken),
            true => (self.username, self.password),
        };
        if user.contains(':') {
            refuse!(Invalid, "a user's name has no colon");
        }
        Ok((!secret.is_empty()).then_some(Credentials { user, secret }))
    }
}

/// What the header says: JSON in base64, of either alphabet and with or without its
/// padding.
fn read(header: &str) -> Result<Option<Credentials>> {
    let plain: String = header
        .trim_end_matches('=')
        .chars()
        .map(|c| match c {
            '+' => '-',
            '/' => '_',
            c => c,
        })
        .collect();
    let wrong = || Kind::Invalid.says("X-Registry-Auth is no JSON in base64");
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(plain).map_err(|_| wrong())?;
    // What an old client sends that has nothing to say.
    if matches!(bytes.trim_ascii(), b"" | b"null") {
        return Ok(None);
    }
    let auth: Auth = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
    auth.credentials()
}

/// Who speaks to registries for the client: as whom it says, else as whom the user's own
/// files have.
///
/// # Errors
/// It says what nobody understands; the user's `registries.conf` is wrong.
pub fn client(session: &Session) -> Result<Client> {
    let said = session.registry_auth.as_deref().map(read).transpose()?;
    client_as(said.flatten())
}

fn client_as(credentials: Option<Credentials>) -> Result<Client> {
    let options = RegistryOptions {
        credentials,
        ..RegistryOptions::default()
    };
    Ok(Client::new(options, Conf::load()?))
}

/// `POST /auth`: tries it; to keep it is the client's part.
///
/// # Errors
/// The body is nothing of that kind; the registry cannot be asked.
pub fn auth(session: &mut Session) -> Result<Reply> {
    let body = session.whole_body(MOST)?;
    let auth: Auth = serde_json::from_slice(&body)
        .with_context(|| Kind::Invalid.says("the body says nobody's name and password"))?;
    let domain = match auth.serveraddress.as_str() {
        "" => "docker.io".to_owned(),
        address => registry_of(address)?,
    };
    let Some(given) = auth.credentials()? else {
        refuse!(Invalid, "a user and a password are wanted");
    };
    let tried = beside(session, || {
        let client = client_as(None)?;
        let place = client.conf.home(&format!("{domain}/x").parse()?)?;
        let place = Endpoint {
            domain: domain.clone(),
            ..place
        };
        let checked = client.check(&place, &given);
        checked.with_context(|| format!("log in to {domain}"))?;
        Ok(json!({"Status": "Login Succeeded", "IdentityToken": ""}))
    });
    Ok(Reply::Answer(match tried {
        Ok(answer) => answer,
        Err(error) if failure::kind(&error) == Kind::Forbidden => {
            Answer::error(401, &format!("{error:#}"))
        }
        Err(error) => return Err(error),
    }))
}

/// `GET /distribution/NAME/json`: what a registry has under a name.
///
/// # Errors
/// It has nothing, or cannot be asked.
pub fn distribution(session: &mut Session, name: &str) -> Result<Reply> {
    session.pass_body()?;
    let reference: Reference = name.parse()?;
    let client = client(session)?;
    let answer = beside(session, || {
        let reference = reference.or_latest();
        let (repository, fetched) =
            find(&client, &reference).with_context(|| format!("ask for {reference}"))?;
        let platforms: Vec<Value> = match &fetched.document {
            Document::Index(index) => {
                let platforms = index
                    .manifests()
                    .iter()
                    .filter_map(|m| m.platform().clone());
                platforms
                    .map(serde_json::to_value)
                    .collect::<Result<_, _>>()?
            }
            Document::Image(manifest) => {
                let digest = manifest.config().digest();
                let config = client.small_blob(&repository, digest, MOST_CONFIG)?;
                let config = configuration(&config)?;
                let (os, architecture) = (config.os().to_string(), config.architecture());
                let variant = config.variant().as_deref();
                let platform = Platform::new(&os, &architecture.to_string(), variant);
                vec![shown(&platform)]
            }
        };
        Ok(json!({
            "Descriptor": {
                "mediaType": fetched.media_type.to_string(),
                "digest": fetched.digest.to_string(),
                "size": fetched.bytes.len(),
            },
            "Platforms": platforms,
        }))
    })?;
    Ok(Reply::Answer(answer))
}

fn shown(platform: &Platform) -> Value {
    let mut shown = json!({"architecture": platform.architecture, "os": platform.os});
    if !platform.variant.is_empty() {
        shown["variant"] = json!(platform.variant);
    }
    shown
}

/// Asks a registry in a process made for it, since what it says is a stranger's.
fn beside(session: &Session, ask: impl FnOnce() -> Result<Value>) -> Result<Answer> {
    let store = session.store()?;
    let said = in_process(|| {
        confine(&store, &Budget::default(), Reach::Registries)?;
        Ok(serde_json::to_vec(&of_its_kind(ask())?)?)
    })?;
    let value: Value = serde_json::from_slice(&said)?;
    Ok(Answer::json(&value)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE};
    use proptest::prelude::*;

    #[test]
    fn who_the_client_is_is_read_however_it_is_written() {
        let json = br#"{"username":"u","password":"p?>~","serveraddress":"r.test"}"#;
        for text in [
            BASE64_STANDARD.encode(json),
            BASE64_URL_SAFE.encode(json),
            BASE64_URL_SAFE_NO_PAD.encode(json),
        ] {
            let read = read(&text).unwrap().unwrap();
            assert_eq!((&*read.user, &*read.secret), ("u", "p?>~"));
        }
        // What docker's client sends without a login.
        assert!(read("e30=").unwrap().is_none());
        assert!(read("").unwrap().is_none());
        assert!(read("bnVsbA==").unwrap().is_none());
        let token = BASE64_STANDARD.encode(br#"{"username":"u","identitytoken":"t"}"#);
        let token = read(&token).unwrap().unwrap();
        assert_eq!((&*token.user, &*token.secret), ("", "t"));
        for (wrong, kind) in [
            ("%%%".to_owned(), Kind::Invalid),
            (BASE64_STANDARD.encode("[1]"), Kind::Invalid),
            (
                BASE64_STANDARD.encode(r#"{"username":"a:b","password":"c"}"#),
                Kind::Invalid,
            ),
            (
                BASE64_STANDARD.encode(r#"{"registrytoken":"t"}"#),
                Kind::Unsupported,
            ),
        ] {
            assert_eq!(failure::kind(&read(&wrong).unwrap_err()), kind, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_header_says_is_read_or_refused(text in ".{0,80}") {
            let _ = read(&text);
        }
    }
}
