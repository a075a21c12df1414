//! Images from outside to inside: `import`, `load`, `images`, `tag`, `rmi`,
//! driven through the real binary, with archives of the peers' own tools.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Instant;

use crate::common::wait_for;
use bryo::image::copy::flatten;
use bryo::image::digest::sha256;
use bryo::image::owners::Owners;
use bryo::image::progress::Quiet;
use bryo::image::source::{Resolved, Source};
use bryo::image::store::{Image, Insist, Store};
use bryo::image::view::View;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A store of its own, and a place for files.
struct Sandbox {
    dir: TempDir,
}

impl Sandbox {
    fn new() -> Sandbox {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Sandbox { dir }
    }

    fn root(&self) -> PathBuf {
        self.path("root")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bryo"));
        command.args(args).env("BRYO_ROOT", self.root());
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command that must succeed; its output.
    fn ok(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        finished(args, &output)
    }

    /// Runs a command that must fail as bryo fails; its message.
    fn fails(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {text}");
        assert!(text.starts_with("error: "), "{text}");
        text
    }

    fn store(&self) -> Store {
        Store::open(&self.root()).unwrap()
    }

    fn image(&self, name: &str) -> Image {
        let image = self.store().find(name).unwrap();
        image.unwrap_or_else(|| panic!("no image {name}"))
    }

    /// The image's layers with recorded owners, the topmost first.
    fn lowers(&self, name: &str) -> Vec<PathBuf> {
        let (store, image) = (self.store(), self.image(name));
        // Those that were brought in may be for another map.
        store.unpack(&image, &Quiet).unwrap();
        store.lowers(&image).unwrap()
    }

    /// A file of the image.
    fn read(&self, name: &str, path: &str) -> Option<String> {
        let view = View::new(&self.lowers(name)).unwrap();
        let bytes = view.read(path, 1 << 20).unwrap()?;
        Some(String::from_utf8(bytes).unwrap())
    }

    /// Fails if anything half-made or without an owner is in the store.
    fn is_tidy(&self) {
        let list = |name: &str| -> BTreeSet<String> {
            let Ok(entries) = fs::read_dir(self.root().join(name)) else {
                return BTreeSet::new();
            };
            let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
            names.collect()
        };
        assert_eq!(list("tmp"), BTreeSet::new(), "in tmp");
        // Deleted behind our back.
        wait_for("an empty trash", || list("trash").is_empty().then_some(()));
        let mut blobs = BTreeSet::new();
        let mut layers = BTreeSet::new();
        for summary in self.store().list().unwrap() {
            let image = self.image(summary.manifest.digest());
            blobs.insert(image.id.digest().to_owned());
            blobs.insert(image.manifest.digest().to_owned());
            for layer in image.layers {
                blobs.insert(layer.blob.digest().to_owned());
                layers.insert(layer.diff_id.digest().to_owned());
            }
        }
        assert_eq!(list("images/blobs/sha256"), blobs);
        assert_eq!(list("layers/single"), layers);
        for blob in blobs {
            let path = self.root().join("images/blobs/sha256").join(&blob);
            assert_eq!(sha256(&fs::read(path).unwrap()).digest(), blob);
        }
    }
}

fn finished(args: &[&str], output: &Output) -> String {
    assert!(
        output.status.success(),
        "{args:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Runs another program, which a Debian package provides.
fn tool(package: &str, args: &[&str]) -> String {
    match Command::new(args[0])
        .args(&args[1..])
        .stdin(Stdio::null())
        .output()
    {
        Ok(output) => finished(args, &output),
        Err(error) => panic!("{}: {error}: install the Debian package {package}", args[0]),
    }
}

/// A tar of directories (names with a slash at the end), files and whiteouts.
fn tar(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, data) in entries {
        let mut header = tar::Header::new_gnu();
        let is_directory = name.ends_with('/');
        header.set_mode(if is_directory { 0o755 } else { 0o644 });
        header.set_mtime(1_000_000_000);
        header.set_size(data.len() as u64);
        if is_directory {
            header.set_entry_type(tar::EntryType::Directory);
        }
        builder
            .append_data(&mut header, name, data.as_bytes())
            .unwrap();
    }
    builder.into_inner().unwrap()
}

fn link(builder: &mut tar::Builder<Vec<u8>>, kind: tar::EntryType, name: &str, target: &str) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o777);
    header.set_size(0);
    builder.append_link(&mut header, name, target).unwrap();
}

fn config(layers: &[Vec<u8>], architecture: &str) -> Vec<u8> {
    let diff_ids: Vec<String> = layers
        .iter()
        .map(|layer| sha256(layer).to_string())
        .collect();
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "created": "2020-02-02T02:02:02Z",
        "config": {"Cmd": ["sh"], "Env": null, "ExposedPorts": null,
                   "Healthcheck": {"Test": ["NONE"]}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    serde_json::to_vec(&config).unwrap()
}

fn host() -> String {
    bryo::image::platform::Platform::host().architecture
}

fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, data) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(data.len() as u64);
        builder.append_data(&mut header, name, &data[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

/// What `docker save` writes for images (name, layers).
fn docker_archive(images: &[(&str, &[Vec<u8>])], architecture: &str) -> Vec<u8> {
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    let mut manifest = Vec::new();
    for (name, layers) in images {
        let config = config(layers, architecture);
        let config_name = format!("{}.json", sha256(&config).digest());
        let mut paths = Vec::new();
        for layer in *layers {
            let path = format!("{}/layer.tar", sha256(layer).digest());
            if !files.iter().any(|(known, _)| *known == path) {
                files.push((path.clone(), layer.clone()));
            }
            paths.push(path);
        }
        files.push((config_name.clone(), config));
        manifest.push(json!({"Config": config_name, "RepoTags": [name], "Layers": paths}));
    }
    let manifest = serde_json::to_vec(&manifest).unwrap();
    files.push(("manifest.json".to_owned(), manifest));
    archive(&files)
}

/// Three layers that replace, remove and hide.
fn sample_layers() -> Vec<Vec<u8>> {
    vec![
        tar(&[
            ("etc/", ""),
            ("etc/passwd", "root:x:0:0::/:/bin/sh\n"),
            ("etc/old", "x"),
            ("data/", ""),
            ("data/a", "below"),
        ]),
        tar(&[("etc/", ""), ("etc/.wh.old", ""), ("etc/new", "middle")]),
        tar(&[
            ("etc/", ""),
            ("etc/new", "top"),
            ("data/", ""),
            ("data/.wh..wh..opq", ""),
            ("data/b", "above"),
        ]),
    ]
}

fn check_sample(sandbox: &Sandbox, name: &str) {
    assert_eq!(sandbox.read(name, "etc/new").as_deref(), Some("top"));
    assert_eq!(sandbox.read(name, "etc/old"), None);
    assert_eq!(sandbox.read(name, "data/a"), None);
    assert_eq!(sandbox.read(name, "data/b").as_deref(), Some("above"));
    assert!(
        sandbox
            .read(name, "etc/passwd")
            .unwrap()
            .starts_with("root")
    );
}

#[test]
fn a_tar_becomes_an_image_however_it_is_compressed() {
    let sandbox = Sandbox::new();
    let plain = tar(&[("a", "content")]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), Default::default());
    gzip.write_all(&plain).unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&plain).unwrap();
    let files = [
        ("plain", plain.clone()),
        ("gzip", gzip.finish().unwrap()),
        ("zstd", zstd::encode_all(&plain[..], 3).unwrap()),
        ("xz", xz.finish().unwrap()),
    ];
    for (name, bytes) in &files {
        let file = sandbox.write(name, bytes);
        let id = sandbox.ok(&["import", &file, name]);
        assert_eq!(id.trim(), sandbox.image(name).id.to_string());
        assert_eq!(sandbox.read(name, "a").as_deref(), Some("content"));
        let layer = &sandbox.image(name).layers[0];
        assert_eq!(layer.diff_id, sha256(&plain), "{name}");
    }
    // What manifests can name stays as it came.
    assert_eq!(sandbox.image("gzip").layers[0].blob, sha256(&files[1].1));
    assert_eq!(sandbox.image("zstd").layers[0].blob, sha256(&files[2].1));

    let mut child = sandbox.command(&["import", "-"]);
    let mut child = child
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&files[1].1).unwrap();
    let id = finished(&["import", "-"], &child.wait_with_output().unwrap());
    assert!(sandbox.image(id.trim()).references.is_empty());
    sandbox.is_tidy();
}

#[test]
fn import_sets_up_the_configuration() {
    let sandbox = Sandbox::new();
    let file = sandbox.write("t.tar", &tar(&[("a", "")]));
    sandbox.ok(&[
        "import",
        "-c",
        "CMD [\"sh\"]",
        "--change",
        "ENV A=b C=d",
        "-c",
        "WORKDIR /w",
        "-c",
        "USER me",
        "-c",
        "EXPOSE 80",
        "-c",
        "LABEL x=y",
        "-c",
        "VOLUME /v",
        "-c",
        "ENTRYPOINT [\"/e\"]",
        "-m",
        "made by hand",
        "--platform",
        "linux/arm64",
        &file,
        "x:1",
    ]);
    let image = sandbox.image("x:1");
    let config = image.config.config().as_ref().unwrap();
    assert_eq!(config.cmd().as_deref(), Some(&["sh".to_owned()][..]));
    assert_eq!(config.entrypoint().as_deref(), Some(&["/e".to_owned()][..]));
    assert_eq!(
        config.env().as_deref(),
        Some(&["A=b".to_owned(), "C=d".to_owned()][..])
    );
    assert_eq!(config.working_dir().as_deref(), Some("/w"));
    assert_eq!(config.user().as_deref(), Some("me"));
    assert_eq!(
        config.exposed_ports().as_deref(),
        Some(&["80/tcp".to_owned()][..])
    );
    assert_eq!(config.volumes().as_deref(), Some(&["/v".to_owned()][..]));
    let json = sandbox.store().config_json(&image).unwrap();
    assert_eq!(json["history"][0]["comment"], "made by hand");
    assert_eq!(
        (&json["architecture"], &json["variant"]),
        (&json!("arm64"), &json!("v8"))
    );

    let usage = |args: &[&str]| sandbox.command(args).output().unwrap().status.code();
    assert_eq!(usage(&["import", "-c", "RUN x", &file, "y"]), Some(125));
    assert_eq!(usage(&["import", &file, "UPPER"]), Some(1));
    assert!(
        sandbox
            .fails(&["import", "/nowhere.tar"])
            .contains("/nowhere.tar")
    );
}

#[test]
fn images_are_listed_found_tagged_and_removed() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.ok(&["images", "-q"]), "");
    let file = sandbox.write("t.tar", &tar(&[("a", "12345")]));
    let id = sandbox.ok(&["import", &file, "deb"]);
    let id = id.trim();
    sandbox.ok(&["tag", "deb", "example.org/me/deb:v1"]);
    sandbox.ok(&["tag", &id[7..13], "deb:other"]);

    let table = sandbox.ok(&["images"]);
    let lines: Vec<Vec<&str>> = table
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    assert_eq!(
        lines[0],
        ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
    );
    assert_eq!(lines.len(), 4);
    assert!(
        lines
            .iter()
            .any(|line| line[..3] == ["deb", "latest", &id[7..19]])
    );
    assert!(
        lines
            .iter()
            .all(|line| line[0] == "REPOSITORY" || line.last() == Some(&"5B"))
    );
    assert_eq!(sandbox.ok(&["images", "-q"]), format!("{}\n", &id[7..19]));
    assert_eq!(
        sandbox.ok(&["images", "-aq", "--no-trunc"]),
        format!("{id}\n")
    );
    assert!(sandbox.ok(&["images", "--digests"]).contains("sha256:"));
    assert_eq!(sandbox.ok(&["images", "-q", "nothing"]), "");
    let json = sandbox.ok(&["images", "--format", "json", "deb:other"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["Repository"], &json["Tag"]),
        (&json!("deb"), &json!("other"))
    );

    for name in [
        "deb",
        "deb:latest",
        "docker.io/library/deb",
        id,
        &id[7..],
        &id[7..12],
    ] {
        assert_eq!(sandbox.image(name).id.as_ref(), id, "{name}");
    }
    let pinned = format!("deb@{}", sandbox.image("deb").manifest);
    assert_eq!(sandbox.image(&pinned).id.as_ref(), id);
    assert!(sandbox.store().find("missing").unwrap().is_none());

    assert!(sandbox.fails(&["rmi", id]).contains("several names"));
    assert_eq!(sandbox.ok(&["rmi", "deb"]), "Untagged: deb:latest\n");
    assert_eq!(sandbox.ok(&["rmi", "deb:other"]), "Untagged: deb:other\n");
    let last = sandbox.ok(&["rmi", "example.org/me/deb:v1"]);
    assert_eq!(
        last,
        format!("Untagged: example.org/me/deb:v1\nDeleted: {id}\n")
    );
    assert!(
        sandbox
            .fails(&["rmi", "deb"])
            .contains("No such image: deb")
    );
    assert!(
        sandbox
            .fails(&["tag", "deb", "x"])
            .contains("No such image: deb")
    );
    sandbox.is_tidy();
}

#[test]
fn a_name_moves_and_leaves_a_nameless_image() {
    let sandbox = Sandbox::new();
    let first = sandbox.write("1.tar", &tar(&[("a", "1")]));
    let second = sandbox.write("2.tar", &tar(&[("a", "2")]));
    let old = sandbox.ok(&["import", &first, "x"]);
    sandbox.ok(&["import", &second, "x"]);
    assert_eq!(sandbox.read("x", "a").as_deref(), Some("2"));
    assert!(sandbox.ok(&["images"]).contains("<none>"));
    assert_eq!(sandbox.read(old.trim(), "a").as_deref(), Some("1"));
    sandbox.ok(&["rmi", old.trim()]);
    assert!(!sandbox.ok(&["images"]).contains("<none>"));
    sandbox.is_tidy();
}

#[test]
fn a_used_image_stays() {
    let sandbox = Sandbox::new();
    let file = sandbox.write("t.tar", &tar(&[("a", "x")]));
    sandbox.ok(&["import", &file, "x"]);
    let store = sandbox.store();
    let used = |_: &Image| vec!["web".to_owned()];
    let error = store
        .remove("x", Insist::No, &used)
        .unwrap_err()
        .to_string();
    assert!(error.contains("web"), "{error}");
    let removed = store.remove("x", Insist::Force, &used).unwrap();
    assert_eq!(removed.untagged, ["x:latest"]);
    assert!(removed.deleted.is_empty());
    let id = sandbox.ok(&["images", "-q"]);
    assert_eq!(sandbox.read(id.trim(), "a").as_deref(), Some("x"));
}

#[test]
fn all_images_go_but_those_in_use() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.ok(&["rmi", "-a"]), "");
    for name in ["x", "y", "z"] {
        let file = sandbox.write(name, &tar(&[(name, name)]));
        sandbox.ok(&["import", &file, name]);
    }
    sandbox.ok(&["tag", "x", "x:again"]);
    sandbox.ok(&["untag", "y"]);
    let bryo = |arguments: &[&str]| sandbox.command(arguments).output().unwrap();
    assert!(
        bryo(&["create", "--name", "c", "z", "true"])
            .status
            .success()
    );
    let all = bryo(&["rmi", "--all"]);
    let said = String::from_utf8_lossy(&all.stderr);
    assert!(
        !all.status.success() && said.contains("used by container c"),
        "{said}"
    );
    let said = String::from_utf8_lossy(&all.stdout);
    assert_eq!(said.matches("Deleted:").count(), 2, "{said}");
    assert_eq!(said.matches("Untagged: x:").count(), 2, "{said}");
    assert!(sandbox.ok(&["images"]).contains("z"));
    assert!(!bryo(&["rmi", "-a", "z"]).status.success());
    sandbox.ok(&["rmi", "-af"]);
    assert!(sandbox.ok(&["images"]).contains("<none>"));
    sandbox.ok(&["rm", "c"]);
    sandbox.ok(&["rmi", "-a"]);
    assert_eq!(sandbox.ok(&["images", "-aq"]), "");
    sandbox.is_tidy();
}

#[test]
fn docker_archives_are_loaded() {
    let sandbox = Sandbox::new();
    let layers = sample_layers();
    let shared = [layers[0].clone()];
    let bytes = docker_archive(&[("sample:1", &layers), ("base", &shared)], &host());
    let file = sandbox.write("a.tar", &bytes);
    let out = sandbox.ok(&["load", "-i", &file]);
    assert_eq!(out, "Loaded image: sample:1\nLoaded image: base:latest\n");
    check_sample(&sandbox, "sample:1");
    assert_eq!(sandbox.read("base", "data/a").as_deref(), Some("below"));
    let id = sandbox.image("sample:1").id;
    assert_eq!(id, sha256(&config(&layers, &host())));
    let image = sandbox.image("sample:1");
    let json = sandbox.store().config_json(&image).unwrap();
    assert_eq!(json["config"]["Healthcheck"]["Test"][0], "NONE");

    // The same, compressed and through a pipe.
    let again = Sandbox::new();
    let mut child = again.command(&["load"]);
    let mut child = child
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let compressed = zstd::encode_all(&bytes[..], 1).unwrap();
    child.stdin.take().unwrap().write_all(&compressed).unwrap();
    finished(&["load"], &child.wait_with_output().unwrap());
    check_sample(&again, "sample:1");
    assert_eq!(again.image("sample:1").id, id);

    // A second time, and with the layers known but their trees gone.
    sandbox.ok(&["load", "-i", &file]);
    fs::rename(sandbox.root().join("layers"), sandbox.path("away")).unwrap();
    check_sample(&sandbox, "sample:1");
    sandbox.is_tidy();
    again.is_tidy();
}

#[test]
fn layers_that_lean_on_others_are_made_for_each_stack() {
    let sandbox = Sandbox::new();
    let merged = |link_target: &str| {
        let mut builder = tar::Builder::new(tar(&[("usr/", ""), ("usr/lib/", ""), ("opt/", "")]));
        // Go on where the end mark stands.
        let mut bytes = std::mem::take(builder.get_mut());
        bytes.truncate(bytes.len() - 1024);
        let mut builder = tar::Builder::new(bytes);
        link(&mut builder, tar::EntryType::Symlink, "lib", link_target);
        builder.into_inner().unwrap()
    };
    let leaning = tar(&[("lib/module", "m")]);
    let images: [(&str, &[Vec<u8>]); 3] = [
        ("one", &[merged("usr/lib"), leaning.clone()]),
        ("two", &[merged("opt"), leaning.clone()]),
        ("alone", std::slice::from_ref(&leaning)),
    ];
    let file = sandbox.write("a.tar", &docker_archive(&images, &host()));
    sandbox.ok(&["load", "-i", &file]);
    for (name, path) in [("one", "usr/lib/module"), ("two", "opt/module")] {
        assert_eq!(sandbox.read(name, path).as_deref(), Some("m"), "{name}");
        assert_eq!(
            sandbox.read(name, "lib/module").as_deref(),
            Some("m"),
            "{name}"
        );
        assert!(!sandbox.lowers(name)[0].join("lib").exists(), "{name}");
    }
    assert!(sandbox.lowers("alone")[0].join("lib/module").exists());
    assert_ne!(sandbox.lowers("one")[0], sandbox.lowers("two")[0]);
    let one = sandbox.lowers("one")[0].clone();
    sandbox.ok(&["rmi", "one"]);
    assert!(!one.exists());
    assert_eq!(sandbox.read("two", "opt/module").as_deref(), Some("m"));
    sandbox.is_tidy();
}

/// A layout made by umoci, with a second layer on top of the first.
fn umoci_layout(sandbox: &Sandbox) -> String {
    let layout = sandbox.path("layout");
    let layout = layout.to_str().unwrap();
    let image = format!("{layout}:v1");
    let bundle = sandbox.path("bundle");
    let rootfs = bundle.join("rootfs");
    let bundle = bundle.to_str().unwrap();
    let umoci = |args: &[&str]| tool("umoci", &[&["umoci"], args].concat());
    umoci(&["init", "--layout", layout]);
    umoci(&["new", "--image", &image]);
    umoci(&["unpack", "--rootless", "--image", &image, bundle]);
    fs::create_dir_all(rootfs.join("etc/conf.d")).unwrap();
    fs::write(rootfs.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
    fs::write(rootfs.join("etc/conf.d/x"), "1").unwrap();
    fs::write(rootfs.join("remove"), "x").unwrap();
    fs::write(rootfs.join("linked"), "l").unwrap();
    fs::hard_link(rootfs.join("linked"), rootfs.join("twin")).unwrap();
    std::os::unix::fs::symlink("etc/passwd", rootfs.join("symlink")).unwrap();
    umoci(&["repack", "--image", &image, bundle]);
    fs::remove_dir_all(bundle).unwrap();
    umoci(&["unpack", "--rootless", "--image", &image, bundle]);
    fs::remove_file(rootfs.join("remove")).unwrap();
    fs::remove_dir_all(rootfs.join("etc/conf.d")).unwrap();
    fs::write(rootfs.join("etc/passwd"), "changed\n").unwrap();
    umoci(&["repack", "--image", &image, bundle]);
    let config = [
        "config",
        "--image",
        &image,
        "--config.cmd",
        "sh",
        "--config.env",
        "A=b",
    ];
    umoci(&config);
    layout.to_owned()
}

/// Paths below a directory, with type, mode, and content or target.
fn describe(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let what = if metadata.is_symlink() {
                format!("{:?}", fs::read_link(&path).unwrap())
            } else if metadata.is_dir() {
                pending.push(path.clone());
                String::new()
            } else {
                sha256(&fs::read(&path).unwrap()).to_string()
            };
            let name = path.strip_prefix(root).unwrap().display();
            found.insert(format!("{name} {:o} {what}", metadata.mode()));
        }
    }
    found
}

#[test]
fn what_umoci_and_skopeo_write_is_read_as_they_read_it() {
    let sandbox = Sandbox::new();
    let layout = umoci_layout(&sandbox);
    let target = sandbox.path("unpacked");
    let image = format!("{layout}:v1");
    let args = [
        "umoci",
        "unpack",
        "--rootless",
        "--image",
        &image,
        target.to_str().unwrap(),
    ];
    tool("umoci", &args);
    let expected = describe(&target.join("rootfs"));

    let mut ids = BTreeSet::new();
    for kind in ["docker-archive", "oci-archive"] {
        let file = sandbox.path(kind);
        let file = file.to_str().unwrap();
        let from = format!("oci:{layout}:v1");
        let to = format!("{kind}:{file}:example.org/{kind}:v2");
        tool(
            "skopeo",
            &["skopeo", "--insecure-policy", "copy", "-q", &from, &to],
        );
        let out = sandbox.ok(&["load", "-i", file]);
        let name = format!("example.org/{kind}:v2");
        assert_eq!(out, format!("Loaded image: {name}\n"));
        let image = sandbox.image(&name);
        let config = image.config.config().as_ref().unwrap();
        assert_eq!(config.cmd().as_deref(), Some(&["sh".to_owned()][..]));
        assert!(config.env().as_ref().unwrap().contains(&"A=b".to_owned()));
        let copy = sandbox.path(&format!("{kind}-tree"));
        let mut owners = Owners::new(&sandbox.path(""));
        flatten(&sandbox.lowers(&name), &copy, &mut owners).unwrap();
        assert_eq!(describe(&copy), expected, "{kind}");
        let stat = |name: &str| fs::metadata(copy.join(name)).unwrap().ino();
        assert_eq!(stat("linked"), stat("twin"));
        ids.insert(
            image
                .layers
                .iter()
                .map(|l| l.diff_id.to_string())
                .collect::<Vec<_>>(),
        );
    }
    assert_eq!(ids.len(), 1, "both archives hold the same layers");

    // In place, and a second time without reading it again.
    let store = sandbox.store();
    let source = Source::parse(&format!("oci:{layout}:v1")).unwrap();
    for _ in 0..2 {
        let resolved = source
            .resolve(&store, None, "2020-01-01T00:00:00Z", &Quiet)
            .unwrap();
        let Some(Resolved::Image(image)) = resolved else {
            panic!("no image in {layout}");
        };
        assert!(image.references.is_empty() || image.references.len() == 1);
        assert_eq!(image.layers.len(), 2);
    }
    // What we store, skopeo reads.
    let ours = format!(
        "oci:{}:example.org/oci-archive:v2",
        sandbox.root().join("images").display()
    );
    let inspected = tool("skopeo", &["skopeo", "inspect", &ours]);
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["Layers"].as_array().unwrap().len(), 2);
    sandbox.is_tidy();
}

#[test]
fn what_podman_saves_is_loaded() {
    let sandbox = Sandbox::new();
    let file = sandbox.write("t.tar", &tar(&[("etc/", ""), ("etc/x", "podman")]));
    let root = sandbox.path("podman");
    let (graph, run) = (root.join("graph"), root.join("run"));
    let podman = |args: &[&str]| {
        let storage = [
            "podman",
            "--root",
            graph.to_str().unwrap(),
            "--runroot",
            run.to_str().unwrap(),
            "--storage-driver",
            "vfs",
            "--cgroup-manager",
            "cgroupfs",
            "--events-backend",
            "file",
        ];
        tool("podman", &[&storage, args].concat())
    };
    podman(&["import", "-q", &file, "saved:v1"]);
    for format in ["docker-archive", "oci-archive"] {
        let path = sandbox.path(format);
        let path = path.to_str().unwrap();
        podman(&["save", "-q", "--format", format, "-o", path, "saved:v1"]);
        let out = sandbox.ok(&["load", "-i", path]);
        assert_eq!(out, "Loaded image: localhost/saved:v1\n");
        // The short name means it too, since there is no other.
        assert_eq!(sandbox.read("saved:v1", "etc/x").as_deref(), Some("podman"));
        sandbox.ok(&["rmi", "saved:v1"]);
    }
    // Its own users' files are not ours to remove.
    let _ = Command::new("podman")
        .args(["unshare", "rm", "-rf"])
        .arg(&root)
        .output();
    sandbox.is_tidy();
}

#[test]
fn an_image_for_another_machine_is_refused_unless_asked_for() {
    let sandbox = Sandbox::new();
    let layers = sample_layers();
    let file = sandbox.write("a.tar", &docker_archive(&[("x", &layers)], "s390x"));
    let error = sandbox.fails(&["load", "-i", &file]);
    assert!(
        error.contains("linux/s390x") && error.contains("--platform"),
        "{error}"
    );
    assert_eq!(sandbox.ok(&["images", "-q"]), "");
    sandbox.ok(&["load", "-i", &file, "--platform", "linux/s390x"]);
    check_sample(&sandbox, "x");
}

/// An OCI layout in a tar with one index over images of several platforms.
fn oci_index(platforms: &[&str]) -> Vec<(String, Vec<u8>)> {
    let mut files = vec![(
        "oci-layout".to_owned(),
        br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
    )];
    let mut blob = |bytes: Vec<u8>, media_type: &str| {
        let digest = sha256(&bytes);
        let size = bytes.len();
        files.push((format!("blobs/sha256/{}", digest.digest()), bytes));
        json!({"mediaType": media_type, "digest": digest.to_string(), "size": size})
    };
    let mut manifests = Vec::new();
    for platform in platforms {
        let layer = tar(&[("platform", platform)]);
        let config = config(std::slice::from_ref(&layer), platform);
        let manifest = json!({
            "schemaVersion": 2,
            "config": blob(config, "application/vnd.oci.image.config.v1+json"),
            "layers": [blob(layer, "application/vnd.oci.image.layer.v1.tar")],
        });
        let manifest = serde_json::to_vec(&manifest).unwrap();
        let mut descriptor = blob(manifest, "application/vnd.oci.image.manifest.v1+json");
        descriptor["platform"] = json!({"os": "linux", "architecture": platform});
        manifests.push(descriptor);
    }
    let index = json!({"schemaVersion": 2, "manifests": manifests});
    let index = serde_json::to_vec(&index).unwrap();
    let mut index = blob(index, "application/vnd.oci.image.index.v1+json");
    index["annotations"] = json!({"org.opencontainers.image.ref.name": "many:v1"});
    let index = json!({"schemaVersion": 2, "manifests": [index]});
    files.push(("index.json".to_owned(), serde_json::to_vec(&index).unwrap()));
    files
}

#[test]
fn an_index_gives_the_image_for_this_machine() {
    let sandbox = Sandbox::new();
    let all = sandbox.write(
        "all.tar",
        &archive(&oci_index(&["s390x", &host(), "riscv64"])),
    );
    assert_eq!(sandbox.ok(&["load", "-i", &all]), "Loaded image: many:v1\n");
    assert_eq!(sandbox.read("many:v1", "platform"), Some(host()));
    sandbox.ok(&["load", "-i", &all, "--platform", "linux/riscv64"]);
    assert_eq!(
        sandbox.read("many:v1", "platform").as_deref(),
        Some("riscv64")
    );
    let others = sandbox.write("others.tar", &archive(&oci_index(&["s390x", "riscv64"])));
    let error = sandbox.fails(&["load", "-i", &others]);
    assert!(
        error.contains("only for linux/s390x, linux/riscv64"),
        "{error}"
    );
}

/// The same with `index.json` listing the images itself, after a statement about
/// one of them; what each is for only if `told`.
fn flat_index(platforms: &[&str], told: bool) -> Vec<(String, Vec<u8>)> {
    let mut files = oci_index(platforms);
    let top: serde_json::Value = serde_json::from_slice(&files.pop().unwrap().1).unwrap();
    let digest = top["manifests"][0]["digest"].as_str().unwrap();
    let path = format!("blobs/sha256/{}", &digest[7..]);
    let inner = files.iter().find(|(name, _)| *name == path).unwrap();
    let mut index: serde_json::Value = serde_json::from_slice(&inner.1).unwrap();
    let manifests = index["manifests"].as_array_mut().unwrap();
    if !told {
        for entry in manifests.iter_mut() {
            entry.as_object_mut().unwrap().remove("platform");
        }
    }
    let layer = br#"{"_type":"https://in-toto.io/Statement/v0.1"}"#.to_vec();
    let mut blob = |bytes: Vec<u8>, media_type: &str| {
        let digest = sha256(&bytes);
        let size = bytes.len();
        files.push((format!("blobs/sha256/{}", digest.digest()), bytes));
        json!({"mediaType": media_type, "digest": digest.to_string(), "size": size})
    };
    let statement = json!({
        "schemaVersion": 2,
        "config": blob(b"{}".to_vec(), "application/vnd.oci.image.config.v1+json"),
        "layers": [blob(layer, "application/vnd.in-toto+json")],
    });
    let statement = serde_json::to_vec(&statement).unwrap();
    let mut entry = blob(statement, "application/vnd.oci.image.manifest.v1+json");
    entry["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    entry["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
    manifests.insert(0, entry);
    let (index, nested) = match told {
        true => (index, None),
        // One more index around it: there is no name that tells them apart.
        false => {
            let bytes = serde_json::to_vec(&index).unwrap();
            let outer = blob(bytes, "application/vnd.oci.image.index.v1+json");
            (json!({"schemaVersion": 2, "manifests": [outer]}), Some(()))
        }
    };
    assert_eq!(nested.is_some(), !told);
    files.push(("index.json".to_owned(), serde_json::to_vec(&index).unwrap()));
    files
}

#[test]
fn the_wanted_one_is_found_wherever_it_stands() {
    let sandbox = Sandbox::new();
    for told in [true, false] {
        let files = flat_index(&["s390x", &host(), "riscv64"], told);
        let all = sandbox.write("all.tar", &archive(&files));
        let directory = sandbox.path("layout");
        for (name, bytes) in &files {
            let path = directory.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let layout = format!("oci:{}", directory.display());
        for (flags, platform) in [
            (&[][..], host()),
            (&["--platform", "linux/riscv64"], "riscv64".to_owned()),
        ] {
            for from in [all.as_str(), directory.to_str().unwrap()] {
                let loaded = sandbox.ok(&[&["load", "-q", "-i", from], flags].concat());
                let id = loaded.trim().strip_prefix("Loaded image ID: ").unwrap();
                sandbox.ok(&["tag", id, "x"]);
                assert_eq!(sandbox.read("x", "platform"), Some(platform.clone()));
                sandbox.ok(&["rmi", "x"]);
            }
            sandbox.ok(&[&["copy", "-q", &layout, "x"], flags].concat());
            assert_eq!(sandbox.read("x", "platform"), Some(platform.clone()));
            sandbox.ok(&["rmi", "x"]);
        }
        fs::remove_dir_all(&directory).unwrap();
    }
}

#[test]
fn a_configuration_need_not_say_what_it_is_for() {
    let sandbox = Sandbox::new();
    let layers = sample_layers();
    let mut files = Vec::new();
    let mut value: serde_json::Value = serde_json::from_slice(&config(&layers, "x")).unwrap();
    let object = value.as_object_mut().unwrap();
    object.remove("architecture");
    object.remove("os");
    let bytes = serde_json::to_vec(&value).unwrap();
    let names: Vec<String> = (0..layers.len())
        .map(|n| format!("{n}/layer.tar"))
        .collect();
    let manifest = json!([{"Config": "c.json", "RepoTags": ["x:1"], "Layers": names}]);
    files.push(("c.json".to_owned(), bytes));
    files.extend(names.into_iter().zip(layers));
    files.push((
        "manifest.json".to_owned(),
        serde_json::to_vec(&manifest).unwrap(),
    ));
    let file = sandbox.write("x.tar", &archive(&files));
    sandbox.ok(&["load", "-i", &file]);
    check_sample(&sandbox, "x:1");
    sandbox.ok(&["check", "-q"]);
}

#[test]
fn damage_is_an_error_and_leaves_nothing() {
    let sandbox = Sandbox::new();
    let layers = sample_layers();
    let whole = docker_archive(&[("x", &layers)], &host());
    let refused = |name: &str, bytes: &[u8], needle: &str| {
        let file = sandbox.write("broken.tar", bytes);
        let error = sandbox.fails(&["load", "-i", &file]);
        assert!(
            error.contains("broken.tar") && error.contains(needle),
            "{name}: {error}"
        );
        assert_eq!(sandbox.ok(&["images", "-q"]), "", "{name}");
        sandbox.is_tidy();
    };
    for cut in [100, 700, 3000, whole.len() / 2] {
        refused("truncated", &whole[..cut], "");
    }
    refused("no archive", &tar(&[("etc/passwd", "x")]), "manifest.json");
    refused("no tar", &[b'x'; 5000], "not a tar header");
    refused("nothing", b"", "manifest.json");

    let at = whole.windows(6).position(|w| w == b"middle").unwrap();
    let mut changed = whole.clone();
    changed[at] = b'M';
    refused("changed file", &changed, "damaged");
    let gzip = |bytes: &[u8]| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), Default::default());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    };
    let compressed = gzip(&whole);
    refused("truncated gzip", &compressed[..compressed.len() - 20], "");

    let mut files = oci_index(&[&host()]);
    let config_at = files
        .iter()
        .position(|(_, b)| b.starts_with(b"{\"arch"))
        .unwrap();
    files[config_at].1.push(b' ');
    refused("changed configuration", &archive(&files), "damaged");
    let mut files = oci_index(&[&host()]);
    let layer_at = files
        .iter()
        .position(|(_, b)| b.starts_with(b"platform"))
        .unwrap();
    files[layer_at].1.extend([0; 512]);
    refused("longer layer", &archive(&files), "damaged");
    files.remove(layer_at);
    refused("missing layer", &archive(&files), "the archive has no");

    // A plain tar has no digest: its end mark must be there.
    let plain = tar(&[("a", &"x".repeat(3000))]);
    for cut in [600, plain.len() - 1024] {
        let file = sandbox.write("cut.tar", &plain[..cut]);
        let error = sandbox.fails(&["import", &file]);
        assert!(error.contains("truncated"), "{cut}: {error}");
    }
    let file = sandbox.write("empty", b"");
    assert!(sandbox.fails(&["import", &file]).contains("not a tar"));
    sandbox.is_tidy();
}

#[test]
fn hostile_tars_are_refused_by_name() {
    let sandbox = Sandbox::new();
    let canary = sandbox.write("canary", b"alive");
    for name in ["../../canary", "a/../../canary", "..", "x/.."] {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(0);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend([0; 1024]);
        let file = sandbox.write("evil.tar", &bytes);
        let error = sandbox.fails(&["import", &file]);
        assert!(error.contains(&format!("{name:?}")), "{error}");
    }
    let mut builder = tar::Builder::new(Vec::new());
    link(&mut builder, tar::EntryType::Link, "in", "../../canary");
    let file = sandbox.write("evil.tar", &builder.into_inner().unwrap());
    assert!(sandbox.fails(&["import", &file]).contains("\"in\""));

    // Through links everything lands inside.
    let mut builder = tar::Builder::new(Vec::new());
    let outside = sandbox.dir.path().to_str().unwrap();
    link(&mut builder, tar::EntryType::Symlink, "out", outside);
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o644);
    builder
        .append_data(&mut header, "out/canary", &b"dead!"[..])
        .unwrap();
    let file = sandbox.write("evil.tar", &builder.into_inner().unwrap());
    sandbox.ok(&["import", &file, "evil"]);
    assert_eq!(fs::read(&canary).unwrap(), b"alive");
    assert_eq!(sandbox.read("evil", "out/canary").as_deref(), Some("dead!"));
    sandbox.ok(&["rmi", "evil"]);
    assert_eq!(fs::read(&canary).unwrap(), b"alive");
    sandbox.is_tidy();
}

#[test]
fn an_image_of_120_layers_works() {
    let sandbox = Sandbox::new();
    let layers: Vec<Vec<u8>> = (0..120)
        .map(|n| {
            let hidden = format!("d/.wh.f{}", n - 1);
            let mut entries = vec![("d/", ""), ("d/last", "x")];
            let (own, number) = (format!("d/f{n}"), n.to_string());
            entries.push((&own, &number));
            if n % 2 == 1 {
                entries.push((&hidden, ""));
            }
            tar(&entries)
        })
        .collect();
    let file = sandbox.write("a.tar", &docker_archive(&[("deep", &layers)], &host()));
    sandbox.ok(&["load", "-i", &file]);
    assert_eq!(sandbox.lowers("deep").len(), 120);
    assert_eq!(sandbox.read("deep", "d/f119").as_deref(), Some("119"));
    assert_eq!(sandbox.read("deep", "d/f118"), None);
    let copy = sandbox.path("copy");
    let mut owners = Owners::new(&sandbox.path(""));
    flatten(&sandbox.lowers("deep"), &copy, &mut owners).unwrap();
    assert_eq!(fs::read_dir(copy.join("d")).unwrap().count(), 61);
    sandbox.ok(&["rmi", "deep"]);
    sandbox.is_tidy();
}

#[test]
fn a_full_disk_leaves_nothing_half_made() {
    let sandbox = Sandbox::new();
    let mut layers = sample_layers();
    // Does not compress, so that the blob alone fills the disk.
    let mut noise = vec![0; 6 << 20];
    File::open("/dev/urandom")
        .unwrap()
        .read_exact(&mut noise)
        .unwrap();
    let text: String = noise
        .iter()
        .map(|byte| char::from(byte % 64 + 48))
        .collect();
    layers.push(tar(&[("big", &text)]));
    let file = sandbox.write("a.tar", &docker_archive(&[("x", &layers)], &host()));
    let bryo = env!("CARGO_BIN_EXE_bryo");
    let mount = sandbox.path("small");
    fs::create_dir(&mount).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=5m none {mount} && export BRYO_ROOT={mount}/b
         {bryo} load -i {file}; echo status $?
         {bryo} images -q; ls {mount}/b/tmp {mount}/b/layers/single {mount}/b/images/blobs/sha256
         df --output=used {mount} | tail -1",
        mount = mount.display()
    );
    let args = ["--user", "--map-root-user", "--mount", "sh", "-c", &script];
    let output = Command::new("unshare").args(args).output().unwrap();
    let (out, err) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert!(out.starts_with("status 1\n"), "{out}{err}");
    assert!(
        err.contains("No space left on device") || err.contains("ENOSPC"),
        "{err}"
    );
    let rest: Vec<&str> = out
        .lines()
        .skip(1)
        .filter(|line| !line.trim().is_empty())
        .collect();
    let used: u64 = rest.last().unwrap().trim().parse().unwrap();
    assert!(used < 200, "{used} KiB are still in use: {out}");
    assert!(
        rest.iter().all(|line| line.len() < 64),
        "blobs are left: {out}"
    );
}

#[test]
fn killing_a_load_anywhere_does_no_harm() {
    let sandbox = Sandbox::new();
    let layers: Vec<Vec<u8>> = (0..6)
        .map(|layer| {
            let files: Vec<(String, String)> = (0..150)
                .map(|n| (format!("d{layer}/f{n}"), format!("{layer} {n} ").repeat(n)))
                .collect();
            let mut entries = vec![(format!("d{layer}/"), String::new())];
            entries.extend(files);
            let entries: Vec<(&str, &str)> = entries
                .iter()
                .map(|(a, b)| (a.as_str(), b.as_str()))
                .collect();
            tar(&entries)
        })
        .collect();
    let file = sandbox.write("a.tar", &docker_archive(&[("x", &layers)], &host()));
    let start = Instant::now();
    sandbox.ok(&["load", "-i", &file]);
    let whole = start.elapsed();
    sandbox.ok(&["rmi", "x"]);
    let points: u32 = 25;
    for point in 0..points {
        let mut child = sandbox
            .command(&["load", "-i", &file])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(whole * point / points);
        child.kill().unwrap();
        child.wait().unwrap();
        // What is listed is whole.
        if sandbox.ok(&["images", "-q"]).is_empty() {
            assert!(sandbox.store().find("x").unwrap().is_none());
        } else {
            assert_eq!(sandbox.read("x", "d5/f3").as_deref(), Some("5 3 5 3 5 3 "));
        }
        match point % 3 {
            0 => drop(sandbox.ok(&["load", "-i", &file])),
            1 => drop(sandbox.command(&["rmi", "x"]).output()),
            _ => {}
        }
    }
    sandbox.ok(&["load", "-i", &file]);
    assert_eq!(sandbox.read("x", "d0/f2").as_deref(), Some("0 2 0 2 "));
    sandbox.is_tidy();
    sandbox.ok(&["rmi", "x"]);
    sandbox.is_tidy();
}

#[test]
fn many_at_once_do_not_disturb_each_other() {
    let sandbox = Sandbox::new();
    let layers = sample_layers();
    let file = sandbox.write("a.tar", &docker_archive(&[("x", &layers)], &host()));
    let plain = sandbox.write("t.tar", &layers[0]);
    thread::scope(|scope| {
        for n in 0..8 {
            let (sandbox, file, plain) = (&sandbox, &file, &plain);
            scope.spawn(move || {
                let name = format!("n{n}");
                for _ in 0..3 {
                    match n % 2 {
                        0 => drop(sandbox.ok(&["load", "-i", file])),
                        _ => drop(sandbox.ok(&["import", plain, &name])),
                    }
                    sandbox.ok(&["images"]);
                    if n % 2 == 1 {
                        sandbox.ok(&["rmi", &name]);
                    }
                }
            });
        }
    });
    check_sample(&sandbox, "x");
    sandbox.ok(&["rmi", "x"]);
    sandbox.is_tidy();
    assert_eq!(sandbox.ok(&["images", "-q"]), "");
}

#[test]
fn nothing_waits_for_a_load_but_removal() {
    let sandbox = Sandbox::new();
    let file = sandbox.write("t.tar", &tar(&[("a", "x")]));
    sandbox.ok(&["import", &file, "x"]);
    // An import whose input does not come.
    let mut stuck = sandbox.command(&["import", "-", "y"]);
    let mut stuck = stuck
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("it to begin", || {
        let mut begun = fs::read_dir(sandbox.root().join("tmp")).unwrap();
        begun.next().map(drop)
    });
    sandbox.ok(&["images"]);
    sandbox.ok(&["import", &file, "z"]);
    sandbox.ok(&["tag", "z", "w"]);
    stuck.kill().unwrap();
    stuck.wait().unwrap();
    sandbox.ok(&["rmi", "x", "z", "w"]);
    // What unpacked for it ends with it, a moment later.
    wait_for("what it left is swept", || {
        sandbox.ok(&["check", "-q", "--quick"]);
        let mut left = fs::read_dir(sandbox.root().join("tmp")).unwrap();
        left.next().is_none().then_some(())
    });
    sandbox.is_tidy();
}

#[test]
fn plain_directories_and_tars_are_sources() {
    let sandbox = Sandbox::new();
    let store = sandbox.store();
    let created = "2020-01-01T00:00:00Z";
    let file = sandbox.write("t.tar", &tar(&[("a", "1")]));
    let source = Source::parse(&format!("tar:{file}")).unwrap();
    let resolve = || match source.resolve(&store, None, created, &Quiet).unwrap() {
        Some(Resolved::Image(image)) => image.id,
        other => panic!("{other:?}"),
    };
    let first = resolve();
    assert_eq!(resolve(), first);
    // A changed file is read again, and its old image has no source any more.
    fs::write(&file, tar(&[("a", "22")])).unwrap();
    assert_ne!(resolve(), first);
    assert_eq!(store.list().unwrap().len(), 2);
    let dir = sandbox.dir.path().to_str().unwrap();
    let source = Source::parse(&format!("dir:{dir}")).unwrap();
    let resolved = source.resolve(&store, None, created, &Quiet).unwrap();
    assert!(matches!(resolved, Some(Resolved::Directory(path)) if path.is_dir()));
    let missing = Source::parse("nothing").unwrap();
    assert!(
        missing
            .resolve(&store, None, created, &Quiet)
            .unwrap()
            .is_none()
    );
}

#[test]
fn the_busybox_recipe_makes_the_same_tar_again() {
    let sandbox = Sandbox::new();
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("images/busybox");
    let recipe = recipe.to_str().unwrap();
    let tars: Vec<Vec<u8>> = ["1", "2"]
        .iter()
        .map(|name| {
            let path = sandbox.path(name);
            tool("busybox-static", &[recipe, path.to_str().unwrap()]);
            fs::read(path).unwrap()
        })
        .collect();
    assert!(tars[0] == tars[1]);
    sandbox.ok(&["import", sandbox.path("1").to_str().unwrap(), "bb"]);
    assert!(
        sandbox
            .read("bb", "/etc/passwd")
            .unwrap()
            .starts_with("root:")
    );
    assert!(sandbox.lowers("bb")[0].join("bin/sh").exists());
}
