//! What a word without quotes means: as compose reads it, which is neither YAML 1.1 nor 1.2.

use super::node::Value;

/// The value of a plain scalar.
pub fn resolve(word: &str) -> Value {
    match word {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Value::Float(f64::INFINITY);
        }
        "-.inf" | "-.Inf" | "-.INF" => return Value::Float(f64::NEG_INFINITY),
        _ => {}
    }
    number(word).unwrap_or_else(|| match is_time(word) {
        true => Value::Time(word.to_owned()),
        false => Value::Text(word.to_owned()),
    })
}

/// The number that a word is.
fn number(word: &str) -> Option<Value> {
    if !word.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first)) {
        return None;
    }
    let plain = word.replace('_', "");
    if let Some(number) = whole(&plain) {
        return Some(number);
    }
    let unsigned = plain.strip_prefix(['+', '-']).unwrap_or(&plain);
    let (digits, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (before, after) = digits.split_once('.').unwrap_or((digits, ""));
    let exponent = exponent.map(|text| text.strip_prefix(['+', '-']).unwrap_or(text));
    let is_number = is_digits(before)
        && is_digits(after)
        && !(before.is_empty() && after.is_empty())
        && exponent.is_none_or(|text| !text.is_empty() && is_digits(text));
    if !is_number {
        return None;
    }
    let number: f64 = plain.parse().ok()?;
    number.is_finite().then_some(Value::Float(number))
}

/// A whole number, of which prefixes say the base.
fn whole(plain: &str) -> Option<Value> {
    let (is_negative, digits) = match plain.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, plain.strip_prefix('+').unwrap_or(plain)),
    };
    let (base, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let number = i128::from(u64::from_str_radix(digits, base).ok()?);
    let number = if is_negative { -number } else { number };
    Some(match i64::try_from(number) {
        Ok(number) => Value::Int(number),
        // Nothing takes so much; it is shown as it is written.
        Err(_) if is_negative => return None,
        Err(_) => Value::Text(number.to_string()),
    })
}

/// Whether a word is a date, or a date with a time.
fn is_time(word: &str) -> bool {
    let date_ends = word.find(['T', 't', ' ']).unwrap_or(word.len());
    let (date, time) = word.split_at(date_ends);
    let parts: Vec<&str> = date.split('-').collect();
    let [year, month, day] = parts[..] else {
        return false;
    };
    let within = |text: &str, least: u32, most: u32| {
        let is_short = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        is_short && text.parse().is_ok_and(|n| (least..=most).contains(&n))
    };
    let is_year = year.len() == 4 && year.bytes().all(|b| b.is_ascii_digit());
    let year: u32 = match year.parse() {
        Ok(year) if is_year => year,
        _ => return false,
    };
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let last = match month.trim_start_matches('0') {
        "2" => 28 + u32::from(is_leap),
        "4" | "6" | "9" | "11" => 30,
        _ => 31,
    };
    if !within(month, 1, 12) || !within(day, 1, last) {
        return false;
    }
    let Some(kind) = time.chars().next() else {
        return true;
    };
    let time = &time[1..];
    let zone_starts = time.find(['Z', '+', '-']);
    let (clock, zone) = time.split_at(zone_starts.unwrap_or(time.len()));
    let clock: Vec<&str> = clock.split(':').collect();
    let [hours, minutes, seconds] = clock[..] else {
        return false;
    };
    let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let is_zone = match zone.as_bytes() {
        b"Z" => kind != ' ',
        [b'+' | b'-', rest @ ..] => {
            kind != ' ' && rest.len() == 5 && rest[2] == b':' && zone[1..3].parse::<u8>().is_ok()
        }
        _ => zone.is_empty() && kind == ' ',
    };
    within(hours, 0, 23)
        && within(minutes, 0, 59)
        && within(seconds, 0, 59)
        && !fraction.is_empty()
        && fraction.bytes().all(|b| b.is_ascii_digit())
        && is_zone
}

/// A number as Go's `%v` has it: with an exponent from a million on.
pub fn float(number: f64) -> String {
    shortest(&format!("{number:e}"), number)
}

/// One of half the precision, so.
pub fn float32(number: f32) -> String {
    shortest(&format!("{number:e}"), f64::from(number))
}

/// The digits and the exponent of a number, laid out.
fn shortest(text: &str, number: f64) -> String {
    if number.is_nan() {
        return "NaN".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.into();
    }
    let Some((digits, exponent)) = text.split_once('e') else {
        return text.to_owned();
    };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let sign = if digits.starts_with('-') { "-" } else { "" };
    let digits: String = digits.chars().filter(char::is_ascii_digit).collect();
    if !(-4..6).contains(&exponent) {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        let mark = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{first}{point}{rest}e{mark}{:02}", exponent.abs());
    }
    let zeros = |count: usize| "0".repeat(count);
    if exponent < 0 {
        let before = zeros(exponent.unsigned_abs() as usize - 1);
        return format!("{sign}0.{before}{digits}");
    }
    let whole = exponent as usize + 1;
    if digits.len() <= whole {
        return format!("{sign}{digits}{}", zeros(whole - digits.len()));
    }
    format!("{sign}{}.{}", &digits[..whole], &digits[whole..])
}
