//! Small input that asks for much: what is too much is named, and nothing
//! stays behind; what takes less than it seems is done.

use crate::common::{Sandbox, wait_for};
use nix::sys::signal::Signal;
use serde_json::json;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;

/// A member of a tar; its size, if it is not that of the data.
fn member(name: &str, kind: u8, data: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000755\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    header[124..136].copy_from_slice(format!("{:011o}\0", data.len()).as_bytes());
    header[136..148].copy_from_slice(b"00000000000\0");
    header[148..156].fill(b' ');
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header.extend_from_slice(data);
    header.resize(header.len().next_multiple_of(512), 0);
    header
}

fn pax(kind: u8, records: &[(String, String)]) -> Vec<u8> {
    let mut data = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length.to_string().len() + rest != length {
            length = length.to_string().len() + rest;
        }
        writeln!(data, "{length} {key}={value}").unwrap();
    }
    member("pax", kind, &data)
}

fn record(key: &str, value: impl ToString) -> (String, String) {
    (key.to_owned(), value.to_string())
}

/// A sparse file without any data.
fn holes(name: &str, size: u64) -> Vec<u8> {
    let map = record("GNU.sparse.map", format!("0,0,{size},0"));
    let mut tar = pax(b'x', &[map, record("GNU.sparse.size", size)]);
    tar.extend(member(name, b'0', b""));
    tar
}

fn end(mut tar: Vec<u8>) -> Vec<u8> {
    tar.extend([0; 1024]);
    tar
}

/// Imports a tar, which is refused for `reason`; the store stays empty.
fn refused(tar: Vec<u8>, reason: &str) {
    let sandbox = Sandbox::new();
    sandbox.write("x.tar", end(tar));
    let output = sandbox.bryo(["import", "x.tar", "x"]).output().expect(1);
    assert!(output.stderr.contains(reason), "{reason}: {output}");
    assert_eq!(sandbox.bryo(["images", "-q"]).stdout(), "");
    let left = fs::read_dir(sandbox.root().join("tmp")).unwrap().count();
    assert_eq!(left, 0);
}

#[test]
fn a_header_for_all_files_does_not_multiply() {
    let attributes = (0..28_000).map(|n| record(&format!("SCHILY.xattr.user.a{n}"), "v"));
    let mut tar = pax(b'g', &attributes.collect::<Vec<_>>());
    for n in 0..40 {
        tar.extend(member(&format!("f{n}"), b'0', b""));
    }
    refused(tar, "more than 1000 extended attributes on one file");
    let attributes = (0..8000).map(|n| record(&format!("SCHILY.xattr.trusted.a{n}"), "v"));
    let mut tar = pax(b'g', &attributes.collect::<Vec<_>>());
    for n in 0..400 {
        tar.extend(member(&format!("f{n}"), b'0', b""));
    }
    refused(tar, "more than 1000 extended attributes on one file");
}

#[test]
fn depth_has_an_end_that_can_be_lifted() {
    let deep = "d/".repeat(300);
    let mut tar = pax(b'x', &[record("path", format!("{deep}f"))]);
    tar.extend(member("f", b'0', b"deep"));
    let up = "../".repeat(300);
    for n in 0..3 {
        let target = match n {
            0 => format!("{deep}{up}"),
            n => format!("l{}/d", n - 1),
        };
        tar.extend(pax(b'x', &[record("linkpath", target)]));
        tar.extend(member(&format!("l{n}"), b'2', b""));
    }
    tar.extend(member("l0/last", b'0', b"found"));
    refused(tar.clone(), "directories inside each other");
    let sandbox = Sandbox::new();
    sandbox.write("x.tar", end(tar));
    let import = ["import", "--unlimited", "x.tar", "x"];
    sandbox.bryo(import).output().expect(0);
    sandbox.bryo(["check"]).output().expect(0);
    sandbox
        .bryo(["create", "--name", "c", "x", "/none"])
        .output()
        .expect(0);
    let cat = sandbox.bryo(["cp", "c:/last", "last"]);
    cat.output().expect(0);
    assert_eq!(
        fs::read_to_string(sandbox.work().join("last")).unwrap(),
        "found"
    );
}

#[test]
fn a_file_of_holes_is_no_work() {
    refused(holes("f", 17_000_000_000_000), "holes included");
    let sandbox = Sandbox::new();
    sandbox.write("x.tar", end(holes("f", 1 << 40)));
    sandbox.bryo(["import", "x.tar", "x"]).output().expect(0);
    // A terabyte, if it were read.
    let check = sandbox.bryo(["check"]).output().expect(0);
    assert_eq!(check.stdout, "The store is sound.\n");
    let layers = sandbox.root().join("layers");
    let find = sandbox.command("find").arg(layers).args(["-name", "f"]);
    let file = fs::metadata(find.stdout().trim()).unwrap();
    assert_eq!((file.len(), file.blocks()), (1 << 40, 0));
}

#[test]
fn configurations_have_bounds() {
    let sandbox = Sandbox::with_busybox();
    sandbox
        .bryo(["save", "-o", "image.tar", "busybox"])
        .output()
        .expect(0);
    let work = sandbox.work();
    let unpack = "mkdir t && tar -C t -xf image.tar && ls t/*.json t/blobs/sha256/* | cat";
    sandbox.command("sh").args(["-c", unpack]).output();
    let manifest = fs::read(work.join("t/manifest.json")).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let path = manifest[0]["Config"].as_str().unwrap().to_owned();
    let config = fs::read(work.join("t").join(path)).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    manifest[0]["Config"] = json!("changed.json");
    manifest[0]["RepoTags"] = json!(["changed:latest"]);
    fs::write(work.join("t/manifest.json"), manifest.to_string()).unwrap();
    let load = |config: &serde_json::Value, flags: &[&str]| {
        fs::write(work.join("t/changed.json"), config.to_string()).unwrap();
        let pack = sandbox
            .command("tar")
            .args(["-C", "t", "-cf", "changed.tar", "."]);
        pack.output().expect(0);
        let load = sandbox.bryo(["load", "-i", "changed.tar"]);
        load.args(flags.iter().copied()).output()
    };
    let mut many = config.clone();
    let env = (0..200_000).map(|n| format!("V{n}={n}"));
    many["config"]["Env"] = env.collect();
    let output = load(&many, &[]).expect(1);
    assert!(
        output.stderr.contains("4000 environment variables"),
        "{output}"
    );
    let mut many = config.clone();
    let volumes = (0..5000).map(|n| (format!("/v/{n}"), json!({})));
    many["config"]["Volumes"] = volumes.collect::<serde_json::Map<_, _>>().into();
    let output = load(&many, &[]).expect(1);
    assert!(output.stderr.contains("4000 volumes"), "{output}");
    let names = sandbox
        .bryo(["images", "--format", "{{.Repository}}"])
        .stdout();
    assert_eq!(names.lines().count(), 1, "{names}");
    load(&many, &["--unlimited"]).expect(0);
    // With many variables a container starts as with few.
    let mut many = config;
    let env = (0..4000).map(|n| format!("V{}={n}", n % 3000));
    many["config"]["Env"] = env.collect();
    load(&many, &[]).expect(0);
    let env = sandbox.run(&["changed", "env"]).expect(0).stdout;
    assert_eq!(
        env.lines().filter(|line| line.starts_with('V')).count(),
        3000
    );
    assert!(env.lines().any(|line| line == "V999=3999"), "{env}");
}

#[test]
fn unfinished_outputs_go_with_their_process() {
    let sandbox = Sandbox::with_busybox();
    sandbox
        .bryo(["create", "--name", "c", "busybox", "true"])
        .output()
        .expect(0);
    let dir = sandbox.work().join("out");
    fs::create_dir(&dir).unwrap();
    // Long enough to be stopped, and no hole, which would take no time.
    let size = 300_u64 << 20;
    let script = format!("head -c {size} /dev/urandom > /big");
    sandbox
        .bryo(["run", "--name", "big", "busybox", "sh", "-c", &script])
        .output()
        .expect(0);
    for (verb, target) in [
        (vec!["export", "-o", "out/x.tar", "big"], "x.tar"),
        (vec!["cp", "big:/big", "out/copy"], "copy"),
    ] {
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            fs::write(dir.join(target), "before").unwrap();
            let mut running = sandbox.bryo(verb.iter().copied()).spawn();
            let io = format!("/proc/{}/io", running.pid());
            wait_for("it writes, or has ended", || {
                let io = fs::read_to_string(&io).unwrap_or_default();
                let mut lines = io.lines().filter_map(|line| line.strip_prefix("wchar: "));
                let written = lines.next().and_then(|n| n.parse::<u64>().ok());
                (written.unwrap_or(0) > 1 << 20 || !running.is_running()).then_some(())
            });
            running.signal(signal);
            running.wait();
            let names: Vec<_> = fs::read_dir(&dir).unwrap().collect();
            assert_eq!(names.len(), 1, "{verb:?}: {names:?}");
            let now = fs::metadata(dir.join(target)).unwrap().len();
            assert!(now == 6 || now >= size, "{verb:?}: {now} bytes");
        }
        fs::remove_file(dir.join(target)).unwrap();
    }
}
