//! Contexts that are no directories: tars and Dockerfiles at standard input and at addresses,
//! and repositories.

use super::addresses::serve;
use super::{build, context};
use crate::common::{Sandbox, require_tool, tool};
use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use tar::{Builder, EntryType, Header};

/// A tar with a Dockerfile, in which directories are not listed.
fn packed(dockerfile: &str) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    let files = [
        ("Dockerfile", dockerfile, 0o644),
        ("sub/Other", "FROM busybox\nCOPY sub/ /s/\n", 0o644),
        ("sub/closed", "closed\n", 0o000),
        ("sub/program", "program\n", 0o4755),
        ("sub/left.log", "left out\n", 0o644),
        (".dockerignore", "*.log\n**/*.log\n", 0o644),
    ];
    for (path, text, mode) in files {
        let mut header = Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(mode);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_234_567_890);
        builder
            .append_data(&mut header, path, text.as_bytes())
            .unwrap();
    }
    let mut pipe = Header::new_gnu();
    pipe.set_entry_type(EntryType::Fifo);
    pipe.set_mode(0o644);
    pipe.set_size(0);
    builder.append_data(&mut pipe, "Pipe", &[][..]).unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn a_tar_is_a_context() {
    let sandbox = Sandbox::with_busybox();
    let plain = packed(
        "FROM busybox\nCOPY sub /s\nRUN --mount=type=bind,target=/c cat /c/sub/closed > /d\n",
    );
    let file = sandbox.write("context.tar", &plain);
    tool(Path::new("/usr/bin/gzip"), &["-k", file.to_str().unwrap()]);
    let zipped = fs::read(sandbox.work().join("context.tar.gz")).unwrap();
    let server = serve(BTreeMap::from([("/c.tar.gz", ("", zipped.clone()))]));
    let look = "cd /s; stat -c '%a %n' *; stat -c %Y closed; cat /d";
    let right = "644 Other\n0 closed\n4755 program\n1234567890\nclosed";
    let address = format!("{server}/c.tar.gz");
    let (mut first, mut told) = (true, Vec::new());
    for (stdin, words) in [
        (Some(plain.clone()), vec!["-"]),
        (Some(zipped), vec!["-"]),
        (None, vec![address.as_str()]),
    ] {
        let run = sandbox.bryo(["build", "-t", "built"]).args(&words);
        let run = match stdin {
            Some(stdin) => run.stdin(stdin),
            None => run,
        };
        let says = run.output().expect(0).stderr;
        // Wherever it comes from, it is the same.
        assert_eq!(
            says.matches("CACHED").count(),
            if first { 0 } else { 3 },
            "{says}"
        );
        first = false;
        told.push(sandbox.shell_of("built", &[], look));
    }
    assert_eq!(told, [right, right, right]);
    // Another Dockerfile in it, and one beside it.
    let other = sandbox.bryo(["build", "-t", "built", "-f", "sub/Other", "-"]);
    other.stdin(plain.clone()).output().expect(0);
    assert_eq!(
        sandbox.shell_of("built", &[], "ls /s"),
        "Other\nclosed\nprogram"
    );
    let beside = sandbox.bryo(["build", "-t", "built", "-f", "-", &address]);
    let beside = beside.stdin("FROM busybox\nCOPY sub/closed /\n");
    beside.output().expect(0);
    assert_eq!(sandbox.shell_of("built", &[], "cat /closed"), "closed");

    let cut = plain[..plain.len() - 1024].to_vec();
    for (stdin, flags, code, says) in [
        (plain.clone(), &["-f", "-", "-"][..], 1, "and not both"),
        (
            plain.clone(),
            &["-f", "none", "-"],
            1,
            "there is no none in the context",
        ),
        (
            plain.clone(),
            &["-f", "../../etc/passwd", "-"],
            1,
            "there is no ../../etc/passwd",
        ),
        (plain, &["-f", "Pipe", "-"], 1, "not a regular file"),
        (cut, &["-"], 1, "no end mark"),
        (
            b"FROM busybox\n".to_vec(),
            &["-f", "other", "-"],
            1,
            "is a Dockerfile already",
        ),
    ] {
        let refused = sandbox.bryo(["build"]).args(flags).stdin(stdin);
        let refused = refused.output().expect(code);
        assert!(refused.stderr.contains(says), "{flags:?}: {refused}");
    }
    assert_eq!(sandbox.settle(), Vec::<String>::new());
}

#[test]
fn a_dockerfile_comes_from_an_address() {
    let sandbox = Sandbox::with_busybox();
    let text = b"FROM busybox\nCMD [\"echo\", \"hello\"]\n".to_vec();
    let server = serve(BTreeMap::from([("/Dockerfile", ("", text))]));
    build(&sandbox, &format!("{server}/Dockerfile"), &[]);
    assert_eq!(sandbox.bryo(["run", "--rm", "built"]).stdout(), "hello");
    for (address, says) in [
        (format!("{server}/none"), "404"),
        ("ftp://127.0.0.1/x".to_owned(), "nothing is fetched by ftp"),
    ] {
        let refused = sandbox.bryo(["build", &address]).output().expect(1);
        assert!(refused.stderr.contains(says), "{refused}");
    }
}

/// A repository, and a server that gives it to whoever comes until the test ends.
struct Repository {
    place: std::path::PathBuf,
    address: String,
}

impl Repository {
    fn new(sandbox: &Sandbox) -> Repository {
        let git = require_tool("git", "git");
        let base = sandbox.work().join("served");
        let place = base.join("a.git");
        fs::create_dir_all(&place).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("git://{}/a.git", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = OwnedFd::from(stream.unwrap());
                let mut daemon = Command::new(&git);
                daemon.args(["daemon", "--inetd", "--export-all"]);
                daemon.arg(format!("--base-path={}", base.display()));
                daemon.stdin(stream.try_clone().unwrap()).stdout(stream);
                daemon.stderr(Stdio::null());
                let mut child = daemon.spawn().unwrap();
                std::thread::spawn(move || child.wait());
            }
        });
        let repository = Repository { place, address };
        repository.git(&["init", "-q", "-b", "main"]);
        repository
    }

    fn git(&self, arguments: &[&str]) -> String {
        let mut git = Command::new("git");
        git.arg("-C").arg(&self.place);
        git.args([
            "-c",
            "user.name=somebody",
            "-c",
            "user.email=somebody@example.org",
        ]);
        let done = git.args(arguments).output().unwrap();
        let says = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "git {arguments:?}: {says}");
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    /// Writes these files and commits them. Returns the commit.
    fn commit(&self, files: &[(&str, &str)]) -> String {
        for (name, text) in files {
            let path = self.place.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", "a commit"]);
        self.git(&["rev-parse", "HEAD"])
    }
}

#[test]
fn a_repository_is_a_context() {
    let sandbox = Sandbox::with_busybox();
    let repository = Repository::new(&sandbox);
    let text = "FROM busybox\nCOPY . /c\n";
    let first = repository.commit(&[
        ("Dockerfile", text),
        ("sub/Dockerfile", "FROM busybox\nCOPY . /d\n"),
        ("sub/f", "first\n"),
        (".gitattributes", "* export-ignore\n"),
    ]);
    repository.git(&["tag", "-a", "-m", "a tag", "v1"]);
    let second = repository.commit(&[("sub/f", "second\n")]);
    repository.git(&["checkout", "-q", "-b", "branch/of"]);
    repository.commit(&[("sub/f", "third\n"), ("only", "there\n")]);
    repository.git(&["checkout", "-q", "main"]);
    let address = &repository.address;
    for (part, look, right) in [
        (
            "",
            "cat /c/sub/f; ls -A /c",
            "second\n.gitattributes\nDockerfile\nsub",
        ),
        (
            "#v1",
            "cat /c/sub/f; stat -c %a /c/sub/f /c/sub",
            "first\n644\n755",
        ),
        ("#branch/of", "cat /c/sub/f /c/only", "third\nthere"),
        ("#v1:sub", "cat /d/f", "first"),
        ("?tag=v1&subdir=sub", "cat /d/f", "first"),
        (&format!("#{first}"), "cat /c/sub/f", "first"),
        (&format!("#{}:/sub", &second[..8]), "cat /d/f", "second"),
        (&format!("?checksum={first}"), "cat /c/sub/f", "first"),
        ("?keep-git-dir=true", "ls -d /c/.git", "/c/.git"),
    ] {
        // Whatever the caller's mask is, and in whatever repository he is.
        let command = "umask 077; export GIT_DIR=/nowhere; exec \"$0\" \"$@\"";
        let words = sandbox
            .bryo(["build", "-t", "built", &format!("{address}{part}")])
            .into_command();
        let program = words.get_program().to_owned();
        let run = sandbox
            .command("sh")
            .arg("-c")
            .arg(command)
            .arg(program)
            .args(words.get_args());
        run.output().expect(0);
        assert_eq!(sandbox.shell_of("built", &[], look), right, "{part}");
    }
    for (part, says) in [
        ("#none", "there is no branch, tag or commit none"),
        ("#v1:none", "there is no directory none in it"),
        ("#v1:sub/../..", "there is no directory sub/../.. in it"),
        (&format!("?ref=main&checksum={first}"), "is the commit"),
        ("?ref=main&x=y", "there is no x"),
        ("#--upload-pack=true", "is no branch, tag or commit"),
    ] {
        let refused = sandbox.bryo(["build", &format!("{address}{part}")]);
        let refused = refused.output().expect(1);
        assert!(refused.stderr.contains(says), "{part}: {refused}");
    }
    assert_eq!(sandbox.settle(), Vec::<String>::new());
}

#[test]
fn a_server_that_gives_no_parts_of_a_history_will_do() {
    let sandbox = Sandbox::with_busybox();
    let repository = Repository::new(&sandbox);
    let first = repository.commit(&[("Dockerfile", "FROM busybox\nCOPY f /\n"), ("f", "first\n")]);
    repository.commit(&[("f", "second\n")]);
    // Files and nothing else, as of any web server.
    repository.git(&["gc", "-q"]);
    repository.git(&["update-server-info"]);
    let mut files = BTreeMap::new();
    let place = repository.place.join(".git");
    let mut directories = vec![place.clone()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let name = format!("/a.git/{}", path.strip_prefix(&place).unwrap().display());
            files.insert(&*name.leak(), ("", fs::read(path).unwrap()));
        }
    }
    let server = serve(files);
    for (part, right) in [
        ("", "second"),
        (&format!("#{first}"), "first"),
        ("#main", "second"),
    ] {
        build(&sandbox, &format!("{server}/a.git{part}"), &[]);
        assert_eq!(sandbox.shell_of("built", &[], "cat /f"), right, "{part}");
    }
}

#[test]
fn names_that_mean_something_in_layers_are_refused() {
    let sandbox = Sandbox::with_busybox();
    for line in [
        "COPY sub /",
        "COPY sub/.wh.etc /x",
        "COPY a /.wh.etc",
        "ADD a.tar /",
    ] {
        let files = [("sub/.wh.etc", ""), ("a", "")];
        let place = context(&sandbox, &format!("FROM busybox\n{line}\n"), &files);
        let sub = format!("{place}/sub");
        let flags = ["-C", &sub, "-cf", &format!("{place}/a.tar"), ".wh.etc"];
        tool(Path::new("/usr/bin/tar"), &flags);
        let build = sandbox.bryo(["build", "-t", "built", &place]).output();
        match line {
            // There it has another name.
            "COPY sub/.wh.etc /x" => {
                build.expect(0);
                assert_eq!(sandbox.shell_of("built", &[], "ls -d /etc /x"), "/etc\n/x");
            }
            _ => {
                let refused = build.expect(1);
                let says = "a layer cannot have a file of that name";
                assert!(refused.stderr.contains(says), "{line}: {refused}");
            }
        }
    }
}

#[test]
fn a_context_may_be_called_as_a_layer_is() {
    let sandbox = Sandbox::with_busybox();
    let place = context(&sandbox, "FROM busybox\nCOPY f /\n", &[("f", "mine\n")]);
    let place = Path::new(&place);
    let named = place.with_file_name("fs");
    fs::rename(place, &named).unwrap();
    fs::write(named.with_file_name("layer.json"), "this is no record").unwrap();
    build(&sandbox, named.to_str().unwrap(), &[]);
    assert_eq!(sandbox.shell_of("built", &[], "cat /f"), "mine");
}
