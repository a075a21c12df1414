use super::*;
use std::fs::File;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

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

fn ip(arguments: &[&str]) -> String {
    let path = "/usr/sbin:/sbin:/usr/bin:/bin";
    let output = Command::new("ip")
        .env("PATH", path)
        .args(arguments)
        .output();
    let output = output.expect("this test needs ip: apt-get install iproute2");
    assert!(output.status.success(), "ip {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn links_addresses_and_routes_are_made() {
    if !in_namespaces("sys::netlink::tests::links_addresses_and_routes_are_made") {
        return;
    }
    let mut other = Command::new("unshare")
        .args(["--net", "sh", "-c", "echo; exec sleep 60"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let stdout = other.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
    let namespace = File::open(format!("/proc/{}/ns/net", other.id())).unwrap();

    let mut netlink = Netlink::open().unwrap();
    let lo = netlink.link("lo").unwrap();
    assert_eq!(lo.index, 1);
    let up = Setting::Up(true);
    netlink
        .run(vec![
            Request::set(&lo, &[up]),
            Request::bridge("br0", &[up]),
        ])
        .unwrap();
    let bridge = netlink.link("br0").unwrap();
    let port = [up, Setting::Master(bridge.index), Setting::Mtu(65520)];
    let peer = [
        Setting::Namespace(namespace.as_fd()),
        Setting::Mac([2, 0, 0, 0, 0, 7]),
    ];
    let v4: IpAddr = "10.9.8.1".parse().unwrap();
    let v6: IpAddr = "fd00:9::1".parse().unwrap();
    netlink
        .run(vec![
            Request::veth("port", &port, "eth0", &peer),
            Request::address(&bridge, v4, 24),
            Request::address(&bridge, v6, 64),
            Request::default_route(&bridge, "10.9.8.2".parse().unwrap()),
            Request::default_route(&bridge, "fd00:9::2".parse().unwrap()),
            Request::on_link(&bridge, "10.77.0.0".parse().unwrap(), 16),
            Request::neighbour(&bridge, "10.9.8.2".parse().unwrap(), [2, 0, 0, 0, 0, 9]),
        ])
        .unwrap();
    let link = ip(&["link", "show", "port"]);
    assert!(
        link.contains("mtu 65520") && link.contains("master br0"),
        "{link}"
    );
    let addresses = ip(&["address", "show", "br0"]);
    for wanted in ["inet 10.9.8.1/24", "inet6 fd00:9::1/64 scope global nodad"] {
        assert!(addresses.contains(wanted), "{wanted}: {addresses}");
    }
    assert!(ip(&["route"]).contains("default via 10.9.8.2 dev br0"));
    assert!(ip(&["route"]).contains("10.77.0.0/16 dev br0 proto static scope link"));
    assert!(ip(&["-6", "route"]).contains("default via fd00:9::2 dev br0"));
    assert!(ip(&["neighbour"]).contains("10.9.8.2 dev br0 lladdr 02:00:00:00:00:09 PERMANENT"));
    let pid = other.id().to_string();
    let inside = Command::new("nsenter")
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .args(["--net", "--target", &pid, "ip", "link", "show", "eth0"])
        .output()
        .unwrap();
    let inside = String::from_utf8_lossy(&inside.stdout).into_owned();
    assert!(inside.contains("02:00:00:00:00:07"), "{inside}");

    // Renamed, sent away, deleted.
    let port = netlink.link("port").unwrap();
    let name = [Setting::Name("other"), Setting::Up(false)];
    netlink.run(vec![Request::set(&port, &name)]).unwrap();
    assert_eq!(netlink.link("other").unwrap().index, port.index);
    netlink.run(vec![Request::delete(&port)]).unwrap();
    let gone = netlink.link("other").unwrap_err();
    assert_eq!(gone.errno, Errno::ENODEV);
    assert_eq!(gone.args, "find other");
    netlink
        .run(vec![Request::veth("a", &[], "b", &[])])
        .unwrap();
    let a = netlink.link("a").unwrap();
    let away = [Setting::Namespace(namespace.as_fd()), Setting::Name("c")];
    netlink.run(vec![Request::set(&a, &away)]).unwrap();
    assert!(netlink.link("a").is_err());

    // The first that fails is named, the others are done.
    let b = netlink.link("b").unwrap();
    let missing = Link {
        index: 999,
        name: "missing".to_owned(),
    };
    let error = netlink
        .run(vec![
            Request::address(&missing, v4, 24),
            Request::set(&b, &[Setting::TxQueueLen(77)]),
            Request::bridge("br0", &[]),
        ])
        .unwrap_err();
    assert_eq!(error.args, "give missing the address 10.9.8.1/24");
    assert_eq!(error.errno, Errno::ENODEV);
    assert!(ip(&["link", "show", "b"]).contains("qlen 77"));
    let error = netlink.run(vec![Request::bridge("br0", &[])]).unwrap_err();
    assert_eq!(
        (error.args.as_str(), error.errno),
        ("make bridge br0", Errno::EEXIST)
    );
    other.kill().unwrap();
    other.wait().unwrap();
}

proptest::proptest! {
    #[test]
    fn any_answer_is_read(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        for (_, _, payload) in messages(&bytes) {
            proptest::prop_assert!(payload.len() <= bytes.len());
        }
    }
}
