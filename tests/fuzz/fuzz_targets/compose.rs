//! Compose files with a NUL between them, each over the one before, and variables: none may
//! panic, or take long.
#![no_main]

use bryo::compose::load::Files;
use bryo::compose::template::{Variables, names, substitute};
use bryo::compose::{Options, Project, amounts, print, scalar};
use libfuzzer_sys::fuzz_target;
use std::io;
use std::path::Path;

/// The files, each by its number.
struct Texts<'a>(Vec<&'a str>);

impl Files for Texts<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let name = path.file_name().and_then(|name| name.to_str());
        let text = match name {
            Some(".env") => self.0.last(),
            name => name.and_then(|name| self.0.get(name.parse::<usize>().ok()?)),
        };
        text.map(|text| text.as_bytes().to_vec())
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn is_file(&self, path: &Path) -> bool {
        self.read(path).is_ok()
    }
}

fuzz_target!(|text: &str| {
    let lookup = |name: &str| (name.len() > 1).then(|| name.to_owned());
    let variables = Variables {
        lookup: &lookup,
        missing: &|_| {},
    };
    let _ = substitute(text, &variables);
    names(text, &mut Vec::new());
    let _ = (scalar::resolve(text), amounts::words(text));
    if let Ok(length) = amounts::duration(text) {
        assert_eq!(
            amounts::duration(&amounts::show_duration(length)),
            Ok(length)
        );
    }
    let texts: Vec<&str> = text.split('\0').take(4).collect();
    let options = Options {
        files: (0..texts.len()).map(|number| number.to_string()).collect(),
        name: Some("p".into()),
        here: "/p".into(),
        ..Options::default()
    };
    if let Ok(project) = Project::load(&options, &Texts(texts)) {
        let _ = (
            print::yaml(&project.root, true),
            print::json(&project.root, true),
        );
        for service in project.services().values() {
            assert_eq!(Project::hash(service).len(), 64);
        }
    }
});
