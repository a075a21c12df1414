//! `bryo run`: what a container is, what it may take from an image, how it
//! ends.

use crate::common::{Sandbox, bryo, debian_tar, field, require_tool, tool, wait_for};
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const NAMESPACES: [&str; 8] = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];

/// The namespaces of a process on the host.
fn namespaces(process: &str) -> BTreeMap<String, String> {
    let link = |kind: &str| fs::read_link(format!("/proc/{process}/ns/{kind}")).unwrap();
    let link = |kind: &str| link(kind).to_str().unwrap().to_owned();
    NAMESPACES.map(|kind| (kind.to_owned(), link(kind))).into()
}

/// The same as a container sees them.
fn namespaces_inside(sandbox: &Sandbox, flags: &[&str]) -> BTreeMap<String, String> {
    let script = "for n in cgroup ipc mnt net pid time user uts; do
        echo $n $(readlink /proc/self/ns/$n); done";
    let run = sandbox.bryo(["run", "--rm"]).args(flags);
    let output = run.args(["busybox", "sh", "-c", script]).stdout();
    let pairs = output.lines().map(|line| line.split_once(' ').unwrap());
    pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

#[test]
fn a_debian_image_is_imported_and_runs() {
    let sandbox = Sandbox::new();
    let import = sandbox.bryo(["import"]).arg(debian_tar());
    import.arg("deb").output().expect(0);
    let script = "echo $$; id -u; hostname; ls /proc | grep -c '^[0-9]'";
    let run = sandbox.bryo(["run", "--name", "first", "deb", "sh", "-c", script]);
    let printed = run.stdout();
    let lines: Vec<&str> = printed.lines().collect();
    let id = sandbox.inspect("first")["Id"].as_str().unwrap().to_owned();
    assert_eq!(lines[..3], ["1", "0", &id[..12]]);
    let processes: u32 = lines[3].parse().unwrap();
    assert!((1..=4).contains(&processes), "{processes} processes");
    sandbox.bryo(["rm", "first"]).output().expect(0);

    // What a container writes is neither in the next one nor in the image.
    let touch = "test ! -e /x && touch /x && rm /etc/debian_version";
    sandbox.run(&["deb", "sh", "-c", touch]).expect(0);
    let look = "test ! -e /x && cat /etc/debian_version";
    sandbox.run(&["deb", "sh", "-c", look]).expect(0);
    let apt = sandbox.run(&["deb", "apt-get", "--version"]).expect(0);
    assert!(apt.stdout.starts_with("apt "), "{apt}");
}

#[test]
fn every_namespace_is_its_own() {
    let sandbox = Sandbox::with_busybox();
    let host = namespaces("self");
    for flags in [&["--network", "none"][..], &[]] {
        let inside = namespaces_inside(&sandbox, flags);
        for kind in NAMESPACES {
            assert_ne!(inside[kind], host[kind], "{kind}");
        }
    }
}

#[test]
fn namespaces_of_the_host_can_be_kept() {
    let sandbox = Sandbox::with_busybox();
    let host = namespaces("self");
    let flags = ["--pid=host", "--ipc=host", "--uts=host", "--net=host"];
    let inside = namespaces_inside(&sandbox, &[&flags[..], &["--cgroupns=host"]].concat());
    for kind in NAMESPACES {
        let shared = ["pid", "ipc", "uts", "net", "cgroup"].contains(&kind);
        assert_eq!(inside[kind] == host[kind], shared, "{kind}");
    }
    let name = nix::unistd::gethostname().unwrap();
    let run = sandbox.run(&["--uts", "host", "busybox", "hostname"]);
    assert_eq!(run.expect(0).stdout.trim(), name.to_str().unwrap());
    let this = std::process::id().to_string();
    let look = format!("test -d /proc/{this}");
    sandbox
        .run(&["--pid", "host", "busybox", "sh", "-c", &look])
        .expect(0);
    let mixed = sandbox.run(&["--uts", "host", "--hostname", "x", "busybox", "true"]);
    assert!(mixed.expect(125).stderr.contains("--uts host"));
}

#[test]
fn the_loopback_device_alone_is_up_without_a_network() {
    let sandbox = Sandbox::with_busybox();
    let devices = sandbox.shell(&[], "cat /proc/net/dev | tail -n +3 | cut -d: -f1");
    let devices: Vec<&str> = devices.split_whitespace().collect();
    assert!(devices.contains(&"lo"), "{devices:?}");
    assert!(!devices.iter().any(|d| d.starts_with("eth")), "{devices:?}");
    sandbox.shell(
        &[],
        "ping -c 1 -w 5 127.0.0.1 || wget -T1 -O- http://127.0.0.1:1/ 2>&1 | grep refused",
    );
}

#[test]
fn names_are_unique_and_come_free() {
    let sandbox = Sandbox::with_busybox();
    let run = |name| {
        let name = format!("--name={name}");
        sandbox.bryo(["run", &name, "busybox", "true"]).output()
    };
    run("web").expect(0);
    let taken = run("web").expect(125);
    assert!(taken.stderr.contains("'web' is taken"), "{taken}");
    let list = sandbox.bryo(["ps", "-a"]).stdout();
    assert_eq!(list.matches("web").count(), 1, "{list}");
    assert!(list.contains("Exited (0)"), "{list}");
    assert!(!sandbox.bryo(["ps"]).stdout().contains("web"));
    sandbox.bryo(["rm", "web"]).output().expect(0);
    run("web").expect(0);
    sandbox.bryo(["rm", "web"]).output().expect(0);
    let gone = sandbox.bryo(["rm", "web"]).output().expect(1);
    assert!(gone.stderr.contains("No such container: web"), "{gone}");
    for bad in ["", "-x", "a/b", "../x", "a b", "."] {
        let refused = run(bad).expect(125);
        assert!(refused.stderr.contains("name"), "{refused}");
    }
    assert_eq!(sandbox.bryo(["ps", "-aq"]).stdout(), "");
}

#[test]
fn rm_leaves_nothing() {
    let sandbox = Sandbox::with_busybox();
    sandbox
        .run(&["--name", "gone", "busybox", "touch", "/x"])
        .expect(0);
    assert_eq!(sandbox.bryo(["ps", "-aq"]).stdout(), "");
    for name in ["containers", "names"] {
        let left = fs::read_dir(sandbox.root().join(name)).unwrap().count();
        assert_eq!(left, 0, "{name}");
    }
    // One that could not be started is not kept either.
    sandbox
        .run(&["--name", "gone", "busybox", "/nowhere"])
        .expect(127);
    assert_eq!(sandbox.bryo(["ps", "-aq"]).stdout(), "");
}

#[test]
fn ids_can_be_shortened() {
    let sandbox = Sandbox::with_busybox();
    sandbox
        .bryo(["run", "--name", "a", "busybox", "true"])
        .output()
        .expect(0);
    let id = sandbox.inspect("a")["Id"].as_str().unwrap().to_owned();
    assert_eq!(id.len(), 64);
    for length in [64, 12, 6] {
        assert_eq!(sandbox.inspect(&id[..length])["Name"], "a");
    }
    let quiet = sandbox.bryo(["ps", "-aq"]).stdout();
    assert_eq!(quiet, id[..12]);
    let quiet = sandbox.bryo(["ps", "-aq", "--no-trunc"]).stdout();
    assert_eq!(quiet, id);
    sandbox.bryo(["rm", &id[..12]]).output().expect(0);
}

#[test]
fn exit_codes_are_dockers() {
    let sandbox = Sandbox::with_busybox();
    let code = |command: &[&str], code| {
        let run = sandbox.run(&[&["busybox"], command].concat());
        run.expect(code)
    };
    code(&["true"], 0);
    code(&["sh", "-c", "exit 42"], 42);
    code(&["sh", "-c", "exit 255"], 255);
    code(&["sh", "-c", "kill -TERM $$"], 0);
    code(&["sh", "-c", "sh -c 'kill -KILL $$'; exit $?"], 128 + 9);
    let missing = code(&["no-such-command"], 127);
    assert!(missing.stderr.contains("no-such-command"), "{missing}");
    assert!(missing.stderr.contains("hint:"), "{missing}");
    code(&["/bin/nothing"], 127);
    code(&["/bin/sh/nothing"], 127);
    code(&["/etc/passwd"], 126);
    code(&["/etc"], 126);
    sandbox
        .bryo(["run", "--no-such-flag", "busybox"])
        .output()
        .expect(125);
    let unknown = sandbox
        .run(&["--pull", "never", "no-such-image", "true"])
        .expect(125);
    assert!(
        unknown.stderr.contains("No such image: no-such-image"),
        "{unknown}"
    );
}

#[test]
fn a_container_killed_by_a_signal_ends_with_its_number() {
    let sandbox = Sandbox::with_busybox();
    let running = sandbox.start("victim", &[]);
    sandbox.bryo(["kill", "victim"]).output().expect(0);
    assert_eq!(running.wait().code, 128 + 9);
    assert_eq!(sandbox.inspect("victim")["State"]["ExitCode"], 137);
    let again = sandbox.bryo(["kill", "victim"]).output().expect(1);
    assert!(again.stderr.contains("it is exited"), "{again}");

    let running = sandbox.start("polite", &["--rm"]);
    sandbox
        .bryo(["kill", "-s", "TERM", "polite"])
        .output()
        .expect(0);
    running.wait().expect(0);
}

#[test]
fn signals_are_passed_on() {
    let sandbox = Sandbox::with_busybox();
    for (signal, name) in [
        (Signal::SIGTERM, "TERM"),
        (Signal::SIGINT, "INT"),
        (Signal::SIGHUP, "HUP"),
        (Signal::SIGUSR1, "USR1"),
        (Signal::SIGWINCH, "WINCH"),
    ] {
        let script = format!(
            "trap 'echo got {name}; exit 33' {name}; echo ready; \
             while :; do sleep 1000 & wait; done"
        );
        let run = sandbox.bryo(["run", "--rm", "busybox", "sh", "-c", &script]);
        let mut running = run.spawn();
        running.expect_line("ready");
        running.signal(signal);
        let output = running.wait().expect(33);
        assert_eq!(output.stdout.trim(), format!("got {name}"));
    }
    // PID 1 without a handler ignores a signal from inside only.
    let script = "echo ready; while :; do sleep 1000; done";
    for init in [false, true] {
        let run = sandbox.bryo(["run", "--rm"]).args(init.then_some("--init"));
        let mut running = run.args(["busybox", "sh", "-c", script]).spawn();
        running.expect_line("ready");
        running.signal(Signal::SIGTERM);
        if init {
            running.wait().expect(128 + 15);
        } else {
            running.signal(Signal::SIGKILL);
            running.wait().expect(128 + 9);
        }
    }
}

#[test]
fn standard_input_is_for_who_asks() {
    let sandbox = Sandbox::with_busybox();
    let cat = |flag: Option<&str>| {
        let run = sandbox.bryo(["run", "--rm"]).args(flag);
        run.args(["busybox", "cat"]).stdin("hello\n").stdout()
    };
    assert_eq!(cat(Some("-i")), "hello");
    assert_eq!(cat(None), "");
    let large = vec![b'x'; 3 << 20];
    let shell = |script: &str| {
        let run = sandbox.bryo(["run", "--rm", "-i", "busybox", "sh", "-c"]);
        run.arg(script)
    };
    let output = shell("wc -c; echo err >&2").stdin(large).output().expect(0);
    assert_eq!(output.stdout.trim(), (3 << 20).to_string());
    assert_eq!(output.stderr, "err\n");
    // An end that the container cannot wait for.
    let mut running = shell("read a; echo $a; cat").open_stdin().spawn();
    running.write("one\n");
    assert_eq!(running.expect_line("one"), "one");
    running.write("two\n");
    running.close_stdin();
    assert_eq!(running.wait().expect(0).stdout, "two\n");
}

#[test]
fn a_command_that_daemonises_ends_with_the_container() {
    let sandbox = Sandbox::with_busybox();
    let script = "sleep 1000 </dev/null >/dev/null 2>&1 & setsid sleep 1000 & echo done";
    let output = sandbox.run(&["busybox", "sh", "-c", script]).expect(0);
    assert_eq!(output.stdout, "done\n");
    let script = "setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo done";
    sandbox
        .run(&["--pid", "host", "busybox", "sh", "-c", script])
        .expect(0);
    assert_eq!(sandbox.settle(), [""; 0]);
}

#[test]
fn flags_that_are_not_supported_say_so() {
    let sandbox = Sandbox::with_busybox();
    for (flags, word) in [
        (&["-p", "80:http"][..], "-p"),
        (&["--link", "db"], "--link"),
        (&["--network", "foo"], "foo"),
        (&["--restart", "sometimes"], "sometimes"),
        (&["--restart", "always"], "--restart"),
        (&["--log-driver", "syslog"], "syslog"),
        (&["--pid", "container:x"], "container:x"),
        (&["--security-opt", "label=type:x"], "label=type:x"),
        (&["--no-such-flag"], "--no-such-flag"),
    ] {
        let refused = sandbox.run(&[flags, &["busybox", "true"]].concat());
        let refused = refused.expect(125);
        assert!(refused.stderr.contains(word), "{refused}");
        assert!(refused.stderr.starts_with("error: "), "{refused}");
    }
    for flags in [&["--link", "db"][..], &["--gpus", "all"]] {
        let refused = sandbox.run(&[flags, &["busybox", "true"]].concat());
        assert!(
            refused.stderr.contains("bryo has no such flag: "),
            "{refused}"
        );
    }
    assert_eq!(sandbox.bryo(["ps", "-aq"]).stdout(), "");
}

#[test]
fn flags_behind_the_image_are_the_commands() {
    let sandbox = Sandbox::with_busybox();
    let output = sandbox.run(&["busybox", "echo", "-e", "--rm", "-v", "--", "x"]);
    assert_eq!(output.expect(0).stdout, "--rm -v -- x\n");
    // Also where they are flags of bryo's.
    let flags = ["--entrypoint", "echo", "busybox"];
    for words in [
        &["-c", "true"][..],
        &["-l", "-i"],
        &["--name", "x"],
        &["--", "-t"],
    ] {
        let output = sandbox.run(&[&flags, words].concat()).expect(0);
        assert_eq!(output.stdout, format!("{}\n", words.join(" ")));
    }
}

#[test]
fn an_image_of_another_architecture_is_refused() {
    let sandbox = Sandbox::with_busybox();
    let other = if cfg!(target_arch = "x86_64") {
        "linux/arm64"
    } else {
        "linux/amd64"
    };
    let refused = sandbox
        .run(&["--pull", "never", "--platform", other, "busybox", "true"])
        .expect(125);
    assert!(refused.stderr.contains(&other[6..]), "{refused}");
    let own = if cfg!(target_arch = "x86_64") {
        "linux/amd64"
    } else {
        "linux/arm64"
    };
    sandbox
        .run(&["--platform", own, "busybox", "true"])
        .expect(0);
    sandbox
        .run(&["--platform", "nonsense/", "busybox", "true"])
        .expect(125);
}

#[test]
fn hello_needs_nothing() {
    let sandbox = Sandbox::new();
    let output = sandbox.run(&["--network", "none", "hello"]).expect(0);
    for word in ["Hello", "its own", "capabilities", "no_new_privs", "/proc"] {
        assert!(output.stdout.contains(word), "{word}: {output}");
    }
    assert!(!output.stdout.contains("the host's"), "{output}");
    assert_eq!(output.stderr, "");
    let run = sandbox.bryo(["run", "--rm", "--network", "host", "hello"]);
    let output = run
        .env_remove("XDG_RUNTIME_DIR")
        .env_remove("HOME")
        .output();
    assert!(output.expect(0).stdout.contains("the host's"));
}

#[test]
fn the_image_host_is_the_machine_unharmed() {
    let sandbox = Sandbox::new();
    let file = sandbox.write("kept/file", "content");
    let shown = sandbox.run(&["host", "cat", file.to_str().unwrap()]);
    assert_eq!(shown.expect(0).stdout, "content");
    let here = sandbox.run(&["host", "pwd"]).expect(0).stdout;
    assert_eq!(here.trim(), sandbox.work().to_str().unwrap());

    let script = "echo changed > kept/file; echo new > kept/new; cat kept/file kept/new";
    let run = sandbox.run(&["host", "sh", "-c", script]);
    // The working directory may be on a file system of its own, which is
    // read-only.
    assert!(
        run.code == 0 && run.stdout == "changed\nnew\n" || run.stderr.contains("Read-only"),
        "{run}"
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "content");
    assert!(!sandbox.work().join("kept/new").exists());

    let kept = sandbox.work().join("kept");
    let volume = format!("{0}:{0}", kept.display());
    sandbox
        .run(&["-v", &volume, "host", "sh", "-c", script])
        .expect(0);
    assert_eq!(fs::read_to_string(&file).unwrap(), "changed\n");
    assert!(kept.join("new").exists());
    // The programs of the machine work.
    let output = sandbox.run(&["host", "ls", "/"]).expect(0);
    assert!(output.stdout.contains("usr"), "{output}");
}

#[test]
fn the_image_host_starts_while_others_tidy_up() {
    let sandbox = Sandbox::new();
    // With a mount in it, /var/tmp is put together from parts.
    let script = "place=$(mktemp -d /var/tmp/bryo-tidy.XXXXXX) && mount -t tmpfs none $place
        (while :; do mkdir $place.1 $place.2; rmdir $place.1 $place.2; done) & other=$!
        for run in $(seq 30); do
          $BRYO run --rm --network none host true || break
        done
        kill $other; wait $other
        umount $place; rmdir $place; rmdir $place.1 $place.2 2>&-
        echo $run";
    let unshare = sandbox
        .command("unshare")
        .args(["-Urm", "sh", "-c", script]);
    let output = unshare.env("BRYO", bryo()).output().expect(0);
    assert_eq!(output.stdout, "30\n", "{output}");
}

#[test]
fn a_root_file_system_can_be_a_directory_or_an_archive() {
    let sandbox = Sandbox::new();
    let tree = sandbox.busybox_tree("tree");
    let tree = tree.to_str().unwrap();
    let touch = ["sh", "-c", "touch /x; cat /proc/1/comm"];
    // Below an overlay the directory stays as it is.
    sandbox
        .run(&[&[&*format!("dir:{tree}")], &touch[..]].concat())
        .expect(0);
    assert!(!Path::new(tree).join("x").exists());
    sandbox
        .run(&[&["--rootfs", tree], &touch[..]].concat())
        .expect(0);
    assert!(Path::new(tree).join("x").exists());
    let tar = format!("tar:{}", crate::common::busybox_tar().display());
    sandbox.run(&[&[&*tar], &touch[..]].concat()).expect(0);
    let missing = sandbox.run(&["dir:/nowhere", "true"]).expect(125);
    assert!(missing.stderr.contains("/nowhere"), "{missing}");
    let missing = sandbox.run(&["--rootfs", "/nowhere", "true"]).expect(125);
    assert!(missing.stderr.contains("/nowhere"), "{missing}");
    let missing = sandbox.run(&["tar:/nowhere", "true"]).expect(125);
    assert!(missing.stderr.contains("/nowhere"), "{missing}");
}

#[test]
fn an_archive_of_docker_runs_with_its_configuration() {
    let sandbox = Sandbox::new();
    let umoci = require_tool("umoci", "umoci");
    let skopeo = require_tool("skopeo", "skopeo");
    let layout = sandbox.work().join("layout");
    let path = |p: &Path| p.to_str().unwrap().to_owned();
    tool(&umoci, &["init", "--layout", &path(&layout)]);
    let image = format!("{}:latest", layout.display());
    tool(&umoci, &["new", "--image", &image]);
    let tar = path(&crate::common::busybox_tar());
    tool(&umoci, &["raw", "add-layer", "--image", &image, &tar]);
    tool(
        &umoci,
        &[
            "config",
            "--image",
            &image,
            "--config.entrypoint",
            "echo",
            "--config.cmd",
            "from the image",
            "--config.env",
            "COLOUR=green",
            "--config.workingdir",
            "/made/here",
            "--config.user",
            "www-data",
            "--config.label",
            "a=b",
            "--config.stopsignal",
            "SIGUSR1",
        ],
    );
    let archive = sandbox.work().join("docker.tar");
    let home = sandbox.work();
    let copy = sandbox
        .command(skopeo)
        .args(["--insecure-policy", "--tmpdir"])
        .arg(&home);
    let copy = copy.args(["copy", "-q", &format!("oci:{image}")]);
    copy.arg(format!("docker-archive:{}:x:latest", archive.display()))
        .output()
        .expect(0);

    for source in [
        format!("docker-archive:{}", archive.display()),
        format!("oci:{image}"),
    ] {
        let run = sandbox.run(&[&source]).expect(0);
        assert_eq!(run.stdout, "from the image\n", "{run}");
        assert_eq!(sandbox.run(&[&source, "x", "y"]).expect(0).stdout, "x y\n");
        let script = "echo $COLOUR; pwd; id -u; id -g; echo $HOME";
        let flags = ["--entrypoint", "sh", &source, "-c", script];
        let run = sandbox.run(&flags).expect(0);
        assert_eq!(run.stdout, "green\n/made/here\n33\n33\n/var/www\n");
        // An entry point of the user's goes without the image's command.
        let run = sandbox.run(&["--entrypoint", "echo", &source]).expect(0);
        assert_eq!(run.stdout, "\n");
        let run = sandbox
            .run(&["--entrypoint", "", &source, "echo", "z"])
            .expect(0);
        assert_eq!(run.stdout, "z\n");
    }

    // umoci makes the same process of the image.
    let run = sandbox.bryo(["run", "--name", "c", &format!("oci:{image}")]);
    run.output().expect(0);
    let tree = path(&sandbox.busybox_tree("tree"));
    let config = path(&sandbox.work().join("config.json"));
    let args = ["raw", "runtime-config", "--rootless", "--image", &image];
    tool(&umoci, &[&args[..], &["--rootfs", &tree, &config]].concat());
    let read = |path: &str| -> serde_json::Value {
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    };
    let theirs = read(&config);
    let inspected = sandbox.inspect("c");
    let ours = read(inspected["OCIConfigPath"].as_str().unwrap());
    for field in ["args", "cwd", "user/uid", "user/gid"] {
        let field = format!("/process/{field}");
        assert!(!theirs.pointer(&field).unwrap().is_null(), "{field}");
        assert_eq!(ours.pointer(&field), theirs.pointer(&field), "{field}");
    }
    let environment = |config: &serde_json::Value| {
        let list = config["process"]["env"].as_array().unwrap().iter();
        let mut list: Vec<_> = list.map(|v| v.as_str().unwrap().to_owned()).collect();
        // umoci's always has a terminal; the host's name is docker's addition.
        list.retain(|v| !v.starts_with("TERM=") && !v.starts_with("HOSTNAME="));
        list.sort();
        list
    };
    assert_eq!(environment(&ours), environment(&theirs));
    // All that others put into a spec as a rule is done.
    let spec = serde_json::from_value(theirs.clone()).unwrap();
    bryo::runtime::Plan::new(&spec, sandbox.path()).unwrap();
    let unheeded = |config| {
        let all = bryo::runtime::fields::unheeded(config).unwrap();
        all.into_iter().map(|u| u.field).collect::<Vec<_>>()
    };
    assert_eq!(unheeded(&theirs), [""; 0]);
    assert_eq!(unheeded(&ours), [""; 0]);
    let signal = &theirs["annotations"]["org.opencontainers.image.stopSignal"];
    assert_eq!(inspected["Config"]["StopSignal"], *signal);
    assert_eq!(
        inspected["Config"]["Labels"]["a"],
        theirs["annotations"]["a"]
    );
    sandbox.bryo(["rm", "c"]).output().expect(0);
}

#[test]
fn what_a_spec_asks_for_and_bryo_does_not_do_is_refused_by_its_name() {
    let sandbox = Sandbox::with_busybox();
    let run = sandbox.bryo(["create", "--name", "c", "busybox", "true"]);
    run.output().expect(0);
    let inspected = sandbox.inspect("c");
    let path = inspected["OCIConfigPath"].as_str().unwrap();
    let ours: serde_json::Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    for (place, value) in [
        ("process", serde_json::json!({"apparmorProfile": "profile"})),
        ("linux", serde_json::json!({"intelRdt": {"closID": "a"}})),
        (
            "hooks",
            serde_json::json!({"poststop": [{"path": "/bin/true"}]}),
        ),
    ] {
        let mut asks = ours.clone();
        let (field, value) = value.as_object().unwrap().iter().next().unwrap();
        asks[place][field] = value.clone();
        fs::write(path, asks.to_string()).unwrap();
        let refused = sandbox.bryo(["start", "-a", "c"]).output().expect(1);
        let name = format!("{place}.{field}: not supported: ");
        assert!(refused.stderr.contains(&name), "{refused}");
        assert!(refused.stderr.contains("hint:  leave it out"), "{refused}");
    }
    fs::write(path, ours.to_string()).unwrap();
    sandbox.bryo(["start", "-a", "c"]).output().expect(0);
    sandbox.bryo(["rm", "c"]).output().expect(0);
}

#[test]
fn processes_are_told_apart_in_the_state() {
    let sandbox = Sandbox::with_busybox();
    let running = sandbox.start("alive", &["--rm"]);
    let pid = sandbox.pid("alive");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(field(&status, "NSpid").ends_with("\t1"), "{status}");
    assert_eq!(sandbox.inspect("alive")["State"]["Status"], "running");
    let refused = sandbox.bryo(["rm", "alive"]).output().expect(1);
    assert!(refused.stderr.contains("is running"), "{refused}");
    sandbox.bryo(["rm", "-f", "alive"]).output().expect(0);
    running.wait().expect(128 + 9);
    wait_for("the process to be gone", || {
        (!Path::new(&format!("/proc/{pid}")).exists()).then_some(())
    });
}
