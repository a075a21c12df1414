//! Published ports: real servers inside, clients outside.

use crate::common::{Sandbox, require_tool, wait_for};
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream, UdpSocket};
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
    // On this machine clients are relayed into the container's network.
    assert_eq!(seen, "10.0.2.100");
    let own = own_address();
    if !own.is_loopback() {
        assert_eq!(get(own, port).unwrap(), own.to_string());
    }
    let v6 = get(std::net::Ipv6Addr::LOCALHOST.into(), port).unwrap();
    assert_eq!(v6, "fd62:7279:6f00::100");
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
fn a_port_is_published_once() {
    let sandbox = Sandbox::with_busybox();
    let create = |ports: &[&str]| {
        let flags = ports.iter().flat_map(|port| ["-p", port]);
        let create = sandbox.bryo(["create", "--network", "user"]);
        create.args(flags).args(["busybox", "true"]).output()
    };
    for ports in [
        &["8080:80", "8080:81"][..],
        &["8080:80", "127.0.0.1:8080:80"],
        &["8000-8002:90-92", "8001:99"],
    ] {
        let refused = create(ports).expect(1);
        assert!(refused.stderr.contains("is published already"), "{refused}");
    }
    assert_eq!(sandbox.bryo(["ps", "-aq"]).stdout(), "");
    create(&[
        "8080:80",
        "8080:80/udp",
        "127.0.0.1:8081:80",
        "127.0.0.2:8081:81",
    ])
    .expect(0);
    // Who may choose leaves the port to who must have it.
    let port = free_port();
    let (range, one) = (
        format!("127.0.0.1:{port}-{}:80", port.saturating_add(20)),
        format!("127.0.0.1:{port}:81"),
    );
    let run = sandbox.bryo(["run", "-d", "--name", "c", "-p", &range, "-p", &one]);
    run.args(["busybox", "sleep", "1000"]).output().expect(0);
    let said = sandbox.bryo(["port", "c", "81"]).stdout();
    assert_eq!(said, format!("127.0.0.1:{port}"));
    sandbox.bryo(["rm", "-f", "-a"]).output().expect(0);
}

#[test]
fn a_port_is_free_when_its_container_has_ended() {
    let sandbox = Sandbox::with_busybox();
    // An address from which nobody connects who asks for any port.
    let (ip, port) = ("127.13.7.1", 5777);
    for protocol in ["tcp", "udp"].repeat(10) {
        let flag = format!("{ip}:{port}:80/{protocol}");
        let run = sandbox.bryo(["run", "-d", "--name", "c", "-p", &flag, "busybox"]);
        run.args(["sleep", "1000"]).output().expect(0);
        // A client that is there does not keep it.
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"x", (ip, port)).unwrap();
        let _client = TcpStream::connect((ip, port));
        sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
        UdpSocket::bind((ip, port)).unwrap();
        TcpListener::bind((ip, port)).unwrap();
    }
}

#[test]
fn ranges_and_what_is_exposed_are_published() {
    require_tool("python3", "python3");
    let sandbox = Sandbox::new();
    // Each port says its number.
    let script = "import socket, threading
def serve(port, family, where):
    s = socket.create_server((where, port), family=family)
    while True:
        c, _ = s.accept()
        c.sendall(b'%d' % port)
        c.close()
for port in range(7090, 7096):
    for family, where in (socket.AF_INET, '0.0.0.0'), (socket.AF_INET6, '::'):
        threading.Thread(target=serve, args=(port, family, where)).start()";
    let flags = [
        "-p",
        "127.13.7.3:5790-5792:7090-7092",
        "-p",
        "[::1]:5793:7093",
        // The first that is free of several.
        "-p",
        "127.13.7.3:5792-5794:7093",
        "--expose",
        "7094-7095",
        "-P",
    ];
    let run = sandbox.bryo(["run", "-d", "--name", "c"]).args(flags);
    let run = run.args(["host", "python3", "-c", script]);
    run.output().expect(0);
    let ask = |at: &str| {
        wait_for("an answer", || {
            let mut client = TcpStream::connect(at).ok()?;
            let mut text = String::new();
            client.read_to_string(&mut text).ok()?;
            (!text.is_empty()).then_some(text)
        })
    };
    for (at, port) in [
        ("127.13.7.3:5790", "7090"),
        ("127.13.7.3:5791", "7091"),
        ("127.13.7.3:5792", "7092"),
        ("[::1]:5793", "7093"),
        ("127.13.7.3:5793", "7093"),
    ] {
        assert_eq!(ask(at), port, "{at}");
    }
    let ports = sandbox.bryo(["port", "c"]).stdout();
    assert_eq!(ports.lines().count(), 5 + 2 * 2, "{ports}");
    for port in ["7094", "7095"] {
        let at = sandbox.bryo(["port", "c", port]).stdout();
        assert_eq!(at.lines().count(), 2, "{at}");
        for line in at.lines() {
            let number = line.rsplit_once(':').unwrap().1;
            let loopback = if line.starts_with('[') {
                "[::1]"
            } else {
                "127.0.0.1"
            };
            assert_eq!(ask(&format!("{loopback}:{number}")), port, "{at}");
        }
    }
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
}

#[test]
fn datagrams_reach_a_published_port() {
    require_tool("python3", "python3");
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
fn clients_on_this_machine_are_relayed() {
    require_tool("python3", "python3");
    let sandbox = Sandbox::new();
    // Says what it has heard when the client has ended its side, and goes on
    // with as much.
    let script = "import socket, threading, zlib
def serve(s):
    heard, length = 0, 0
    while data := s.recv(65536):
        if data.startswith(b'go away'):
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, 0, 0, 0, 0, 0, 0, 0]))
            return s.close()
        heard, length = zlib.crc32(data, heard), length + len(data)
    s.sendall(b'%08x' % heard)
    for _ in range(length // 1000): s.sendall(bytes(1000))
    s.close()
def accept(listener):
    while True: threading.Thread(target=serve, args=(listener.accept()[0],)).start()
four, six = (socket.create_server(('', 7000), family=f, backlog=1000)
             for f in (socket.AF_INET, socket.AF_INET6))
threading.Thread(target=accept, args=(six,)).start()
accept(four)";
    let port = free_port();
    let flags = ["run", "-d", "--name", "server", "-p"];
    let run = sandbox.bryo(flags).arg(format!("{port}:7000")).arg("host");
    run.args(["python3", "-c", script]).output().expect(0);
    let ask = move |address: IpAddr, length: usize| {
        let mut stream = TcpStream::connect((address, port))?;
        let mut writer = stream.try_clone()?;
        writer.write_all(&vec![7; length])?;
        writer.shutdown(std::net::Shutdown::Write)?;
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard)?;
        std::io::Result::Ok(heard)
    };
    let checksum = wait_for("the server", || {
        let heard = ask(LOOPBACK, 0).ok()?;
        (heard == b"00000000").then(|| ask(LOOPBACK, 3_000_000).unwrap())
    });
    assert_eq!(checksum.len(), 8 + 3_000_000);
    // Many at once, of both families, more than sockets are at hand.
    let v6: IpAddr = std::net::Ipv6Addr::LOCALHOST.into();
    let all: Vec<_> = (0..150)
        .map(|n| std::thread::spawn(move || ask(if n % 3 == 0 { v6 } else { LOOPBACK }, 3_000_000)))
        .collect();
    for client in all {
        assert!(client.join().unwrap().unwrap() == checksum);
    }
    // A reset is one on the other side too.
    let mut reset = TcpStream::connect((LOOPBACK, port)).unwrap();
    reset.write_all(b"go away").unwrap();
    let error = reset.read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    // Nothing is left, and all of it was counted.
    let translator = || sandbox.inspect("server")["NetworkSettings"]["Traffic"].clone();
    let traffic = wait_for("all to end", || {
        let traffic = translator();
        let ended = traffic["Translator"]["Connections"] == 0;
        (ended && traffic["Translator"]["Relayed"].as_u64()? > 150).then_some(traffic)
    });
    for key in ["RxBytes", "TxBytes"] {
        assert!(traffic[key].as_u64().unwrap() > 450_000_000, "{traffic:#}");
    }
    assert_eq!(traffic["Translator"]["Flows"], 0, "{traffic:#}");
    // Who is being served when the container ends learns of it.
    let mut open = TcpStream::connect((LOOPBACK, port)).unwrap();
    open.write_all(b"x").unwrap();
    sandbox.bryo(["rm", "-f", "server"]).output().expect(0);
    let ended = open.read(&mut [0; 8]);
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
}

#[test]
fn many_clients_one_after_the_other_and_at_once() {
    require_tool("python3", "python3");
    let sandbox = Sandbox::new();
    let script = "import socket, threading
def serve(c):
    while part := c.recv(65536): c.sendall(part)
    c.close()
s = socket.create_server(('0.0.0.0', 7000), backlog=1024)
while True: threading.Thread(target=serve, args=[s.accept()[0]]).start()";
    let flags = ["run", "-d", "--name", "c", "-p", "127.0.0.1::7000", "host"];
    let run = sandbox.bryo(flags).args(["python3", "-c", script]);
    run.output().expect(0);
    let at = sandbox.bryo(["port", "c", "7000"]).stdout();
    let begin = || {
        let mut client = TcpStream::connect(at.trim()).ok()?;
        let patience = Some(Duration::from_secs(60));
        client.set_read_timeout(patience).unwrap();
        client.write_all(&[7; 5000]).ok()?;
        Some(client)
    };
    let end = |mut client: TcpStream| {
        let mut data = [0; 5000];
        client.read_exact(&mut data).ok()?;
        assert_eq!(data, [7; 5000]);
        client.shutdown(Shutdown::Write).ok()?;
        assert_eq!(client.read(&mut data).ok()?, 0);
        Some(())
    };
    wait_for("the server", || end(begin()?));
    for _ in 0..1000 {
        end(begin().unwrap()).unwrap();
    }
    let all: Vec<TcpStream> = (0..500).map(|_| begin().unwrap()).collect();
    for client in all {
        end(client).unwrap();
    }
    wait_for("the end of all flows", || {
        let told = sandbox.inspect("c")["NetworkSettings"]["Traffic"]["Translator"].clone();
        // Clients on this machine may have been relayed.
        let relayed = told["Relayed"].as_u64().unwrap_or(0);
        let begun = told["FlowsBegun"].as_u64()? + relayed;
        (begun >= 1501 && told["Flows"] == 0).then_some(())
    });
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
}
