//! Flags of `bryo run` that shape the process: its variables, ids,
//! capabilities, filters, limits, names.

use crate::common::{Sandbox, busybox_tar, field};
use std::fs;

/// `/proc/self/status` in a container run with these flags.
fn status(sandbox: &Sandbox, flags: &[&str]) -> String {
    sandbox.shell(flags, "cat /proc/self/status")
}

#[test]
fn variables() {
    let sandbox = Sandbox::with_busybox();
    let file = "# comment\n\n  FROM_FILE=a b # c\nPASSED\nABSENT\nTWICE=file\nEMPTY=\n";
    let file = sandbox.write("vars", file);
    let run = sandbox.bryo(["run", "--rm", "--env-file"]).arg(file);
    let run = run.args(["-e", "TWICE=flag", "-e", "PASSED_TOO", "-e", "E=a=b\nc"]);
    let run = run.args(["--hostname", "box", "busybox", "env"]);
    let run = run
        .env("PASSED", "1")
        .env("PASSED_TOO", "2")
        .env("SECRET", "3");
    let printed = run.env_remove("ABSENT").stdout();
    for line in [
        "FROM_FILE=a b # c",
        "PASSED=1",
        "PASSED_TOO=2",
        "TWICE=flag",
        "EMPTY=",
        "E=a=b\nc",
        "HOSTNAME=box",
        "HOME=/root",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ] {
        assert!(
            format!("\n{printed}\n").contains(&format!("\n{line}\n")),
            "{line} in {printed}"
        );
    }
    for absent in ["SECRET", "ABSENT", "BRYO_ROOT", "XDG_RUNTIME_DIR", "TERM="] {
        assert!(!printed.contains(absent), "{absent} in {printed}");
    }
    for bad in ["=x", ""] {
        let refused = sandbox.run(&["-e", bad, "busybox", "true"]).expect(125);
        assert!(refused.stderr.contains("has no name"), "{refused}");
    }
    sandbox
        .run(&["--env-file", "/nowhere", "busybox", "true"])
        .expect(125);
}

#[test]
fn files_of_variables_are_dockers() {
    let sandbox = Sandbox::with_busybox();
    let good = "\u{feff}FIRST=1\r\n  QUOTED=\"a b\" # c\nLAST='x'";
    let file = sandbox.write("good", good).display().to_string();
    let said = sandbox.shell(&["--env-file", &file], "env | grep -E 'FIRST|QUOTED|LAST'");
    let mut lines: Vec<&str> = said.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["FIRST=1", "LAST='x'", "QUOTED=\"a b\" # c"]);
    for (text, line, word) in [
        ("OK=1\nexport X=1\n", "line 2", "leave out 'export'"),
        ("A B=1\n", "line 1", "'A B' contains blanks"),
        ("#\n\n=1\n", "line 3", "no name"),
    ] {
        let file = sandbox.write("bad", text).display().to_string();
        for verb in ["run", "create"] {
            let refused = sandbox.bryo([verb, "--env-file", &file, "busybox", "true"]);
            let refused = refused.output().expect(125);
            for part in [&file, line, word] {
                assert!(refused.stderr.contains(part), "{refused}");
            }
        }
    }
    // A name that is not set here takes the image's away, with exec the container's.
    let import = sandbox.bryo(["import", "-c", "ENV X=1 Y=2"]);
    import.arg(busybox_tar()).arg("with").output().expect(0);
    let run = sandbox.bryo([
        "run", "-d", "--name", "c", "-e", "X", "with", "sleep", "1000",
    ]);
    run.env_remove("X").output().expect(0);
    let exec = |flags: &[&str]| {
        let exec = sandbox.bryo(["exec"]).args(flags).args(["c", "env"]);
        let said = exec.env_remove("Y").stdout();
        let mut lines: Vec<String> = said.lines().map(str::to_owned).collect();
        lines.retain(|line| line.starts_with(['X', 'Y']));
        lines
    };
    assert_eq!(exec(&[]), ["Y=2"]);
    assert!(exec(&["-e", "Y"]).is_empty());
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
}

#[test]
fn a_working_directory_is_made_if_missing() {
    let sandbox = Sandbox::with_busybox();
    let pwd = |dir| sandbox.shell(&["-w", dir], "pwd; ls -ld . | cut -c1-10");
    assert_eq!(pwd("/tmp"), "/tmp\ndrwxrwxrwt");
    assert_eq!(pwd("/a/new/one"), "/a/new/one\ndrwxr-xr-x");
    assert_eq!(pwd("/var/run/x"), "/run/x\ndrwxr-xr-x");
    let file = sandbox.run(&["-w", "/etc/passwd", "busybox", "true"]);
    assert!(file.expect(125).stderr.contains("/etc/passwd"));
    let nowhere = sandbox.run(&["--read-only", "-w", "/not/there", "busybox", "true"]);
    assert!(nowhere.expect(125).stderr.contains("/not"));
}

#[test]
fn users_and_groups_are_looked_up_in_the_image() {
    let sandbox = Sandbox::with_busybox();
    let ids = |user| sandbox.shell(&["-u", user], "echo $(id -u) $(id -g) $HOME");
    assert_eq!(ids("root"), "0 0 /root");
    assert_eq!(ids("0"), "0 0 /root");
    assert_eq!(ids("www-data"), "33 33 /var/www");
    assert_eq!(ids("33"), "33 33 /var/www");
    assert_eq!(ids("nobody"), "65534 65534 /home");
    assert_eq!(ids("1000"), "1000 0 /");
    assert_eq!(ids("1000:1000"), "1000 1000 /");
    assert_eq!(ids("www-data:users"), "33 100 /var/www");
    assert_eq!(ids(":users"), "0 100 /root");
    for (user, word) in [
        ("nosuch", "nosuch"),
        ("root:nosuch", "nosuch"),
        ("-1", "-1"),
    ] {
        let flag = format!("--user={user}");
        let refused = sandbox.run(&[&flag, "busybox", "true"]).expect(125);
        assert!(refused.stderr.contains(word), "{refused}");
    }
    // The user is known by name inside, may write to a home of its own, and
    // owns what it makes.
    let script = "whoami; touch /tmp/x && ls -l /tmp/x | tr -s ' ' | cut -d' ' -f3,4";
    assert_eq!(
        sandbox.shell(&["-u", "www-data"], script),
        "www-data\nwww-data www-data"
    );
}

#[test]
fn a_user_who_is_not_root_has_no_capabilities() {
    let sandbox = Sandbox::with_busybox();
    let status = status(&sandbox, &["-u", "1000"]);
    for set in ["CapEff", "CapPrm", "CapAmb", "CapInh"] {
        assert_eq!(field(&status, set), "0000000000000000", "{set}");
    }
}

#[test]
fn capabilities_are_dockers() {
    let sandbox = Sandbox::with_busybox();
    let sets = |flags: &[&str]| {
        let status = status(&sandbox, flags);
        let set = |name| u64::from_str_radix(field(&status, name), 16).unwrap();
        assert_eq!((set("CapInh"), set("CapAmb")), (0, 0), "{flags:?}");
        let [bounding, permitted, effective] = ["CapBnd", "CapPrm", "CapEff"].map(set);
        assert_eq!((permitted, effective), (bounding, bounding), "{flags:?}");
        bounding
    };
    // Docker's fourteen: runc(8) and the moby profile list them.
    assert_eq!(sets(&[]), 0xa80425fb);
    assert_eq!(sets(&["--cap-add", "SYS_ADMIN"]), 0xa80425fb | 1 << 21);
    assert_eq!(
        sets(&["--cap-add", "cap_sys_admin", "--cap-drop", "chown"]),
        0xa82425fa
    );
    assert_eq!(sets(&["--cap-drop", "ALL"]), 0);
    assert_eq!(sets(&["--cap-drop=ALL", "--cap-add=net_raw"]), 1 << 13);
    let last: u32 = fs::read_to_string("/proc/sys/kernel/cap_last_cap")
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let all = (1 << (last + 1)) - 1;
    assert_eq!(sets(&["--cap-add", "ALL"]), all);
    assert_eq!(
        sets(&["--cap-add=ALL", "--cap-drop=SYS_ADMIN"]),
        all & !(1 << 21)
    );
    assert_eq!(sets(&["--privileged"]), all);
    let refused = sandbox
        .run(&["--cap-add", "FLY", "busybox", "true"])
        .expect(125);
    assert!(refused.stderr.contains("FLY"), "{refused}");
}

#[test]
fn the_filter_is_on_unless_told_otherwise() {
    let sandbox = Sandbox::with_busybox();
    // Without the filter by which root is emulated.
    let seccomp = |flags: &[&str]| {
        let flags = [&["--root-emulation=off"], flags].concat();
        field(&status(&sandbox, &flags), "Seccomp").to_owned()
    };
    assert_eq!(seccomp(&[]), "2");
    assert_eq!(seccomp(&["--cap-add", "ALL"]), "2");
    assert_eq!(seccomp(&["--security-opt", "seccomp=unconfined"]), "0");
    assert_eq!(seccomp(&["--privileged"]), "0");

    let profile = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}"#;
    let profile = sandbox.write("profile.json", profile);
    let option = format!("seccomp={}", profile.display());
    let refused = sandbox.shell(&["--security-opt", &option], "mkdir /x 2>&1 || true");
    assert!(refused.contains("No space left"), "{refused}");
    for (content, word) in [("{", "profile"), (r#"{"defaultAction": "X"}"#, "X")] {
        let broken = sandbox.write("broken.json", content);
        let option = format!("seccomp={}", broken.display());
        let refused = sandbox
            .run(&["--security-opt", &option, "busybox", "true"])
            .expect(125);
        assert!(refused.stderr.contains("broken.json"), "{refused}");
        assert!(refused.stderr.contains(word), "{refused}");
    }
    sandbox
        .run(&["--security-opt", "seccomp=/nowhere", "busybox", "true"])
        .expect(125);
}

#[test]
fn new_privileges_are_off_with_one_id_and_where_asked_for() {
    let sandbox = Sandbox::with_busybox();
    let all = |flags: &[&str]| status(&sandbox, flags);
    let bit = |flags: &[&str]| field(&all(flags), "NoNewPrivs").to_owned();
    let ranged = sandbox.shell(&[], "wc -l </proc/self/uid_map") != "1";
    let by_itself = if ranged { "0" } else { "1" };
    assert_eq!(bit(&[]), by_itself);
    assert_eq!(bit(&["--userns", "single"]), "1");
    assert_eq!(bit(&["--privileged"]), "0");
    for (value, expected) in [
        ("", "1"),
        ("=true", "1"),
        (":1", "1"),
        ("=false", "0"),
        (":False", "0"),
    ] {
        let option = format!("no-new-privileges{value}");
        assert_eq!(bit(&["--security-opt", &option]), expected, "{option}");
    }
    let flags = ["--privileged", "--security-opt", "no-new-privileges"];
    assert_eq!(bit(&flags), "1");
    let wrong = ["--security-opt", "no-new-privileges=maybe", "busybox"];
    let refused = sandbox.run(&wrong).expect(125);
    assert!(refused.stderr.contains("'maybe'"), "{refused}");
}

/// Without the bit the filter is loaded by a right that a new user id, and the
/// container's own set, take away.
#[test]
fn the_filter_is_in_force_without_the_bit_too() {
    let sandbox = Sandbox::with_busybox();
    let off = ["--security-opt", "no-new-privileges=false"];
    for flags in [
        &[][..],
        &["-u", "1000"],
        &["-u", "1000", "--cap-drop", "ALL"],
        &["-u", "1000", "--cap-add", "ALL"],
        &["--userns", "single"],
        &["--userns", "single", "-u", "1000"],
        &["--userns", "single", "--root-emulation", "off"],
        &["--userns", "single", "-u", "1000", "--root-emulation", "on"],
        &["--userns", "keep-id"],
    ] {
        let flags = [&off[..], flags].concat();
        let asked = flags.contains(&"1000");
        let check = |status: &str| {
            assert_eq!(field(status, "NoNewPrivs"), "0", "{flags:?}");
            assert_eq!(field(status, "Seccomp"), "2", "{flags:?}");
            if asked {
                assert!(field(status, "Uid").starts_with("1000"), "{status}");
                for set in ["CapEff", "CapPrm", "CapAmb", "CapInh"] {
                    assert_eq!(field(status, set), "0000000000000000", "{flags:?} {set}");
                }
            }
        };
        check(&status(&sandbox, &flags));
        // With all capabilities the profile lets that pass.
        if !flags.contains(&"--cap-add") {
            let refused = sandbox.shell(&flags, "unshare -U true 2>&1 || true");
            assert!(refused.contains("not permitted"), "{flags:?} {refused}");
        }
        // What comes later follows the container's setting.
        let running = sandbox.start("c", &flags);
        for user in [&[][..], &["-u", "1000"]] {
            if user.len() > 1 && sandbox.shell(&flags, "wc -l </proc/self/uid_map") == "1" {
                continue;
            }
            let exec = sandbox.bryo(["exec"]).args(user);
            let status = exec.args(["c", "cat", "/proc/self/status"]).output();
            let status = status.expect(0).stdout;
            assert_eq!(field(&status, "NoNewPrivs"), "0", "{flags:?} {user:?}");
            assert_eq!(field(&status, "Seccomp"), "2", "{flags:?} {user:?}");
        }
        let inspected = sandbox.inspect("c");
        assert_eq!(
            inspected["HostConfig"]["SecurityOpt"],
            serde_json::json!([])
        );
        running.signal(nix::sys::signal::Signal::SIGTERM);
        running.wait().expect(0);
        sandbox.bryo(["rm", "c"]).output().expect(0);
    }
}

#[test]
fn a_privileged_container_sees_what_is_masked_and_the_devices() {
    let sandbox = Sandbox::with_busybox();
    let run = |flags: &[&str], script| sandbox.shell(flags, script);
    let masked =
        "wc -c </proc/keys; cat /proc/timer_list 2>/dev/null | wc -c; ls /sys/firmware | wc -l";
    assert_eq!(run(&[], masked), "0\n0\n0");
    assert!(run(&["--privileged"], "ls /sys/firmware | wc -l") != "0");
    let script =
        "mount -t tmpfs none /mnt 2>&1 || mkdir /mnt && mount -t tmpfs none /mnt && echo mounted";
    assert!(run(&["--privileged"], script).ends_with("mounted"));
    let sysctl = "echo 0 > /proc/sys/net/ipv4/ip_forward && echo set";
    assert_eq!(run(&["--privileged"], sysctl), "set");
    let read_only = "echo 0 > /proc/sys/net/ipv4/ip_forward";
    let flags = ["--network", "none", "busybox", "sh", "-c", read_only];
    let refused = sandbox.run(&flags);
    assert!(refused.stderr.contains("Read-only"), "{refused}");
}

#[test]
fn masked_and_read_only_paths_can_be_opened() {
    let sandbox = Sandbox::with_busybox();
    let option = [
        "--cap-add=NET_ADMIN",
        "--security-opt",
        "unmask=/proc/sys:/sys/firmware",
    ];
    let script = "echo 1 > /proc/sys/net/ipv4/ip_forward && cat /proc/sys/net/ipv4/ip_forward";
    assert_eq!(sandbox.shell(&option, script), "1");
    let option = [
        "--cap-add=NET_ADMIN",
        "--security-opt",
        "systempaths=unconfined",
    ];
    assert_eq!(sandbox.shell(&option, script), "1");
    let refused = sandbox.shell(
        &["--cap-add=NET_ADMIN"],
        "(echo 1 > /proc/sys/net/ipv4/ip_forward) 2>&1 || true",
    );
    assert!(refused.contains("Read-only"), "{refused}");
}

#[test]
fn limits() {
    let sandbox = Sandbox::with_busybox();
    let flags = [
        "--ulimit",
        "nofile=64:128",
        "--ulimit",
        "core=0",
        "--ulimit",
        "stack=1048576",
    ];
    let script = "ulimit -Sn; ulimit -Hn; ulimit -c; ulimit -s";
    assert_eq!(sandbox.shell(&flags, script), "64\n128\n0\n1024");
    for bad in ["nofile", "nofile=a", "nofile=9:8", "speed=9"] {
        let refused = sandbox
            .run(&["--ulimit", bad, "busybox", "true"])
            .expect(125);
        assert!(refused.stderr.contains(bad), "{refused}");
    }
    // More than the user may have is an error, not less than asked for.
    let too_much = sandbox.run(&["--ulimit", "nofile=1000000000", "busybox", "true"]);
    let said = too_much.expect(125).stderr;
    assert!(
        said.contains("--ulimit nofile=1000000000:1000000000: your own hard limit is"),
        "{said}"
    );
}

#[test]
fn kernel_parameters_of_its_own_namespaces() {
    let sandbox = Sandbox::with_busybox();
    let flags = [
        "--sysctl",
        "net.ipv4.ip_forward=1",
        "--sysctl",
        "kernel.shmmax=12345",
    ];
    let script = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax";
    assert_eq!(sandbox.shell(&flags, script), "1\n12345");
    for (flags, word) in [
        (&["--sysctl", "kernel.panic=1"][..], "whole machine"),
        (
            &["--network=host", "--sysctl", "net.ipv4.ip_forward=1"],
            "network namespace",
        ),
        (
            &["--ipc=host", "--sysctl", "kernel.shmmax=1"],
            "IPC namespace",
        ),
        (
            &["--network=none", "--sysctl", "net.no.such=1"],
            "net.no.such",
        ),
        (&["--sysctl", "kernel.shmmax"], "NAME=VALUE"),
    ] {
        let refused = sandbox
            .run(&[flags, &["busybox", "true"]].concat())
            .expect(125);
        assert!(refused.stderr.contains(word), "{refused}");
    }
}

#[test]
fn names_of_the_container() {
    let sandbox = Sandbox::with_busybox();
    let script =
        "hostname; cat /etc/hostname; cat /proc/sys/kernel/domainname; grep -w box /etc/hosts";
    let flags = ["-h", "box", "--domainname", "example"];
    let printed = sandbox.shell(&flags, script);
    assert_eq!(printed, "box\nbox\nexample\n127.0.1.1\tbox");
    let long = "x".repeat(65);
    sandbox.run(&["-h", &long, "busybox", "true"]).expect(125);
}

#[test]
fn hosts_and_name_servers() {
    let sandbox = Sandbox::with_busybox();
    let flags = [
        "--add-host",
        "db:10.0.0.2",
        "--add-host",
        "six:::1",
        "--dns",
        "192.0.2.1",
        "--dns-search",
        "example.org",
        "--dns-option",
        "ndots:2",
    ];
    let hosts = sandbox.shell(&flags, "cat /etc/hosts");
    assert!(
        hosts.contains("10.0.0.2\tdb") && hosts.contains("::1\tsix"),
        "{hosts}"
    );
    let resolv = sandbox.shell(&flags, "cat /etc/resolv.conf");
    assert_eq!(
        resolv,
        "search example.org\nnameserver 192.0.2.1\noptions ndots:2"
    );
    let several = ["--add-host", "a;b=[fd00::2]", "--add-host", "c=10.0.0.4"];
    let hosts = sandbox.shell(&several, "cat /etc/hosts");
    for line in ["fd00::2\ta\n", "fd00::2\tb\n", "10.0.0.4\tc\n"] {
        assert!(hosts.contains(line), "{hosts}");
    }
    // They can be written to, but nothing lasts.
    sandbox.shell(
        &[],
        "echo '10.0.0.3 x' >> /etc/hosts && grep -q 10.0.0.3 /etc/hosts",
    );
    let output = sandbox
        .run(&["--network", "host", "busybox", "cat", "/etc/resolv.conf"])
        .expect(0);
    let host = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    for server in host.lines().filter(|line| line.starts_with("nameserver")) {
        assert!(output.stdout.contains(server.trim()), "{output}");
    }
    sandbox
        .run(&["--add-host", "db:nonsense", "busybox", "true"])
        .expect(125);
    sandbox
        .run(&["--add-host", "db", "busybox", "true"])
        .expect(125);
}

#[test]
fn labels_and_annotations_are_recorded() {
    let sandbox = Sandbox::with_busybox();
    let flags = [
        "--label",
        "a=b",
        "-l",
        "empty",
        "--annotation",
        "x.y=z",
        "--stop-signal",
        "INT",
    ];
    let run = sandbox.bryo(["run", "--name", "kept"]).args(flags);
    run.args(["busybox", "true"]).output().expect(0);
    let shown = sandbox.inspect("kept");
    assert_eq!(shown["Config"]["Labels"]["a"], "b");
    assert_eq!(shown["Config"]["Labels"]["empty"], "");
    assert_eq!(shown["Config"]["StopSignal"], "INT");
    let config = fs::read(shown["OCIConfigPath"].as_str().unwrap()).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(config["annotations"]["x.y"], "z");
    sandbox
        .run(&["--stop-signal", "NONSENSE", "busybox", "true"])
        .expect(125);
    sandbox.bryo(["rm", "kept"]).output().expect(0);
}

#[test]
fn the_out_of_memory_score() {
    let sandbox = Sandbox::with_busybox();
    let script = "cat /proc/self/oom_score_adj";
    assert_eq!(sandbox.shell(&["--oom-score-adj", "500"], script), "500");
    let own = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    assert_eq!(sandbox.shell(&[], script), own.trim());
    let running = sandbox.start("scored", &["--oom-score-adj", "500"]);
    let exec = ["exec", "scored", "sh", "-c", script];
    assert_eq!(sandbox.bryo(exec).stdout(), "500");
    sandbox.bryo(["rm", "-f", "scored"]).output().expect(0);
    running.wait();
    let refused = sandbox
        .run(&["--oom-score-adj", "-1000", "busybox", "true"])
        .expect(125);
    assert!(refused.stderr.contains("oom_score_adj -1000"), "{refused}");
}

#[test]
fn the_file_mode_creation_mask() {
    let sandbox = Sandbox::with_busybox();
    assert_eq!(sandbox.shell(&[], "umask"), "0022");
    assert_eq!(sandbox.shell(&["--umask", "0077"], "umask"), "0077");
    // Docker's mask does not depend on who asks.
    let run = sandbox
        .command("sh")
        .args(["-c", "umask 0; exec \"$@\"", "sh"]);
    let run = run
        .arg(crate::common::bryo())
        .args(["run", "--rm", "busybox", "sh", "-c", "umask"]);
    assert_eq!(run.stdout(), "0022");
    sandbox
        .run(&["--umask", "999", "busybox", "true"])
        .expect(125);
}

#[test]
fn init_reaps_and_passes_signals_on() {
    let sandbox = Sandbox::with_busybox();
    let script = "echo $$; (sleep 0.01 &) ; \
        n=0; while [ $n -lt 200 ]; do grep -qs 'Name:.sleep' /proc/[0-9]*/status || break; \
        n=$((n+1)); sleep 0.05; done; \
        ps | grep -c ' sleep'; cat /proc/1/comm; grep -s State:.Z /proc/[0-9]*/status || true";
    let printed = sandbox.shell(&["--init"], script);
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines[0], "2");
    assert_eq!(lines.len(), 3, "a zombie: {printed}");
    sandbox
        .run(&["--init", "busybox", "sh", "-c", "exit 7"])
        .expect(7);
    sandbox
        .run(&["--init", "busybox", "sh", "-c", "kill -KILL $$"])
        .expect(137);
    sandbox.run(&["--init", "busybox", "/nowhere"]).expect(127);
    let running = sandbox.start("reaped", &["--init"]);
    sandbox
        .bryo(["kill", "-s", "TERM", "reaped"])
        .output()
        .expect(0);
    running.wait().expect(0);
    sandbox.bryo(["rm", "reaped"]).output().expect(0);
    let output = sandbox.bryo(["run", "--rm", "-i", "--init", "busybox", "cat"]);
    assert_eq!(output.stdin("through").stdout(), "through");
}

#[test]
fn devices() {
    let sandbox = Sandbox::with_busybox();
    let script = "for d in null zero full random urandom tty; do
            test -c /dev/$d && stat -c '%n %t:%T %a' /dev/$d; done
        for l in fd stdin stdout stderr ptmx; do readlink /dev/$l; done
        ls /dev | tr '\\n' ' '";
    let printed = sandbox.shell(&[], script);
    assert_eq!(
        printed.trim(),
        "/dev/null 1:3 666\n/dev/zero 1:5 666\n/dev/full 1:7 666\n/dev/random 1:8 666\n\
         /dev/urandom 1:9 666\n/dev/tty 5:0 666\n/proc/self/fd\n/proc/self/fd/0\n\
         /proc/self/fd/1\n/proc/self/fd/2\npts/ptmx\n\
         fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"
    );
    let script = "echo x > /dev/null && head -c 3 /dev/zero | wc -c && test -s /dev/fd/0 || echo x > /dev/full";
    let output = sandbox.run(&["busybox", "sh", "-c", script]);
    assert!(output.stdout.starts_with("3\n"), "{output}");
    sandbox.shell(
        &["--device", "/dev/null:/dev/nothing"],
        "test -c /dev/nothing && echo > /dev/nothing",
    );
    sandbox.shell(
        &["--device", "/dev/null:/dev/deep/er:rwm"],
        "test -c /dev/deep/er",
    );
    for (device, word) in [
        ("/dev/nowhere", "/dev/nowhere"),
        ("/etc/passwd", "not a device"),
    ] {
        let refused = sandbox
            .run(&["--device", device, "busybox", "true"])
            .expect(125);
        assert!(refused.stderr.contains(word), "{refused}");
    }
    // Nobody makes a device node of their own; one that is emulated is none.
    let mknod = ["busybox", "mknod", "/dev/sda", "b", "8", "0"];
    let refused = sandbox.run(&[&["--root-emulation=off"], &mknod[..]].concat());
    assert!(refused.expect(1).stderr.contains("not permitted"));
    let script = "mknod /dev/zero2 c 1 5 && head -c 1 /dev/zero2 | wc -c";
    assert_eq!(sandbox.shell(&["--userns", "single"], script), "0");
}

#[test]
fn clocks_are_shifted() {
    let sandbox = Sandbox::with_busybox();
    let uptime = |flags: &[&str]| -> f64 {
        let text = sandbox.shell(flags, "cut -d' ' -f1 /proc/uptime");
        text.trim().parse().unwrap()
    };
    let shift = uptime(&["--time-offset", "boottime=1000000"]) - uptime(&[]);
    assert!((999_000.0..1_001_000.0).contains(&shift), "{shift}");
    for bad in ["realtime=1", "boottime", "boottime=x"] {
        let refused = sandbox.run(&["--time-offset", bad, "busybox", "true"]);
        assert!(refused.expect(125).stderr.contains(bad));
    }
}

#[test]
fn proxies_are_passed_on_and_other_variables_when_asked_for() {
    let sandbox = Sandbox::with_busybox();
    let env = |flags: &[&str]| {
        let run = sandbox.bryo(["run", "--rm"]).args(flags);
        let run = run.args(["busybox", "env"]).env("OF_HOST", "1");
        let run = run.env("http_proxy", "http://p:1").env("NO_PROXY", "a,b");
        let mut lines: Vec<String> = run.stdout().lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    let has = |lines: &[String], line: &str| lines.iter().any(|found| found == line);
    let plain = env(&[]);
    assert!(has(&plain, "http_proxy=http://p:1") && has(&plain, "NO_PROXY=a,b"));
    assert!(!has(&plain, "OF_HOST=1"));
    let without = env(&["--http-proxy=false"]);
    assert!(
        !without
            .iter()
            .any(|line| line.to_lowercase().contains("proxy"))
    );
    let own = env(&["-e", "http_proxy=http://q:2", "--env-host"]);
    assert!(has(&own, "http_proxy=http://q:2") && has(&own, "OF_HOST=1"));

    // What is this machine's does not go into images.
    let create = sandbox.bryo(["create", "--name", "c", "busybox", "true"]);
    create.env("https_proxy", "http://p:1").output().expect(0);
    sandbox.bryo(["commit", "c", "made"]).output().expect(0);
    let config = sandbox.bryo(["inspect", "made"]).stdout();
    assert!(!config.contains("https_proxy"), "{config}");
    sandbox.bryo(["rm", "c"]).output().expect(0);
}

#[test]
fn variables_of_the_image_are_merged_and_left_out() {
    let sandbox = Sandbox::with_busybox();
    let create = [
        "create", "--name", "c", "-e", "A=1", "-e", "B=2", "busybox", "true",
    ];
    sandbox.bryo(create).output().expect(0);
    sandbox.bryo(["commit", "c", "made"]).output().expect(0);
    sandbox.bryo(["rm", "c"]).output().expect(0);
    let env = |flags: &[&str]| sandbox.shell_of("made", flags, "echo $A-$B-$C; env");
    let printed = env(&["--env-merge", "C=${A}x$B", "--env-merge", "A=a$A"]);
    assert!(printed.starts_with("a1-2-1x2\n"), "{printed}");
    assert!(env(&["--unsetenv", "A"]).starts_with("-2-\n"));
    assert!(env(&["--unsetenv", "A", "-e", "A=3"]).starts_with("3-2-\n"));
    let nothing = env(&["--unsetenv-all", "-e", "B=4"]);
    assert!(nothing.starts_with("-4-\n"), "{nothing}");
    let refused = sandbox
        .run(&["--env-merge", "A", "busybox", "true"])
        .expect(125);
    assert!(refused.stderr.contains("NAME=VALUE is wanted"), "{refused}");
}

#[test]
fn a_container_has_the_time_zone_that_it_was_given() {
    let sandbox = Sandbox::with_busybox();
    let zone = std::fs::read("/usr/share/zoneinfo/Asia/Tokyo").unwrap();
    let date = |flags: &[&str]| sandbox.shell(flags, "cat /etc/localtime | md5sum");
    let printed = date(&["--tz", "Asia/Tokyo"]);
    let file = sandbox.write("zone", zone);
    let wanted = sandbox.command("md5sum").arg(&file).stdout();
    assert_eq!(printed.split(' ').next(), wanted.split(' ').next());
    let refused = sandbox
        .run(&["--tz", "No/Where", "busybox", "true"])
        .expect(125);
    assert!(refused.stderr.contains("no such time zone"), "{refused}");
    assert_eq!(sandbox.bryo(["ps", "-aq"]).stdout(), "");
}

#[test]
fn files_of_labels_platforms_and_addresses_of_interfaces() {
    let sandbox = Sandbox::with_busybox();
    let file = sandbox.write("labels", "# c\na=1\n b\nc=x=y\n");
    let create = sandbox.bryo(["create", "--name", "c", "-l", "a=2", "--label-file"]);
    let create = create.arg(&file).args(["--arch", std::env::consts::ARCH]);
    create
        .args(["--os", "linux", "busybox", "true"])
        .output()
        .expect(0);
    let labels = sandbox.bryo(["inspect", "-f", "{{json .Config.Labels}}", "c"]);
    assert_eq!(labels.stdout().trim(), r#"{"a":"2","b":"","c":"x=y"}"#);
    sandbox.bryo(["rm", "c"]).output().expect(0);
    let refused = sandbox.run(&["--arch", "x", "--platform", "linux/x", "busybox"]);
    assert!(refused.expect(125).stderr.contains("cannot be used with"));

    let address = ["--mac-address", "02:00:5E:00:00:07"];
    let read = "cat /sys/class/net/eth0/address";
    let of = |flags: &[&str]| {
        let run = sandbox.bryo(["run", "--rm"]).args(flags).args(address);
        run.args(["busybox", "sh", "-c", read]).stdout()
    };
    assert_eq!(of(&[]).trim(), "02:00:5e:00:00:07");
    let none = sandbox.run(&[
        "--network",
        "none",
        "--mac-address",
        address[1],
        "busybox",
        "true",
    ]);
    assert!(none.expect(125).stderr.contains("no interface"));
    sandbox.bryo(["network", "create", "n"]).output().expect(0);
    assert_eq!(of(&["--network", "n"]).trim(), "02:00:5e:00:00:07");
    let shown = [
        "run",
        "-d",
        "--name",
        "d",
        "--network",
        "n:mac=02:00:5e:00:00:08",
    ];
    let shown = sandbox.bryo(shown).args(["busybox", "sleep", "99"]);
    shown.output().expect(0);
    let format = "{{.NetworkSettings.Networks.n.MacAddress}}";
    let said = sandbox.bryo(["inspect", "-f", format, "d"]).stdout();
    assert_eq!(said.trim(), "02:00:5e:00:00:08");
    sandbox.bryo(["rm", "-f", "d"]).output().expect(0);
    sandbox.bryo(["network", "rm", "n"]).output().expect(0);
    for bad in ["03:00:00:00:00:01", "1"] {
        let refused = sandbox
            .run(&["--mac-address", bad, "busybox", "true"])
            .expect(125);
        assert!(refused.stderr.contains("hardware address"), "{refused}");
    }
}

#[test]
fn a_container_is_killed_when_its_time_is_over() {
    let sandbox = Sandbox::with_busybox();
    let run = ["run", "--name", "c", "--timeout", "1", "busybox"];
    let ended = sandbox
        .bryo(run)
        .args(["sh", "-c", "trap '' TERM; sleep 99"]);
    ended.output().expect(137);
    sandbox.bryo(["rm", "c"]).output().expect(0);
    assert_eq!(
        sandbox.shell(&["--timeout", "60"], "echo in time"),
        "in time"
    );
    sandbox
        .run(&["--timeout", "0", "busybox", "true"])
        .expect(125);
}

#[test]
fn files_of_the_images_stay_where_that_is_wanted() {
    let sandbox = Sandbox::with_busybox();
    let mounted = |flags: &[&str]| sandbox.shell(flags, "grep -c ' /etc/' /proc/self/mountinfo");
    assert_eq!(mounted(&[]), "3");
    assert_eq!(mounted(&["--no-hosts"]), "2");
    assert_eq!(mounted(&["--no-hosts", "--no-hostname"]), "1");
    let memory = |flags: &[&str]| {
        let script = "grep -cE ' (/run|/tmp|/var/tmp) ' /proc/self/mountinfo";
        sandbox.shell(flags, &format!("{script}; true"))
    };
    assert_eq!(memory(&["--read-only"]), "3");
    assert_eq!(memory(&["--read-only", "--read-only-tmpfs=false"]), "0");
}
