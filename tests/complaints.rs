//! What people complain of where other networks of this kind are used, and no
//! other test shows not to happen here; in part behind networks of the test's own.

use crate::common::{Output, Sandbox, bryo, require_tool};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

/// Runs a script as root of namespaces of its own, in which `$bryo` is the
/// program, and `peer` runs a command in a second network namespace; only
/// loopback is there. Ends what it started.
#[track_caller]
fn in_a_world(sandbox: &Sandbox, script: &str) -> Output {
    require_tool("ip", "iproute2");
    require_tool("python3", "python3");
    let script = format!(
        "set -eE
         trap 'echo \"line $LINENO: $BASH_COMMAND\" >&2' ERR
         PATH=$PATH:/usr/sbin:/sbin
         bryo={bryo}
         unshare --net sleep 1000 & other=$!
         trap '$bryo rm -f -a >/dev/null 2>&1; kill $(jobs -p) 2>/dev/null; wait' EXIT
         until [ \"$(readlink /proc/$other/ns/net)\" != \"$(readlink /proc/self/ns/net)\" ]; do sleep 0.05; done
         peer() {{ nsenter -t $other -n \"$@\"; }}
         ip link set lo up
         {script}",
        bryo = bryo().display(),
    );
    let own = ["--map-root-user", "--net", "--mount", "bash", "-c", &script];
    let run = sandbox.command("unshare").args(own);
    let run = run.current_dir(sandbox.work());
    run.output_within(Duration::from_secs(150)).expect(0)
}

/// Starts a container `c` of the image busybox with the host's programs.
const START: &str =
    "$bryo run -d --name c -v /usr:/usr:ro -v /usr/lib:/lib:ro -v /usr/lib64:/lib64:ro";

/// What tells each client its address, by TCP and by UDP at port 8000, of IPv4
/// unless an address is given.
const WHO: &str = "
import socket, sys, threading
family = socket.AF_INET6 if sys.argv[1:] else socket.AF_INET
where = (sys.argv[1] if sys.argv[1:] else '0.0.0.0', 8000)
u = socket.socket(family, socket.SOCK_DGRAM)
u.bind(where)
t = socket.create_server(where, family=family)
def streams():
    while True:
        c, who = t.accept()
        c.sendall(who[0].encode())
        c.close()
threading.Thread(target=streams, daemon=True).start()
while True:
    _, who = u.recvfrom(100)
    u.sendto(who[0].encode(), who)
";

/// Asks that at the address and port of the arguments until there is an
/// answer to both.
const ASK: &str = "
import socket, sys, time
where = (sys.argv[1], int(sys.argv[2]))
def tcp():
    s = socket.create_connection(where, 10)
    return s.recv(100)
def udp():
    family = socket.AF_INET6 if ':' in where[0] else socket.AF_INET
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.settimeout(0.5)
    s.connect(where)
    s.send(b'who')
    return s.recv(100)
for ask in tcp, udp:
    for n in range(100):
        try: said = ask()
        except OSError: said = b''
        if said: break
        time.sleep(0.1)
    print(said.decode())
";

/// Gives the host 192.0.2.2 and the peer 192.0.2.1, on a pair of links.
const LINK: &str = "ip link add out0 type veth peer name in0
ip link set in0 netns $other
peer ip link set lo up
ip addr add 192.0.2.2/24 dev out0; ip link set out0 up; ip route add default via 192.0.2.1
peer ip addr add 192.0.2.1/24 dev in0; peer ip link set in0 up";

/// A client that is on another machine is known by its own address, by TCP and
/// UDP, on a network of the container's own and on a named one.
#[test]
fn clients_of_published_ports_keep_their_addresses() {
    let sandbox = Sandbox::with_busybox();
    sandbox.write("who.py", WHO);
    let ask = sandbox.write("ask.py", ASK);
    let script = format!(
        "{LINK}
         $bryo network create net >/dev/null
         port=8000
         for network in user net; do
           port=$((port + 1))
           {START} --network $network -p $port:8000 -p $port:8000/udp -v $PWD/who.py:/who.py:ro busybox \
             /usr/bin/python3 /who.py >/dev/null
           peer python3 {ask} 192.0.2.2 $port
           $bryo rm -f c >/dev/null
         done",
        ask = ask.display(),
    );
    let output = in_a_world(&sandbox, &script);
    assert_eq!(output.stdout, "192.0.2.1\n".repeat(4), "{output}");
}

/// IPv6 is no second class: what a container asks for and what is asked of it
/// goes to and comes from other machines, who are known by their addresses.
#[test]
fn other_machines_are_reached_by_ipv6_and_reach_it() {
    let sandbox = Sandbox::with_busybox();
    let who = sandbox.write("who.py", WHO);
    let ask = sandbox.write("ask.py", ASK);
    let script = format!(
        "{LINK}
         ip addr add 2001:db8::2/64 dev out0 nodad; ip -6 route add default via 2001:db8::1
         peer ip addr add 2001:db8::1/64 dev in0 nodad
         nsenter -t $other -n python3 {who} :: &
         $bryo network create --ipv6 net >/dev/null
         port=8000
         for network in user net; do
           port=$((port + 1))
           {START} --network $network -v $PWD:/mnt:ro -p [2001:db8::2]:$port:8000 \
             -p [2001:db8::2]:$port:8000/udp busybox /usr/bin/python3 /mnt/who.py :: >/dev/null
           $bryo exec c /usr/bin/python3 /mnt/ask.py 2001:db8::1 8000
           peer python3 {ask} 2001:db8::2 $port
           $bryo rm -f c >/dev/null
         done",
        who = who.display(),
        ask = ask.display(),
    );
    let output = in_a_world(&sandbox, &script);
    let wanted = ["2001:db8::2\n", "2001:db8::1\n"].map(|line| line.repeat(2));
    assert_eq!(output.stdout, wanted.concat().repeat(2), "{output}");
}

/// What `--network user` is given decides what is reached, and by whom.
#[test]
fn policy_holds_among_machines() {
    let sandbox = Sandbox::with_busybox();
    let who = sandbox.write("who.py", WHO);
    sandbox.write("ask.py", ASK);
    let names = sandbox.write("names.py", LONG_ANSWERS);
    let script = format!(
        "{LINK}
         ip addr add 192.0.2.3/24 dev out0
         nsenter -t $other -n python3 {who} &
         nsenter -t $other -n python3 {names} 192.0.2.1 >/dev/null &
         python3 {who} &
         inside() {{
           network=$1
           shift
           $bryo run --rm -v /usr:/usr:ro -v /usr/lib:/lib:ro -v /usr/lib64:/lib64:ro -v $PWD:/mnt:ro \
             --network $network busybox \"$@\"
         }}
         ask() {{ inside $1 /usr/bin/python3 /mnt/ask.py $2 8000 | uniq; }}
         ask user 192.0.2.1
         ask user:outbound-addr=192.0.2.3 192.0.2.1
         ask user:allow=192.0.2.1/32:8000 192.0.2.1
         ask user:allow=198.51.100.0/24,allow=192.0.2.0/30 192.0.2.1
         refused() {{ inside $1 nc -w 20 $2 $3 </dev/null 2>&1 | grep -o 'No route'; }}
         refused user:allow=192.0.2.1/32:8000 192.0.2.1 53
         refused user:allow=192.0.2.1/32:8000 192.0.2.2 8000
         ask user 192.0.2.2
         refused user:block-host 192.0.2.2 8000
         refused user:block-host 192.0.2.3 8000
         ask user:block-host 192.0.2.1
         $bryo network create net >/dev/null
         $bryo network create --dns 192.0.2.1 named >/dev/null
         for network in user:dns=192.0.2.1 'user --dns 192.0.2.1' named 'net --dns 192.0.2.1'; do
           inside \"$network\" getent ahostsv4 long.example | grep -c STREAM
         done",
        who = who.display(),
        names = names.display(),
    );
    let output = in_a_world(&sandbox, &script);
    let wanted = "192.0.2.2\n192.0.2.3\n192.0.2.2\n192.0.2.2\nNo route\nNo route\n192.0.2.2\n\
                  No route\nNo route\n192.0.2.2\n200\n200\n200\n200\n";
    assert_eq!(output.stdout, wanted, "{output}");
}

/// A container that was started before the host had a network, and goes on
/// when the host gets another interface, address and route.
#[test]
fn a_host_may_get_its_network_later_and_another_one() {
    let sandbox = Sandbox::with_busybox();
    let who = sandbox.write("who.py", WHO);
    sandbox.write("ask.py", ASK);
    let script = format!(
        "{START} --network user -v $PWD/ask.py:/ask.py:ro busybox sleep 1000 >/dev/null
         $bryo exec c nc -w 20 192.0.2.1 8000 </dev/null >/dev/null 2>&1 && echo early
         nsenter -t $other -n python3 {who} &
         {LINK}
         $bryo exec c /usr/bin/python3 /ask.py 192.0.2.1 8000
         ip link del out0
         $bryo exec c nc -w 20 192.0.2.1 8000 </dev/null >/dev/null 2>&1 && echo gone
         ip link add new0 type veth peer name in1
         ip link set in1 netns $other
         ip addr add 198.51.100.2/24 dev new0; ip link set new0 up; ip route add default via 198.51.100.1
         peer ip addr add 198.51.100.1/24 dev in1; peer ip link set in1 up
         $bryo exec c /usr/bin/python3 /ask.py 198.51.100.1 8000",
        who = who.display(),
    );
    let output = in_a_world(&sandbox, &script);
    let wanted = ["192.0.2.2", "192.0.2.2", "198.51.100.2", "198.51.100.2"];
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines, wanted, "{output}");
}

/// The host has one name and address whatever network it is in: what listens
/// at its address is there, what listens at its loopback is not.
#[test]
fn the_host_is_known_by_a_name_wherever_it_is() {
    let sandbox = Sandbox::with_busybox();
    let who = sandbox.write("who.py", WHO);
    sandbox.write("ask.py", ASK);
    let script = format!(
        "{LINK}
         python3 {who} &
         python3 -c 'import socket; s = socket.create_server((\"127.0.0.1\", 8001)); s.accept(); print(\"reached\")' &
         $bryo network create net >/dev/null
         ask() {{ $bryo exec $1 /usr/bin/python3 /ask.py host.containers.internal 8000 | uniq; }}
         for network in user net; do
           $bryo run -d --name c-$network -v /usr:/usr:ro -v /usr/lib:/lib:ro -v /usr/lib64:/lib64:ro \
             --network $network -v $PWD/ask.py:/ask.py:ro busybox sleep 1000 >/dev/null
           ask c-$network
           $bryo exec c-$network nc -w 20 host.docker.internal 8001 </dev/null 2>&1 | grep -o refused
         done
         ip link del out0
         $bryo exec c-user nc -w 20 host.containers.internal 8000 </dev/null 2>&1 | grep -o unreachable
         ip link add new0 type veth peer name in1
         ip link set in1 netns $other
         ip addr add 198.51.100.2/24 dev new0; ip link set new0 up
         ip route add default via 198.51.100.1
         ask c-user; ask c-net
         ip route del default
         # Of one that is not on the internet, the first that it has.
         $bryo restart -t 0 c-user >/dev/null
         ask c-user
         $bryo run --rm --network user:block-host --add-host x:10.0.2.3 busybox sh -c '
           grep -c internal /etc/hosts; nc -w 20 x 8000 </dev/null' 2>&1 | grep -o -e ^0 -e 'No route'",
        who = who.display(),
    );
    let output = in_a_world(&sandbox, &script);
    let there = "192.0.2.2\nrefused\n".repeat(2) + "unreachable\n";
    let wanted = there + &"198.51.100.2\n".repeat(3) + "0\nNo route\n";
    assert_eq!(output.stdout, wanted, "{output}");
}

/// Options of the host's resolver hold on named networks too.
#[test]
fn options_of_the_hosts_resolver_are_kept() {
    let sandbox = Sandbox::with_busybox();
    sandbox.write(
        "resolv.conf",
        "nameserver 192.0.2.1\nsearch a.example b.example\noptions ndots:3 timeout:2\n",
    );
    let script = "mount --bind $PWD/resolv.conf /etc/resolv.conf
         $bryo network create net >/dev/null
         $bryo run --rm --network net busybox grep -v nameserver /etc/resolv.conf
         $bryo run --rm --network net --dns-option rotate --dns-search c busybox \
           grep -v nameserver /etc/resolv.conf";
    let output = in_a_world(&sandbox, script);
    assert_eq!(
        output.stdout,
        "search a.example b.example\noptions ndots:3 timeout:2\nsearch c\noptions rotate ndots:0\n",
        "{output}"
    );
}

/// Pings are answered by who is meant where the host lets users send them, and
/// known to be filtered where it does not.
#[test]
fn ping_works_where_the_host_allows_it() {
    let sandbox = Sandbox::with_busybox();
    let script = format!(
        "{LINK}
         {START} --network user busybox sleep 1000 >/dev/null
         $bryo exec c ping -c 1 -W 20 10.0.2.2 >/dev/null && echo router
         $bryo exec c ping -c 1 -W 1 192.0.2.1 >/dev/null 2>&1 || echo filtered
         echo 0 0 >/proc/sys/net/ipv4/ping_group_range
         $bryo exec c ping -c 1 -W 20 192.0.2.1 >/dev/null && echo answered
         $bryo exec c ping -c 1 -W 1 192.0.2.99 >/dev/null 2>&1 || echo nobody"
    );
    let output = in_a_world(&sandbox, &script);
    let wanted = "router\nfiltered\nanswered\nnobody\n";
    assert_eq!(output.stdout, wanted, "{output}");
}

/// Windows are larger than 64 KiB, without which a long way is a slow one;
/// messages of every size come at once at each packet size, and not after a
/// retransmission's time: that would be two thousand times as long.
#[test]
fn windows_are_scaled_and_no_size_of_message_stalls() {
    require_tool("python3", "python3");
    let sandbox = Sandbox::new();
    for mtu in [1280, 1500, 9000, 65520] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            client.set_nodelay(true).unwrap();
            let mut buffer = vec![0; 1 << 20];
            loop {
                let mut head = [0; 4];
                if client.read_exact(&mut head).is_err() {
                    return;
                }
                let data = &mut buffer[..u32::from_be_bytes(head) as usize];
                client.read_exact(data).unwrap();
                client.write_all(data).unwrap();
            }
        });
        let script = format!(
            "import socket, os
s = socket.create_connection(('10.0.2.2', {port}), 100)
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
edges = [n + d for n in (1, 536, 1240, 1460, 8960, 16384, 32768, 65480, 65520, 65536, 131072, 300000) for d in (-1, 0, 1)]
for turn in range(60):
    for size in edges:
        data = os.urandom(max(size, 1))
        s.sendall(len(data).to_bytes(4, 'big') + data)
        got = bytearray()
        while len(got) < len(data):
            part = s.recv(1 << 20)
            assert part, size
            got += part
        assert bytes(got) == data, size
info = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
print('scaled' if info[5] & 4 and info[6] & 15 and info[6] >> 4 else info[5:7])"
        );
        let network = format!("user:host-loopback,mtu={mtu}");
        let flags = ["--network", &network, "host", "python3", "-c"];
        let run = sandbox.bryo(["run", "--rm"]).args(flags).arg(script);
        let output = run.output_within(Duration::from_secs(170)).expect(0);
        assert_eq!(output.stdout, "scaled\n", "{output}");
        server.join().unwrap();
    }
}

/// Says more about a name than goes into a datagram: `cut.example` by TCP alone,
/// `long.example` by UDP too. It is at the address of its argument.
const LONG_ANSWERS: &str = "
import socket, struct, sys, threading
def answer(question, udp):
    end = 12
    while question[end]: end += question[end] + 1
    cut = udp and question[12:16] == b'\\x03cut'
    count = 0 if cut else 200
    flags = b'\\x83\\x80' if cut else b'\\x81\\x80'
    head = question[:2] + flags + struct.pack('>HHHH', 1, count, 0, 0)
    record = lambda n: b'\\xc0\\x0c' + struct.pack('>HHIHBBBB', 1, 1, 0, 4, 192, 0, 2, n)
    return head + question[12:end + 5] + b''.join(map(record, range(count)))
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.bind((sys.argv[1], 53))
t = socket.create_server((sys.argv[1], 53))
def streams():
    while True:
        c, _ = t.accept()
        size = struct.unpack('>H', c.recv(2, socket.MSG_WAITALL))[0]
        reply = answer(c.recv(size, socket.MSG_WAITALL), False)
        c.sendall(struct.pack('>H', len(reply)) + reply)
        c.close()
threading.Thread(target=streams, daemon=True).start()
print('ready', flush=True)
while True:
    question, client = u.recvfrom(4096)
    u.sendto(answer(question, True), client)
";

/// Who hears that an answer is cut off asks again by TCP, and gets all of it:
/// on a network of the container's own and on a named one.
#[test]
fn long_answers_about_names_come_by_tcp() {
    require_tool("dig", "bind9-dnsutils");
    let sandbox = Sandbox::with_busybox();
    let server = sandbox.write("server.py", LONG_ANSWERS);
    let script = format!(
        "echo nameserver 127.0.0.53 >resolv.conf
         mount --bind resolv.conf /etc/resolv.conf
         python3 {server} 127.0.0.53 >ready &
         until grep -q ready ready; do sleep 0.05; done
         $bryo network create net >/dev/null
         for network in user net; do
           {START} --network $network busybox sleep 1000 >/dev/null
           ask() {{ $bryo exec c /usr/bin/dig +tries=1 +time=20 \"$@\"; }}
           ask +noedns +ignore +noall +comments cut.example | grep -o 'flags:.* tc '
           ask +noedns cut.example | grep -c 192.0.2.
           ask cut.example | grep -c 192.0.2.
           ask +tcp cut.example | grep -c 192.0.2.
           ask +bufsize=4096 +ignore long.example | grep -c 192.0.2.
           $bryo exec c getent ahostsv4 cut.example | grep -c STREAM
           $bryo rm -f c >/dev/null
         done",
        server = server.display(),
    );
    let output = in_a_world(&sandbox, &script);
    let wanted = "flags: qr tc \n200\n200\n200\n200\n200\n".repeat(2);
    assert_eq!(output.stdout, wanted, "{output}");
}
