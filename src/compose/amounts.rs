//! Amounts as compose writes them: durations, bytes, commands in one string.

/// A duration in nanoseconds: numbers with `w`, `d`, `h`, `m`, `s`, `ms`, `us` or `ns`.
pub fn duration(text: &str) -> Result<i128, String> {
    let wrong = || format!("{text:?} is no duration: one like 1m30s, 10s or 500ms is");
    let (is_negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.');
        let (number, after) = rest.split_at(end.ok_or_else(|| {
            format!("{text:?} has a number without a unit: 1m30s, 10s or 500ms have one")
        })?);
        let end = after.find(|letter: char| letter.is_ascii_digit() || letter == '.');
        let (unit, after) = after.split_at(end.unwrap_or(after.len()));
        let scale: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60 * 1_000_000_000,
            "h" => 3600 * 1_000_000_000,
            "d" => 86400 * 1_000_000_000,
            "w" => 7 * 86400 * 1_000_000_000,
            _ => return Err(wrong()),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(wrong());
        }
        let whole: i128 = match whole {
            "" => 0,
            whole => whole.parse::<u32>().map_err(|_| wrong())?.into(),
        };
        let mut part = scale;
        total += whole * scale;
        for digit in fraction.bytes() {
            part /= 10;
            total += i128::from(digit - b'0') * part;
        }
        rest = after;
    }
    if total > i128::from(i64::MAX) {
        return Err(format!("{text:?} is too long"));
    }
    Ok(if is_negative { -total } else { total })
}

/// A duration as Go writes it.
pub fn show_duration(nanoseconds: i128) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let all = nanoseconds.unsigned_abs();
    let with = |unit: u128, name: &str| {
        let (whole, rest) = (all / unit, all % unit);
        let digits = unit.to_string().len() - 1;
        let fraction = format!("{rest:0digits$}");
        match fraction.trim_end_matches('0') {
            "" => format!("{sign}{whole}{name}"),
            fraction => format!("{sign}{whole}.{fraction}{name}"),
        }
    };
    match all {
        0 => "0s".into(),
        1..1_000 => with(1, "ns"),
        1_000..1_000_000 => with(1_000, "µs"),
        1_000_000..1_000_000_000 => with(1_000_000, "ms"),
        _ => {
            let seconds = all / 1_000_000_000;
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let rest = all - (seconds - seconds % 60) * 1_000_000_000;
            let fraction = format!("{:09}", rest % 1_000_000_000);
            let mut last = (rest / 1_000_000_000).to_string();
            let fraction = fraction.trim_end_matches('0');
            if !fraction.is_empty() {
                last = format!("{last}.{fraction}");
            }
            match (hours, minutes) {
                (0, 0) => format!("{sign}{last}s"),
                (0, _) => format!("{sign}{minutes}m{last}s"),
                _ => format!("{sign}{hours}h{minutes}m{last}s"),
            }
        }
    }
}

/// A command in one string, in words; and what was cut off of it: compose ends a command at the
/// first `;`, `&`, `|`, `<` or `>` that is in no quotes, and says nothing.
pub fn words(text: &str) -> Result<(Vec<String>, Option<&str>), String> {
    let wrong = || {
        format!(
            "{text:?} has a quote or a parenthesis without its other half; a list of words needs \
             none, and [sh, -c, \"…\"] takes all that a shell does"
        )
    };
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let (mut is_escaped, mut is_substitution, mut is_backquoted) = (false, false, false);
    let mut quote: Option<char> = None;
    let mut cut = None;
    for (at, letter) in text.char_indices() {
        if is_escaped {
            word.get_or_insert_default().push(letter);
            is_escaped = false;
            continue;
        }
        let is_bare = quote.is_none() && !is_substitution && !is_backquoted;
        match letter {
            '\\' if quote == Some('\'') => word.get_or_insert_default().push(letter),
            '\\' => is_escaped = true,
            ' ' | '\t' | '\r' | '\n' if is_bare => words.extend(word.take()),
            '`' if quote.is_none() && !is_substitution => {
                is_backquoted = !is_backquoted;
                word.get_or_insert_default().push(letter);
            }
            ')' if quote.is_none() && !is_backquoted => {
                is_substitution = !is_substitution;
                word.get_or_insert_default().push(letter);
            }
            '(' if quote.is_none() && !is_backquoted => {
                let is_opened = word.as_ref().is_some_and(|word| word.ends_with('$'));
                if is_substitution || !is_opened {
                    return Err(wrong());
                }
                is_substitution = true;
                word.get_or_insert_default().push(letter);
            }
            '"' | '\'' if quote == Some(letter) => quote = None,
            '"' | '\'' if quote.is_none() && !is_substitution => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            ';' | '&' | '|' | '<' | '>' if is_bare => {
                let is_number = |word: &String| word.starts_with(|c: char| c.is_ascii_digit());
                if letter == '>' && word.as_ref().is_some_and(is_number) {
                    word = None;
                }
                cut = Some(&text[at..]);
                break;
            }
            letter => word.get_or_insert_default().push(letter),
        }
    }
    if is_escaped || is_substitution || is_backquoted || quote.is_some() {
        return Err(wrong());
    }
    words.extend(word);
    Ok((words, cut))
}
