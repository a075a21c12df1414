//! What can be seen of containers' traffic.

use crate::common::{Sandbox, require_tool, tool, wait_for};
use nix::sys::signal::Signal;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::thread;

/// Echoes what clients send until they end, at both kinds of loopback.
fn echo(address: &str) -> u16 {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let datagrams = UdpSocket::bind((address, port)).unwrap();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut data = Vec::new();
                let _ = (&client).read_to_end(&mut data);
                let _ = (&client).write_all(&data);
            });
        }
    });
    thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok((length, from)) = datagrams.recv_from(&mut buffer) {
            let _ = datagrams.send_to(&buffer[..length], from);
        }
    });
    port
}

/// Waits until somebody looks, who writes to this file.
fn await_header(file: &Path) {
    wait_for("the capture", || {
        (fs::metadata(file).ok()?.len() >= 24).then_some(())
    });
}

/// The fields of the packets in a file that pass a filter.
/// The ports are of servers whose bytes mean nothing: by their numbers alone
/// they may be those of some protocol.
fn tshark(file: &Path, ports: &[u16], filter: &str, fields: &[&str]) -> Vec<String> {
    let program = require_tool("tshark", "tshark");
    let meaningless = ports
        .iter()
        .map(|port| ["tcp", "udp"].map(|l| format!("{l}.port=={port},data")));
    let mut arguments = vec![
        "-n",
        "-r",
        file.to_str().unwrap(),
        "-Y",
        filter,
        "-T",
        "fields",
    ];
    let meaningless: Vec<String> = meaningless.flatten().collect();
    arguments.extend(meaningless.iter().flat_map(|rule| ["-d", rule]));
    arguments.extend(fields.iter().flat_map(|field| ["-e", field]));
    let out = tool(&program, &arguments);
    out.lines().map(str::to_owned).collect()
}

#[test]
fn a_session_is_written_for_tshark_without_a_malformed_packet() {
    require_tool("python3", "python3");
    require_tool("dig", "bind9-dnsutils");
    let sandbox = Sandbox::new();
    let (v4, v6) = (echo("127.0.0.1"), echo("::1"));
    let flags = [
        "-d",
        "--name",
        "c",
        "--network",
        "user:host-loopback,mtu=1400",
    ];
    let run = sandbox.bryo(["run"]).args(flags);
    run.args(["host", "sleep", "1000"]).output().expect(0);
    let file = sandbox.work().join("session.pcap");
    let trace = sandbox.bryo(["network", "trace", "c", "-w"]).arg(&file);
    let trace = trace.spawn();
    await_header(&file);
    let script = format!(
        "python3 - <<'END'
import socket, os
for address, port in [('10.0.2.2', {v4}), ('fd62:7279:6f00::2', {v6})]:
    s = socket.create_connection((address, port))
    data = os.urandom(300000)
    s.sendall(data)
    s.shutdown(socket.SHUT_WR)
    got = b''
    while part := s.recv(1 << 16): got += part
    assert got == data
    for size in [1, 1300, 30000]:
        s = socket.socket(s.family, socket.SOCK_DGRAM)
        s.settimeout(10)
        s.connect((address, port))
        s.send(data[:size])
        assert s.recv(65536) == data[:size]
    try: socket.create_connection((address, 9))
    except ConnectionRefusedError: pass
END
dig +tries=1 +time=1 example.com >/dev/null
ping -c 1 -W 5 10.0.2.2 >/dev/null 2>&1
true"
    );
    let exec = sandbox.bryo(["exec", "c", "bash", "-c", &script]);
    exec.output().expect(0);
    trace.signal(Signal::SIGINT);
    let output = trace.wait().expect(0);
    assert!(output.stderr.contains("packets, 0 lost"), "{output}");
    let bad = tshark(
        &file,
        &[v4, v6],
        "_ws.malformed || _ws.expert.group == \"Malformed\"",
        &["frame.number"],
    );
    assert!(bad.is_empty(), "{bad:?}");
    for filter in [
        "tcp.len > 2000 && ip.src == 10.0.2.2",
        "tcp.len > 1000 && ipv6.src == fd62:7279:6f00::2",
        "udp.length == 30008 && ip.dst == 10.0.2.100",
        "ipv6.fragment || ip.flags.mf == 1",
        "dns.qry.name == \"example.com\"",
        "tcp.flags.reset == 1",
        "tcp.flags.fin == 1",
    ] {
        assert!(
            !tshark(&file, &[v4, v6], filter, &["frame.number"]).is_empty(),
            "{filter}"
        );
    }
    // In words, to somebody who has enough after twenty: more than the end of
    // one connection and all of the next.
    let mut lines = sandbox.bryo(["network", "trace", "c", "-c", "20"]).spawn();
    let ping = || {
        let script = format!("exec 3<>/dev/tcp/10.0.2.2/{v4}");
        sandbox
            .bryo(["exec", "c", "bash", "-c", &script])
            .output()
            .expect(0)
    };
    while lines.is_running() {
        ping();
    }
    let line = lines.expect_line("TCP SYN seq");
    assert!(line.contains(&format!("> 10.0.2.2:{v4} TCP SYN")), "{line}");
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
    lines.wait().expect(0);
}

#[test]
fn what_passes_on_a_named_network_is_seen() {
    let sandbox = Sandbox::with_busybox();
    sandbox
        .bryo(["network", "create", "app"])
        .output()
        .expect(0);
    let output = sandbox.bryo(["network", "trace", "app"]).output();
    assert!(
        output.code != 0 && output.stderr.contains("not in use"),
        "{output}"
    );
    let output = sandbox.bryo(["network", "trace", "nobody"]).output();
    assert!(
        output.code != 0 && output.stderr.contains("'nobody'"),
        "{output}"
    );
    let flags = ["-d", "--name", "web", "--network", "app", "busybox"];
    let run = sandbox.bryo(["run"]).args(flags);
    run.args(["httpd", "-f", "-h", "/"]).output().expect(0);
    let file = sandbox.work().join("app.pcap");
    let trace = sandbox
        .bryo(["network", "trace", "app", "-w"])
        .arg(&file)
        .spawn();
    await_header(&file);
    let flags = ["--network", "app", "busybox", "sh", "-c"];
    let script = "until wget -qO /dev/null http://web/bin/busybox; do :; done";
    let run = sandbox.bryo(["run", "--rm"]).args(flags);
    run.arg(script).output().expect(0);
    trace.signal(Signal::SIGINT);
    trace.wait().expect(0);
    for filter in [
        "dns.qry.name == \"web\"",
        "http.request.uri == \"/bin/busybox\"",
    ] {
        assert!(
            !tshark(&file, &[], filter, &["frame.number"]).is_empty(),
            "{filter}"
        );
    }
    let bad = tshark(&file, &[], "_ws.malformed", &["frame.number"]);
    assert!(bad.is_empty(), "{bad:?}");
    sandbox.bryo(["rm", "-f", "web"]).output().expect(0);
}

#[test]
fn bytes_packets_and_flows_are_counted() {
    let sandbox = Sandbox::with_busybox();
    let port = echo("127.0.0.1");
    let flags = [
        "-d",
        "--name",
        "c",
        "--network",
        "user:host-loopback",
        "busybox",
    ];
    let run = sandbox.bryo(["run"]).args(flags);
    run.args(["sleep", "1000"]).output().expect(0);
    let script = format!("head -c 1000000 /dev/zero | nc 10.0.2.2 {port} | wc -c");
    for _ in 0..2 {
        let exec = sandbox.bryo(["exec", "c", "sh", "-c", &script]);
        assert_eq!(exec.stdout().trim(), "1000000");
    }
    let traffic = wait_for("a report", || {
        let traffic = sandbox.inspect("c")["NetworkSettings"]["Traffic"].clone();
        (traffic["Translator"]["FlowsBegun"].as_u64()? >= 2).then_some(traffic)
    });
    let translator = &traffic["Translator"];
    for (key, least) in [
        ("BytesOut", 1_000_000),
        ("BytesIn", 1_000_000),
        ("PacketsOut", 16),
        ("PacketsIn", 16),
    ] {
        assert!(
            translator[key].as_u64().unwrap() >= least,
            "{key}: {traffic:#}"
        );
    }
    assert_eq!(translator["Malformed"], 0);
    for (key, least) in [
        ("RxBytes", 1_000_000),
        ("TxBytes", 1_000_000),
        ("RxPackets", 16),
        ("TxPackets", 16),
    ] {
        assert!(
            traffic[key].as_u64().unwrap() >= least,
            "{key}: {traffic:#}"
        );
    }
    let stats = sandbox.bryo([
        "stats",
        "--no-stream",
        "--format",
        "{{.NetIO}} {{.NetPackets}} {{.NetLost}} {{.NetFlows}}",
        "c",
    ]);
    let stats = stats.stdout();
    assert!(stats.contains("MB") && stats.contains("0 / 0"), "{stats}");
    sandbox.bryo(["rm", "-f", "c"]).output().expect(0);
}
