//! Whatever a tar holds, its members are read within the budget or refused:
//! names, pax records, all forms of sparse files.
//!
//! Checksums are corrected first, as for `unpack`.

#![no_main]

use std::io::Read;

use bryo::image::budget::Budget;
use bryo::image::entry::{Kind, pax_records};
use bryo::image::tarball::{Members, Stream};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = pax_records(bytes);
    let tar = bryo_fuzz::with_checksums(bytes);
    for literal in [false, true] {
        let budget = Budget { entries: 1000, ..Budget::default() };
        let mut members = match literal {
            true => Members::literal(Stream(&tar[..]), budget),
            false => Members::new(Stream(&tar[..]), budget),
        };
        let mut count = 0;
        while let Ok(Some(entry)) = members.next() {
            count += 1;
            assert!(count <= 1000 && entry.size <= budget.apparent);
            assert!(entry.meta.xattrs.len() as u64 <= budget.attributes);
            assert!(!literal || !matches!(entry.kind, Kind::Whiteout | Kind::Opaque));
            let clean = |path: &[u8]| path.split(|b| *b == b'/').all(|c| !matches!(c, b"." | b".."));
            assert!(clean(&entry.path) && !entry.path.starts_with(b"/"));
            if let Some(pieces) = &entry.pieces {
                assert!(pieces.iter().all(|piece| piece.offset + piece.length <= entry.size));
            }
            let mut start = [0; 64];
            let _ = members.read(&mut start);
        }
    }
});
