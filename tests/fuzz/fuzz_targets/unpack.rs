//! Whatever a layer holds, unpacking it changes nothing outside its directory,
//! and what it made can be removed.
//!
//! The checksum of each 512-byte block that looks like a header is corrected
//! first: guessing it is not what the fuzzer's time is for.

#![no_main]

use std::fs;

use bryo::image::{remove::remove_tree, unpack::unpack};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut tar = bytes.to_vec();
    for block in tar.chunks_exact_mut(512) {
        if block[257..].starts_with(b"ustar") {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("fs");
    fs::create_dir(&root).unwrap();
    fs::write(place.path().join("canary"), "alive").unwrap();
    if let Ok(mut unpacked) = unpack(&tar[..], &root, None) {
        let _ = unpacked.seal(&root);
    }
    assert_eq!(fs::read(place.path().join("canary")).unwrap(), b"alive");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2);
    remove_tree(&root).unwrap();
});
