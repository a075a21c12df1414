//! `build`: images from Dockerfiles. The right values are those that BuildKit gave.

mod addresses;
mod contexts;
mod flags;
mod stages;

use crate::common::{Sandbox, tool};
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// Files of a context: a name that ends with a slash is a directory.
type Files<'a> = &'a [(&'a str, &'a str)];

/// Makes a context, with the modes that most people's files have.
fn context(sandbox: &Sandbox, dockerfile: &str, files: Files) -> String {
    let directory = sandbox.work().join("context");
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir(&directory).unwrap();
    let all = [("Dockerfile", dockerfile)];
    for (name, text) in all.iter().chain(files) {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match name.ends_with('/') {
            true => fs::create_dir_all(&path).unwrap(),
            false => fs::write(&path, text).unwrap(),
        }
    }
    plain_modes(&directory);
    directory.to_str().unwrap().to_owned()
}

fn plain_modes(directory: &Path) {
    fs::set_permissions(directory, Permissions::from_mode(0o755)).unwrap();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => plain_modes(&path),
            false => fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap(),
        }
    }
}

/// Builds, and returns what is said of the steps.
fn build(sandbox: &Sandbox, context: &str, flags: &[&str]) -> String {
    let build = sandbox.bryo(["build", "-t", "built"]).args(flags);
    build.arg(context).output().expect(0).stderr
}

/// The configuration of an image as it is written.
fn document(sandbox: &Sandbox, image: &str) -> Value {
    let archive = sandbox.work().join("saved.tar");
    let archive = archive.to_str().unwrap();
    let _ = fs::remove_file(archive);
    let save = sandbox.bryo(["save", "--format", "docker-archive", "-o", archive, image]);
    save.output().expect(0);
    let file = |name: &str| -> Value {
        let text = sandbox.command("tar").args(["xOf", archive, name]).stdout();
        serde_json::from_str(&text).unwrap()
    };
    let manifest = file("manifest.json");
    file(manifest[0]["Config"].as_str().unwrap())
}

#[test]
fn files_come_to_where_buildkit_puts_them() {
    let sandbox = Sandbox::with_busybox();
    let cases: &[(&str, Files, &str, &str)] = &[
        ("COPY a b /x", &[("a", "1"), ("b", "2b")], "cat /x", "2b"),
        ("COPY a* /x", &[("a1", "1"), ("a2", "2")], "cat /x", "2"),
        (
            "COPY n* /x\nRUN echo >/y",
            &[],
            "ls /x 2>/dev/null; echo -",
            "-",
        ),
        (
            "COPY a b /x",
            &[("a/q", ""), ("b/r", "")],
            "find /x | sort",
            "/x\n/x/q\n/x/r",
        ),
        (
            "COPY --chmod=640 d /x",
            &[("d/s/b", "")],
            "stat -c '%n %a' /x /x/s /x/s/b",
            "/x 640\n/x/s 640\n/x/s/b 640",
        ),
        (
            "COPY --chmod=u+x f /x\nCOPY --chmod=a=rX,u+w d /y",
            &[("f", ""), ("d/s/b", "")],
            "stat -c '%n %a' /x /y /y/s /y/s/b",
            "/x 744\n/y 755\n/y/s 755\n/y/s/b 644",
        ),
        (
            "RUN echo o >/real && ln -s /real /x && mkdir /rd && ln -s /rd /xd\nCOPY f /x\n\
             COPY f /xd",
            &[("f", "new")],
            "cat /real /rd/f; readlink /x; readlink /xd",
            "newnew/real\n/rd",
        ),
        (
            "RUN mkdir /x && chmod 700 /x\nCOPY d /x",
            &[("d/a", "")],
            "stat -c '%n %a' /x /x/a",
            "/x 700\n/x/a 644",
        ),
        (
            "COPY --parents a/b c/./d/e /x/",
            &[("a/b", "1"), ("c/d/e", "2")],
            "cd /x; find . -type f | sort",
            "./a/b\n./d/e",
        ),
        (
            "COPY --exclude=*.o --exclude=s/k d /x",
            &[("d/a", ""), ("d/b.o", ""), ("d/s/k", ""), ("d/s/l", "")],
            "cd /x; find . -type f | sort",
            "./a\n./s/l",
        ),
        (
            "ARG V=val\nCOPY <<A <<'B' /x/\nv=$V ${V:-q} \\$V \"q\"\nA\nv=$V\nB",
            &[],
            "cat /x/A /x/B",
            "v=val val $V \"q\"\nv=$V",
        ),
        (
            "WORKDIR w\nCOPY f .\nWORKDIR ..\nCOPY f g/",
            &[("f", "x")],
            "find /w /g -type f | sort",
            "/g/f\n/w/f",
        ),
        (
            "COPY . /x",
            &[
                (".dockerignore", "#c\n*\n!keep\n!d/in\nd/in/not\n"),
                ("keep", ""),
                ("away", ""),
                ("d/in/yes", ""),
                ("d/in/not", ""),
                ("d/out", ""),
            ],
            "cd /x; find . | sort",
            ".\n./d\n./d/in\n./d/in/yes\n./keep",
        ),
        (
            "RUN <<EOF\necho a >/x\nfalse\necho b >>/x\nEOF\nRUN <<E\n#!/bin/sh -e\necho $0 >/y\nE",
            &[],
            "cat /x /y",
            "a\nb\n/dev/pipes/E",
        ),
        ("VOLUME /v\nRUN mkdir -p /v; echo b>/v/b", &[], "ls /v", "b"),
        ("RUN", &[], "echo ok", "ok"),
    ];
    for (lines, files, check, right) in cases {
        let context = context(&sandbox, &format!("FROM busybox\n{lines}\n"), files);
        build(&sandbox, &context, &[]);
        let found = sandbox.shell_of("built", &[], check);
        assert_eq!(found.trim_end(), *right, "{lines}");
    }
}

#[test]
fn owners_are_as_they_were_asked_for_whatever_ids_there_are() {
    let sandbox = Sandbox::with_busybox();
    let text = "FROM busybox\nRUN echo 'joe:x:12:34::/:' >>/etc/passwd && mkdir /e && chown 5:6 /e\n\
                COPY --chown=7:8 f /p/q/f\nCOPY --chown=joe f /named\nCOPY --chown=nosuch f /none\n\
                COPY f /e/plain\nUSER 9\nWORKDIR /of/nine\nADD a.tar /t\n";
    let context = context(&sandbox, text, &[("f", "x")]);
    let inner = sandbox.work().join("inner");
    fs::create_dir_all(&inner).unwrap();
    fs::write(inner.join("in"), "x").unwrap();
    let archive = format!("{context}/a.tar");
    let inner = inner.to_str().unwrap();
    let flags = [
        "--owner=77",
        "--group=88",
        "-C",
        inner,
        "-czf",
        &archive,
        "in",
    ];
    tool(Path::new("/usr/bin/tar"), &flags);
    build(&sandbox, &context, &[]);
    sandbox
        .bryo(["create", "--name", "c", "built", "true"])
        .output()
        .expect(0);
    sandbox
        .bryo(["export", "-o", "e.tar", "c"])
        .output()
        .expect(0);
    let list = sandbox
        .command("tar")
        .args(["--numeric-owner", "-tvf", "e.tar"])
        .stdout();
    let owner = |name: &str| {
        let line = list
            .lines()
            .find(|line| line.ends_with(&format!(" {name}")));
        let line = line.unwrap_or_else(|| panic!("no {name} in {list}"));
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    for (name, right) in [
        ("p/", "7/8"),
        ("p/q/f", "7/8"),
        ("named", "12/34"),
        ("none", "0/0"),
        ("e/", "5/6"),
        ("e/plain", "0/0"),
        ("of/nine/", "9/9"),
        ("t/in", "77/88"),
    ] {
        assert_eq!(owner(name), right, "{name}");
    }
}

#[test]
fn the_configuration_and_its_history_are_buildkits() {
    let sandbox = Sandbox::with_busybox();
    let text = "FROM busybox AS first\nENV X=env\nARG X\nRUN echo \"$X\" >/x\nLABEL l=$X\n\
                EXPOSE 1000-1001/udp 80\nSHELL [\"/bin/sh\",\"-xc\"]\nHEALTHCHECK CMD hh\nCMD echo a\n\
                ONBUILD RUN echo t >/triggered\nFROM first\nWORKDIR /\nUSER joe\n";
    let context = context(&sandbox, text, &[]);
    build(
        &sandbox,
        &context,
        &["--build-arg", "X=cli", "--label", "own=1"],
    );
    let document = document(&sandbox, "built");
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let config = json!({
        "ArgsEscaped": true,
        "Cmd": ["/bin/sh", "-xc", "echo a"],
        "Env": [path, "X=env"],
        "ExposedPorts": {"80/tcp": {}, "1000/udp": {}, "1001/udp": {}},
        "Healthcheck": {"Test": ["CMD-SHELL", "hh"]},
        "Labels": {"l": "cli", "own": "1"},
        "Shell": ["/bin/sh", "-xc"],
        "User": "joe",
        "WorkingDir": "/",
    });
    assert_eq!(document["config"], config);
    let history = document["history"].as_array().unwrap();
    let line = |entry: &Value| {
        let is_empty = entry["empty_layer"] == true;
        Some((entry["created_by"].as_str()?.to_owned(), is_empty))
    };
    let said: Vec<_> = history.iter().filter_map(line).collect();
    let right = [
        ("ENV X=env", true),
        ("ARG X=cli", true),
        ("RUN |1 X=cli /bin/sh -c echo \"$X\" >/x # buildkit", false),
        ("LABEL l=cli", true),
        ("EXPOSE [1000/udp 1001/udp 80/tcp]", true),
        ("SHELL [/bin/sh -xc]", true),
        (
            "HEALTHCHECK &{[\"CMD-SHELL\" \"hh\"] \"0s\" \"0s\" \"0s\" \"0s\" '\\x00'}",
            true,
        ),
        ("CMD [\"/bin/sh\" \"-xc\" \"echo a\"]", true),
        (
            "RUN |1 X=cli /bin/sh -xc echo t >/triggered # buildkit",
            false,
        ),
        ("WORKDIR /", true),
        ("USER joe", true),
    ]
    .map(|(text, is_empty)| (text.to_owned(), is_empty));
    assert_eq!(said, right);
    let layers = history
        .iter()
        .filter(|entry| entry["empty_layer"] != true)
        .count();
    assert_eq!(
        document["rootfs"]["diff_ids"].as_array().unwrap().len(),
        layers
    );
}

#[test]
fn what_did_not_change_is_taken_from_the_cache() {
    let sandbox = Sandbox::with_busybox();
    let text = "FROM busybox\nRUN echo $A >/once\nCOPY d /d\nRUN echo after\n";
    let context = context(&sandbox, text, &[("d/f", "1"), ("d/s/g", "2")]);
    let place = Path::new(&context);
    let cached = |flags: &[&str]| build(&sandbox, &context, flags).matches("CACHED").count();
    assert_eq!(cached(&[]), 0);
    let id = || {
        sandbox
            .bryo(["images", "-q", "--no-trunc", "built"])
            .stdout()
    };
    let first = id();
    assert_eq!((cached(&[]), id()), (3, first));
    // Neither times nor modes of directories count, nor what is no step.
    let touch = ["-d", "2001-01-01", &format!("{context}/d/f")];
    sandbox.command("touch").args(touch).output().expect(0);
    fs::set_permissions(place.join("d/s"), Permissions::from_mode(0o700)).unwrap();
    fs::write(place.join("Dockerfile"), format!("# x\n{text}")).unwrap();
    assert_eq!(cached(&["--label", "a=b"]), 3);
    // What does: modes and content of files, new names, arguments.
    fs::set_permissions(place.join("d/f"), Permissions::from_mode(0o600)).unwrap();
    assert_eq!(cached(&[]), 1);
    fs::write(place.join("d/f"), "3").unwrap();
    assert_eq!(cached(&[]), 1);
    assert_eq!(sandbox.shell_of("built", &[], "cat /d/f"), "3");
    symlink("f", place.join("d/link")).unwrap();
    assert_eq!(cached(&[]), 1);
    fs::write(
        place.join("Dockerfile"),
        text.replace("FROM busybox", "FROM busybox\nARG A=1"),
    )
    .unwrap();
    assert_eq!(cached(&[]), 0);
    assert_eq!(cached(&[]), 3);
    assert_eq!(cached(&["--build-arg", "A=2"]), 0);
    assert_eq!(cached(&["--no-cache"]), 0);
    // It outlives the images, and goes when it is told to.
    sandbox.bryo(["rmi", "built"]).output().expect(0);
    assert_eq!(cached(&[]), 3);
    let prune = sandbox.bryo(["builder", "prune", "-f", "--filter", "until=24h"]);
    assert!(!prune.stdout().contains("Deleted"));
    assert!(
        sandbox
            .bryo(["builder", "prune", "-f"])
            .stdout()
            .contains("Deleted")
    );
    assert_eq!(sandbox.shell_of("built", &[], "cat /d/f"), "3");
    assert_eq!(cached(&[]), 0);
    sandbox.bryo(["check"]).output().expect(0);
}

#[test]
fn stages_that_nobody_needs_are_not_built() {
    let sandbox = Sandbox::with_busybox();
    let text = "FROM busybox AS a\nRUN echo one >/q\nFROM busybox AS bad\nRUN exit 3\n\
                FROM busybox AS a\nRUN echo two >/q\nFROM scratch AS only\nCOPY --from=A /q /q\n\
                COPY --from=0 /q /first\nFROM busybox\nCOPY --from=only / /all/\n";
    let context = context(&sandbox, text, &[]);
    build(&sandbox, &context, &[]);
    assert_eq!(
        sandbox.shell_of("built", &[], "cat /all/q /all/first"),
        "two\none"
    );
    build(&sandbox, &context, &["--target", "ONLY"]);
    assert_eq!(
        document(&sandbox, "built")["rootfs"]["diff_ids"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let bad = sandbox
        .bryo(["build", "--target", "bad", &context])
        .output()
        .expect(1);
    assert!(
        bad.stderr
            .contains("did not complete successfully: exit code: 3"),
        "{bad}"
    );
    assert!(bad.stderr.contains("   4 | >>> RUN exit 3"), "{bad}");
    let none = sandbox
        .bryo(["build", "--target", "none", &context])
        .output()
        .expect(1);
    assert!(none.stderr.contains("there are a, bad, a, only"), "{none}");
}

#[test]
fn what_cannot_be_built_is_said_and_leaves_nothing() {
    let sandbox = Sandbox::with_busybox();
    let images = sandbox.bryo(["images", "-q"]).stdout();
    for (lines, files, says) in [
        ("COPY no /x", &[][..], "Dockerfile:2: \"/no\": not found"),
        (
            "COPY ../../etc/passwd /x",
            &[],
            "\"/etc/passwd\": not found",
        ),
        ("COPY out /x", &[], "\"/out\": not found"),
        (
            "RUN touch /x\nCOPY d /x",
            &[("d/b", "")],
            "cannot copy to non-directory: /x",
        ),
        (
            "RUN mkdir -p /x /real && ln -s /real /x/s\nCOPY d /x",
            &[("d/s/b", "")],
            "cannot copy to non-directory: /x/s",
        ),
        (
            "COPY --chmod=9 f /x",
            &[("f", "")],
            "invalid chmod parameter: '9'",
        ),
        (
            "COPY --from=later /q /x\nFROM busybox AS later\nFROM 0",
            &[],
            "needs to be defined before",
        ),
        ("STOPSIGNAL FOO", &[], "Dockerfile:2:1: invalid signal: FOO"),
        (
            "RUN --mount=target=/x,source=no true",
            &[],
            "\"/no\": not found",
        ),
        ("RUN --mount=target=/x,rw true", &[], "read-only"),
        (
            "RUN --mount=type=secret,id=x,required true",
            &[],
            "secret x: it is needed",
        ),
        (
            "RUN --mount=type=ssh,required true",
            &[],
            "ssh agent default: it is needed",
        ),
        (
            "ADD https://example.com/x.git /x",
            &[],
            "ADD https://example.com/x.git: bryo build fetches files and no repositories",
        ),
        ("RUN exit 7", &[], "exit code: 7"),
        ("RUN [\"nosuch\"]", &[], "nosuch"),
    ] {
        let text = match lines.contains("later") {
            true => format!("FROM busybox AS first\n{lines}").replace("FROM 0", "FROM first"),
            false => format!("FROM busybox\n{lines}\n"),
        };
        let context = context(&sandbox, &text, files);
        symlink("/etc/passwd", format!("{context}/out")).unwrap();
        let refused = sandbox
            .bryo(["build", "-t", "bad", &context])
            .output()
            .expect(1);
        assert!(refused.stderr.contains(says), "{lines}: {refused}");
    }
    assert_eq!(sandbox.bryo(["ps", "-aq"]).stdout(), "");
    let named = ["images", "-q", "--filter", "dangling=false"];
    assert_eq!(sandbox.bryo(named).stdout(), images);
}

#[test]
fn what_is_mounted_for_a_command_is_there_and_leaves_no_trace() {
    let sandbox = Sandbox::with_busybox();
    let text = "FROM busybox AS other\nRUN mkdir /o && echo of-other >/o/f\nFROM busybox\nWORKDIR /w\n\
                RUN --mount=target=/src --mount=source=d/f,target=one --mount=from=other,source=/o,target=/o \
                cat /src/d/f one /o/f >/seen; touch /src/x 2>/dev/null && echo written >>/seen; true\n\
                RUN --mount=type=tmpfs,target=/t,size=1m echo x >/t/x && df /t | tail -1 >/df\n\
                RUN --mount=type=cache,target=/c,id=it echo again >>/c/log; cp /c/log /log\n";
    let context = context(
        &sandbox,
        text,
        &[("d/f", "1\n"), (".dockerignore", "left\n"), ("left", "")],
    );
    build(&sandbox, &context, &[]);
    // Empty mount points stay, as with BuildKit.
    let look = "cat /seen /log; find /w /c /t /o /src | sort | tr '\\n' ' '";
    let seen = sandbox.shell_of("built", &[], look);
    assert_eq!(seen, "1\n1\nof-other\nagain\n/c /o /src /t /w /w/one ");
    // What is mounted counts, and a cache is as it was left.
    assert_eq!(build(&sandbox, &context, &[]).matches("CACHED").count(), 7);
    fs::write(format!("{context}/left"), "2").unwrap();
    assert_eq!(build(&sandbox, &context, &[]).matches("CACHED").count(), 7);
    fs::write(format!("{context}/d/f"), "2\n").unwrap();
    build(&sandbox, &context, &[]);
    assert_eq!(
        sandbox.shell_of("built", &[], "cat /seen /log"),
        "2\n2\nof-other\nagain\nagain"
    );
    sandbox.bryo(["builder", "prune", "-f"]).output().expect(0);
    build(&sandbox, &context, &[]);
    assert_eq!(sandbox.shell_of("built", &[], "cat /log"), "again");
}

#[test]
fn secrets_reach_one_command_and_nothing_else() {
    let sandbox = Sandbox::with_busybox();
    let word = "open-sesame-7391";
    let text = "FROM busybox\nRUN --mount=type=secret,id=it --mount=type=secret,id=it,env=IT \
                --mount=type=secret,id=none --mount=type=ssh \
                stat -c %a /run/secrets/it >/mode; sha256sum </run/secrets/it >/sum; \
                printf %s \"$IT\" | sha256sum >/env; test -S $SSH_AUTH_SOCK && echo agent >/agent; \
                ls /run/secrets >/list\nRUN cat /run/secrets/it | wc -c >/after; echo \"[$IT]\" >>/after\n";
    let context = context(&sandbox, text, &[]);
    let secret = sandbox.write("secret", word);
    let socket = sandbox.work().join("agent");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let flag = format!("--secret=id=it,src={}", secret.display());
    let agent = format!("--ssh=default={}", socket.display());
    let told = build(&sandbox, &context, &[&flag, &agent]);
    assert!(!told.contains(word), "{told}");
    let seen = sandbox.shell_of(
        "built",
        &[],
        "cat /mode /agent /list /after; cmp /sum /env && echo same",
    );
    assert_eq!(seen, "400\nagent\nit\n0\n[]\nsame");
    // Its value is no part of what a step depends on, and is nowhere in the store.
    fs::write(&secret, "another").unwrap();
    assert_eq!(
        build(&sandbox, &context, &[&flag, &agent])
            .matches("CACHED")
            .count(),
        2
    );
    let root = sandbox.root();
    let grep = sandbox
        .command("grep")
        .args(["-rlF", word])
        .arg(&root)
        .output();
    assert_eq!(grep.stdout, "", "{grep}");
}

#[test]
fn archives_stay_in_the_image() {
    let sandbox = Sandbox::with_busybox();
    let context = context(&sandbox, "FROM busybox\nADD a.tar /x\n", &[("t/a", "A")]);
    let archive = format!("{context}/a.tar");
    let flags = [
        "-P",
        "--transform",
        "s,^t,../esc,",
        "-C",
        &context,
        "-cf",
        &archive,
        "t",
    ];
    tool(Path::new("/usr/bin/tar"), &flags);
    let refused = sandbox.bryo(["build", &context]).output().expect(1);
    assert!(refused.stderr.contains("../esc"), "{refused}");
    // Absolute names are below the destination; what is no tar is copied as it is.
    let flags = [
        "-P",
        "--transform",
        "s,^t,/abs,",
        "-C",
        &context,
        "-cf",
        &archive,
        "t",
    ];
    tool(Path::new("/usr/bin/tar"), &flags);
    fs::write(
        format!("{context}/Dockerfile"),
        "FROM busybox\nADD a.tar /x\nADD --unpack=false a.tar /y\nADD t/a /z\n",
    )
    .unwrap();
    build(&sandbox, &context, &[]);
    let found = sandbox.shell_of(
        "built",
        &[],
        "cat /x/abs/a; tar tf /y 2>/dev/null | grep -c abs; cat /z",
    );
    assert_eq!(found, "A2\nA");
}

#[test]
fn a_build_is_in_nobodys_way_and_leaves_nothing_for_long_when_killed() {
    let sandbox = Sandbox::with_busybox();
    let context = context(&sandbox, "FROM busybox\nRUN echo ready; sleep 1000\n", &[]);
    let line = "exec \"$0\" build \"$1\" 2>&1";
    let program = crate::common::bryo();
    let build_it = sandbox.command("sh").args(["-c", line]).arg(program);
    let mut running = build_it.arg(&context).spawn();
    running.expect_line("ready");
    // Nobody has to wait for the command.
    sandbox.bryo(["image", "prune", "-f"]).output().expect(0);
    running.signal(nix::sys::signal::Signal::SIGKILL);
    drop(running);
    let text = "FROM busybox\nRUN echo other\n";
    fs::write(format!("{context}/Dockerfile"), text).unwrap();
    crate::common::wait_for("the container's end", || {
        build(&sandbox, &context, &[]);
        (sandbox.bryo(["ps", "-aq"]).stdout().is_empty()).then_some(())
    });
}
