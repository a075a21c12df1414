//! `--chmod`: modes as numbers and as chmod(1) writes them. Pure.

/// A change of modes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chmod {
    /// They are this.
    Octal(u32),
    /// They are changed by these, in order.
    Symbolic(Vec<Clause>),
}

/// One part of a symbolic mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clause {
    /// The bits of those it is about: owner, group, others.
    who: u32,
    /// `+`, `-` or `=`.
    how: char,
    /// Read, write and execute, as of others.
    bits: u32,
    /// `X`: execute where it is a directory or somebody may execute it.
    execute_if: bool,
    /// `s`.
    set_id: bool,
    /// `t`.
    sticky: bool,
}

impl Chmod {
    /// Reads a value of the flag.
    ///
    /// # Errors
    /// It is no mode.
    pub fn parse(text: &str) -> Result<Chmod, String> {
        let wrong = || {
            format!(
                "invalid chmod parameter: '{text}': it should be octal string and between 0 and \
                 07777, or as chmod writes it (u=rwX,go=rX)"
            )
        };
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let mode = u32::from_str_radix(text, 8)
                .ok()
                .filter(|mode| *mode <= 0o7777);
            return mode.map(Chmod::Octal).ok_or_else(wrong);
        }
        let mut clauses = Vec::new();
        for part in text.split(',') {
            let at = part.find(['+', '-', '=']).ok_or_else(wrong)?;
            let mut who = 0;
            for c in part[..at].chars() {
                who |= match c {
                    'u' => 0o4700,
                    'g' => 0o2070,
                    'o' => 0o1007,
                    'a' => 0o7777,
                    _ => return Err(wrong()),
                };
            }
            let mut clause = Clause {
                who: if who == 0 { 0o7777 } else { who },
                how: '=',
                bits: 0,
                execute_if: false,
                set_id: false,
                sticky: false,
            };
            // There may be several of them behind one another: u+r-w.
            let mut open = false;
            for c in part[at..].chars() {
                match c {
                    '+' | '-' | '=' => {
                        if std::mem::replace(&mut open, true) {
                            clauses.push(clause);
                        }
                        clause = Clause {
                            how: c,
                            bits: 0,
                            execute_if: false,
                            set_id: false,
                            sticky: false,
                            ..clause
                        };
                    }
                    'r' => clause.bits |= 4,
                    'w' => clause.bits |= 2,
                    'x' => clause.bits |= 1,
                    'X' => clause.execute_if = true,
                    's' => clause.set_id = true,
                    't' => clause.sticky = true,
                    _ => return Err(wrong()),
                }
            }
            clauses.push(clause);
        }
        Ok(Chmod::Symbolic(clauses))
    }

    /// What a mode becomes.
    pub fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        let clauses = match self {
            Chmod::Octal(mode) => return *mode,
            Chmod::Symbolic(clauses) => clauses,
        };
        let mut mode = mode;
        for clause in clauses {
            let execute = clause.execute_if && (is_directory || mode & 0o111 != 0);
            let one = clause.bits | u32::from(execute);
            let mut bits = one * 0o111;
            if clause.set_id {
                bits |= 0o6000;
            }
            if clause.sticky {
                bits |= 0o1000;
            }
            let bits = bits & clause.who;
            match clause.how {
                '+' => mode |= bits,
                '-' => mode &= !bits,
                _ => mode = mode & !(clause.who & 0o777) | bits,
            }
        }
        mode & 0o7777
    }
}

#[cfg(test)]
mod tests {
    use super::Chmod;

    #[test]
    fn modes() {
        for (text, before, is_directory, after) in [
            ("640", 0o755, true, 0o640),
            ("u+x", 0o644, false, 0o744),
            ("a=rX,u+w", 0o644, false, 0o644),
            ("a=rX,u+w", 0o700, true, 0o755),
            ("go-rwx", 0o755, false, 0o700),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u+r-w", 0o200, false, 0o400),
            ("u+s,+t", 0o755, false, 0o5755),
            ("+x", 0o644, false, 0o755),
            ("o=", 0o777, false, 0o770),
        ] {
            let chmod = Chmod::parse(text).unwrap();
            assert_eq!(
                chmod.apply(before, is_directory),
                after,
                "{text} {before:o}"
            );
        }
        for text in ["", "8", "17777", "u", "u+q", "q+r", "u+r,,"] {
            assert!(Chmod::parse(text).is_err(), "{text:?}");
        }
    }
}
