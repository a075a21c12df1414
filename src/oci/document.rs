//! `config.json` as others write it. The crate refuses some of what a runtime has
//! to pass over, and does not tell some things apart; so the document is looked at
//! first. Pure.

use oci_spec::runtime::{Capability, Process, Spec};
use serde::de::DeserializeOwned;
use serde_json::{Error, Value, json};

/// A specification, and what of it is passed over, in words.
///
/// # Errors
/// It is none.
pub fn spec(text: &[u8]) -> Result<(Spec, Vec<String>), Error> {
    read(text, |document| {
        pids(document);
        let process = document.get_mut("process");
        process.map(capabilities).unwrap_or_default()
    })
}

/// The specification of a process by itself, likewise.
///
/// # Errors
/// It is none.
pub fn process(text: &[u8]) -> Result<(Process, Vec<String>), Error> {
    read(text, capabilities)
}

fn read<T: DeserializeOwned>(
    text: &[u8],
    adapt: impl FnOnce(&mut Value) -> Vec<String>,
) -> Result<(T, Vec<String>), Error> {
    let written: Value = serde_json::from_slice(text)?;
    let mut adapted = written.clone();
    let warnings = adapt(&mut adapted);
    let read = match adapted == written {
        // Which says in what line something is wrong.
        true => serde_json::from_slice(text),
        false => serde_json::from_value(adapted),
    };
    Ok((read?, warnings))
}

/// Takes capabilities out that are not known here: who has never heard of one
/// cannot grant it (runtime-spec, config.md, "Linux Process").
fn capabilities(process: &mut Value) -> Vec<String> {
    let mut unknown = Vec::new();
    let sets = process
        .get_mut("capabilities")
        .and_then(Value::as_object_mut);
    for set in sets.into_iter().flat_map(|sets| sets.values_mut()) {
        let Some(names) = set.as_array_mut() else {
            continue;
        };
        names.retain(|name| {
            let known = serde_json::from_value::<Capability>(name.clone()).is_ok();
            if let (false, Some(name)) = (known, name.as_str())
                && !unknown.contains(&name.to_owned())
            {
                unknown.push(name.to_owned());
            }
            known || !name.is_string()
        });
    }
    let warn = |name: String| format!("process.capabilities: {name} is not known and not granted");
    unknown.into_iter().map(warn).collect()
}

/// A limit of 0 is one (runtime-spec 1.3): the first process and no other. Without
/// a limit there is none, which the crate takes for 0.
fn pids(document: &mut Value) {
    let Some(resources) = document.pointer_mut("/linux/resources") else {
        return;
    };
    match resources.get("pids").map(|pids| pids.get("limit")) {
        Some(Some(limit)) if *limit == json!(0) => resources["pids"]["limit"] = json!(1),
        Some(None | Some(Value::Null)) => {
            resources.as_object_mut().map(|all| all.remove("pids"));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(pids: Value) -> Option<i64> {
        let text = json!({"ociVersion": "1.3.0", "linux": {"resources": {"pids": pids}}});
        let (spec, _) = spec(text.to_string().as_bytes()).unwrap();
        let resources = spec.linux().as_ref()?.resources().clone()?;
        resources.pids().map(|pids| pids.limit())
    }

    #[test]
    fn no_limit_is_none_and_0_is_one() {
        assert_eq!(limit(json!({"limit": 0})), Some(1));
        assert_eq!(limit(json!({"limit": 7})), Some(7));
        assert_eq!(limit(json!({"limit": -1})), Some(-1));
        assert_eq!(limit(json!({})), None);
        assert_eq!(limit(json!(null)), None);
    }

    #[test]
    fn unknown_capabilities_are_told_once_and_others_kept() {
        let text = json!({"user": {"uid": 0, "gid": 0}, "args": ["sh"], "cwd": "/",
            "capabilities": {"bounding": ["CAP_NOPE", "CAP_KILL"], "effective": ["CAP_NOPE"]}});
        let (process, warnings) = process(text.to_string().as_bytes()).unwrap();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("CAP_NOPE"));
        let sets = process.capabilities().clone().unwrap();
        assert_eq!(sets.bounding().as_ref().unwrap().len(), 1);
        assert!(sets.effective().as_ref().unwrap().is_empty());
    }

    #[test]
    fn whatever_a_file_holds_nothing_panics() {
        for text in [
            "",
            "null",
            "3",
            "[]",
            "{}",
            r#"{"process":3,"linux":[]}"#,
            r#"{"process":{"capabilities":{"bounding":[1,{}]}},"linux":{"resources":3}}"#,
            r#"{"linux":{"resources":{"pids":3}}}"#,
            r#"{"linux":{"resources":{"pids":{"limit":null}}}}"#,
        ] {
            let _ = (spec(text.as_bytes()), process(text.as_bytes()));
        }
        let said = spec(b"{\n\"ociVersion\": 3}").unwrap_err().to_string();
        assert!(said.contains("line 2"), "{said}");
    }
}
