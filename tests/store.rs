//! The store: names, what is removed and when, archives that are written,
//! damage that is found and mended.

use crate::common::registry::Registry;
use crate::common::{Run, Sandbox, bryo, require_tool, wait_for};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Imports a tree with one file as an image.
fn image(sandbox: &Sandbox, name: &str, content: &str, changes: &[&str]) {
    let directory = format!("tree-{}", name.replace([':', '/'], "-"));
    sandbox.write(&format!("{directory}/file"), content);
    let tar = sandbox.command("tar").args(["-cf", "image.tar", "-C"]);
    tar.args([&directory, "."]).output().expect(0);
    let mut import = sandbox.bryo(["import", "image.tar", name]);
    for change in changes {
        import = import.args(["-c", change]);
    }
    import.output().expect(0);
}

fn names(sandbox: &Sandbox, flags: &[&str]) -> Vec<String> {
    let format = ["images", "--format", "{{.Repository}}:{{.Tag}}"];
    let list = sandbox.bryo(format).args(flags).stdout();
    let mut names: Vec<String> = list.lines().map(str::to_owned).collect();
    names.sort();
    names
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// All files below a directory with their sizes.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}

fn check(sandbox: &Sandbox) -> Run {
    sandbox.bryo(["check", "-q", "--retry", "0"])
}

fn sound(sandbox: &Sandbox) {
    let output = check(sandbox).output().expect(0);
    assert_eq!(output.stdout, "The store is sound.\n");
}

#[test]
fn what_containers_stand_on_is_looked_at() {
    let sandbox = Sandbox::with_busybox();
    let create = sandbox.bryo(["create", "--name", "c", "busybox", "true"]);
    create.output().expect(0);
    let run = sandbox.bryo(["run", "--rm", "--network", "none", "busybox", "true"]);
    run.output().expect(0);
    sound(&sandbox);
    let layers = sandbox.root().join("layers");
    let aside = sandbox.root().join("aside");
    fs::rename(&layers, &aside).unwrap();
    let found = check(&sandbox).output().expect(1);
    assert!(
        found.stdout.contains("container c: it stands on"),
        "{found}"
    );
    let mended = check(&sandbox).arg("--repair").output().expect(0);
    assert!(mended.stdout.contains("unpacked again"), "{mended}");
    sound(&sandbox);
    sandbox.bryo(["start", "-a", "c"]).output().expect(0);
    sandbox.bryo(["rm", "c"]).output().expect(0);
}

#[test]
fn names_are_taken_and_images_pruned() {
    let sandbox = Sandbox::with_busybox();
    image(&sandbox, "a:1", "one", &["LABEL kind=test"]);
    image(&sandbox, "b:1", "two", &[]);
    sandbox.bryo(["tag", "a:1", "a:2"]).output().expect(0);
    let wrong = sandbox.bryo(["untag", "a:1", "b:1"]).output().expect(1);
    assert!(wrong.stderr.contains("not called b:1"), "{wrong}");
    let untag = sandbox.bryo(["untag", "a:1", "a:2"]).output().expect(0);
    assert_eq!(untag.stdout, "Untagged: a:2\n");
    assert_eq!(names(&sandbox, &[]), ["a:1", "b:1", "busybox:latest"]);
    sandbox.bryo(["untag", "a:1"]).output().expect(0);
    assert_eq!(names(&sandbox, &["-f", "dangling=true"]), ["<none>:<none>"]);
    let not = names(&sandbox, &["-f", "dangling=false"]);
    assert_eq!(not, ["b:1", "busybox:latest"]);
    assert_eq!(names(&sandbox, &["-f", "reference=b*"]).len(), 2);
    sandbox.bryo(["images", "-f", "x=1"]).output().expect(1);
    sandbox.bryo(["image", "exists", "b:1"]).output().expect(0);
    sandbox.bryo(["image", "exists", "a:1"]).output().expect(1);

    // Without a name it may be pruned, if the filters agree.
    let prune = |args: &[&str]| {
        let prune = sandbox.bryo(["image", "prune"]).args(args).output();
        prune.expect(0).stdout
    };
    let asked = sandbox
        .bryo(["image", "prune"])
        .stdin("n\n")
        .output()
        .expect(0);
    assert!(asked.stderr.contains("without a name"), "{asked}");
    for keeps in ["label=kind=other", "label!=kind", "until=1h"] {
        let kept = prune(&["-f", "--filter", keeps]);
        assert_eq!(kept, "Total reclaimed space: 0B\n", "{keeps}");
    }
    let gone = prune(&["-f", "--filter", "label=kind=test"]);
    assert!(gone.starts_with("Deleted: sha256:"), "{gone}");
    // With --all, what no container uses.
    sandbox
        .bryo(["create", "--name", "c", "busybox", "true"])
        .output()
        .expect(0);
    let all = prune(&["-af"]);
    assert!(all.starts_with("Untagged: b:1\n"), "{all}");
    assert_eq!(names(&sandbox, &[]), ["busybox:latest"]);

    let df = |path: &str| {
        let lines = sandbox.bryo(["system", "df", "--format", "json"]).stdout();
        let kinds: Value = lines.lines().map(json).collect();
        kinds.pointer(path).unwrap().clone()
    };
    assert_eq!(df("/0/Active"), 1);
    assert_eq!(df("/0/ReclaimableBytes"), 0);
    assert!(df("/0/Bytes").as_u64().unwrap() > 500_000);
    assert_eq!(df("/1/TotalCount"), 1);
    let table = sandbox.bryo(["system", "df"]).stdout();
    assert!(table.starts_with("TYPE"), "{table}");
    sandbox.bryo(["system", "df", "-v"]).output().expect(0);
    let system = sandbox.bryo(["system", "prune", "-af"]).output().expect(0);
    assert!(
        system.stdout.contains("Untagged: busybox:latest"),
        "{system}"
    );
    assert_eq!(names(&sandbox, &[]), [""; 0]);
    assert_eq!(sandbox.bryo(["ps", "-aq"]).stdout(), "");
    wait_for("an empty store", || {
        let left = files(&sandbox.root());
        let blobs = left
            .iter()
            .filter(|f| f.iter().any(|part| part == "sha256"));
        let layers = left
            .iter()
            .filter(|f| f.iter().any(|part| part == "layers"));
        (blobs.count() + layers.count() == 0).then_some(())
    });
}

#[test]
fn images_are_described_as_docker_does() {
    let sandbox = Sandbox::with_busybox();
    image(&sandbox, "a:1", "one", &["CMD [\"/x\"]"]);
    let inspect = sandbox.bryo(["image", "inspect", "a:1"]).stdout();
    let inspect = &json(&inspect)[0];
    assert_eq!(inspect["RepoTags"][0], "a:1");
    assert!(
        inspect["RepoDigests"][0]
            .as_str()
            .unwrap()
            .starts_with("a@sha256:")
    );
    assert_eq!(inspect["Size"], 3);
    let id = sandbox
        .bryo(["image", "inspect", "-f", "{{.Id}}", "a:1"])
        .stdout();
    assert_eq!(inspect["Id"], id.as_str());
    let history = sandbox.bryo(["history", "a:1"]).stdout();
    assert!(history.contains("Imported from image.tar"), "{history}");
    let short = sandbox.bryo(["history", "-q", "a:1"]).stdout();
    assert_eq!(short, &id["sha256:".len()..][..12]);
    let tree = sandbox.bryo(["image", "tree", "a:1"]).stdout();
    assert!(tree.contains("Top Layer of: [a:1]"), "{tree}");
    for verb in ["ls", "list"] {
        let list = sandbox.bryo(["image", verb, "-q"]).stdout();
        assert_eq!(list.lines().count(), 2);
    }
    sandbox.bryo(["image", "rm", "a:1"]).output().expect(0);
    sandbox.bryo(["history", "a:1"]).output().expect(1);
}

#[test]
fn saved_images_are_read_by_others_and_by_us() {
    let sandbox = Sandbox::with_busybox();
    image(&sandbox, "a:1", "one", &[]);
    let id = sandbox.inspect("busybox")["Id"].clone();
    let digest = sandbox.inspect("busybox")["Digest"].clone();
    let skopeo = || sandbox.command(require_tool("skopeo", "skopeo"));
    for (format, prefix) in [
        (
            "docker-archive",
            "docker-archive:image.tar:docker.io/library/busybox:latest",
        ),
        (
            "oci-archive",
            "oci-archive:image.tar:docker.io/library/busybox:latest",
        ),
    ] {
        let save = ["save", "-q", "--format", format, "-o", "image.tar"];
        sandbox
            .bryo(save)
            .args(["busybox", "a:1"])
            .output()
            .expect(0);
        let first = fs::read(sandbox.work().join("image.tar")).unwrap();
        sandbox
            .bryo(save)
            .args(["busybox", "a:1"])
            .output()
            .expect(0);
        let second = fs::read(sandbox.work().join("image.tar")).unwrap();
        assert!(first == second, "{format} differs from run to run");
        let inspect = skopeo()
            .args(["inspect", "--config", "--raw", prefix])
            .output()
            .expect(0);
        let raw = ::bryo::image::digest::sha256(inspect.stdout.as_bytes());
        assert_eq!(id, raw.as_ref(), "{format}");
        let other = Sandbox::new();
        let load = other
            .bryo(["load", "-i"])
            .arg(sandbox.work().join("image.tar"));
        let load = load.output().expect(0);
        assert!(load.stdout.contains("busybox:latest"), "{load}");
        assert_eq!(names(&other, &[]), ["a:1", "busybox:latest"]);
        assert_eq!(other.inspect("busybox")["Id"], id);
        if format == "oci-archive" {
            assert_eq!(other.inspect("busybox")["Digest"], digest);
        }
        other
            .run(&["--network", "none", "busybox", "true"])
            .expect(0);
    }
    // Through a pipe, without names, and as a directory.
    let other = Sandbox::new();
    let script = "\"$0\" save \"$1\" | BRYO_ROOT=\"$2\" \"$0\" load";
    let load = sandbox.command("sh").args(["-c", script]).arg(bryo());
    let load = load
        .arg(id.as_str().unwrap())
        .arg(other.root())
        .output()
        .expect(0);
    assert_eq!(
        load.stdout,
        format!("Loaded image ID: {}\n", id.as_str().unwrap())
    );
    for name in ["busybox", "a:1", "busybox"] {
        let save = sandbox.bryo(["save", "--format", "oci-dir", "-o", "layout", name]);
        save.output().expect(0);
    }
    let umoci = sandbox.command(require_tool("umoci", "umoci"));
    let list = umoci.args(["list", "--layout", "layout"]).stdout();
    assert_eq!(list.lines().count(), 2, "{list}");
    sandbox.write("taken/file", "");
    let taken = sandbox.bryo(["save", "--format", "oci-dir", "-o", "taken", "a:1"]);
    assert!(taken.output().expect(1).stderr.contains("no OCI layout"));
    sandbox
        .bryo(["save", "-o", "new.tar", "none"])
        .output()
        .expect(1);
    sandbox
        .bryo(["save", "-o", "no/where.tar", "a:1"])
        .output()
        .expect(1);
    assert!(!sandbox.work().join("new.tar").exists());
}

/// Changes one bit in the middle of a file.
fn flip(path: &Path) {
    let mode = fs::metadata(path).unwrap().permissions();
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let time = fs::metadata(path).unwrap().modified().unwrap();
    fs::write(path, bytes).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(time).unwrap();
    fs::set_permissions(path, mode).unwrap();
}

fn blob(sandbox: &Sandbox, digest: &Value) -> PathBuf {
    let hex = digest.as_str().unwrap().trim_start_matches("sha256:");
    sandbox.root().join("images/blobs/sha256").join(hex)
}

fn manifest(sandbox: &Sandbox, name: &str) -> (PathBuf, Value) {
    let path = blob(sandbox, &sandbox.inspect(name)["Digest"]);
    let text = fs::read_to_string(&path).unwrap();
    (path, json(&text))
}

#[test]
fn damage_is_found_and_mended() {
    let sandbox = Sandbox::with_busybox();
    let registry = Registry::start(&sandbox);
    let name = registry.name("team/busybox:1");
    sandbox.bryo(["push", "busybox", &name]).output().expect(0);
    let ours = Sandbox::new();
    ours.bryo(["pull", "-q", &name]).output().expect(0);
    sound(&ours);
    let runs = || {
        let run = ours.run(&["--network", "none", &name, "echo", "it runs"]);
        assert_eq!(run.expect(0).stdout, "it runs\n");
    };
    let (document, parsed) = manifest(&ours, &name);
    let config = blob(&ours, &parsed["config"]["digest"]);
    let layer = blob(&ours, &parsed["layers"][0]["digest"]);
    // Bits flip in each kind of blob, or it is gone.
    for path in [&document, &config, &layer] {
        for gone in [false, true] {
            match gone {
                true => fs::remove_file(path).unwrap(),
                false => flip(path),
            }
            let found = check(&ours).output().expect(1);
            assert!(found.stdout.contains(&name), "{found}");
            let list = ours.bryo(["images"]).output().expect(0);
            let unreadable = path != &layer && (gone || path == &document);
            assert!(!unreadable || list.stderr.contains("damaged"), "{list}");
            let mended = check(&ours).arg("--repair").output().expect(0);
            assert!(mended.stdout.contains("fetched again"), "{mended}");
            sound(&ours);
            runs();
        }
    }
    // A blob that nobody needs, and one of the index.
    let stray = layer.with_file_name("0".repeat(64));
    fs::write(&stray, "x").unwrap();
    assert!(check(&ours).output().expect(1).stdout.contains("no image"));
    check(&ours).arg("--repair").output().expect(0);
    assert!(!stray.exists());
    fs::write(ours.root().join("images/index.json"), "{").unwrap();
    ours.bryo(["images"]).output().expect(1);
    check(&ours).output().expect(1);
    check(&ours).arg("--repair").output().expect(0);
    let id = ours.bryo(["images", "-q"]).stdout();
    ours.bryo(["tag", &id, &name]).output().expect(0);
    sound(&ours);
    runs();

    // Unpacked files.
    let layers = ours.root().join("layers");
    let shell = || {
        let mut found = files(&layers).into_iter();
        found.find(|path| path.ends_with("fs/bin/busybox")).unwrap()
    };
    flip_as_root(&ours, &shell());
    let found = check(&ours).output().expect(1);
    assert!(
        found.stdout.contains("bin/busybox\": its content"),
        "{found}"
    );
    let quick = check(&ours).arg("--quick").output().expect(0);
    assert_eq!(quick.stdout, "The store is sound.\n");
    let mended = check(&ours).arg("--repair").output().expect(0);
    assert!(mended.stdout.contains("unpacked again"), "{mended}");
    runs();
    let json = shell().ancestors().nth(3).unwrap().join("layer.json");
    remove_as_root(&ours, &json);
    check(&ours).output().expect(1);
    check(&ours).arg("--repair").output().expect(0);
    runs();
    sound(&ours);

    // Without a registry, what can be unpacked stays, what cannot goes.
    drop(registry);
    flip(&layer);
    let found = check(&ours).arg("--repair").output().expect(1);
    assert!(found.stdout.contains("it stays"), "{found}");
    runs();
    flip(&config);
    let found = check(&ours).arg("--repair").output();
    assert!(found.stdout.contains("removed; pull"), "{found}");
    sound(&ours);
    assert_eq!(names(&ours, &[]), [""; 0]);
}

/// Files of subordinate ids belong to others.
fn as_root(sandbox: &Sandbox, script: &str, path: &Path) {
    let mut unshare = sandbox
        .command("unshare")
        .args(["--user", "--map-root-user"]);
    let user = std::env::var("USER").unwrap();
    if fs::read_to_string("/etc/subuid")
        .unwrap()
        .contains(&format!("{user}:"))
    {
        unshare = unshare.arg("--map-auto");
    }
    unshare
        .args(["sh", "-euc", script, "sh"])
        .arg(path)
        .output()
        .expect(0);
}

fn flip_as_root(sandbox: &Sandbox, path: &Path) {
    let script = "cp -p \"$1\" \"$1.copy\"; printf X | \
                  dd of=\"$1\" bs=1 seek=5000 conv=notrunc 2>/dev/null; \
                  touch -r \"$1.copy\" \"$1\"; rm \"$1.copy\"";
    as_root(sandbox, script, path);
}

fn remove_as_root(sandbox: &Sandbox, path: &Path) {
    as_root(sandbox, "rm \"$1\"", path);
}

#[test]
fn a_damaged_image_does_not_keep_others_from_anything() {
    let sandbox = Sandbox::with_busybox();
    image(&sandbox, "a:1", "one", &[]);
    let (document, _) = manifest(&sandbox, "a:1");
    flip(&document);
    sandbox.shell(&[], "true");
    let list = sandbox.bryo(["images"]).output().expect(0);
    assert!(list.stderr.contains("a:1 is damaged"), "{list}");
    sandbox.bryo(["run", "--rm", "a:1"]).output().expect(125);
    sandbox.bryo(["tag", "busybox", "b"]).output().expect(0);
    sandbox.bryo(["rmi", "b"]).output().expect(0);
    let gone = sandbox.bryo(["rmi", "a:1"]).output().expect(0);
    assert_eq!(gone.stdout, "Untagged: a:1\n");
    sound(&sandbox);
}

#[test]
fn more_than_is_likely_must_be_allowed() {
    let sandbox = Sandbox::new();
    let zeros = sandbox.work().join("tree/zeros");
    fs::create_dir(zeros.parent().unwrap()).unwrap();
    fs::File::create(&zeros).unwrap().set_len(40 << 20).unwrap();
    let pack = "tar -C tree -cf - zeros | gzip -1 >layer.tar.gz";
    sandbox.command("sh").args(["-c", pack]).output().expect(0);
    let import = |most: &str| {
        let import = sandbox.bryo(["import", "layer.tar.gz", "x", "--max-layer-size", most]);
        import.output()
    };
    let refused = import("10m").expect(1);
    assert!(refused.stderr.contains("--max-layer-size"), "{refused}");
    assert_eq!(sandbox.bryo(["images", "-q"]).stdout(), "");
    import("50m").expect(0);
    let save = sandbox.bryo(["save", "-o", "image.tar", "x"]);
    save.output().expect(0);
    sandbox.command("gzip").arg("image.tar").output().expect(0);
    let other = Sandbox::new();
    let load = |most: &str| {
        let load = other.bryo(["load", "--max-layer-size", most, "-i"]);
        load.arg(sandbox.work().join("image.tar.gz")).output()
    };
    let refused = load("10m").expect(1);
    assert!(refused.stderr.contains("--max-layer-size"), "{refused}");
    sound(&other);
    load("unlimited").expect(0);
    sound(&sandbox);
}
