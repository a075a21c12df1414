//! What a build needs: stages and images, and which of them has to wait for which. Pure.

use super::dockerfile::Dockerfile;
use super::dockerfile::fault::Lines;
use super::dockerfile::instruction::Instruction;
use super::dockerfile::mount::Mount;
use super::dockerfile::stage::Located;
use std::collections::{BTreeMap, BTreeSet};

/// Something that is made or fetched by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    /// An image of the store or of a registry.
    Image {
        /// As it is called.
        name: String,
        /// For which platform, if that is said.
        platform: Option<String>,
    },
    /// A stage, by its number.
    Stage(usize),
}

/// All that is needed.
pub type Graph = BTreeMap<Node, Needed>;

/// Something that is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// What it waits for.
    pub waits_for: BTreeSet<Node>,
    /// Where it is first asked for.
    pub lines: Lines,
}

/// What the stage `target` needs, itself included. `expand` puts variables into words of
/// FROM; what it cannot read is left to the stage, which tells the error.
pub fn graph(file: &Dockerfile, target: usize, expand: &dyn Fn(&str) -> Option<String>) -> Graph {
    let mut graph = Graph::new();
    let mut looked_at = vec![target];
    while let Some(index) = looked_at.pop() {
        if graph.contains_key(&Node::Stage(index)) {
            continue;
        }
        let needs = needs(file, index, expand);
        for (node, lines) in &needs {
            match node {
                Node::Stage(other) => looked_at.push(*other),
                image => {
                    let new = || Needed {
                        waits_for: BTreeSet::new(),
                        lines: *lines,
                    };
                    graph.entry(image.clone()).or_insert_with(new);
                }
            }
        }
        let needed = Needed {
            waits_for: needs.into_iter().map(|(node, _)| node).collect(),
            lines: file.stages[index].lines,
        };
        graph.insert(Node::Stage(index), needed);
    }
    graph
}

fn needs(
    file: &Dockerfile,
    index: usize,
    expand: &dyn Fn(&str) -> Option<String>,
) -> Vec<(Node, Lines)> {
    let stage = &file.stages[index];
    let mut needs = Vec::new();
    if let Some(name) = expand(&stage.from.base) {
        match file.find(&name, index, false) {
            Some(earlier) => needs.push((Node::Stage(earlier), stage.lines)),
            None if name.is_empty() || name == "scratch" => {}
            None => {
                let platform = stage.from.platform.as_deref().and_then(expand);
                let platform = platform.filter(|platform| !platform.is_empty());
                needs.push((Node::Image { name, platform }, stage.lines));
            }
        }
    }
    for Located { instruction, lines } in &stage.instructions {
        let from: Vec<String> = match instruction {
            Instruction::Copy(transfer) => transfer.from.iter().cloned().collect(),
            Instruction::Run(run) => {
                let mounts = run.mounts.iter().filter_map(|text| Mount::parse(text).ok());
                mounts.filter_map(|mount| mount.from).collect()
            }
            _ => continue,
        };
        let nodes = from.iter().filter_map(|from| source(file, from, index));
        needs.extend(nodes.map(|node| (node, *lines)));
    }
    needs
}

/// What `from` means in a stage. A later stage, or a name with variables, is an error or a
/// matter of the step.
fn source(file: &Dockerfile, from: &str, index: usize) -> Option<Node> {
    if let Some(earlier) = file.find(from, index, true) {
        return Some(Node::Stage(earlier));
    }
    let is_stage = file.find(from, file.stages.len(), true).is_some();
    let is_name = !is_stage && !from.is_empty() && !from.contains('$');
    is_name.then(|| Node::Image {
        name: from.to_owned(),
        platform: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<String> {
        let file = Dockerfile::parse(text).unwrap();
        let said = |node: &Node| match node {
            Node::Stage(index) => index.to_string(),
            Node::Image { name, platform } => match platform {
                Some(platform) => format!("{name}@{platform}"),
                None => name.clone(),
            },
        };
        let expand = |text: &str| Some(text.replace("$V", "v"));
        let graph = graph(&file, file.stages.len() - 1, &expand);
        let lines = graph.iter().map(|(node, needed)| {
            let needs: Vec<_> = needed.waits_for.iter().map(said).collect();
            format!("{}: {}", said(node), needs.join(" "))
                .trim_end()
                .to_owned()
        });
        lines.collect()
    }

    #[test]
    fn what_waits_for_what() {
        assert_eq!(of("FROM scratch"), ["0:"]);
        assert_eq!(of("FROM a AS b\nFROM b"), ["a:", "0: a", "1: 0"]);
        // Nobody needs the second.
        let text = "FROM x:$V AS a\nFROM y AS b\nFROM --platform=p a\nCOPY --from=z /f /\nCOPY --from=0 /f /";
        assert_eq!(of(text), ["x:v:", "z:", "0: x:v", "2: z 0"]);
        let text = "FROM a AS b\nFROM --platform=p a\nRUN --mount=from=b,target=/x --mount=from=$V,target=/y true";
        assert_eq!(of(text), ["a:", "a@p:", "0: a", "1: a@p 0"]);
        // Errors are the steps' to tell.
        let text = "FROM a AS first\nCOPY --from=later /f /\nFROM b AS later\nFROM first";
        assert_eq!(of(text), ["a:", "0: a", "2: 0"]);
    }
}
