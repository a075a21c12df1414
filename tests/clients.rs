//! Images that ask for their addresses, as they would on any other network.

use crate::common::{Sandbox, require_tool};

#[test]
fn a_client_of_dhcp_gets_the_address_that_it_has() {
    let sandbox = Sandbox::with_busybox();
    let script = "cat >/tmp/script <<'END'
#!/bin/sh
[ \"$1\" = bound ] && echo \"$ip $subnet $router $dns $mtu $lease $serverid\"
exit 0
END
chmod +x /tmp/script
udhcpc -i eth0 -n -q -f -t 10 -T 1 -O mtu -s /tmp/script 2>&1";
    for (network, wanted) in [
        (
            "user:mtu=1400",
            "10.0.2.100 255.255.255.0 10.0.2.2 10.0.2.2 1400 86400 10.0.2.2",
        ),
        (
            "user:mtu=1400,cidr=10.77.0.0/16",
            "10.77.0.100 255.255.0.0 10.77.0.2 10.77.0.2 1400 86400 10.77.0.2",
        ),
    ] {
        let run = sandbox.bryo(["run", "--rm", "--network", network]);
        let output = run.args(["busybox", "sh", "-c", script]).output().expect(0);
        assert!(output.stdout.lines().any(|line| line == wanted), "{output}");
    }
}

#[test]
fn routers_are_told_and_a_client_of_dhcpv6_gets_its_address() {
    require_tool("python3", "python3");
    let sandbox = Sandbox::new();
    let script = "
import socket, struct, time
index = socket.if_nametoindex('eth0')
# The kernel first makes sure that nobody else has the interface's address.
raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
raw.settimeout(0.5)
raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
end = time.monotonic() + 30
while True:
    assert time.monotonic() < end, 'no router'
    try:
        raw.sendto(bytes([133, 0, 0, 0, 0, 0, 0, 0]), ('ff02::2', 0, 0, index))
        message, sender = raw.recvfrom(1500)
    except OSError:
        time.sleep(0.05)
        continue
    if message[0] == 134: break
assert sender[0].startswith('fe80::'), sender
assert message[5] & 0xc0 == 0xc0, message
options = {}
rest = message[16:]
while rest:
    options[rest[0]] = rest[:rest[1] * 8]
    rest = rest[rest[1] * 8:]
assert options[5][4:] == struct.pack('>I', 1400)
assert socket.inet_ntop(socket.AF_INET6, options[3][16:]) == 'fd62:7279:6f00::'
assert socket.inet_ntop(socket.AF_INET6, options[25][8:]) == 'fd62:7279:6f00::2'
client = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
client.settimeout(0.5)
client.bind(('::', 546, 0, index))
identity = bytes([0, 1, 0, 10, 0, 3, 0, 1, 2, 2, 2, 2, 2, 2])
wanted = bytes([0, 3, 0, 12, 0, 0, 0, 1]) + bytes(8)
rapid = bytes([0, 14, 0, 0])
while True:
    assert time.monotonic() < end, 'no address'
    try:
        client.sendto(bytes([1, 1, 2, 3]) + identity + wanted + rapid, ('ff02::1:2', 547, 0, index))
        reply = client.recv(1500)
        break
    except OSError: time.sleep(0.05)
assert reply[:4] == bytes([7, 1, 2, 3]), reply
assert socket.inet_pton(socket.AF_INET6, 'fd62:7279:6f00::100') in reply
print('all')
# What it was told before changes nothing: one address, one way out.
print(sum(' eth0' in line and not line.startswith('fe80') for line in open('/proc/net/if_inet6')))
print(sum(line.startswith('0' * 32 + ' 00 ') and 'eth0' in line for line in open('/proc/net/ipv6_route')))
";
    let flags = [
        "--network",
        "user:mtu=1400",
        "host",
        "python3",
        "-c",
        script,
    ];
    let output = sandbox.run(&flags).expect(0);
    assert_eq!(output.stdout, "all\n1\n1\n", "{output}");
}
