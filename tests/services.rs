//! Real services and their clients through the translator: what people run.

use crate::common::{Sandbox, debian_tar, require_tool, wait_for};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// A server on the host, ended with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(command: &mut Command, port: u16) -> Server {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null());
    let child = quiet.stderr(Stdio::null()).spawn().unwrap();
    wait_for("the server", || {
        TcpStream::connect(("127.0.0.1", port)).ok()
    });
    Server(child)
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

const NETWORK: &str = "user:host-loopback";

/// What a script prints in a container.
#[track_caller]
fn inside(sandbox: &Sandbox, network: &str, script: &str) -> String {
    let run = sandbox.bryo(["run", "--rm", "--network", network, "host", "bash", "-ec"]);
    let output = run.arg(script).output_within(Duration::from_secs(150));
    output.expect(0).stdout
}

#[test]
fn files_come_by_https_whole() {
    require_tool("curl", "curl");
    let openssl = require_tool("openssl", "openssl");
    let sandbox = Sandbox::new();
    let work = sandbox.work();
    let data: Vec<u8> = (0..30_000_000u32)
        .flat_map(|n| n.to_le_bytes())
        .take(40_000_000)
        .collect();
    let file = sandbox.write("data", &data);
    let make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=host.example \
                -addext subjectAltName=DNS:host.example -keyout key.pem -out cert.pem";
    let made = sandbox.command("sh").args(["-c", make]).current_dir(&work);
    made.output().expect(0);
    let port = free_port();
    let directory = file.parent().unwrap();
    let _server = serve(
        Command::new(&openssl)
            .args([
                "s_server",
                "-WWW",
                "-quiet",
                "-accept",
                &format!("127.0.0.1:{port}"),
            ])
            .arg("-key")
            .arg(work.join("key.pem"))
            .arg("-cert")
            .arg(work.join("cert.pem"))
            .current_dir(directory),
        port,
    );
    let cert = work.join("cert.pem");
    let script = format!(
        "curl -sS --cacert {cert} --resolve host.example:{port}:10.0.2.2 -o /tmp/got https://host.example:{port}/data
         cmp /tmp/got {file} && echo same
         echo | openssl s_client -connect 10.0.2.2:{port} -CAfile {cert} 2>/dev/null | grep -q 'Verify return code: 0' && echo verified",
        cert = cert.display(),
        file = file.display(),
    );
    for network in [NETWORK, "user:host-loopback,mtu=1500"] {
        assert_eq!(inside(&sandbox, network, &script), "same\nverified\n");
    }
}

#[test]
fn apt_updates_its_lists() {
    let sandbox = Sandbox::new();
    let import = sandbox.bryo(["import"]).arg(debian_tar());
    import
        .arg("debian")
        .output_within(Duration::from_secs(120))
        .expect(0);
    // As the host reaches its mirrors.
    let authorities = "/etc/ssl/certs/ca-certificates.crt:/mnt/authorities:ro";
    let script = "cp -r /mnt/apt/. /etc/apt/ || true
        apt-get -o Acquire::https::CAInfo=/mnt/authorities -o APT::Update::Error-Mode=any update
        apt-cache show nginx | grep -m 1 ^Package";
    let run = sandbox.bryo(["run", "--rm", "--network", "user"]);
    let run = run.args(["-v", "/etc/apt:/mnt/apt:ro", "-v", authorities]);
    let run = run.args(["debian", "sh", "-ec", script]);
    let output = run.output_within(Duration::from_secs(300)).expect(0);
    assert!(output.stdout.ends_with("Package: nginx\n"), "{output}");
}

#[test]
fn a_repository_is_cloned_by_http() {
    require_tool("git", "git");
    require_tool("python3", "python3-minimal");
    let sandbox = Sandbox::new();
    let make = "git init -q -b main r && cd r && head -c 5000000 /dev/urandom >blob && git add blob && \
                git -c user.name=n -c user.email=e@example.com commit -qm one && \
                cd .. && git clone -q --bare r served/r.git && git -C served/r.git update-server-info";
    let work = sandbox.work();
    let made = sandbox.command("sh").args(["-c", make]).current_dir(&work);
    made.output().expect(0);
    let port = free_port();
    let _server = serve(
        Command::new("python3")
            .args([
                "-m",
                "http.server",
                "--bind",
                "127.0.0.1",
                &port.to_string(),
            ])
            .current_dir(work.join("served")),
        port,
    );
    let script = format!(
        "git clone -q http://10.0.2.2:{port}/r.git /tmp/r && cmp /tmp/r/blob {}/r/blob && echo same",
        work.display()
    );
    assert_eq!(inside(&sandbox, NETWORK, &script), "same\n");
}

#[test]
fn streams_of_iperf3_go_both_ways() {
    let iperf3 = require_tool("iperf3", "iperf3");
    let sandbox = Sandbox::new();
    let port = free_port();
    let address = ["-s", "-B", "127.0.0.1", "-p", &port.to_string()].map(str::to_owned);
    let mut command = Command::new(iperf3);
    command
        .args(address)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let _server = Server(command.spawn().unwrap());
    let script = format!(
        "for flags in '' -R '-P 8' '-P 8 -R' '-u -b 200M -l 1200' --bidir; do
           for try in 1 2 3 4 5 6 7 8 9; do
             iperf3 -c 10.0.2.2 -p {port} -n 30M $flags >/tmp/out 2>&1 && break
             sleep 0.2
           done
           tail -1 /tmp/out
         done"
    );
    assert_eq!(
        inside(&sandbox, NETWORK, &script),
        "iperf Done.\n".repeat(6)
    );
}

#[test]
fn slow_readers_and_slow_writers_get_all_of_it() {
    require_tool("python3", "python3-minimal");
    let sandbox = Sandbox::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let pace = Duration::from_millis(5);
    let server = thread::spawn(move || {
        // One that reads slowly, less at a time than a window.
        let (mut client, _) = listener.accept().unwrap();
        let (mut part, mut sum) = (vec![0; 40_000], 0);
        loop {
            match client.read(&mut part).unwrap() {
                0 => break,
                count => sum += count,
            }
            thread::sleep(pace);
        }
        // One that writes a little now and then.
        let (mut client, _) = listener.accept().unwrap();
        for number in 0..300 {
            client.write_all(&[number as u8; 7]).unwrap();
            thread::sleep(pace);
        }
        drop(client);
        // One to whom a slow reader listens.
        let (mut client, _) = listener.accept().unwrap();
        client.write_all(&vec![1; 8_000_000]).unwrap();
        sum
    });
    let script = format!(
        "python3 - <<'END'
import socket, time
def connect():
    return socket.create_connection(('10.0.2.2', {port}))
s = connect()
s.sendall(b'x' * 8000000)
s.close()
s = connect()
got = b''
while part := s.recv(1000): got += part
print(len(got))
s = connect()
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
total = 0
while part := s.recv(65536):
    total += len(part)
    if total % 7 == 0: time.sleep(0.005)
print(total)
END"
    );
    assert_eq!(inside(&sandbox, NETWORK, &script), "2100\n8000000\n");
    assert_eq!(server.join().unwrap(), 8_000_000);
}

#[test]
fn ten_thousand_connections_leave_nothing() {
    require_tool("python3", "python3-minimal");
    let sandbox = Sandbox::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let _ = client.write_all(b"x");
            // The client closes first.
            let _ = client.read(&mut [0; 10]);
        }
    });
    let flags = [
        "-d",
        "--name",
        "c",
        "--network",
        NETWORK,
        "host",
        "sleep",
        "1000",
    ];
    sandbox.bryo(["run"]).args(flags).output().expect(0);
    let script = format!(
        "import socket
for n in range(10000):
    s = socket.create_connection(('10.0.2.2', {port}), 60)
    assert s.recv(1) == b'x'
    s.close()
print('done')"
    );
    let exec = sandbox.bryo(["exec", "c", "python3", "-c", &script]);
    let output = exec.output_within(Duration::from_secs(150)).expect(0);
    assert_eq!(output.stdout, "done\n");
    let translator = || sandbox.inspect("c")["NetworkSettings"]["Traffic"]["Translator"].clone();
    wait_for("the end of all flows", || {
        let translator = translator();
        let none = translator["FlowsBegun"].as_u64()? >= 10_000 && translator["Flows"] == 0;
        none.then_some(())
    });
    assert_eq!(translator()["Malformed"], 0);
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
}

/// Between two network namespaces of the user's: loses, doubles and reorders
/// packets, as the kernel's netem does where there is one.
const BAD_LINK: &str = "
import ctypes, fcntl, os, random, select, struct, sys
def tap(name):
    f = os.open('/dev/net/tun', os.O_RDWR)
    fcntl.ioctl(f, 0x400454ca, struct.pack('16sH22x', name, 0x1002))
    return f
one = tap(b'out0')
ns = os.open('/proc/' + sys.argv[1] + '/ns/net', os.O_RDONLY)
if ctypes.CDLL(None).setns(ns, 0): sys.exit('setns')
two = tap(b'in0')
print('ready', flush=True)
draw = random.Random(7).random
other = {one: two, two: one}
held = {one: [], two: []}
def pass_on(f, frame):
    try: os.write(other[f], frame)
    except OSError: pass
while True:
    for f in select.select([one, two], [], [], 0.005 if any(held.values()) else None)[0]:
        frame = os.read(f, 65536)
        what = draw()
        if what < 0.003: continue
        if what < 0.05: held[f].append(frame); continue
        pass_on(f, frame)
        if what < 0.053: pass_on(f, frame)
    for f, late in held.items():
        if late and draw() < 0.3: pass_on(f, late.pop(0))
";

/// Behind the translator, with a small queue before it.
#[test]
fn what_goes_over_a_bad_network_arrives_whole() {
    require_tool("ip", "iproute2");
    require_tool("python3", "python3-minimal");
    let sandbox = Sandbox::with_busybox();
    let server = sandbox.write(
        "server.py",
        "import socket, hashlib
s = socket.create_server(('192.0.2.1', 7000))
print('ready', flush=True)
while True:
    c, _ = s.accept()
    h = hashlib.sha256()
    while part := c.recv(1 << 20): h.update(part)
    # The same way back: its digest, then as much again.
    c.sendall(h.digest())
    h = hashlib.sha256()
    for n in range(100):
        block = bytes([n]) * 1000000
        h.update(block)
        c.sendall(block)
    c.sendall(h.digest())
    c.close()
",
    );
    let client = sandbox.write(
        "client.py",
        "import socket, hashlib
c = socket.create_connection(('192.0.2.1', 7000))
h = hashlib.sha256()
for n in range(100):
    block = bytes([255 - n]) * 1000000
    h.update(block)
    c.sendall(block)
c.shutdown(socket.SHUT_WR)
data = bytearray()
while part := c.recv(1 << 20): data += part
assert bytes(data[:32]) == h.digest(), 'out'
assert hashlib.sha256(data[32:-32]).digest() == bytes(data[-32:]), 'in'
print('whole', len(data))
",
    );
    let link = sandbox.write("link.py", BAD_LINK);
    let bryo = crate::common::bryo();
    let script = format!(
        "set -e
         PATH=$PATH:/usr/sbin:/sbin
         unshare --net sleep 1000 & peer=$!
         trap 'kill $peer $served $link 2>/dev/null' EXIT
         until [ \"$(readlink /proc/$peer/ns/net)\" != \"$(readlink /proc/self/ns/net)\" ]; do sleep 0.05; done
         python3 {link} $peer >linked & link=$!
         until grep -q ready linked; do sleep 0.05; done
         ip link set lo up
         ip addr add 192.0.2.2/24 dev out0; ip link set out0 up; ip route add default via 192.0.2.1
         nsenter -t $peer -n ip addr add 192.0.2.1/24 dev in0
         nsenter -t $peer -n ip link set in0 up
         nsenter -t $peer -n python3 {server} >ready & served=$!
         until grep -q ready ready; do sleep 0.05; done
         {bryo} run --rm --cap-add NET_ADMIN --network user:mtu=1500 host sh -c '
           ip link set eth0 txqueuelen 3
           python3 {client}'",
        link = link.display(),
        server = server.display(),
        client = client.display(),
        bryo = bryo.display(),
    );
    let run = sandbox
        .command("unshare")
        .args(["--map-root-user", "--net", "bash", "-c", &script]);
    let run = run.current_dir(sandbox.work());
    let output = run.output_within(Duration::from_secs(150)).expect(0);
    assert_eq!(output.stdout, "whole 100000064\n", "{output}");
}
