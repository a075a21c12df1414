//! As much of the D-Bus wire format as it takes to ask systemd for a scope
//! (D-Bus specification, "Message Protocol"). Pure: messages as bytes.

/// Longest message that is read, in bytes; systemd's are below a kilobyte.
pub const MAX_MESSAGE: usize = 1 << 20;

/// Bytes of a message before its fields.
pub const FIXED_HEADER: usize = 16;

const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

const NO_REPLY: u8 = 1;

const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// Values in the order and with the padding of the format.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    fn byte(&mut self, value: u8) {
        self.bytes.push(value);
    }

    /// `u`
    pub fn u32(&mut self, value: u32) {
        self.align(4);
        self.bytes.extend(value.to_le_bytes());
    }

    /// `t`
    pub fn u64(&mut self, value: u64) {
        self.align(8);
        self.bytes.extend(value.to_le_bytes());
    }

    /// `b`
    pub fn bool(&mut self, value: bool) {
        self.u32(value.into());
    }

    /// `s` and `o`
    pub fn string(&mut self, text: &str) {
        self.u32(text.len() as u32);
        self.bytes.extend(text.as_bytes());
        self.byte(0);
    }

    /// `g`
    fn signature(&mut self, text: &str) {
        self.byte(text.len() as u8);
        self.bytes.extend(text.as_bytes());
        self.byte(0);
    }

    /// `a…`, of elements that are aligned to so many bytes.
    pub fn array(&mut self, element: usize, fill: impl FnOnce(&mut Writer)) {
        self.align(4);
        let at = self.bytes.len();
        self.bytes.extend([0; 4]);
        // What stands between the length and the first element is not counted.
        self.align(element);
        let start = self.bytes.len();
        fill(self);
        let length = (self.bytes.len() - start) as u32;
        self.bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// `(…)`
    pub fn structure(&mut self, fill: impl FnOnce(&mut Writer)) {
        self.align(8);
        fill(self);
    }

    /// `v` of this signature.
    pub fn variant(&mut self, signature: &str, fill: impl FnOnce(&mut Writer)) {
        self.signature(signature);
        fill(self);
    }

    /// An element `(sv)` of an array of properties.
    pub fn property(&mut self, name: &str, signature: &str, fill: impl FnOnce(&mut Writer)) {
        self.structure(|w| {
            w.string(name);
            w.variant(signature, fill);
        });
    }
}

/// A call of a method.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Whom to ask; nobody over a connection without a bus.
    pub destination: Option<&'a str>,
    /// The object.
    pub path: &'a str,
    /// The method's interface.
    pub interface: &'a str,
    /// The method.
    pub member: &'a str,
    /// Of its arguments.
    pub signature: &'a str,
    /// Whether an answer is wanted.
    pub reply: bool,
}

impl Call<'_> {
    /// The message with this number, which is not 0, and these arguments.
    pub fn encode(&self, serial: u32, arguments: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut body = Writer::default();
        arguments(&mut body);
        let mut message = Writer::default();
        message.byte(b'l');
        message.byte(METHOD_CALL);
        message.byte(if self.reply { 0 } else { NO_REPLY });
        message.byte(1);
        message.u32(body.bytes.len() as u32);
        message.u32(serial);
        message.array(8, |fields| {
            let mut field = |code: u8, signature: &str, text: &str| {
                fields.structure(|w| {
                    w.byte(code);
                    w.variant(signature, |w| match signature {
                        "g" => w.signature(text),
                        _ => w.string(text),
                    });
                });
            };
            field(PATH, "o", self.path);
            field(INTERFACE, "s", self.interface);
            field(MEMBER, "s", self.member);
            if let Some(destination) = self.destination {
                field(DESTINATION, "s", destination);
            }
            if !self.signature.is_empty() {
                field(SIGNATURE, "g", self.signature);
            }
        });
        message.align(8);
        message.bytes.extend(body.bytes);
        message.bytes
    }
}

/// What comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// The answer to the call with this number, and its first argument if
    /// that is a string.
    Answer(u32, Option<String>),
    /// The answer to the call with this number: a variant that is a boolean.
    Flag(u32, bool),
    /// The call with this number failed: the error's name, and its text.
    Failed(u32, String, String),
    /// A job of systemd's is done: its path, and what came of it.
    JobRemoved(String, String),
    /// Anything else.
    Other,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn u32(&mut self) -> Option<u32> {
        self.align(4);
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn text(&mut self, length: usize) -> Option<&'a str> {
        let text = std::str::from_utf8(self.take(length)?).ok()?;
        self.byte()?;
        Some(text)
    }

    fn string(&mut self) -> Option<&'a str> {
        let length = self.u32()?;
        self.text(length as usize)
    }

    fn signature(&mut self) -> Option<&'a str> {
        let length = self.byte()?;
        self.text(length.into())
    }
}

/// The length of the message that starts with these [`FIXED_HEADER`] bytes.
///
/// `None` for what is no message, is of the other byte order, or too long.
pub fn length(start: &[u8]) -> Option<usize> {
    if start.first() != Some(&b'l') || start.get(3) != Some(&1) {
        return None;
    }
    let mut reader = Reader {
        bytes: start,
        at: 4,
    };
    let body = reader.u32()? as usize;
    reader.u32()?;
    let fields = reader.u32()? as usize;
    let header = FIXED_HEADER
        .checked_add(fields)?
        .checked_next_multiple_of(8)?;
    Some(header.checked_add(body)?).filter(|length| *length <= MAX_MESSAGE)
}

/// Reads a whole message; `None` for what is none.
pub fn decode(message: &[u8]) -> Option<Received> {
    if length(message.get(..FIXED_HEADER)?)? != message.len() {
        return None;
    }
    let mut reader = Reader {
        bytes: message,
        at: 12,
    };
    let end = FIXED_HEADER + reader.u32()? as usize;
    let (mut reply, mut member, mut error, mut signature) = (0, "", "", "");
    while reader.at < end {
        reader.align(8);
        let code = reader.byte()?;
        let kind = reader.signature()?;
        match (code, kind) {
            (REPLY_SERIAL, "u") => reply = reader.u32()?,
            (MEMBER, "s") => member = reader.string()?,
            (ERROR_NAME, "s") => error = reader.string()?,
            (SIGNATURE, "g") => signature = reader.signature()?,
            (_, "u") => drop(reader.u32()?),
            (_, "s" | "o") => drop(reader.string()?),
            (_, "g") => drop(reader.signature()?),
            _ => return None,
        }
    }
    reader.align(8);
    let text = signature.starts_with(['s', 'o']);
    Some(match message[1] {
        METHOD_RETURN if text => Received::Answer(reply, Some(reader.string()?.to_owned())),
        METHOD_RETURN if signature == "v" => match reader.signature()? {
            "b" => Received::Flag(reply, reader.u32()? != 0),
            _ => Received::Answer(reply, None),
        },
        METHOD_RETURN => Received::Answer(reply, None),
        ERROR => {
            let text = if text { reader.string()? } else { "" };
            Received::Failed(reply, error.to_owned(), text.to_owned())
        }
        SIGNAL if member == "JobRemoved" && signature == "uoss" => {
            reader.u32()?;
            let job = reader.string()?.to_owned();
            reader.string()?;
            Received::JobRemoved(job, reader.string()?.to_owned())
        }
        _ => Received::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(kind: u8, fields: &[(u8, &str)], reply: Option<u32>, body: Writer) -> Vec<u8> {
        let mut w = Writer::default();
        w.bytes.extend([b'l', kind, 0, 1]);
        w.u32(body.bytes.len() as u32);
        w.u32(7);
        w.array(8, |w| {
            for (code, text) in fields {
                w.structure(|w| {
                    w.byte(*code);
                    match *code {
                        SIGNATURE => w.variant("g", |w| w.signature(text)),
                        _ => w.variant("s", |w| w.string(text)),
                    }
                });
            }
            if let Some(serial) = reply {
                w.structure(|w| {
                    w.byte(REPLY_SERIAL);
                    w.variant("u", |w| w.u32(serial));
                });
            }
        });
        w.align(8);
        w.bytes.extend(body.bytes);
        w.bytes
    }

    #[test]
    fn a_call_byte_by_byte() {
        let call = Call {
            destination: Some("d"),
            path: "/",
            interface: "i",
            member: "m",
            signature: "a(sv)",
            reply: true,
        };
        let bytes = call.encode(2, |w| {
            w.array(8, |w| w.property("P", "b", |w| w.bool(true)))
        });
        let expected: &[u8] = &[
            b'l', 1, 0, 1, 24, 0, 0, 0, 2, 0, 0, 0, 80, 0, 0, 0, //
            1, 1, b'o', 0, 1, 0, 0, 0, b'/', 0, 0, 0, 0, 0, 0, 0, //
            2, 1, b's', 0, 1, 0, 0, 0, b'i', 0, 0, 0, 0, 0, 0, 0, //
            3, 1, b's', 0, 1, 0, 0, 0, b'm', 0, 0, 0, 0, 0, 0, 0, //
            6, 1, b's', 0, 1, 0, 0, 0, b'd', 0, 0, 0, 0, 0, 0, 0, //
            8, 1, b'g', 0, 5, b'a', b'(', b's', b'v', b')', 0, 0, 0, 0, 0, 0, //
            16, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, b'P', 0, 1, b'b', 0, 0, 0, 0, 1, 0, 0, 0,
        ];
        // The last field's padding belongs to the header, not to the array.
        let mut expected = expected.to_vec();
        expected[12] = 75;
        assert_eq!(bytes, expected);
        assert_eq!(length(&bytes), Some(bytes.len()));
        assert_eq!(decode(&bytes), Some(Received::Other));
    }

    #[test]
    fn what_systemd_says() {
        let mut body = Writer::default();
        body.string("/job/1");
        let answer = message(METHOD_RETURN, &[(SIGNATURE, "o")], Some(3), body);
        let job = Some("/job/1".to_owned());
        assert_eq!(decode(&answer), Some(Received::Answer(3, job)));

        let mut body = Writer::default();
        body.u32(1);
        for text in ["/job/1", "x.scope", "done"] {
            body.string(text);
        }
        let fields = [(MEMBER, "JobRemoved"), (SIGNATURE, "uoss")];
        let removed = message(SIGNAL, &fields, None, body);
        let expected = Received::JobRemoved("/job/1".into(), "done".into());
        assert_eq!(decode(&removed), Some(expected));

        let mut body = Writer::default();
        body.variant("b", |w| w.bool(true));
        let flag = message(METHOD_RETURN, &[(SIGNATURE, "v")], Some(3), body);
        assert_eq!(decode(&flag), Some(Received::Flag(3, true)));

        let mut body = Writer::default();
        body.string("no");
        let fields = [(ERROR_NAME, "a.b"), (SIGNATURE, "s")];
        let failed = message(ERROR, &fields, Some(3), body);
        let expected = Received::Failed(3, "a.b".into(), "no".into());
        assert_eq!(decode(&failed), Some(expected));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn hostile_messages_are_survived(
            kind in 0u8..6,
            code in 0u8..10,
            text in "\\PC{0,8}",
            change in any::<(prop::sample::Index, u8)>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut body = Writer::default();
            body.string("/job");
            let fields = [(code, text.as_str()), (SIGNATURE, "o")];
            let mut bytes = message(kind, &fields, Some(1), body);
            let at = change.0.index(bytes.len());
            bytes[at] = change.1;
            decode(&bytes);
            length(&bytes);
            bytes.truncate(cut.index(bytes.len()));
            decode(&bytes);
            length(&bytes);
        }
    }
}
