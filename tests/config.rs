//! Settings: whose file goes before whose, and what is wrong with them.

use crate::common::Sandbox;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

fn home(sandbox: &Sandbox, name: &str, text: &str) -> PathBuf {
    let path = sandbox.path().join("home").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

/// What `bryo info` says of a setting: value and origin.
fn setting(sandbox: &Sandbox, name: &str) -> (String, String) {
    let info = sandbox.bryo(["info", "--format", "json"]).stdout();
    let info: Value = serde_json::from_str(&info).unwrap();
    let all = info["Config"].as_array().unwrap();
    let found = all.iter().find(|setting| setting["Name"] == name).unwrap();
    let text = |key: &str| found[key].as_str().unwrap_or("-").to_owned();
    (text("Value"), text("From"))
}

#[test]
fn files_are_the_defaults_of_flags() {
    let sandbox = Sandbox::with_busybox();
    let built_in = setting(&sandbox, "registry.retries");
    assert_eq!(built_in, ("3".to_owned(), "built in".to_owned()));
    let podman = home(
        &sandbox,
        ".config/containers/containers.conf",
        "[engine]\nretry = 7\nimage_parallel_copies = 2\n[containers]\nlog_driver = \"passthrough\"\n",
    );
    home(
        &sandbox,
        ".docker/config.json",
        r#"{"psFormat":"table {{.Names}}","imagesFormat":"{{.Repository}}!"}"#,
    );
    let from = podman.display().to_string();
    assert_eq!(
        setting(&sandbox, "registry.retries"),
        ("7".to_owned(), from)
    );
    assert_eq!(setting(&sandbox, "registry.parallel").0, "2");
    // What we do not have is no setting of ours.
    assert_eq!(setting(&sandbox, "run.log-driver").1, "built in");
    assert_eq!(sandbox.bryo(["images"]).stdout(), "busybox!");
    assert_eq!(sandbox.bryo(["image", "ls"]).stdout(), "busybox!");
    assert_eq!(sandbox.bryo(["ps"]).stdout(), "NAMES");
    // The user's own file goes before those, and the command line before all.
    let own = home(
        &sandbox,
        ".config/bryo/config.toml",
        "[registry]\nretries = 0\n[run]\nnetwork = \"none\"\nlog-driver = \"none\"\n\
         [format]\nimages = \"table\"\n",
    );
    let from = own.display().to_string();
    assert_eq!(
        setting(&sandbox, "registry.retries"),
        ("0".to_owned(), from)
    );
    assert!(sandbox.bryo(["images"]).stdout().starts_with("REPOSITORY"));
    let json = sandbox.bryo(["images", "--format", "json"]).stdout();
    assert!(json.starts_with('{'), "{json}");
    let interfaces = |flags: &[&str]| {
        let run = sandbox.bryo(["run", "--rm"]).args(flags);
        let output = run.args(["busybox", "ls", "/sys/class/net"]).stdout();
        output.lines().count()
    };
    assert_eq!(interfaces(&[]), 1);
    assert!(interfaces(&["--network", "host"]) >= 1);
    sandbox
        .bryo(["run", "--name", "c", "busybox", "echo", "x"])
        .output()
        .expect(0);
    let logs = sandbox.bryo(["logs", "c"]).output().expect(1);
    assert!(logs.stderr.contains("none"), "{logs}");
    sandbox.bryo(["rm", "c"]).output().expect(0);
    let text = sandbox.bryo(["info"]).stdout();
    assert!(text.contains("run.network"), "{text}");
}

#[test]
fn the_store_can_be_elsewhere() {
    let sandbox = Sandbox::new();
    let place = sandbox.work().join("elsewhere");
    let text = format!("root = {:?}\n", place.display().to_string());
    home(&sandbox, ".config/bryo/config.toml", &text);
    let root = |variable: &str| {
        let info = sandbox
            .bryo(["info", "--format", "json"])
            .env("BRYO_ROOT", variable);
        let info: Value = serde_json::from_str(&info.stdout()).unwrap();
        info["DockerRootDir"].as_str().unwrap().to_owned()
    };
    assert_eq!(root(""), place.display().to_string());
    let own = sandbox.root().display().to_string();
    assert_eq!(root(&own), own);
}

#[test]
fn a_wrong_setting_is_one_error() {
    let sandbox = Sandbox::new();
    for (text, why) in [
        ("[run]\nnetwrk = \"x\"\n", "there is no setting run.netwrk"),
        ("[registry]\nretries = \"many\"\n", "registry.retries"),
        ("[registry]\nparallel = 0\n", "registry.parallel"),
        ("[run", "TOML"),
    ] {
        home(&sandbox, ".config/bryo/config.toml", text);
        let output = sandbox.bryo(["pull", "127.0.0.1:1/x"]).output().expect(125);
        assert!(output.stderr.contains(why), "{output}");
        assert!(output.stderr.contains("bryo/config.toml"), "{output}");
        assert_eq!(output.stderr.matches("error: ").count(), 1, "{output}");
        // What does not need it works.
        sandbox.bryo(["version"]).output().expect(0);
    }
    // So it is where the value has a form of its own.
    for (setting, why) in [
        (
            "network = \"user:mtu=1\"",
            "run.network: --network user:mtu=1: a number from",
        ),
        (
            "shm-size = \"64x\"",
            "run.shm-size: '64x' is no amount of bytes",
        ),
        (
            "log-driver = \"syslog\"",
            "run.log-driver: --log-driver syslog: not supported",
        ),
        (
            "userns = \"some\"",
            "run.userns: --userns some: there are auto",
        ),
        (
            "detach-keys = \"DEL\"",
            "run.detach-keys: detach keys 'DEL': 'DEL' is neither",
        ),
    ] {
        home(
            &sandbox,
            ".config/bryo/config.toml",
            &format!("[run]\n{setting}\n"),
        );
        let output = sandbox.bryo(["run", "nothing"]).output().expect(125);
        assert!(
            output.stderr.contains(&format!("bryo/config.toml: {why}")),
            "{output}"
        );
    }
}
