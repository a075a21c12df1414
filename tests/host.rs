//! The image `host`: what of the machine it shows, and what not.

use crate::common::{Output, Sandbox, bryo, require_tool};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

/// Says whether somebody answers at a socket.
const CONNECT: &str = "import os, socket, sys\n\
    os.chdir(os.path.dirname(sys.argv[1]) or '.')\n\
    try: socket.socket(socket.AF_UNIX).connect(os.path.basename(sys.argv[1])); print('connected')\n\
    except OSError as error: print(error.strerror)\n";

fn host(sandbox: &Sandbox, flags: &[&str], script: &str) -> Output {
    let run = sandbox
        .bryo(["run", "--rm", "--network", "none"])
        .args(flags);
    let run = run.env("SECRET", "correct-horse");
    run.args(["host", "sh", "-c", script]).output()
}

#[test]
fn what_is_the_users_alone_is_not_shown() {
    let sandbox = Sandbox::new();
    let home = sandbox.path().join("home");
    fs::create_dir_all(home.join(".config/bryo")).unwrap();
    fs::create_dir(sandbox.work().join("keys")).unwrap();
    for (path, text) in [
        (home.join(".config/bryo/auth.json"), "credentials"),
        (home.join(".netrc"), "password"),
        (home.join(".profile"), "profile"),
        (sandbox.work().join("keys/id"), "key"),
        (sandbox.runtime().join("bus"), "runtime"),
    ] {
        fs::write(path, format!("{text}\n")).unwrap();
    }
    // Hidden where it is.
    std::os::unix::fs::symlink(sandbox.work().join("keys"), home.join(".ssh")).unwrap();
    let runtime = sandbox.runtime().display().to_string();
    let root = sandbox.root().display().to_string();
    let script = format!(
        "cat ~/.profile; ls ~/.ssh keys ~/.config/bryo; cat ~/.netrc; \
         ls {runtime}; ls {root}; echo \"$SECRET$XDG_RUNTIME_DIR.$USER\""
    );
    let user = std::env::var("USER").unwrap();
    let shown = |flags: &[&str]| host(&sandbox, flags, &script).expect(0).stdout;
    let hidden = shown(&[]);
    for word in [
        "id\n",
        "auth.json",
        "password",
        "runtime",
        "bus",
        "lock",
        "correct-horse",
    ] {
        assert!(!hidden.contains(word), "{word}: {hidden}");
    }
    assert!(
        hidden.contains("profile\n") && hidden.ends_with(&format!("\n.{user}\n")),
        "{hidden}"
    );
    for (flags, word) in [
        (&["--share", "ssh"][..], "id\n"),
        (&["--share=env,passwords"], "password\n"),
        (&["--share=env"], "correct-horse"),
        (&["--share", "registries", "--share", "env"], "auth.json"),
        (&["--share", "store"], "lock\n"),
        (&["--share", "run"], "bus\n"),
    ] {
        let shown = shown(flags);
        assert!(shown.contains(word), "{flags:?}: {shown}");
        assert!(
            shown.contains("id\n") == flags.contains(&"ssh"),
            "{flags:?}: {shown}"
        );
    }
    let all = shown(&["--share", "all"]);
    assert!(
        all.contains("id\n") && all.contains("lock\n") && all.contains("password\n"),
        "{all}"
    );
    // Who names it himself gets it.
    let volume = format!("{0}:{0}:ro", sandbox.work().join("keys").display());
    assert!(shown(&["-v", &volume]).contains("id\n"));
    // What is hidden can be written to, which nobody sees.
    host(
        &sandbox,
        &[],
        "echo x > ~/.ssh/known_hosts; echo x > ~/.netrc",
    )
    .expect(0);
    assert!(!sandbox.work().join("keys/known_hosts").exists());
    assert_eq!(
        fs::read_to_string(home.join(".netrc")).unwrap(),
        "password\n"
    );

    // Where variables say that such things are.
    let keys = sandbox.work().join("keys");
    let elsewhere = |flags: &[&str]| {
        let run = sandbox
            .bryo(["run", "--rm", "--network", "none"])
            .args(flags);
        let run = run
            .env("KUBECONFIG", keys.join("id"))
            .env("XDG_CONFIG_HOME", sandbox.work().join("config"));
        let run = run.env("DOCKER_CONFIG", sandbox.work());
        let script = "cat keys/id config/gh/hosts.yml 2>&1";
        run.args(["host", "sh", "-c", script]).output().stdout
    };
    let own = sandbox.path().join("home/.ssh");
    fs::remove_file(&own).unwrap();
    sandbox.write("config/gh/hosts.yml", "token\n");
    let hidden = elsewhere(&[]);
    assert!(
        !hidden.contains("key\n") && !hidden.contains("token"),
        "{hidden}"
    );
    let shown = elsewhere(&["--share", "kube,passwords"]);
    assert_eq!(shown, "key\ntoken\n");

    let refused = host(&sandbox, &["--share", "shh"], "true").expect(125);
    assert!(
        refused
            .stderr
            .contains("there is no 'shh', but all, browsers"),
        "{refused}"
    );
    let refused = sandbox.run(&["--share", "env", "hello"]).expect(125);
    assert!(refused.stderr.contains("for the image host"), "{refused}");
}

#[test]
fn no_socket_of_the_hosts_is_reached() {
    let sandbox = Sandbox::new();
    let python = require_tool("python3", "python3").display().to_string();
    fs::write(sandbox.work().join("connect"), CONNECT).unwrap();
    let socket = sandbox.work().join("s");
    let _listener = UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).unwrap();
    let script = format!("test -S s && {python} connect s");
    assert_eq!(
        host(&sandbox, &[], &script).expect(0).stdout,
        "Connection refused\n"
    );
    let volume = format!("{0}:{0}", socket.display());
    let named = host(&sandbox, &["-v", &volume], &script).expect(0);
    assert_eq!(named.stdout, "connected\n");

    // On a file system of its own, with another one on it.
    let listen = "import os, socket, time; os.chdir('m'); \
        a = socket.socket(socket.AF_UNIX); a.bind('s'); a.listen(); \
        b = socket.socket(socket.AF_UNIX); b.bind('n/s'); b.listen(); \
        open('ready', 'w'); time.sleep(1000)";
    let script = format!(
        "mkdir m && mount -t tmpfs t m && mkdir m/n && mount -t tmpfs t m/n && \
         echo content > m/n/file && chmod 755 m m/n && {{ {python} -c \"{listen}\" & }} && \
         while ! test -e m/ready; do sleep 0.05; done && \
         for share in ssh sockets; do \
         {} run --rm --network none --share $share host sh -c \
         'cat m/n/file; {python} connect m/s; {python} connect m/n/s; \
         echo changed > m/n/file && cat m/n/file'; cat m/n/file; done; kill $!",
        bryo().display()
    );
    let unshare = sandbox.command(require_tool("unshare", "util-linux"));
    let unshare = unshare.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]);
    let output = unshare.output().expect(0);
    let refused = "content\nNo such file or directory\nConnection refused\nchanged\ncontent\n";
    let shared = "content\nconnected\nconnected\ncontent\n";
    assert_eq!(output.stdout, format!("{refused}{shared}"), "{output}");
}

/// What debootstrap and its like mount while they install.
#[test]
fn another_root_that_is_being_installed_is_no_obstacle() {
    let sandbox = Sandbox::new();
    let script = format!(
        "mkdir -p root/proc root/sys root/dev/pts && echo content > root/file && \
         unshare --pid --fork mount -t proc none root/proc && mount -t devpts none root/dev/pts && \
         {} run --rm --network none host sh -c 'cat root/file; ls -A root root/proc'",
        bryo().display()
    );
    let unshare = sandbox.command(require_tool("unshare", "util-linux"));
    let unshare = unshare.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]);
    let output = unshare.output().expect(0);
    let expected = "content\nroot:\ndev\nfile\nproc\nsys\n\nroot/proc:\n";
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        (expected, "")
    );
}

#[test]
fn hello_says_what_ids_are_on_the_host() {
    let sandbox = Sandbox::new();
    let said = sandbox
        .run(&["--network", "none", "hello"])
        .expect(0)
        .stdout;
    for (name, id) in [
        ("uid map", nix::unistd::getuid().as_raw()),
        ("gid map", nix::unistd::getgid().as_raw()),
    ] {
        let line = said
            .lines()
            .find(|line| line.trim_start().starts_with(name))
            .unwrap();
        assert!(
            line.contains(&format!("0 here is {id} on the host")),
            "{said}"
        );
    }
}

#[test]
fn where_programs_write_they_can() {
    let sandbox = Sandbox::new();
    let script = "for d in / /etc /usr/bin /usr/lib /usr/local/bin /var/tmp /var/log /var/lib /tmp; do \
        echo x > $d/bryo-test && cat $d/bryo-test && rm $d/bryo-test || exit 1; done; \
        cp /etc/passwd /etc/new && mv /etc/new /etc/passwd && ls /usr/bin/env /usr/lib/os-release";
    let output = host(&sandbox, &[], script).expect(0);
    assert_eq!(
        output.stdout,
        format!("{}/usr/bin/env\n/usr/lib/os-release\n", "x\n".repeat(9))
    );
    assert!(!std::path::Path::new("/var/tmp/bryo-test").exists());
}
