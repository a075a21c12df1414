use super::*;
use std::process::Command;
use std::thread;

/// Runs the test of that name once more, in namespaces of its own, unless
/// this is there already.
fn in_namespaces(name: &str) -> bool {
    if std::env::var_os("BRYO_TEST_INSIDE").is_some() {
        return true;
    }
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net"]);
    let output = command
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env("BRYO_TEST_INSIDE", "1")
        .output();
    let output = output.expect("this test needs unshare: apt-get install util-linux");
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{failed}");
    assert!(said.contains("1 passed"), "{said}");
    false
}

/// A question about `name`, an A record.
fn question(id: u8, name: &str) -> Vec<u8> {
    let mut bytes = vec![id, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

/// Somebody else's answer: the question, marked as an answer with the code 5.
fn echo(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[2] |= 0x80;
    bytes[3] = 5;
    bytes
}

#[test]
fn other_names_are_asked_elsewhere() {
    if !in_namespaces("net::names::tests::other_names_are_asked_elsewhere") {
        return;
    }
    crate::sys::net::loopback_up().unwrap();
    let own = ("127.0.0.1", PORT);
    let udp = UdpSocket::bind(own).unwrap();
    let tcp = TcpListener::bind(own).unwrap();
    udp.set_nonblocking(true).unwrap();
    tcp.set_nonblocking(true).unwrap();
    let (ours, theirs) = socket::pair().unwrap();
    // Nobody is at the first address, somebody who is silent at the second,
    // who answers at the third.
    let silent = UdpSocket::bind(("127.0.0.3", PORT)).unwrap();
    let other = UdpSocket::bind(("127.0.0.4", PORT)).unwrap();
    let other_tcp = TcpListener::bind(("127.0.0.4", PORT)).unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = other.recv_from(&mut buffer) {
            // Somebody who guesses is not believed.
            let mut wrong = echo(buffer[..length].to_vec());
            wrong[0] ^= 1;
            other.send_to(&wrong, from).unwrap();
            other
                .send_to(&echo(buffer[..length].to_vec()), from)
                .unwrap();
        }
    });
    thread::spawn(move || {
        for mut client in other_tcp.incoming().flatten() {
            let mut bytes = vec![0; 2];
            client.read_exact(&mut bytes).unwrap();
            bytes = vec![0; usize::from(bytes[0]) << 8 | usize::from(bytes[1])];
            client.read_exact(&mut bytes).unwrap();
            client.write_all(&dns::framed(&echo(bytes))).unwrap();
        }
    });
    let table = Table {
        names: vec![("web".into(), [10, 0, 0, 2].into())],
        servers: [2, 3, 4].map(|n| IpAddr::from([127, 0, 0, n])).into(),
        ..Table::default()
    };
    socket::try_send(&ours, &serde_json::to_vec(&table).unwrap()).unwrap();
    thread::spawn(move || Server::new(vec![udp], vec![tcp], theirs).run());

    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    client.connect(own).unwrap();
    let mut buffer = [0; 512];
    let mut ask = |question: &[u8]| {
        client.send(question).unwrap();
        let length = client.recv(&mut buffer).unwrap();
        buffer[..length].to_vec()
    };
    assert_eq!(ask(&question(1, "web"))[3] & 15, 0);
    assert_eq!(
        ask(&question(2, "example.org")),
        echo(question(2, "example.org"))
    );
    drop(silent);
    let mut client = TcpStream::connect(own).unwrap();
    let both = [question(3, "web"), question(4, "example.org")];
    for question in &both {
        client.write_all(&dns::framed(question)).unwrap();
    }
    let mut received = Vec::new();
    let mut answers = Vec::new();
    while answers.len() < 2 {
        let count = client.read(&mut buffer).unwrap();
        assert!(count > 0);
        received.extend(&buffer[..count]);
        answers.extend(std::iter::from_fn(|| dns::unframe(&mut received)));
    }
    assert_eq!((answers[0][0], answers[1][0]), (3, 4));
    // It asks whether the servers have changed.
    let mut word = [0; 64];
    let length = socket::try_receive(&ours, &mut word).unwrap();
    assert_eq!(&word[..length], ASK);
}

/// A connection from this address to the server.
fn connect_from(own: [u8; 4]) -> TcpStream {
    use crate::sys::inet;
    let fd = inet::open(inet::Protocol::Tcp, own.into()).unwrap();
    inet::bind_to(&fd, (own, 0).into()).unwrap();
    inet::connect_to(&fd, ([127, 0, 0, 1], PORT).into()).unwrap();
    let stream = TcpStream::from(fd);
    stream.set_nonblocking(false).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream
}

#[test]
fn connections_of_one_client_do_not_keep_another_out() {
    if !in_namespaces("net::names::tests::connections_of_one_client_do_not_keep_another_out") {
        return;
    }
    crate::sys::net::loopback_up().unwrap();
    let tcp = TcpListener::bind(("127.0.0.1", PORT)).unwrap();
    tcp.set_nonblocking(true).unwrap();
    let (ours, theirs) = socket::pair().unwrap();
    let table = Table {
        names: vec![("web".into(), [10, 0, 0, 2].into())],
        ..Table::default()
    };
    socket::try_send(&ours, &serde_json::to_vec(&table).unwrap()).unwrap();
    thread::spawn(move || Server::new(Vec::new(), vec![tcp], theirs).run());
    let ask = |client: &mut TcpStream| {
        client.write_all(&dns::framed(&question(1, "web")))?;
        let mut length = [0; 2];
        client.read_exact(&mut length)?;
        client.read_exact(&mut vec![0; u16::from_be_bytes(length).into()])
    };
    let mut early = connect_from([127, 0, 0, 6]);
    ask(&mut early).unwrap();
    let mut greedy: Vec<_> = (0..CONNECTIONS + 20)
        .map(|_| {
            let mut client = connect_from([127, 0, 0, 5]);
            ask(&mut client).unwrap();
            client
        })
        .collect();
    ask(&mut connect_from([127, 0, 0, 7])).unwrap();
    ask(&mut early).unwrap();
    assert!(ask(&mut greedy[0]).is_err(), "its oldest made room");
}
