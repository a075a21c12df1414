//! A registry of the tests' own, that does what it is told and not what it
//! should.

use bryo::image::digest::{Digest, sha256};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A request, as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    /// Path and query.
    pub path: String,
    /// By lower-case name.
    pub headers: HashMap<String, String>,
}

impl Asked {
    /// Where a `Range` starts.
    pub fn offset(&self) -> Option<usize> {
        let range = self.headers.get("range")?;
        range
            .strip_prefix("bytes=")?
            .strip_suffix('-')?
            .parse()
            .ok()
    }
}

/// What to answer.
pub enum Answer {
    /// Status, headers, body.
    Plain(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// A body that is cut off: its claimed length, and what comes of it.
    Cut(usize, Vec<u8>),
    /// Headers that promise so many bytes, then these bytes, then silence.
    Silent(usize, Vec<u8>),
    /// Nothing at all.
    Mute,
    /// A body without a length that never ends.
    Endless(Vec<u8>),
}

impl Answer {
    pub fn ok(body: impl Into<Vec<u8>>) -> Answer {
        Answer::Plain(200, Vec::new(), body.into())
    }

    pub fn status(code: u16) -> Answer {
        Answer::Plain(code, Vec::new(), Vec::new())
    }

    pub fn with(code: u16, header: &'static str, value: impl Into<String>) -> Answer {
        Answer::Plain(code, vec![(header, value.into())], Vec::new())
    }
}

/// A server, ended when dropped.
pub struct Hostile {
    /// `127.0.0.1:PORT`
    pub host: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    over: Arc<AtomicBool>,
}

impl Hostile {
    /// Starts one; `answer` is asked for every request.
    pub fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Hostile {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let over = Arc::new(AtomicBool::new(false));
        let answer = Arc::new(answer);
        let (log, ended) = (asked.clone(), over.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let (answer, log, ended) = (answer.clone(), log.clone(), ended.clone());
                // Who talks to it may hang up at any time.
                thread::spawn(move || {
                    let _ = serve(stream.ok()?, &*answer, &log, &ended);
                    Some(())
                });
            }
        });
        Hostile { host, asked, over }
    }

    /// A name in it.
    pub fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.host)
    }

    /// All that was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// How often a path with this part was asked for.
    pub fn count(&self, part: &str) -> usize {
        let asked = self.asked();
        asked
            .iter()
            .filter(|asked| asked.path.contains(part))
            .count()
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(&self.host);
    }
}

fn serve(
    stream: TcpStream,
    answer: &dyn Fn(&Asked) -> Answer,
    log: &Mutex<Vec<Asked>>,
    over: &AtomicBool,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let mut word = || words.next().unwrap_or_default().to_owned();
    let (method, path) = (word(), word());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => {
                headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
            }
            None => break,
        }
    }
    if method.is_empty() {
        return Ok(());
    }
    if let Some(length) = headers.get("content-length") {
        let mut body = vec![0; length.parse().unwrap_or(0)];
        reader.read_exact(&mut body)?;
    }
    let asked = Asked {
        method,
        path,
        headers,
    };
    log.lock().unwrap().push(asked.clone());
    let mut out = stream;
    let silence = || {
        while !over.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(20));
        }
    };
    let head = |code: u16, length: usize| {
        format!("HTTP/1.1 {code} x\r\nconnection: close\r\ncontent-length: {length}\r\n")
    };
    match answer(&asked) {
        Answer::Plain(code, headers, body) => {
            let mut text = head(code, body.len());
            for (name, value) in headers {
                text += &format!("{name}: {value}\r\n");
            }
            out.write_all(format!("{text}\r\n").as_bytes())?;
            if asked.method != "HEAD" {
                out.write_all(&body)?;
            }
        }
        Answer::Cut(length, body) => {
            out.write_all(format!("{}\r\n", head(200, length)).as_bytes())?;
            out.write_all(&body)?;
        }
        Answer::Silent(length, body) => {
            out.write_all(format!("{}\r\n", head(200, length)).as_bytes())?;
            out.write_all(&body)?;
            silence();
        }
        Answer::Mute => silence(),
        Answer::Endless(piece) => {
            out.write_all(b"HTTP/1.1 200 x\r\nconnection: close\r\n\r\n")?;
            while !over.load(Ordering::Relaxed) {
                out.write_all(&piece)?;
            }
        }
    }
    Ok(())
}

/// The documents and blobs of an image.
#[derive(Clone)]
pub struct Pushed {
    pub manifest: Vec<u8>,
    pub config: Vec<u8>,
    /// Compressed layers.
    pub layers: Vec<Vec<u8>>,
}

impl Pushed {
    /// An image of these layers, each given compressed and by the digest of
    /// its tar.
    pub fn of(layers: Vec<(Vec<u8>, Digest)>) -> Pushed {
        let ids: Vec<&Digest> = layers.iter().map(|(_, id)| id).collect();
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/true"]},
            "rootfs": {"type": "layers", "diff_ids": ids},
        });
        let config = config.to_string().into_bytes();
        let layers: Vec<Vec<u8>> = layers.into_iter().map(|(layer, _)| layer).collect();
        let mut pushed = Pushed {
            manifest: Vec::new(),
            config,
            layers,
        };
        let described = pushed.layers.iter().map(|layer| described(layer)).collect();
        pushed.manifest = pushed.manifest_of(described);
        pushed
    }

    /// A manifest that says this of the layers.
    pub fn manifest_of(&self, layers: Vec<Value>) -> Vec<u8> {
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "size": self.config.len(),
                "digest": sha256(&self.config),
            },
            "layers": layers,
        });
        manifest.to_string().into_bytes()
    }

    /// An image with one small file in each of so many layers.
    pub fn small(layers: usize) -> Pushed {
        let layer = |n| {
            let tar = tar_of(&format!("file{n}"), &noise(n as u32, 20_000));
            (gzip(&tar), sha256(&tar))
        };
        Pushed::of((0..layers).map(layer).collect())
    }

    /// What a good registry would answer.
    pub fn answer(&self, asked: &Asked) -> Answer {
        let path = asked.path.split('?').next().unwrap();
        if path == "/v2/" {
            return Answer::ok("{}");
        }
        if path.contains("/manifests/") {
            let kind = "application/vnd.oci.image.manifest.v1+json".to_owned();
            let headers = vec![("content-type", kind)];
            return Answer::Plain(200, headers, self.manifest.clone());
        }
        let Some((_, digest)) = path.split_once("/blobs/") else {
            return Answer::status(404);
        };
        let mut blobs = self.layers.iter().chain([&self.config]);
        let Some(blob) = blobs.find(|blob| sha256(blob).as_ref() == digest) else {
            return Answer::status(404);
        };
        match asked.offset() {
            Some(offset) if offset < blob.len() => {
                let end = blob.len() - 1;
                let range = format!("bytes {offset}-{end}/{}", blob.len());
                Answer::Plain(206, vec![("content-range", range)], blob[offset..].to_vec())
            }
            Some(_) => Answer::status(416),
            None => Answer::ok(blob.clone()),
        }
    }

    /// Writes it as an OCI layout.
    pub fn write_layout(&self, directory: &Path) {
        let blobs = directory.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        for blob in self.layers.iter().chain([&self.config, &self.manifest]) {
            fs::write(blobs.join(sha256(blob).digest()), blob).unwrap();
        }
        let version = r#"{"imageLayoutVersion":"1.0.0"}"#;
        fs::write(directory.join("oci-layout"), version).unwrap();
        let index = json!({"schemaVersion": 2, "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "size": self.manifest.len(),
            "digest": sha256(&self.manifest),
        }]});
        fs::write(directory.join("index.json"), index.to_string()).unwrap();
    }

    /// The digest of a layer.
    pub fn layer(&self, n: usize) -> String {
        sha256(&self.layers[n]).to_string()
    }
}

/// A layer as manifests describe it.
pub fn described(layer: &[u8]) -> Value {
    json!({
        "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
        "size": layer.len(),
        "digest": sha256(layer),
    })
}

/// A tar of one file.
pub fn tar_of(name: &str, content: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, name, content).unwrap();
    tar.into_inner().unwrap()
}

/// Bytes compressed by gzip.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    gzip_as(bytes, flate2::Compression::fast())
}

/// The same, as small as it gets.
pub fn gzip_well(bytes: &[u8]) -> Vec<u8> {
    gzip_as(bytes, flate2::Compression::best())
}

fn gzip_as(bytes: &[u8], level: flate2::Compression) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), level);
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// Bytes that do not compress well.
pub fn noise(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}
