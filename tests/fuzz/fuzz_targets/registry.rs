//! Whatever registries and settings' files say is understood or refused.

#![no_main]

use bryo::engine::ground::config;
use bryo::image::reference::Reference;
use bryo::image::registry::conf::Conf;
use bryo::image::registry::{challenge, failure, manifest, url};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &str)| {
    let (kind, text) = input;
    match kind % 6 {
        0 => drop(manifest::read(text.as_bytes(), None)),
        1 => drop(challenge::parse(text)),
        2 => {
            if let Ok(conf) = Conf::parse(text)
                && let Ok(names) = conf.names("a/b:c")
            {
                names.iter().for_each(|name| drop(conf.places(name)));
                let other: Reference = "r.test/x".parse().unwrap();
                let _ = conf.places(&other);
            }
        }
        3 => {
            let base = url::parse("https://r.test/v2/a/blobs/x").unwrap();
            if let Ok(url) = url::join(&base, text) {
                assert!(matches!(url.scheme_str(), Some("http" | "https")));
                assert!(!url.authority().unwrap().as_str().contains('@'));
            }
        }
        4 => drop(config::parse(text)),
        _ => {
            let words = failure::words(text.as_bytes());
            assert!(!words.chars().any(char::is_control));
        }
    }
});
