//! What verbs print, and to whom.

use crate::common::Sandbox;
use std::process::Stdio;

#[test]
fn a_reader_that_went_away_is_no_error() {
    let sandbox = Sandbox::with_busybox();
    let c = sandbox.start("c", &[]);
    let verbs: [&[&str]; 15] = [
        &["version"],
        &["version", "--format", "json"],
        &["info"],
        &["info", "--format", "json"],
        &["images"],
        &["images", "-q"],
        &["images", "--format", "json"],
        &["ps"],
        &["ps", "-q"],
        &["ps", "--format", "json"],
        &["inspect", "c"],
        &["inspect", "busybox"],
        &["kill", "c"],
        &["rm", "-f", "c"],
        &["rmi", "busybox"],
    ];
    for verb in verbs {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = sandbox.bryo(verb).into_command();
        let done = command
            .stdout(writer)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{verb:?}: {}\n{errors}", done.status);
        assert_eq!(errors, "", "{verb:?}");
    }
    c.wait().expect(128 + 9);
}
