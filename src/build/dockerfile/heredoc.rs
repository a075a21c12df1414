//! Heredocs: `<<NAME` in RUN, COPY and ADD, and the lines up to that name.

use super::expand::{Expander, Keeping};

/// A heredoc.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The word that ends it.
    pub name: String,
    /// `3<<NAME`: the descriptor that RUN would read it from.
    pub descriptor: u32,
    /// `<<-NAME`: tabs at the start of its lines are none of its content.
    pub strips_tabs: bool,
    /// The name is not quoted: variables count in it.
    pub expands: bool,
    /// Its lines, with their ends.
    pub content: String,
}

impl Heredoc {
    /// Reads a word of an instruction as the start of a heredoc.
    pub fn of_word(word: &str) -> Option<Heredoc> {
        let (descriptor, rest) = word.split_once("<<")?;
        if !descriptor.chars().all(|c| c.is_ascii_digit()) {
            return None;
        }
        let (strips_tabs, rest) = match rest.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        if rest.is_empty() || rest.contains('<') {
            return None;
        }
        let expand = |keeps_quotes| {
            let expander = Expander {
                escape: '\\',
                value: &|_| None,
                keeping: Keeping {
                    keeps_quotes,
                    keeps_unset: true,
                    ..Keeping::default()
                },
            };
            let words = expander.expand(rest).ok()?.words;
            <[String; 1]>::try_from(words).ok().map(|[word]| word)
        };
        let name = expand(false)?;
        Some(Heredoc {
            expands: expand(true)? == name,
            descriptor: match descriptor {
                "" => 0,
                number => number.parse().ok()?,
            },
            name,
            strips_tabs,
            content: String::new(),
        })
    }

    /// Those that the words of a line start, without content; none where its quotes do
    /// not end.
    pub fn of_line(line: &str) -> Vec<Heredoc> {
        if !line.contains("<<") {
            return Vec::new();
        }
        let expander = Expander {
            escape: '\\',
            value: &|_| None,
            keeping: Keeping {
                keeps_quotes: true,
                keeps_unset: true,
                ..Keeping::default()
            },
        };
        let words = expander.expand(line).map(|expanded| expanded.words);
        let words = words.unwrap_or_default();
        words.iter().filter_map(|w| Heredoc::of_word(w)).collect()
    }

    /// Whether a line, without its end, is what ends it.
    pub fn ends_with(&self, line: &str) -> bool {
        let line = match self.strips_tabs {
            true => line.trim_start_matches('\t'),
            false => line,
        };
        line == self.name
    }

    /// The content as who reads it gets it, before variables are put in.
    pub fn text(&self) -> String {
        let lines = self.content.split_inclusive('\n');
        match self.strips_tabs {
            true => lines.map(|line| line.trim_start_matches('\t')).collect(),
            false => self.content.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Heredoc;

    #[test]
    fn words_that_start_a_heredoc() {
        for (word, meant) in [
            ("<<EOF", Some(("EOF", 0, false, true))),
            ("<<-E", Some(("E", 0, true, true))),
            ("3<<\"E 3\"", Some(("E 3", 3, false, false))),
            ("<<'E'", Some(("E", 0, false, false))),
            ("<<E\\F", Some(("EF", 0, false, false))),
            ("x<<E", None),
            ("<<", None),
            ("<<-", None),
            ("<<<E", None),
            ("\"<<E\"", None),
            ("99999999999<<E", None),
        ] {
            let heredoc = Heredoc::of_word(word);
            let found = heredoc
                .as_ref()
                .map(|h| (h.name.as_str(), h.descriptor, h.strips_tabs, h.expands));
            assert_eq!(found, meant, "{word}");
        }
    }

    #[test]
    fn tabs() {
        let mut heredoc = Heredoc::of_word("<<-E").unwrap();
        heredoc.content = "\t\ta\n\n b\tc\n".into();
        assert_eq!(heredoc.text(), "a\n\n b\tc\n");
        assert!(heredoc.ends_with("\t\tE") && !heredoc.ends_with(" E"));
    }
}
