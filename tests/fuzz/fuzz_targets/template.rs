//! Templates of users, and lines of logs that a crash has cut: none may
//! panic.
#![no_main]

use bryo::cli::template::Template;
use bryo::engine::log::{json, k8s};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = (json::decode(data), k8s::decode(data));
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(template) = Template::parse(text)
    {
        let row = serde_json::json!({"ID": "x", "N": 1, "L": ["a", {"b": null}]});
        let _ = template.render(&row);
    }
});
