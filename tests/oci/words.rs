//! The command line itself: what is known, what it says of itself, what it writes.

use super::Runtime;
use serde_json::{Value, json};
use std::fs;

#[test]
fn what_is_not_known_is_said() {
    let runtime = Runtime::bryo();
    for (words, code, says) in [
        (&["nope"][..], 3, "No help topic for 'nope'"),
        (&["state", "--nope", "c"], 1, "--nope"),
        (&["state"], 1, "<ID>"),
        (&["kill", "c", "NOSUCH"], 1, "unknown signal"),
        (&["checkpoint", "--help"], 1, "checkpoint: not supported"),
        (
            &["checkpoint", "--image-path", "x", "c"],
            1,
            "not supported",
        ),
        (&["restore", "--image-path=x", "c"], 1, "not supported"),
        (&["update", "--memory", "x", "c"], 1, "is no amount"),
        (&["--cgroup-manager", "nobody", "list"], 1, "nobody"),
    ] {
        let said = runtime.call(words).expect(code);
        assert!(said.stderr.contains(says), "{words:?}: {said}");
        assert!(said.stderr.starts_with("bryo-oci: "), "{said}");
    }
    let bundle = runtime.bundle.to_str().unwrap();
    // As Go's programs take them.
    let words = ["run", "-no-subreaper", "-bundle", bundle, "c"];
    runtime.call(&words).expect(7);
    assert!(runtime.call(&[]).expect(0).stdout.contains("create"));
}

#[test]
fn features_are_told_as_a_document() {
    for runtime in [Runtime::bryo(), Runtime::runc()] {
        let said = runtime.call(&["features"]).expect(0);
        // cri-o reads both.
        assert_eq!(said.stderr, "");
        let said: Value = serde_json::from_str(&said.stdout).unwrap();
        assert_eq!(said["ociVersionMin"], "1.0.0");
        let has =
            |list: &Value, word: &str| list.as_array().unwrap().iter().any(|other| other == word);
        assert!(has(&said["hooks"], "createRuntime"));
        assert!(has(&said["mountOptions"], "rbind"));
        assert!(has(&said["linux"]["namespaces"], "user"));
        assert!(has(&said["linux"]["capabilities"], "CAP_CHOWN"));
        assert!(has(&said["linux"]["seccomp"]["actions"], "SCMP_ACT_ERRNO"));
        assert_eq!(said["linux"]["cgroup"]["v2"], true);
    }
}

#[test]
fn a_specification_to_begin_with_is_one_that_runs() {
    let writer = Runtime::bryo();
    let config = writer.bundle.join("config.json");
    let bundle = writer.bundle.to_str().unwrap().to_owned();
    let words = ["spec", "--rootless", "-b", &bundle];
    let refused = writer.call(&words).expect(1);
    assert!(
        refused.stderr.contains("exists. Remove it first"),
        "{refused}"
    );
    fs::remove_file(&config).unwrap();
    writer.call(&words).expect(0);
    let mut spec: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    assert_eq!(spec["process"]["args"], json!(["sh"]));
    spec["process"]["terminal"] = json!(false);
    spec["process"]["args"] = json!(["sh", "-c", "hostname; id -u"]);
    for runtime in [Runtime::bryo(), Runtime::runc()] {
        for place in ["dev/pts", "dev/shm", "dev/mqueue", "sys/fs/cgroup"] {
            fs::create_dir_all(runtime.bundle.join("rootfs").join(place)).unwrap();
        }
        fs::write(runtime.bundle.join("config.json"), spec.to_string()).unwrap();
        assert_eq!(runtime.run(&runtime.id).expect(0).stdout, "bryo\n0\n");
    }
    fs::remove_file(&config).unwrap();
    writer.call(&["spec", "--bundle", &bundle]).expect(0);
    let spec: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    assert_eq!(spec["linux"]["resources"]["devices"][0]["allow"], false);
}

#[test]
fn exec_changes_what_its_flags_say() {
    for runtime in [Runtime::bryo(), Runtime::runc()] {
        let id = runtime.id.as_str();
        runtime.configure(&["sleep", "1000"], |config| {
            let sets = [
                "bounding",
                "effective",
                "permitted",
                "inheritable",
                "ambient",
            ];
            let sets = sets.map(|set| (set.to_owned(), json!(["CAP_KILL"])));
            let sets: serde_json::Map<_, _> = sets.into_iter().collect();
            config["process"]["capabilities"] = Value::Object(sets);
            config["process"]["noNewPrivileges"] = json!(false);
        });
        runtime.create(id, &[]).expect(0);
        let status = |flags: &[&str], line: &str| {
            let command = [id, "grep", line, "/proc/self/status"];
            let said = runtime
                .call(&[&["exec"], flags, &command].concat())
                .expect(0);
            said.stdout.split_whitespace().last().unwrap().to_owned()
        };
        assert_eq!(status(&[], "CapEff"), "0000000000000020");
        assert_eq!(
            status(&["--cap", "CAP_CHOWN"], "CapEff"),
            "0000000000000021"
        );
        assert_eq!(status(&["-c", "CAP_CHOWN"], "CapBnd"), "0000000000000021");
        assert_eq!(status(&[], "NoNewPrivs"), "0");
        assert_eq!(status(&["--no-new-privs"], "NoNewPrivs"), "1");
        let words = [
            "exec",
            "--cwd",
            "/bin",
            "-e",
            "A=b",
            id,
            "sh",
            "-c",
            "pwd; echo $A",
        ];
        assert_eq!(runtime.call(&words).expect(0).stdout, "/bin\nb\n");
        // There is one group alone.
        let groups = runtime.call(&["exec", "-g", "5", id, "true"]).expect(255);
        assert!(groups.stderr.contains("additional groups"), "{groups}");
        runtime.call(&["delete", "--force", id]).expect(0);
    }
    let runtime = Runtime::bryo();
    runtime.configure(&["sleep", "1000"], |_| {});
    runtime.create("c", &[]).expect(0);
    for (flags, says) in [
        (["--apparmor", "x"], "apparmorProfile"),
        (["--process-label", "x"], "selinuxLabel"),
        (["--cap", "CAP_NONE"], "capabilities(7)"),
    ] {
        let refused = runtime
            .call(&[&["exec"][..], &flags, &["c", "true"]].concat())
            .expect(255);
        assert!(refused.stderr.contains(says), "{refused}");
    }
    runtime.call(&["delete", "--force", "c"]).expect(0);
}
