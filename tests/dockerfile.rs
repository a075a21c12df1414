//! The language of Dockerfiles, beside BuildKit's own parser, and `build --check`.

use crate::common::Sandbox;
use bryo::build::dockerfile::instruction::KEYWORDS;
use bryo::build::dockerfile::statement::{Statement, statements};
use bryo::build::dockerfile::words::{self, List};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

/// Reads Dockerfiles, a list of texts, and writes what BuildKit's parser makes of each: its
/// instructions, or null where it refuses.
const ORACLE: &str = "
import dockerfile, json, sys
def read(text):
    try:
        return [c._asdict() for c in dockerfile.parse_string(text)]
    except dockerfile.GoParseError:
        return None
json.dump([read(text) for text in json.load(sys.stdin)], sys.stdout)
";

/// Dockerfiles of all kinds that the parser may meet.
const FILES: &[&str] = &[
    "FROM a",
    "FROM a AS b\nRUN echo hi",
    "from a\nrun b\nCmd c",
    "# comment\n\n  FROM a\n\n   # another\n  RUN b",
    "# escape=`\nFROM a\nRUN b `\n  c\nRUN d \\",
    "# hello\n# escape=`\nFROM a `\nRUN b",
    "# foo=bar\n# escape=`\nFROM a `\nRUN b",
    "# ESCAPE = `\nFROM a\nENV b=c` d",
    "# escape=x\nFROM a",
    "# escape=`\n# escape=`\nFROM a",
    "FROM a\r\nRUN b \\\r\n  c\r\n",
    "\u{feff}FROM a\nRUN b",
    "FROM a\nRUN b \\\n\n  c \\\n# d\n  e",
    "FROM a\nRUN b \\\\\nRUN c",
    "FROM a\nRUN b \\ \t\n c",
    "FROM a\nRUN b \\\n",
    "FROM a\nRUN b \\\n\\\nc",
    "FROM a\nRUN\tb\tc",
    "FROM a\nRUN   b  c  ",
    "FROM a\nRUN",
    "FROM a\nRUN [\"b\", \"c d\"]",
    "FROM a\nRUN [ \"b\" ] junk",
    "FROM a\nRUN [b]",
    "FROM a\nRUN ['b']",
    "FROM a\nCMD [\"b\", 5]",
    "FROM a\nCMD []",
    "FROM a\nCMD [\"b\\u0041\\n\"]",
    "FROM a\nENTRYPOINT [\"b\"",
    "FROM a\nENV b c  d ",
    "FROM a\nENV b=c d=\"e f\" g='h i' j=k\\ l m=",
    "FROM a\nENV b=\"c\\\"d\" e=f\\",
    "FROM a\nENV b=c \\\n  d=e",
    "FROM a\nENV b",
    "FROM a\nENV b=c d",
    "FROM a\nLABEL \"b c\"=\"d e\" f=$g h=${i:-j k}",
    "FROM a\nLABEL b d=e",
    "ARG a\nARG b=c d e=\"f g\"\nFROM a",
    "FROM a\nEXPOSE 90 80/tcp 70-71/udp",
    "FROM a\nVOLUME /b  /c\nVOLUME [\"/d e\", \"/f\"]",
    "FROM a\nWORKDIR  /b c \nUSER d e\nSTOPSIGNAL 9 x\nMAINTAINER f <g@h>",
    "FROM a\nSHELL [\"/bin/sh\", \"-e\"]",
    "FROM a\nCOPY b c\nADD d e f/",
    "FROM a\nCOPY [\"b c\", \"d\"]\nADD [\"e\", \"f g\"]",
    "FROM a\nCOPY --from=b --chown=1:2 c d",
    "FROM a\nCOPY --from=b  --link=false -- --c d",
    "FROM a\nCOPY --chown='b c' d e\nRUN --x=\"y z\"\\ w --v u",
    "FROM --platform=$P a AS b",
    "FROM a\nRUN --mount=type=bind,target=/x --network=none b --c",
    "FROM a\nHEALTHCHECK --interval=5s CMD b  c\nHEALTHCHECK NONE\nHEALTHCHECK CMD [\"d\", \"e\"]",
    "FROM a\nHEALTHCHECK",
    "FROM a\nONBUILD RUN b\nONBUILD COPY --from=c d e\nONBUILD CMD [\"f\"]\nONBUILD ENV g=h",
    "FROM a\nONBUILD",
    "FROM a\nRUN <<EOF\nb\n\n# c \\\nEOF\nRUN d",
    "FROM a\nRUN <<EOF cat\nb\nEOF\n",
    "FROM a\nRUN b <<C <<-D 3<<\"E 3\" <<'F'\n1\nC\n\t2\n\tD\n3\nE 3\n4\nF",
    "FROM a\nRUN <<EOF\n\tb\n\tEOF\nEOF",
    "FROM a\nRUN <<EOF\r\nb\r\nEOF\r\nRUN c",
    "FROM a\nRUN <<EOF\nb",
    "FROM a\nRUN [\"b\"] <<EOF\nRUN c",
    "FROM a\nRUN b <<<EOF\nRUN c",
    "FROM a\nRUN \"<<EOF\"\nRUN x<<EOF\nRUN $((1<<2))",
    "FROM a\nRUN b <<E \\\n  c\nd\nE",
    "FROM a\nCOPY <<a <<b /c/\n1\na\n2\nb",
    "FROM a\nADD --chmod=755 <<E /c\n1\nE",
    "FROM a\nONBUILD COPY <<E /c\n1\nE\nRUN d",
    "FROM a\nCMD <<E\nRUN b",
    "FROM a\nRUN 'b <<E\nE",
    "FROM a\nFOO b c",
    "",
    "\n\n",
    "# nothing\n",
];

/// What a statement says, in the oracle's form; none where it cannot be read.
fn told(statement: &Statement, escape: char) -> Option<Value> {
    let keyword = statement.keyword.to_lowercase();
    let (sub, words_of, flags, rest) = match keyword.as_str() {
        "onbuild" if !statement.rest.is_empty() => {
            let (inner, flags, rest) = words::instruction(&statement.rest);
            (Some(inner), inner.to_lowercase(), flags, rest.to_owned())
        }
        _ => (
            None,
            keyword,
            statement.flags.clone(),
            statement.rest.clone(),
        ),
    };
    let whole = |text: &str| match text {
        "" => Vec::new(),
        text => vec![text.to_owned()],
    };
    let mut json_form = false;
    let mut list = |text: &str, other: &dyn Fn(&str) -> Vec<String>| match words::json(text) {
        List::Strings(words) => {
            json_form = true;
            Some(words)
        }
        List::None => Some(other(text)),
        List::Other => None,
    };
    let value = match words_of.as_str() {
        "run" | "cmd" | "entrypoint" | "shell" => list(&rest, &whole)?,
        "copy" | "add" | "volume" => list(&rest, &|text| words::blanks(text))?,
        "from" | "expose" => words::blanks(&rest),
        "env" | "label" => {
            let (pairs, _) = words::pairs(&rest, escape).ok()?;
            pairs
                .into_iter()
                .flat_map(|(name, value)| [name, value])
                .collect()
        }
        "arg" => words::quoted(&rest, escape),
        "healthcheck" => match rest.split_once(' ') {
            Some((word, rest)) => {
                let command = list(rest.trim_start(), &whole)?;
                [vec![word.to_owned()], command].concat()
            }
            None => whole(&rest),
        },
        word if KEYWORDS.contains(&word.to_uppercase().as_str()) => whole(&rest),
        // It keeps no text of what is no instruction.
        _ => vec![String::new()],
    };
    let heredocs = statement.heredocs.iter();
    let heredocs = heredocs.map(|h| json!([h.name, h.descriptor, h.content]));
    let (flags, heredocs) = match sub {
        // It does not tell those of what is behind ONBUILD.
        Some(_) => (Vec::new(), Vec::new()),
        None => (flags, heredocs.collect()),
    };
    Some(json!({
        "cmd": statement.keyword,
        "sub_cmd": sub,
        "json": json_form,
        "start_line": statement.lines.first,
        "end_line": statement.lines.last,
        "flags": flags,
        "value": value,
        "heredocs": heredocs,
    }))
}

#[test]
fn dockerfiles_are_read_as_buildkit_reads_them() {
    let place = std::env::var("BRYO_ORACLES")
        .expect("BRYO_ORACLES is not set: as root, tests/run installs what the tests compare with");
    let mut oracle = Command::new("python3")
        .args(["-c", ORACLE])
        .env("PYTHONPATH", place)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = oracle.stdin.take().unwrap();
    input
        .write_all(json!(FILES).to_string().as_bytes())
        .unwrap();
    drop(input);
    let output = oracle.wait_with_output().unwrap();
    assert!(output.status.success(), "the oracle failed");
    let theirs: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let mut faults = Vec::new();
    for (file, theirs) in FILES.iter().zip(theirs) {
        let ours = statements(file).ok().and_then(|(all, directives)| {
            let told: Option<Vec<_>> = all.iter().map(|s| told(s, directives.escape)).collect();
            told.map(Value::from)
        });
        let mut theirs = theirs;
        for instruction in theirs.as_array_mut().into_iter().flatten() {
            // As it was written is what `value` was made of.
            instruction.as_object_mut().unwrap().remove("original");
        }
        let ours = ours.unwrap_or(Value::Null);
        if ours != theirs {
            faults.push(format!("{file:?}\nours   {ours}\ntheirs {theirs}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}

#[test]
fn a_dockerfile_is_checked() {
    let sandbox = Sandbox::with_busybox();
    let context = sandbox.work().join("context");
    fs::create_dir(&context).unwrap();
    let check = |flags: &[&str]| {
        let build = sandbox.bryo(["build", "--check"]).args(flags);
        build.args([context.to_str().unwrap()]).output()
    };
    let none = check(&[]).expect(1);
    assert!(none.stderr.contains("there is no"), "{none}");

    let file = context.join("Dockerfile");
    fs::write(&file, "FROM busybox\nCOPY a /a\nCMD [\"true\"]\n").unwrap();
    let clean = check(&[]).expect(0);
    assert_eq!(clean.stdout, "Check complete, no warnings found.\n");

    fs::write(context.join(".dockerignore"), "a\n").unwrap();
    fs::write(&file, "FROM busybox as B\nCOPY a $PTAH\n").unwrap();
    let warned = check(&[]).expect(1);
    for says in [
        "Check complete, 4 warnings have been found!\n",
        "WARNING: StageNameCasing - https://docs.docker.com/go/dockerfile/rule/stage-name-casing/",
        "WARNING: FromAsCasing",
        "Attempting to Copy file \"a\" that is excluded by .dockerignore",
        "Usage of undefined variable '$PTAH' (did you mean $PATH?)",
        "   2 | >>> COPY a $PTAH\n",
    ] {
        assert!(warned.stdout.contains(says), "{says}: {warned}");
    }
    let json: Value = {
        let build = sandbox.bryo(["build", "--call", "check,format=json"]);
        let output = build.args([context.to_str().unwrap()]).output().expect(1);
        serde_json::from_str(&output.stdout).unwrap()
    };
    assert_eq!(json["warnings"][0]["ruleName"], "StageNameCasing");
    assert_eq!(
        json["warnings"][0]["location"]["ranges"][0]["start"]["line"],
        1
    );

    fs::write(&file, "# check=error=true\nFROM busybox as b\n").unwrap();
    let error = check(&[]).expect(1);
    assert!(
        error
            .stderr
            .contains("lint violation found for rules: FromAsCasing"),
        "{error}"
    );
}

#[test]
fn what_is_wrong_with_a_dockerfile_is_shown() {
    let sandbox = Sandbox::with_busybox();
    let file = sandbox.work().join("File");
    let path = file.to_str().unwrap();
    let refused = |text: &[u8]| {
        fs::write(&file, text).unwrap();
        let build = sandbox
            .bryo(["build", "--check", "-f", path])
            .args([sandbox.work()]);
        build.output().expect(1).stderr
    };
    let stderr = refused(b"FROM a\nRUN b \\\n  c\nRNU d\n");
    assert!(
        stderr.contains("File:4:1: unknown instruction: RNU (did you mean RUN?)"),
        "{stderr}"
    );
    assert!(
        stderr.contains("   4 | >>> RNU d\n     |     ^\n"),
        "{stderr}"
    );
    assert!(refused(b"FROM a\nRUN \xff\n").contains("File:2: it is not UTF-8"));
    let stages = "FROM a\n".repeat(10_000);
    fs::write(&file, &stages).unwrap();
    sandbox
        .bryo(["build", "--check", "-f", path])
        .args([sandbox.work()])
        .output()
        .expect(0);
    assert!(refused("# x\n".repeat(3 << 20).as_bytes()).contains("bytes"));
    assert!(refused(format!("FROM a\nRUN {}", "x".repeat(70_000)).as_bytes()).contains("65535"));
    let deep = format!("FROM a\nENV b={}{}", "${c:-".repeat(5000), "}".repeat(5000));
    assert!(refused(deep.as_bytes()).contains("deep"));
}
