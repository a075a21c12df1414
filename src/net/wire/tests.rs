use super::*;
use proptest::prelude::*;

const LINK: Link = Link {
    guest: [2, 0, 0, 0, 0, 1],
    own: [2, 0, 0, 0, 0, 2],
};

fn addresses(v6: bool) -> (IpAddr, IpAddr) {
    match v6 {
        true => ("2001:db8::1".parse().unwrap(), "fd00::2".parse().unwrap()),
        false => ("192.0.2.1".parse().unwrap(), "10.0.2.100".parse().unwrap()),
    }
}

/// Fills in the checksum that the kernel would.
fn complete(frame: &mut [u8]) {
    let start = VNET + usize::from(u16::from_ne_bytes([frame[6], frame[7]]));
    let at = start + usize::from(u16::from_ne_bytes([frame[8], frame[9]]));
    let sum = checksum(0, &frame[start..]);
    frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Some(frame) = Frame::parse(&bytes) {
            for ip in [Ip::parse_v4(frame.payload), Ip::parse_v6(frame.payload)].into_iter().flatten() {
                let _ = ip.payload_is_sound();
                let _ = Segment::parse(ip.payload);
                let _ = parse_udp(ip.payload);
            }
            let _ = answer_arp(frame.payload, LINK, |_| true);
        }
        let _ = Segment::parse(&bytes);
        let _ = parse_udp(&bytes);
    }

    #[test]
    fn segments_are_read_as_they_were_written(
        v6: bool, seq: u32, ack: u32, window: u16, syn: bool, scale in proptest::option::of(0u8..15),
        sack: bool, blocks in proptest::collection::vec(any::<(u32, u32)>(), 0..5),
        payload in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let (source, destination) = addresses(v6);
        let head = Head::new(LINK, source, destination, protocol::TCP);
        let options = match syn {
            true => Options::Syn { mss: 1460, scale, sack },
            false => Options::Sack(&blocks),
        };
        let flags = if syn { flag::SYN } else { flag::ACK };
        let tcp = TcpHead { seq, ack, flags, window, options, gso: 100 };
        let mut frame = vec![0; 500];
        let end = write_tcp(&mut frame, &head, (80, 4000), &tcp, payload.len());
        frame.truncate(end);
        frame[end - payload.len()..].copy_from_slice(&payload);
        prop_assert_eq!(frame[1] != 0, payload.len() > 100);
        complete(&mut frame);
        let read = Frame::parse(&frame).unwrap();
        let ip = match v6 {
            true => Ip::parse_v6(read.payload),
            false => Ip::parse_v4(read.payload),
        };
        let ip = ip.unwrap();
        prop_assert!(ip.payload_is_sound());
        prop_assert_eq!((ip.source, ip.destination, ip.fragment), (source, destination, None));
        let segment = Segment::parse(ip.payload).unwrap();
        prop_assert_eq!((segment.source, segment.destination), (80, 4000));
        prop_assert_eq!((segment.seq, segment.ack, segment.window), (seq, ack, window));
        prop_assert_eq!(segment.mss, syn.then_some(1460));
        prop_assert_eq!(segment.scale, scale.filter(|_| syn));
        prop_assert_eq!(segment.sack, syn && sack);
        prop_assert_eq!(segment.payload, &payload[..]);
        if !syn && !blocks.is_empty() {
            let said: Vec<u8> = blocks.iter().flat_map(|(a, b)| [a.to_be_bytes(), b.to_be_bytes()].concat()).collect();
            let kind = [1, 1, 5, 2 + said.len() as u8];
            prop_assert_eq!(&ip.payload[TCP..ip.payload.len() - payload.len()], [&kind[..], &said].concat());
        }
    }

    #[test]
    fn datagrams_and_fragments_are_read_as_they_were_written(
        v6: bool, id: u16, part in 0usize..100, more: bool,
        payload in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let (source, destination) = addresses(v6);
        let from = SocketAddr::new(source, 53);
        let datagram = udp_datagram(from, SocketAddr::new(destination, 999), &payload);
        let mut head = Head::new(LINK, source, destination, protocol::UDP);
        let mut frame = vec![0; 500];
        let at = head.write(&mut frame, datagram.len());
        frame[at..at + datagram.len()].copy_from_slice(&datagram);
        let parse = |frame: &[u8]| {
            let payload = Frame::parse(frame).unwrap().payload.to_vec();
            let ip = if v6 { Ip::parse_v6(&payload) } else { Ip::parse_v4(&payload) };
            let ip = ip.unwrap();
            (ip.payload_is_sound(), ip.fragment, parse_udp(ip.payload).map(|u| (u.0, u.1, u.2.to_vec())))
        };
        prop_assert_eq!(parse(&frame), (true, None, Some((53, 999, payload.clone()))));
        let fragment = Fragment { id: id.into(), offset: part * 8, more };
        head.fragment = Some(fragment);
        let at = head.write(&mut frame, payload.len());
        frame[at..at + payload.len()].copy_from_slice(&payload);
        let wanted = Some(fragment).filter(|f| f.offset > 0 || f.more);
        prop_assert_eq!(parse(&frame).1, wanted);
    }
}

#[test]
fn only_our_addresses_are_answered_for() {
    let mut request = vec![0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 2, 100];
    request.extend([0, 0, 0, 0, 0, 0, 10, 0, 2, 2]);
    let ours = |ip: Ipv4Addr| ip == Ipv4Addr::new(10, 0, 2, 2);
    let answer = answer_arp(&request, LINK, ours).unwrap();
    let reply = &answer[VNET + ETHERNET..];
    assert_eq!(reply[6..8], [0, 2]);
    assert_eq!(reply[8..18], [2, 0, 0, 0, 0, 2, 10, 0, 2, 2]);
    assert_eq!(reply[18..28], request[8..18]);
    request[27] = 3;
    assert!(answer_arp(&request, LINK, ours).is_none());
}
