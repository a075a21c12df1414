//! Any profile is compiled or refused, and a filter is one that the kernel
//! would take by its length.

#![no_main]

use bryo::runtime::seccomp::{NATIVE, Profile, Target, compile};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(profile) = Profile::parse(text) else {
        return;
    };
    let capabilities = Default::default();
    let target = Target { capabilities: &capabilities, arch: NATIVE, kernel: (6, 1) };
    if let Ok(section) = profile.resolve(target)
        && let Ok(filter) = compile(&section, NATIVE)
    {
        assert!(filter.program.len() <= 4096);
    }
});
