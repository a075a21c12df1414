//! Whatever a layer holds, unpacking it changes nothing outside its directory,
//! and what it made can be removed.
//! Checksums are corrected first.

#![no_main]

use std::fs;

use bryo::image::{budget::Budget, remove::remove_tree, unpack::unpack};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let tar = bryo_fuzz::with_checksums(bytes);
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("fs");
    fs::create_dir(&root).unwrap();
    fs::write(place.path().join("canary"), "alive").unwrap();
    let budget = Budget { entries: 2000, apparent: 1 << 30, ..Budget::default() };
    if let Ok(mut unpacked) = unpack(&tar[..], &root, None, budget) {
        let _ = unpacked.seal(&root);
    }
    assert_eq!(fs::read(place.path().join("canary")).unwrap(), b"alive");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2);
    remove_tree(&root).unwrap();
});
