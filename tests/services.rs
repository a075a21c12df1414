//! Real services and their clients through the translator: what people run.

use crate::common::{Sandbox, debian_tar, field, process, require_tool, wait_for, wait_for_rest};
use std::fs;
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
    require_tool("python3", "python3");
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
    require_tool("python3", "python3");
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

/// Descriptors that a process has, and kilobytes of memory of its own.
fn holds(pid: i32) -> (usize, u64) {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let memory = field(&text, "RssAnon").trim_end_matches(" kB");
    (descriptors, memory.parse().unwrap())
}

/// One after the other and all at once, each with more data than fits into one
/// segment: then flows, descriptors and memory are what they were before.
#[test]
fn eleven_thousand_connections_leave_nothing() {
    require_tool("python3", "python3");
    let sandbox = Sandbox::new();
    let port = free_port();
    // A process of its own: a thousand connections are more descriptors than
    // this one, in which other tests run, has to spare. The client closes first.
    let echo = format!(
        "
import asyncio, resource
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
async def answer(reader, writer):
    try:
        writer.write(await reader.readexactly(5000))
        await writer.drain()
        await reader.read(1)
    except asyncio.IncompleteReadError:
        pass
    writer.close()
async def main():
    server = await asyncio.start_server(answer, '127.0.0.1', {port}, backlog=2000)
    await server.serve_forever()
asyncio.run(main())"
    );
    let _server = serve(Command::new("python3").args(["-c", &echo]), port);
    let script = format!(
        "
import socket, sys
def begin():
    s = socket.create_connection(('10.0.2.2', {port}), 60)
    s.sendall(bytes(5000))
    return s
def end(s):
    size = 0
    while size < 5000:
        part = s.recv(5000)
        assert part, size
        size += len(part)
    s.close()
for line in sys.stdin:
    for turn in range(int(line)): end(begin())
    if line == '0\\n':
        for s in [begin() for turn in range(1000)]: end(s)
    print('done', flush=True)"
    );
    // Below a user namespace of the test's own, which lets it count the
    // descriptors of what nobody else may look into.
    let unshare = sandbox.command("unshare").arg("--map-root-user");
    let run = unshare.arg(crate::common::bryo());
    let run = run.args(["run", "-i", "--name", "c", "--network", NETWORK, "host"]);
    let run = run.args(["python3", "-c", &script]).open_stdin();
    let mut running = run.spawn();
    let mut turns = |count: &str| {
        running.write(count);
        running.expect_line("done");
    };
    turns("1\n");
    let supervisor = process::parent(sandbox.pid("c"));
    let mut children = process::children(supervisor).into_iter();
    let translator = children.find(|pid| process::name(*pid) == "bryo-net");
    let translator = translator.expect("a translator");
    let told = || sandbox.inspect("c")["NetworkSettings"]["Traffic"]["Translator"].clone();
    let at_rest = |begun: u64| {
        wait_for("the end of all flows", || {
            let told = told();
            let ended = told["FlowsBegun"].as_u64()? >= begun && told["Flows"] == 0;
            ended.then_some(())
        });
        // What is reported at rest is so before memory is given back.
        let rest = Duration::from_millis(1200);
        wait_for_rest("memory to be given back", rest, || holds(translator))
    };
    let before = at_rest(1);
    turns("10000\n");
    let sequential = at_rest(10_001);
    turns("0\n");
    let parallel = at_rest(11_001);
    for (descriptors, memory) in [sequential, parallel] {
        assert_eq!(descriptors, before.0);
        assert!(
            memory <= before.1 + 1024,
            "{memory} kB after {} kB",
            before.1
        );
    }
    assert_eq!(told()["Malformed"], 0);
    running.close_stdin();
    running.wait().expect(0);
    sandbox.bryo(["rm", "c"]).output().expect(0);
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
        if what < 0.002: continue
        if what < 0.02: held[f].append(frame); continue
        pass_on(f, frame)
        if what < 0.022: pass_on(f, frame)
    for f, late in held.items():
        if late and draw() < 0.3: pass_on(f, late.pop(0))
";

/// Sends or takes a thousand million bytes that are not like any other part
/// of them, and says what their checksum is.
const GIGABYTE: &str = "
import random, zlib
noise = memoryview(random.Random(5).randbytes(1 << 22))
def send(s):
    sum = 0
    for n in range(1000):
        # Each time from another place on.
        at = n * 3137
        block = noise[at:at + 1000000]
        sum = zlib.crc32(block, sum)
        s.sendall(block)
    return sum
def take(s):
    sum = size = 0
    buffer = bytearray(1 << 20)
    while count := s.recv_into(buffer):
        size += count
        sum = zlib.crc32(memoryview(buffer)[:count], sum)
    return size, sum
";

/// Behind the translator, with a small queue before it; both ways at once.
#[test]
fn a_gigabyte_over_a_bad_network_arrives_whole() {
    require_tool("ip", "iproute2");
    require_tool("python3", "python3");
    let sandbox = Sandbox::with_busybox();
    sandbox.write("gigabyte.py", GIGABYTE);
    let server = sandbox.write(
        "server.py",
        "import socket, threading
from gigabyte import *
def serve(port, act):
    s = socket.create_server(('192.0.2.1', port))
    def answer():
        c, _ = s.accept()
        said = act(c)
        c.close()
        c, _ = s.accept()
        c.sendall(repr(said).encode())
        c.close()
    threading.Thread(target=answer).start()
serve(7000, take)
serve(7001, send)
print('ready', flush=True)
",
    );
    let client = sandbox.write(
        "client.py",
        "import socket, threading
from gigabyte import *
def connect(port): return socket.create_connection(('192.0.2.1', port), 100)
def out():
    with connect(7000) as s: sum = send(s)
    said = connect(7000).recv(100).decode()
    assert said == repr((1000000000, sum)), (said, sum)
    print('out')
thread = threading.Thread(target=out)
thread.start()
with connect(7001) as s: size, sum = take(s)
said = connect(7001).recv(100).decode()
assert (size, said) == (1000000000, repr(sum)), (size, sum, said)
thread.join()
print('in')
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
         ip addr add 192.0.2.2/24 dev out0; ip link set out0 mtu 9000 up; ip route add default via 192.0.2.1
         nsenter -t $peer -n ip addr add 192.0.2.1/24 dev in0
         nsenter -t $peer -n ip link set in0 mtu 9000 up
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
    let output = run.output_within(Duration::from_secs(170)).expect(0);
    assert_eq!(output.stdout, "out\nin\n", "{output}");
}
