use super::*;
use crate::sys::socket::{connect, listen, pair, try_receive, try_send};

/// A hub whose caller is the other end of this.
fn hub() -> (Hub, OwnedFd) {
    let (ours, caller) = pair().unwrap();
    (Hub::new(ours, None), caller)
}

/// One more connection to it, as a command makes it.
fn client(hub: &mut Hub) -> OwnedFd {
    let (ours, theirs) = pair().unwrap();
    hub.add(ours, Role::Asking);
    theirs
}

fn ask(fd: &OwnedFd, request: Request) {
    try_send(fd, &request.encode()).unwrap();
}

/// The next message of a connection; none if there is none, or if the hub has
/// closed it.
fn next(fd: &OwnedFd) -> Option<Vec<u8>> {
    let mut buffer = vec![0; MAX_DATA + 1];
    match try_receive(fd, &mut buffer) {
        Ok(0) | Err(Errno::EAGAIN) => None,
        other => {
            buffer.truncate(other.unwrap());
            Some(buffer)
        }
    }
}

fn reply(fd: &OwnedFd) -> Option<Reply> {
    next(fd).map(|message| Reply::decode(&message).expect("a reply"))
}

fn is_closed(fd: &OwnedFd) -> bool {
    try_receive(fd, &mut [0]) == Ok(0)
}

const IN: PollFlags = PollFlags::POLLIN;
const OUT: PollFlags = PollFlags::POLLOUT;

#[test]
fn an_answer_goes_to_who_asked() {
    let (mut hub, caller) = hub();
    let (one, two) = (client(&mut hub), client(&mut hub));
    ask(&two, Request::Pause);
    ask(&one, Request::Signal(15));
    assert_eq!(hub.serve(1, IN), [Asked::Request(1, Request::Signal(15))]);
    assert_eq!(hub.serve(2, IN), [Asked::Request(2, Request::Pause)]);
    hub.reply(2, &Reply::Done);
    assert_eq!(reply(&two), Some(Reply::Done));
    assert_eq!((reply(&one), reply(&caller)), (None, None));
    // Numbers of connections that are gone are nobody's.
    assert_eq!(hub.serve(7, IN), []);
    hub.reply(7, &Reply::Done);
}

#[test]
fn what_is_no_request_here_is_answered() {
    let (mut hub, _caller) = hub();
    let client = client(&mut hub);
    let unknown = [&b"?"[..], b"S", b"Ax", &[0; 100]];
    for message in unknown {
        try_send(&client, message).unwrap();
    }
    ask(&client, Request::Resume);
    assert_eq!(hub.serve(1, IN), [Asked::Request(1, Request::Resume)]);
    for _ in unknown {
        assert_eq!(reply(&client), Some(Reply::unknown()));
    }
    assert_eq!(reply(&client), None);
}

#[test]
fn who_waits_and_who_started_it_hear_of_the_end_and_nobody_else() {
    let (mut hub, caller) = hub();
    let (waits, asks) = (client(&mut hub), client(&mut hub));
    ask(&waits, Request::Wait);
    ask(&asks, Request::End);
    for number in [1, 2] {
        hub.serve(number, IN);
    }
    hub.tell_end(3);
    assert_eq!(reply(&waits), Some(Reply::Exited(3)));
    assert_eq!(reply(&caller), Some(Reply::Exited(3)));
    assert_eq!(reply(&asks), None);
}

#[test]
fn output_goes_to_who_asked_for_that_stream() {
    let (mut hub, caller) = hub();
    let (both, errors) = (client(&mut hub), client(&mut hub));
    ask(&both, Request::Attach(true, true, true));
    ask(&errors, Request::Attach(false, false, true));
    for number in [1, 2] {
        hub.serve(number, IN);
    }
    hub.broadcast(Stream::Stdout, b"out");
    hub.broadcast(Stream::Stderr, b"err");
    let data = |stream, text| Some(Data::Output(stream, text).encode());
    assert_eq!(next(&both), data(Stream::Stdout, b"out"));
    assert_eq!(next(&both), data(Stream::Stderr, b"err"));
    assert_eq!(next(&errors), data(Stream::Stderr, b"err"));
    assert_eq!((next(&errors), next(&caller)), (None, None));
    // What is longer than a message comes in several.
    let long = vec![b'x'; MAX_DATA + 1];
    hub.broadcast(Stream::Stdout, &long);
    assert_eq!(next(&both), data(Stream::Stdout, &long[1..]));
    assert_eq!(next(&both), data(Stream::Stdout, b"x"));
}

#[test]
fn input_is_taken_from_who_said_so_when_attaching() {
    let (mut hub, _caller) = hub();
    let (gives, looks) = (client(&mut hub), client(&mut hub));
    ask(&gives, Request::Attach(true, true, true));
    ask(&looks, Request::Attach(false, true, true));
    hub.serve(1, IN);
    hub.serve(2, IN);
    for fd in [&gives, &looks] {
        try_send(fd, &Data::Input(b"text").encode()).unwrap();
        try_send(fd, &Data::InputEnd.encode()).unwrap();
    }
    let given = [Asked::Input(b"text".to_vec()), Asked::InputEnd];
    assert_eq!(hub.serve(1, IN), given);
    assert_eq!(hub.serve(2, IN), []);
    // It is no place for requests any more.
    ask(&gives, Request::End);
    assert_eq!(hub.serve(1, IN), []);
    drop((gives, looks));
    assert_eq!(hub.serve(1, PollFlags::POLLHUP), [Asked::InputGone]);
    assert_eq!(hub.serve(2, PollFlags::POLLHUP), []);
}

#[test]
fn one_that_says_much_leaves_the_others_their_turn() {
    let (mut hub, _caller) = hub();
    let client = client(&mut hub);
    for _ in 0..6 {
        ask(&client, Request::Pause);
    }
    assert_eq!(hub.serve(1, IN).len(), 4);
    assert_eq!(hub.serve(1, IN).len(), 2);
    // What it said before it went is heard to the end.
    for _ in 0..6 {
        ask(&client, Request::Pause);
    }
    drop(client);
    assert_eq!(hub.serve(1, IN | PollFlags::POLLHUP).len(), 6);
}

#[test]
fn a_slow_reader_congests_and_loses_nothing() {
    let (mut hub, _caller) = hub();
    let client = client(&mut hub);
    ask(&client, Request::Attach(false, true, false));
    hub.serve(1, IN);
    let mut sent = 0u32;
    while !hub.congested() {
        hub.broadcast(Stream::Stdout, &sent.to_ne_bytes());
        sent += 1;
        assert!(sent < 1 << 20, "the kernel takes all");
    }
    let wants = |hub: &Hub| {
        let mut all = hub.watched(false);
        all.any(|(number, _, events)| number == Some(1) && events.contains(OUT))
    };
    assert!(wants(&hub));
    let mut read = 0u32;
    while read < sent {
        while let Some(message) = next(&client) {
            let wanted = Data::Output(Stream::Stdout, &read.to_ne_bytes()).encode();
            assert_eq!(message, wanted);
            read += 1;
        }
        hub.serve(1, OUT);
    }
    assert!(!hub.congested() && !wants(&hub));
    // One that is gone holds nobody up.
    while !hub.congested() {
        hub.broadcast(Stream::Stdout, &[0; MAX_DATA]);
    }
    drop(client);
    hub.serve(1, PollFlags::POLLHUP);
    assert!(!hub.congested());
}

#[test]
fn a_full_container_takes_no_more_input() {
    let (mut hub, _caller) = hub();
    let (gives, asks) = (client(&mut hub), client(&mut hub));
    ask(&gives, Request::Attach(true, false, false));
    ask(&asks, Request::Wait);
    hub.serve(1, IN);
    hub.serve(2, IN);
    let reads = |hub: &Hub, full: bool| -> Vec<bool> {
        let all = hub.watched(full);
        all.map(|(_, _, events)| events.contains(IN)).collect()
    };
    assert_eq!(reads(&hub, false), [true, true, true]);
    assert_eq!(reads(&hub, true), [true, false, true]);
}

#[test]
fn the_caller_may_go_and_be_let_go() {
    let (mut hub, caller) = hub();
    let other = client(&mut hub);
    drop(caller);
    assert_eq!(hub.serve(0, PollFlags::POLLHUP), [Asked::CallerGone]);
    drop(other);
    assert_eq!(hub.serve(1, PollFlags::POLLHUP), []);
    hub.sweep();
    assert_eq!(hub.watched(false).count(), 0);

    let (mut hub, caller) = self::hub();
    hub.tell_caller(&Reply::Started);
    hub.release_caller();
    assert_eq!(reply(&caller), Some(Reply::Started));
    assert!(is_closed(&caller));
}

#[test]
fn what_is_left_is_sent_before_all_is_closed() {
    let (mut hub, caller) = hub();
    let client = client(&mut hub);
    ask(&client, Request::Attach(false, true, false));
    hub.serve(1, IN);
    let mut sent = 0;
    while !hub.congested() {
        hub.broadcast(Stream::Stdout, &[0; 1024]);
        sent += 1;
    }
    let reader = std::thread::spawn(move || {
        let mut count = 0;
        while !is_closed_or(&client, &mut count) {
            std::thread::yield_now();
        }
        count
    });
    hub.close();
    assert_eq!(reader.join().unwrap(), sent);
    assert!(is_closed(&caller));
}

/// Counts messages until the connection is closed.
fn is_closed_or(fd: &OwnedFd, count: &mut usize) -> bool {
    match try_receive(fd, &mut [0; 2048]) {
        Ok(0) => true,
        Ok(_) => {
            *count += 1;
            false
        }
        Err(_) => false,
    }
}

#[test]
fn connections_come_by_the_socket() {
    let directory = tempfile::tempdir().unwrap();
    let (mut hub, _caller) = hub();
    hub.listen(listen(directory.path(), "control").unwrap());
    let first = hub.watched(false).next().unwrap();
    assert_eq!((first.0, first.2), (None, IN));
    hub.accept();
    let client = connect(directory.path(), "control").unwrap();
    ask(&client, Request::Networks);
    hub.accept();
    assert_eq!(hub.serve(1, IN), [Asked::Request(1, Request::Networks)]);
}
