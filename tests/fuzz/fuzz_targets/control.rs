//! What supervisors, commands, and the user's systemd say to each other: any
//! message is understood or dropped, and what is understood can be said.

#![no_main]

use bryo::cgroup::dbus;
use bryo::engine::container::control::{Data, Reply, Request};
use bryo::runtime::message::Message;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(request) = Request::decode(bytes) {
        assert_eq!(Request::decode(&request.encode()), Some(request));
    }
    if let Some(reply) = Reply::decode(bytes) {
        assert!(Reply::decode(&reply.encode()).is_some());
    }
    if let Some(data) = Data::decode(bytes) {
        let bytes = data.encode();
        assert_eq!(Data::decode(&bytes), Some(data));
    }
    let _ = Message::decode(bytes, "sh");
    if let Some(length) = dbus::length(bytes) {
        assert!(length > 0);
    }
    let _ = dbus::decode(bytes);
});
