//! Parser directives: comments at the very top that say how to read the rest.

use super::fault::{Fault, Lines};

/// What the directives of a Dockerfile say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives {
    /// `# escape=`: what continues a line and takes the meaning from a character.
    pub escape: char,
    /// `# syntax=`: the frontend that the file asks for.
    pub syntax: Option<String>,
    /// `# check=`: which rules are not checked, and whether the others are errors.
    pub check: Option<String>,
}

impl Default for Directives {
    fn default() -> Directives {
        Directives {
            escape: '\\',
            syntax: None,
            check: None,
        }
    }
}

/// Reads directives line by line, until a line is none.
#[derive(Debug, Default)]
pub struct Reader {
    directives: Directives,
    escaped: bool,
    done: bool,
}

impl Reader {
    /// Takes the next line of the file, without its end; says whether it is one.
    ///
    /// # Errors
    /// A directive is there twice, or has a value that means nothing.
    pub fn line(&mut self, line: &str, number: usize) -> Result<bool, Fault> {
        if self.done {
            return Ok(false);
        }
        let Some((name, value)) = directive(line) else {
            self.done = true;
            return Ok(false);
        };
        let twice = match name.as_str() {
            "escape" => std::mem::replace(&mut self.escaped, true),
            "syntax" => self.directives.syntax.replace(value.to_owned()).is_some(),
            "check" => self.directives.check.replace(value.to_owned()).is_some(),
            _ => {
                self.done = true;
                return Ok(false);
            }
        };
        if twice {
            let text = format!("only one {name} parser directive can be used");
            return Err(Fault::new(Lines::one(number), text));
        }
        if name == "escape" {
            self.directives.escape = match value {
                "\\" => '\\',
                "`" => '`',
                _ => {
                    let text = format!("invalid escape '{value}': only \\ and ` can be it");
                    return Err(Fault::new(Lines::one(number), text).at(value));
                }
            };
        }
        Ok(true)
    }

    /// What they said.
    pub fn directives(&self) -> &Directives {
        &self.directives
    }
}

/// Name, in small letters, and value of `# name = value`.
fn directive(line: &str) -> Option<(String, &str)> {
    let (name, value) = line.strip_prefix('#')?.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    let mut letters = name.chars();
    let is_name =
        letters.next()?.is_ascii_alphabetic() && letters.all(|c| c.is_ascii_alphanumeric());
    (is_name && !value.is_empty()).then(|| (name.to_ascii_lowercase(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Directives, Fault> {
        let mut reader = Reader::default();
        for (line, number) in text.lines().zip(1..) {
            reader.line(line, number)?;
        }
        Ok(reader.directives)
    }

    #[test]
    fn directives_end_with_the_first_line_that_is_none() {
        let all =
            read("# syntax=docker/dockerfile:1\n#Escape = `\n# check=skip=all\nFROM a").unwrap();
        assert_eq!(all.syntax.as_deref(), Some("docker/dockerfile:1"));
        assert_eq!(all.escape, '`');
        assert_eq!(all.check.as_deref(), Some("skip=all"));
        for before in ["# hello", "# unknown=x", "", "FROM a", "# =x", "# escape="] {
            assert_eq!(
                read(&format!("{before}\n# escape=`")).unwrap().escape,
                '\\',
                "{before}"
            );
        }
    }

    #[test]
    fn faults_of_directives() {
        assert_eq!(
            read("# escape=`\n# escape=`").unwrap_err().text,
            "only one escape parser directive can be used"
        );
        assert!(
            read("# escape=x")
                .unwrap_err()
                .text
                .contains("invalid escape 'x'")
        );
    }
}
