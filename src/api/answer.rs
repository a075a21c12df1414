//! The bytes of answers. Pure.

use super::route::{NEWEST, version};
use crate::error::Kind;
use serde::Serialize;
use serde_json::json;

/// How an answer's body comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// At once.
    Whole(Vec<u8>),
    /// In chunks that follow.
    Chunks,
    /// What follows up to the connection's end.
    UntilClosed,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// What the body is; empty without one.
    pub content: &'static str,
    /// The body.
    pub body: Body,
}

impl Answer {
    /// A status alone.
    pub fn empty(status: u16) -> Answer {
        Answer {
            status,
            content: "",
            body: Body::Whole(Vec::new()),
        }
    }

    /// A value as JSON.
    ///
    /// # Errors
    /// It cannot be written so.
    pub fn json(value: &impl Serialize) -> Result<Answer, serde_json::Error> {
        let mut bytes = serde_json::to_vec(value)?;
        bytes.push(b'\n');
        Ok(Answer {
            status: 200,
            content: "application/json",
            body: Body::Whole(bytes),
        })
    }

    /// A stream; in chunks, unless the client knows none.
    pub fn stream(content: &'static str, chunks: bool) -> Answer {
        Answer {
            status: 200,
            content,
            body: match chunks {
                true => Body::Chunks,
                false => Body::UntilClosed,
            },
        }
    }

    /// What docker says of an error.
    pub fn error(status: u16, message: &str) -> Answer {
        let mut bytes = json!({"message": message}).to_string().into_bytes();
        bytes.push(b'\n');
        Answer {
            status,
            content: "application/json",
            body: Body::Whole(bytes),
        }
    }

    /// Its head, and its body unless that follows, or is not wanted (`bodiless`).
    pub fn bytes(&self, goes_on: bool, bodiless: bool) -> Vec<u8> {
        let mut head = format!(
            "HTTP/1.1 {} {}\r\nApi-Version: {}\r\nDocker-Experimental: false\r\nOstype: linux\r\n\
             Server: bryo/{} (linux)\r\n",
            self.status,
            reason(self.status),
            version(NEWEST),
            env!("CARGO_PKG_VERSION"),
        );
        if !self.content.is_empty() {
            head += &format!("Content-Type: {}\r\n", self.content);
        }
        match &self.body {
            // These have none (RFC 9110, 15.3.5 and 15.4.5).
            Body::Whole(_) if matches!(self.status, 204 | 304) => {}
            Body::Whole(bytes) => head += &format!("Content-Length: {}\r\n", bytes.len()),
            Body::UntilClosed => {}
            Body::Chunks => head += "Transfer-Encoding: chunked\r\n",
        }
        if !goes_on {
            head += "Connection: close\r\n";
        }
        head += "\r\n";
        let mut all = head.into_bytes();
        if let (Body::Whole(bytes), false) = (&self.body, bodiless) {
            all.extend(bytes);
        }
        all
    }
}

/// A piece of a body in chunks; an empty one is its end.
pub fn chunk(data: &[u8]) -> Vec<u8> {
    let mut all = format!("{:x}\r\n", data.len()).into_bytes();
    all.extend(data);
    all.extend(b"\r\n");
    all
}

/// A piece of a stream of several, 1 for output and 2 for errors.
pub fn frame(stream: u8, data: &[u8]) -> Vec<u8> {
    let mut all = vec![stream, 0, 0, 0];
    all.extend((data.len() as u32).to_be_bytes());
    all.extend(data);
    all
}

/// The status that an error of this kind is told by.
pub fn status(kind: Kind) -> u16 {
    match kind {
        Kind::Invalid => 400,
        Kind::Forbidden => 403,
        Kind::NotFound => 404,
        Kind::Conflict => 409,
        Kind::AlreadySo => 409,
        Kind::Unsupported => 501,
        Kind::Unavailable => 503,
        Kind::NoSpace | Kind::Timeout | Kind::Internal => 500,
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        409 => "Conflict",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(answer: &Answer, bodiless: bool) -> String {
        String::from_utf8(answer.bytes(true, bodiless)).unwrap()
    }

    #[test]
    fn bodies_have_a_length_or_chunks_and_some_answers_have_none() {
        let whole = Answer::json(&[1, 2]).unwrap();
        assert!(text(&whole, false).ends_with("Content-Length: 6\r\n\r\n[1,2]\n"));
        // HEAD is answered as GET is, without the body.
        assert!(text(&whole, true).ends_with("Content-Length: 6\r\n\r\n"));
        assert!(!text(&Answer::empty(304), false).contains("Content-Length"));
        let stream = |chunks| text(&Answer::stream("application/json", chunks), false);
        assert!(stream(true).contains("chunked\r\n\r\n"));
        assert!(stream(false).ends_with("Content-Type: application/json\r\n\r\n"));
        let closing = String::from_utf8(whole.bytes(false, false)).unwrap();
        assert!(closing.contains("Connection: close\r\n"));
        assert_eq!(chunk(b"abc"), b"3\r\nabc\r\n");
        assert_eq!(chunk(b""), b"0\r\n\r\n");
        assert_eq!(frame(2, b"xy"), [2, 0, 0, 0, 0, 0, 0, 2, b'x', b'y']);
    }

    #[test]
    fn errors_are_told_as_dockers_are() {
        let said = text(&Answer::error(status(Kind::NotFound), "no \"x\""), false);
        assert!(said.starts_with("HTTP/1.1 404 Not Found\r\nApi-Version: 1.44\r\n"));
        assert!(said.ends_with("{\"message\":\"no \\\"x\\\"\"}\n"));
    }
}
