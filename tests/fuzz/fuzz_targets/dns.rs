//! Whatever is asked, an answer is one to that question, and short enough.

#![no_main]

use bryo::net::dns::{Answer, Names, ResolvConf, Transport, answer, answers, deny, unframe};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut names = Names::default();
    names.add("web", [10, 89, 0, 2].into());
    names.add("web", [0xfd, 0, 0, 0, 0, 0, 0, 2].into());
    names.add("a.b", [10, 89, 0, 3].into());
    for transport in [Transport::Udp, Transport::Tcp] {
        for reply in [answer(bytes, &names, transport), deny(bytes)] {
            if let Answer::Reply(reply) = reply {
                assert!(reply[2] & 0x80 != 0 && reply[..2] == bytes[..2]);
                assert!(transport == Transport::Tcp || reply.len() <= 1232 || reply.len() < 600);
                assert!(answers(bytes, &reply));
            }
        }
    }
    let mut stream = bytes.to_vec();
    while unframe(&mut stream).is_some() {}
    let _ = ResolvConf::parse(&String::from_utf8_lossy(bytes));
});
