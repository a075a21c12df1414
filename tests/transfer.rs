//! Images from one place to another, and lists of images for several
//! platforms.

use crate::common::hostile::{Answer, Hostile, tar_of};
use crate::common::registry::{Kind, Registry, USER};
use crate::common::{Run, Sandbox, busybox_tar, require_tool};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

fn copy(sandbox: &Sandbox, from: &str, to: &str) -> String {
    let copy = sandbox.bryo(["copy", "--retry", "0", from, to]).stdout();
    copy.strip_prefix("Digest: ").unwrap().to_owned()
}

fn skopeo(sandbox: &Sandbox, verb: &str) -> Run {
    let skopeo = sandbox.command(require_tool("skopeo", "skopeo"));
    skopeo.args(["--insecure-policy", verb])
}

/// The digest of what skopeo sees in a place.
fn digest(sandbox: &Sandbox, place: &str) -> String {
    let mut inspect = skopeo(sandbox, "inspect").args(["--format", "{{.Digest}}"]);
    if place.starts_with("docker://") {
        inspect = inspect.arg("--tls-verify=false");
    }
    inspect.arg(place).stdout()
}

/// The configuration's digest, the same wherever an image goes.
fn id(sandbox: &Sandbox, place: &str) -> String {
    let mut inspect = skopeo(sandbox, "inspect").args(["--config", "--raw"]);
    if place.starts_with("docker://") {
        inspect = inspect.arg("--tls-verify=false");
    }
    let config = inspect.arg(place).output().expect(0).stdout;
    bryo::image::digest::sha256(config.as_bytes()).to_string()
}

#[test]
fn images_go_from_any_place_to_any_other() {
    let sandbox = Sandbox::with_busybox();
    let one = Registry::start(&sandbox);
    let two = Registry::start(&sandbox);
    let image = sandbox.inspect("busybox");
    let (own, own_id) = (
        image["Digest"].as_str().unwrap(),
        image["Id"].as_str().unwrap(),
    );
    let start = format!("docker://{}", one.name("start:1"));
    assert_eq!(copy(&sandbox, "busybox", &start), own);
    let forms = ["docker-archive", "oci-archive", "oci", "docker", "store"];
    let place = |form: &str, name: &str| match form {
        "docker" => format!("docker://{}", two.name(&format!("{name}:1"))),
        "store" => format!("store:{name}:1"),
        form => format!("{form}:{name}.{form}:{name}:1"),
    };
    let mut places = vec![start.clone()];
    for form in forms {
        let first = place(form, "first");
        copy(&sandbox, &start, &first);
        if form != "store" {
            assert_eq!(id(&sandbox, &first), own_id, "{first}");
        }
        places.push(first);
    }
    for (n, from) in places.iter().enumerate() {
        for form in forms {
            let to = place(form, &format!("copy{n}"));
            let said = copy(&sandbox, from, &to);
            // A docker-archive has plain layers and no manifest of its own.
            let keeps = !from.starts_with("docker-archive") && form != "docker-archive";
            assert!(!keeps || said == own, "{from} {to}");
            if form == "store" {
                let name = to.trim_start_matches("store:");
                assert_eq!(sandbox.inspect(name)["Id"], own_id, "{from} {to}");
            } else {
                assert_eq!(id(&sandbox, &to), own_id, "{from} {to}");
                assert!(
                    form == "docker-archive" || said == digest(&sandbox, &to),
                    "{from} {to}"
                );
            }
        }
    }
    // What came out of a docker-archive is compressed for a registry.
    let raw = skopeo(&sandbox, "inspect").args(["--tls-verify=false", "--raw"]);
    let raw = raw.arg(place("docker", "copy1")).stdout();
    assert!(raw.contains("tar+gzip"), "{raw}");
    sandbox
        .run(&["--network", "none", "copy2:1", "true"])
        .expect(0);
    // Between registries of one server nothing is sent that can be mounted.
    let sent = two.count("PATCH ") + two.count("PUT /v2/mounted/blobs/");
    let from = place("docker", "copy0");
    copy(
        &sandbox,
        &from,
        &format!("docker://{}", two.name("mounted:1")),
    );
    assert_eq!(
        two.count("PATCH ") + two.count("PUT /v2/mounted/blobs/"),
        sent
    );
    assert!(two.count("POST /v2/mounted/blobs/uploads/?mount=") > 0);

    for (from, to, why) in [
        ("busybox", "docker-daemon:x", "images are copied between"),
        ("none", "oci:x:1", "No such image"),
        ("oci:none:1", "x", "No such image"),
        ("docker-archive:none.tar", "x", "none.tar"),
        ("busybox", "docker://127.0.0.1:1/x", "refused"),
        ("busybox", "docker://A/B", "invalid"),
    ] {
        let output = sandbox.bryo(["copy", "--retry", "0", from, to]).output();
        let output = output.expect(1);
        assert!(output.stderr.contains(why), "{output}");
    }
    let left = fs::read_dir(sandbox.root().join("parts")).unwrap().count();
    assert_eq!(left, 0);
    let check = sandbox.bryo(["check", "-q"]).output().expect(0);
    assert!(check.stdout.contains("sound"), "{check}");
}

#[test]
fn each_registry_gets_its_own_password() {
    let sandbox = Sandbox::with_busybox();
    let kind = Kind {
        password: true,
        ..Kind::default()
    };
    let one = Registry::start_as(&sandbox, kind);
    let two = Registry::start(&sandbox);
    let creds = format!("{}:{}", USER.0, USER.1);
    let name = format!("docker://{}", one.name("x:1"));
    let target = format!("docker://{}", two.name("x:1"));
    let push = sandbox.bryo(["copy", "--dest-creds", &creds, "busybox", &name]);
    push.output().expect(0);
    let refused = sandbox.bryo(["copy", &name, &target]).output().expect(1);
    assert!(refused.stderr.contains("401"), "{refused}");
    let copy = sandbox.bryo(["copy", "-q", "--src-creds", &creds, &name, &target]);
    assert_eq!(copy.stdout(), "");
}

#[test]
fn lists_are_put_together_and_pushed() {
    let sandbox = Sandbox::with_busybox();
    let registry = Registry::start(&sandbox);
    let remote = registry.name("arm/busybox:1");
    let import = ["import", "--platform", "linux/arm64"];
    let tar = crate::common::busybox_tar();
    sandbox.bryo(import).arg(&tar).arg("arm").output().expect(0);
    sandbox.bryo(["push", "arm", &remote]).output().expect(0);
    let arm = sandbox.inspect("arm")["Digest"]
        .as_str()
        .unwrap()
        .to_owned();
    sandbox.bryo(["rmi", "arm"]).output().expect(0);
    let ours = sandbox.inspect("busybox")["Digest"]
        .as_str()
        .unwrap()
        .to_owned();

    let list = registry.name("all/busybox:1");
    let create = ["manifest", "create", &list, "busybox"];
    assert_eq!(sandbox.bryo(create).stdout(), list);
    let again = sandbox.bryo(create).output().expect(1);
    assert!(again.stderr.contains("--amend"), "{again}");
    let add = ["manifest", "add", "--platform", "linux/arm64", &list];
    sandbox.bryo(add).arg(&remote).output().expect(0);
    let inspect = |name: &str| -> Value {
        let text = sandbox.bryo(["manifest", "inspect", name]).stdout();
        serde_json::from_str(&text).unwrap()
    };
    let shown = inspect(&list);
    assert_eq!(shown["manifests"][0]["digest"], ours.as_str());
    assert_eq!(shown["manifests"][1]["digest"], arm.as_str());
    assert_eq!(shown["manifests"][1]["platform"]["architecture"], "arm64");
    let digest = sandbox
        .bryo(["manifest", "push", "-q", "--rm", &list])
        .stdout();
    sandbox.bryo(["manifest", "rm", &list]).output().expect(1);
    assert_eq!(inspect(&list), shown, "the registry has what was here");
    assert_eq!(
        inspect(&remote)["mediaType"],
        "application/vnd.oci.image.manifest.v1+json"
    );

    // Others find both, and so do we.
    for (architecture, expected) in [("amd64", &ours), ("arm64", &arm)] {
        let name = format!("docker://{list}");
        let inspect = skopeo(&sandbox, "inspect").args(["--tls-verify=false", "--raw"]);
        inspect.arg(&name).output().expect(0);
        let to = format!("oci:from-skopeo:{architecture}");
        let pulled = skopeo(&sandbox, "copy").args(["-q", "--src-tls-verify=false"]);
        let pulled = pulled.args(["--override-arch", architecture, &name, &to]);
        pulled.output().expect(0);
        assert_eq!(&self::digest(&sandbox, &to), expected);
        let other = Sandbox::new();
        let platform = format!("linux/{architecture}");
        let pull = other
            .bryo(["pull", "--platform", &platform, &list])
            .output()
            .expect(0);
        assert!(pull.stdout.contains(&digest), "{pull}");
        assert_eq!(other.inspect(&list)["Digest"], expected.as_str());
    }
    // The whole index goes from registry to registry.
    let two = Registry::start(&sandbox);
    let to = two.name("b:1");
    let (from, to) = (format!("docker://{list}"), format!("docker://{to}"));
    let copied = sandbox.bryo(["copy", "--all", &from, &to]).stdout();
    assert_eq!(copied, format!("Digest: {digest}"));
    assert_eq!(self::digest(&sandbox, &to), digest);
    let all = ["manifest", "create", "--all", "again"];
    sandbox.bryo(all).arg(&from).output().expect(0);
    assert_eq!(inspect("again")["manifests"].as_array().unwrap().len(), 2);
    sandbox
        .bryo(["manifest", "remove", "again", &arm])
        .output()
        .expect(0);
    assert_eq!(inspect("again")["manifests"].as_array().unwrap().len(), 1);
    sandbox.bryo(["manifest", "rm", "again"]).output().expect(0);
}

/// A blob of the OCI layout in `layout`, described.
fn blob(layout: &Path, bytes: &[u8], media_type: &str) -> Value {
    let digest = bryo::image::digest::sha256(bytes);
    let directory = layout.join("blobs/sha256");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join(digest.digest()), bytes).unwrap();
    json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()})
}

/// A manifest of a registry, byte for byte.
fn raw(sandbox: &Sandbox, place: &str) -> String {
    let inspect = skopeo(sandbox, "inspect").args(["--raw", "--tls-verify=false"]);
    inspect.arg(place).output().expect(0).stdout
}

#[test]
fn what_a_manifest_says_beside_goes_with_the_image() {
    let sandbox = Sandbox::with_busybox();
    let registry = Registry::start(&sandbox);
    // An image, what was stated about it, and what is no image at all.
    let layout = sandbox.work().join("layout");
    let tar = fs::read(busybox_tar()).unwrap();
    let layer = blob(&layout, &tar, "application/vnd.oci.image.layer.v1.tar");
    let host = bryo::image::platform::Platform::host().architecture;
    let config = json!({
        "os": "linux", "architecture": host,
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    });
    let config = serde_json::to_vec(&config).unwrap();
    let config = blob(&layout, &config, "application/vnd.oci.image.config.v1+json");
    let mut manifest = json!({"schemaVersion": 2, "config": config, "layers": [layer]});
    let oci = "application/vnd.oci.image.manifest.v1+json";
    let about = blob(&layout, b"{}", "application/vnd.oci.empty.v1+json");
    manifest["mediaType"] = json!(oci);
    manifest["annotations"] = json!({"org.example": "kept"});
    manifest["layers"][0]["annotations"] = json!({"layer": "kept"});
    manifest["subject"] = json!({"mediaType": oci, "size": 2, "digest": about["digest"]});
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let mut image = blob(&layout, &bytes, oci);
    image["platform"] = json!({"os": "linux", "architecture": host});
    let statement = blob(
        &layout,
        b"{\"_type\":\"x\"}",
        "application/vnd.in-toto+json",
    );
    let artifact = json!({
        "schemaVersion": 2, "mediaType": oci, "artifactType": "application/x-sbom",
        "config": about, "layers": [statement],
    });
    let mut artifact = blob(&layout, &serde_json::to_vec(&artifact).unwrap(), oci);
    artifact["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    let all = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
                     "manifests": [artifact, image]});
    let mut entry = blob(
        &layout,
        &serde_json::to_vec(&all).unwrap(),
        "application/vnd.oci.image.index.v1+json",
    );
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": "all"});
    let index = json!({"schemaVersion": 2, "manifests": [entry]});
    fs::write(
        layout.join("index.json"),
        serde_json::to_vec(&index).unwrap(),
    )
    .unwrap();
    fs::write(
        layout.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();

    // Its plain layer is compressed on the way, so that its manifest is new.
    let from = format!("oci:{}:all", layout.display());
    let one = format!("docker://{}", registry.name("one:1"));
    copy(&sandbox, &from, &one);
    let raw_one = raw(&sandbox, &one);
    let sent: Value = serde_json::from_str(&raw_one).unwrap();
    assert_ne!(sent["layers"][0]["digest"], manifest["layers"][0]["digest"]);
    assert!(
        sent["layers"][0]["mediaType"]
            .as_str()
            .unwrap()
            .ends_with("gzip"),
        "{sent}"
    );
    for key in ["annotations", "subject", "mediaType", "config"] {
        assert_eq!(sent[key], manifest[key], "{sent}");
    }
    assert_eq!(sent["layers"][0]["annotations"]["layer"], "kept", "{sent}");

    // All of it, byte for byte.
    let there = format!("docker://{}", registry.name("all:1"));
    let push = skopeo(&sandbox, "copy").args(["--all", "--dest-tls-verify=false", &from]);
    push.arg(&there).output().expect(0);
    let other = Registry::start(&sandbox);
    let target = format!("docker://{}", other.name("all:1"));
    sandbox
        .bryo(["copy", "--all", &there, &target])
        .output()
        .expect(0);
    assert_eq!(raw(&sandbox, &there), raw(&sandbox, &target));
    let part = |name: &str| {
        let digest = artifact["digest"].as_str().unwrap();
        let name = format!("{}@{digest}", name.strip_suffix(":1").unwrap());
        raw(&sandbox, &name)
    };
    assert_eq!(part(&there), part(&target));
    // By way of layouts and an archive of one.
    let all = |from: &str, to: &str| {
        sandbox.bryo(["copy", "--all", from, to]).output().expect(0);
    };
    all(&there, "oci:first:all");
    all("oci:first:all", "oci-archive:first.tar:all");
    all("oci-archive:first.tar:all", "oci:second:again");
    all(&there, "oci-archive:there.tar:all");
    let archives = ["first.tar", "there.tar"].map(|n| fs::read(sandbox.work().join(n)).unwrap());
    assert!(archives[0] == archives[1]);
    let back = format!("docker://{}", other.name("archive:1"));
    let push = skopeo(&sandbox, "copy").args(["--all", "--dest-tls-verify=false"]);
    let push = push.args(["oci-archive:there.tar:all", &back]);
    push.output().expect(0);
    assert_eq!(raw(&sandbox, &there), raw(&sandbox, &back));
    // What holds one image has no more.
    all("busybox", "oci:busybox:x");
    assert_eq!(
        id(&sandbox, "oci:busybox:x"),
        sandbox.inspect("busybox")["Id"]
    );
    all("oci:first:all", "oci:second:more");
    let back = format!("docker://{}", other.name("back:1"));
    all("oci:second", &back);
    assert_eq!(raw(&sandbox, &there), raw(&sandbox, &back));
    assert_eq!(part(&there), part(&back));
    let refused = sandbox.bryo(["copy", "--all", &there, "docker-archive:x.tar"]);
    let refused = refused.output().expect(1).stderr;
    assert!(refused.contains("--all copies to"), "{refused}");
    // The image among them is found, and the other is no image.
    sandbox
        .bryo(["pull", "--tls-verify=false", &other.name("all:1")])
        .output()
        .expect(0);
    let name = format!(
        "{}@{}",
        other.name("all"),
        artifact["digest"].as_str().unwrap()
    );
    let refused = sandbox
        .bryo(["pull", "--tls-verify=false", &name])
        .output()
        .expect(1);
    assert!(refused.stderr.contains("application/x-sbom"), "{refused}");
}

/// A layout with nothing in it yet.
fn layout_in(sandbox: &Sandbox, entry: Value) -> std::path::PathBuf {
    let layout = sandbox.work().join("layout");
    fs::create_dir_all(&layout).unwrap();
    let index = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": [entry]})).unwrap();
    fs::write(layout.join("index.json"), index).unwrap();
    let version = r#"{"imageLayoutVersion":"1.0.0"}"#;
    fs::write(layout.join("oci-layout"), version).unwrap();
    layout
}

/// Layers that may not be given on stay where their manifest says, and are fetched
/// from there.
#[test]
fn layers_that_are_elsewhere_stay_there() {
    let sandbox = Sandbox::new();
    let (one, two) = (Registry::start(&sandbox), Registry::start(&sandbox));
    let extra = tar_of("extra", b"from elsewhere");
    let digest = bryo::image::digest::sha256(&extra).to_string();
    let (bytes, size) = (extra.clone(), extra.len());
    let elsewhere = Hostile::start(move |_| Answer::ok(bytes.clone()));
    let layout = sandbox.work().join("layout");
    let tar = fs::read(busybox_tar()).unwrap();
    // Nobody knows this type, and it is a tar all the same.
    let below = blob(&layout, &tar, "application/vnd.example.strange.tar");
    let above = json!({
        "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "digest": digest, "size": size,
        "urls": [format!("http://{}/extra", elsewhere.host)],
    });
    // Neither does it say what it is for.
    let config = json!({"rootfs": {"type": "layers", "diff_ids": [below["digest"], digest]}});
    let config = serde_json::to_vec(&config).unwrap();
    let config = blob(&layout, &config, "application/vnd.oci.image.config.v1+json");
    let oci = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({"schemaVersion": 2, "mediaType": oci, "config": config,
                          "layers": [below, above]});
    let mut entry = blob(&layout, &serde_json::to_vec(&manifest).unwrap(), oci);
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": "x"});
    let layout = layout_in(&sandbox, entry);
    let from = format!("oci:{}:x", layout.display());
    let first = format!("docker://{}", one.name("a:1"));
    let all = |from: &str, to: &str| {
        sandbox.bryo(["copy", "--all", from, to]).output().expect(0);
    };
    all(&from, &first);
    let second = format!("docker://{}", two.name("a:1"));
    all(&first, &second);
    all(&second, "oci:again:x");
    let third = format!("docker://{}", two.name("b:1"));
    all("oci:again:x", &third);
    for place in [&second, &third] {
        assert_eq!(raw(&sandbox, place), raw(&sandbox, &from), "{place}");
    }
    assert_eq!(elsewhere.count("/extra"), 0);
    let refused = sandbox.bryo(["copy", &from, "store:x"]).output().expect(1);
    assert!(
        refused.stderr.contains("/extra\", where bryo pull"),
        "{refused}"
    );
    sandbox.bryo(["pull", &two.name("b:1")]).output().expect(0);
    let fetched = elsewhere.count("/extra");
    assert!(fetched > 0);
    let said = sandbox.shell_of(&two.name("b:1"), &[], "cat /extra");
    assert_eq!(said, "from elsewhere");
    // What is made of it still says so, and says what it is for.
    let run = sandbox.bryo(["run", "--name", "c", "--network", "none"]);
    let run = run.args([&two.name("b:1"), "touch", "/new"]);
    run.output().expect(0);
    sandbox
        .bryo(["commit", "-q", "c", "made"])
        .output()
        .expect(0);
    sandbox.bryo(["rm", "c"]).output().expect(0);
    let host = bryo::image::platform::Platform::host().architecture;
    assert_eq!(sandbox.inspect("made")["Architecture"], host.as_str());
    copy(&sandbox, "made", "oci:made:x");
    let made: Value = serde_json::from_str(&raw(&sandbox, "oci:made:x")).unwrap();
    assert_eq!(made["layers"][1]["urls"], manifest["layers"][1]["urls"]);
    // From the store it is not sent either, and podman does the same.
    let pushed = two.name("c:1");
    sandbox
        .bryo(["push", &two.name("b:1"), &pushed])
        .output()
        .expect(0);
    assert_eq!(
        raw(&sandbox, &format!("docker://{pushed}")),
        raw(&sandbox, &from)
    );
    let copy = skopeo(&sandbox, "copy").args(["-q", "--src-tls-verify=false"]);
    let to = format!("docker://{}", one.name("d:1"));
    let copy = copy.args([
        "--dest-tls-verify=false",
        &format!("docker://{pushed}"),
        &to,
    ]);
    copy.output().expect(0);
    assert_eq!(raw(&sandbox, &to), raw(&sandbox, &from));
    assert_eq!(elsewhere.count("/extra"), fetched);
    let sent = |registry: &Registry| registry.count(&format!("PUT /v2/c/blobs/uploads/{digest}"));
    assert_eq!((sent(&one), sent(&two)), (0, 0));
    // Who proves who he is does not lead to somebody who does not.
    let kind = Kind {
        tls: true,
        ..Kind::default()
    };
    let proven = Registry::start_as(&sandbox, kind);
    let trusting = |verb: &str| {
        let run = sandbox.bryo([verb, "--tls-verify"]);
        run.env("SSL_CERT_FILE", &proven.authority)
    };
    let name = proven.name("a:1");
    let copy = trusting("copy").args(["--all", &from, &format!("docker://{name}")]);
    copy.output().expect(0);
    sandbox.bryo(["rmi", "-a"]).output().expect(0);
    let pull = trusting("pull").arg(&name).output().expect(1);
    assert!(pull.stderr.contains("not by https"), "{pull}");
    assert_eq!(elsewhere.count("/extra"), fetched);
}

#[test]
fn directories_of_skopeo_are_places_too() {
    let sandbox = Sandbox::with_busybox();
    let at = |name: &str| format!("dir:{}", sandbox.work().join(name).display());
    copy(&sandbox, "busybox", &at("one"));
    skopeo(&sandbox, "copy")
        .args([&at("one"), &at("two")])
        .output()
        .expect(0);
    copy(&sandbox, &at("two"), "again");
    let id = |name: &str| sandbox.bryo(["images", "-q", "--no-trunc", name]).stdout();
    assert_eq!(id("again"), id("busybox"));
    sandbox.bryo(["rmi", "again"]).output().expect(0);
    sandbox.bryo(["rmi", "busybox"]).output().expect(0);
    let two = sandbox.work().join("two");
    let loaded = sandbox.bryo(["load", "-i"]).arg(&two).stdout();
    let loaded = loaded
        .trim()
        .strip_prefix("Loaded image ID: ")
        .unwrap()
        .to_owned();
    assert_eq!(sandbox.shell_of(&loaded, &[], "echo hi"), "hi");
    let config = fs::read_dir(&two).unwrap().count();
    assert_eq!(config, 4);
    fs::remove_file(two.join("manifest.json")).unwrap();
    let refused = sandbox.bryo(["load", "-i"]).arg(&two).output().expect(1);
    assert!(refused.stderr.contains("no image archive"), "{refused}");
}
