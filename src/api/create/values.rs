//! Values of JSON as what they have to be. Pure.

use crate::error::{Kind, refuse};
use anyhow::{Context, Result};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// An object; what is null is an empty one.
pub fn object(value: &Value) -> Result<&Map<String, Value>> {
    static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    match value {
        Value::Object(object) => Ok(object),
        Value::Null => Ok(&NONE),
        _ => refuse!(Invalid, "an object is wanted"),
    }
}

/// A text.
pub fn text(value: &Value) -> Result<&str> {
    value.as_str().with_context(|| wanted("a text"))
}

/// A text, unless it is empty.
pub fn some_text(value: &Value) -> Result<Option<&str>> {
    Ok(Some(text(value)?).filter(|text| !text.is_empty()))
}

/// Yes or no.
pub fn flag(value: &Value) -> Result<bool> {
    value.as_bool().with_context(|| wanted("true or false"))
}

/// A whole number.
pub fn number(value: &Value) -> Result<i64> {
    value.as_i64().with_context(|| wanted("a whole number"))
}

/// A number that is not negative; nothing for 0, which says as much.
pub fn amount(value: &Value) -> Result<Option<u64>> {
    let number = value.as_u64();
    let number = number.with_context(|| wanted("a number that is not negative"))?;
    Ok(Some(number).filter(|number| *number != 0))
}

/// A list; what is null is an empty one.
pub fn list(value: &Value) -> Result<&[Value]> {
    match value {
        Value::Array(list) => Ok(list),
        Value::Null => Ok(&[]),
        _ => refuse!(Invalid, "a list is wanted"),
    }
}

/// The texts of a list, or one alone, which docker takes where it wants words.
pub fn each(value: &Value) -> Result<Vec<String>> {
    if let Value::String(text) = value {
        return Ok(vec![text.clone()]);
    }
    list(value)?
        .iter()
        .map(|item| Ok(text(item)?.to_owned()))
        .collect()
}

/// Texts by name.
pub fn pairs(value: &Value) -> Result<BTreeMap<String, String>> {
    let pair = |(key, value): (&String, &Value)| match value {
        Value::Null => Ok((key.clone(), String::new())),
        value => Ok((
            key.clone(),
            text(value).with_context(|| key.clone())?.to_owned(),
        )),
    };
    object(value)?.iter().map(pair).collect()
}

/// The member of an object, unless it is null or not there.
pub fn member<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    value.get(key).filter(|value| !value.is_null())
}

/// Whether it asks for anything.
pub fn says_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Number(number) => !matches!(number.as_i64(), Some(0 | -1)),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(object) => !object.is_empty(),
        Value::Bool(true) => true,
    }
}

fn wanted(what: &str) -> crate::error::Said {
    Kind::Invalid.says(format!("{what} is wanted"))
}
