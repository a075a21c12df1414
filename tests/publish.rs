//! Published ports: real servers inside, clients outside.

use crate::common::{Sandbox, require_tool, wait_for};
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

/// Starts nginx in a container; it tells each client its address.
fn nginx(sandbox: &Sandbox, name: &str, listen: &str, flags: &[&str]) {
    let program = require_tool("nginx", "nginx");
    let program = program.to_str().unwrap();
    let config = format!(
        "daemon off; pid /tmp/nginx.pid; error_log /tmp/error.log;
         events {{}}
         http {{
           access_log off;
           client_body_temp_path /tmp/a; proxy_temp_path /tmp/b; fastcgi_temp_path /tmp/c;
           uwsgi_temp_path /tmp/d; scgi_temp_path /tmp/e;
           server {{ {listen} location / {{ return 200 \"$remote_addr\\n\"; }} }}
         }}"
    );
    let file = sandbox.write(&format!("{name}.conf"), config);
    let mount = format!("{}:/tmp/nginx.conf:ro", file.display());
    let run = sandbox
        .bryo(["run", "-d", "--name", name, "-v", &mount])
        .args(flags);
    run.args([
        "host",
        program,
        "-c",
        "/tmp/nginx.conf",
        "-e",
        "/tmp/error.log",
    ])
    .output()
    .expect(0);
}

fn get(address: IpAddr, port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((address, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let body = text
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.trim().to_owned());
    body.ok_or_else(|| std::io::Error::other(format!("no answer: {text:?}")))
}

/// The address of this machine for what it sends out; loopback without any.
fn own_address() -> IpAddr {
    let probe = UdpSocket::bind("0.0.0.0:0").unwrap();
    let connected = probe.connect("192.0.2.1:9");
    let own = connected.and_then(|()| probe.local_addr());
    own.map_or(IpAddr::from([127, 0, 0, 1]), |own| own.ip())
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    listener.local_addr().unwrap().port()
}

const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

#[test]
fn clients_outside_reach_a_published_port_and_are_known_inside() {
    let sandbox = Sandbox::new();
    let port = free_port();
    let flag = format!("{port}:8080");
    let listen = "listen 8080; listen [::]:8080; listen 127.0.0.1:9090;";
    nginx(
        &sandbox,
        "web",
        listen,
        &["-p", &flag, "-p", "127.0.0.1::9090"],
    );
    let seen = wait_for("nginx", || get(LOOPBACK, port).ok());
    assert_eq!(seen, "10.0.2.2");
    let own = own_address();
    if !own.is_loopback() {
        assert_eq!(get(own, port).unwrap(), own.to_string());
    }
    let v6 = get(std::net::Ipv6Addr::LOCALHOST.into(), port).unwrap();
    assert_eq!(v6, "fd62:7279:6f00::2");
    // What listens on the container's loopback is not published by that.
    let ports = sandbox.bryo(["port", "web"]).stdout();
    assert!(
        ports.contains(&format!("8080/tcp -> 0.0.0.0:{port}\n")),
        "{ports}"
    );
    assert!(
        ports.contains(&format!("8080/tcp -> [::]:{port}\n")),
        "{ports}"
    );
    let hidden = sandbox.bryo(["port", "web", "9090"]).stdout();
    let hidden: std::net::SocketAddr = hidden.trim().parse().unwrap();
    assert!(hidden.ip().is_loopback());
    assert!(get(hidden.ip(), hidden.port()).is_err());
    let shown = sandbox.bryo(["ps", "--format", "{{.Ports}}"]).stdout();
    assert!(
        shown.contains(&format!("0.0.0.0:{port}->8080/tcp")),
        "{shown}"
    );
    let inspected = sandbox.inspect("web");
    let at = &inspected["NetworkSettings"]["Ports"]["8080/tcp"][0];
    assert_eq!(at["HostPort"], port.to_string().as_str());
    // It is free again at once.
    sandbox.bryo(["rm", "-f", "web"]).output().expect(0);
    wait_for("the port", || TcpListener::bind(("0.0.0.0", port)).ok());
}

#[test]
fn a_port_that_cannot_be_had_is_an_error_that_says_why() {
    let sandbox = Sandbox::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let flag = format!("127.0.0.1:{port}:80");
    let output = sandbox.run(&["-p", &flag, "host", "true"]).expect(125);
    let own = format!("(process {}) has it", std::process::id());
    assert!(output.stderr.contains(&own), "{output}");
    let output = sandbox
        .run(&["-p", "127.0.0.1:80:80", "host", "true"])
        .expect(125);
    assert!(
        output
            .stderr
            .contains("net.ipv4.ip_unprivileged_port_start=80"),
        "{output}"
    );
    let output = sandbox.run(&["-p", "x", "host", "true"]).expect(125);
    assert!(output.stderr.contains("is wanted"), "{output}");
    // A range has others.
    if let Some(next) = port.checked_add(1) {
        let flag = format!("127.0.0.1:{port}-{}:80", next.saturating_add(20));
        sandbox.run(&["-p", &flag, "host", "true"]).expect(0);
    }
}

#[test]
fn a_port_is_free_when_its_container_has_ended() {
    let sandbox = Sandbox::with_busybox();
    let port = free_port();
    for protocol in ["tcp", "udp"].repeat(10) {
        let flag = format!("127.0.0.1:{port}:80/{protocol}");
        let run = sandbox.bryo(["run", "-d", "--name", "c", "-p", &flag, "busybox"]);
        run.args(["sleep", "1000"]).output().expect(0);
        sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
    }
}

#[test]
fn datagrams_reach_a_published_port() {
    require_tool("python3", "python3-minimal");
    let sandbox = Sandbox::new();
    let script = "import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('0.0.0.0', 5353))
while True:
    data, who = s.recvfrom(65536)
    s.sendto(data + who[0].encode(), who)";
    let flags = [
        "run",
        "-d",
        "--name",
        "udp",
        "-p",
        "127.0.0.1::5353/udp",
        "host",
    ];
    let run = sandbox.bryo(flags).args(["python3", "-c", script]);
    run.output().expect(0);
    let at = sandbox.bryo(["port", "udp", "5353/udp"]).stdout();
    for _ in 0..3 {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(at.trim()).unwrap();
        client
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        let mut buffer = [0; 100];
        let answer = wait_for("an answer", || {
            client.send(b"hello ").ok()?;
            let length = client.recv(&mut buffer).ok()?;
            Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
        });
        assert_eq!(answer, "hello 10.0.2.2");
    }
    sandbox.bryo(["rm", "-f", "udp"]).output().expect(0);
}

#[test]
fn many_connections_one_after_the_other_and_at_once() {
    require_tool("python3", "python3-minimal");
    let sandbox = Sandbox::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let mut open = Vec::new();
        for number in 0..4000 {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"x").unwrap();
            if number < 3000 {
                // Until the client closes.
                assert_eq!(stream.read(&mut [0; 10]).unwrap(), 0);
            } else {
                open.push(stream);
            }
        }
        for mut stream in open {
            assert_eq!(stream.read(&mut [0; 10]).unwrap(), 0);
        }
    });
    let script = format!(
        "import socket
def one():
    s = socket.create_connection(('10.0.2.2', {port}), 60)
    assert s.recv(1) == b'x'
    return s
for n in range(3000):
    one().close()
all = [one() for n in range(1000)]
for s in all: s.close()
print('done')"
    );
    let flags = ["--network", "user:host-loopback", "host", "python3", "-c"];
    let run = sandbox.bryo(["run", "--rm"]).args(flags).arg(&script);
    let output = run.output_within(Duration::from_secs(120)).expect(0);
    assert_eq!(output.stdout, "done\n");
    server.join().unwrap();
}
