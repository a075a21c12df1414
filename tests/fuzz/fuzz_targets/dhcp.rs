//! Whatever clients send, servers answer with what clients can read.

#![no_main]

use bryo::net::{dhcp, dhcp6, ra};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let lease = dhcp::Lease {
        address: [10, 0, 2, 100].into(),
        prefix: 24,
        gateway: [10, 0, 2, 2].into(),
        dns: vec![[10, 0, 2, 2].into()],
        search: vec!["example.org".into()],
        mtu: 65520,
        seconds: 3600,
    };
    if let Some(reply) = dhcp::answer(bytes, &lease) {
        assert!(reply.payload.len() >= 300 && reply.payload[0] == 2);
        assert_eq!(reply.payload[4..8], bytes[4..8]);
    }
    let lease = dhcp6::Lease {
        address: [0xfd, 0, 0, 0, 0, 0, 0, 1].into(),
        server: [2, 0, 0, 0, 0, 1],
        dns: vec![[0xfd, 0, 0, 0, 0, 0, 0, 2].into()],
        search: vec!["example.org".into()],
        seconds: 3600,
    };
    if let Some(reply) = dhcp6::answer(bytes, &lease) {
        assert_eq!(reply[1..4], bytes[1..4]);
    }
    let _ = ra::is_solicitation(bytes);
});
