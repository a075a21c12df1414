//! A Dockerfile as a list of stages.

use super::directive::Directives;
use super::fault::{Fault, Lines};
use super::instruction::{Argument, From, Instruction};
use super::statement::{Statement, statements};

/// A Dockerfile that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// What its directives say.
    pub directives: Directives,
    /// ARG before the first FROM.
    pub arguments: Vec<(Argument, Lines)>,
    /// The stages.
    pub stages: Vec<Stage>,
    /// All its statements, as they were written.
    pub statements: Vec<Statement>,
}

/// A stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Its FROM.
    pub from: From,
    /// Where that is.
    pub lines: Lines,
    /// Its instructions.
    pub instructions: Vec<Located>,
}

/// An instruction and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// It.
    pub instruction: Instruction,
    /// Where it is.
    pub lines: Lines,
}

impl Dockerfile {
    /// Reads a Dockerfile.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<Dockerfile, Fault> {
        let (statements, directives) = statements(text)?;
        let mut arguments = Vec::new();
        let mut stages: Vec<Stage> = Vec::new();
        for statement in &statements {
            let lines = statement.lines;
            if statement.keyword.eq_ignore_ascii_case("from") {
                stages.push(Stage {
                    from: From::of(statement)?,
                    lines,
                    instructions: Vec::new(),
                });
                continue;
            }
            let instruction = Instruction::of(statement, directives.escape)?;
            match (stages.last_mut(), instruction) {
                (Some(stage), instruction) => {
                    stage.instructions.push(Located { instruction, lines })
                }
                (None, Instruction::Arg(all)) => {
                    arguments.extend(all.into_iter().map(|argument| (argument, lines)));
                }
                (None, instruction) => {
                    let says = format!(
                        "no build stage in current context: {} is before the first FROM",
                        instruction.keyword()
                    );
                    return Err(Fault::new(lines, says));
                }
            }
        }
        if stages.is_empty() {
            let says = "dockerfile contains no stages to build: it has no FROM";
            return Err(Fault::new(statements[0].lines, says));
        }
        Ok(Dockerfile {
            directives,
            arguments,
            stages,
            statements,
        })
    }

    /// The stage of that name before stage `before`, by which a FROM, a COPY or a mount
    /// of that stage means it: the last of several; for COPY and mounts also by number.
    pub fn find(&self, name: &str, before: usize, by_number: bool) -> Option<usize> {
        let earlier = &self.stages[..before.min(self.stages.len())];
        let name = name.to_lowercase();
        let named = |stage: &Stage| stage.from.name.as_ref() == Some(&name);
        earlier.iter().rposition(named).or_else(|| {
            let number = name.parse().ok().filter(|_| by_number)?;
            earlier.get::<usize>(number).map(|_| number)
        })
    }
}

#[cfg(test)]
mod tests;
