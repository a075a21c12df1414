//! Comma-separated fields (RFC 4180), as `--mount` has them.

use crate::error::{demand, refuse};
use anyhow::Result;

/// The fields of one record: those in quotes may have commas and, doubled, quotes.
///
/// # Errors
/// A quote that is not closed, or not at the ends of its field.
pub fn fields(text: &str) -> Result<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut chars = text.chars().peekable();
    let mut start = true;
    while let Some(c) = chars.next() {
        let Some(field) = fields.last_mut() else {
            break;
        };
        match c {
            ',' => {
                fields.push(String::new());
                start = true;
                continue;
            }
            '"' if start => {
                loop {
                    match chars.next() {
                        Some('"') if chars.next_if_eq(&'"').is_some() => field.push('"'),
                        Some('"') => break,
                        Some(c) => field.push(c),
                        None => refuse!(Invalid, "a quote is not closed"),
                    }
                }
                demand!(
                    Invalid,
                    matches!(chars.peek(), None | Some(',')),
                    "something follows the quote behind '{field}'"
                );
            }
            '"' => refuse!(
                Invalid,
                "a quote within a field; the whole field is quoted, as \"source=/a,b\", and quotes \
                 in it are doubled"
            ),
            c => field.push(c),
        }
        start = false;
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_separated_as_in_csv() {
        for (text, wanted) in [
            ("a=1,b", &["a=1", "b"][..]),
            (r#""source=/a,b",c=d"#, &["source=/a,b", "c=d"]),
            (r#"x,"a=""q"",r""#, &["x", r#"a="q",r"#]),
            ("", &[""]),
            (r#""""#, &[""]),
        ] {
            assert_eq!(fields(text).unwrap(), wanted, "{text}");
        }
        for text in [r#""a"#, r#"a"b"#, r#""a"b"#, r#"source="/a,b""#] {
            assert!(fields(text).is_err(), "{text}");
        }
    }
}
