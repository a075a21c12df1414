//! Files that images and machines have: users, groups, subordinate ids, name
//! servers, hosts.

#![no_main]

use bryo::engine::request::user::UserOption;
use bryo::engine::create::etc;
use bryo::engine::ground::user;
use bryo::idmap::{self, subid};
use bryo::net::dns::ResolvConf;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &[u8], &[u8])| {
    let (text, one, other) = input;
    let asked = text.parse::<UserOption>();
    if let Ok(user) = asked.and_then(|asked| user::resolve(&asked, one, other)) {
        assert!(user.uid != u32::MAX || !text.contains("4294967295"));
        let mut groups = user.groups.clone();
        groups.dedup();
        assert_eq!(groups, user.groups);
    }
    let _ = text.parse().and_then(|asked| user::group_id(&asked, other));
    let _ = subid::ranges(one, text, 1000);
    let _ = (subid::login_name(one, 1000), subid::source(text));
    let file = String::from_utf8_lossy(one);
    let map = idmap::parse(&file);
    if idmap::is_sound(&map) {
        assert_eq!(idmap::parse(&idmap::lines(&map)), map);
    }
    let _ = ResolvConf::parse(&file);
    let _ = etc::with_own_addresses(&file, "web", &[[10, 0, 2, 100].into()]);
    let _ = etc::with_name_servers(&file, &[[10, 0, 2, 3].into()]);
});
