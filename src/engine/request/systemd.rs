//! `--systemd`.

/// `--systemd`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SystemdMode {
    /// If the command is systemd's, or an init by name.
    #[default]
    Auto,
    /// Whatever the command is.
    Always,
    /// Never.
    Never,
}

impl SystemdMode {
    /// The words that the flag has.
    pub const WORDS: [&str; 4] = ["auto", "always", "true", "false"];

    /// What a word of them stands for.
    pub fn of(word: &str) -> SystemdMode {
        match word {
            "always" => SystemdMode::Always,
            "false" => SystemdMode::Never,
            _ => SystemdMode::Auto,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_for_modes() {
        let (auto, always) = (SystemdMode::Auto, SystemdMode::Always);
        let wanted = [auto, always, auto, SystemdMode::Never];
        assert_eq!(SystemdMode::WORDS.map(SystemdMode::of), wanted);
    }
}
