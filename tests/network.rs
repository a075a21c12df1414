//! User-mode networking: real clients and servers through the translator.

use crate::common::{Sandbox, bryo, field, process, require_tool, wait_for};
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, UdpSocket};
use std::thread;
use std::time::Duration;

/// A service on the host's loopback: its port, and what it is asked once.
fn serve_once(answer: impl FnOnce(std::net::TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || answer(listener.accept().unwrap().0));
    port
}

const GATEWAY: &str = "10.0.2.2";

fn inside(sandbox: &Sandbox, network: &str, script: &str) -> (i32, String, String) {
    let output = sandbox.run(&["--network", network, "host", "bash", "-c", script]);
    (output.code, output.stdout, output.stderr)
}

#[test]
fn a_container_has_an_interface_addresses_and_routes_at_once() {
    require_tool("ip", "iproute2");
    let sandbox = Sandbox::new();
    let script = "ip -br addr show eth0; ip route; ip -6 route show default; cat /etc/resolv.conf";
    for network in ["default", "user"] {
        let (code, out, err) = inside(&sandbox, network, script);
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(
            out.contains("10.0.2.100/24") && out.contains("fd62:7279:6f00::100/64"),
            "{out}"
        );
        assert!(out.contains("default via 10.0.2.2 dev eth0"), "{out}");
        assert!(
            out.contains("default via fd62:7279:6f00::2 dev eth0"),
            "{out}"
        );
        assert!(out.contains("nameserver 10.0.2.2"), "{out}");
    }
    let (_, out, _) = inside(&sandbox, "user:ipv6=off,mtu=1400,cidr=10.77.0.0/16", script);
    assert!(
        out.contains("10.77.0.100/16") && !out.contains("fd62"),
        "{out}"
    );
}

#[test]
fn what_others_call_a_network_of_its_own_is_the_default() {
    let sandbox = Sandbox::with_busybox();
    for peer in ["bridge", "pasta", "slirp4netns"] {
        let run = ["--network", peer, "busybox", "cat", "/etc/resolv.conf"];
        let output = sandbox.run(&run).expect(0);
        assert!(output.stdout.contains("nameserver 10.0.2.2"), "{output}");
        let said = format!("warning: --network {peer}: bryo's own user-mode network");
        assert!(output.stderr.starts_with(&said), "{output}");
        let create = sandbox.bryo(["network", "create", peer]).output();
        assert!(
            create.stderr.contains("stands for something else"),
            "{create}"
        );
    }
    let options = [
        "--network",
        "slirp4netns:allow_host_loopback=true",
        "busybox",
        "true",
    ];
    let refused = sandbox.run(&options).expect(125);
    assert!(refused.stderr.contains("docs/networking.md"), "{refused}");
}

#[test]
fn inspect_shows_a_containers_own_address_where_docker_has_it() {
    let sandbox = Sandbox::with_busybox();
    let run = sandbox.bryo([
        "run",
        "-d",
        "--name",
        "c",
        "--network",
        "user:cidr=10.77.0.0/24",
    ]);
    run.args(["busybox", "sleep", "1000"]).output().expect(0);
    let shown = |format: &str| sandbox.bryo(["inspect", "c", "--format", format]).stdout();
    let all = "{{.NetworkSettings.IPAddress}}/{{.NetworkSettings.IPPrefixLen}} \
               {{.NetworkSettings.Gateway}} {{.NetworkSettings.MacAddress}} \
               {{range .NetworkSettings.Networks}}{{.IPAddress}} {{.GlobalIPv6Address}}{{end}}";
    let expected = "10.77.0.100/24 10.77.0.2 02:42:0a:4d:00:64 10.77.0.100 fd62:7279:6f00::100";
    assert_eq!(shown(all).trim(), expected);
    let own = sandbox
        .bryo(["exec", "c", "ip", "addr", "show", "eth0"])
        .stdout();
    for part in [
        "10.77.0.100/24",
        "02:42:0a:4d:00:64",
        "fd62:7279:6f00::100/64",
    ] {
        assert!(own.contains(part), "{own}");
    }
    // Who does not run has none.
    sandbox.bryo(["stop", "-t", "0", "c"]).output().expect(0);
    assert_eq!(shown("<{{.NetworkSettings.IPAddress}}>").trim(), "<>");
    sandbox.bryo(["rm", "c"]).output().expect(0);
}

#[test]
fn data_arrives_whole_and_connections_close_on_each_side() {
    require_tool("python3", "python3");
    let sandbox = Sandbox::new();
    for mtu in [1400, 65520] {
        let port = serve_once(|mut client| {
            let mut data = Vec::new();
            // Until the container has nothing more to send.
            client.read_to_end(&mut data).unwrap();
            client.write_all(&data).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
        });
        let script = format!(
            "head -c 20000000 /dev/urandom >/tmp/sent
             exec 3<>/dev/tcp/{GATEWAY}/{port}
             python3 - <<'END'
import socket, hashlib
s = socket.socket(fileno=3)
data = open('/tmp/sent', 'rb').read()
import threading
got = bytearray()
s.sendall(data)
s.shutdown(socket.SHUT_WR)
while True:
    part = s.recv(1 << 20)
    if not part: break
    got += part
print('same' if bytes(got) == data else 'different', len(got))
END"
        );
        let network = format!("user:host-loopback,mtu={mtu}");
        let (code, out, err) = inside(&sandbox, &network, &script);
        assert_eq!((code, out.as_str()), (0, "same 20000000\n"), "{err}");
    }
}

#[test]
fn what_a_container_sent_before_it_ended_arrives() {
    let sandbox = Sandbox::new();
    let (tell, told) = std::sync::mpsc::channel();
    let port = serve_once(move |mut client| {
        // Slower than the container.
        thread::sleep(Duration::from_millis(500));
        let mut data = Vec::new();
        client.read_to_end(&mut data).unwrap();
        tell.send(data.len()).unwrap();
    });
    let script = format!("head -c 3000000 /dev/zero >/dev/tcp/{GATEWAY}/{port}");
    let (code, _, err) = inside(&sandbox, "user:host-loopback", &script);
    assert_eq!(code, 0, "{err}");
    assert_eq!(told.recv_timeout(Duration::from_secs(10)), Ok(3_000_000));
}

#[test]
fn the_hosts_loopback_is_out_of_reach_unless_asked_for() {
    let sandbox = Sandbox::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    for address in [
        GATEWAY,
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "::1",
        "::",
        "::ffff:127.0.0.1",
    ] {
        let script = format!("exec 3<>/dev/tcp/{address}/{port}");
        let (code, _, err) = inside(&sandbox, "user", &script);
        assert_eq!(code, 1, "{address}: {err}");
        assert!(
            err.contains("refused") || err.contains("unreachable"),
            "{address}: {err}"
        );
    }
    // By routes and raw packets of the container's own making too.
    let script = format!(
        "ip route add local 0.0.0.0/8 dev lo table 9; ip route flush table local 2>/dev/null
         ip addr del 127.0.0.1/8 dev lo; ip route del local 127.0.0.0/8 table local 2>/dev/null
         ip route add 127.0.0.0/8 via {GATEWAY} dev eth0 src 10.0.2.100
         echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet 2>/dev/null
         timeout 3 bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}'"
    );
    let flags = ["--privileged", "--network", "user", "host", "bash", "-c"];
    let output = sandbox.run(&[&flags[..], &[&script]].concat());
    assert_ne!(output.code, 0, "{output}");
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "somebody has connected");
    let script = format!("exec 3<>/dev/tcp/{GATEWAY}/{port}");
    assert_eq!(inside(&sandbox, "user:host-loopback", &script).0, 0);
    let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}");
    assert_eq!(inside(&sandbox, "user:host-loopback", &script).0, 1);
}

#[test]
fn refusals_are_told_as_they_are() {
    let sandbox = Sandbox::new();
    // Nobody listens there.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let script = format!("exec 3<>/dev/tcp/{GATEWAY}/{port}");
    let (_, _, err) = inside(&sandbox, "user:host-loopback", &script);
    assert!(err.contains("refused"), "{err}");
    // An allow-list without it.
    let script = "exec 3<>/dev/tcp/192.0.2.77/80";
    let (_, _, err) = inside(&sandbox, "user:allow=198.51.100.0/24", script);
    assert!(
        err.contains("unreachable") || err.contains("No route"),
        "{err}"
    );
}

/// Nobody answers, and that is told to who sent a datagram too.
#[test]
fn datagrams_that_nobody_takes_are_refused() {
    require_tool("python3", "python3");
    let sandbox = Sandbox::new();
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let script = format!(
        "python3 - <<'END'
import socket
def refused(address, port):
    s = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(20)
    # IP_RECVERR: others than refusals are not told otherwise.
    if s.family == socket.AF_INET: s.setsockopt(socket.IPPROTO_IP, 11, 1)
    s.connect((address, port))
    for turn in range(2):
        try:
            s.send(b'x')
            s.recv(10)
        except (ConnectionRefusedError, OSError) as e: print(e.strerror)
refused('10.0.2.2', {port})
refused('fd62:7279:6f00::2', {port})
refused('127.0.0.1', {port})
refused('10.0.2.77', {port})
END"
    );
    let (_, out, err) = inside(&sandbox, "user:host-loopback", &script);
    let wanted = "Connection refused\n".repeat(6) + &"No route to host\n".repeat(2);
    assert_eq!(out, wanted, "{err}");
}

#[test]
fn connections_last_by_keepalive_and_end_on_both_sides_at_once() {
    require_tool("python3", "python3");
    let sandbox = Sandbox::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut first = listener.accept().unwrap().0;
        thread::spawn(move || {
            let mut data = [0; 5];
            first.read_exact(&mut data).unwrap();
            first.write_all(&data).unwrap();
        });
        for mut client in listener.incoming().flatten() {
            // Without a word, then with one that the other side may not want.
            let mut data = [0];
            let _ = client.read(&mut data);
            if data == *b"b" {
                client.write_all(&[7; 3000]).unwrap();
            }
        }
    });
    let script = format!(
        "
import socket, time
kept = socket.create_connection(('10.0.2.2', {port}))
kept.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
for option in socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT:
    kept.setsockopt(socket.IPPROTO_TCP, option, 1)
for turn in range(500):
    s = socket.create_connection(('10.0.2.2', {port}))
    s.send(b'ab'[turn % 2:][:1])
    if turn % 4 == 3: s.shutdown(socket.SHUT_WR)
    s.close()
time.sleep(4)
kept.sendall(b'still')
assert kept.recv(5, socket.MSG_WAITALL) == b'still'
print('kept', flush=True)
time.sleep(1000)"
    );
    let run = sandbox.bryo(["run", "--name", "c", "--network", "user:host-loopback"]);
    let mut running = run.args(["host", "python3", "-c", &script]).spawn();
    running.expect_line("kept");
    wait_for("the end of the others", || {
        let told = sandbox.inspect("c")["NetworkSettings"]["Traffic"]["Translator"].clone();
        let ended = told["FlowsBegun"].as_u64()? >= 501 && told["Flows"].as_u64()? <= 1;
        ended.then_some(())
    });
    sandbox.bryo(["kill", "c"]).output().expect(0);
    running.wait();
    sandbox.bryo(["rm", "c"]).output().expect(0);
}

#[test]
fn resets_are_passed_on_both_ways() {
    use nix::sys::socket::{setsockopt, sockopt};
    require_tool("python3", "python3");
    let sandbox = Sandbox::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let mut client = listener.accept().unwrap().0;
        client.read_exact(&mut [0]).unwrap();
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        setsockopt(&client, sockopt::Linger, &linger).unwrap();
        drop(client);
        let mut client = listener.accept().unwrap().0;
        client.write_all(b"x").unwrap();
        let error = client.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    });
    let script = format!(
        "python3 - <<'END'
import socket, struct
s = socket.create_connection(('{GATEWAY}', {port}))
s.send(b'x')
try: print(s.recv(1))
except ConnectionResetError: print('reset')
s = socket.create_connection(('{GATEWAY}', {port}))
s.recv(1)
s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
s.close()
END"
    );
    let (_, out, err) = inside(&sandbox, "user:host-loopback", &script);
    assert_eq!(out, "reset\n", "{err}");
    server.join().unwrap();
}

#[test]
fn datagrams_of_any_size_come_and_go() {
    require_tool("python3", "python3");
    let sandbox = Sandbox::new();
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    server
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let echo = thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        for _ in 0..8 {
            let (length, from) = server.recv_from(&mut buffer).unwrap();
            server.send_to(&buffer[..length], from).unwrap();
        }
    });
    for mtu in [1400, 65520] {
        let script = format!(
            "python3 - <<'END'
import socket, os
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(10)
s.connect(('{GATEWAY}', {port}))
for size in [0, 1, 1373, 60000]:
    data = os.urandom(size)
    s.send(data)
    assert s.recv(65536) == data, size
print('all')
END"
        );
        let (_, out, err) = inside(&sandbox, &format!("user:host-loopback,mtu={mtu}"), &script);
        assert_eq!(out, "all\n", "{err}");
    }
    echo.join().unwrap();
}

#[test]
fn names_are_asked_of_the_hosts_name_server() {
    require_tool("dig", "bind9-dnsutils");
    let sandbox = Sandbox::new();
    let script = format!(
        "dig +tries=1 +time=5 +noall +comments . NS | grep -c 'status:'; dig +tcp +tries=1 +time=5 +noall +comments @{GATEWAY} . NS | grep -c status:"
    );
    let (_, out, err) = inside(&sandbox, "user", &script);
    assert!(out.lines().count() == 2, "{out}{err}");
}

/// A name server at a loopback address, the only one that the host knows, and
/// then another one; by UDP and by TCP.
#[test]
fn the_hosts_name_servers_are_followed() {
    require_tool("dig", "bind9-dnsutils");
    require_tool("python3", "python3");
    let sandbox = Sandbox::new();
    // Answers every question for an address with the one that it is given.
    sandbox.write(
        "server.py",
        r#"
import socket, struct, sys, threading
place, said = sys.argv[1], socket.inet_aton(sys.argv[2])
def answer(question):
    end = 12
    while question[end]: end += question[end] + 1
    head = question[:2] + b'\x81\x80' + struct.pack('>HHHH', 1, 1, 0, 0)
    record = b'\xc0\x0c' + struct.pack('>HHIH', 1, 1, 0, 4) + said
    return head + question[12:end + 5] + record
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind((place, 53))
tcp = socket.socket()
tcp.bind((place, 53))
tcp.listen()
def streams():
    while True:
        client = tcp.accept()[0]
        length = struct.unpack('>H', client.recv(2, socket.MSG_WAITALL))[0]
        reply = answer(client.recv(length, socket.MSG_WAITALL))
        client.sendall(struct.pack('>H', len(reply)) + reply)
        client.close()
threading.Thread(target=streams, daemon=True).start()
while True:
    question, client = udp.recvfrom(4096)
    udp.sendto(answer(question), client)
"#,
    );
    let script = r#"
        ip link set lo up
        printf 'search a.example b.example\nnameserver 127.0.0.53\n' >resolv.conf
        mount --bind resolv.conf /etc/resolv.conf
        python3 server.py 127.0.0.53 192.0.2.1 & servers=$!
        python3 server.py 127.0.0.54 192.0.2.2 & servers="$servers $!"
        trap 'kill $servers; "$0" rm -f -a >/dev/null' EXIT
        until ss -Hltn sport = 53 | grep -c . | grep -q 2; do sleep 0.05; done
        "$0" run -d --name c --network user host sleep 1000 >/dev/null
        ask() { "$0" exec c dig +short +tries=1 +time=5 "$@" name.example A; }
        ask; ask +tcp
        printf '#!/bin/sh\n[ "$1" != bound ] || echo "$search"' >said
        chmod +x said
        "$0" exec c busybox udhcpc -i eth0 -n -q -f -t 10 -T 1 -O search -s "$PWD/said" 2>&1 |
          grep example
        echo nameserver 127.0.0.54 >resolv.conf
        for n in $(seq 200); do
          [ "$(ask)" = 192.0.2.2 ] && break
          sleep 0.05
        done
        ask; ask +tcp"#;
    let unshare = ["-Urmn", "bash", "-ec", script];
    let run = sandbox.command("unshare").args(unshare);
    let output = run.arg(bryo()).output().expect(0);
    let expected = "192.0.2.1\n192.0.2.1\na.example b.example\n192.0.2.2\n192.0.2.2\n";
    assert_eq!(output.stdout, expected, "{output}");
}

#[test]
fn connections_that_wait_cost_nothing() {
    require_tool("python3", "python3");
    let sandbox = Sandbox::new();
    // One that is closed on one side, one whose reader does not read.
    let mut held = Vec::new();
    let (closed, unread) = [true, false]
        .map(|close| {
            let (hold, over) = std::sync::mpsc::channel::<()>();
            held.push(hold);
            serve_once(move |client| {
                if close {
                    client.shutdown(Shutdown::Write).unwrap();
                }
                let _ = over.recv();
            })
        })
        .into();
    let script = format!(
        "
import socket, time
closed = socket.create_connection(('{GATEWAY}', {closed}))
assert closed.recv(1) == b''
unread = socket.create_connection(('{GATEWAY}', {unread}))
unread.settimeout(1)
try:
    while True: unread.send(bytes(65536))
except TimeoutError: print('full', flush=True)
time.sleep(1000)"
    );
    let run = ["run", "--name", "c", "--network", "user:host-loopback"];
    let run = sandbox.bryo(run).args(["host", "python3", "-c", &script]);
    let mut running = run.spawn();
    running.expect_line("full");
    let translator = process::children(process::parent(sandbox.pid("c")));
    let translator = translator
        .into_iter()
        .find(|pid| process::name(*pid) == "bryo-net");
    let stat = format!("/proc/{}/stat", translator.unwrap());
    let ticks = || -> u64 {
        let text = fs::read_to_string(&stat).unwrap();
        let rest = text.rsplit(") ").next().unwrap();
        let times = rest.split(' ').skip(11).take(2);
        times.map(|t| t.parse::<u64>().unwrap()).sum()
    };
    let before = ticks();
    thread::sleep(Duration::from_secs(3));
    // It does look now and then whether there is room again.
    let spent = ticks() - before;
    assert!(spent <= 10, "{spent} ticks of a hundredth of a second");
    drop(held);
    sandbox.bryo(["kill", "c"]).output().expect(0);
    running.wait();
    sandbox.bryo(["rm", "c"]).output().expect(0);
}

/// What reads a hostile container's packets and questions has no capability,
/// few system calls and little memory, and sees no file.
#[test]
fn who_serves_a_network_can_do_nothing_else() {
    let sandbox = Sandbox::with_busybox();
    sandbox
        .bryo(["network", "create", "net"])
        .output()
        .expect(0);
    // Below a user namespace of the test's own, which lets it look into them.
    let script = r#"for network in user net; do
        "$0" run -d --name "c-$network" --network "$network" busybox sleep 1000 || exit
    done"#;
    let unshare = sandbox.command("unshare").arg("--map-root-user");
    let run = unshare.args(["sh", "-c", script]).arg(bryo());
    run.output().expect(0);
    let root = |pid: i32| fs::read_link(format!("/proc/{pid}/root")).ok();
    let ours = |pid: &i32| {
        let serves = ["bryo-net", "bryo-names"].contains(&process::name(*pid).as_str());
        serves && root(*pid).is_some_and(|root| root.starts_with(sandbox.path()))
    };
    let found = wait_for("who serves", || {
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let found: Vec<i32> = pids.filter(ours).collect();
        (found.len() == 3).then_some(found)
    });
    for pid in found {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(field(&status, set), "0".repeat(16), "{set}");
        }
        assert_eq!(field(&status, "NoNewPrivs"), "1");
        assert_eq!(field(&status, "Seccomp"), "2");
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let memory = limits
            .lines()
            .find(|line| line.starts_with("Max address space"));
        assert!(memory.unwrap().contains(" 1073741824 "), "{limits}");
        let seen = fs::read_dir(format!("/proc/{pid}/root")).unwrap();
        assert_eq!(seen.count(), 0);
    }
    sandbox
        .bryo(["rm", "-f", "c-user", "c-net"])
        .output()
        .expect(0);
}

#[test]
fn a_killed_translator_is_replaced() {
    let sandbox = Sandbox::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let flags = ["-d", "--name", "c", "--network", "user:host-loopback"];
    let run = sandbox.bryo(["run"]).args(flags);
    run.args(["host", "sleep", "1000"]).output().expect(0);
    let supervisor = process::parent(sandbox.pid("c"));
    let translator = |not: i32| {
        let all = process::children(supervisor).into_iter();
        let mut all = all.filter(|pid| *pid != not && process::name(*pid) == "bryo-net");
        all.next()
    };
    let first = wait_for("translator", || translator(0));
    process::wait_until_lived(first, Duration::from_millis(1200));
    let pid = nix::unistd::Pid::from_raw(first);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    wait_for("another", || translator(first));
    let script = format!("exec 3<>/dev/tcp/{GATEWAY}/{port}");
    let run = sandbox.bryo(["exec", "c", "bash", "-c", &script]);
    run.output().expect(0);
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
}
