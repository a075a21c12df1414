//! Compression of layers and archives, told by the first bytes: media types
//! and file names are often wrong, and what comes out is checked against a
//! digest anyway.

use crate::error::refuse;
use std::io::{self, BufRead, BufReader, Cursor, Read};

use anyhow::Result;
use oci_spec::image::MediaType;

/// Most memory that an xz stream may ask for, in bytes (`xz -9` asks for 65 MiB).
const XZ_MEMORY: u64 = 128 << 20;

/// Largest window of a zstd stream, as a power of two (128 MiB, the most that
/// `zstd -d` accepts without being told).
const ZSTD_WINDOW: u32 = 27;

/// How bytes are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952, possibly several members.
    Gzip,
    /// RFC 8878, possibly several frames.
    Zstd,
    /// The .xz container.
    Xz,
}

/// Bytes that [`detect`] wants to see.
pub const MAGIC: usize = 6;

/// Tells from the first bytes. A format that is known but not supported is an
/// error.
pub fn detect(start: &[u8]) -> Result<Compression> {
    Ok(match start {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        // A skippable frame in front, as some parallel compressors write.
        [n, 0x2a, 0x4d, 0x18, ..] if n & 0xf0 == 0x50 => Compression::Zstd,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => {
            refuse!(
                Unsupported,
                "bzip2 compression is not supported: unpack it first with bunzip2"
            )
        }
        _ => Compression::None,
    })
}

impl Compression {
    /// The media type of a layer compressed like this; xz has none, so such a
    /// layer is compressed anew.
    pub fn layer_media_type(self) -> MediaType {
        match self {
            Compression::None | Compression::Xz => MediaType::ImageLayer,
            Compression::Gzip => MediaType::ImageLayerGzip,
            Compression::Zstd => MediaType::ImageLayerZstd,
        }
    }

    /// A reader of the plain bytes.
    pub fn decoder<'a, R: BufRead + 'a>(self, source: R) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Compression::None => Box::new(source),
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(source)),
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?;
                decoder.window_log_max(ZSTD_WINDOW)?;
                Box::new(decoder)
            }
            Compression::Xz => {
                let flags = liblzma::stream::CONCATENATED;
                let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, flags)?;
                Box::new(liblzma::bufread::XzDecoder::new_stream(source, stream))
            }
        })
    }
}

/// A source whose first bytes were looked at and are there again.
pub type Peeked<R> = io::Chain<Cursor<Vec<u8>>, R>;

/// Reads the first bytes of `source`, tells the compression, and gives a
/// reader that starts with those bytes again.
pub fn peek<R: Read>(mut source: R) -> Result<(Compression, Peeked<R>)> {
    let mut start = Vec::new();
    (&mut source).take(MAGIC as u64).read_to_end(&mut start)?;
    let compression = detect(&start)?;
    Ok((compression, Cursor::new(start).chain(source)))
}

/// A reader of the plain bytes of `source`, whatever compresses them.
pub fn plain<'a, R: Read + 'a>(source: R) -> Result<Box<dyn Read + 'a>> {
    let (compression, source) = peek(source)?;
    Ok(compression.decoder(BufReader::with_capacity(1 << 17, source))?)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn every_format_is_told_and_read() {
        let text = b"plain text".repeat(1000);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), Default::default());
        gzip.write_all(&text).unwrap();
        let mut two_members = gzip.finish().unwrap();
        two_members.extend(two_members.clone());
        let zstd = zstd::encode_all(&text[..], 1).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(&text).unwrap();
        let xz = xz.finish().unwrap();
        for (bytes, times) in [(text.clone(), 1), (two_members, 2), (zstd, 1), (xz, 1)] {
            let mut out = Vec::new();
            plain(&bytes[..]).unwrap().read_to_end(&mut out).unwrap();
            assert_eq!(out, text.repeat(times));
        }
        assert!(plain(&b"BZh91AY"[..]).is_err());
        let mut out = Vec::new();
        plain(&b""[..]).unwrap().read_to_end(&mut out).unwrap();
        assert!(out.is_empty());
    }
}
