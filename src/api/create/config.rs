//! What of a container an image could say as well: docker's `Config`. Pure, but for
//! looks that the engine's own readers of requests take.

use super::Take::{By, Nothing};
use super::values::{each, flag, list, member, number, object, pairs, some_text, text};
use super::{Draft, Key, for_each};
use crate::engine::request::health::HealthCommand;
use crate::engine::request::{names, publish};
use crate::error::refuse;
use anyhow::{Context, Result};
use serde_json::Value;
use std::time::Duration;

/// All keys.
pub(super) const KEYS: &[Key] = &[
    ("ArgsEscaped", Nothing),
    // Whoever attaches says what he wants.
    ("AttachStderr", Nothing),
    ("AttachStdin", Nothing),
    ("AttachStdout", Nothing),
    (
        "Cmd",
        By(|d, v| {
            d.options.command = each(v)?;
            Ok(())
        }),
    ),
    (
        "Domainname",
        By(|d, v| {
            d.options.domainname = some_text(v)?.map(str::to_owned);
            Ok(())
        }),
    ),
    (
        "Entrypoint",
        By(|d, v| {
            let words = each(v)?;
            // An empty word is none.
            let none = matches!(words.as_slice(), [word] if word.is_empty());
            d.options.entrypoint = Some(if none { Vec::new() } else { words });
            Ok(())
        }),
    ),
    ("Env", By(env)),
    (
        "ExposedPorts",
        By(|d, v| {
            for port in object(v)?.keys() {
                d.options.exposed.extend(publish::exposed(port)?);
            }
            Ok(())
        }),
    ),
    ("Healthcheck", By(health)),
    (
        "Hostname",
        By(|d, v| {
            let name = some_text(v)?;
            name.map(names::hostname).transpose()?;
            d.options.hostname = name.map(str::to_owned);
            Ok(())
        }),
    ),
    (
        "Image",
        By(|d, v| {
            d.image = text(v)?.to_owned();
            Ok(())
        }),
    ),
    (
        "Labels",
        By(|d, v| {
            d.options.labels = pairs(v)?;
            Ok(())
        }),
    ),
    (
        "MacAddress",
        By(|d, v| {
            d.networking.mac = some_text(v)?.map(str::to_owned);
            Ok(())
        }),
    ),
    (
        "NetworkDisabled",
        By(|d, v| {
            d.networking.disabled = flag(v)?;
            Ok(())
        }),
    ),
    // For builds.
    ("OnBuild", Nothing),
    (
        "OpenStdin",
        By(|d, v| {
            d.options.interactive = flag(v)?;
            Ok(())
        }),
    ),
    ("Shell", Nothing),
    (
        "StdinOnce",
        By(|d, v| {
            d.options.keeping.input_once = flag(v)?;
            Ok(())
        }),
    ),
    (
        "StopSignal",
        By(|d, v| {
            d.options.stop_signal = some_text(v)?.map(str::parse).transpose()?;
            Ok(())
        }),
    ),
    (
        "StopTimeout",
        By(|d, v| {
            let seconds = number(v)?;
            // Less than none is for ever.
            let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
            d.options.keeping.stop_timeout = Some(seconds);
            Ok(())
        }),
    ),
    (
        "Tty",
        By(|d, v| {
            d.options.tty = flag(v)?;
            Ok(())
        }),
    ),
    (
        "User",
        By(|d, v| {
            d.options.user = some_text(v)?.map(str::parse).transpose()?;
            Ok(())
        }),
    ),
    (
        "Volumes",
        By(|d, v| {
            d.volumes = object(v)?.keys().cloned().collect();
            Ok(())
        }),
    ),
    (
        "WorkingDir",
        By(|d, v| {
            d.options.workdir = some_text(v)?.map(str::to_owned);
            Ok(())
        }),
    ),
];

/// Variables; one without a value takes that of the image away.
fn env(draft: &mut Draft, value: &Value) -> Result<()> {
    for_each(value, |variable| {
        let (name, value) = match variable.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (variable, None),
        };
        if name.is_empty() {
            refuse!(Invalid, "invalid environment variable: {variable}");
        }
        draft.options.env.push((name.to_owned(), value));
        Ok(())
    })
}

fn health(draft: &mut Draft, value: &Value) -> Result<()> {
    let health = &mut draft.options.health;
    let test = each(member(value, "Test").unwrap_or(&Value::Null)).context("Test")?;
    let words: Vec<&str> = test.iter().map(String::as_str).collect();
    match words.as_slice() {
        // The image's.
        [] => {}
        ["NONE"] => health.off = true,
        ["CMD-SHELL", line] => health.command = Some(HealthCommand::Shell((*line).to_owned())),
        ["CMD", words @ ..] if !words.is_empty() => {
            let words = words.iter().map(|word| (*word).to_owned());
            health.command = Some(HealthCommand::Words(words.collect()));
        }
        _ => refuse!(
            Invalid,
            "Test: there are [\"NONE\"], [\"CMD\", WORD, …] and [\"CMD-SHELL\", LINE]"
        ),
    }
    for (key, place) in [
        ("Interval", &mut health.interval),
        ("Timeout", &mut health.timeout),
        ("StartPeriod", &mut health.start_period),
        ("StartInterval", &mut health.start_interval),
    ] {
        let Some(value) = member(value, key) else {
            continue;
        };
        let nanoseconds = u64::try_from(number(value).context(key)?).ok();
        let time = nanoseconds.map(Duration::from_nanos);
        let long = |time: &Duration| time.is_zero() || *time >= Duration::from_millis(1);
        let Some(time) = time.filter(long) else {
            refuse!(Invalid, "{key}: it cannot be less than 1ms");
        };
        *place = (!time.is_zero()).then_some(time);
    }
    if let Some(retries) = member(value, "Retries") {
        let Ok(retries) = u32::try_from(number(retries).context("Retries")?) else {
            refuse!(Invalid, "Retries: it cannot be negative");
        };
        health.retries = (retries != 0).then_some(retries);
    }
    Ok(())
}

/// A pair of numbers, as rows and columns; nothing where one is 0.
pub(super) fn size(value: &Value) -> Result<Option<(u16, u16)>> {
    let numbers = list(value)?
        .iter()
        .map(number)
        .collect::<Result<Vec<_>>>()?;
    let part = |at: usize| numbers.get(at).and_then(|n| u16::try_from(*n).ok());
    let both = part(0).zip(part(1));
    Ok(both.filter(|(rows, columns)| *rows != 0 && *columns != 0))
}
