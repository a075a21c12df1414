//! Whatever is accepted as a reference means the same when it is written and
//! read again.

#![no_main]

use bryo::image::reference::Reference;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(reference) = text.parse::<Reference>() {
        assert_eq!(reference.canonical().parse::<Reference>().unwrap(), reference);
        assert_eq!(reference.familiar().parse::<Reference>().unwrap(), reference);
    }
});
