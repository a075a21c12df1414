//! Named networks, by real programs in containers.

use crate::common::{Sandbox, process, require_tool, wait_for};
use std::fs;
use std::io::{BufRead, BufReader, Write};

/// A sandbox with the image busybox and networks of these names.
fn with_networks(names: &[&str]) -> Sandbox {
    let sandbox = Sandbox::with_busybox();
    for name in names {
        sandbox.bryo(["network", "create", name]).output().expect(0);
    }
    sandbox
}

/// Starts a container in the background.
#[track_caller]
fn start(sandbox: &Sandbox, name: &str, flags: &[&str], command: &[&str]) {
    let run = sandbox.bryo(["run", "-d", "--name", name]).args(flags);
    run.arg("busybox").args(command).output().expect(0);
}

/// Flags by which programs of the host run in the image busybox.
const HOSTS: [&str; 6] = [
    "-v",
    "/usr:/usr:ro",
    "-v",
    "/usr/lib:/lib:ro",
    "-v",
    "/usr/lib64:/lib64:ro",
];

/// Starts a web server whose page says its own name.
#[track_caller]
fn serve(sandbox: &Sandbox, name: &str, flags: &[&str]) {
    let script = format!("mkdir /www; echo {name} >/www/index.html; exec httpd -f -p 80 -h /www");
    start(sandbox, name, flags, &["sh", "-c", &script]);
}

/// What a shell in a new container prints.
#[track_caller]
fn shell(sandbox: &Sandbox, flags: &[&str], script: &str) -> String {
    let run = sandbox.bryo(["run", "--rm"]).args(flags);
    run.args(["busybox", "sh", "-c", script]).stdout()
}

#[track_caller]
fn exec(sandbox: &Sandbox, name: &str, script: &str) -> String {
    sandbox.bryo(["exec", name, "sh", "-c", script]).stdout()
}

fn remove(sandbox: &Sandbox, names: &[&str]) {
    sandbox.bryo(["rm", "-f"]).args(names).output().expect(0);
}

/// The address of a container on a network.
#[track_caller]
fn address(sandbox: &Sandbox, container: &str, network: &str) -> String {
    let networks = &sandbox.inspect(container)["NetworkSettings"]["Networks"];
    networks[network]["IPAddress"].as_str().unwrap().to_owned()
}

/// Until a server listens, connections are refused.
const FETCH: &str = "fetch() { for n in $(seq 60); do wget -qO- http://$1/ && return; \
                     sleep 0.3; done; echo no $1; }; ";

#[test]
fn containers_reach_each_other_by_name() {
    let sandbox = with_networks(&["net"]);
    serve(
        &sandbox,
        "web",
        &["--network", "net:alias=www", "--network-alias", "x.y"],
    );
    let ip = address(&sandbox, "web", "net");
    let id = sandbox.inspect("web")["Id"].as_str().unwrap()[..12].to_owned();
    let script = format!(
        "{FETCH}for name in web www x.y web.net {id} {ip}; do fetch $name; done; \
         ping -c 1 web >/dev/null && echo pong; nslookup {ip} | grep -o 'name = .*'; \
         hostname -i 2>&1; nslookup nobody.invalid 127.0.0.1:1 >/dev/null || echo none"
    );
    let said = shell(&sandbox, &["--network", "net"], &script);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..6], ["web"; 6], "{said}");
    assert_eq!(lines[6..8], ["pong", "name = web"], "{said}");
    assert!(lines[8].starts_with("10.") && lines[8] != ip, "{said}");
    let hosts = exec(&sandbox, "web", "cat /etc/hosts /etc/resolv.conf");
    assert!(hosts.contains(&format!("{ip}\t{id}")), "{hosts}");
    assert!(
        hosts.contains("nameserver 10.") && hosts.contains("ndots:0"),
        "{hosts}"
    );
    // The same again after a stop, with the same address.
    sandbox.bryo(["stop", "-t", "0", "web"]).output().expect(0);
    sandbox.bryo(["start", "web"]).output().expect(0);
    assert_eq!(address(&sandbox, "web", "net"), ip);
    let said = shell(
        &sandbox,
        &["--network", "net"],
        &format!("{FETCH}fetch web"),
    );
    assert_eq!(said, "web");
    remove(&sandbox, &["web"]);
}

#[test]
fn ids_make_no_difference() {
    let sandbox = with_networks(&["net"]);
    serve(&sandbox, "one", &["--network", "net", "--userns", "single"]);
    serve(&sandbox, "any", &["--network", "net"]);
    for flags in [&["--userns", "single"][..], &["--userns", "keep-id"], &[]] {
        let flags = [&["--network", "net"], flags].concat();
        let said = shell(&sandbox, &flags, &format!("{FETCH}fetch one; fetch any"));
        assert_eq!(said, "one\nany", "{flags:?}");
    }
    // Root emulation works there too.
    let said = shell(
        &sandbox,
        &["--network", "net", "--userns", "single"],
        "touch /f && chown 7:8 /f && echo done",
    );
    assert_eq!(said, "done");
    remove(&sandbox, &["one", "any"]);
}

#[test]
fn two_networks_are_apart_and_a_container_may_be_on_both() {
    let sandbox = Sandbox::with_busybox();
    for name in ["left", "right"] {
        // Whatever the world outside answers, it does not count here.
        let create = ["network", "create", "-o", "allow=192.0.2.1/32", name];
        sandbox.bryo(create).output().expect(0);
    }
    serve(&sandbox, "l", &["--network", "left"]);
    serve(&sandbox, "r", &["--network", "right"]);
    let (l, r) = (
        address(&sandbox, "l", "left"),
        address(&sandbox, "r", "right"),
    );
    let script = format!("{FETCH}fetch l; nslookup r; nc -w 2 {r} 80 </dev/null && echo reached");
    let output = sandbox.bryo(["run", "--rm", "--network", "left", "busybox", "sh", "-c"]);
    let output = output.arg(&script).output();
    assert!(output.stdout.starts_with("l\n"), "{output}");
    assert!(
        !output.stdout.contains("reached") && !output.stdout.contains(&r),
        "{output}"
    );
    let script = format!("{FETCH}fetch l; fetch r; fetch {l}; fetch {r}; ip -o -4 a | grep -c eth");
    let both = ["--network", "left", "--network", "right"];
    assert_eq!(shell(&sandbox, &both, &script), "l\nr\nl\nr\n2");
    // Who is on both is known on both; what is behind him is not.
    serve(&sandbox, "b", &both);
    let script = format!("{FETCH}fetch b; nslookup l >/dev/null 2>&1 || echo unknown");
    assert_eq!(
        shell(&sandbox, &["--network", "right"], &script),
        "b\nunknown"
    );
    remove(&sandbox, &["l", "r", "b"]);
}

#[test]
fn containers_are_connected_and_disconnected_while_they_run() {
    let sandbox = with_networks(&["left", "right"]);
    serve(&sandbox, "l", &["--network", "left"]);
    serve(&sandbox, "r", &["--network", "right"]);
    let connect = ["network", "connect", "--alias", "also", "right", "l"];
    sandbox.bryo(connect).output().expect(0);
    assert_eq!(exec(&sandbox, "l", &format!("{FETCH}fetch r")), "r");
    assert_eq!(exec(&sandbox, "r", &format!("{FETCH}fetch also")), "l");
    let again = sandbox.bryo(connect).output().expect(1);
    assert!(again.stderr.contains("already"), "{again}");
    let inspected = sandbox.bryo(["network", "inspect", "right"]).stdout();
    assert!(inspected.contains("\"Name\": \"l\""), "{inspected}");
    sandbox.bryo(["rename", "r", "s"]).output().expect(0);
    let names = "nslookup s >/dev/null && echo s; nslookup r >/dev/null 2>&1 || echo no r";
    assert_eq!(exec(&sandbox, "l", names), "s\nno r");
    let on = |network: &str| {
        let filter = format!("network={network}");
        let ps = ["ps", "--filter", &filter, "--format", "{{.Names}}"];
        let mut names = sandbox
            .bryo(ps)
            .stdout()
            .lines()
            .map(str::to_owned)
            .collect::<Vec<_>>();
        names.sort();
        names
    };
    assert_eq!(
        (on("left"), on("right")),
        (vec!["l".into()], vec!["l".into(), "s".into()])
    );
    sandbox.bryo(["rename", "s", "r"]).output().expect(0);
    // The way out moves to the network that is left.
    let disconnect = ["network", "disconnect", "left", "l"];
    sandbox.bryo(disconnect).output().expect(0);
    let routes = exec(&sandbox, "l", "ip route; ip -o link | grep -c eth");
    assert!(
        routes.contains("dev eth1") && routes.ends_with("\n1"),
        "{routes}"
    );
    assert!(!routes.contains("eth0"), "{routes}");
    assert!(
        sandbox
            .bryo(disconnect)
            .output()
            .expect(1)
            .stderr
            .contains("is not on")
    );
    // It is so at the next start too.
    sandbox.bryo(["restart", "-t", "0", "l"]).output().expect(0);
    assert_eq!(exec(&sandbox, "l", &format!("{FETCH}fetch r")), "r");
    // One without is told so.
    start(&sandbox, "none", &["--network", "none"], &["sleep", "1000"]);
    let refused = sandbox
        .bryo(["network", "connect", "left", "none"])
        .output()
        .expect(1);
    assert!(refused.stderr.contains("--network left"), "{refused}");
    remove(&sandbox, &["l", "r", "none"]);
}

#[test]
fn the_files_of_names_are_whole_while_networks_change() {
    let sandbox = with_networks(&["left", "right"]);
    let script = "echo $(hostname) >/name; while [ ! -e /stop ]; do \
                  grep -q '^127.0.0.1' /etc/hosts || echo no loopback; \
                  grep -Eq \"^10[.][0-9.]+$(printf '\\t')$(cat /name)$\" /etc/hosts || echo no name; \
                  grep -Eq '^nameserver 10[.]' /etc/resolv.conf || echo no server; \
                  : >/looked; done; echo looked";
    start(&sandbox, "c", &["--network", "left"], &["sh", "-c", script]);
    let looks = || {
        exec(
            &sandbox,
            "c",
            "rm -f /looked; while [ ! -e /looked ]; do sleep 0.01; done",
        )
    };
    looks();
    for _ in 0..8 {
        for (add, remove) in [("right", "left"), ("left", "right")] {
            sandbox
                .bryo(["network", "connect", add, "c"])
                .output()
                .expect(0);
            sandbox
                .bryo(["network", "disconnect", remove, "c"])
                .output()
                .expect(0);
            looks();
        }
    }
    // What went stays as a comment.
    let addresses = "grep -v '^#' /etc/hosts | grep -c \"$(hostname)\"; \
                     grep -c ^nameserver /etc/resolv.conf";
    assert_eq!(exec(&sandbox, "c", addresses), "1\n1");
    exec(&sandbox, "c", "touch /stop");
    sandbox.bryo(["wait", "c"]).output().expect(0);
    assert_eq!(sandbox.bryo(["logs", "c"]).stdout(), "looked");
    remove(&sandbox, &["c"]);
}

/// A web server on the host's loopback: its port.
fn serve_outside() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (mut reader, mut writer) = (BufReader::new(client.try_clone().unwrap()), client);
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
                line.clear();
            }
            let _ = writer.write_all(b"HTTP/1.0 200 OK\r\n\r\nfrom outside\n");
        }
    });
    port
}

#[test]
fn the_way_out_is_a_translator_for_all() {
    use nix::sys::signal::{Signal, kill};
    let sandbox = Sandbox::with_busybox();
    let create = ["network", "create", "--ipv6", "-o", "host-loopback", "net"];
    sandbox.bryo(create).output().expect(0);
    sandbox
        .bryo(["network", "create", "closed"])
        .output()
        .expect(0);
    let port = serve_outside();
    let flags = ["--network", "net", "--add-host", "outside:host-gateway"];
    start(&sandbox, "one", &flags, &["sleep", "1000"]);
    start(&sandbox, "two", &flags, &["sleep", "1000"]);
    let fetch = format!("wget -qO- http://host.containers.internal:{port}/");
    let again = format!("wget -qO- http://outside:{port}/");
    for name in ["one", "two", "one"] {
        assert_eq!(exec(&sandbox, name, &fetch), "from outside");
        assert_eq!(exec(&sandbox, name, &again), "from outside");
    }
    // The host's loopback is not to be had where nobody said so.
    let script = format!("nc -w 5 169.254.77.2 {port} </dev/null && echo reached");
    let run = sandbox.bryo(["run", "--rm", "--network", "closed", "busybox", "sh", "-c"]);
    let refused = run.arg(&script).output();
    assert!(
        refused.code != 0 && !refused.stdout.contains("reached"),
        "{refused}"
    );
    // What is killed is replaced: the translator on the same interface, then
    // all of it.
    for name in ["bryo-net", "bryo-network"] {
        // That of the other network may be there still.
        for pid in processes(&sandbox, name) {
            process::wait_until_lived(pid, std::time::Duration::from_millis(1200));
            let _ = kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
        }
        for container in ["one", "two"] {
            wait_for("the way out", || {
                let output = sandbox
                    .bryo(["exec", container, "sh", "-c", &fetch])
                    .output();
                (output.stdout == "from outside\n").then_some(())
            });
        }
    }
    remove(&sandbox, &["one", "two"]);
}

/// A port of the host's loopback at which nobody ever answers: its queue is
/// short and stays full.
fn never_accepted() -> (std::os::fd::OwnedFd, u16) {
    use nix::sys::socket::*;
    let kind = SockType::Stream;
    let fd = socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, None).unwrap();
    let any = std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 0);
    bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &SockaddrIn::from(any)).unwrap();
    listen(&fd, Backlog::new(0).unwrap()).unwrap();
    let own: SockaddrIn = getsockname(std::os::fd::AsRawFd::as_raw_fd(&fd)).unwrap();
    (fd, own.port())
}

#[test]
fn one_container_does_not_take_the_way_out_from_another() {
    require_tool("perl", "perl");
    let sandbox = Sandbox::with_busybox();
    let create = ["network", "create", "-o", "host-loopback", "net"];
    sandbox.bryo(create).output().expect(0);
    let (_listener, dead) = never_accepted();
    let open = format!(
        "use Socket; use Fcntl; my $to = sockaddr_in({dead}, inet_aton('169.254.77.2')); my @all; \
         for (1..975) {{ socket(my $s, PF_INET, SOCK_STREAM, 0) or last; \
         fcntl($s, F_SETFL, O_NONBLOCK); connect($s, $to); push @all, $s }} sleep 1000"
    );
    let greedy = format!("for n in 1 2 3 4; do perl -e \"{open}\" & done; wait");
    let greedy = greedy.replace('$', "\\$");
    let flags = [&["--network", "net"], &HOSTS[..]].concat();
    start(&sandbox, "greedy", &flags, &["sh", "-c", &greedy]);
    let traffic = sandbox.root().join("networks/net.traffic");
    wait_for("connections that nobody takes", || {
        let text = fs::read(&traffic).ok()?;
        let report: serde_json::Value = serde_json::from_slice(&text).ok()?;
        // As many as may be half-open.
        (report["connections"].as_u64()? >= 1024).then_some(())
    });
    let fetch = format!(
        "timeout 15 wget -qO- http://host.containers.internal:{}/",
        serve_outside()
    );
    for _ in 0..3 {
        assert_eq!(
            shell(&sandbox, &["--network", "net"], &fetch),
            "from outside"
        );
    }
    remove(&sandbox, &["greedy"]);
}

#[test]
fn ports_are_published_from_networks() {
    use std::io::Read;
    let sandbox = with_networks(&["net"]);
    // The client's address, and what it sends.
    let script = "mkdir -p /www/cgi-bin; printf '#!/bin/sh\\necho; echo $REMOTE_ADDR\\n' \
                  >/www/cgi-bin/who; chmod 755 /www/cgi-bin/who; exec httpd -f -p 80 -h /www";
    let flags = [
        "--network",
        "net",
        "-p",
        "127.0.0.1::80",
        "-p",
        "127.0.0.1::9/udp",
    ];
    start(&sandbox, "web", &flags, &["sh", "-c", script]);
    let port = |name: &str, port: &str| {
        let text = sandbox.bryo(["port", name, port]).stdout();
        text.rsplit(':').next().unwrap().parse::<u16>().unwrap()
    };
    let fetch = |number: u16| {
        wait_for("the page", || {
            let mut client = std::net::TcpStream::connect(("127.0.0.1", number)).ok()?;
            client
                .write_all(b"GET /cgi-bin/who HTTP/1.0\r\n\r\n")
                .ok()?;
            let mut text = String::new();
            client.read_to_string(&mut text).ok()?;
            text.contains(" 200 OK").then_some(text)
        })
    };
    let number = port("web", "80/tcp");
    // Clients on this machine are relayed into the network: they are its own.
    let about = sandbox.bryo(["network", "inspect", "net"]).stdout();
    let about: serde_json::Value = serde_json::from_str(&about).unwrap();
    let gateway = about[0]["IPAM"]["Config"][0]["Gateway"].as_str().unwrap();
    let page = fetch(number);
    assert!(page.ends_with(&format!(":{gateway}]\n")), "{page}");
    // Nothing but the port of who is there: another container's does not
    // reach it, and what is killed in between is replaced.
    for name in ["bryo-net", "bryo-network"] {
        for pid in processes(&sandbox, name) {
            process::wait_until_lived(pid, std::time::Duration::from_millis(1200));
            let pid = nix::unistd::Pid::from_raw(pid);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        fetch(number);
    }
    start(&sandbox, "keep", &["--network", "net"], &["sleep", "1000"]);
    remove(&sandbox, &["web"]);
    wait_for("the port to be free", || {
        std::net::TcpListener::bind(("127.0.0.1", number)).ok()
    });
    remove(&sandbox, &["keep"]);
}

#[test]
fn a_port_of_a_network_is_free_when_its_container_has_ended() {
    let sandbox = with_networks(&["net", "other"]);
    // The network and who translates for it go on.
    start(&sandbox, "keep", &["--network", "net"], &["sleep", "1000"]);
    // An address from which nobody connects who asks for any port.
    let (ip, port) = ("127.13.7.2", 5777);
    for turn in 0..20 {
        let protocol = ["tcp", "udp"][turn % 2];
        let flag = format!("{ip}:{port}:80/{protocol}");
        start(
            &sandbox,
            "c",
            &["--network", "net", "-p", &flag],
            &["sleep", "1000"],
        );
        // Clients that are there do not keep it.
        let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"x", (ip, port)).unwrap();
        let _client = std::net::TcpStream::connect((ip, port));
        match turn % 5 {
            0 => drop(sandbox.bryo(["stop", "-t", "0", "c"]).output().expect(0)),
            _ => remove(&sandbox, &["c"]),
        }
        let taken = std::net::UdpSocket::bind((ip, port)).unwrap();
        drop(taken);
        std::net::TcpListener::bind((ip, port)).unwrap();
        if turn % 5 == 0 {
            sandbox.bryo(["start", "c"]).output().expect(0);
            remove(&sandbox, &["c"]);
        }
    }
    remove(&sandbox, &["keep"]);
}

#[test]
fn ports_move_to_the_network_that_is_left() {
    let sandbox = with_networks(&["left", "right"]);
    let flags = ["--network", "left", "--network", "right"];
    serve(
        &sandbox,
        "web",
        &[&flags[..], &["-p", "127.0.0.1::80"]].concat(),
    );
    let at = sandbox.bryo(["port", "web", "80"]).stdout();
    let fetch = || {
        wait_for("the page", || {
            use std::io::Read;
            let mut client = std::net::TcpStream::connect(at.trim()).ok()?;
            client.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
            let mut text = String::new();
            client.read_to_string(&mut text).ok()?;
            text.ends_with("web\n").then_some(())
        });
    };
    fetch();
    let disconnect = ["network", "disconnect", "left", "web"];
    sandbox.bryo(disconnect).output().expect(0);
    fetch();
    remove(&sandbox, &["web"]);
}

/// The processes of bryo's with this name that belong to the sandbox. The name
/// server cannot be looked into: it is known by its parent.
pub fn processes(sandbox: &Sandbox, name: &str) -> Vec<i32> {
    let is = |pid: &i32| {
        let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        comm.trim() == name
    };
    let all = sandbox.processes();
    let children = all.keys().flat_map(|pid| {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        let pids = children
            .split_ascii_whitespace()
            .map(|pid| pid.parse().unwrap());
        pids.collect::<Vec<i32>>()
    });
    let mut found: Vec<i32> = all.keys().copied().chain(children).filter(is).collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[test]
fn what_is_killed_is_replaced() {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    let sandbox = with_networks(&["net"]);
    serve(&sandbox, "web", &["--network", "net"]);
    start(
        &sandbox,
        "client",
        &["--network", "net"],
        &["sleep", "1000"],
    );
    for (name, others) in [("bryo-names", 1), ("bryo-network", 1), ("bryo-network", 1)] {
        let before = processes(&sandbox, name);
        assert_eq!(before.len(), others, "{name}");
        kill(Pid::from_raw(before[0]), Signal::SIGKILL).unwrap();
        wait_for("another one", || {
            let now = processes(&sandbox, name);
            (now.len() == 1 && now != before).then_some(())
        });
        wait_for("names", || {
            let run = sandbox.bryo(["exec", "client", "wget", "-qO-", "http://web/"]);
            (run.output().stdout == "web\n").then_some(())
        });
    }
    // The network is the same, and no address is given out twice.
    let script = format!("{FETCH}fetch web; hostname -i; nslookup web; arp -n");
    let said = shell(&sandbox, &["--network", "net"], &script);
    let mut lines = said.lines();
    assert_eq!(lines.next(), Some("web"), "one after the other: {said}");
    let own = lines.next().unwrap();
    let others = ["web", "client"].map(|name| address(&sandbox, name, "net"));
    assert!(!others.iter().any(|other| other == own), "{own} {others:?}");
    // All of it at once.
    for name in ["bryo-network", "bryo-names", "bryo-supervise"] {
        for pid in processes(&sandbox, name) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    sandbox.bryo(["start", "web"]).output().expect(0);
    let script = format!("{FETCH}fetch web; nslookup web; arp -n");
    let said = shell(&sandbox, &["--network", "net"], &script);
    assert_eq!(said.lines().next(), Some("web"), "all at once: {said}");
    remove(&sandbox, &["web", "client"]);
    // Nobody needs it any more.
    wait_for("the end", || {
        processes(&sandbox, "bryo-network").is_empty().then_some(())
    });
}

#[test]
fn addresses_are_given_as_asked() {
    let sandbox = Sandbox::with_busybox();
    let create = [
        "network",
        "create",
        "--subnet",
        "10.201.0.0/28",
        "--subnet",
        "fd00:77::/64",
    ];
    let create = sandbox
        .bryo(create)
        .args(["--gateway", "10.201.0.9", "--internal", "net"]);
    assert_eq!(create.stdout(), "net");
    let flags = [
        "--network",
        "net",
        "--ip",
        "10.201.0.5",
        "--ip6",
        "fd00:77::5",
    ];
    serve(&sandbox, "web", &flags);
    let fetch = format!(
        "{FETCH}fetch 10.201.0.5; fetch [fd00:77::5]; ping -6 -c1 web >/dev/null && echo six"
    );
    assert_eq!(
        shell(&sandbox, &["--network", "net"], &fetch),
        "web\nweb\nsix"
    );
    // An internal network has no way out, and asks nobody outside.
    let said = shell(
        &sandbox,
        &["--network", "net"],
        "ip route; nslookup example.org | grep NXD",
    );
    assert!(
        !said.contains("default") && said.contains("NXDOMAIN"),
        "{said}"
    );
    for (flags, wanted) in [
        (&["--ip", "10.201.0.5"][..], "10.201.0.5 is taken"),
        (&["--ip", "10.201.0.9"], "10.201.0.9 is taken"),
        (&["--ip", "10.99.0.5"], "not an address of 10.201.0.0/28"),
        (&["--ip", "10.201.0.15"], "not an address of"),
        (&["--ip", "somewhere"], "not an address"),
    ] {
        let run = sandbox
            .bryo(["run", "--rm", "--network", "net"])
            .args(flags);
        let output = run.args(["busybox", "true"]).output().expect(125);
        assert!(output.stderr.contains(wanted), "{output}");
    }
    let none = sandbox.run(&["--network", "none", "--ip", "10.0.0.1", "busybox", "true"]);
    assert!(none.expect(125).stderr.contains("--network NAME"));
    let unknown = sandbox
        .run(&["--network", "nix", "busybox", "true"])
        .expect(125);
    assert!(unknown.stderr.contains("network create nix"), "{unknown}");
    remove(&sandbox, &["web"]);
}

#[test]
fn definitions_are_kept() {
    let sandbox = with_networks(&["one"]);
    for (arguments, wanted) in [
        (&["one"][..], "already"),
        (&["host"], "something else"),
        (&["a b"], "letters, digits"),
        (&["--subnet", "10.1.0.0/33", "x"], "ADDRESS/BITS"),
        (&["--subnet", "10.1.0.0/31", "x"], "no room"),
        (
            &["--subnet", "10.1.0.0/24", "--gateway", "10.2.0.1", "x"],
            "not an address of",
        ),
    ] {
        let create = sandbox.bryo(["network", "create"]).args(arguments).output();
        assert!(
            create.code != 0 && create.stderr.contains(wanted),
            "{create}"
        );
    }
    let create = ["network", "create", "--label", "a=b", "--ipv6", "two"];
    sandbox.bryo(create).output().expect(0);
    let one = sandbox.bryo(["network", "inspect", "one"]).stdout();
    let one: serde_json::Value = serde_json::from_str(&one).unwrap();
    let subnet = one[0]["IPAM"]["Config"][0]["Subnet"].as_str().unwrap();
    let overlap = sandbox
        .bryo(["network", "create", "--subnet", subnet, "x"])
        .output();
    assert!(overlap.expect(1).stderr.contains("network 'one' has"));
    let list = sandbox
        .bryo(["network", "ls", "--format", "{{.Name}} {{.IPv6}}"])
        .stdout();
    assert_eq!(list, "one false\ntwo true");
    let list = sandbox
        .bryo(["network", "ls", "-q", "--filter", "label=a=b"])
        .stdout();
    let found: serde_json::Value =
        serde_json::from_str(&sandbox.bryo(["network", "inspect", &list]).stdout()).unwrap();
    assert_eq!(
        (&found[0]["Name"], &found[0]["Labels"]["a"]),
        (&"two".into(), &"b".into())
    );
    sandbox
        .bryo([
            "create",
            "--name",
            "c",
            "--network",
            "one",
            "busybox",
            "true",
        ])
        .output()
        .expect(0);
    let used = sandbox.bryo(["network", "rm", "one"]).output().expect(1);
    assert!(used.stderr.contains("used by c"), "{used}");
    let pruned = sandbox.bryo(["network", "prune", "-f"]).stdout();
    assert_eq!(pruned, "Deleted Networks:\ntwo");
    sandbox
        .bryo(["network", "exists", "two"])
        .output()
        .expect(1);
    sandbox
        .bryo(["network", "rm", "-f", "one", "gone"])
        .output()
        .expect(0);
    // A container whose network is gone is on none.
    let networks = sandbox.inspect("c")["NetworkSettings"]["Networks"].clone();
    assert_eq!(networks, serde_json::json!({}));
    // One of the same name is another one, at once.
    for subnet in ["10.202.1.0/24", "10.202.2.0/24"] {
        sandbox
            .bryo(["network", "create", "--subnet", subnet, "same"])
            .output()
            .expect(0);
        let said = shell(&sandbox, &["--network", "same"], "hostname -i");
        assert!(said.starts_with(&subnet[..9]), "{said}");
        sandbox.bryo(["network", "rm", "same"]).output().expect(0);
    }
    remove(&sandbox, &["c"]);
}

#[test]
fn the_name_server_answers_dig() {
    let dig = require_tool("dig", "bind9-dnsutils");
    let dig = dig.to_str().unwrap();
    let sandbox = with_networks(&[]);
    sandbox
        .bryo(["network", "create", "--ipv6", "net"])
        .output()
        .expect(0);
    for name in ["db1", "db2"] {
        start(
            &sandbox,
            name,
            &["--network", "net", "--network-alias", "db"],
            &["sleep", "1000"],
        );
    }
    let ask = |arguments: &[&str]| {
        let run = sandbox
            .bryo(["run", "--rm", "--network", "net"])
            .args(HOSTS);
        let run = run.args(["busybox", dig]);
        run.args(["+tries=1", "+time=20"]).args(arguments).output()
    };
    let (one, two) = (
        address(&sandbox, "db1", "net"),
        address(&sandbox, "db2", "net"),
    );
    for way in ["+notcp", "+tcp", "+noedns"] {
        let answer = ask(&[way, "+short", "db"]);
        let mut found: Vec<&str> = answer.stdout.lines().collect();
        found.sort_unstable();
        assert_eq!(found, [one.as_str(), two.as_str()], "{answer}");
    }
    let six = ask(&["+short", "aaaa", "DB1"]);
    assert!(six.stdout.starts_with("fd"), "{six}");
    assert_eq!(ask(&["+short", "-x", &one]).stdout, "db1.\n");
    let none = ask(&["mx", "db1"]);
    assert!(
        none.stdout.contains("NOERROR") && none.stdout.contains("ANSWER: 0"),
        "{none}"
    );
    remove(&sandbox, &["db1", "db2"]);
}

#[test]
fn three_containers_work_together() {
    let nginx = require_tool("nginx", "nginx");
    let sandbox = with_networks(&["front", "back"]);
    // A data base, on the one side.
    let store = "while :; do echo 'value from store' | nc -l -p 6379; done";
    start(
        &sandbox,
        "store",
        &["--network", "back"],
        &["sh", "-c", store],
    );
    // An application, on both.
    let app = "mkdir -p /www/cgi-bin; printf '#!/bin/sh\\necho; nc store 6379 </dev/null\\n' \
               >/www/cgi-bin/get; chmod 755 /www/cgi-bin/get; exec httpd -f -p 8000 -h /www";
    start(
        &sandbox,
        "app",
        &["--network", "front", "--network", "back"],
        &["sh", "-c", app],
    );
    // A server in front of it, on the other side.
    let conf = "daemon off; user root; pid /tmp/pid; error_log stderr; events {} http { access_log off; \
                client_body_temp_path /tmp/1; proxy_temp_path /tmp/2; fastcgi_temp_path /tmp/3; \
                uwsgi_temp_path /tmp/4; scgi_temp_path /tmp/5; server { listen 80; location / { \
                proxy_pass http://app:8000/cgi-bin/; } } }";
    let conf = sandbox.write("nginx.conf", conf);
    let volume = format!("{}:/mnt/nginx.conf:ro", conf.display());
    let flags = [&["--network", "front", "-v", &volume][..], &HOSTS].concat();
    let nginx = nginx.to_str().unwrap();
    start(
        &sandbox,
        "proxy",
        &flags,
        &[nginx, "-e", "stderr", "-c", "/mnt/nginx.conf"],
    );
    let got = wait_for("the value", || {
        let run = sandbox.bryo(["run", "--rm", "--network", "front", "busybox", "wget"]);
        let output = run.args(["-qO-", "http://proxy/get"]).output();
        (output.code == 0 && !output.stdout.is_empty()).then_some(output.stdout)
    });
    assert_eq!(got, "value from store\n");
    remove(&sandbox, &["store", "app", "proxy"]);
}
