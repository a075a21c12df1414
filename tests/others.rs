//! The store and the runtime directory on a machine with other users.

use crate::common::{Output, Sandbox, require_tool, wait_for};
use crate::ids::granted;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

/// `bryo` for somebody whose files are anybody's.
fn careless(sandbox: &Sandbox, words: &[&str]) -> Output {
    let run = sandbox
        .command("sh")
        .args(["-c", "umask 0; exec \"$@\"", "sh"]);
    run.arg(crate::common::bryo())
        .args(words)
        .output()
        .expect(0)
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// What others could use below a directory, but for the trees that containers
/// see, each of which is in a directory that is closed.
fn open_places(directory: &Path, open: &mut Vec<String>) {
    const TREES: [&str; 10] = [
        "blobs",
        "fs",
        "upper",
        "work",
        "_data",
        "mountpoints",
        "builtin",
        "hosts",
        "hostname",
        "resolv.conf",
    ];
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        if TREES.iter().any(|name| path.ends_with(name)) || kind.is_symlink() {
            continue;
        }
        let below_images = path.parent().unwrap().ends_with("images");
        if mode(&path) & 0o077 != 0 && !below_images {
            open.push(format!("{:04o} {}", mode(&path), path.display()));
        }
        if kind.is_dir() {
            open_places(&path, open);
        }
    }
}

#[test]
fn whatever_the_mask_nothing_is_open_to_others() {
    let sandbox = Sandbox::new();
    fs::remove_dir(sandbox.root()).unwrap();
    let tar = crate::common::busybox_tar();
    careless(&sandbox, &["import", tar.to_str().unwrap(), "busybox"]);
    careless(&sandbox, &["volume", "create", "v"]);
    careless(&sandbox, &["network", "create", "n"]);
    let run = ["run", "-d", "--name", "c", "-v", "v:/v", "--network", "n"];
    let flags = [
        "--log-opt",
        "max-size=1k",
        "--health-cmd",
        "true",
        "--health-interval",
        "1s",
    ];
    let command = ["busybox", "sh", "-c", "yes | head -n 9999; exec sleep 1000"];
    careless(&sandbox, &[&run[..], &flags, &command].concat());
    let user = [
        "run",
        "-d",
        "--name",
        "u",
        "--network",
        "user",
        "busybox",
        "sleep",
        "1000",
    ];
    careless(&sandbox, &user);
    careless(&sandbox, &["exec", "c", "touch", "/file"]);
    careless(&sandbox, &["run", "--rm", "hello"]);
    careless(&sandbox, &["stop", "-t", "0", "u"]);
    careless(&sandbox, &["start", "u"]);
    careless(&sandbox, &["commit", "u", "committed"]);
    assert_eq!(mode(&sandbox.root()), 0o700);
    let mut open = Vec::new();
    open_places(&sandbox.root(), &mut open);
    open_places(&sandbox.runtime(), &mut open);
    assert!(open.is_empty(), "{}", open.join("\n"));
    // Those were there to be looked at.
    let container = sandbox.inspect("c")["Id"].as_str().unwrap().to_owned();
    let directory = sandbox.root().join("containers").join(container);
    for socket in [
        directory.join("control"),
        sandbox.root().join("networks/n.socket"),
    ] {
        assert!(
            fs::symlink_metadata(&socket)
                .unwrap()
                .file_type()
                .is_socket()
        );
        assert_eq!(mode(&socket), 0o600);
    }
    for file in ["lock", "events"] {
        assert_eq!(mode(&sandbox.root().join(file)), 0o600, "{file}");
    }
    careless(&sandbox, &["rm", "-f", "c", "u"]);
}

#[test]
fn an_open_store_is_closed_with_a_word() {
    let sandbox = Sandbox::new();
    chmod(&sandbox.root(), 0o755);
    let first = sandbox.bryo(["images"]).output().expect(0);
    assert!(
        first.stderr.contains("(mode 0755); it is yours alone now"),
        "{first}"
    );
    assert_eq!(mode(&sandbox.root()), 0o700);
    assert_eq!(sandbox.bryo(["images"]).output().expect(0).stderr, "");
    // Nobody's but its owner's.
    let refused = sandbox
        .bryo(["--root", "/usr", "images"])
        .output()
        .expect(1);
    assert!(
        refused.stderr.contains("belongs to user 0, not to you"),
        "{refused}"
    );
}

#[test]
fn a_runtime_directory_of_somebody_elses_is_an_error() {
    let sandbox = Sandbox::with_busybox();
    let run = || sandbox.bryo(["run", "--rm", "--network", "none", "busybox", "true"]);
    // What su(1) leaves in the environment is not looked at.
    let left = run().env("XDG_RUNTIME_DIR", "/usr").output().expect(0);
    assert_eq!(left.stderr, "");
    if granted(&sandbox).is_none() {
        // Who has one id needs none.
        fs::create_dir(sandbox.runtime().join("bryo")).unwrap();
        chmod(&sandbox.runtime().join("bryo"), 0o777);
        assert_eq!(run().output().expect(0).stderr, "");
        return;
    }
    let place = sandbox.runtime().join("bryo");
    let keeper = place.join("keeper");
    let _ = fs::remove_file(&keeper);
    let chown = |owner: &str| {
        let unshare = sandbox.command(require_tool("unshare", "util-linux"));
        let unshare = unshare.args(["--user", "--map-root-user", "--map-auto", "chown", owner]);
        unshare.arg(&place).output().expect(0);
    };
    chown("7");
    let refused = run().output().expect(125);
    for word in ["belongs to user", "not to you", "export XDG_RUNTIME_DIR="] {
        assert!(refused.stderr.contains(word), "{refused}");
    }
    // What needs no ids goes on.
    let single = [
        "run",
        "--rm",
        "--network",
        "none",
        "--userns",
        "single",
        "busybox",
        "true",
    ];
    sandbox.bryo(single).output().expect(0);
    chown("0");
    run().output().expect(0);
}

#[test]
fn sockets_are_for_their_owner_alone() {
    // Says whether who listens keeps a connection.
    const ASK: &str = "import os, socket, sys\n\
        os.chdir(os.path.dirname(sys.argv[1]))\n\
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n\
        s.connect(os.path.basename(sys.argv[1]))\n\
        s.settimeout(2)\n\
        try: print('closed' if s.recv(1) == b'' else 'answered')\n\
        except ConnectionResetError: print('closed')\n\
        except TimeoutError: print('kept')\n";
    let python = require_tool("python3", "python3");
    let sandbox = Sandbox::with_busybox();
    sandbox.bryo(["network", "create", "n"]).output().expect(0);
    let run = ["run", "-d", "--name", "c", "--network", "n"];
    let run = sandbox.bryo(run).args(["busybox", "sleep", "1000"]);
    run.output().expect(0);
    let id = sandbox.inspect("c")["Id"].as_str().unwrap().to_owned();
    let containers = sandbox.root().join("containers");
    let networks = sandbox.root().join("networks");
    let sockets = [
        containers.join(&id).join("control"),
        networks.join("n.socket"),
    ];
    wait_for("the sockets", || {
        sockets.iter().all(|s| s.exists()).then_some(())
    });
    // As if all that keeps others away were missing.
    for path in [
        sandbox.path(),
        &sandbox.root(),
        &containers,
        &containers.join(&id),
        &networks,
    ] {
        chmod(path, 0o711);
    }
    for socket in &sockets {
        chmod(socket, 0o666);
        let own = sandbox
            .command(&python)
            .args(["-c", ASK])
            .arg(socket)
            .stdout();
        assert_eq!(own, "kept", "{}", socket.display());
        if granted(&sandbox).is_some() {
            let unshare = sandbox.command(require_tool("unshare", "util-linux"));
            let unshare = unshare.args(["--user", "--map-root-user", "--map-auto"]);
            let other = unshare.args(["setpriv", "--reuid", "7", "--clear-groups"]);
            let other = other.arg(&python).args(["-c", ASK]).arg(socket).stdout();
            assert_eq!(other, "closed", "{}", socket.display());
        }
    }
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
}
