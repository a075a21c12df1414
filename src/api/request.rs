//! The head of a request, bounded, and how long its body is. Pure: whatever a client
//! sends, reading it costs no more than its bytes.

use httparse::{EMPTY_HEADER, Status};

/// Most bytes of a head.
pub const MOST_HEAD: usize = 32 << 10;
/// Most headers.
const MOST_HEADERS: usize = 100;

/// How a body's end is known (RFC 9112, 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// By its bytes; none without a header.
    Known(u64),
    /// By its chunks.
    Chunked,
}

/// A request without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// `GET` and the like.
    pub method: String,
    /// Path and query as they were sent.
    pub target: String,
    /// The body's length.
    pub length: Length,
    /// The client waits for a word before it sends the body.
    pub expects: bool,
    /// The connection goes on behind the answer.
    pub goes_on: bool,
    /// The client knows chunks: it speaks HTTP/1.1.
    pub takes_chunks: bool,
    /// Who the client is to registries (`X-Registry-Auth`), as it was sent.
    pub registry_auth: Option<String>,
}

/// What is wrong with a request, by the status that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// It is no HTTP, or contradicts itself.
    Nonsense,
    /// Its head is too long.
    TooLong,
    /// It asks for what no client of docker's needs.
    Unsupported,
}

impl Malformed {
    /// The status, and what is said.
    pub fn answer(self) -> (u16, &'static str) {
        match self {
            Malformed::Nonsense => (400, "the request is no HTTP/1.1"),
            Malformed::TooLong => (431, "the request's head is too long"),
            Malformed::Unsupported => (501, "transfer codings but chunked are not supported"),
        }
    }
}

/// Reads the head at the beginning of `bytes`: it and its length, or nothing if more
/// has to come.
///
/// # Errors
/// What no more bytes make a request of.
pub fn head(bytes: &[u8]) -> Result<Option<(Head, usize)>, Malformed> {
    let mut headers = [EMPTY_HEADER; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let count = match request.parse(bytes) {
        Ok(Status::Complete(count)) if count <= MOST_HEAD => count,
        Ok(Status::Partial) if bytes.len() < MOST_HEAD => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(Malformed::TooLong),
        Err(_) => return Err(Malformed::Nonsense),
    };
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version)
    else {
        return Err(Malformed::Nonsense);
    };
    let mut head = Head {
        method: method.to_owned(),
        target: target.to_owned(),
        length: Length::Known(0),
        expects: false,
        goes_on: minor == 1,
        takes_chunks: minor == 1,
        registry_auth: None,
    };
    let mut lengths = 0;
    for header in request.headers.iter() {
        // What is not UTF-8 stays a header: who passed over a length would take the body
        // for a request.
        let value = String::from_utf8_lossy(header.value);
        let value = value.trim_ascii();
        match header.name.to_ascii_lowercase().as_str() {
            // Who frames a body in two ways smuggles.
            "content-length" => {
                let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
                let length = value.parse().ok().filter(|_| digits);
                head.length = Length::Known(length.ok_or(Malformed::Nonsense)?);
                lengths += 1;
            }
            "transfer-encoding" if value.eq_ignore_ascii_case("chunked") => {
                head.length = Length::Chunked;
                lengths += 1;
            }
            "transfer-encoding" => return Err(Malformed::Unsupported),
            "x-registry-auth" => head.registry_auth = Some(value.to_owned()),
            "expect" => head.expects = value.eq_ignore_ascii_case("100-continue"),
            "connection" => {
                let words = value.split(',').map(str::trim);
                head.goes_on &= !words.into_iter().any(|w| w.eq_ignore_ascii_case("close"));
            }
            _ => {}
        }
    }
    match lengths {
        0 | 1 => Ok(Some((head, count))),
        _ => Err(Malformed::Nonsense),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Option<(Head, usize)>, Malformed> {
        head(text.as_bytes())
    }

    #[test]
    fn a_head_says_what_is_asked_and_how_long_the_body_is() {
        let text = "POST /v1.44/x?a=b HTTP/1.1\r\nHost: d\r\ncontent-length: 12\r\n\
            Expect: 100-continue\r\n\r\nrest";
        let (head, count) = read(text).unwrap().unwrap();
        assert_eq!(&text[count..], "rest");
        assert_eq!(
            (head.method.as_str(), head.target.as_str()),
            ("POST", "/v1.44/x?a=b")
        );
        assert_eq!(head.length, Length::Known(12));
        assert!(head.expects && head.goes_on);
        let text = "GET / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\nConnection: a, Close\r\n\r\n";
        let (head, _) = read(text).unwrap().unwrap();
        assert_eq!(head.length, Length::Chunked);
        assert!(!head.goes_on);
        let (old, _) = read("GET / HTTP/1.0\r\n\r\n").unwrap().unwrap();
        assert!(head.takes_chunks && !old.goes_on && !old.takes_chunks);
        assert_eq!(read("GET / HTTP/1.1\r\nHost"), Ok(None));
    }

    #[test]
    fn what_is_no_request_is_said() {
        let two = "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let twice = "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n";
        let sign = "POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n";
        let large = "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n";
        for text in [
            two,
            twice,
            sign,
            large,
            "nonsense\r\n\r\n",
            "GET / HTTP/3\r\n\r\n",
        ] {
            assert_eq!(read(text), Err(Malformed::Nonsense), "{text}");
        }
        let coded = "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n";
        assert_eq!(read(coded), Err(Malformed::Unsupported));
        for name in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
            let bytes = [
                format!("POST / HTTP/1.1\r\n{name}").as_bytes(),
                b"\xff\r\n\r\n",
            ]
            .concat();
            assert!(head(&bytes).is_err(), "{name}");
        }
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(200));
        assert_eq!(read(&many), Err(Malformed::TooLong));
        let long = format!("GET /{} ", "a".repeat(MOST_HEAD));
        assert_eq!(read(&long), Err(Malformed::TooLong));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(Some((_, count))) = head(&bytes) {
                prop_assert!(count <= bytes.len());
            }
        }
    }
}
