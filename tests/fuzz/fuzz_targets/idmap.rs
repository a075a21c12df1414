//! What a caller of `bryo-idmap` chooses, and what the subordinate files can
//! hold: no id may be mapped that is not the caller's.
#![no_main]

use bryo::idmap::grant::Grant;
use bryo::idmap::request::Request;
use bryo::idmap::{is_sound, outside};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Vec<Vec<u8>>, Vec<u8>)| {
    let (arguments, file) = input;
    let Ok(request) = Request::parse(&arguments) else {
        return;
    };
    let grant = Grant::of("/etc/subuid", &file, Some("web"), 1000, 1000);
    for map in [&request.uids, &request.gids] {
        assert!(is_sound(map));
        if grant.check(map).is_err() {
            continue;
        }
        for line in map {
            for id in [line.inside, line.inside + line.count - 1] {
                let id = outside(map, id).expect("the line maps it");
                let granted = |r: &bryo::idmap::subid::Range| (r.start..r.end()).contains(&id);
                assert!(id == 1000 || grant.ranges.iter().any(granted));
            }
        }
    }
    assert_eq!(Request::parse(&request.arguments()), Ok(request));
});
