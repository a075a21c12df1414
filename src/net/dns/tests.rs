use super::*;
use proptest::prelude::*;

fn names() -> Names {
    let mut names = Names::default();
    names.add("web", "10.89.0.2".parse().unwrap());
    names.add("web", "fd00::2".parse().unwrap());
    names.add("Alias.Of.Web", "10.89.0.2".parse().unwrap());
    names.add("many", "10.89.0.3".parse().unwrap());
    names.add("many", "10.89.0.4".parse().unwrap());
    for n in 0..100 {
        names.add("crowd", IpAddr::from([10, 90, 0, n]));
    }
    names
}

fn question(id: u16, name: &str, kind: QTYPE) -> Vec<u8> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new_unchecked(name);
    let class = QCLASS::CLASS(CLASS::IN);
    packet
        .questions
        .push(Question::new(name, kind, class, false));
    packet.build_bytes_vec().unwrap()
}

fn ask(id: u16, name: &str, kind: TYPE) -> Option<(RCODE, Vec<String>)> {
    let question = question(id, name, QTYPE::TYPE(kind));
    let Answer::Reply(bytes) = answer(&question, &names(), Transport::Udp) else {
        return None;
    };
    assert!(answers(&question, &bytes));
    let reply = Packet::parse(&bytes).unwrap();
    assert!(reply.has_flags(PacketFlag::RESPONSE | PacketFlag::RECURSION_DESIRED));
    let data = |record: &ResourceRecord| match &record.rdata {
        RData::A(a) => IpAddr::from(std::net::Ipv4Addr::from(a.address)).to_string(),
        RData::AAAA(a) => IpAddr::from(std::net::Ipv6Addr::from(a.address)).to_string(),
        RData::PTR(name) => name.0.to_string(),
        other => format!("{other:?}"),
    };
    Some((reply.rcode(), reply.answers.iter().map(data).collect()))
}

#[test]
fn names_of_ours_are_answered() {
    let found = |list: &[&str]| {
        let list = list.iter().map(|s| (*s).to_owned()).collect();
        Some((RCODE::NoError, list))
    };
    assert_eq!(ask(1, "web", TYPE::A), found(&["10.89.0.2"]));
    assert_eq!(ask(1, "WEB", TYPE::AAAA), found(&["fd00::2"]));
    assert_eq!(ask(1, "alias.of.web", TYPE::A), found(&["10.89.0.2"]));
    // There is such a name, without such a record.
    assert_eq!(ask(1, "many", TYPE::AAAA), found(&[]));
    assert_eq!(ask(1, "web", TYPE::MX), found(&[]));
    assert_eq!(ask(0, "many", TYPE::A), found(&["10.89.0.3", "10.89.0.4"]));
    assert_eq!(ask(1, "many", TYPE::A), found(&["10.89.0.4", "10.89.0.3"]));
    assert_eq!(ask(1, "2.0.89.10.in-addr.arpa", TYPE::PTR), found(&["web"]));
    let of_v6 = format!("2.{}0.0.d.f.ip6.arpa", "0.".repeat(27));
    assert_eq!(ask(1, &of_v6, TYPE::PTR), found(&["web"]));
    for other in [
        "example.org",
        "web.example.org",
        "9.0.89.10.in-addr.arpa",
        "x.ip6.arpa",
    ] {
        assert_eq!(ask(1, other, TYPE::A), None, "{other}");
        assert_eq!(ask(1, other, TYPE::PTR), None, "{other}");
    }
}

#[test]
fn what_does_not_fit_is_asked_for_again() {
    let mut asked = question(7, "crowd", QTYPE::TYPE(TYPE::A));
    let reply = |bytes: &[u8], transport| match answer(bytes, &names(), transport) {
        Answer::Reply(bytes) => bytes,
        other => panic!("{other:?}"),
    };
    let short = reply(&asked, Transport::Udp);
    assert!(short.len() <= SHORT && short[2] & 2 != 0);
    let long = reply(&asked, Transport::Tcp);
    assert_eq!(Packet::parse(&long).unwrap().answers.len(), 100);
    // With EDNS: an OPT record of 4096 bytes.
    asked[11] = 1;
    asked.extend([0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0]);
    assert!(
        Packet::parse(&reply(&asked, Transport::Udp))
            .unwrap()
            .opt()
            .is_some()
    );
}

#[test]
fn nonsense_is_refused_or_passed_over() {
    assert_eq!(answer(b"", &names(), Transport::Udp), Answer::Silence);
    let mut asked = question(7, "web", QTYPE::TYPE(TYPE::A));
    let code = |answer| match answer {
        Answer::Reply(bytes) => Packet::parse(&bytes).unwrap().rcode(),
        other => panic!("{other:?}"),
    };
    let half = &asked[..asked.len() - 3];
    assert_eq!(
        code(answer(half, &names(), Transport::Udp)),
        RCODE::FormatError
    );
    assert_eq!(code(deny(&asked)), RCODE::NameError);
    assert_eq!(code(fail(&asked)), RCODE::ServerFailure);
    asked[2] |= 0x80;
    assert_eq!(answer(&asked, &names(), Transport::Udp), Answer::Silence);
    assert_eq!(deny(&asked), Answer::Silence);
}

#[test]
fn messages_come_out_of_connections() {
    let mut stream = [framed(b"one"), framed(b""), framed(b"three")].concat();
    stream.truncate(stream.len() - 1);
    assert_eq!(unframe(&mut stream).unwrap(), b"one");
    assert_eq!(unframe(&mut stream).unwrap(), b"");
    assert_eq!(unframe(&mut stream), None);
    stream.push(b'e');
    assert_eq!(unframe(&mut stream).unwrap(), b"three");
    assert_eq!(unframe(&mut stream), None);
}

#[test]
fn resolv_conf_is_read_as_by_the_c_library() {
    let text = "# x\nnameserver 127.0.0.53 # here\nnameserver fe80::1%eth0\nnameserver ::1\n\
                search a.example b.example\nsearch c.example\noptions edns0\noptions ndots:2 x\n";
    let conf = ResolvConf::parse(text);
    let servers: Vec<IpAddr> = ["127.0.0.53", "::1"].map(|a| a.parse().unwrap()).into();
    assert_eq!(conf.servers, servers);
    assert_eq!(conf.search, ["c.example"]);
    assert_eq!(conf.options, ["edns0", "ndots:2", "x"]);
    assert_eq!(
        ResolvConf::parse("").servers,
        [IpAddr::from([127, 0, 0, 1])]
    );
}

proptest! {
    #[test]
    fn any_bytes_survive(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        for transport in [Transport::Udp, Transport::Tcp] {
            if let Answer::Reply(reply) = answer(&bytes, &names(), transport) {
                prop_assert!(reply[2] & 0x80 != 0 && reply[..2] == bytes[..2]);
                prop_assert!(transport == Transport::Tcp || reply.len() <= LONG);
            }
        }
        let _ = answers(&bytes, &bytes);
        let mut stream = bytes;
        while unframe(&mut stream).is_some() {}
        let _ = ResolvConf::parse(&String::from_utf8_lossy(&stream));
    }

    #[test]
    fn any_question_survives(id: u16, name in "[a-zA-Z0-9_.-]{1,80}", kind: u16, at: usize, byte: u8) {
        let Ok(kind) = QTYPE::try_from(kind) else { return Ok(()) };
        let mut bytes = question(id, "web", kind);
        if Name::new(&name).is_ok() {
            bytes = question(id, &name, kind);
        }
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = answer(&bytes, &names(), Transport::Udp);
        let _ = deny(&bytes);
    }
}
