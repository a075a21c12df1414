//! Networks that containers have from somebody else.

use crate::common::{Sandbox, require_tool, wait_for};
use std::fs;
use std::process::{Child, Command, Stdio};

#[track_caller]
fn web(sandbox: &Sandbox, flags: &[&str]) {
    let script = "mkdir /www; echo here >/www/index.html; exec httpd -f -p 127.0.0.1:80 -h /www";
    let run = sandbox.bryo(["run", "-d", "--name", "web"]).args(flags);
    run.args(["busybox", "sh", "-c", script]).output().expect(0);
}

const BESIDE: [&str; 2] = ["--network", "container:web"];

#[test]
fn a_container_is_on_the_network_of_another() {
    let sandbox = Sandbox::with_busybox();
    web(&sandbox, &["--add-host", "other.example:192.0.2.9"]);
    let script = "wget -qO- http://127.0.0.1/ && hostname && cat /etc/hosts /etc/resolv.conf &&
                  ip addr show eth0 && ls /sys/class/net && ip addr add 192.0.2.77/32 dev lo";
    let output = wait_for("the server", || {
        let run = sandbox.bryo(["run", "--rm", "--cap-add", "NET_ADMIN"]);
        let run = run.args(BESIDE).args(["busybox", "sh", "-c", script]);
        let output = run.output();
        (output.code == 0).then_some(output)
    });
    let id = sandbox.inspect("web")["Id"].as_str().unwrap().to_owned();
    for part in [
        "here\n",
        &id[..12],
        "192.0.2.9\tother.example",
        "nameserver 10.0.2.2",
        "10.0.2.100/24",
        "\neth0\n",
    ] {
        assert!(output.stdout.contains(part), "{part}: {output}");
    }
    // What the one does the other sees.
    let seen = sandbox.bryo(["exec", "web", "ip", "addr", "show", "lo"]);
    assert!(seen.stdout().contains("192.0.2.77/32"));
    let run = sandbox.bryo(["create", "--name", "second"]).args(BESIDE);
    run.args(["busybox", "true"]).output().expect(0);
    let mode = &sandbox.inspect("second")["HostConfig"]["NetworkMode"];
    assert_eq!(mode, &format!("container:{id}"));
    sandbox.bryo(["start", "-a", "second"]).output().expect(0);
    // It has no network while the other does not run, and another one after.
    sandbox.bryo(["stop", "-t", "0", "web"]).output().expect(0);
    let output = sandbox.bryo(["start", "second"]).output();
    assert!(
        output.code != 0 && output.stderr.contains("web is not running"),
        "{output}"
    );
    sandbox.bryo(["start", "web"]).output().expect(0);
    sandbox.bryo(["start", "-a", "second"]).output().expect(0);
    sandbox.bryo(["rm", "-f", "web"]).output().expect(0);
    let output = sandbox.bryo(["start", "second"]).output();
    assert!(output.code != 0 && output.stderr.contains(&id), "{output}");
    sandbox.bryo(["rm", "-f", "second"]).output().expect(0);
}

#[test]
fn what_the_other_container_decides_is_refused() {
    let sandbox = Sandbox::with_busybox();
    let refused = |flags: &[&str], part: &str| {
        let output = sandbox
            .bryo(["run", "--rm"])
            .args(flags)
            .args(["busybox", "true"])
            .output();
        assert!(
            output.code == 125 && output.stderr.contains(part),
            "{output}"
        );
    };
    refused(&BESIDE, "web");
    web(&sandbox, &["--network", "none"]);
    refused(&[&BESIDE[..], &["-p", "80"]].concat(), "-p");
    refused(&[&BESIDE[..], &["--dns", "192.0.2.1"]].concat(), "--dns");
    refused(
        &[&BESIDE[..], &["--userns", "keep-id"]].concat(),
        "--userns",
    );
    refused(&["--network", "container:"], "--network container:");
    sandbox.bryo(["rm", "-f", "web"]).output().expect(0);
    // The host's is the host's.
    web(&sandbox, &["--network", "host", "--entrypoint", "sleep"]);
    let run = sandbox.bryo(["run", "--rm"]).args(BESIDE);
    let inside = run
        .args(["busybox", "readlink", "/proc/self/ns/net"])
        .stdout();
    let here = fs::read_link("/proc/self/ns/net").unwrap();
    assert_eq!(inside.trim(), here.to_str().unwrap());
    sandbox.bryo(["rm", "-f", "web"]).output().expect(0);
}

/// A process with a network namespace of its own.
struct Holder(Child);

impl Holder {
    fn start() -> Holder {
        let script = "ip link set lo up && ip addr add 192.0.2.7/32 dev lo && exec sleep 1000";
        let child = Command::new(require_tool("unshare", "util-linux"))
            .args(["--map-root-user", "--net", "sh", "-c", script])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let comm = format!("/proc/{}/comm", child.id());
        wait_for("the namespace", || {
            (fs::read_to_string(&comm).ok()?.trim() == "sleep").then_some(())
        });
        Holder(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_container_is_in_a_network_namespace_of_the_users() {
    require_tool("ip", "iproute2");
    let sandbox = Sandbox::with_busybox();
    let holder = Holder::start();
    let network = format!("ns:/proc/{}/ns/net", holder.0.id());
    let flags = ["--network", &network, "--userns", "single"];
    let run = sandbox.bryo(["run", "--rm"]).args(flags);
    let output = run
        .args(["busybox", "ip", "addr", "show", "lo"])
        .output()
        .expect(0);
    assert!(output.stdout.contains("192.0.2.7/32"), "{output}");
    for (path, part) in [
        ("/etc/passwd", "no network namespace"),
        ("/nowhere", "/nowhere"),
        ("/proc/self/ns/mnt", "no network namespace"),
        // Root's.
        ("/proc/1/ns/net", "/proc/1/ns/net"),
    ] {
        let network = format!("ns:{path}");
        let flags = ["--network", &network, "--userns", "single"];
        let run = sandbox.bryo(["run", "--rm"]).args(flags);
        let output = run.args(["busybox", "true"]).output();
        assert!(
            output.code == 125 && output.stderr.contains(part),
            "{output}"
        );
    }
}

#[test]
fn sockets_that_were_opened_for_it_are_passed_on() {
    require_tool("python3", "python3");
    let sandbox = Sandbox::new();
    // As systemd does it: descriptors from 3 on, and who they are for.
    let activate = "
import os, socket, sys
listener = socket.create_server(('127.0.0.1', 0))
print(listener.getsockname()[1], flush=True)
secret = os.open('/etc/hostname', os.O_RDONLY)
os.dup2(secret, 40, inheritable=True)
if listener.fileno() != 3: os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS='1', LISTEN_FDNAMES='web', LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[1], sys.argv[1:])";
    let inside = "
import os, socket
assert os.environ['LISTEN_FDS'] == '1' and os.environ['LISTEN_FDNAMES'] == 'web'
assert os.environ['LISTEN_PID'] == str(os.getpid()), os.environ['LISTEN_PID']
assert sorted(os.listdir('/proc/self/fd')) == ['0', '1', '2', '3', '4'], os.listdir('/proc/self/fd')
client, _ = socket.socket(fileno=3).accept()
client.sendall(b'from inside')";
    for detached in [&["--rm"][..], &["--rm", "-d"]] {
        let run = sandbox.command("/usr/bin/python3").args(["-c", activate]);
        let run = run.arg(crate::common::bryo()).arg("run").args(detached);
        let run = run.args(["--network", "none", "host", "python3", "-c", inside]);
        let mut running = run.spawn();
        let port: u16 = running.expect_line("").parse().unwrap();
        let mut client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut client, &mut text).unwrap();
        assert_eq!(text, "from inside");
        running.wait().expect(0);
    }
    // Those of somebody else are nobody's business.
    let run = sandbox.bryo(["run", "--rm", "host", "sh", "-c", "echo ${LISTEN_FDS-none}"]);
    let run = run.env("LISTEN_FDS", "1").env("LISTEN_PID", "1");
    assert_eq!(run.stdout(), "none");
}
