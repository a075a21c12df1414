//! Rules of the repository that no compiler knows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The layers from the top down. A module imports from layers below its own
/// only, so never from the others in its line.
const LAYERS: [&[&str]; 9] = [
    &["cli"],
    &["api", "compose", "build"],
    &["engine"],
    &["oci"],
    &["runtime", "image", "net", "cgroup"],
    &["process"],
    &["error"],
    &["idmap"],
    &["sys"],
];

/// The floors of the engine, which are its folders, from the top down. A module
/// imports from its own floor and from those below.
const FLOORS: [&str; 13] = [
    "view",
    "operate",
    "supervise",
    "emulation",
    "create",
    "network",
    "host",
    "container",
    "log",
    "ids",
    "machine",
    "ground",
    "request",
];

/// How long a source file may get, not counting its tests.
const MAX_LINES: usize = 700;

/// The files of tests that may sleep, and for what. Whoever waits for something
/// waits for that, with `wait_for`: how long it takes depends on the machine.
const SLEEPERS: &[(&str, &str)] = &[
    ("tests/common/hostile.rs", "a server that does not answer"),
    ("tests/common/mod.rs", "the pace at which is looked"),
    ("tests/common/sandbox.rs", "the pace at which is looked"),
    ("tests/crash.rs", "killed at points in time"),
    ("tests/image.rs", "killed at points in time"),
    ("tests/imagechaos.rs", "killed at random"),
    ("tests/life.rs", "the pace of random kills"),
    ("tests/limits.rs", "that nothing happens"),
    ("tests/network.rs", "a slow reader; what is spent in a time"),
    ("tests/services.rs", "slow readers and writers"),
    ("tests/streams.rs", "a slow reader"),
    ("tests/vm.rs", "the pace at which a whole system is asked"),
    ("tests/volumes.rs", "killed at points in time"),
];

/// The documents whose paths are checked.
const DOCUMENTS: &[&str] = &[
    "README.md",
    "docs/api.md",
    "docs/build.md",
    "docs/compose.md",
    "docs/config.md",
    "docs/cp.md",
    "docs/host.md",
    "docs/ids.md",
    "docs/limits.md",
    "docs/networking.md",
    "docs/parity.md",
    "docs/root-emulation.md",
    "docs/security.md",
    "docs/volumes.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
];

#[test]
fn tests_wait_for_what_they_need() {
    let mut faults = Vec::new();
    let mut sleepers = BTreeSet::new();
    for path in rust_files("tests") {
        if code(&read(&path)).contains("sleep(") {
            sleepers.insert(path.display().to_string());
        }
    }
    let known: BTreeSet<String> = SLEEPERS
        .iter()
        .map(|(path, _)| (*path).to_owned())
        .collect();
    for path in sleepers.difference(&known) {
        faults.push(format!(
            "{path} sleeps: wait for what has to be, or say in SLEEPERS for what"
        ));
    }
    for path in known.difference(&sleepers) {
        faults.push(format!(
            "{path} does not sleep any more: SLEEPERS need not have it"
        ));
    }
    report(faults);
}

#[test]
fn imports_go_down() {
    let mut faults = Vec::new();
    for file in sources() {
        let Some((own, depth)) = place(&file) else {
            continue;
        };
        let Some(rank) = layer(&own) else {
            faults.push(format!(
                "{}: module {own:?} is not in the table of layers (tests/tidy.rs)",
                file.display()
            ));
            continue;
        };
        let text = code(&read(&file));
        for (line, module) in imports(&text, depth) {
            let below = layer(&module).is_some_and(|other| other > rank);
            if layer(&module).is_some() && module != own && !below {
                faults.push(format!(
                    "{}:{line}: {own} imports from {module}, which is not below it",
                    file.display()
                ));
            }
        }
    }
    report(faults);
}

#[test]
fn imports_in_the_engine_go_down() {
    let floor = |folder: &str| FLOORS.iter().position(|name| *name == folder);
    let mut faults = Vec::new();
    for file in sources() {
        // The folder's own file names its parts.
        let inner = |(own, depth): &(String, usize)| own == "engine" && *depth > 1;
        let Some((_, depth)) = place(&file).filter(inner) else {
            continue;
        };
        let own = file.iter().nth(2).unwrap().to_str().unwrap();
        let Some(rank) = floor(own) else {
            faults.push(format!("{}: on no floor (tests/tidy.rs)", file.display()));
            continue;
        };
        // As if the engine were the crate.
        let inside = code(&read(&file)).replace("crate::engine::", "crate::");
        for (line, module) in imports(&inside, depth - 1) {
            if floor(&module).is_some_and(|other| other < rank) {
                let file = file.display();
                faults.push(format!("{file}:{line}: {module} is a floor above"));
            }
        }
    }
    report(faults);
}

#[test]
fn values_for_others_do_not_print() {
    let mut faults = Vec::new();
    let views = sources().into_iter();
    for file in views.filter(|file| file.starts_with("src/engine/view")) {
        let text = code(&read(&file));
        let unfit = ["env::var", "print!", "println!", "stdout()", "stderr()"];
        for (index, line) in text.lines().enumerate() {
            if let Some(word) = unfit.iter().find(|word| line.contains(*word)) {
                let (file, line) = (file.display(), index + 1);
                faults.push(format!("{file}:{line}: a value needs no {word}"));
            }
        }
    }
    report(faults);
}

#[test]
fn the_drawing_of_imports_is_that_of_the_code() {
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in sources() {
        let Some((own, depth)) = place(&file) else {
            continue;
        };
        let used = imports(&code(&read(&file)), depth);
        let others = used.into_iter().map(|(_, module)| module);
        let others = others.filter(|module| layer(module).is_some() && *module != own);
        uses.entry(own.clone()).or_default().extend(others);
    }
    let layers = LAYERS.iter().copied().flatten();
    let line = |module: &&str| {
        let used = uses.get(*module)?;
        let used: Vec<&str> = used.iter().map(String::as_str).collect();
        Some(
            format!("{module:8} {}", used.join(" "))
                .trim_end()
                .to_owned(),
        )
    };
    let drawing: Vec<String> = layers.filter_map(line).collect();
    let drawing = format!("```text\n{}\n```\n", drawing.join("\n"));
    let document = read(Path::new("ARCHITECTURE.md"));
    assert!(
        document.contains(&drawing),
        "ARCHITECTURE.md draws the imports otherwise; they are\n{drawing}"
    );
}

#[test]
fn unsafe_code_is_in_sys_and_explained() {
    let mut faults = Vec::new();
    for file in sources() {
        let original = read(&file);
        let text = code(&original);
        let original: Vec<&str> = original.lines().collect();
        for (index, line) in text.lines().enumerate() {
            let Some(keyword) = words(line).position(|word| word == "unsafe") else {
                continue;
            };
            let place = format!("{}:{}", file.display(), index + 1);
            if place_is_not_sys(&file) {
                faults.push(format!("{place}: unsafe code outside src/sys"));
            }
            let next = words(line).nth(keyword + 1).unwrap_or("{");
            if matches!(next, "{" | "impl") && !explained(&original, index) {
                faults.push(format!("{place}: no SAFETY comment above"));
            }
        }
    }
    report(faults);
}

#[test]
fn output_goes_by_its_module() {
    // println! panics when the reader goes away.
    let mut faults = Vec::new();
    for file in sources() {
        if file.ends_with("cli/output.rs") {
            continue;
        }
        for (index, line) in code(&read(&file)).lines().enumerate() {
            let mut pairs = words(line).zip(words(line).skip(1));
            if pairs.any(|(word, next)| matches!(word, "print" | "println") && next == "!") {
                let (file, line) = (file.display(), index + 1);
                faults.push(format!("{file}:{line}: prints past src/cli/output.rs"));
            }
        }
    }
    report(faults);
}

/// What is done in one place alone: the word that does it, and the place.
const IN_ONE_PLACE: [(&str, &str); 1] = [("PollFd", "sys/wait.rs")];

/// Where errors have no kind: below `src/error`, where it reads texts of others, and
/// what build.rs compiles too, whose callers give it one.
const WITHOUT_KINDS: &[&str] = &[
    "src/error/fault.rs",
    "src/bin",
    "src/idmap",
    "src/sys",
    "src/runtime/seccomp/compiler",
];

#[test]
fn errors_that_are_made_have_a_kind() {
    let mut faults = Vec::new();
    for file in sources() {
        let of_tests = file.ends_with("tests.rs") || file.iter().any(|part| part == "tests");
        if of_tests || WITHOUT_KINDS.iter().any(|top| file.starts_with(top)) {
            continue;
        }
        let text = code(&read(&file));
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for made in ["bail!(", "ensure!(", "anyhow!("] {
            for (at, _) in text.match_indices(made) {
                // Literals are blanks; what is made of an error has that one's kind.
                let next = text[at + made.len()..].trim_start();
                if made != "anyhow!(" || next.starts_with([')', ',']) {
                    faults.push(format!(
                        "{}:{}: {made} makes an error of no kind: see refuse!, demand! and \
                         refusal! in src/error/kind.rs",
                        file.display(),
                        text[..at].lines().count()
                    ));
                }
            }
        }
    }
    report(faults);
}

#[test]
fn what_has_a_place_is_done_there() {
    let mut faults = Vec::new();
    for file in sources() {
        for (index, line) in code(&read(&file)).lines().enumerate() {
            for (word, place) in IN_ONE_PLACE {
                if !file.ends_with(place) && words(line).any(|found| found == word) {
                    let (file, line) = (file.display(), index + 1);
                    faults.push(format!("{file}:{line}: {word} is for src/{place}"));
                }
            }
        }
    }
    report(faults);
}

#[test]
fn files_are_of_one_subject() {
    let mut faults = Vec::new();
    for file in sources() {
        // Tables are data: one row a line, nothing to read in between.
        if file.ends_with("tests.rs") || file.ends_with("tables.rs") {
            continue;
        }
        let text = read(&file);
        let lines = text
            .lines()
            .take_while(|line| *line != "#[cfg(test)]")
            .count();
        if lines > MAX_LINES {
            faults.push(format!(
                "{}: {lines} lines without tests, more than {MAX_LINES}",
                file.display()
            ));
        }
    }
    report(faults);
}

#[test]
fn every_fuzz_target_is_built() {
    // tests/fuzz/run takes the files; cargo builds what the manifest names.
    let manifest = read(Path::new("tests/fuzz/Cargo.toml"));
    let built = manifest.lines().filter_map(|line| {
        let path = line.strip_prefix("path = \"fuzz_targets/")?;
        path.strip_suffix(".rs\"").map(str::to_owned)
    });
    let mut built: Vec<String> = built.collect();
    let stems = |directory: &str| {
        let all = fs::read_dir(root().join(directory)).unwrap();
        let stem = |entry: fs::DirEntry| entry.path().file_stem()?.to_str().map(str::to_owned);
        let mut all: Vec<String> = all.filter_map(|entry| stem(entry.unwrap())).collect();
        all.sort();
        all
    };
    built.sort();
    assert_eq!(built, stems("tests/fuzz/fuzz_targets"));
    // What lies there for a target that is gone is fed to nobody.
    let lost = stems("tests/fuzz/corpus").into_iter();
    let lost: Vec<_> = lost.filter(|name| !built.contains(name)).collect();
    assert_eq!(lost, [""; 0]);
    let ci = read(Path::new(".ci/run"));
    let all = ci.lines().any(|line| line.ends_with("tests/fuzz/run 10"));
    assert!(all, "CI does not run all targets");
}

#[test]
fn documents_name_paths_that_exist() {
    let mut faults = Vec::new();
    for document in DOCUMENTS {
        let text = read(Path::new(document));
        for (index, line) in text.lines().enumerate() {
            for path in paths(line) {
                if !root().join(path).exists() {
                    faults.push(format!("{document}:{}: there is no {path}", index + 1));
                }
            }
        }
    }
    report(faults);
}

#[test]
fn the_threat_model_names_tests_that_exist_in_each_line() {
    let document = "docs/security.md";
    let mut faults = Vec::new();
    let mut lines = 0;
    for (index, line) in read(Path::new(document)).lines().enumerate() {
        let is_head = line.starts_with("| what |") || line.starts_with("|---");
        if !line.starts_with('|') || is_head {
            continue;
        }
        lines += 1;
        let mut found = 0;
        for (file, name) in line.split('`').filter_map(|text| text.split_once(".rs::")) {
            found += 1;
            let path = root().join(format!("{file}.rs"));
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let head = format!("fn {name}(");
            let is_test = text.split("#[test]").skip(1).any(|test| {
                let head_of_test = test.split_once('{').map_or("", |(head, _)| head);
                head_of_test.contains(&head)
            });
            if !is_test {
                faults.push(format!(
                    "{document}:{}: no test {file}.rs::{name}",
                    index + 1
                ));
            }
        }
        if found == 0 {
            faults.push(format!("{document}:{}: it names no test", index + 1));
        }
    }
    assert!(lines > 40, "{lines} lines");
    report(faults);
}

fn root() -> PathBuf {
    crate::common::repository()
}

fn report(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// Every Rust file of the program, relative to the repository.
fn sources() -> Vec<PathBuf> {
    rust_files("src")
}

/// Every Rust file below a directory, relative to the repository.
fn rust_files(top: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![PathBuf::from(top)];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(root().join(&directory)).unwrap() {
            let entry = entry.unwrap();
            let path = directory.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 5, "no sources under {top}");
    files.sort();
    files
}

fn read(file: &Path) -> String {
    let path = root().join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

/// The top-level module a file belongs to, and how many `super` lead from it
/// to the crate; nothing for the crate's own files.
fn place(file: &Path) -> Option<(String, usize)> {
    let parts: Vec<_> = file.iter().map(|part| part.to_str().unwrap()).collect();
    match parts[..] {
        ["src", "main.rs" | "lib.rs"] | ["src", "bin", _] => None,
        ["src", file] => Some((file.trim_end_matches(".rs").to_owned(), 1)),
        ["src", module, .., "mod.rs"] => Some((module.to_owned(), parts.len() - 2)),
        ["src", module, ..] => Some((module.to_owned(), parts.len() - 1)),
        _ => unreachable!("{}", file.display()),
    }
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn place_is_not_sys(file: &Path) -> bool {
    place(file).is_none_or(|(module, _)| module != "sys")
}

/// Identifiers, and every other visible character by itself.
fn words(line: &str) -> impl Iterator<Item = &str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut rest = line;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        let first = rest.chars().next()?;
        let length = match is_word(first) {
            true => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            false => first.len_utf8(),
        };
        let (word, after) = rest.split_at(length);
        rest = after;
        Some(word)
    })
}

/// The top-level modules that the code names through `crate::`, through
/// `crate::{…}` or through as many `super::` as lead there, with their lines.
fn imports(text: &str, depth: usize) -> Vec<(usize, String)> {
    let tokens: Vec<(usize, &str)> = text
        .lines()
        .enumerate()
        .flat_map(|(index, line)| words(line).map(move |word| (index + 1, word)))
        .collect();
    let separator = |at: usize| {
        tokens.get(at).is_some_and(|token| token.1 == ":")
            && tokens.get(at + 1).is_some_and(|token| token.1 == ":")
    };
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let (mut next, mut supers) = (at, 0);
        while tokens[next].1 == "super" && separator(next + 1) && next + 3 < tokens.len() {
            supers += 1;
            next += 3;
        }
        if tokens[at].1 == "crate" && separator(at + 1) {
            next = at + 3;
        } else if supers < depth {
            at = next.max(at + 1);
            continue;
        }
        match tokens.get(next) {
            Some((_, "{")) => {
                let mut level = 0;
                let mut first = true;
                for (line, token) in &tokens[next..] {
                    match *token {
                        "{" => level += 1,
                        "}" => level -= 1,
                        "," => {}
                        word if level == 1 && first => found.push((*line, word.to_owned())),
                        _ => {}
                    }
                    first = level == 1 && matches!(*token, "{" | ",");
                    if level == 0 {
                        break;
                    }
                }
            }
            Some((line, word)) => found.push((*line, (*word).to_owned())),
            None => {}
        }
        at = next + 1;
    }
    found
}

/// Whether the statement that `index` is part of has a SAFETY comment above.
fn explained(lines: &[&str], index: usize) -> bool {
    if lines[index].contains("SAFETY:") {
        return true;
    }
    for line in lines[..index].iter().rev().map(|line| line.trim()) {
        let comment = line.starts_with("//");
        if comment && line.contains("SAFETY:") {
            return true;
        }
        if !comment && (line.is_empty() || line.ends_with([';', '{', '}'])) {
            return false;
        }
    }
    false
}

/// The text with comments and the insides of literals blanked out.
fn code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = skipped(rest, out.chars().last());
        if length == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let (gone, after) = rest.split_at(length);
        out.extend(gone.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = after;
    }
    out
}

/// The length of the comment or literal that `text` starts with, else 0.
fn skipped(text: &str, before: Option<char>) -> usize {
    let until = |end: &str, from: usize| {
        let found = text[from..].find(end);
        found.map_or(text.len(), |at| from + at + end.len())
    };
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return until("*/", 2);
    }
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if !in_word && text.starts_with(['r', 'b', 'c']) {
        let prefix = text.trim_start_matches(['b', 'c']);
        if let Some(raw) = prefix.strip_prefix('r') {
            let hashes = raw.len() - raw.trim_start_matches('#').len();
            if raw[hashes..].starts_with('"') {
                let start = text.len() - raw.len() + hashes + 1;
                return until(&format!("\"{}", "#".repeat(hashes)), start);
            }
        }
    }
    if text.starts_with('"') {
        let mut escaped = false;
        for (at, c) in text.char_indices().skip(1) {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => return at + 1,
                _ => {}
            }
        }
        return text.len();
    }
    // A character, not a lifetime.
    if let Some(after) = text.strip_prefix('\'') {
        let mut chars = after.char_indices();
        let first = chars.next().map(|(_, c)| c);
        if first == Some('\\') {
            return until("'", 3);
        }
        if let Some((at, '\'')) = chars.next() {
            return at + 2;
        }
    }
    0
}

/// What a line names in backticks or as a link's target and is a path of this
/// repository: it starts in one of its directories.
fn paths(line: &str) -> Vec<&str> {
    let quoted = line.split('`').skip(1).step_by(2);
    let linked = line
        .match_indices("](")
        .filter_map(|(at, _)| line[at + 2..].split(')').next());
    quoted
        .chain(linked)
        .flat_map(str::split_whitespace)
        .filter(|path| !path.contains(['*', '<', '$', '{', '…', ':']))
        .filter(|path| {
            let first = path.split('/').next().unwrap();
            let ours = ["src", "tests", "images", "contrib", ".ci", ".cargo"];
            ours.contains(&first) || DOCUMENTS.contains(path) || path.starts_with("LICENSE")
        })
        .map(|path| path.trim_end_matches(['.', ',', ';']))
        .collect()
}

/// The checks above find nothing if their parsing is wrong; here is what it
/// has to find.
mod parsing {
    use super::*;

    #[test]
    fn imports_are_found() {
        let text = "use crate::engine::x;\nuse crate::{sys::{fd, tty}, image, self};\n\
                    fn f() { super::super::cli::g(); super::near::h() }\n";
        let found: Vec<_> = imports(text, 2)
            .into_iter()
            .map(|(line, module)| format!("{line} {module}"))
            .collect();
        assert_eq!(found, ["1 engine", "2 sys", "2 image", "2 self", "3 cli"]);
    }

    #[test]
    fn comments_and_literals_are_blanked() {
        let text =
            "a // crate::cli\n/* unsafe\n */ \"unsafe \\\" {\" r#\"un\"safe\"# 'u' '\\'' &'a b\n";
        let left: Vec<_> = words(&code(text)).map(str::to_owned).collect();
        assert_eq!(left, ["a", "&", "'", "a", "b"]);
        assert_eq!(code(text).lines().count(), 3);
    }

    #[test]
    fn comments_explain_the_statement_below() {
        let lines = [
            "// SAFETY: it is ours.",
            "let x =",
            "    unsafe { f() };",
            "unsafe { g() };",
        ];
        assert!(explained(&lines, 2));
        assert!(!explained(&lines, 3));
    }

    #[test]
    fn paths_are_told_from_words() {
        let line = "`tests/run` and `cargo test`, [x](src/lib.rs), `target/<triple>/bryo`";
        assert_eq!(paths(line), ["tests/run", "src/lib.rs"]);
    }
}
