//! Flags of instructions.

use super::fault::Fault;
use super::statement::Statement;
use crate::engine::request::nearest::nearest;

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// One text.
    Text,
    /// Nothing, `true` or `false`.
    Bool,
    /// A text each time it is given.
    Texts,
}

/// The flags of one instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flags(Vec<(&'static str, String)>);

impl Flags {
    /// Reads those of a statement, of which these are known.
    ///
    /// # Errors
    /// One is unknown, there twice, or has a value that it does not take.
    pub fn of(statement: &Statement, known: &[(&'static str, Takes)]) -> Result<Flags, Fault> {
        let mut flags = Flags(Vec::new());
        for given in &statement.flags {
            let word = given.trim_start_matches("--");
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (word, None),
            };
            let fault = |says: String| Fault::new(statement.lines, says).at(format!("--{name}"));
            let Some((name, takes)) = known.iter().find(|(known, _)| *known == name) else {
                let written: Vec<_> = known.iter().map(|(name, _)| format!("--{name}")).collect();
                let meant = nearest(&format!("--{name}"), written.iter().map(String::as_str));
                return Err(fault(format!("unknown flag: --{name}")).meant(meant));
            };
            let value = match (takes, value) {
                (Takes::Bool, None) => "true",
                (Takes::Bool, Some(value @ ("true" | "false"))) => value,
                (Takes::Bool, Some(value)) => {
                    let says = format!("expecting boolean value for flag --{name}, not: {value}");
                    return Err(fault(says));
                }
                (_, None) => return Err(fault(format!("missing a value on flag: --{name}"))),
                (_, Some(value)) => value,
            };
            if *takes != Takes::Texts && flags.text(name).is_some() {
                return Err(fault(format!("duplicate flag specified: --{name}")));
            }
            flags.0.push((name, value.to_owned()));
        }
        Ok(flags)
    }

    /// The value of a flag that takes one text.
    pub fn text(&self, name: &str) -> Option<String> {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.clone())
    }

    /// Whether a flag was given, and not as false.
    pub fn is_on(&self, name: &str) -> bool {
        self.switch(name).unwrap_or(false)
    }

    /// What a flag was given as, if it was.
    pub fn switch(&self, name: &str) -> Option<bool> {
        self.text(name).map(|value| value == "true")
    }

    /// The values of a flag that may be there several times.
    pub fn texts(&self, name: &str) -> Vec<String> {
        let found = self.0.iter().filter(|(known, _)| *known == name);
        found.map(|(_, value)| value.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::dockerfile::statement::statements;

    fn read(line: &str) -> Result<Flags, Fault> {
        let known = [
            ("from", Takes::Text),
            ("link", Takes::Bool),
            ("exclude", Takes::Texts),
        ];
        Flags::of(&statements(line).unwrap().0[0], &known)
    }

    #[test]
    fn values() {
        let flags = read("COPY --from=a=b --link --exclude=x --exclude=y c d").unwrap();
        assert_eq!(flags.text("from").as_deref(), Some("a=b"));
        assert!(flags.is_on("link"));
        assert_eq!(flags.texts("exclude"), ["x", "y"]);
        assert_eq!(
            read("COPY --link=false a b").unwrap().switch("link"),
            Some(false)
        );
        assert_eq!(read("COPY a b").unwrap().switch("link"), None);
    }

    #[test]
    fn faults() {
        for (line, says) in [
            (
                "COPY --form=a b c",
                "unknown flag: --form (did you mean --from?)",
            ),
            ("COPY --wibble b c", "unknown flag: --wibble"),
            ("COPY --from b c", "missing a value on flag: --from"),
            (
                "COPY --from=a --from=b c d",
                "duplicate flag specified: --from",
            ),
            (
                "COPY --link=yes c d",
                "expecting boolean value for flag --link, not: yes",
            ),
            (
                "COPY --link= c d",
                "expecting boolean value for flag --link, not: ",
            ),
        ] {
            assert_eq!(read(line).unwrap_err().to_string(), says, "{line}");
        }
    }
}
