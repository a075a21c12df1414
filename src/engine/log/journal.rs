//! systemd's journal, by its native protocol: one datagram an entry, each
//! field as `NAME=value` or, if the value has line feeds or is binary, with
//! its length in front (systemd, "Native Journal Protocol").

use super::Origin;
use super::Record;
use super::Stream;
use anyhow::{Context, Result};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// Where the journal listens.
pub const SOCKET: &str = "/run/systemd/journal/socket";

/// Whether there is a journal.
pub fn is_there() -> bool {
    Path::new(SOCKET).exists()
}

/// A connection to the journal.
pub struct Journal(UnixDatagram);

impl Journal {
    /// Connects.
    pub fn open() -> Result<Journal> {
        let connect = || {
            let socket = UnixDatagram::unbound()?;
            socket.connect(SOCKET)?;
            socket.set_nonblocking(true)?;
            std::io::Result::Ok(socket)
        };
        connect().map(Journal).context(SOCKET)
    }

    /// Sends a record. The journal limits rates itself and may have no room:
    /// the container does not wait for it.
    pub fn send(&mut self, origin: &Origin, record: &Record<'_>) {
        let _ = self.0.send(&entry(origin, record));
    }
}

fn entry(origin: &Origin, record: &Record<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(record.data.len() + 512);
    let mut field = |name: &str, value: &[u8]| {
        out.extend(name.as_bytes());
        out.push(b'\n');
        out.extend((value.len() as u64).to_le_bytes());
        out.extend(value);
        out.push(b'\n');
    };
    let line = record.data.strip_suffix(b"\n");
    let priority: &[u8] = match record.stream {
        Stream::Stdout => b"6",
        Stream::Stderr => b"3",
    };
    field("MESSAGE", line.unwrap_or(record.data));
    field("PRIORITY", priority);
    field("SYSLOG_IDENTIFIER", origin.name.as_bytes());
    field("CONTAINER_NAME", origin.name.as_bytes());
    field(
        "CONTAINER_ID",
        crate::engine::ground::names::short(&origin.id).as_bytes(),
    );
    field("CONTAINER_ID_FULL", origin.id.as_bytes());
    if line.is_none() {
        field("CONTAINER_PARTIAL_MESSAGE", b"true");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_fields_with_lengths() {
        let origin = Origin {
            id: "0123456789abcdef".into(),
            name: "web".into(),
            ..Origin::default()
        };
        let record = Record {
            time: "",
            stream: Stream::Stderr,
            data: b"a\0b\n",
            details: &origin.details,
        };
        let entry = entry(&origin, &record);
        assert!(
            entry
                .starts_with(b"MESSAGE\n\x03\0\0\0\0\0\0\0a\0b\nPRIORITY\n\x01\0\0\0\0\0\0\x003\n")
        );
        let text = String::from_utf8_lossy(&entry);
        assert!(text.contains("0123456789ab\nCONTAINER_ID_FULL"), "{text}");
        assert!(!text.contains("PARTIAL"));
    }
}
