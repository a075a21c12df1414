//! Content digests: sha256 and sha512, as the OCI image specification has
//! them (descriptor.md, "Digests").

use crate::error::{demand, refuse};
use std::io::{self, Read, Write};

use anyhow::{Context, Result};
pub use oci_spec::image::Digest;
use oci_spec::image::DigestAlgorithm;
use sha2::{Digest as _, Sha256, Sha512};

/// A running hash, of the algorithm that some digest names.
#[derive(Clone)]
pub enum Hasher {
    /// SHA-256, the one that everybody uses.
    Sha256(Sha256),
    /// SHA-512, which the specification allows beside it.
    Sha512(Sha512),
}

impl Hasher {
    /// A SHA-256 of nothing yet.
    pub fn sha256() -> Hasher {
        Hasher::Sha256(Sha256::new())
    }

    /// A hash by the algorithm of `digest`; an error where it is neither
    /// sha256 nor sha512.
    pub fn like(digest: &Digest) -> Result<Hasher> {
        match digest.algorithm() {
            DigestAlgorithm::Sha256 => Ok(Hasher::sha256()),
            DigestAlgorithm::Sha512 => Ok(Hasher::Sha512(Sha512::new())),
            other => refuse!(
                Unsupported,
                "digest {digest}: algorithm {other} is not supported"
            ),
        }
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(hash) => hash.update(bytes),
            Hasher::Sha512(hash) => hash.update(bytes),
        }
    }

    /// The digest of all that was added.
    pub fn finish(self) -> Digest {
        let (name, bytes) = match self {
            Hasher::Sha256(hash) => ("sha256", hash.finalize().to_vec()),
            Hasher::Sha512(hash) => ("sha512", hash.finalize().to_vec()),
        };
        Digest::try_from(format!("{name}:{}", hex(&bytes))).expect("a hash makes a valid digest")
    }
}

/// The SHA-256 digest of `bytes`.
pub fn sha256(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::sha256();
    hasher.update(bytes);
    hasher.finish()
}

/// Fails unless `bytes` have the digest `expected`; `what` names them in the
/// error.
pub fn verify(what: &str, expected: &Digest, bytes: &[u8]) -> Result<()> {
    let mut hasher = Hasher::like(expected)?;
    hasher.update(bytes);
    check(what, expected, &hasher.finish())
}

/// Fails unless the two digests are the same; `what` names the content.
pub fn check(what: &str, expected: &Digest, found: &Digest) -> Result<()> {
    if expected != found {
        refuse!(
            Internal,
            "{what} is damaged: its digest should be {expected} but is {found}"
        );
    }
    Ok(())
}

/// The first twelve hexadecimal digits, as docker shows an id.
pub fn short(digest: &Digest) -> &str {
    let hex = digest.digest();
    &hex[..hex.len().min(12)]
}

/// Undoes [`hex`].
pub fn unhex(text: &str) -> Result<Vec<u8>> {
    demand!(
        Unsupported,
        text.len().is_multiple_of(2),
        "an odd number of digits"
    );
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .context("no hexadecimal digit")
    };
    let pairs = text.as_bytes().chunks_exact(2);
    pairs
        .map(|pair| Ok((digit(pair[0])? << 4 | digit(pair[1])?) as u8))
        .collect()
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// Hashes and counts what is read through it.
pub struct HashReader<R> {
    inner: R,
    hasher: Hasher,
    count: u64,
}

impl<R: Read> HashReader<R> {
    /// Reads from `inner` and hashes by `hasher`.
    pub fn new(inner: R, hasher: Hasher) -> Self {
        HashReader {
            inner,
            hasher,
            count: 0,
        }
    }

    /// The digest and number of the bytes read so far.
    pub fn finish(self) -> (Digest, u64) {
        (self.hasher.finish(), self.count)
    }
}

impl<R: Read> Read for HashReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        self.count += n as u64;
        Ok(n)
    }
}

/// Hashes and counts what is written through it.
pub struct HashWriter<W> {
    inner: W,
    hasher: Hasher,
    count: u64,
}

impl<W: Write> HashWriter<W> {
    /// Writes to `inner` and hashes by `hasher`.
    pub fn new(inner: W, hasher: Hasher) -> Self {
        HashWriter {
            inner,
            hasher,
            count: 0,
        }
    }

    /// The writer below, and the digest and number of the bytes written.
    pub fn finish(self) -> (W, Digest, u64) {
        (self.inner, self.hasher.finish(), self.count)
    }
}

impl<W: Write> Write for HashWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        self.count += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_digests() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sha256(b"").as_ref(), format!("sha256:{empty}"));
        assert_eq!(short(&sha256(b"")), "e3b0c44298fc");
        let mut reader = HashReader::new(&b"abc"[..], Hasher::sha256());
        io::copy(&mut reader, &mut io::sink()).unwrap();
        assert_eq!(reader.finish(), (sha256(b"abc"), 3));
    }

    #[test]
    fn a_wrong_digest_names_the_content() {
        let error = verify("layer x", &sha256(b"a"), b"b")
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("layer x is damaged"), "{error}");
    }
}
