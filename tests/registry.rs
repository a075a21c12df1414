//! Images from registries: Debian's docker-registry, and what skopeo, buildah
//! and podman put there.

use crate::common::registry::{Kind, Registry, USER};
use crate::common::{Podman, Run, Sandbox, busybox_tar, require_tool};
use serde_json::Value;
use std::fs;

/// `bryo pull` without waiting between attempts.
fn pull(sandbox: &Sandbox) -> Run {
    sandbox.bryo(["pull", "--retry", "0"])
}

/// skopeo, which asks nobody whom to trust.
fn skopeo(sandbox: &Sandbox, verb: &str) -> Run {
    let skopeo = sandbox.command(require_tool("skopeo", "skopeo"));
    skopeo.args(["--insecure-policy", verb])
}

/// Copies an image of the sandbox's store to a registry with skopeo.
fn push_with_skopeo(sandbox: &Sandbox, image: &str, to: &str, flags: &[&str]) {
    let images = sandbox.root().join("images");
    let from = format!("oci:{}:docker.io/library/{image}:latest", images.display());
    let copy = skopeo(sandbox, "copy").args(["--dest-tls-verify=false", "-q"]);
    let copy = copy.args(flags).arg(from);
    copy.arg(format!("docker://{to}")).output().expect(0);
}

/// The digest that skopeo sees under a name.
fn digest_by_skopeo(sandbox: &Sandbox, name: &str) -> String {
    let inspect = skopeo(sandbox, "inspect").args(["--tls-verify=false", "--format"]);
    inspect
        .arg("{{.Digest}}")
        .arg(format!("docker://{name}"))
        .stdout()
}

/// What bryo says that an image's digest is.
fn digest_of(sandbox: &Sandbox, name: &str) -> String {
    let described = sandbox.inspect(name);
    described["Digest"].as_str().unwrap().to_owned()
}

#[test]
fn what_skopeo_pushes_is_pulled_and_runs() {
    let sandbox = Sandbox::with_busybox();
    let registry = Registry::start(&sandbox);
    let gzip = sandbox.work().join("gzip.tar");
    fs::copy(busybox_tar(), &gzip).unwrap();
    sandbox.command("gzip").arg(&gzip).output().expect(0);
    sandbox
        .bryo(["import", "gzip.tar.gz", "gzip"])
        .output()
        .expect(0);
    for (tag, image, flags) in [
        ("zstd", "busybox", &["--format", "oci"][..]),
        ("oci", "gzip", &["--format", "oci"]),
        ("docker", "gzip", &["--format", "v2s2"]),
    ] {
        let name = registry.name(&format!("some/where:{tag}"));
        push_with_skopeo(&sandbox, image, &name, flags);
        let other = Sandbox::new();
        let output = pull(&other).arg(&name).output().expect(0);
        let digest = digest_by_skopeo(&sandbox, &name);
        assert!(output.stdout.contains(&digest), "{output}");
        assert!(output.stdout.ends_with(&format!("{name}\n")), "{output}");
        assert_eq!(digest_of(&other, &name), digest);
        let run = other.run(&["--network", "none", &name, "echo", tag]);
        assert_eq!(run.expect(0).stdout.trim(), tag);
        // A second time there is nothing to fetch.
        let before = registry.count("GET /v2/some/where/blobs/");
        let output = pull(&other).arg(&name).output().expect(0);
        assert!(output.stdout.contains("up to date"), "{output}");
        assert_eq!(registry.count("GET /v2/some/where/blobs/"), before);
        let pinned = format!("{}@{digest}", registry.name("some/where"));
        let quiet = pull(&other).args(["-q", &pinned]).stdout();
        assert_eq!(quiet, pinned);
        // Saved by its digest, it keeps what name an archive can have.
        let tagged = format!("{name}@{digest}");
        for (asked, format, kept) in [
            (&tagged, "docker-archive", name.as_str()),
            (&tagged, "oci-archive", &name),
            (&pinned, "docker-archive", "null"),
        ] {
            let file = other.work().join("saved.tar");
            let save = other.bryo(["save", "--format", format, "-o"]).arg(&file);
            save.arg(asked).output().expect(0);
            let third = Sandbox::new();
            third
                .bryo(["load", "-q", "-i"])
                .arg(&file)
                .output()
                .expect(0);
            let names = ["images", "--format", "{{.Repository}}:{{.Tag}}"];
            let names = third.bryo(names).stdout();
            match kept {
                "null" => assert!(names.contains("<none>"), "{names}"),
                kept => assert_eq!(names, kept, "{asked} {format}"),
            }
        }
        assert_eq!(fs::read_dir(other.root().join("parts")).unwrap().count(), 0);
    }
    let all = Sandbox::new();
    let name = registry.name("some/where");
    let output = pull(&all).args(["-a", "-q", &name]).stdout();
    assert_eq!(output.lines().count(), 3, "{output}");
    // By the digest of an index too, in a form that podman takes.
    let list = registry.name("some/where:list");
    let create = ["manifest", "create", &list, "busybox"];
    sandbox.bryo(create).output().expect(0);
    let digest = sandbox.bryo(["manifest", "push", "-q", &list]).stdout();
    let other = Sandbox::new();
    let pinned = format!("{}@{digest}", registry.name("some/where"));
    pull(&other).arg(&pinned).output().expect(0);
    let save = ["save", "--format", "oci-archive", "-o", "list.tar", &pinned];
    other.bryo(save).output().expect(0);
    let kept = format!(
        "{}@{}",
        registry.name("some/where"),
        digest_of(&other, &pinned)
    );
    let podman = Podman::new(&other);
    let loaded = podman.command(&["load", "-q", "-i", "list.tar"]).stdout();
    assert_eq!(loaded, format!("Loaded image: {kept}"));
    let loaded = Sandbox::new()
        .bryo(["load", "-i"])
        .arg(other.work().join("list.tar"))
        .stdout();
    assert_eq!(loaded, format!("Loaded image: {kept}"));

    let nothing = pull(&all).arg(registry.name("none:1")).output().expect(1);
    assert!(nothing.stderr.contains("manifest unknown"), "{nothing}");
}

#[test]
fn run_fetches_what_is_missing() {
    let sandbox = Sandbox::with_busybox();
    let registry = Registry::start(&sandbox);
    let name = registry.name("busybox:latest");
    push_with_skopeo(&sandbox, "busybox", &name, &[]);
    let other = Sandbox::new();
    let run = |policy: &str| {
        let flags = ["--network", "none", "--retry", "0", "--pull", policy];
        other.run(&[&flags[..], &[&name, "echo", "it runs"]].concat())
    };
    let never = run("never").expect(125);
    assert!(never.stderr.contains("No such image: "), "{never}");
    assert_eq!(run("missing").expect(0).stdout, "it runs\n");
    let asked = registry.count("GET ");
    assert_eq!(run("missing").expect(0).stdout, "it runs\n");
    assert_eq!(
        registry.count("GET "),
        asked,
        "the registry was asked again"
    );
    run("always").expect(0);
    assert!(registry.count("GET ") > asked);
    let pulls = ["events", "--no-stream", "--filter", "event=pull"];
    assert_eq!(other.bryo(pulls).stdout().lines().count(), 2);
    drop(registry);
    run("newer").expect(0);
    run("never").expect(0);
    let always = run("always").expect(125);
    assert!(always.stderr.contains("onnection refused"), "{always}");
    other.run(&["--pull", "sometimes", &name]).expect(125);
}

#[test]
fn a_registry_must_show_who_it_is() {
    let sandbox = Sandbox::with_busybox();
    let registry = Registry::start_as(
        &sandbox,
        Kind {
            tls: true,
            ..Kind::default()
        },
    );
    let name = registry.name("busybox:1");
    push_with_skopeo(&sandbox, "busybox", &name, &[]);
    let verify = || pull(&sandbox).args(["--tls-verify", &name]);
    let refused = verify().output().expect(1);
    assert!(refused.stderr.contains("TLS"), "{refused}");
    // Docker trusts what is on this machine.
    pull(&sandbox).arg(&name).output().expect(0);
    pull(&sandbox)
        .args(["--tls-verify=false", &name])
        .output()
        .expect(0);
    let authority = fs::read(&registry.authority).unwrap();
    verify()
        .env("SSL_CERT_FILE", &registry.authority)
        .output()
        .expect(0);
    let directory = sandbox.work().join("certs");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("ca.crt"), &authority).unwrap();
    let by_flag = verify().arg("--cert-dir").arg(&directory);
    by_flag.output().expect(0);
    let home = sandbox.path().join("home/.config/containers/certs.d");
    let directory = home.join(&registry.host);
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("ca.crt"), "no certificate").unwrap();
    let wrong = verify().output().expect(1);
    assert!(wrong.stderr.contains("ca.crt"), "{wrong}");
    fs::write(directory.join("ca.crt"), &authority).unwrap();
    verify().output().expect(0);
}

#[test]
fn a_registry_may_want_a_password() {
    let sandbox = Sandbox::with_busybox();
    let kind = Kind {
        tls: true,
        password: true,
    };
    let registry = Registry::start_as(&sandbox, kind);
    let name = registry.name("busybox:1");
    let creds = format!("{}:{}", USER.0, USER.1);
    push_with_skopeo(&sandbox, "busybox", &name, &["--dest-creds", &creds]);
    let refused = pull(&sandbox).arg(&name).output().expect(1);
    assert!(refused.stderr.contains("401"), "{refused}");
    assert!(refused.stderr.contains("hint:  log in"), "{refused}");
    let wrong = pull(&sandbox).args(["--creds", "tester:wrong", &name]);
    wrong.output().expect(1);
    let right = pull(&sandbox).args(["--creds", &creds, &name]);
    right.output().expect(0);
    // What skopeo wrote down, we read.
    let authfile = sandbox.path().join("home/.config/containers/auth.json");
    fs::create_dir_all(authfile.parent().unwrap()).unwrap();
    let login = skopeo(&sandbox, "login").args(["--tls-verify=false", "--authfile"]);
    let login = login.arg(&authfile).args(["-u", USER.0, "-p", USER.1]);
    login.arg(&registry.host).output().expect(0);
    pull(&sandbox).arg(&name).output().expect(0);
    fs::write(&authfile, "{").unwrap();
    let broken = pull(&sandbox).arg(&name).output().expect(1);
    assert!(broken.stderr.contains("auth.json"), "{broken}");
}

#[test]
fn two_pulls_at_once_fetch_a_layer_once() {
    let sandbox = Sandbox::new();
    let tree = sandbox.busybox_tree("tree");
    let noise: Vec<u8> = (0..8 << 20).map(noise).collect();
    fs::write(tree.join("noise"), noise).unwrap();
    let tar = sandbox
        .command("tar")
        .args(["-cf", "large.tar", "-C", "tree", "."]);
    tar.output().expect(0);
    let import = sandbox.bryo(["import", "large.tar", "busybox"]);
    import.output().expect(0);
    let registry = Registry::start(&sandbox);
    let name = registry.name("deb:1");
    push_with_skopeo(&sandbox, "busybox", &name, &[]);
    let other = Sandbox::new();
    let pulls: Vec<_> = (0..4).map(|_| pull(&other).arg(&name).spawn()).collect();
    for running in pulls {
        running.wait().expect(0);
    }
    // The configuration is small and not waited for.
    let layer: Value = serde_json::from_str(&skopeo_raw(&sandbox, &name)).unwrap();
    let layer = layer["layers"][0]["digest"].as_str().unwrap();
    assert_eq!(registry.count(&format!("GET /v2/deb/blobs/{layer}")), 1);
    other.run(&["--network", "none", &name, "true"]).expect(0);
}

/// Bytes that do not compress well.
fn noise(n: u32) -> u8 {
    let mixed = (n ^ (n >> 15)).wrapping_mul(0x2c1b_3c6d);
    let mixed = (mixed ^ (mixed >> 12)).wrapping_mul(0x297a_2d39);
    (mixed ^ (mixed >> 15)) as u8
}

fn skopeo_raw(sandbox: &Sandbox, name: &str) -> String {
    let inspect = skopeo(sandbox, "inspect").args(["--tls-verify=false", "--raw"]);
    inspect.arg(format!("docker://{name}")).stdout()
}

/// podman or buildah with a storage of its own in the sandbox.
fn with_storage(sandbox: &Sandbox, tool: &str) -> Run {
    let storage = sandbox.work().join(format!("storage-{tool}"));
    let run = sandbox.command(require_tool(tool, tool));
    let run = run.arg("--root").arg(storage.join("graph"));
    let run = run.arg("--runroot").arg(storage.join("run"));
    run.args(["--storage-driver", "vfs"])
}

#[test]
fn digests_are_equal_both_ways() {
    let sandbox = Sandbox::with_busybox();
    let registry = Registry::start(&sandbox);
    let theirs = Sandbox::new();
    let podman = |args: &[&str]| {
        with_storage(&theirs, "podman")
            .args(args)
            .output()
            .expect(0)
    };
    let buildah = |args: &[&str]| {
        with_storage(&theirs, "buildah")
            .args(args)
            .output()
            .expect(0)
    };
    let tar = busybox_tar();
    let tar = tar.to_str().unwrap();

    // Theirs, pulled by us.
    let by_podman = registry.name("podman/busybox:1");
    podman(&["import", "-q", tar, &by_podman]);
    podman(&["push", "-q", "--tls-verify=false", &by_podman]);
    let by_buildah = registry.name("buildah/busybox:1");
    let container = buildah(&["from", "scratch"]).stdout;
    buildah(&["add", "-q", container.trim(), tar]);
    buildah(&["commit", "-q", container.trim(), &by_buildah]);
    buildah(&["push", "-q", "--tls-verify=false", &by_buildah]);
    for name in [&by_podman, &by_buildah] {
        pull(&sandbox).arg(name).output().expect(0);
        assert_eq!(digest_of(&sandbox, name), digest_by_skopeo(&sandbox, name));
        let run = sandbox.run(&["--network", "none", name, "echo", "it runs"]);
        assert_eq!(run.expect(0).stdout, "it runs\n");
    }

    // Ours, pulled by them.
    let ours = registry.name("bryo/busybox:1");
    let push = sandbox.bryo(["push", "busybox", &ours]).output().expect(0);
    let digest = digest_of(&sandbox, "busybox");
    assert!(push.stdout.contains(&digest), "{push}");
    assert_eq!(digest_by_skopeo(&sandbox, &ours), digest);
    podman(&["pull", "-q", "--tls-verify=false", &ours]);
    let format = "--format={{.Digest}}";
    assert_eq!(
        podman(&["image", "inspect", format, &ours]).stdout.trim(),
        digest
    );
    buildah(&["pull", "-q", "--tls-verify=false", &ours]);

    // What the registry has elsewhere is not sent again.
    sandbox.bryo(["tag", "busybox", &ours]).output().expect(0);
    let sent = registry.count("PUT /v2/bryo/");
    let mounted = registry.name("other/busybox:1");
    sandbox
        .bryo(["push", "busybox", &mounted])
        .output()
        .expect(0);
    assert_eq!(
        registry.count("POST /v2/other/busybox/blobs/uploads/?from="),
        0
    );
    let mounts = registry.count("POST /v2/other/busybox/blobs/uploads/?mount=");
    assert_eq!(mounts, 1);
    // Again, there is only the manifest to write.
    sandbox.bryo(["push", &ours]).output().expect(0);
    assert_eq!(registry.count("PUT /v2/bryo/"), sent + 1);
    for tool in ["podman", "buildah"] {
        let storage = theirs.work().join(format!("storage-{tool}"));
        let remove = with_storage(&theirs, tool).args(["unshare", "rm", "-rf"]);
        remove.arg(storage).output();
    }
    // It leaves a process that holds its namespace.
    podman(&["system", "migrate"]);
}

#[test]
fn large_blobs_are_sent_in_pieces() {
    let sandbox = Sandbox::new();
    let bytes: Vec<u8> = (0..40 << 20).map(noise).collect();
    let tree = sandbox.work().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("noise"), bytes).unwrap();
    let tar = sandbox.command("tar").args(["-cf", "large.tar", "tree"]);
    tar.output().expect(0);
    sandbox
        .bryo(["import", "large.tar", "large"])
        .output()
        .expect(0);
    let registry = Registry::start(&sandbox);
    let name = registry.name("large:1");
    sandbox.bryo(["push", "large", &name]).output().expect(0);
    assert!(registry.count("PATCH /v2/large/blobs/uploads/") > 1);
    let other = Sandbox::new();
    pull(&other).arg(&name).output().expect(0);
    assert_eq!(digest_of(&other, &name), digest_of(&sandbox, "large"));
}

#[test]
fn logins_are_kept_where_docker_and_podman_keep_them() {
    let sandbox = Sandbox::with_busybox();
    let kind = Kind {
        password: true,
        ..Kind::default()
    };
    let registry = Registry::start_as(&sandbox, kind);
    let host = registry.host.as_str();
    let name = registry.name("busybox:1");
    let login = |password: &str| {
        let login = sandbox.bryo(["login", "-u", USER.0, "--password-stdin", host]);
        login.stdin(password).output()
    };
    let wrong = login("wrong").expect(1);
    assert!(wrong.stderr.contains("401"), "{wrong}");
    sandbox.bryo(["push", "busybox", &name]).output().expect(1);
    assert!(login(USER.1).expect(0).stdout.contains("Login Succeeded"));
    sandbox.bryo(["push", "busybox", &name]).output().expect(0);
    let user = sandbox.bryo(["login", "--get-login", host]).stdout();
    assert_eq!(user, USER.0);
    let file = sandbox.path().join("home/.docker/config.json");
    let mode = fs::metadata(&file).unwrap().permissions();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777,
        0o600
    );
    // Others read it.
    let inspect = skopeo(&sandbox, "inspect").args(["--tls-verify=false", "-n"]);
    inspect.arg(format!("docker://{name}")).output().expect(0);
    sandbox.bryo(["logout", host]).output().expect(0);
    sandbox.bryo(["logout", host]).output().expect(1);
    pull(&sandbox).arg(&name).output().expect(1);

    // With a program that keeps secrets, none is in the file.
    let helper = "#!/bin/sh\nread -r line\ncase $1 in\n\
        store) printf %s \"$line\" >$HOME/kept;;\n\
        get) if [ -e $HOME/kept ]; then cat $HOME/kept; \
        else echo credentials not found in native keychain; exit 1; fi;;\n\
        erase) rm -f $HOME/kept;;\nesac\n";
    let helper = sandbox.write("bin/docker-credential-test", helper);
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&helper, executable).unwrap();
    fs::write(&file, r#"{"credsStore":"test","other":1}"#).unwrap();
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", helper.parent().unwrap().display());
    let with_helper = |args: &[&str]| sandbox.bryo(args).env("PATH", &path);
    with_helper(&["pull", "--retry", "0", &name])
        .output()
        .expect(1);
    let login = with_helper(&["login", "-u", USER.0, "-p", USER.1, host]);
    login.output().expect(0);
    let text = fs::read_to_string(&file).unwrap();
    assert!(
        text.contains("\"other\": 1") && !text.contains("\"auth\""),
        "{text}"
    );
    with_helper(&["pull", "--retry", "0", &name])
        .output()
        .expect(0);
    with_helper(&["logout", host]).output().expect(0);
    assert!(!sandbox.path().join("home/kept").exists());
}

#[test]
fn registries_conf_is_followed() {
    let sandbox = Sandbox::with_busybox();
    let registry = Registry::start(&sandbox);
    let host = registry.host.as_str();
    let name = registry.name("team/busybox:latest");
    sandbox.bryo(["push", "busybox", &name]).output().expect(0);
    let other = Sandbox::new();
    let directory = other.path().join("home/.config/containers");
    fs::create_dir_all(&directory).unwrap();
    let conf = |text: String| fs::write(directory.join("registries.conf"), text).unwrap();
    let echo = |image: &str| {
        let run = other.run(&["--network", "none", "--retry", "0", image, "echo", "x"]);
        run.expect(0);
    };
    // A mirror serves what the registry would.
    conf(format!(
        "[[registry]]\nlocation = \"far.invalid\"\n[[registry.mirror]]\nlocation = \
         \"127.0.0.1:1\"\n[[registry.mirror]]\nlocation = \"{host}\"\n"
    ));
    echo("far.invalid/team/busybox");
    let images = other.bryo(["images"]).stdout();
    assert!(images.contains("far.invalid/team/busybox"), "{images}");
    // A short name is searched for, or has another meaning.
    conf(format!(
        "unqualified-search-registries = [\"{host}\", \"far.invalid\"]\n"
    ));
    echo("team/busybox");
    conf(format!("[aliases]\n\"bb\" = \"{host}/team/busybox\"\n"));
    echo("bb");
    drop(registry);
    echo("bb");
    conf("[[registry]]\nlocation = \"far.invalid\"\nblocked = true\n".to_owned());
    let blocked = pull(&other).arg("far.invalid/x").output().expect(1);
    assert!(blocked.stderr.contains("blocked"), "{blocked}");
    conf("[[registry".to_owned());
    let broken = pull(&other).arg("far.invalid/x").output().expect(1);
    assert!(broken.stderr.contains("registries.conf"), "{broken}");
}
