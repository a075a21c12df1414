//! Registries that lie, stall and lead astray: no hang, nothing left, one
//! error each.

use crate::common::hostile::{
    Answer, Asked, Hostile, Pushed, described, gzip, gzip_well, noise, tar_of,
};
use crate::common::{Output, Sandbox};
use bryo::image::digest::sha256;
use serde_json::json;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// `bryo pull` of what such a registry has.
fn pull(sandbox: &Sandbox, name: &str, flags: &[&str]) -> Output {
    let mut pull = sandbox.bryo(["pull", "--stall-timeout", "1"]).args(flags);
    if !flags.contains(&"--retry") {
        pull = pull.args(["--retry", "0"]);
    }
    pull.arg(name).output()
}

/// Proves that the store has nothing, and parts of blobs only with `parts`.
fn nothing_left(sandbox: &Sandbox, parts: bool) {
    assert_eq!(sandbox.bryo(["images", "-q"]).stdout(), "");
    let count = |name: &str| {
        let entries = fs::read_dir(sandbox.root().join(name));
        entries.into_iter().flatten().count()
    };
    assert_eq!(count("tmp"), 0, "in tmp");
    assert!(parts || count("parts") == 0, "in parts");
    assert_eq!(count("layers/single"), 0, "in layers");
    let check = sandbox.bryo(["check", "-q"]).output().expect(0);
    assert!(check.stdout.contains("sound"), "{check}");
}

/// Pulls from a registry that answers like this; it must fail with one error
/// that says `why`.
fn refused(
    answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
    flags: &[&str],
    why: &str,
) -> Output {
    let sandbox = Sandbox::new();
    let hostile = Hostile::start(answer);
    let output = pull(&sandbox, &hostile.name("x:1"), flags).expect(1);
    assert!(output.stderr.contains(why), "{why}: {output}");
    assert_eq!(output.stderr.matches("error: ").count(), 1, "{output}");
    assert!(!output.stderr.contains('\x1b'), "{output}");
    nothing_left(&sandbox, true);
    output
}

#[test]
fn a_good_one_is_understood() {
    let sandbox = Sandbox::new();
    let image = Pushed::small(3);
    let hostile = Hostile::start(move |asked| image.answer(asked));
    pull(&sandbox, &hostile.name("x:1"), &[]).expect(0);
    pull(&sandbox, &hostile.name("x:1"), &[]).expect(0);
    assert_eq!(hostile.count("/blobs/"), 4, "each blob once");
}

#[test]
fn lies_about_sizes_and_digests() {
    let image = Pushed::small(2);
    // The manifest says another size, or another digest.
    for (change, why) in [(-1_i64, "sends more"), (1, "it ended after")] {
        let mut lie = image.clone();
        let mut layer = described(&image.layers[1]);
        layer["size"] = json!(layer["size"].as_i64().unwrap() + change);
        lie.manifest = image.manifest_of(vec![described(&image.layers[0]), layer]);
        refused(move |asked| lie.answer(asked), &[], why);
    }
    // A blob is another one, or damaged, or too long.
    for (damage, why) in [
        ((|blob| blob[100] ^= 1) as fn(&mut Vec<u8>), ""),
        (|blob| *blob = gzip(&tar_of("other", b"x")), ""),
        (|blob| blob.extend([0; 100]), "sends more"),
        (|blob| blob.truncate(100), "it ended after"),
    ] {
        let lie = image.clone();
        let layer = lie.layer(1);
        let answer = move |asked: &Asked| match lie.answer(asked) {
            Answer::Plain(200, headers, mut blob) if asked.path.ends_with(&layer) => {
                damage(&mut blob);
                Answer::Plain(200, headers, blob)
            }
            other => other,
        };
        refused(answer, &[], why);
    }
    let lie = image.clone();
    let answer = move |asked: &Asked| match asked.path.contains("/blobs/") {
        true => Answer::ok(lie.layers[0].clone()),
        false => lie.answer(asked),
    };
    refused(answer, &[], "damaged");
    // A manifest that is not the one that was asked for.
    let sandbox = Sandbox::new();
    let lie = image.clone();
    let hostile = Hostile::start(move |asked| lie.answer(asked));
    let pinned = hostile.name(&format!("x@{}", sha256(b"another")));
    let output = pull(&sandbox, &pinned, &[]).expect(1);
    assert!(output.stderr.contains("damaged"), "{output}");
    nothing_left(&sandbox, false);
    // Its own header says otherwise.
    let answer = move |asked: &Asked| match image.answer(asked) {
        Answer::Plain(200, mut headers, body) if asked.path.contains("/manifests/") => {
            headers.push(("docker-content-digest", sha256(b"another").to_string()));
            Answer::Plain(200, headers, body)
        }
        other => other,
    };
    refused(answer, &[], "damaged");
}

#[test]
fn silence_ends() {
    let image = Pushed::small(1);
    refused(|_| Answer::Mute, &[], "no answer for 1 seconds");
    let quiet = image.clone();
    let layer = image.layer(0);
    let answer = move |asked: &Asked| match asked.path.ends_with(&layer) {
        true => Answer::Silent(quiet.layers[0].len(), quiet.layers[0][..500].to_vec()),
        false => quiet.answer(asked),
    };
    refused(answer, &[], "layer");
    let quiet = image.clone();
    let answer = move |asked: &Asked| match asked.path.contains("/manifests/") {
        true => Answer::Silent(10_000, b"{".to_vec()),
        false => quiet.answer(asked),
    };
    refused(answer, &[], "the manifest breaks off");
}

#[test]
fn without_end_is_too_much() {
    let image = Pushed::small(1);
    for (part, why) in [
        ("/manifests/", "the manifest is larger than"),
        ("/blobs/", ""),
    ] {
        let endless = image.clone();
        let answer = move |asked: &Asked| match asked.path.contains(part) {
            true => Answer::Endless(vec![b' '; 1 << 16]),
            false => endless.answer(asked),
        };
        refused(answer, &[], why);
    }
    let sandbox = Sandbox::new();
    let hostile = Hostile::start(move |asked| match asked.path.contains("/tags/") {
        true => Answer::Plain(
            200,
            vec![("link", "</v2/x/tags/list?n=1>; rel=\"next\"".to_owned())],
            br#"{"tags":["a"]}"#.to_vec(),
        ),
        false => image.answer(asked),
    });
    let output = pull(&sandbox, &hostile.name("x"), &["--all-tags"]).expect(1);
    assert!(output.stderr.contains("without end"), "{output}");
    nothing_left(&sandbox, false);
}

#[test]
fn redirects_lead_nowhere_else() {
    let image = Pushed::small(1);
    for (target, why) in [
        ("/v2/x/blobs/again", "redirects in a row"),
        ("file:///etc/passwd", "scheme file is not allowed"),
        ("ftp://127.0.0.1/x", "scheme ftp is not allowed"),
        ("http://user:secret@127.0.0.1/x", "user name in it"),
        ("", "redirect"),
    ] {
        let lead = image.clone();
        let answer = move |asked: &Asked| match asked.path.contains("/blobs/") {
            true => Answer::with(307, "location", target),
            false => lead.answer(asked),
        };
        refused(answer, &[], why);
    }
}

#[test]
fn credentials_stay_with_their_registry() {
    let sandbox = Sandbox::new();
    let image = Pushed::small(2);
    let store = image.clone();
    let other = Hostile::start(move |asked| store.answer(asked));
    let elsewhere = other.host.clone();
    let registry = Hostile::start(move |asked| {
        if !asked.headers.contains_key("authorization") {
            return Answer::with(401, "www-authenticate", "Basic realm=\"x\"");
        }
        match asked.path.contains("/blobs/") {
            true => {
                let target = format!("http://{elsewhere}{}", asked.path);
                Answer::with(307, "location", target)
            }
            false => image.answer(asked),
        }
    });
    let name = registry.name("x:1");
    pull(&sandbox, &name, &["--creds", "user:secret"]).expect(0);
    let asked = other.asked();
    assert_eq!(asked.len(), 3);
    for asked in asked {
        assert!(!asked.headers.contains_key("authorization"), "{asked:?}");
        assert!(!asked.headers.contains_key("cookie"), "{asked:?}");
    }
}

#[test]
fn bombs_do_not_go_off() {
    // A member of zeros, over and over: ten gigabytes in ten megabytes.
    let mut header = tar_of("zeros", b"");
    header.truncate(512);
    let size = 10_u64 << 30;
    let mut head = tar::Header::from_byte_slice(&header).clone();
    head.set_size(size);
    head.set_cksum();
    let piece = gzip_well(&vec![0; 1 << 20]);
    let mut layer = gzip(head.as_bytes());
    for _ in 0..(size >> 20) + 1 {
        layer.extend(&piece);
    }
    assert!(layer.len() < 11 << 20, "{}", layer.len());
    let image = Pushed::of(vec![(layer, sha256(b"whatever"))]);
    let flags = ["--max-layer-size", "100m"];
    let bomb = image.clone();
    refused(move |asked| bomb.answer(asked), &flags, "--max-layer-size");
    let output = refused(move |asked| image.answer(asked), &[], "--max-layer-size");
    assert!(output.stderr.contains("more than is likely"), "{output}");
}

#[test]
fn documents_that_make_no_sense() {
    let image = Pushed::small(1);
    let with = |manifest: Vec<u8>| {
        let image = Pushed {
            manifest,
            ..image.clone()
        };
        move |asked: &Asked| image.answer(asked)
    };
    let many = vec![described(&image.layers[0]); 10_000];
    refused(with(image.manifest_of(many)), &[], "10000 layers");
    let two = vec![described(&image.layers[0]); 2];
    refused(with(image.manifest_of(two)), &[], "the configuration 1");
    refused(with(b"<html>".to_vec()), &[], "parse the manifest");
    refused(with(Vec::new()), &[], "parse the manifest");
    let mut strange = described(&image.layers[0]);
    strange["mediaType"] = json!("application/\u{1b}[2Jx+json");
    refused(with(image.manifest_of(vec![strange])), &[], "no tar, but");
    let artifact = json!({
        "schemaVersion": 2, "artifactType": "application/x.chart", "layers": [],
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "size": 2,
                   "digest": sha256(b"{}")},
    });
    let artifact = artifact.to_string().into_bytes();
    refused(with(artifact), &[], "artifact of type application/x.chart");
    let mut path = described(&image.layers[0]);
    path["digest"] = json!("sha256:../../../../etc/passwd");
    refused(
        with(image.manifest_of(vec![path])),
        &[],
        "parse the manifest",
    );
    // Tags that are no tags.
    for tag in ["../../x", "a/b", "\u{1b}[2J", ""] {
        let sandbox = Sandbox::new();
        let image = image.clone();
        let list = json!({"name": "x", "tags": [tag]}).to_string();
        let hostile = Hostile::start(move |asked| match asked.path.contains("/tags/") {
            true => Answer::ok(list.clone()),
            false => image.answer(asked),
        });
        let output = pull(&sandbox, &hostile.name("x"), &["-a"]).expect(1);
        assert!(output.stderr.contains("cannot be a tag"), "{output}");
        assert!(!output.stderr.contains('\x1b'), "{output}");
        nothing_left(&sandbox, false);
    }
    // What it says in an error is shown, but not obeyed.
    let angry = |_: &Asked| {
        let body = br#"{"errors":[{"message":"no \u001b[31mway"}]}"#;
        Answer::Plain(403, Vec::new(), body.to_vec())
    };
    let output = refused(angry, &[], "403");
    assert!(output.stderr.contains("no  [31mway"), "{output}");
}

#[test]
fn tokens_expire_in_the_middle() {
    let sandbox = Sandbox::new();
    let image = Pushed::small(4);
    let tokens = Arc::new(AtomicUsize::new(0));
    let served = Arc::new(AtomicUsize::new(0));
    let (given, count) = (tokens.clone(), served.clone());
    let registry = Hostile::start(move |asked| {
        if asked.path.starts_with("/token") {
            let n = given.fetch_add(1, Ordering::SeqCst) + 1;
            return Answer::ok(format!(r#"{{"token":"t{n}"}}"#));
        }
        let now = format!("Bearer t{}", given.load(Ordering::SeqCst));
        if asked.headers.get("authorization") != Some(&now) {
            let realm = format!("Bearer realm=\"http://{}/token\"", asked.headers["host"]);
            return Answer::with(401, "www-authenticate", realm);
        }
        // After two blobs what was given is good no more.
        if asked.path.contains("/blobs/") && count.fetch_add(1, Ordering::SeqCst) % 2 == 1 {
            given.fetch_add(1, Ordering::SeqCst);
        }
        image.answer(asked)
    });
    pull(&sandbox, &registry.name("x:1"), &[]).expect(0);
    assert!(tokens.load(Ordering::SeqCst) > 2);

    // One that never takes what its own server gives.
    let never = |asked: &Asked| match asked.path.starts_with("/token") {
        true => Answer::ok(r#"{"token":"t"}"#),
        false => {
            let realm = format!("Bearer realm=\"http://{}/token\"", asked.headers["host"]);
            Answer::with(401, "www-authenticate", realm)
        }
    };
    refused(never, &[], "401");
    let nonsense = |asked: &Asked| match asked.path.starts_with("/token") {
        true => Answer::ok("{}"),
        false => {
            let realm = format!("Bearer realm=\"http://{}/token\"", asked.headers["host"]);
            Answer::with(401, "www-authenticate", realm)
        }
    };
    refused(nonsense, &[], "no token");
    let file = |_: &Asked| {
        let realm = "Bearer realm=\"file:///etc/passwd\"";
        Answer::with(401, "www-authenticate", realm)
    };
    refused(file, &[], "scheme file is not allowed");
}

/// Answers the first `times` requests for blobs otherwise.
fn at_first(
    image: &Pushed,
    times: usize,
    otherwise: impl Fn(&Pushed) -> Answer + Send + Sync + 'static,
) -> impl Fn(&Asked) -> Answer + Send + Sync + 'static {
    let image = image.clone();
    let layer = image.layer(0);
    let count = AtomicUsize::new(0);
    move |asked| match asked.path.ends_with(&layer) {
        true if count.fetch_add(1, Ordering::SeqCst) < times => otherwise(&image),
        _ => image.answer(asked),
    }
}

#[test]
fn what_passes_is_waited_for() {
    let image = Pushed::small(1);
    let flags = ["--retry", "3", "--retry-delay", "0.01"];
    let again = |answer: Box<dyn Fn(&Asked) -> Answer + Send + Sync>| {
        let sandbox = Sandbox::new();
        let hostile = Hostile::start(answer);
        let pull = sandbox.bryo(["pull", "--stall-timeout", "1"]).args(flags);
        pull.arg(hostile.name("x:1")).output().expect(0);
        hostile
    };
    // Out of order, out of breath.
    for code in [500, 502, 503, 504, 408] {
        again(Box::new(at_first(&image, 3, move |_| Answer::status(code))));
    }
    let limited = at_first(&image, 1, |_| Answer::with(429, "retry-after", "1"));
    again(Box::new(limited));
    // Cut off: the rest alone is asked for, by Range.
    let half =
        |image: &Pushed| Answer::Cut(image.layers[0].len(), image.layers[0][..9000].to_vec());
    let hostile = again(Box::new(at_first(&image, 1, half)));
    let asked = hostile.asked();
    let offsets: Vec<usize> = asked.iter().filter_map(Asked::offset).collect();
    assert_eq!(offsets, [9000]);
    // One that knows no Range sends all of it again.
    let whole = image.clone();
    let cut = at_first(&image, 1, half);
    again(Box::new(move |asked| match (cut(asked), asked.offset()) {
        (Answer::Plain(206, ..), Some(_)) => Answer::ok(whole.layers[0].clone()),
        (answer, _) => answer,
    }));

    // It says for how long, and that is too long.
    let limited = at_first(&image, 9, |_| Answer::with(429, "retry-after", "7200"));
    refused(limited, &["--retry", "3"], "asked again in 7200 seconds");
    // Another part than was asked for.
    let cut = at_first(&image, 1, half);
    let wrong = move |asked: &Asked| match cut(asked) {
        Answer::Plain(206, _, body) => {
            let range = vec![("content-range", "bytes 0-99/20000".to_owned())];
            Answer::Plain(206, range, body)
        }
        answer => answer,
    };
    refused(wrong, &flags, "another part");
}

#[test]
fn a_cut_off_pull_goes_on_where_it_was() {
    let sandbox = Sandbox::new();
    let image = Pushed::small(1);
    let half =
        |image: &Pushed| Answer::Cut(image.layers[0].len(), image.layers[0][..9000].to_vec());
    let hostile = Hostile::start(at_first(&image, 1, half));
    let name = hostile.name("x:1");
    pull(&sandbox, &name, &[]).expect(1);
    nothing_left(&sandbox, true);
    let part = fs::read_dir(sandbox.root().join("parts")).unwrap().next();
    assert_eq!(part.unwrap().unwrap().metadata().unwrap().len(), 9000);
    pull(&sandbox, &name, &[]).expect(0);
    let offsets: Vec<usize> = hostile.asked().iter().filter_map(Asked::offset).collect();
    assert_eq!(offsets, [9000]);
    assert_eq!(
        fs::read_dir(sandbox.root().join("parts")).unwrap().count(),
        0
    );

    // What is here is damaged: it is fetched from the start.
    let sandbox = Sandbox::new();
    let hostile = Hostile::start(at_first(&image, 1, half));
    let name = hostile.name("x:1");
    pull(&sandbox, &name, &[]).expect(1);
    let part = fs::read_dir(sandbox.root().join("parts")).unwrap().next();
    fs::write(part.unwrap().unwrap().path(), noise(9, 9000)).unwrap();
    pull(&sandbox, &name, &[]).expect(0);
}

#[test]
fn a_disk_that_fills_leaves_nothing() {
    let sandbox = Sandbox::new();
    let tar = tar_of("large", &noise(1, 30 << 20));
    let image = Pushed::of(vec![(gzip(&tar), sha256(&tar))]);
    let hostile = Hostile::start(move |asked| image.answer(asked));
    // In a namespace where the store is on a small file system.
    let script = "mount -t tmpfs -o size=20m none \"$1\"\n\
                  \"$2\" --root \"$1\" pull --retry 2 \"$3\" && exit 9\n\
                  code=$?\n\
                  find \"$1\" -type f -size +64k\n\
                  find \"$1\"/parts \"$1\"/tmp \"$1\"/layers -type f\n\
                  \"$2\" --root \"$1\" check -q || exit 8\n\
                  exit $code";
    let unshare = sandbox
        .command("unshare")
        .args(["--user", "--map-root-user", "--mount"]);
    let unshare = unshare
        .args(["sh", "-uc", script, "sh"])
        .arg(sandbox.root());
    let output = unshare
        .arg(crate::common::bryo())
        .arg(hostile.name("x:1"))
        .output();
    let output = output.expect(1);
    assert!(output.stderr.contains("No space left"), "{output}");
    assert_eq!(output.stdout, "The store is sound.\n");
}
