//! The statements of a Dockerfile: its lines put together, without comments, each with
//! its keyword, its flags and its heredocs.

use super::directive::{Directives, Reader};
use super::fault::{Fault, Lines};
use super::heredoc::Heredoc;
use super::words::{self, List};

/// The longest line, in bytes; BuildKit's.
const MAX_LINE: usize = 65_535;

/// The longest file, in bytes.
pub const MAX_FILE: usize = 4 << 20;

/// One instruction as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Where it is, heredocs included.
    pub lines: Lines,
    /// Its lines as one.
    pub text: String,
    /// The first word.
    pub keyword: String,
    /// `--NAME[=VALUE]…`, without quotes.
    pub flags: Vec<String>,
    /// What follows them.
    pub rest: String,
    /// Its heredocs, with their content.
    pub heredocs: Vec<Heredoc>,
    /// The comments right above it.
    pub comments: Vec<String>,
    /// A line of it that continues is empty.
    pub has_empty_line: bool,
}

/// The statements of a Dockerfile, and what its directives say.
///
/// # Errors
/// It is too long or has too long a line, has a directive that is wrong, a heredoc or a
/// quote that does not end, or no instruction at all.
pub fn statements(text: &str) -> Result<(Vec<Statement>, Directives), Fault> {
    if text.len() > MAX_FILE {
        let text = format!("it has {} bytes: {MAX_FILE} are the most", text.len());
        return Err(Fault::new(Lines::one(1), text));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.split_inclusive('\n').zip(1..);
    let mut directives = Reader::default();
    let mut statements = Vec::new();
    let mut comments = Vec::new();
    while let Some((line, number)) = lines.next() {
        let line = short(line, number)?.trim_start();
        if directives.line(line, number)? {
            continue;
        }
        if let Some(comment) = line.strip_prefix('#') {
            comments.push(comment.trim().to_owned());
            continue;
        }
        let comments = std::mem::take(&mut comments);
        let escape = directives.directives().escape;
        let (begun, mut continues) = continued(line, escape);
        if begun.is_empty() && !continues {
            continue;
        }
        let mut text = begun.to_owned();
        let mut at = Lines::one(number);
        let mut has_empty_line = false;
        while continues {
            let Some((line, number)) = lines.next() else {
                break;
            };
            let line = short(line, number)?;
            at.last = number;
            match line.trim_start() {
                "" => has_empty_line = true,
                comment if comment.starts_with('#') => {}
                _ => {
                    let (more, further) = continued(line, escape);
                    text.push_str(more);
                    continues = further;
                }
            }
        }
        let mut heredocs = match takes_heredocs(&text) {
            true => Heredoc::of_line(&text),
            false => Vec::new(),
        };
        for heredoc in &mut heredocs {
            loop {
                let Some((line, number)) = lines.next() else {
                    let says = format!("unterminated heredoc: no line is {} alone", heredoc.name);
                    return Err(Fault::new(at, says).at(&heredoc.name));
                };
                let bare = short(line, number)?;
                at.last = number;
                if heredoc.ends_with(bare) {
                    break;
                }
                heredoc.content.push_str(line);
            }
        }
        let (keyword, flags, rest) = words::instruction(&text);
        statements.push(Statement {
            lines: at,
            keyword: keyword.to_owned(),
            flags,
            rest: rest.to_owned(),
            text,
            heredocs,
            comments,
            has_empty_line,
        });
    }
    if statements.is_empty() {
        return Err(Fault::new(Lines::one(1), "file with no instructions"));
    }
    Ok((statements, directives.directives().clone()))
}

/// A line without its end.
fn short(line: &str, number: usize) -> Result<&str, Fault> {
    if line.len() > MAX_LINE {
        let says = format!("dockerfile line greater than maximum allowed size of {MAX_LINE}");
        return Err(Fault::new(Lines::one(number), says));
    }
    Ok(line.trim_end_matches(['\r', '\n']))
}

/// A line without what continues it, and whether it is continued: it ends with one
/// escape character, blanks aside, and not with two.
fn continued(line: &str, escape: char) -> (&str, bool) {
    let end = line.trim_end_matches([' ', '\t']);
    match end.strip_suffix(escape) {
        Some(before) if !before.ends_with(escape) => (before, true),
        _ => (line, false),
    }
}

/// Whether an instruction may have heredocs: RUN, COPY and ADD, also behind ONBUILD,
/// not in the form of JSON.
fn takes_heredocs(line: &str) -> bool {
    let (keyword, _, rest) = words::instruction(line);
    match keyword.to_ascii_lowercase().as_str() {
        "run" | "copy" | "add" => !matches!(words::json(rest), List::Strings(_)),
        "onbuild" => {
            let (inner, ..) = words::instruction(rest);
            !inner.eq_ignore_ascii_case("onbuild") && takes_heredocs(rest)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(file: &str) -> Vec<(usize, usize, String)> {
        let (statements, _) = statements(file).unwrap();
        let told = |s: Statement| (s.lines.first, s.lines.last, s.text);
        statements.into_iter().map(told).collect()
    }

    #[test]
    fn lines_are_put_together() {
        let file = "\u{feff}  FROM a\r\n\n# c\n   RUN b \\\n  c\\ \n\n # d\n  e\nRUN f \\\\\nRUN g";
        assert_eq!(
            texts(file),
            [
                (1, 1, "FROM a".to_owned()),
                (4, 8, "RUN b   c  e".to_owned()),
                (9, 9, r"RUN f \\".to_owned()),
                (10, 10, "RUN g".to_owned()),
            ]
        );
        let (all, _) = statements(file).unwrap();
        assert_eq!(all[1].comments, ["c"]);
        assert!(all[1].has_empty_line && !all[0].has_empty_line);
        assert_eq!(
            texts("# escape=`\nFROM a `\nb"),
            [(2, 3, "FROM a b".to_owned())]
        );
    }

    #[test]
    fn heredocs_have_their_lines() {
        let file = "RUN a <<A <<-'B'\n1\nA\n\t2\n\tB\nONBUILD COPY <<C /c\n3\nC\nRUN [\"a\"] <<D\nCMD <<E\n";
        let (all, _) = statements(file).unwrap();
        let told = |s: &Statement| {
            let content = s.heredocs.iter().map(|h| h.content.clone());
            (s.lines.last, content.collect::<Vec<_>>())
        };
        let contents: Vec<_> = all.iter().map(told).collect();
        let owned = |texts: &[&str]| texts.iter().map(|&t| t.to_owned()).collect::<Vec<_>>();
        assert_eq!(
            contents,
            [
                (5, owned(&["1\n", "\t2\n"])),
                (8, owned(&["3\n"])),
                (9, owned(&[])),
                (10, owned(&[])),
            ]
        );
    }

    #[test]
    fn faults() {
        for (file, says) in [
            ("", "file with no instructions"),
            ("\n# x\n", "file with no instructions"),
            (
                "FROM a\nRUN <<E\nx\n",
                "unterminated heredoc: no line is E alone",
            ),
        ] {
            assert_eq!(statements(file).unwrap_err().text, says, "{file}");
        }
        let long = format!("FROM a\nRUN {}\n", "x".repeat(MAX_LINE));
        let fault = statements(&long).unwrap_err();
        assert_eq!(fault.lines, Lines::one(2));
        assert!(statements(&"# x\n".repeat(MAX_FILE / 4 + 1)).is_err());
    }
}
