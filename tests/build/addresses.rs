//! `ADD` of what is elsewhere, from a server on the loopback.

use super::{build, context};
use crate::common::{Sandbox, tool};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;

/// A server that gives these files to whoever comes, each with its headers, until the test
/// ends. Returns where it is.
pub fn serve(files: BTreeMap<&'static str, (&'static str, Vec<u8>)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap();
            lines.map_while(Result::ok).find(String::is_empty);
            let path = first.split([' ', '?']).nth(1).unwrap();
            let (status, (headers, body)) = match files.get(path) {
                Some(file) => ("200 OK", file.clone()),
                None => ("404 Not Found", ("", Vec::new())),
            };
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
            );
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(&body);
        }
    });
    format!("http://{address}")
}

#[test]
fn files_come_from_elsewhere() {
    let sandbox = Sandbox::with_busybox();
    let inside = sandbox.work().join("inside");
    fs::create_dir(&inside).unwrap();
    fs::write(inside.join("f"), "unpacked\n").unwrap();
    let archive = sandbox.work().join("a.tar");
    let flags = [
        "-C",
        inside.to_str().unwrap(),
        "-cf",
        archive.to_str().unwrap(),
        "f",
    ];
    tool(Path::new("/usr/bin/tar"), &flags);
    let dated = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    let called = "Content-Disposition: attachment; filename=\"../called\"\r\n";
    let server = serve(BTreeMap::from([
        ("/d/one.txt", (dated, b"one\n".to_vec())),
        ("/d/two", (called, b"two\n".to_vec())),
        ("/d/", ("", b"nameless\n".to_vec())),
        ("/a.tar", ("", fs::read(&archive).unwrap())),
    ]));
    // sha256 of "one\n".
    let sum = "sha256:2c8b08da5ce60398e1f19af0e5dccc744df274b826abe585eaba68c525434806";
    let text = format!(
        "FROM busybox\nADD --checksum={sum} {server}/d/one.txt {server}/d/two /x/\nADD {server}/d/ /named\n\
         ADD --chown=1:2 --chmod=644 {server}/a.tar /y/\nADD --unpack {server}/a.tar /z/\n"
    );
    let refused = context(&sandbox, &text, &[]);
    let refused = sandbox.bryo(["build", &refused]).output().expect(1);
    let says = "checksum can't be specified for multiple sources";
    assert!(refused.stderr.contains(says), "{refused}");

    let text = text.replace(&format!("--checksum={sum} "), "");
    let text = format!("{text}ADD --checksum={sum} {server}/d/one.txt /\n");
    let place = context(&sandbox, &text, &[]);
    build(&sandbox, &place, &[]);
    let look = "cd /x; cat one.txt called /named /z/f; stat -c '%a %Y %n' one.txt /y/a.tar | \
                sed 's/ [0-9]* .y/ TIME y/'; cmp one.txt /one.txt && echo same";
    assert_eq!(
        sandbox.shell_of("built", &[], look),
        "one\ntwo\nnameless\nunpacked\n600 784111777 one.txt\n644 TIME y/a.tar\nsame"
    );
    let whole = sandbox.work().join("whole.tar");
    let whole = whole.to_str().unwrap();
    let again = build(&sandbox, &place, &["-o", &format!("type=tar,dest={whole}")]);
    assert_eq!(again.matches("CACHED").count(), 5, "{again}");
    // With one id only what is written out says who owns what.
    let list = sandbox
        .command("tar")
        .args(["--numeric-owner", "-tvf", whole, "y/a.tar"]);
    assert!(list.stdout().starts_with("-rw-r--r-- 1/2 "));

    for (line, says) in [
        (format!("ADD {server}/none /x"), "404"),
        (format!("ADD {server}/d/ /x/"), "has no file's name"),
        (
            format!("ADD --checksum={sum} {server}/d/two /x"),
            "digest mismatch",
        ),
    ] {
        let place = context(&sandbox, &format!("FROM busybox\n{line}\n"), &[]);
        let refused = sandbox.bryo(["build", &place]).output().expect(1);
        assert!(refused.stderr.contains(says), "{line}: {refused}");
    }
}
