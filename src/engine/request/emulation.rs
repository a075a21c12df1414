//! `--root-emulation`.

use crate::runtime::seccomp::RootEmulation;

/// `--root-emulation`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EmulationOption {
    /// Where it is of use: for who is root and has no other id.
    #[default]
    Auto,
    /// None.
    Off,
    /// What the kernel refuses.
    On,
    /// That, and what files are said to be.
    Full,
}

impl EmulationOption {
    /// The words that the flag has.
    pub const WORDS: [&str; 4] = ["auto", "on", "off", "full"];

    /// What a word of them stands for.
    pub fn of(word: &str) -> EmulationOption {
        match word {
            "on" => EmulationOption::On,
            "off" => EmulationOption::Off,
            "full" => EmulationOption::Full,
            _ => EmulationOption::Auto,
        }
    }

    /// Whether it was asked for by name, which takes a map of one id.
    pub fn is_wanted(self) -> bool {
        matches!(self, EmulationOption::On | EmulationOption::Full)
    }

    /// What is emulated in a container with one id whose command runs as `uid`.
    pub fn choose(self, uid: u32) -> Option<RootEmulation> {
        match self {
            EmulationOption::Auto => (uid == 0).then_some(RootEmulation::Refused),
            EmulationOption::Off => None,
            EmulationOption::On => Some(RootEmulation::Refused),
            EmulationOption::Full => Some(RootEmulation::Full),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_for_options() {
        let of = EmulationOption::WORDS.map(EmulationOption::of);
        let all = [
            EmulationOption::Auto,
            EmulationOption::On,
            EmulationOption::Off,
            EmulationOption::Full,
        ];
        assert_eq!(of, all);
        assert_eq!(
            EmulationOption::Auto.choose(0),
            Some(RootEmulation::Refused)
        );
        assert_eq!(EmulationOption::Auto.choose(7), None);
    }
}
