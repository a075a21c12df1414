//! Dockerfiles and ignore patterns, with a NUL between them: none may panic, or take long.
#![no_main]

use bryo::build::dockerfile::Dockerfile;
use bryo::build::ignore::Ignore;
use bryo::build::lint::{Surroundings, check};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;

fuzz_target!(|text: &str| {
    let (file, patterns) = text.split_once('\0').unwrap_or((text, ""));
    let ignore = Ignore::parse(patterns).ok();
    if let Some(ignore) = &ignore {
        let path = file.get(..200).unwrap_or(file);
        let _ = (ignore.is_ignored(path), ignore.is_closed(path));
    }
    match Dockerfile::parse(file) {
        Err(fault) => {
            let (line, column) = fault.position(file);
            assert!(line >= 1 && column >= 1);
            assert!(fault.show("Dockerfile", file).contains(&fault.text));
        }
        Ok(parsed) => {
            let arguments = BTreeMap::new();
            let around = Surroundings {
                arguments: &arguments,
                ignore: ignore.as_ref(),
                image: &|_| Some(Vec::new()),
            };
            let _ = check(&parsed, &around);
        }
    }
});
