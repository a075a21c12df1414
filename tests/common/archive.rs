//! Images that the tests put together layer by layer.

use super::{Sandbox, busybox_tar};
use bryo::image::digest::sha256;
use serde_json::{Value, json};
use std::fs;
use tar::{Builder, EntryType, Header};

/// A layer that is being written.
pub struct Layer {
    builder: Builder<Vec<u8>>,
}

impl Layer {
    /// An empty one.
    pub fn new() -> Layer {
        Layer {
            builder: Builder::new(Vec::new()),
        }
    }

    /// A file of root's.
    pub fn file(self, path: &str, content: &str) -> Layer {
        self.entry(EntryType::Regular, path, content, 0o644, (0, 0))
    }

    /// A directory of root's.
    pub fn directory(self, path: &str) -> Layer {
        self.entry(EntryType::Directory, path, "", 0o755, (0, 0))
    }

    /// A symbolic link.
    pub fn link(self, path: &str, target: &str) -> Layer {
        self.entry(EntryType::Symlink, path, target, 0o777, (0, 0))
    }

    /// Anything; `content` is a link's target.
    pub fn entry(
        mut self,
        kind: EntryType,
        path: &str,
        content: &str,
        mode: u32,
        owner: (u64, u64),
    ) -> Layer {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(owner.0);
        header.set_gid(owner.1);
        header.set_mtime(1_234_567_890);
        header.set_size(0);
        let added = match kind {
            EntryType::Symlink | EntryType::Link => {
                self.builder.append_link(&mut header, path, content)
            }
            _ => {
                header.set_size(content.len() as u64);
                self.builder
                    .append_data(&mut header, path, content.as_bytes())
            }
        };
        added.unwrap();
        self
    }

    /// An extended attribute of what comes next.
    pub fn attribute(mut self, name: &str, value: &str) -> Layer {
        let key = format!("SCHILY.xattr.{name}");
        let pair = [(key.as_str(), value.as_bytes())];
        self.builder.append_pax_extensions(pair).unwrap();
        self
    }

    /// The tar.
    pub fn tar(self) -> Vec<u8> {
        self.builder.into_inner().unwrap()
    }
}

/// The files of busybox as a layer.
pub fn busybox_layer() -> Vec<u8> {
    fs::read(busybox_tar()).unwrap()
}

/// Writes an image of these layers, the bottom one first, as `docker save`
/// does; `config` is what its configuration says of running it. Returns the
/// archive's name.
pub fn image(sandbox: &Sandbox, name: &str, layers: &[Vec<u8>], config: Value) -> String {
    let diff_ids: Vec<String> = layers.iter().map(|l| sha256(l).to_string()).collect();
    let history: Vec<Value> = layers
        .iter()
        .map(|_| json!({"created_by": "a layer"}))
        .collect();
    let document = serde_json::to_vec(&json!({
        "architecture": bryo::image::platform::Platform::host().architecture,
        "os": "linux",
        "config": config,
        "history": history,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }));
    let path = |layer: &Vec<u8>| format!("{}/layer.tar", sha256(layer).digest());
    let manifest = json!([{
        "Config": "config.json",
        "RepoTags": [format!("{name}:latest")],
        "Layers": layers.iter().map(path).collect::<Vec<_>>(),
    }]);
    let mut builder = Builder::new(Vec::new());
    let mut add = |path: &str, bytes: &[u8]| {
        let mut header = Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, path, bytes).unwrap();
    };
    add("config.json", &document.unwrap());
    let mut seen = Vec::new();
    for layer in layers {
        if !seen.contains(&path(layer)) {
            add(&path(layer), layer);
            seen.push(path(layer));
        }
    }
    add("manifest.json", &serde_json::to_vec(&manifest).unwrap());
    let archive = format!("{name}.tar");
    sandbox.write(&archive, builder.into_inner().unwrap());
    archive
}

/// The same, loaded into the sandbox's store.
#[track_caller]
pub fn load(sandbox: &Sandbox, name: &str, layers: &[Vec<u8>], config: Value) {
    let archive = image(sandbox, name, layers, config);
    let load = sandbox.bryo(["load", "-q", "-i", &archive]);
    load.output().expect(0);
}
