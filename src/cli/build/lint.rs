//! What the linter has to say, for people and for programs.

use crate::build::dockerfile::fault::excerpt;
use crate::build::lint::Warning;
use serde_json::json;

/// Where the rules are explained.
const RULES: &str = "https://docs.docker.com/go/dockerfile/rule/";

/// The part of a rule's address that is its own: `FromAsCasing` is `from-as-casing`.
fn page(rule: &str) -> String {
    let mut page = String::new();
    let mut before = '-';
    let mut letters = rule.chars().peekable();
    while let Some(c) = letters.next() {
        let begins = before.is_lowercase() || letters.peek().is_some_and(|n| n.is_lowercase());
        if c.is_uppercase() && before != '-' && begins {
            page.push('-');
        }
        page.push(c.to_ascii_lowercase());
        before = c;
    }
    page
}

/// What is told of all.
pub fn report(warnings: &[Warning], name: &str, text: &str) -> String {
    let mut report = match warnings.len() {
        0 => "Check complete, no warnings found.\n".to_owned(),
        1 => "Check complete, 1 warning has been found!\n".to_owned(),
        count => format!("Check complete, {count} warnings have been found!\n"),
    };
    for warning in warnings {
        let rule = warning.rule.name();
        report += &format!(
            "\nWARNING: {rule} - {RULES}{}/\n{}\n",
            page(rule),
            warning.text
        );
        report += &format!("{name}:{}\n", warning.lines.first);
        report += &excerpt(text, warning.lines, None);
    }
    report
}

/// As BuildKit's frontend answers to `lint`.
pub fn json(warnings: &[Warning]) -> String {
    let warning = |warning: &Warning| {
        let rule = warning.rule.name();
        let place = |line: usize| json!({"line": line, "character": 0});
        json!({
            "ruleName": rule,
            "description": warning.rule.description(),
            "url": format!("{RULES}{}/", page(rule)),
            "detail": warning.text,
            "location": {"ranges": [{
                "start": place(warning.lines.first),
                "end": place(warning.lines.last),
            }]},
        })
    };
    json!({"warnings": warnings.iter().map(warning).collect::<Vec<_>>()}).to_string()
}

/// One line each, for who built and did not ask.
pub fn brief(warnings: &[Warning]) -> String {
    let mut brief = match warnings.len() {
        0 => return String::new(),
        1 => "\n 1 warning found (bryo build --check shows where):".to_owned(),
        count => format!("\n {count} warnings found (bryo build --check shows where):"),
    };
    for warning in warnings {
        let (rule, line) = (warning.rule.name(), warning.lines.first);
        brief += &format!("\n - {rule}: {} (line {line})", warning.text);
    }
    brief
}

#[cfg(test)]
mod tests {
    use super::page;

    #[test]
    fn addresses_of_rules() {
        for (rule, address) in [
            ("FromAsCasing", "from-as-casing"),
            ("JSONArgsRecommended", "json-args-recommended"),
            ("UndefinedVar", "undefined-var"),
        ] {
            assert_eq!(page(rule), address);
        }
    }
}
