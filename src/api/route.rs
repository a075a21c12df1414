//! What a request asks for, by its method, path and query. Pure.

mod images;

pub use images::{Images, OfImage};
use std::collections::BTreeMap;

/// The newest version of the API that is spoken here.
pub const NEWEST: (u32, u32) = (1, 44);
/// The oldest one.
pub const OLDEST: (u32, u32) = (1, 40);

/// A version as it is written.
pub fn version((major, minor): (u32, u32)) -> String {
    format!("{major}.{minor}")
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `/_ping`
    Ping,
    /// `/version`
    Version,
    /// `/info`
    Info,
    /// `GET /containers/json`
    List,
    /// `POST /containers/create`
    Create,
    /// Something of the container with this name or id.
    Container(String, Of),
    /// Something with images, or where they come from.
    Images(Images),
}

/// What of a container, or with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// `GET …/json`
    Inspect,
    /// `GET …/logs`
    Logs,
    /// `POST …/start`
    Start,
    /// `POST …/stop`
    Stop,
    /// `POST …/restart`
    Restart,
    /// `POST …/kill`
    Kill,
    /// `POST …/pause`
    Pause,
    /// `POST …/unpause`
    Unpause,
    /// `POST …/rename`
    Rename,
    /// `POST …/wait`
    Wait,
    /// `DELETE …`
    Remove,
}

/// A request whose path is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What for.
    pub route: Route,
    /// The version that the client speaks.
    pub version: (u32, u32),
    /// The query's values.
    pub query: Query,
}

/// Why there is no route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Astray {
    /// There is no such page, or none by this method.
    NotFound,
    /// A version that is not spoken here, and what docker says to that.
    Version(String),
}

impl Astray {
    /// The status, and what is said.
    pub fn answer(&self) -> (u16, &str) {
        match self {
            Astray::NotFound => (404, "page not found"),
            Astray::Version(text) => (400, text),
        }
    }
}

/// Finds what a request asks for.
///
/// # Errors
/// There is no such thing.
pub fn find(method: &str, target: &str) -> Result<Asked, Astray> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (version, path) = versioned(path)?;
    let words: Vec<String> = path
        .split('/')
        .filter(|word| !word.is_empty())
        .map(decoded)
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let asked = |route| Asked {
        route,
        version,
        query: Query::read(query),
    };
    if let Some((wanted, images)) = images::find(method, &words) {
        return match wanted == method {
            true => Ok(asked(Route::Images(images))),
            false => Err(Astray::NotFound),
        };
    }
    let (wanted, route) = match words.as_slice() {
        ["_ping"] => ("GET HEAD", Route::Ping),
        ["version"] => ("GET", Route::Version),
        ["info"] => ("GET", Route::Info),
        ["containers", "json"] => ("GET", Route::List),
        ["containers", "create"] if method == "POST" => ("POST", Route::Create),
        ["containers", name] => ("DELETE", Route::Container((*name).to_owned(), Of::Remove)),
        ["containers", name, verb] => {
            let (method, of) = match *verb {
                "json" => ("GET", Of::Inspect),
                "logs" => ("GET", Of::Logs),
                "start" => ("POST", Of::Start),
                "stop" => ("POST", Of::Stop),
                "restart" => ("POST", Of::Restart),
                "kill" => ("POST", Of::Kill),
                "pause" => ("POST", Of::Pause),
                "unpause" => ("POST", Of::Unpause),
                "rename" => ("POST", Of::Rename),
                "wait" => ("POST", Of::Wait),
                _ => return Err(Astray::NotFound),
            };
            (method, Route::Container((*name).to_owned(), of))
        }
        _ => return Err(Astray::NotFound),
    };
    match wanted.split(' ').any(|wanted| wanted == method) {
        true => Ok(asked(route)),
        // As docker has it, a path is none for other methods.
        false => Err(Astray::NotFound),
    }
}

/// The version at a path's beginning, the newest one without, and what is behind.
fn versioned(path: &str) -> Result<((u32, u32), &str), Astray> {
    let rest = path.strip_prefix("/v");
    let Some((text, behind)) = rest.and_then(|rest| rest.split_once('/')) else {
        return Ok((NEWEST, path));
    };
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return Ok((NEWEST, path));
    }
    let number = |text: &str| text.parse::<u32>().ok();
    let numbers = text.split_once('.');
    let numbers = numbers.and_then(|(major, minor)| Some((number(major)?, number(minor)?)));
    let wrong = |how: &str, bound: &str, spoken, hint: &str| {
        let spoken = version(spoken);
        Astray::Version(format!(
            "client version {text} is too {how}. {bound} supported API version is {spoken}{hint}"
        ))
    };
    match numbers {
        None => Err(Astray::NotFound),
        Some(asked) if asked > NEWEST => Err(wrong("new", "Maximum", NEWEST, "")),
        Some(asked) if asked < OLDEST => {
            let hint = ", please upgrade your client to a newer version";
            Err(wrong("old", "Minimum", OLDEST, hint))
        }
        Some(asked) => Ok((asked, behind)),
    }
}

/// The values of a query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(BTreeMap<String, Vec<String>>);

impl Query {
    /// Reads what is behind the question mark.
    pub fn read(text: &str) -> Query {
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let plain = |text: &str| decoded(&text.replace('+', " "));
            all.entry(plain(name)).or_default().push(plain(value));
        }
        Query(all)
    }

    /// A value, if there is one that is not empty; of several the first, as with docker.
    pub fn get(&self, name: &str) -> Option<&str> {
        let value = self.0.get(name)?.first().map(String::as_str);
        value.filter(|value| !value.is_empty())
    }

    /// All values of a name that are not empty.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let values = self.0.get(name).into_iter().flatten();
        values.map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether something is so: docker takes all for true but a few words.
    pub fn is(&self, name: &str) -> bool {
        let value = self.get(name).unwrap_or_default().trim().to_lowercase();
        !matches!(value.as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// The filters, each as `KEY=VALUE`: they come as lists, or as objects with the
    /// values as keys.
    ///
    /// # Errors
    /// They are neither.
    pub fn filters(&self) -> Result<Vec<String>, serde_json::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Values {
            List(Vec<String>),
            Keys(BTreeMap<String, bool>),
        }
        let text = self.get("filters").unwrap_or("{}");
        let read: BTreeMap<String, Values> = serde_json::from_str(text)?;
        let each = read.into_iter().flat_map(|(key, values)| {
            let values = match values {
                Values::List(list) => list,
                Values::Keys(keys) => keys.into_keys().collect(),
            };
            values
                .into_iter()
                .map(move |value| format!("{key}={value}"))
        });
        Ok(each.collect())
    }
}

/// A text with its `%XX` read; what is none of these stays.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let digits = digits.and_then(|digits| str::from_utf8(digits).ok());
        let digits = digits.filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                plain.push(byte);
                at += 3;
            }
            None => {
                plain.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn route(method: &str, target: &str) -> Result<Route, Astray> {
        find(method, target).map(|asked| asked.route)
    }

    #[test]
    fn paths_lead_somewhere_or_are_said_to_lead_nowhere() {
        let web = |of| Ok(Route::Container("web".to_owned(), of));
        assert_eq!(route("HEAD", "/_ping"), Ok(Route::Ping));
        assert_eq!(route("GET", "/v1.41/version"), Ok(Route::Version));
        assert_eq!(
            route("GET", "/v1.44/containers/json?all=1"),
            Ok(Route::List)
        );
        assert_eq!(route("GET", "/containers/web/json"), web(Of::Inspect));
        assert_eq!(route("POST", "/containers/%77eb/wait"), web(Of::Wait));
        assert_eq!(
            route("DELETE", "/v1.44/containers/web?force=1"),
            web(Of::Remove)
        );
        assert_eq!(route("GET", "/containers/web/start"), Err(Astray::NotFound));
        for nowhere in [
            "/",
            "/nope",
            "/vx/info",
            "/containers/a/b/c",
            "/v1/info",
            "/v1.x/info",
        ] {
            assert_eq!(route("GET", nowhere), Err(Astray::NotFound), "{nowhere}");
        }
    }

    #[test]
    fn versions_have_bounds() {
        assert_eq!(find("GET", "/info").unwrap().version, NEWEST);
        assert_eq!(find("GET", "/v1.40/info").unwrap().version, OLDEST);
        let said = |target| find("GET", target).unwrap_err().answer().1.to_owned();
        assert_eq!(
            said("/v1.99999/info"),
            "client version 1.99999 is too new. Maximum supported API version is 1.44"
        );
        assert_eq!(
            said("/v1.24/info"),
            "client version 1.24 is too old. Minimum supported API version is 1.40, please upgrade \
             your client to a newer version"
        );
    }

    #[test]
    fn queries_and_filters() {
        let query = Query::read("a=1&b=False&c=a+b%2Fc&a=2&d&t=True");
        assert!(query.is("a") && query.is("t") && !query.is("b") && !query.is("d"));
        assert_eq!(query.get("c"), Some("a b/c"));
        assert_eq!(query.get("a"), Some("1"));
        assert_eq!(query.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(query.all("d").count(), 0);
        let filters =
            |json: &str| Query(BTreeMap::from([("filters".into(), vec![json.into()])])).filters();
        assert_eq!(filters(r#"{"label":{"a=b":true}}"#).unwrap(), ["label=a=b"]);
        assert_eq!(filters(r#"{"id":["x","y"]}"#).unwrap(), ["id=x", "id=y"]);
        assert!(filters("[").is_err() && filters(r#"{"a":3}"#).is_err());
    }

    proptest! {
        #[test]
        fn whatever_is_asked_nothing_panics(method in ".{0,8}", target in ".{0,80}") {
            let _ = find(&method, &format!("/{target}")).map(|asked| asked.query.filters());
        }
    }
}
